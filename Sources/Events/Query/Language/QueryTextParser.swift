package import AurumCore

/// The text language of queries, for example `count, unique(person) where type = page by channel per day last 7d`.
///
/// Measures come first, then clauses in any order, each once. See `docs/query.md`.
package struct QueryTextParser {
    private let places: [QueryLexer.Place]
    private var index = 0
    var draft = QueryDraft()

    /// The query that a text means.
    package static func query(_ text: String, now: Timestamp, limits: QueryLimits = QueryLimits())
        throws(QueryParseError) -> EventQuery
    {
        try draft(text, limits).resolved(now: now, limits: limits)
    }

    static func draft(_ text: String, _ limits: QueryLimits) throws(QueryParseError) -> QueryDraft {
        guard text.utf8.count <= limits.textBytesMax else {
            throw QueryParseError(.byte(limits.textBytesMax), "at most \(limits.textBytesMax) bytes")
        }
        var parser = QueryTextParser(places: try QueryLexer.places(text))
        parser.draft.place = .byte(0)
        try parser.whole(limits)
        return parser.draft
    }

    /// One measure, as documents write it.
    static func measure(_ text: String) throws(QueryParseError) -> QueryMeasure {
        var parser = QueryTextParser(places: try QueryLexer.places(text))
        let measure = try parser.measure()
        guard parser.peek == .end else { throw parser.failure("nothing more after the measure") }
        return measure
    }

    /// One term of an order, as documents write it.
    static func order(_ text: String) throws(QueryParseError) -> QueryOrder {
        var parser = QueryTextParser(places: try QueryLexer.places(text))
        let order = try parser.orderTerm()
        guard parser.peek == .end else { throw parser.failure("asc, desc or nothing more") }
        return order
    }

    private init(places: [QueryLexer.Place]) { self.places = places }

    // MARK: tokens

    private var peek: QueryLexer.Token { places[index].token }
    private var offset: Int { places[index].offset }

    private func failure(_ expected: String) -> QueryParseError { QueryParseError(.byte(offset), expected) }

    private mutating func skip() { if index < places.count - 1 { index += 1 } }

    private mutating func take(_ token: QueryLexer.Token) -> Bool {
        guard peek == token else { return false }
        skip()
        return true
    }

    private mutating func takeWord(_ word: String) -> Bool {
        guard case .word(let found) = peek, found.lowercased() == word else { return false }
        skip()
        return true
    }

    private mutating func expect(_ sign: String) throws(QueryParseError) {
        guard take(.sign(sign)) else { throw failure("`\(sign)`") }
    }

    // MARK: clauses

    private static let clauses =
        "where, by, per, last, today, yesterday, since, from, in, app, bots, outcomes, order, limit or the end"

    private mutating func whole(_ limits: QueryLimits) throws(QueryParseError) {
        var measures = [try measure()]
        while take(.sign(",")) { measures.append(try measure()) }
        draft.query.measures = measures
        var seen: Set<String> = []
        while peek != .end {
            guard case .word(let word) = peek else { throw failure(Self.clauses) }
            let clause = word.lowercased()
            let start = offset
            skip()
            guard try take(clause: clause, limits) else {
                throw QueryParseError(.byte(start), Self.clauses)
            }
            let kind = ["last", "today", "yesterday", "since", "from"].contains(clause) ? "range" : clause
            guard seen.insert(kind == "apps" ? "app" : kind).inserted else {
                throw QueryParseError(.byte(start), "each clause once")
            }
        }
    }

    /// False when there is no such clause.
    private mutating func take(clause: String, _ limits: QueryLimits) throws(QueryParseError) -> Bool {
        switch clause {
        case "where": draft.query.filter = try condition(depth: 0, limits)
        case "by": draft.query.groupBy = try columns()
        case "per":
            let units = TimeBucket.allCases.map(\.rawValue).joined(separator: ", ")
            draft.query.bucket = try choice(TimeBucket.self, "one of \(units)")
        case "last": draft.range = try last()
        case "today": draft.range = .last(1, .day)
        case "yesterday": draft.range = .yesterday
        case "since", "from":
            let from = try moment()
            draft.range = .between(from, takeWord("to") || takeWord("until") ? try moment() : nil)
        case "in":
            draft.timezonePlace = .byte(offset)
            draft.query.timezone = try value("a time zone")
        case "app", "apps":
            draft.query.apps = [try value("an app")]
            while take(.sign(",")) { draft.query.apps.append(try value("an app")) }
        case "bots": draft.query.bots = try choice(BotChoice.self, "include, exclude or only")
        case "outcomes": draft.query.outcomes = try outcomes()
        case "order":
            guard takeWord("by") else { throw failure("`by`") }
            draft.query.order = [try orderTerm()]
            while take(.sign(",")) { draft.query.order.append(try orderTerm()) }
        case "limit":
            guard case .word(let word) = peek, let limit = Int(word) else { throw failure("a whole number") }
            guard (1...limits.rowsMax).contains(limit) else { throw failure("1 to \(limits.rowsMax)") }
            draft.query.limit = limit
            skip()
        default: return false
        }
        return true
    }

    private mutating func choice<Value: RawRepresentable<String>>(
        _ type: Value.Type, _ expected: String
    ) throws(QueryParseError) -> Value {
        guard case .word(let word) = peek, let value = Value(rawValue: word.lowercased()) else {
            throw failure(expected)
        }
        skip()
        return value
    }

    private mutating func outcomes() throws(QueryParseError) -> Set<EventOutcome> {
        if takeWord("all") { return Set(EventOutcome.allCases) }
        var found: Set<EventOutcome> = []
        repeat {
            guard case .word(let word) = peek,
                let outcome = EventOutcome.allCases.first(where: { $0.name == word.lowercased() })
            else { throw failure("all, or a list of stored, late, bot, duplicate and quarantined") }
            found.insert(outcome)
            skip()
        } while take(.sign(","))
        return found
    }

    private mutating func columns() throws(QueryParseError) -> [ColumnName] {
        var columns = [try column()]
        while take(.sign(",")) { columns.append(try column()) }
        return columns
    }

    private mutating func column() throws(QueryParseError) -> ColumnName {
        switch peek {
        case .word(let path), .name(let path):
            guard ColumnName.isWellFormed(path) else { throw failure("a column such as name or props.plan") }
            skip()
            return ColumnName(path)
        case .quoted, .sign, .end: throw failure("a column such as name or props.plan")
        }
    }

    private mutating func value(_ expected: String) throws(QueryParseError) -> String {
        switch peek {
        case .word(let text), .quoted(let text):
            skip()
            return text
        case .name, .sign, .end: throw failure(expected)
        }
    }

    // MARK: times

    private mutating func moment() throws(QueryParseError) -> QueryDraft.Moment {
        let place = QueryParseError.Place.byte(offset)
        let text = try value("a date or a time")
        if text.utf8.count > 4, let milliseconds = Int64(text) { return .milliseconds(milliseconds, place) }
        return .text(text, place)
    }

    /// `7d`, or `7 days`.
    private mutating func last() throws(QueryParseError) -> QueryDraft.Range {
        guard case .word(let word) = peek, let range = Self.lastRange(word) else {
            if case .word(let word) = peek, let count = Int(word), case .word(let unit) = places[index + 1].token,
                let range = Self.lastRange("\(count)\(unit.lowercased())")
            {
                skip()
                skip()
                return range
            }
            throw failure("a number of units such as 90m, 24h, 7d, 4w or 12mo")
        }
        skip()
        return range
    }

    /// nil for anything but a count from 1 to 100,000 with a unit.
    static func lastRange(_ text: String) -> QueryDraft.Range? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let count = Int(digits), (1...100_000).contains(count) else { return nil }
        let unit: TimeBucket? =
            switch text.dropFirst(digits.count) {
            case "m", "min", "minute", "minutes": .minute
            case "h", "hour", "hours": .hour
            case "d", "day", "days": .day
            case "w", "week", "weeks": count <= 5000 ? .week : nil
            case "mo", "month", "months": count <= 1200 ? .month : nil
            default: nil
            }
        return unit.map { .last(count, $0) }
    }

    // MARK: measures

    private mutating func measure() throws(QueryParseError) -> QueryMeasure {
        let start = offset
        guard case .word(let word) = peek else { throw failure(Self.measures) }
        skip()
        var measure: QueryMeasure
        switch word.lowercased() {
        case "count": measure = QueryMeasure(.count)
        case "unique":
            try expect("(")
            measure = QueryMeasure(
                .unique(try choice(QueryMeasure.UniqueThing.self, "person, session or identifier")))
            try expect(")")
        case "sum": measure = QueryMeasure(.sum(try measured()))
        case "avg": measure = QueryMeasure(.average(try measured()))
        case "min": measure = QueryMeasure(.least(try measured()))
        case "max": measure = QueryMeasure(.greatest(try measured()))
        case "quantile": measure = QueryMeasure(try quantile())
        default: throw QueryParseError(.byte(start), Self.measures)
        }
        if takeWord("as") { measure.label = try value("a name") }
        return measure
    }

    private static let measures = "a measure: count, unique(…), sum(…), avg(…), min(…), max(…) or quantile(…, …)"

    private mutating func measured() throws(QueryParseError) -> ColumnName {
        try expect("(")
        let start = offset
        let column = try column()
        guard !column.holdsText else { throw QueryParseError(.byte(start), "a column that holds numbers") }
        try expect(")")
        return column
    }

    private mutating func quantile() throws(QueryParseError) -> QueryMeasure.Kind {
        try expect("(")
        guard case .word(let word) = peek, let share = Self.number(word), (0...1).contains(share) else {
            throw failure("a share from 0 to 1")
        }
        skip()
        try expect(",")
        let start = offset
        let column = try column()
        guard !column.holdsText else { throw QueryParseError(.byte(start), "a column that holds numbers") }
        try expect(")")
        return .quantile(share, column)
    }

    private mutating func orderTerm() throws(QueryParseError) -> QueryOrder {
        let start = index
        let by: String
        if case .quoted(let name) = peek {
            skip()
            by = name
        } else if case .sign("(") = places[min(index + 1, places.count - 1)].token {
            by = try measure().kind.text
        } else {
            guard case .word(let name) = peek else {
                if case .name(let name) = peek {
                    skip()
                    return QueryOrder(name, isDescending: direction())
                }
                index = start
                throw failure("a measure, a column or bucket")
            }
            skip()
            by = name
        }
        return QueryOrder(by, isDescending: direction())
    }

    private mutating func direction() -> Bool {
        if takeWord("desc") { return true }
        _ = takeWord("asc")
        return false
    }

    // MARK: conditions

    private mutating func condition(depth: Int, _ limits: QueryLimits) throws(QueryParseError) -> EventCondition {
        guard depth < limits.depthMax else { throw failure("a condition at most \(limits.depthMax) deep") }
        var parts = [try conjunction(depth: depth, limits)]
        while takeWord("or") { parts.append(try conjunction(depth: depth, limits)) }
        return parts.count == 1 ? parts[0] : .or(parts)
    }

    private mutating func conjunction(depth: Int, _ limits: QueryLimits) throws(QueryParseError) -> EventCondition {
        var parts = [try negation(depth: depth, limits)]
        while takeWord("and") { parts.append(try negation(depth: depth, limits)) }
        return parts.count == 1 ? parts[0] : .and(parts)
    }

    private mutating func negation(depth: Int, _ limits: QueryLimits) throws(QueryParseError) -> EventCondition {
        if takeWord("not") || take(.sign("!")) {
            guard depth < limits.depthMax else { throw failure("a condition at most \(limits.depthMax) deep") }
            return .not(try negation(depth: depth + 1, limits))
        }
        if take(.sign("(")) {
            let inner = try condition(depth: depth + 1, limits)
            try expect(")")
            return inner
        }
        return try test(limits)
    }

    private mutating func test(_ limits: QueryLimits) throws(QueryParseError) -> EventCondition {
        let column = try column()
        if case .sign(let sign) = peek, let comparison = EventCondition.Comparison(rawValue: sign) {
            skip()
            return .compare(column, comparison, try literal(column))
        }
        if takeWord("in") {
            try expect("(")
            var literals = [try literal(column)]
            while take(.sign(",")) { literals.append(try literal(column)) }
            guard literals.count <= limits.listMax else { throw failure("at most \(limits.listMax) values") }
            try expect(")")
            return .isIn(column, literals)
        }
        if takeWord("contains") { return .contains(column, try value("a text")) }
        if takeWord("starts_with") { return .startsWith(column, try value("a text")) }
        if takeWord("exists") { return .exists(column) }
        throw failure("=, !=, <, <=, >, >=, in, contains, starts_with or exists")
    }

    private mutating func literal(_ column: ColumnName) throws(QueryParseError) -> QueryLiteral {
        if case .word(let word) = peek, !column.holdsText, let number = Self.number(word) {
            skip()
            return .number(number)
        }
        return .text(try value("a value"))
    }

    /// A number as JSON writes it; nil for other words, `007` among them.
    static func number(_ word: String) -> Double? {
        let body = word.hasPrefix("-") ? word.dropFirst() : word[...]
        guard let first = body.utf8.first, (48...57).contains(first),
            body.utf8.allSatisfy({ (48...57).contains($0) || [0x2e, 0x65, 0x45, 0x2b, 0x2d].contains($0) }),
            !(first == 48 && body.utf8.dropFirst().first.map { (48...57).contains($0) } == true),
            let number = Double(word), number.isFinite
        else { return nil }
        return number
    }
}

extension ColumnName {
    /// Names with dots between them, 512 bytes at most.
    static func isWellFormed(_ path: String) -> Bool {
        !path.isEmpty && path.utf8.count <= 512
            && path.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty }
    }
}
