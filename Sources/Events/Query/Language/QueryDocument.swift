package import AurumCore

/// The JSON form of a query: the body of `POST /v1/query`. Unknown members are refused. See `docs/query.md`.
package struct QueryDocument {
    private let limits: QueryLimits
    private var draft = QueryDraft()

    package static func query(_ document: JSONValue, now: Timestamp, limits: QueryLimits = QueryLimits())
        throws(QueryParseError) -> EventQuery
    {
        var reader = QueryDocument(limits: limits)
        try reader.read(document)
        return try reader.draft.resolved(now: now, limits: limits)
    }

    private init(limits: QueryLimits) { self.limits = limits }

    private static let members: Set<String> = [
        "q", "from", "to", "last", "timezone", "apps", "where", "measures", "group_by", "bucket", "bots", "outcomes",
        "order", "limit",
    ]

    private mutating func read(_ document: JSONValue) throws(QueryParseError) {
        guard let members = document.object else { throw QueryParseError(.path(""), "an object") }
        try Self.refuseOthers(members, Self.members, "")
        if let text = members["q"] {
            guard let text = text.string else { throw QueryParseError(.path("q"), "a text") }
            draft = try QueryTextParser.draft(text, limits)
        }
        try range(members)
        if let zone = try Self.string(members, "timezone") {
            draft.query.timezone = zone
            draft.timezonePlace = .path("timezone")
        }
        if let apps = try Self.strings(members, "apps") { draft.query.apps = apps }
        if let condition = members["where"], condition != .null {
            draft.query.filter = try self.condition(condition, "where", depth: 0)
        }
        if let measures = try Self.strings(members, "measures") {
            draft.query.measures = try Self.parsed(measures, "measures") { text throws(QueryParseError) in
                try QueryTextParser.measure(text)
            }
        }
        if let columns = try Self.strings(members, "group_by") {
            draft.query.groupBy = try Self.parsed(columns, "group_by") { text throws(QueryParseError) in
                try Self.column(text, .byte(0))
            }
        }
        draft.query.bucket = try Self.choice(members, "bucket", TimeBucket.self) ?? draft.query.bucket
        draft.query.bots = try Self.choice(members, "bots", BotChoice.self) ?? draft.query.bots
        if let names = try Self.strings(members, "outcomes") { draft.query.outcomes = try Self.outcomes(names) }
        if let terms = try Self.strings(members, "order") {
            draft.query.order = try Self.parsed(terms, "order") { text throws(QueryParseError) in
                try QueryTextParser.order(text)
            }
        }
        if let limit = members["limit"], limit != .null {
            guard let limit = limit.integer, (1...Int64(limits.rowsMax)).contains(limit) else {
                throw QueryParseError(.path("limit"), "a whole number from 1 to \(limits.rowsMax)")
            }
            draft.query.limit = Int(limit)
        }
    }

    private mutating func range(_ members: [String: JSONValue]) throws(QueryParseError) {
        let from = try Self.moment(members, "from")
        let to = try Self.moment(members, "to")
        if let last = try Self.string(members, "last") {
            guard from == nil, to == nil else { throw QueryParseError(.path("last"), "either last, or from and to") }
            guard let range = QueryTextParser.lastRange(last) else {
                throw QueryParseError(.path("last"), "a number of units such as 90m, 24h, 7d, 4w or 12mo")
            }
            draft.range = range
        } else if from != nil || to != nil {
            draft.range = .between(from, to)
            draft.place = .path("to")
        }
    }

    private static func moment(
        _ members: [String: JSONValue], _ name: String
    ) throws(QueryParseError) -> QueryDraft.Moment? {
        switch members[name] {
        case nil, .null?: return nil
        case .string(let text)?: return .text(text, .path(name))
        case .integer(let milliseconds)?: return .milliseconds(milliseconds, .path(name))
        default: throw QueryParseError(.path(name), "a date, an RFC 3339 time, or milliseconds since 1970")
        }
    }

    // MARK: conditions

    private static let operators =
        "=, !=, <, <=, >, >=, in, contains, starts_with or exists"

    private func condition(
        _ value: JSONValue, _ path: String, depth: Int
    ) throws(QueryParseError) -> EventCondition {
        guard depth < limits.depthMax else {
            throw QueryParseError(.path(path), "a condition at most \(limits.depthMax) deep")
        }
        guard let members = value.object else { throw QueryParseError(.path(path), "an object") }
        if members["column"] != nil { return try test(members, path) }
        guard members.count == 1, let (name, inner) = members.first else {
            throw QueryParseError(.path(path), "one of and, or and not, or column, op and value")
        }
        switch name {
        case "not": return .not(try condition(inner, path + ".not", depth: depth + 1))
        case "and", "or":
            guard let values = inner.array, !values.isEmpty else {
                throw QueryParseError(.path(path + "." + name), "a list of conditions")
            }
            var parts: [EventCondition] = []
            for (index, value) in values.enumerated() {
                parts.append(try condition(value, "\(path).\(name)[\(index)]", depth: depth + 1))
            }
            return name == "and" ? .and(parts) : .or(parts)
        default: throw QueryParseError(.path(path), "one of and, or and not, or column, op and value")
        }
    }

    private func test(_ members: [String: JSONValue], _ path: String) throws(QueryParseError) -> EventCondition {
        try Self.refuseOthers(members, ["column", "op", "value"], path)
        let column = try Self.column(members["column"]?.string ?? "", .path(path + ".column"))
        guard let name = members["op"]?.string else { throw QueryParseError(.path(path + ".op"), Self.operators) }
        let place = path + ".value"
        switch name {
        case "exists":
            guard members["value"] == nil else { throw QueryParseError(.path(place), "no value with exists") }
            return .exists(column)
        case "in":
            guard let values = members["value"]?.array, !values.isEmpty, values.count <= limits.listMax else {
                throw QueryParseError(.path(place), "a list of 1 to \(limits.listMax) values")
            }
            var literals: [QueryLiteral] = []
            for (index, value) in values.enumerated() { literals.append(try Self.literal(value, "\(place)[\(index)]")) }
            return .isIn(column, literals)
        case "contains", "starts_with":
            guard let text = members["value"]?.string else { throw QueryParseError(.path(place), "a text") }
            return name == "contains" ? .contains(column, text) : .startsWith(column, text)
        default:
            guard let comparison = EventCondition.Comparison(rawValue: Self.plain[name] ?? name) else {
                throw QueryParseError(.path(path + ".op"), Self.operators)
            }
            return .compare(column, comparison, try Self.literal(members["value"] ?? .null, place))
        }
    }

    private static let plain = ["≠": "!=", "≤": "<=", "≥": ">=", "==": "="]

    private static func literal(_ value: JSONValue, _ path: String) throws(QueryParseError) -> QueryLiteral {
        switch value {
        case .string(let text): return .text(text)
        case .bool(let truth): return .text(truth ? "true" : "false")
        case .integer, .number:
            if let number = value.double { return .number(number) }
        case .null, .array, .object: break
        }
        throw QueryParseError(.path(path), "a text, a number or a truth value; use exists for absence")
    }

    // MARK: members

    private static func refuseOthers(
        _ members: [String: JSONValue], _ known: Set<String>, _ path: String
    ) throws(QueryParseError) {
        guard members.keys.allSatisfy({ known.contains($0) }) else {
            throw QueryParseError(.path(path), "no other members than " + known.sorted().joined(separator: ", "))
        }
    }

    private static func column(_ path: String, _ place: QueryParseError.Place) throws(QueryParseError) -> ColumnName {
        guard ColumnName.isWellFormed(path) else {
            throw QueryParseError(place, "a column such as name or props.plan")
        }
        return ColumnName(path)
    }

    private static func string(_ members: [String: JSONValue], _ name: String) throws(QueryParseError) -> String? {
        guard let value = members[name], value != .null else { return nil }
        guard let text = value.string else { throw QueryParseError(.path(name), "a text") }
        return text
    }

    private static func strings(_ members: [String: JSONValue], _ name: String) throws(QueryParseError) -> [String]? {
        guard let value = members[name], value != .null else { return nil }
        guard let values = value.array, values.count <= 1000 else {
            throw QueryParseError(.path(name), "a list of texts")
        }
        var texts: [String] = []
        for (index, value) in values.enumerated() {
            guard let text = value.string else { throw QueryParseError(.path("\(name)[\(index)]"), "a text") }
            texts.append(text)
        }
        return texts
    }

    private static func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ members: [String: JSONValue], _ name: String, _ type: Value.Type
    ) throws(QueryParseError) -> Value? {
        guard let text = try string(members, name) else { return nil }
        guard let value = Value(rawValue: text) else {
            let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
            throw QueryParseError(.path(name), "one of \(known)")
        }
        return value
    }

    private static func outcomes(_ names: [String]) throws(QueryParseError) -> Set<EventOutcome> {
        guard !names.isEmpty else { throw QueryParseError(.path("outcomes"), "at least one outcome") }
        var found: Set<EventOutcome> = []
        for (index, name) in names.enumerated() {
            guard let outcome = EventOutcome.allCases.first(where: { $0.name == name }) else {
                throw QueryParseError(
                    .path("outcomes[\(index)]"), "one of stored, late, bot, duplicate and quarantined")
            }
            found.insert(outcome)
        }
        return found
    }

    /// Reads each text; what is wrong with one is said with its place in the list.
    private static func parsed<Value>(
        _ texts: [String], _ name: String, _ parse: (String) throws(QueryParseError) -> Value
    ) throws(QueryParseError) -> [Value] {
        var values: [Value] = []
        for (index, text) in texts.enumerated() {
            do throws(QueryParseError) { values.append(try parse(text)) } catch {
                throw QueryParseError(.path("\(name)[\(index)]"), error.expected)
            }
        }
        return values
    }
}
