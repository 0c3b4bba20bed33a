/// A branch condition: comparisons of slots and facts with literals, joined by `and`, `or`, `not`.
package indirect enum Condition: Sendable, Hashable {
    package enum Comparison: String, Sendable, CaseIterable {
        case equal = "=="
        case notEqual = "!="
        case lessOrEqual = "<="
        case greaterOrEqual = ">="
        case less = "<"
        case greater = ">"
    }

    package enum Literal: Sendable, Hashable {
        case string(String)
        /// For money: whole currency units.
        case integer(Int64)
        case boolean(Bool)
    }

    case compare(String, Comparison, Literal)
    case contains(String, [Literal])
    case isSet(String)
    case declined(String)
    case not(Condition)
    case all([Condition])
    case any([Condition])
}

/// What a condition is judged by.
package struct ConditionScope: Sendable {
    var value: @Sendable (String) -> SlotValue?
    var isDeclined: @Sendable (String) -> Bool
}

extension Condition {
    /// A comparison with something unset is false; the checker makes sure that none can be unset.
    func holds(in scope: ConditionScope) -> Bool {
        switch self {
        case .compare(let name, let comparison, let literal):
            scope.value(name).map { $0.compares(comparison, literal) } ?? false
        case .contains(let name, let literals):
            scope.value(name).map { value in literals.contains { value.compares(.equal, $0) } } ?? false
        case .isSet(let name): scope.value(name) != nil
        case .declined(let name): scope.isDeclined(name)
        case .not(let inner): !inner.holds(in: scope)
        case .all(let parts): parts.allSatisfy { $0.holds(in: scope) }
        case .any(let parts): parts.contains { $0.holds(in: scope) }
        }
    }

    /// Names compared, with the names known to be set where each is used.
    func comparisons(known: Set<String> = []) -> [(
        name: String, literals: [Literal], ordered: Bool, known: Set<String>
    )] {
        switch self {
        case .compare(let name, let comparison, let literal):
            [(name, [literal], comparison != .equal && comparison != .notEqual, known)]
        case .contains(let name, let literals): [(name, literals, false, known)]
        case .isSet, .declined: []
        case .not(let inner): inner.comparisons(known: known)
        case .all(let parts):
            parts.enumerated().flatMap { index, part in
                part.comparisons(known: parts[..<index].reduce(known) { $0.union($1.setWhenTrue) })
            }
        case .any(let parts): parts.flatMap { $0.comparisons(known: known) }
        }
    }

    /// Names asked about by `isSet` and `declined`.
    var mentioned: [String] {
        switch self {
        case .compare, .contains: []
        case .isSet(let name), .declined(let name): [name]
        case .not(let inner): inner.mentioned
        case .all(let parts), .any(let parts): parts.flatMap(\.mentioned)
        }
    }

    /// Names that are certainly set when the condition holds.
    var setWhenTrue: Set<String> {
        switch self {
        case .isSet(let name), .compare(let name, _, _), .contains(let name, _): [name]
        case .all(let parts): parts.reduce(into: []) { $0.formUnion($1.setWhenTrue) }
        case .any(let parts):
            parts.dropFirst().reduce(parts.first?.setWhenTrue ?? []) { $0.intersection($1.setWhenTrue) }
        case .declined, .not: []
        }
    }
}

extension SlotValue {
    func compares(_ comparison: Condition.Comparison, _ literal: Condition.Literal) -> Bool {
        switch (self, literal) {
        case (.boolean(let value), .boolean(let wanted)): comparison == .equal ? value == wanted : value != wanted
        case (.integer(let value), .integer(let wanted)): comparison.holds(value, wanted)
        case (.money(let range), .integer(let wanted)): comparison.holds(range.cents, wanted * 100)
        case (_, .string(let wanted)):
            if let string { comparison == .equal ? string == wanted : string != wanted } else { false }
        default: false
        }
    }
}

extension Condition.Comparison {
    func holds(_ left: Int64, _ right: Int64) -> Bool {
        switch self {
        case .equal: left == right
        case .notEqual: left != right
        case .lessOrEqual: left <= right
        case .greaterOrEqual: left >= right
        case .less: left < right
        case .greater: left > right
        }
    }
}

/// Why a condition's text cannot be read.
struct ConditionError: Error, Equatable { var detail: String }

/// Reads the condition language by recursive descent: `or` binds weaker than `and`, `not` strongest.
struct ConditionParser {
    private enum Token: Equatable { case name(String), string(String), integer(Int64), symbol(String), end }

    /// Nesting that a condition may have.
    private static let depthMax = 20
    private var tokens: [Token] = []
    private var index = 0
    private var depth = 0

    static func parse(_ text: String) throws(ConditionError) -> Condition {
        var parser = ConditionParser()
        parser.tokens = try tokenize(text)
        let condition = try parser.disjunction()
        guard parser.current == .end else { throw ConditionError(detail: "unexpected words at the end") }
        return condition
    }

    private var current: Token { index < tokens.count ? tokens[index] : .end }

    private mutating func take(_ token: Token) -> Bool {
        guard current == token else { return false }
        index += 1
        return true
    }

    private mutating func disjunction() throws(ConditionError) -> Condition {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else { throw ConditionError(detail: "nested too deeply") }
        var parts = [try conjunction()]
        while take(.name("or")) { parts.append(try conjunction()) }
        return parts.count == 1 ? parts[0] : .any(parts)
    }

    private mutating func conjunction() throws(ConditionError) -> Condition {
        var parts = [try negation()]
        while take(.name("and")) { parts.append(try negation()) }
        return parts.count == 1 ? parts[0] : .all(parts)
    }

    private mutating func negation() throws(ConditionError) -> Condition {
        if take(.name("not")) {
            depth += 1
            defer { depth -= 1 }
            guard depth <= Self.depthMax else { throw ConditionError(detail: "nested too deeply") }
            return .not(try negation())
        }
        return try atom()
    }

    private mutating func atom() throws(ConditionError) -> Condition {
        if take(.symbol("(")) {
            let inner = try disjunction()
            guard take(.symbol(")")) else { throw ConditionError(detail: "missing )") }
            return inner
        }
        guard case .name(let name) = current else { throw ConditionError(detail: "a slot name is wanted") }
        index += 1
        if name == "isSet" || name == "declined" {
            guard take(.symbol("(")), case .name(let slot) = current else {
                throw ConditionError(detail: "\(name) wants (slot)")
            }
            index += 1
            guard take(.symbol(")")) else { throw ConditionError(detail: "missing )") }
            return name == "isSet" ? .isSet(slot) : .declined(slot)
        }
        if take(.name("in")) { return .contains(name, try list()) }
        guard case .symbol(let symbol) = current, let comparison = Condition.Comparison(rawValue: symbol) else {
            throw ConditionError(detail: "a comparison is wanted after \(name)")
        }
        index += 1
        return .compare(name, comparison, try literal())
    }

    private mutating func list() throws(ConditionError) -> [Condition.Literal] {
        guard take(.symbol("[")) else { throw ConditionError(detail: "in wants [values]") }
        var values = [try literal()]
        while take(.symbol(",")) { values.append(try literal()) }
        guard take(.symbol("]")) else { throw ConditionError(detail: "missing ]") }
        return values
    }

    private mutating func literal() throws(ConditionError) -> Condition.Literal {
        defer { index += 1 }
        switch current {
        case .string(let text): return .string(text)
        case .integer(let value): return .integer(value)
        case .name("true"): return .boolean(true)
        case .name("false"): return .boolean(false)
        default: throw ConditionError(detail: "a 'text', a number, true or false is wanted")
        }
    }

    private static func tokenize(_ text: String) throws(ConditionError) -> [Token] {
        var tokens: [Token] = []
        var rest = Substring(text)
        while let first = rest.first {
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "'" {
                rest.removeFirst()
                guard let close = rest.firstIndex(of: "'") else { throw ConditionError(detail: "missing '") }
                tokens.append(.string(String(rest[..<close])))
                rest = rest[rest.index(after: close)...]
            } else if let symbol = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","].first(
                where: rest.hasPrefix)
            {
                tokens.append(.symbol(symbol))
                rest = rest.dropFirst(symbol.count)
            } else {
                let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" }
                guard !word.isEmpty else { throw ConditionError(detail: "unexpected \(first)") }
                tokens.append(Int64(word).map(Token.integer) ?? .name(String(word)))
                rest = rest.dropFirst(word.count)
            }
        }
        return tokens
    }
}
