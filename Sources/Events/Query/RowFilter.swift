package import AurumCore

/// Which rows of a block a reader may see: those of one organisation, of some apps, inside a time range, with given
/// outcomes, that fit a condition.
///
/// The organisation is given by the caller from the key that asks, never by the text of a query. A filter is a value
/// shared by all threads; each thread reads blocks with a `RowScanner` of its own.
package struct RowFilter: Sendable {
    package let org: String
    /// Empty means all.
    package let apps: Set<String>
    /// Microseconds since 1970: `from` ≤ time < `to`.
    package let from: Int64
    package let to: Int64
    /// Bit n stands for the outcome with raw value n.
    let outcomes: UInt8
    /// Quarantined rows that count as nothing, because they were replayed.
    var replayed = ReplayedRows.none
    /// Microseconds since 1970: requests that came in later are left out.
    package var receivedUntil = Int64.max
    let test: RowTestTree?
    let tests: [ColumnTest]

    /// - Parameters:
    ///   - from: the earliest time of a row, itself included; nil for no bound.
    ///   - to: the time that rows lie before; nil for no bound.
    ///   - outcomes: which rows count, if other than `bots` says; duplicates and quarantined rows only if named here.
    package init(
        _ condition: EventCondition? = nil, org: String, apps: some Sequence<String> = [String](),
        from: Timestamp? = nil, to: Timestamp? = nil, bots: BotChoice = .exclude, outcomes: Set<EventOutcome>? = nil
    ) {
        self.org = org
        self.apps = Set(apps)
        self.from = from?.microseconds ?? .min
        self.to = to?.microseconds ?? .max
        self.outcomes = (outcomes ?? bots.outcomes).reduce(0) { $0 | 1 << $1.rawValue }
        var compiler = ConditionCompiler()
        test = condition.map { compiler.tree($0) }
        tests = compiler.tests
    }

    package func mayRead(org: String, app: String) -> Bool {
        org == self.org && (apps.isEmpty || apps.contains(app))
    }

    /// False when no row of the block can be selected.
    package func mayHold(_ block: BlockSummary) -> Bool {
        block.rowCount > 0 && block.latest >= from && (block.earliest < to || to == .max)
            && block.sources.contains { mayRead(org: $0.org, app: $0.app) }
    }

    /// Whether all rows of the block lie inside the time range, so that the range does not matter.
    package func spans(_ block: BlockSummary) -> Bool { spans(earliest: block.earliest, latest: block.latest) }

    func spans(earliest: Int64, latest: Int64) -> Bool { earliest >= from && (latest < to || to == .max) }
}

/// Which rows of a block were selected, in the order of the log.
package enum RowSelection: Sendable, Equatable {
    case none
    case all
    case some([UInt32])

    package func count(of rowCount: Int) -> Int {
        switch self {
        case .none: 0
        case .all: rowCount
        case .some(let rows): rows.count
        }
    }

    /// The rows as numbers, also where all were selected.
    package func rows(of rowCount: Int) -> [UInt32] {
        switch self {
        case .none: []
        case .all: Array(0..<UInt32(rowCount))
        case .some(let rows): rows
        }
    }
}

/// A condition with its tests numbered.
indirect enum RowTestTree: Sendable {
    case all([RowTestTree])
    case any([RowTestTree])
    case not(RowTestTree)
    case test(Int)
}

/// One test of one column, on its texts or on its numbers.
struct ColumnTest: Sendable {
    enum Kind: Sendable {
        case equal(Set<[UInt8]>)
        case order(EventCondition.Comparison, [UInt8])
        case contains([UInt8])
        case startsWith([UInt8])
        case exists
        case number(EventCondition.Comparison, Double)
        case numbers(Set<Double>)
    }

    let column: ColumnName
    let kind: Kind

    var isOfNumbers: Bool {
        switch kind {
        case .number, .numbers: true
        case .equal, .order, .contains, .startsWith, .exists: false
        }
    }

    /// Whether a text fits; only for tests of texts.
    func holds(_ text: String) -> Bool {
        switch kind {
        case .equal(let known): known.contains(Array(text.utf8))
        case .order(let comparison, let bound):
            switch comparison {
            case .less: text.utf8.lexicographicallyPrecedes(bound)
            case .greaterOrEqual: !text.utf8.lexicographicallyPrecedes(bound)
            case .greater: bound.lexicographicallyPrecedes(text.utf8)
            case .lessOrEqual: !bound.lexicographicallyPrecedes(text.utf8)
            case .equal: text.utf8.elementsEqual(bound)
            case .notEqual: !text.utf8.elementsEqual(bound)
            }
        case .contains(let part): Self.contains(Array(text.utf8), part)
        case .startsWith(let part): text.utf8.starts(with: part)
        case .exists: true
        case .number, .numbers: false
        }
    }

    private static func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
        guard let first = part.first else { return true }
        guard text.count >= part.count else { return false }
        for start in 0...(text.count - part.count) where text[start] == first {
            if text[start..<start + part.count].elementsEqual(part) { return true }
        }
        return false
    }
}

/// Turns a condition into numbered tests of columns.
private struct ConditionCompiler {
    var tests: [ColumnTest] = []

    mutating func tree(_ condition: EventCondition) -> RowTestTree {
        switch condition {
        case .and(let parts): return .all(parts.map { tree($0) })
        case .or(let parts): return .any(parts.map { tree($0) })
        case .not(let part): return .not(tree(part))
        case .compare(let column, .notEqual, let literal): return .not(tree(.isIn(column, [literal])))
        case .compare(let column, .equal, let literal): return tree(.isIn(column, [literal]))
        case .compare(let column, let comparison, .text(let text)):
            return add(column, .order(comparison, Array(text.utf8)))
        case .compare(let column, let comparison, .number(let number)):
            return column.holdsText
                ? add(column, .order(comparison, Self.digits(number))) : add(column, .number(comparison, number))
        case .isIn(let column, let literals): return membership(column, literals)
        case .contains(let column, let text): return add(column, .contains(Array(text.utf8)))
        case .startsWith(let column, let text): return add(column, .startsWith(Array(text.utf8)))
        case .exists(let column): return add(column, .exists)
        }
    }

    private mutating func membership(_ column: ColumnName, _ literals: [QueryLiteral]) -> RowTestTree {
        var texts: Set<[UInt8]> = []
        var numbers: Set<Double> = []
        for literal in literals {
            switch literal {
            case .text(let text): texts.insert(Array(text.utf8))
            case .number(let number) where column.holdsText: texts.insert(Self.digits(number))
            case .number(let number): numbers.insert(number)
            }
        }
        var parts: [RowTestTree] = []
        if !texts.isEmpty { parts.append(add(column, .equal(texts))) }
        if let only = numbers.first, numbers.count == 1 {
            parts.append(add(column, .number(.equal, only)))
        } else if !numbers.isEmpty {
            parts.append(add(column, .numbers(numbers)))
        }
        return parts.count == 1 ? parts[0] : .any(parts)
    }

    private mutating func add(_ column: ColumnName, _ kind: ColumnTest.Kind) -> RowTestTree {
        tests.append(ColumnTest(column: column, kind: kind))
        return .test(tests.count - 1)
    }

    /// A number as JSON writes it.
    private static func digits(_ number: Double) -> [UInt8] { Array(JSONValue.number(number).canonical.utf8) }
}
