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
        let marks = slots.map { ChangeMark(slot: $0, mark: .random(in: 1...0xffff_ffff), at: transaction.now) }
        try ChangeMark.insert(marks, org: org, width: 1, in: transaction)
        transaction.afterCommit { [tally] in tally.add(org, slots) }
    }

    /// Makes the marks fewer of organisations that this process left many of, where it left them. What fails is done
    /// with those of every organisation.
    func compactBusyChanges() async {
        for (org, spans) in tally.taken(atLeast: Self.changesEach) {
            for span in spans { _ = try? await compactChanges(org: org, from: span.lowerBound, to: span.upperBound) }
        }
    }

    /// Makes marks fewer, of every organisation.
    /// - Throws: what the first of them threw; those behind it are done all the same.
    package func compactChanges() async throws {
        let orgs = try await database.read("attribution.changedOrgs", limit: .report) { transaction in
            try transaction.values(String.self, "SELECT DISTINCT org FROM attribution_changes ORDER BY org")
        }
        var failure: (any Error)?
        for org in orgs {
            do { try await compactChanges(org: org) } catch {
                if Task.isCancelled || error is CancellationError { throw error }
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Replaces marks of the slots from one second to before another by fewer with the same sums, some hundred rows at
    /// a time; days only where no `from` is told. Several may do so at once: a mark is moved by whoever deletes it.
    /// - Returns: how many rows were replaced.
    @discardableResult
    package func compactChanges(org: String, from: Int64 = .min, to: Int64 = .max) async throws -> Int {
        var all = 0
        for step in ChangeCompaction.allCases where step != .day || from == .min {
            var next: Int64? = from
            while let place = next {
                try Task.checkCancellation()
                let page = try await database.read("attribution.changePage", limit: .report) {
                    try step.page(org, from: place, to: to, in: $0)
                }
                for slots in page.batches { all += try await replace(slots, by: step, org: org) }
                next = page.next
            }
        }
        return all
    }

    private func replace(_ slots: [Int64], by step: ChangeCompaction, org: String) async throws -> Int {
        var (all, last) = (0, ChangeCompaction.rowsEach)
        while last == ChangeCompaction.rowsEach {
            try Task.checkCancellation()
            // Serializable it would get in the way of those who credit.
            last = try await database.write("attribution.compactChanges", isolation: .readCommitted) {
                try step.replace(slots, org, in: $0)
            }
            all += last
        }
        return all
    }
}

/// What makes marks fewer. A longer slot makes the sums of every stretch within it grow, so that its shorter ones are
/// read again after the next change: slots become part of one when nothing has changed in them for a while, or when
/// they are so many that every report would have to read them.
private enum ChangeCompaction: CaseIterable {
    /// Marks of one second become one.
    case second
    /// Minutes that ended an hour ago and have more than ten marks.
    case minute
    /// Quarters of an hour without a change for ten minutes, and those that ended a day ago and have more than thirty.
    case quarter
    /// Days older than forty without a change for a day.
    case day

    /// Rows of one transaction.
    static let rowsEach = 1000
    /// Slots that are looked at together: more than any day has once its quarters are few.
    private static let slotsEach = 5000

    private var width: Int64 {
        switch self {
        case .second: 1
        case .minute: 60
        case .quarter: 900
        case .day: 86_400
        }
    }

    /// Whether the marks of a slot become one.
    private func isDue(_ group: ChangeGroup, now: Timestamp) -> Bool {
        guard group.rows > 1 else { return false }
        let age = now.microseconds.quotientRoundingDown(1_000_000) - (group.slot + width)
        return switch self {
        case .second: true
        case .minute: age >= 3600 && group.rows > 10
        case .quarter: now - group.at > .seconds(600) || (age >= 86_400 && group.rows > 30)
        case .day: age >= 40 * 86_400 && now - group.at > .seconds(86_400)
        }
    }

    /// The slots whose rows are to be replaced, by transactions, and where the next page begins.
    struct Page: Sendable {
        var batches: [[Int64]] = []
        var next: Int64?
    }

    func page(_ org: String, from: Int64, to: Int64, in transaction: Transaction) throws -> Page {
        let found = try transaction.all(
            ChangeSlot.self,
            """
            SELECT slot, COUNT(*) AS mark_rows, MAX(at) AS at FROM attribution_changes
            WHERE org = \(org) AND slot >= \(from) AND slot < \(to) AND width <= \(width)
            GROUP BY slot ORDER BY slot LIMIT \(Self.slotsEach)
            """)
        var groups: [ChangeGroup] = []
        for one in found {
            let slot = one.slot.quotientRoundingDown(width) * width
            if groups.last?.slot != slot { groups.append(ChangeGroup(slot: slot, at: one.at)) }
            groups[groups.count - 1].add(one)
        }
        var page = Page()
        if found.count == Self.slotsEach, let last = groups.last {
            // The rest of the last one may be on the next page.
            page.next = groups.count > 1 ? last.slot : last.slot + width
            if groups.count > 1 { groups.removeLast() }
        }
        var rows = 0
        for group in groups where isDue(group, now: transaction.now) {
            if page.batches.isEmpty || rows + group.rows > Self.rowsEach {
                page.batches.append([])
                rows = 0
            }
            page.batches[page.batches.count - 1] += group.slots
            rows += group.rows
        }
        return page
    }

    /// - Returns: how many rows were replaced; fewer than `rowsEach` once nothing is left.
    func replace(_ slots: [Int64], _ org: String, in transaction: Transaction) throws -> Int {
        let gone = try transaction.all(
            ChangeMark.self,
            """
            DELETE FROM attribution_changes WHERE org = \(org) AND (slot, width, id) IN (
                SELECT slot, width, id FROM attribution_changes
                WHERE org = \(org) AND slot IN (\(list: slots)) AND width <= \(width)
                ORDER BY slot, width, id LIMIT \(Self.rowsEach))
            RETURNING slot, mark, at
            """)
        var sums: [Int64: ChangeMark] = [:]
        for one in gone {
            let slot = one.slot.quotientRoundingDown(width) * width
            let known = sums[slot]
            sums[slot] = ChangeMark(
                slot: slot, mark: (known?.mark ?? 0) &+ one.mark, at: max(known?.at ?? one.at, one.at))
        }
        try ChangeMark.insert(sums.values.sorted { $0.slot < $1.slot }, org: org, width: width, in: transaction)
        return gone.count
    }
}

/// Rows of one slot.
private struct ChangeSlot: RowDecodable, Sendable {
    let slot: Int64
    let rows: Int
    let at: Timestamp

    init(row: Row) throws {
        (slot, rows, at) = (try row.get("slot"), try row.get("mark_rows"), try row.get("at"))
    }
}

/// Slots within a longer one.
private struct ChangeGroup {
    let slot: Int64
    var slots: [Int64] = []
    var rows = 0
    /// Of the newest change.
    var at: Timestamp

    init(slot: Int64, at: Timestamp) { (self.slot, self.at) = (slot, at) }

    mutating func add(_ one: ChangeSlot) {
        slots.append(one.slot)
        rows += one.rows
        at = max(at, one.at)
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

    static func insert(_ marks: [ChangeMark], org: String, width: Int64, in transaction: Transaction) throws {
        guard !marks.isEmpty else { return }
        let rows: [SQLStatement] = marks.map { mark in
            "(\(org), \(mark.slot), \(width), \(Int64.random(in: .min ... .max)), \(mark.mark), \(mark.at))"
        }
        try transaction.run(
            """
            INSERT INTO attribution_changes (org, slot, width, id, mark, at)
            VALUES \(rows: rows)
            """)
    }
}

/// Where this process changed credit since marks were last made fewer, by organisation.
final class CreditChangeTally: Sendable {
    private struct Changes {
        var count = 0
        /// Quarters of an hour.
        var quarters = Set<Int64>()
    }

    private let changes = Mutex<[String: Changes]>([:])
    private static let quarter: Int64 = 900
    /// Spans of time that are nearer to each other are taken for one.
    private static let gap: Int64 = 96

    func add(_ org: String, _ slots: [Int64]) {
        changes.withLock { changes in
            changes[org, default: Changes()].count += 1
            for slot in slots { changes[org]?.quarters.insert(slot.quotientRoundingDown(Self.quarter)) }
        }
    }

    /// Organisations with so many, which begin at nothing again, and the seconds between which they were.
    func taken(atLeast bound: Int) -> [(org: String, spans: [Range<Int64>])] {
        let taken = changes.withLock { changes in
            let taken = changes.filter { $0.value.count >= bound }
            for org in taken.keys { changes[org] = nil }
            return taken
        }
        return taken.map { (org: $0.key, spans: Self.spans($0.value.quarters)) }
    }

    private static func spans(_ quarters: Set<Int64>) -> [Range<Int64>] {
        var spans: [Range<Int64>] = []
        for one in quarters.sorted() {
            if let last = spans.last, one < last.upperBound + gap {
                spans[spans.count - 1] = last.lowerBound..<(one + 1)
            } else {
                spans.append(one..<(one + 1))
            }
        }
        return spans.map { ($0.lowerBound * quarter)..<($0.upperBound * quarter) }
    }
}
