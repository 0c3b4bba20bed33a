internal import AurumCore

/// What counts of a value for a name: values that agree in it lead to the same answer, and one without any plays no
/// part. So the many contexts, URLs and referrers of a segment are few before they are combined.
struct ValueGist {
    private enum Wanted: Equatable {
        case channel, click, network
        /// A campaign's field that a URL brings under this parameter; nil when no URL brings it.
        case campaign(parameter: String?)
        /// A campaign's field that says more of the ad.
        case ad(AdParameter)
    }

    private let name: ColumnName
    private let wanted: Wanted?
    /// Click identifiers stand beside URLs: then the ones in URLs count with their values.
    private let hasClicks: Bool
    private let decoder: EventDecoder

    init(_ name: ColumnName, hasClicks: Bool, _ decoder: EventDecoder) {
        (self.name, self.hasClicks, self.decoder) = (name, hasClicks, decoder)
        wanted =
            switch name.path {
            case "channel": .channel
            case "click_id": .click
            case "campaign.network": .network
            case "campaign.name": .campaign(parameter: "utm_campaign")
            case "campaign.source", "campaign.medium", "campaign.term", "campaign.content", "campaign.id":
                .campaign(parameter: "utm_" + name.path.dropFirst("campaign.".count))
            case _ where name.path.hasPrefix("campaign."):
                AdParameter(rawValue: String(name.path.dropFirst("campaign.".count))).map { .ad($0) }
                    ?? .campaign(parameter: nil)
            default: nil
            }
    }

    /// Whether values of a field are told apart by less than their whole text.
    func applies(to field: EventField) -> Bool {
        switch field {
        case .context: true
        case .url, .propertyURL, .referrer, .propertyReferrer: wanted != nil
        case .clickID: isCampaign
        default: false
        }
    }

    private var isCampaign: Bool {
        switch wanted {
        case .campaign?, .ad?: true
        default: false
        }
    }

    /// nil when the value says nothing about the name.
    func callAsFunction(_ raw: [UInt8], _ field: EventField) -> String? {
        guard !raw.isEmpty else { return nil }
        switch field {
        case .url, .propertyURL: return ofURL(EscapedText.decoded(raw))
        case .referrer, .propertyReferrer: return ofReferrer(EscapedText.decoded(raw))
        case .context: return wanted == nil ? plain(context: raw) : origin(context: raw)
        default: return nil
        }
    }

    /// Never nil: a URL hides those that are asked after it, whatever it says.
    private func ofURL(_ url: String) -> String {
        let parameters = AdvertisingFacts.parameters(url).filter { !$0.1.isEmpty }
        func first(_ name: String) -> String { parameters.first { $0.0 == name }?.1 ?? "" }
        switch wanted {
        case .campaign(let parameter?): return first(parameter)
        case .ad(let parameter):
            return AdParameter.belongToAnAd(parameters) ? parameter.value(in: parameters) ?? "" : ""
        case .network: return clicks(parameters)
        case .click: return clicks(parameters)
        case .channel:
            let hasName = !first("utm_campaign").isEmpty || !first("utm_id").isEmpty
            let parts = [
                AdvertisingFacts.host(url) ?? "", first("utm_source"), first("utm_medium"), hasName ? "1" : "",
                clicks(parameters),
            ]
            return Self.joined(parts)
        default: return ""
        }
    }

    private func clicks(_ parameters: [(String, String)]) -> String {
        let known = parameters.filter { pair in AdvertisingLink.clickIDs.contains { "\($0.parameter)" == pair.0 } }
        if known.count == 1, !hasClicks, wanted != .click { return known[0].0 }
        return Self.joined(known.flatMap { [$0.0, $0.1] })
    }

    /// Parts that no other parts give: each with its length before it.
    private static func joined(_ parts: [String?]) -> String {
        parts.map { part in part.map { "\($0.utf8.count):\($0)" } ?? "-" }.joined()
    }

    private func ofReferrer(_ referrer: String) -> String? {
        wanted == .channel ? AdvertisingFacts.host(referrer) ?? "" : nil
    }

    private func origin(context raw: [UInt8]) -> String? {
        guard let facts = decoder.contextFacts(raw) else { return nil }
        let campaign = facts.campaign
        let own: String? =
            switch wanted {
            case .channel:
                campaign.source == nil && campaign.medium == nil && campaign.name == nil && campaign.id == nil
                    ? nil
                    : Self.joined([
                        campaign.source, campaign.medium, campaign.name != nil || campaign.id != nil ? "1" : nil,
                    ])
            case .campaign, .ad: campaign.json?[String(name.path.dropFirst("campaign.".count))]?.string
            default: nil
            }
        let url = facts.url.map { ofURL($0) }
        let referrer = facts.referrer.flatMap { ofReferrer($0) }
        guard own != nil || url != nil || referrer != nil else { return nil }
        return Self.joined([own, url, referrer])
    }

    private func plain(context raw: [UInt8]) -> String? {
        guard Self.mayHold(raw, needle) else { return nil }
        return decoder.detached(Array("{\"type\":\"page\",\"context\":".utf8) + raw + [0x7d])?.text(name)
    }

    /// Letters that a context with something under the name has in it, unless it is written with escapes.
    private var needle: [UInt8] {
        switch name.path {
        case "device_id", "advertising_id": Array("evice".utf8)
        case "url", "referrer", "title": Array("page".utf8)
        case "browser", "browser_major", "os_name", "device_class": Array("gent".utf8)
        case _ where name.path.hasPrefix("traits."): Array("traits".utf8)
        default:
            // Names are compared as Unicode does: only ASCII ones have one spelling. An empty one is in every context.
            (name.path.split(separator: ".", omittingEmptySubsequences: false).last)
                .map { $0.utf8.allSatisfy { $0 < 0x80 } ? Array($0.utf8) : [] } ?? []
        }
    }

    static func mayHold(_ raw: [UInt8], _ needle: [UInt8]) -> Bool {
        guard let first = needle.first, raw.count >= needle.count else { return true }
        return raw.withUnsafeBufferPointer { raw in
            for start in 0..<raw.count {
                if raw[start] == 0x5c { return true }
                guard raw[start] == first, start + needle.count <= raw.count else { continue }
                if (1..<needle.count).allSatisfy({ raw[start + $0] == needle[$0] }) { return true }
            }
            return false
        }
    }
}

/// Rows that agree in several codes, numbered: what follows from the codes is worked out once for each number.
struct RowCombinations {
    private(set) var numbers: [UInt32]
    /// The first row of each number.
    private(set) var firstRows: [Int]
    private static let memoSize = 4096

    init(rowCount: Int, _ lists: [[UInt32]]) {
        numbers = [UInt32](repeating: 0, count: rowCount)
        firstRows = rowCount > 0 ? [0] : []
        for list in lists { split(by: list) }
    }

    private mutating func split(by codes: [UInt32]) {
        var known: [UInt64: UInt32] = [:]
        // A power of two; blocks of few rows need no large one.
        let bits = Int.bitWidth - codes.count.leadingZeroBitCount
        let size = min(Self.memoSize, max(64, 1 << bits))
        let shift = UInt64(64 - size.trailingZeroBitCount)
        var memo = [(key: UInt64, number: UInt32)](repeating: (.max, 0), count: size)
        var rows: [Int] = []
        numbers.withUnsafeMutableBufferPointer { numbers in
            memo.withUnsafeMutableBufferPointer { memo in
                for row in 0..<min(numbers.count, codes.count) {
                    let key = UInt64(numbers[row]) << 32 | UInt64(codes[row])
                    let slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> shift)
                    if memo[slot].key != key {
                        let number = known[key] ?? UInt32(rows.count)
                        if Int(number) == rows.count {
                            rows.append(row)
                            known[key] = number
                        }
                        memo[slot] = (key, number)
                    }
                    numbers[row] = memo[slot].number
                }
            }
        }
        firstRows = rows
    }
}
