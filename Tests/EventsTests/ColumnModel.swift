internal import AurumCore
internal import Events

/// The columns of a block held against its own events, each read whole by the parser.
struct ColumnModel {
    private let events: [StoredEvent?]
    private let documents: [JSONValue?]

    private init(events: [StoredEvent?]) {
        self.events = events
        documents = events.map { $0?.json }
    }

    /// Names that every block is asked for.
    static let names = [
        "id", "type", "name", "user_id", "anonymous_id", "device_id", "session_id", "click_id", "order_id", "lead_id",
        "advertising_id", "vendor_id", "install_referrer", "url", "referrer", "title", "screen", "group_id",
        "previous_id", "currency", "currency.stated", "quantity", "value", "channel", "outcome", "trace_id", "ts",
        "campaign.source", "campaign.name", "campaign.network", "campaign.ad_group_id", "campaign.creative_id",
        "campaign.keyword", "campaign.publisher_id", "context.ip", "context.os", "context.locale", "consent.ads",
        "traits.plan", "props.a", "props.a.b", "props.revenue", "extra.mine", "app", "source_format",
        "browser", "browser_major", "os_name", "device_class",
    ]

    /// Names looked at in one block, the others in between left out.
    private static let namesMax = 60

    /// What is wrong with a block; nil when nothing is.
    static func difference(_ block: any ColumnBlock, extra: Set<String> = []) throws -> String? {
        let outcomes = try block.outcomes()
        let times = try block.times()
        let types = try block.types()
        let events = try (0..<block.rowCount).map { try block.event($0) }
        let model = ColumnModel(events: events)
        for row in 0..<block.rowCount where outcomes[row] != EventOutcome.quarantined.rawValue {
            guard let event = events[row] else { return "row \(row) is no event" }
            if types[row] != event.type.rawValue { return "row \(row) has type \(types[row]), not \(event.type)" }
            if times[row] != event.at.microseconds { return "row \(row) has another time" }
        }
        var all = Set(names).union(extra)
        for event in events.compactMap({ $0 }) { all.formUnion(paths(event)) }
        let sorted = all.sorted()
        for index in stride(from: 0, to: sorted.count, by: 1 + sorted.count / namesMax) {
            let name = sorted[index]
            let column = ColumnName(name)
            if let problem = try difference(text: column, block, model) { return "\(name): \(problem)" }
            if let problem = try difference(numbers: column, block, model) { return "number \(name): \(problem)" }
        }
        let money = try block.values() ?? [Int64](repeating: .min, count: block.rowCount)
        let expected = events.map { $0?.value?.value ?? Int64.min }
        if let (row, problem) = firstDifference(money, expected, ==) { return "money, row \(row): \(problem)" }
        return try difference(persons: block, events)
    }

    /// Members of an event that may be columns of their own.
    private static func paths(_ event: StoredEvent) -> [String] {
        var all: [String] = []
        func add(_ prefix: String, _ value: JSONValue?) {
            guard let members = value?.object else { return }
            for (name, member) in members where !name.contains(".") && !name.isEmpty && all.count < 40 {
                all.append("\(prefix).\(name)")
                guard let inner = member.object else { continue }
                for key in inner.keys where !key.contains(".") && !key.isEmpty && all.count < 60 {
                    all.append("\(prefix).\(name).\(key)")
                }
            }
        }
        add("props", event.props)
        add("traits", event.traits)
        add("context", event.context)
        add("extra", .object(event.extra))
        return all
    }

    private static func difference(
        text name: ColumnName, _ block: any ColumnBlock, _ model: ColumnModel
    ) throws -> String? {
        // What a request says, every row of it has; what an event says, no quarantined one.
        if ["org", "app", "source_format", "outcome", "type"].contains(name.path) { return nil }
        let outcomes = try block.outcomes()
        let refused = EventOutcome.quarantined.rawValue
        let column = try block.text(name)
        let found = (0..<block.rowCount).map { row -> String? in
            guard let column, column.codes[row] != 0, outcomes[row] != refused else { return nil }
            return column.dictionary.text(column.codes[row])
        }
        return firstDifference(found, model.texts(name), ==).map { "row \($0.0): \($0.1)" }
    }

    private static func difference(
        numbers name: ColumnName, _ block: any ColumnBlock, _ model: ColumnModel
    ) throws -> String? {
        let none = [Double](repeating: .nan, count: block.rowCount)
        return firstDifference(try block.numbers(name) ?? none, model.numbers(name)) { left, right in
            left == right || left.isNaN && right.isNaN || abs(left - right) <= abs(right) * 1e-15
        }.map { "row \($0.0): \($0.1)" }
    }

    private static func firstDifference<Value>(
        _ found: [Value], _ expected: [Value], _ areEqual: (Value, Value) -> Bool
    ) -> (Int, String)? {
        guard found.count == expected.count else { return (0, "\(found.count) rows, not \(expected.count)") }
        for (row, pair) in zip(found, expected).enumerated() where !areEqual(pair.0, pair.1) {
            return (row, "\(pair.0), not \(pair.1)")
        }
        return nil
    }

    /// The same rows must name the same persons; the numbers of both lists are their own.
    private static func difference(persons block: any ColumnBlock, _ events: [StoredEvent?]) throws -> String? {
        let outcomes = try block.outcomes()
        for org in Set(block.requests.map(\.org)).sorted() {
            let found = try block.persons(org: org)
            var known: [PersonIdentifier: UInt64] = [:]
            var taken: Set<UInt64> = []
            for request in block.requests where request.org == org {
                for row in request.firstRow..<request.firstRow + request.rowCount
                where outcomes[row] != EventOutcome.quarantined.rawValue {
                    let code = found.codes[row]
                    let expected = events[row]?.personIdentifier
                    if (code == 0) != (expected == nil) {
                        return "person of row \(row): \(code), not \(expected as Any)"
                    }
                    guard code != 0, let expected else { continue }
                    let key = found.keys[Int(code)]
                    if let other = known[expected], other != key { return "row \(row) is another person" }
                    if known[expected] == nil, !taken.insert(key).inserted { return "row \(row) is taken for another" }
                    known[expected] = key
                }
            }
        }
        return nil
    }

    private func value(_ row: Int, _ name: ColumnName) -> JSONValue? {
        guard let event = events[row] else { return nil }
        if name == .statedCurrency { return event.isCurrencyImplied ? nil : event.currency.map { .string($0) } }
        let names = name.path.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        var place = names[0] == "extra" ? .object(event.extra) : documents[row]?[names[0]]
        for name in names.dropFirst() { place = place?[name] }
        if case .null? = place { return nil }
        return place
    }

    private func texts(_ name: ColumnName) -> [String?] {
        events.indices.map { row in
            switch value(row, name) {
            case .string(let text)?: text
            case .some(let value) where value.object == nil && value.array == nil: value.canonical
            default: nil
            }
        }
    }

    private func numbers(_ name: ColumnName) -> [Double] {
        events.indices.map { row in
            guard name.path != "value" else { return events[row]?.value.map { Double($0.value) / 1_000_000 } ?? .nan }
            return value(row, name)?.double ?? .nan
        }
    }
}
