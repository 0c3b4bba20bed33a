internal import AurumCore
internal import Database
internal import Synchronization

/// Marks of changed credit. Every transaction that changes what a report of now counts leaves one in each second in
/// which a sale or a lead that it touches was made, so that whoever keeps sums of a stretch of time knows by the sum of
/// its marks whether they are still right: docs/decisions/0013-sums-of-credit.md.
extension AttributionService {
    /// Changes of this process after which the marks of an organisation are made fewer.
    static let changesEach = 2000

    /// To be called in the transaction that changes credit.
    /// - Parameter moments: when what was changed was sold or became a lead.
    func noteChange(at moments: some Sequence<Timestamp>, org: String, in transaction: Transaction) throws {
        // No report reaches further back than its calendar.
        let earliest = -Timestamp.end.microseconds
        let slots = Set(moments.map { max($0.microseconds, earliest).quotientRoundingDown(1_000_000) }).sorted()
        guard !slots.isEmpty else { return }
        for slot in slots {
            try ChangeMark(slot: slot, mark: .random(in: 1...0xffff_ffff), at: transaction.now)
                .insert(org: org, width: 1, in: transaction)
        }
        transaction.afterCommit { [tally] in tally.add(org) }
    }

    /// Makes the marks of organisations fewer that this process left many of. What fails is done later.
    func compactBusyChanges() async {
        for org in tally.taken(atLeast: Self.changesEach) { _ = try? await compactChanges(org: org) }
    }

    /// Makes marks fewer, of every organisation.
    package func compactChanges() async throws {
        let orgs = try await database.read("attribution.changedOrgs", limit: .report) { transaction in
            try transaction.values(String.self, "SELECT DISTINCT org FROM attribution_changes ORDER BY org")
        }
        for org in orgs { try await compactChanges(org: org) }
    }

    /// Replaces marks by fewer with the same sums, some thousand rows at a time. Several may do so at once: a mark is
    /// moved by whoever deletes it.
    /// - Returns: how many rows were replaced.
    @discardableResult
    package func compactChanges(org: String) async throws -> Int {
        var all = 0
        for step in ChangeCompaction.allCases {
            var last = ChangeCompaction.rowsEach
            while last == ChangeCompaction.rowsEach {
                try Task.checkCancellation()
                // Serializable it would get in the way of those who credit.
                last = try await database.write("attribution.compactChanges", isolation: .readCommitted) {
                    try step.run(org, in: $0)
                }
                all += last
            }
        }
        return all
    }
}

/// What makes marks fewer. A longer slot makes the sums of every stretch within it grow, so that only slots in which
/// nothing has changed for a while become part of one.
private enum ChangeCompaction: CaseIterable {
    /// Marks of one second become one.
    case second
    /// Quarters of an hour without a change for ten minutes.
    case quarter
    /// Days older than forty without a change for a day.
    case day

    /// Rows of one transaction.
    static let rowsEach = 10_000
    private static let quarterQuiet: Duration = .seconds(600)
    private static let dayQuiet: Duration = .seconds(86_400)
    private static let dayAge: Duration = .seconds(40 * 86_400)

    private var width: Int64 {
        switch self {
        case .second: 1
        case .quarter: 900
        case .day: 86_400
        }
    }

    /// Rows that are to be replaced.
    private func condition(_ org: String, now: Timestamp) -> SQLStatement {
        switch self {
        case .second:
            """
            width = 1 AND slot IN (
                SELECT slot FROM attribution_changes WHERE org = \(org) AND width = 1
                GROUP BY slot HAVING COUNT(*) > 1)
            """
        case .quarter:
            """
            width < 900 AND slot / 900 IN (
                SELECT slot / 900 FROM attribution_changes WHERE org = \(org) AND width < 900
                GROUP BY slot / 900 HAVING MAX(at) < \(now - Self.quarterQuiet))
            """
        case .day:
            """
            width < 86400 AND slot / 86400 IN (
                SELECT slot / 86400 FROM attribution_changes
                WHERE org = \(org) AND width < 86400 AND slot < \((now - Self.dayAge).microseconds / 1_000_000)
                GROUP BY slot / 86400 HAVING MAX(at) < \(now - Self.dayQuiet))
            """
        }
    }

    /// - Returns: how many rows were replaced.
    func run(_ org: String, in transaction: Transaction) throws -> Int {
        let gone = try transaction.all(
            ChangeMark.self,
            """
            DELETE FROM attribution_changes WHERE org = \(org) AND (slot, width, id) IN (
                SELECT slot, width, id FROM attribution_changes
                WHERE org = \(org) AND \(part: condition(org, now: transaction.now))
                ORDER BY slot LIMIT \(Self.rowsEach))
            RETURNING slot, mark, at
            """)
        var sums: [Int64: ChangeMark] = [:]
        for one in gone {
            let slot = one.slot.quotientRoundingDown(width) * width
            let known = sums[slot]
            sums[slot] = ChangeMark(
                slot: slot, mark: (known?.mark ?? 0) &+ one.mark, at: max(known?.at ?? one.at, one.at))
        }
        for sum in sums.values.sorted(by: { $0.slot < $1.slot }) {
            try sum.insert(org: org, width: width, in: transaction)
        }
        return gone.count
    }
}

private struct ChangeMark: RowDecodable, Sendable {
    let slot: Int64
    let mark: Int64
    let at: Timestamp

    init(slot: Int64, mark: Int64, at: Timestamp) { (self.slot, self.mark, self.at) = (slot, mark, at) }

    init(row: Row) throws {
        (slot, mark, at) = (try row.get("slot"), try row.get("mark"), try row.get("at"))
    }

    func insert(org: String, width: Int64, in transaction: Transaction) throws {
        try transaction.run(
            """
            INSERT INTO attribution_changes (org, slot, width, id, mark, at)
            VALUES (\(org), \(slot), \(width), \(Int64.random(in: .min ... .max)), \(mark), \(at))
            """)
    }
}

/// How many changes of credit this process stored since marks were last made fewer, by organisation.
final class CreditChangeTally: Sendable {
    private let counts = Mutex<[String: Int]>([:])

    func add(_ org: String) { counts.withLock { $0[org, default: 0] += 1 } }

    /// Organisations with so many, which begin at nothing again.
    func taken(atLeast bound: Int) -> [String] {
        counts.withLock { counts in
            let orgs = counts.filter { $0.value >= bound }.map(\.key)
            for org in orgs { counts[org] = nil }
            return orgs
        }
    }
}
