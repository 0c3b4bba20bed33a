internal import AurumCore

/// Which borough, utility and weather station a New York City ZIP code means.
///
/// The map and the overlay that wins over it are data; a row that cannot be used stops the start.
package struct Territory: Sendable {
    enum Entry: Sendable, Hashable {
        case served(ServedPlace)
        case mailbox(Borough, Utility)
        case ask(TerritoryQuestion)
    }

    let entries: [String: Entry]

    /// The embedded map and overlay.
    package init() throws(SolarDataError) {
        try self.init(map: Asset.text(TerritoryFiles.mapName), overlay: Asset.text(TerritoryFiles.overlayName))
    }

    /// A map and an overlay as JSON text. Errors name the file and the row.
    package init(map: String, overlay: String) throws(SolarDataError) {
        entries = try TerritoryFiles(stations: try StationFacts.embedded()).entries(map: map, overlay: overlay)
    }

    /// Looks up five digits; white space around them and a ZIP+4 suffix are allowed.
    package func lookup(_ text: String) -> TerritoryAnswer {
        var trimmed = Substring(text)
        while let first = trimmed.first, first.isWhitespace { trimmed.removeFirst() }
        while let last = trimmed.last, last.isWhitespace { trimmed.removeLast() }
        guard let zip = Territory.zip(trimmed) else { return .invalid(text) }
        switch entries[zip] {
        case .served(let place): return .served(place)
        case .mailbox(let borough, _): return .mailbox(zip: zip, borough: borough)
        case .ask(let question): return .askBorough(question)
        case nil: return .outside(zip: zip)
        }
    }

    /// How many ZIP codes, edge ZIPs included, each utility serves; the mailbox ZIPs of its area count.
    package func zips(of utility: Utility) -> [String] {
        entries.compactMap { zip, entry in
            switch entry {
            case .served(let place): place.utility == utility ? zip : nil
            case .mailbox(_, let own): own == utility ? zip : nil
            case .ask(let question): question.choices.first?.utility == utility ? zip : nil
            }
        }.sorted()
    }

    private static func zip(_ text: Substring) -> String? {
        let bytes = Array(text.utf8)
        func digits(_ range: Range<Int>) -> Bool { range.allSatisfy { (48...57).contains(bytes[$0]) } }
        switch bytes.count {
        case 5 where digits(0..<5): return String(text)
        case 10 where bytes[5] == UInt8(ascii: "-") && digits(0..<5) && digits(6..<10): return String(text.prefix(5))
        default: return nil
        }
    }
}
