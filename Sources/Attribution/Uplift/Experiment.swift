package import AurumCore
internal import Events

/// An incrementality experiment that somebody else ran: how many conversions there were where a channel was shown and
/// where it was held back, region by region. Pure data; `Uplift` says what it measured.
package struct Experiment: Sendable, Equatable {
    package enum Method: String, Sendable, CaseIterable {
        /// Whole regions see no advertising of the channel.
        case geoHoldout = "geo_holdout"
        /// Persons who would have seen an ad are counted; regions may stand on both sides.
        case ghostAds = "ghost_ads"
    }

    /// What one region brought on one side.
    package struct Region: Sendable, Equatable {
        package var name: String
        package var isTreated: Bool
        package var conversions: Int64
        package var spendMinor: Int64
        /// Whatever makes regions comparable: inhabitants, persons reached, conversions of weeks before. 1 where none
        /// is told.
        package var size: Int64

        package init(name: String, isTreated: Bool, conversions: Int64, spendMinor: Int64, size: Int64) {
            (self.name, self.isTreated, self.conversions) = (name, isTreated, conversions)
            (self.spendMinor, self.size) = (spendMinor, size)
        }
    }

    package var name: String
    package var method: Method
    /// As touchpoints name it.
    package var channel: String
    /// The conversion that was counted, as runs over the log name it.
    package var conversion: String
    /// Days since 1970, UTC.
    package var from: Int
    /// The day that days lie before.
    package var to: Int
    package var currency: Currency
    package var regions: [Region]

    /// Rows of one experiment.
    package static let regionsMax = 2000
    /// Of a region.
    package static let nameBytesMax = 100
    /// Conversions, sizes and minor units of one region: their sums fit 64 bits.
    package static let amountMax: Int64 = 1_000_000_000_000
    package static let daysMax = 366
    static let methods = Method.allCases.map(\.rawValue).joined(separator: " or ")

    /// - Parameter body: what `json` writes.
    /// - Throws: `ExperimentError.invalid`.
    package init(_ body: JSONValue) throws(ExperimentError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known: Set = ["name", "method", "channel", "conversion", "from", "to", "currency", "regions"]
        try Self.refuseOthers(members, known, at: "")
        func text(_ name: String, standard: String? = nil) throws(ExperimentError) -> String {
            guard let member = members[name], member != .null else {
                guard let standard else { throw .invalid(name, "is missing.") }
                return standard
            }
            guard let text = member.string else { throw .invalid(name, "must be text.") }
            return text
        }
        name = try text("name")
        guard ConversionDefinition.isName(name) else {
            throw .invalid("name", "must be lower-case letters, digits, - and _, not longer than a conversion's name.")
        }
        guard let method = Method(rawValue: try text("method", standard: Method.geoHoldout.rawValue)) else {
            throw .invalid("method", "must be \(Self.methods).")
        }
        self.method = method
        channel = try text("channel")
        guard TouchChannel.names.contains(channel) else {
            throw .invalid("channel", "must be one of \(TouchChannel.names.joined(separator: ", ")).")
        }
        conversion = try text("conversion", standard: "purchase")
        guard ConversionDefinition.isName(conversion) else {
            throw .invalid("conversion", "must be the name of a conversion.")
        }
        (from, to) = (try Self.day("from", try text("from")), try Self.day("to", try text("to")))
        guard (1...Self.daysMax).contains(to - from) else {
            throw .invalid("to", "must be 1 to \(Self.daysMax) days after from.")
        }
        guard let currency = Currency(try text("currency", standard: Currency.usd.code)) else {
            throw .invalid("currency", "must be three letters, like USD.")
        }
        self.currency = currency
        regions = try Self.regions(members["regions"], method)
    }

    package var json: JSONValue {
        var members = head
        members["regions"] = .array(
            regions.map {
                [
                    "region": .string($0.name), "side": .string($0.isTreated ? "treated" : "control"),
                    "conversions": .integer($0.conversions), "spend_minor": .integer($0.spendMinor),
                    "size": .integer($0.size),
                ]
            })
        return .object(members)
    }

    /// Everything but the regions.
    var head: [String: JSONValue] {
        [
            "name": .string(name), "method": .string(method.rawValue), "channel": .string(channel),
            "conversion": .string(conversion), "from": .string(CivilDate(daysSince1970: from).description),
            "to": .string(CivilDate(daysSince1970: to).description), "currency": .string(currency.code),
        ]
    }

    // MARK: reading

    private static func day(_ name: String, _ text: String) throws(ExperimentError) -> Int {
        guard let date = CivilDate(text), (1970...2200).contains(date.year) else {
            throw .invalid(name, "must be a date, like 2026-10-01.")
        }
        return date.daysSince1970
    }

    private static func regions(_ value: JSONValue?, _ method: Method) throws(ExperimentError) -> [Region] {
        guard let rows = value?.array, (1...regionsMax).contains(rows.count) else {
            throw .invalid("regions", "must be a list of 1 to \(regionsMax) regions.")
        }
        var found: [Region] = []
        var places: [String: Int] = [:]
        for (index, row) in rows.enumerated() {
            let place = "regions[\(index)]"
            let region = try region(row, at: place)
            // A region's name cannot begin with the sign.
            let key = (region.isTreated ? "+" : "-") + region.name
            if let other = places.updateValue(index, forKey: key) {
                throw .invalid("\(place).region", "stands on the same side in regions[\(other)].")
            }
            if method == .geoHoldout, let other = places[(region.isTreated ? "-" : "+") + region.name] {
                throw .invalid(
                    "\(place).region",
                    "stands on the other side in regions[\(other)]; only ghost_ads have such regions.")
            }
            found.append(region)
        }
        let sized = rows.count { $0["size"] != nil && $0["size"] != .null }
        guard sized == 0 || sized == rows.count else {
            throw .invalid("regions", "must all have a size, or none.")
        }
        return found
    }

    private static func region(_ row: JSONValue, at place: String) throws(ExperimentError) -> Region {
        guard let members = row.object else { throw .invalid(place, "must be an object.") }
        try refuseOthers(members, ["region", "side", "conversions", "spend_minor", "size"], at: place + ".")
        guard let name = members["region"]?.string, (1...nameBytesMax).contains(name.utf8.count),
            !name.utf8.contains(0)
        else { throw .invalid("\(place).region", "must be text of 1 to \(nameBytesMax) bytes.") }
        guard let side = members["side"]?.string, ["treated", "control"].contains(side) else {
            throw .invalid("\(place).side", "must be treated or control.")
        }
        func amount(_ name: String, from least: Int64, standard: Int64?) throws(ExperimentError) -> Int64 {
            if let standard, members[name] == nil || members[name] == .null { return standard }
            guard let amount = members[name]?.integer, (least...amountMax).contains(amount) else {
                throw .invalid("\(place).\(name)", "must be a whole number from \(least) to \(amountMax).")
            }
            return amount
        }
        return Region(
            name: name, isTreated: side == "treated",
            conversions: try amount("conversions", from: 0, standard: nil),
            spendMinor: try amount("spend_minor", from: 0, standard: 0),
            size: try amount("size", from: 1, standard: 1))
    }

    private static func refuseOthers(
        _ members: [String: JSONValue], _ known: Set<String>, at place: String
    ) throws(ExperimentError) {
        guard let other = members.keys.filter({ !known.contains($0) }).min() else { return }
        let names = known.sorted().joined(separator: ", ")
        throw .invalid(place + String(other.prefix(nameBytesMax)), "is not known; there are \(names).")
    }
}

/// Why an experiment is not taken or not found.
package enum ExperimentError: Error, Sendable, Equatable {
    /// A member of the body and what is wrong with it.
    case invalid(String, String)
    /// Regions of the treated side and of the control.
    case notEnoughRegions(treated: Int, control: Int)
    /// A side has none, or so few that most draws have none.
    case notEnoughConversions
    /// Another experiment has the name.
    case nameTaken
    case tooMany
    case unknown

    /// Stable tag.
    package var tag: String {
        switch self {
        case .invalid: "bad_experiment"
        case .notEnoughRegions: "not_enough_regions"
        case .notEnoughConversions: "not_enough_conversions"
        case .nameTaken: "experiment_exists"
        case .tooMany: "experiments_full"
        case .unknown: "experiment_unknown"
        }
    }

    package var sentence: String {
        switch self {
        case .invalid(let member, let detail): "\(member) \(detail)"
        case .notEnoughRegions(let treated, let control):
            "An experiment needs \(Uplift.regionsMin) regions on each side; this one has \(treated) treated and "
                + "\(control) of the control."
        case .notEnoughConversions: "Too few regions of a side have conversions: nothing can be said of the lift."
        case .nameTaken: "Another experiment has this name; remove it first, or take another name."
        case .tooMany: "There are \(ExperimentStore.experimentsMax) experiments; remove one first."
        case .unknown: "There is no experiment of this name."
        }
    }
}
