package import AurumCore

/// Reads the JSON body of a question member by member. Everything that is wrong is said at once, with the path of its
/// member; a member that nobody asked for is wrong too.
package final class BehaviourBody {
    private var members: [String: JSONValue]
    private let path: String
    private let problems: ProblemList

    package init(_ body: JSONValue) throws(BehaviourError) {
        guard let members = body.object else {
            throw BehaviourError(problems: [.init(field: "", detail: "must be one JSON object")])
        }
        (self.members, path, problems) = (members, "", ProblemList())
    }

    private init(_ members: [String: JSONValue], _ path: String, _ problems: ProblemList) {
        (self.members, self.path, self.problems) = (members, path, problems)
    }

    /// All problems of a body and of the objects inside it.
    private final class ProblemList {
        var all: [BehaviourError.Problem] = []
    }

    package func refuse(_ name: String, _ detail: String) {
        problems.all.append(BehaviourError.Problem(field: path + name, detail: detail))
    }

    /// Call it when everything was read.
    package func finish() throws(BehaviourError) {
        refuseRest()
        guard problems.all.isEmpty else { throw BehaviourError(problems: problems.all) }
    }

    private func refuseRest() {
        for name in members.keys.sorted() { refuse(name, "is no member of this question") }
    }

    // MARK: values

    /// The member, taken out of what is left; nil where it is absent or null.
    package func take(_ name: String) -> JSONValue? {
        guard let value = members.removeValue(forKey: name), value != .null else { return nil }
        return value
    }

    package func text(_ name: String) -> String? {
        guard let value = take(name) else { return nil }
        if let text = value.string, !text.isEmpty { return text }
        refuse(name, "must be a text")
        return nil
    }

    package func integer(_ name: String, _ range: ClosedRange<Int>, standard: Int) -> Int {
        guard let value = take(name) else { return standard }
        if let number = value.integer, range.contains(Int(clamping: number)) { return Int(number) }
        refuse(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        return standard
    }

    package func flag(_ name: String, standard: Bool = false) -> Bool {
        guard let value = take(name) else { return standard }
        if let flag = value.bool { return flag }
        refuse(name, "must be true or false")
        return standard
    }

    package func choice<Choice: RawRepresentable & CaseIterable>(
        _ name: String, standard: Choice
    ) -> Choice where Choice.RawValue == String {
        guard let value = take(name) else { return standard }
        if let choice = value.string.flatMap({ Choice(rawValue: $0) }) { return choice }
        refuse(name, "must be one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        return standard
    }

    package func column(_ name: String) -> ColumnName? {
        guard let text = text(name) else { return nil }
        guard text.utf8.count <= 200 else {
            refuse(name, "must be at most 200 bytes")
            return nil
        }
        return ColumnName(text)
    }

    package func texts(_ name: String, max: Int) -> [String] {
        guard let value = take(name) else { return [] }
        let texts = (value.array ?? [value]).compactMap(\.string)
        if texts.count == value.array?.count ?? 1, texts.count <= max, !texts.contains("") { return texts }
        refuse(name, "must be a list of at most \(max) texts")
        return []
    }

    package func integers(_ name: String, _ range: ClosedRange<Int>, max: Int, standard: [Int32]) -> [Int32] {
        guard let value = take(name) else { return standard }
        let numbers = (value.array ?? []).compactMap(\.integer).filter { range.contains(Int(clamping: $0)) }
        if let array = value.array, !array.isEmpty, numbers.count == array.count, numbers.count <= max {
            return Set(numbers).sorted().map { Int32($0) }
        }
        refuse(name, "must be a list of 1 to \(max) whole numbers from \(range.lowerBound) to \(range.upperBound)")
        return standard
    }

    /// A length of time as `30m`, `12h`, `7d` or `2w`, in microseconds.
    package func duration(_ name: String, max: Int64, standard: Int64) -> Int64 {
        guard let value = take(name) else { return standard }
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
        if let text = value.string, let unit = text.last.flatMap({ units[$0] }),
            let count = Int64(text.dropLast()), count > 0, count <= 1_000_000
        {
            let length = count * unit * 1_000_000
            if length <= max { return length }
        }
        refuse(name, "must be a length of time such as 30m, 12h, 7d, at most \(max / 86_400_000_000)d")
        return standard
    }

    // MARK: nested

    /// The objects of a list; a bad one is said and left out. A text stands for an object with that `where`.
    package func objects(_ name: String, count: ClosedRange<Int>) -> [(body: BehaviourBody, value: JSONValue)] {
        guard let value = take(name)?.array, count.contains(value.count) else {
            refuse(name, "must be a list of \(count.lowerBound) to \(count.upperBound) objects")
            return []
        }
        return value.enumerated().compactMap { index, value in
            let value = value.string == nil ? value : ["where": value]
            guard let members = value.object else {
                refuse("\(name)[\(index)]", "must be an object or a text")
                return nil
            }
            return (BehaviourBody(members, "\(path)\(name)[\(index)].", problems), value)
        }
    }

    /// Says what a nested object has too much.
    package func close() { refuseRest() }

    // MARK: conditions

    /// A condition as `/v1/query` takes it under `where`, or its text.
    package func condition(_ name: String) -> EventCondition? {
        take(name).flatMap { condition($0, at: name) }
    }

    package func requiredCondition(_ name: String) -> EventCondition? {
        if let value = take(name) { return condition(value, at: name) }
        refuse(name, "is missing: which events does it mean?")
        return nil
    }

    /// All that is left of this object as a condition.
    package func conditionItself() -> EventCondition? {
        let value = JSONValue.object(members)
        members = [:]
        return condition(value, at: "")
    }

    private func condition(_ value: JSONValue, at name: String) -> EventCondition? {
        do throws(QueryParseError) {
            if let text = value.string { return try EventCondition(text: text) }
            return try EventCondition(json: value)
        } catch {
            let inside = error.pathBelowWhere
            refuse(name.isEmpty ? String(inside.drop { $0 == "." }) : name + inside, error.plea)
            return nil
        }
    }

    // MARK: what /v1/query takes too

    /// Reads members as `POST /v1/query` reads them; nil when one of them is wrong.
    package func query(_ names: [String], now: Timestamp) -> EventQuery? {
        var document: [String: JSONValue] = [:]
        for name in names { document[name] = take(name) }
        // A condition may be text here.
        if document["where"]?.string != nil, let condition = document.removeValue(forKey: "where") {
            guard let filter = self.condition(condition, at: "where") else { return nil }
            guard var query = query(document, now) else { return nil }
            query.filter = filter
            return query
        }
        return query(document, now)
    }

    private func query(_ document: [String: JSONValue], _ now: Timestamp) -> EventQuery? {
        do throws(QueryParseError) { return try QueryDocument.query(.object(document), now: now) } catch {
            if case .path(let path) = error.place { refuse(path, error.plea) }
            return nil
        }
    }
}

extension EventCondition {
    private static let clause = "count where "

    /// A condition in the text language of queries, and nothing more than one.
    package init(text: String) throws(QueryParseError) {
        let now = Timestamp(microseconds: 0)
        var query: EventQuery
        do throws(QueryParseError) { query = try QueryTextParser.query(Self.clause + text, now: now) } catch {
            guard case .byte(let offset) = error.place else { throw error }
            throw QueryParseError(.byte(max(0, offset - Self.clause.utf8.count)), error.expected)
        }
        guard let filter = query.filter else { throw QueryParseError(.byte(0), "a condition such as name = purchase") }
        query.filter = nil
        guard query == EventQuery() else {
            throw QueryParseError(.byte(text.utf8.count), "a condition and no other clause")
        }
        self = filter
    }

    /// A condition as documents write it under `where`.
    package init(json: JSONValue) throws(QueryParseError) {
        let query = try QueryDocument.query(["where": json], now: Timestamp(microseconds: 0))
        guard let filter = query.filter else { throw QueryParseError(.path("where"), "a condition") }
        self = filter
    }
}

extension QueryParseError {
    /// What should stand there; for a text with the byte.
    package var plea: String {
        switch place {
        case .byte(let offset): "expected \(expected) at byte \(offset)"
        case .path: "expected \(expected)"
        }
    }

    /// The path inside a condition.
    var pathBelowWhere: String {
        guard case .path(let path) = place, path.hasPrefix("where") else { return "" }
        return String(path.dropFirst("where".count))
    }
}
