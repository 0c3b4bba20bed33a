internal import AurumCore
internal import Database
internal import Synchronization
internal import Telemetry

/// How much is kept of reports, and in what pieces.
package struct CreditSumLimits: Sendable {
    /// Bytes, nearly. What was used longest ago makes room.
    package var bytesMax = 64 << 20
    /// Facts that are read at once for the first time; a stretch with more is read in shorter ones.
    package var factsAtOnce = 30_000
    /// Facts that are read again whole when one of them changes.
    package var factsAgain = 3000

    package init() {}
}

/// Sums of credit that reports of now are made of, kept in this process by stretches of time: a report asks for what
/// changed since they were read. They are never wrong, whatever other processes write: each holds as long as the marks
/// of its stretch are those of its reading, and both are read in one snapshot. docs/decisions/0013-sums-of-credit.md.
final class KeptSums: Sendable {
    private let limits: CreditSumLimits
    private let trees = Mutex<[SumShape: SumTree]>([:])
    private let bytes = SumBytes()
    private let reports = Atomic<UInt64>(0)
    private let isTrusted = Atomic<Bool>(false)
    private let registry: MetricRegistry
    /// For so long after its migration nodes of the release before, which leave no marks, may be at work beside this.
    static let upgradeTakes: Duration = .seconds(6 * 3600)
    /// Migrations that follow each other so fast are one run's: this release made the database, and no node of the one
    /// before is at work. Two releases that set it up together can be told apart by nothing.
    static let migrationTakes: Duration = .seconds(5)

    init(_ limits: CreditSumLimits, registry: MetricRegistry) { (self.limits, self.registry) = (limits, registry) }

    /// The sums of a report under one model.
    struct Sums: Sendable {
        let model: CreditModel
        let parts: [(line: SumTree.Line, sum: FactSum)]
    }

    /// What a report of now comes to, all of one snapshot.
    func sums(_ org: String, _ question: CreditQuestion, in transaction: Transaction) throws -> [Sums] {
        var seen = Set<CreditModel>()
        let labels = try SumLabels(org, question, in: transaction)
        let shapes = question.models.filter { seen.insert($0).inserted }.map { SumShape(org, $0, labels.shape) }
        let report = reports.wrappingAdd(1, ordering: .relaxed).newValue
        guard let range = try Self.range(shapes, question, in: transaction) else { return [] }
        let marks = try ChangeMarks(org: org, from: range.lowerBound, to: range.upperBound, in: transaction)
        defer { registry.gauge(.attributionSumBytes).set(Double(bytes.value)) }
        return try shapes.map { shape in
            let tree = tree(of: shape)
            var walk = SumWalk(
                shape: shape, labels: labels, tree: tree, marks: marks, range: range, report: report, limits: limits,
                transaction: transaction, makeRoom: makeRoom)
            defer { count(walk) }
            let total = try walk.total()
            let lines = tree.lines
            return Sums(model: shape.model, parts: total.map { (lines[Int($0.key)], $0.value) })
        }
    }

    private func count(_ walk: SumWalk) {
        registry.counter(.attributionSums, "hit").increment(by: walk.hits)
        registry.counter(.attributionSums, "merged").increment(by: walk.merged)
        registry.counter(.attributionSums, "read").increment(by: walk.read)
        registry.counter(.attributionSumFacts).increment(by: walk.facts)
    }

    /// The question's range in microseconds, no longer than there are facts in; nil for an empty one.
    private static func range(
        _ shapes: [SumShape], _ question: CreditQuestion, in transaction: Transaction
    ) throws -> Range<Int64>? {
        var (lower, upper) = (question.from?.microseconds ?? 0, question.to?.microseconds ?? .max)
        lower = max(lower, -Timestamp.end.microseconds)
        let day: Int64 = 86_400_000_000
        if lower < upper, Int128(upper) - Int128(lower) > 500 * Int128(day) {
            let ends = try shapes.flatMap { try transaction.values(Int64.self, $0.ends) }
            guard let first = ends.min(), let last = ends.max() else { return nil }
            // To whole days: those that facts begin and end in stay one stretch.
            lower = max(lower, max(first, lower).quotientRoundingDown(day) * day)
            let end = last.quotientRoundingDown(day).multipliedReportingOverflow(by: day)
            let next = end.partialValue.addingReportingOverflow(day)
            if !end.overflow, !next.overflow { upper = min(upper, next.partialValue) }
        }
        return lower < upper ? lower..<upper : nil
    }

    private func tree(of shape: SumShape) -> SumTree {
        trees.withLock { trees in
            if let known = trees[shape] { return known }
            let tree = SumTree(shape, bytes)
            trees[shape] = tree
            return tree
        }
    }

    /// Forgets what was used longest ago until a quarter is free; of one report the shortest stretches first.
    private func makeRoom() {
        guard bytes.value > limits.bytesMax else { return }
        trees.withLock { trees in
            var uses = trees.values.flatMap { tree in
                tree.uses.map { (tree: tree, stretch: $0.stretch, used: $0.used) }
            }
            uses.sort { ($0.used, $0.stretch.level) < ($1.used, $1.stretch.level) }
            for use in uses {
                if bytes.value <= limits.bytesMax / 4 * 3 { break }
                use.tree.drop(use.stretch)
            }
            trees = trees.filter { !$0.value.endIfEmpty() }
        }
    }

    /// Whether every process that writes credit leaves marks. Several do so on PostgreSQL alone, and no process of the
    /// release before starts once the database has this one's schema.
    func isTrusted(_ database: Database) async throws -> Bool {
        if isTrusted.load(ordering: .relaxed) { return true }
        let isOld = try await database.read("attribution.sumsTrusted") { transaction in
            guard transaction.dialect == .postgres else { return false }
            let times = try transaction.values(
                Timestamp.self,
                "SELECT applied_at FROM schema_migrations WHERE version <= 320 ORDER BY version")
            guard let own = times.last else { return true }
            let isOneRun = zip(times, times.dropFirst()).allSatisfy { one, next in
                next >= one && next - one < Self.migrationTakes
            }
            return !isOneRun && transaction.now - own < Self.upgradeTakes
        }
        if !isOld { isTrusted.store(true, ordering: .relaxed) }
        return !isOld
    }
}

/// The way of one report through the tree of a model.
struct SumWalk {
    let shape: SumShape
    let labels: SumLabels
    let tree: SumTree
    let marks: ChangeMarks
    /// Microseconds.
    let range: Range<Int64>
    let report: UInt64
    let limits: CreditSumLimits
    let transaction: Transaction
    let makeRoom: () -> Void
    private(set) var hits = 0
    private(set) var merged = 0
    private(set) var read = 0
    private(set) var facts = 0

    init(
        shape: SumShape, labels: SumLabels, tree: SumTree, marks: ChangeMarks, range: Range<Int64>, report: UInt64,
        limits: CreditSumLimits, transaction: Transaction, makeRoom: @escaping () -> Void
    ) {
        (self.shape, self.labels, self.tree, self.marks, self.range) = (shape, labels, tree, marks, range)
        (self.report, self.limits, self.transaction, self.makeRoom) = (report, limits, transaction, makeRoom)
    }

    /// By the numbers of lines.
    mutating func total() throws -> [Int32: FactSum] {
        var total: [Int32: FactSum] = [:]
        for root in Stretch.roots(from: range.lowerBound, to: range.upperBound) { try add(root, to: &total) }
        return total
    }

    private mutating func add(_ stretch: Stretch, to total: inout [Int32: FactSum]) throws {
        let (from, to) = (max(stretch.from, range.lowerBound), min(stretch.to, range.upperBound))
        guard from < to else { return }
        if from == stretch.from, to == stretch.to {
            try Self.add(try node(stretch), to: &total)
        } else if stretch.level == 0 {
            try Self.add(try node(from: from, to: to, version: 0), to: &total)
        } else {
            for child in stretch.children { try add(child, to: &total) }
        }
    }

    private static func add(_ node: SumTree.Node, to total: inout [Int32: FactSum]) throws {
        for part in node.parts { try total[part.line, default: FactSum()].add(part.sum) }
    }

    private mutating func node(_ stretch: Stretch) throws -> SumTree.Node {
        let version = marks.version(stretch)
        let known = tree.node(stretch, at: report)
        if let known, known.version == version {
            hits += 1
            return known
        }
        let node =
            try isOne(stretch, known)
            ? node(from: stretch.from, to: stretch.to, version: version) : children(of: stretch, version: version)
        if node.isLasting {
            tree.keep(node, of: stretch, at: report)
            makeRoom()
        }
        return node
    }

    /// Whether a stretch is read as a whole, as few facts as it has.
    private func isOne(_ stretch: Stretch, _ known: SumTree.Node?) throws -> Bool {
        guard stretch.level > 0 else { return true }
        let most = known == nil ? limits.factsAtOnce : limits.factsAgain
        if let known, known.facts > most { return false }
        let count = try transaction.value(
            Int.self, shape.count(from: stretch.from, to: stretch.to, limit: most + 1))
        return count ?? 0 <= most
    }

    private mutating func children(of stretch: Stretch, version: Int64) throws -> SumTree.Node {
        var sums: [Int32: FactSum] = [:]
        var node = SumTree.Node(version: version)
        for child in stretch.children {
            let one = try self.node(child)
            node.facts += one.facts
            node.isLasting = node.isLasting && one.isLasting
            try Self.add(one, to: &sums)
        }
        node.parts = sums.map { SumTree.Part(line: $0.key, sum: $0.value) }
        merged += 1
        return node
    }

    private mutating func node(from: Int64, to: Int64, version: Int64) throws -> SumTree.Node {
        let rows = try transaction.all(SumRow.self, shape.rows(from: from, to: to))
        var node = SumTree.Node(version: version)
        let lines = rows.map { row in
            SumTree.Line(
                kind: row.kind, label: labels.label(row.label), currency: row.currency, quarter: row.quarter)
        }
        var sums: [Int32: FactSum] = [:]
        var counted = Set<SaleOfLine>()
        for (row, line) in zip(rows, tree.numbers(lines)) {
            node.facts += row.facts
            if shape.isPassing(row.kind, row.label) || !labels.isKnown(row.label) { node.isLasting = false }
            var sum = row.sum
            // A sale counts once for each line, however many of its labels it has.
            if let unit = row.unit, !counted.insert(SaleOfLine(line: line, leg: unit)).inserted { sum.sales = 0 }
            try sums[line, default: FactSum()].add(sum)
        }
        node.parts = sums.map { SumTree.Part(line: $0.key, sum: $0.value) }
        (read, facts) = (read + 1, facts + node.facts)
        return node
    }
}

private struct SaleOfLine: Hashable {
    let line: Int32
    let leg: UID
}
