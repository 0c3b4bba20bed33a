package import AurumCore

/// What the conversion values of an app mean: fine values 0–63, and coarse ones of each window, with the events and the
/// range of revenue behind each.
package struct ConversionSchema: Sendable, Equatable {
    package static let fineValues = 0...63
    /// Windows of 0–2, 3–7 and 8–35 days after the first launch.
    package static let windows = 0...2
    package static let eventsMax = 20
    package static let eventBytesMax = 200
    /// Minor units of one value.
    package static let revenueMax: Int64 = 100_000_000_000
    static let members: Set<String> = ["currency", "fine", "coarse"]

    /// What a value stands for.
    package struct Meaning: Sendable, Hashable {
        package var events: [String]
        package var leastMinor: Int64
        package var mostMinor: Int64

        fileprivate var members: [String: JSONValue] {
            [
                "events": .array(events.map { .string($0) }), "revenue_min_minor": .integer(leastMinor),
                "revenue_max_minor": .integer(mostMinor),
            ]
        }
    }

    private struct FineRange: Sendable, Equatable {
        var from: Int
        var to: Int
        var meaning: Meaning
    }

    private struct CoarseEntry: Sendable, Equatable {
        var value: ConversionClaim.Coarse
        /// nil: every window that has no entry of its own.
        var window: Int?
        var meaning: Meaning
    }

    package let currency: Currency
    private let fine: [FineRange]
    private let coarse: [CoarseEntry]

    /// - Parameter body: what `json` writes; members of `more` are not read.
    /// - Throws: `ConversionSchemaError.invalid`.
    package init(_ body: JSONValue, more: Set<String> = []) throws(ConversionSchemaError) {
        guard let given = body.object else { throw .invalid("body", "must be an object.") }
        try Self.refuseOthers(given, Self.members.union(more), at: "")
        guard let code = given["currency"]?.string, let currency = Currency(code) else {
            throw .invalid("currency", "must be three letters, like USD.")
        }
        self.currency = currency
        fine = try Self.fine(given["fine"])
        coarse = try Self.coarse(given["coarse"])
    }

    /// The meaning of a value that a postback of a window claims; nil where the schema names none.
    package func meaning(_ claim: ConversionClaim, window: Int) -> Meaning? {
        switch claim {
        case .none, .unknown: nil
        case .fine(let value): fine.first { ($0.from...$0.to).contains(value) }?.meaning
        case .coarse(let value):
            (coarse.first { $0.value == value && $0.window == window }
                ?? coarse.first { $0.value == value && $0.window == nil })?.meaning
        }
    }

    package var json: JSONValue {
        [
            "currency": .string(currency.code),
            "fine": .array(
                fine.map { range in
                    var members = range.meaning.members
                    (members["from"], members["to"]) = (.integer(Int64(range.from)), .integer(Int64(range.to)))
                    return .object(members)
                }),
            "coarse": .array(
                coarse.map { entry in
                    var members = entry.meaning.members
                    members["value"] = .string(entry.value.rawValue)
                    members["window"] = entry.window.map { .integer(Int64($0)) }
                    return .object(members)
                }),
        ]
    }

    // MARK: reading

    private static func fine(_ value: JSONValue?) throws(ConversionSchemaError) -> [FineRange] {
        var found: [FineRange] = []
        for (index, entry) in try list("fine", value).enumerated() {
            let place = "fine[\(index)]"
            let members = try members(entry, ["from", "to"], at: place)
            let from = try integer(members["from"], in: fineValues, at: "\(place).from")
            let to = members["to"] == nil ? from : try integer(members["to"], in: fineValues, at: "\(place).to")
            guard from <= to else { throw .invalid("\(place).to", "must not be less than from.") }
            if let other = found.firstIndex(where: { $0.from <= to && from <= $0.to }) {
                throw .invalid("\(place).from", "names values that fine[\(other)] names too.")
            }
            found.append(FineRange(from: from, to: to, meaning: try meaning(members, at: place)))
        }
        return found
    }

    private static func coarse(_ value: JSONValue?) throws(ConversionSchemaError) -> [CoarseEntry] {
        var found: [CoarseEntry] = []
        for (index, entry) in try list("coarse", value).enumerated() {
            let place = "coarse[\(index)]"
            let members = try members(entry, ["value", "window"], at: place)
            guard let value = members["value"]?.string.flatMap(ConversionClaim.Coarse.init(rawValue:)) else {
                throw .invalid("\(place).value", "must be low, medium or high.")
            }
            let window =
                members["window"] == nil ? nil : try integer(members["window"], in: windows, at: "\(place).window")
            if let other = found.firstIndex(where: { $0.value == value && $0.window == window }) {
                throw .invalid("\(place).value", "is that of coarse[\(other)] in the same window.")
            }
            found.append(CoarseEntry(value: value, window: window, meaning: try meaning(members, at: place)))
        }
        return found
    }

    /// At most one entry for each value there is.
    private static func list(_ name: String, _ value: JSONValue?) throws(ConversionSchemaError) -> [JSONValue] {
        guard let value, value != .null else { return [] }
        guard let entries = value.array else { throw .invalid(name, "must be a list.") }
        guard entries.count <= fineValues.count else {
            throw .invalid(name, "must have at most \(fineValues.count) entries.")
        }
        return entries
    }

    private static func members(
        _ entry: JSONValue, _ own: Set<String>, at place: String
    ) throws(ConversionSchemaError) -> [String: JSONValue] {
        guard let members = entry.object else { throw .invalid(place, "must be an object.") }
        try refuseOthers(members, own.union(["events", "revenue_min_minor", "revenue_max_minor"]), at: place + ".")
        return members.filter { $0.value != .null }
    }

    private static func meaning(
        _ members: [String: JSONValue], at place: String
    ) throws(ConversionSchemaError) -> Meaning {
        var events: [String] = []
        if let value = members["events"] {
            guard let names = value.array?.map(\.string), names.count <= eventsMax else {
                throw .invalid("\(place).events", "must be a list of at most \(eventsMax) names.")
            }
            for name in names {
                guard let name, (1...eventBytesMax).contains(name.utf8.count), !name.utf8.contains(0) else {
                    throw .invalid("\(place).events", "must be names of 1 to \(eventBytesMax) bytes.")
                }
                guard !events.contains(name) else { throw .invalid("\(place).events", "must name each event once.") }
                events.append(name)
            }
        }
        let least = try amount(members["revenue_min_minor"], at: "\(place).revenue_min_minor") ?? 0
        let most = try amount(members["revenue_max_minor"], at: "\(place).revenue_max_minor") ?? least
        guard least <= most else {
            throw .invalid("\(place).revenue_max_minor", "must not be less than revenue_min_minor.")
        }
        return Meaning(events: events, leastMinor: least, mostMinor: most)
    }

    private static func amount(_ value: JSONValue?, at place: String) throws(ConversionSchemaError) -> Int64? {
        guard let value else { return nil }
        guard let amount = value.integer, (0...revenueMax).contains(amount) else {
            throw .invalid(place, "must be whole minor units from 0 to \(revenueMax).")
        }
        return amount
    }

    private static func integer(
        _ value: JSONValue?, in range: ClosedRange<Int>, at place: String
    ) throws(ConversionSchemaError) -> Int {
        guard let number = value?.integer.flatMap({ Int(exactly: $0) }), range.contains(number) else {
            throw .invalid(place, "must be a whole number from \(range.lowerBound) to \(range.upperBound).")
        }
        return number
    }

    private static func refuseOthers(
        _ members: [String: JSONValue], _ known: Set<String>, at place: String
    ) throws(ConversionSchemaError) {
        guard let other = members.keys.filter({ !known.contains($0) }).min() else { return }
        let names = known.sorted().joined(separator: ", ")
        throw .invalid(place + String(other.prefix(eventBytesMax)), "is not known; there are \(names).")
    }
}

/// Why a schema of conversion values is not saved.
package enum ConversionSchemaError: Error, Sendable, Equatable {
    /// A member of the body and what is wrong with it.
    case invalid(String, String)
    /// A bound, as a sentence.
    case tooMany(String)

    package var sentence: String {
        switch self {
        case .invalid(let member, let detail): "\(member) \(detail)"
        case .tooMany(let sentence): sentence
        }
    }
}
