package import AurumCore
package import Database
package import Logging
internal import Synchronization

/// Looks at what was quarantined, sends it through capture again, or deletes it.
///
/// An event that was replayed keeps its id, its time of receipt and its receipt. A second replay adds nothing: what was
/// replayed is no longer quarantined, and what a crash left between is known by its id.
package final class QuarantineDesk: Sendable {
    let policies: EventPolicies
    let store: BlockEventStore
    let capture: EventCapture
    let ledger: QuarantineLedger
    let limits: EventLimits
    let clock: any WallClock
    let storage: any LogStorage
    private struct Departures {
        /// How many began.
        var begun = 0
        var underWay = 0
        /// False once the kept count was removed, until the next is written.
        var mayBeKept = true

        mutating func begin() {
            begun += 1
            underWay += 1
        }
    }

    /// What leaves the quarantine: a count that saw only a part of it is not kept.
    private let departures = Mutex(Departures())
    /// Held while the file of the kept count changes; taken before `departures`, by threads that may block.
    private let checkpoint = Mutex(())
    private let logger: Logger
    private let isReplaying = Mutex(false)

    /// How long a quarantined event can be read and replayed.
    package static let retention = Duration.seconds(30 * 86_400)
    /// Events of one call.
    package static let replayMax = 100_000
    package static let browseMax = 1000

    package init(
        policies: EventPolicies, log: EventLog, database: Database, limits: EventLimits, clock: any WallClock,
        logger: Logger = Logger(label: "quarantine")
    ) {
        self.logger = logger
        (self.policies, store, capture, storage) = (policies, log.store, log.capture, log.upkeep.storage)
        (ledger, self.limits, self.clock) = (QuarantineLedger(database: database), limits, clock)
    }

    /// The settings of all apps.
    package var apps: AppBook { policies.apps }

    /// Bytes in quarantine, and how many there may be.
    package var quota: QuarantineQuota { policies.quota }

    // MARK: looking

    /// The newest first.
    package func browse(_ filter: QuarantineFilter, limit: Int) async throws -> [QuarantineEntry] {
        let rows = try await rows(filter, newestFirst: true, limit: min(limit, Self.browseMax))
        return rows.map(entry)
    }

    package func counts(org: String, app: String? = nil) async throws -> [QuarantineCount] {
        let done = try await ledger.places(org: org)
        let span = span(QuarantineFilter(org: org, app: app), newestFirst: true)
        let counts = try await BlockingWork.value { [self] in
            var counts: [String: [String: Int]] = [:]
            try store.eachQuarantined(span) { row in
                if Self.isOpen(row, done) { counts[row.request.app, default: [:]][row.reason.tag, default: 0] += 1 }
                return true
            }
            return counts
        }
        return counts.flatMap { app, reasons in
            reasons.map { QuarantineCount(app: app, reason: $0.key, count: $0.value) }
        }.sorted { ($0.app, $0.reason) < ($1.app, $1.reason) }
    }

    /// Rows that are still in quarantine.
    func rows(
        _ filter: QuarantineFilter, newestFirst: Bool, limit: Int, after: LogPosition? = nil
    ) async throws -> [QuarantinedRow] {
        let done = try await ledger.places(org: filter.org)
        let span = span(filter, newestFirst: newestFirst)
        return try await BlockingWork.value { [self] in
            var rows: [QuarantinedRow] = []
            var bytes = 0
            try store.eachQuarantined(span) { row in
                if let after, row.position <= after { return true }
                guard filter.holds(row.reason.tag), Self.isOpen(row, done) else { return true }
                rows.append(row)
                bytes += row.text.count
                return rows.count < limit && bytes < Self.pageBytes
            }
            return rows
        }
    }

    /// Raw bytes that one page of rows may hold.
    private static let pageBytes = 32 << 20

    private func span(_ filter: QuarantineFilter, newestFirst: Bool) -> QuarantineSpan {
        let oldest = clock.now - Self.retention
        return QuarantineSpan(
            org: filter.org, app: filter.app, from: max(oldest, filter.from ?? oldest).microseconds,
            to: filter.to?.microseconds ?? .max, newestFirst: newestFirst)
    }

    private static func isOpen(_ row: QuarantinedRow, _ done: [String: [Int: QuarantineAction.State]]) -> Bool {
        let state = done[row.receipt]?[row.index]
        return state == nil || state == .replaying
    }

    private func entry(_ row: QuarantinedRow) -> QuarantineEntry {
        let kept = SealedQuarantine(row.text, org: row.request.org, sealer: policies.sealer)
        let plan = policies.apps.state(org: row.request.org, app: row.request.app).plan
        let verdict = kept.raw.map { ReplayJudge(limits: limits).verdict($0, row.request, plan: plan) }
        return QuarantineEntry(
            position: row.position, receipt: row.receipt, index: row.index, app: row.request.app,
            format: row.request.format.label, receivedAt: Timestamp(microseconds: row.request.receivedAt),
            reason: row.reason.tag, field: row.field.path, detail: row.reason.detail, planVersion: kept.planVersion,
            planPath: verdict?.path, raw: kept.raw.map { String(decoding: $0, as: UTF8.self) })
    }

    /// Events that were replayed, for counts: the row that was refused counts no longer.
    package func replayed(org: String) async throws -> ReplayedRows {
        try await ledger.replayed(org: org)
    }

    // MARK: deleting

    /// Takes events out of the quarantine for good. Their receipts still say that they were refused.
    /// - Returns: how many.
    package func delete(_ filter: QuarantineFilter) async throws -> Int {
        var deleted = 0
        var after: LogPosition?
        while deleted < Self.replayMax {
            let rows = try await rows(filter, newestFirst: false, limit: Self.browseMax, after: after)
            guard let last = rows.last else { break }
            after = last.position
            let now = clock.now
            try await leaving {
                try await ledger.write(
                    rows.map {
                        QuarantineAction(
                            receipt: $0.receipt, place: $0.index, app: $0.request.app, state: .deleted, at: now)
                    }, org: filter.org)
            }
            policies.quota.leave(rows.reduce(0) { $0 + $1.text.count })
            deleted += rows.count
        }
        return deleted
    }

    // MARK: upkeep

    /// Knows at start how many bytes are in quarantine: reads only segments that were not sealed when they were last
    /// counted, where that was not long ago.
    package func begin() async throws {
        let oldest = clock.now - Self.retention
        let kept = try await BlockingWork.value { [storage] in QuarantineCheckpoint.read(storage) }
        guard let known = kept, known.identity == store.logIdentity,
            (.zero...QuarantineCheckpoint.ageMax).contains(clock.now - known.at)
        else { return try await tend() }
        let left = try await ledger.left()
        let bytes = try await BlockingWork.value { [self] in
            try store.quarantinedBytes(from: oldest.microseconds, after: known.through, left: left)
        }
        policies.quota.measured(known.bytes + bytes.all)
    }

    /// Counts the bytes in quarantine, without what was replayed or deleted, and forgets what is past its time. Call it
    /// every hour. Where the count cannot be kept, as on a full disk, the next start counts more.
    package func tend() async throws {
        let (oldest, now) = (clock.now - Self.retention, clock.now)
        let before = departures.withLock { $0 }
        let left = try await ledger.left()
        let bytes = try await BlockingWork.value { [self] in
            try store.quarantinedBytes(from: oldest.microseconds, left: left)
        }
        policies.quota.measured(bytes.all)
        let count = QuarantineCheckpoint(
            identity: store.logIdentity, through: bytes.through, bytes: bytes.sealed, at: now)
        do { try await BlockingWork.value { [self] in try keep(count, since: before) } } catch {
            logger.warning(
                "the count of the quarantine was not kept: a start will count it", metadata: ["error": "\(error)"])
        }
        let days = policies.apps.longestRetentionDays + 1
        try await ledger.prune(
            before: oldest - .seconds(86_400), replayed: clock.now - .seconds(86_400 * Int64(days)) - Self.retention)
    }

    /// Writes a count that was begun after `before`, unless something left since: it may be in it.
    private func keep(_ count: QuarantineCheckpoint, since before: Departures) throws {
        try checkpoint.withLock { _ in
            let isWhole = departures.withLock { departures in
                guard before.underWay == 0, departures.begun == before.begun else { return false }
                // Whoever leaves from here on waits for the file and removes it.
                departures.mayBeKept = true
                return true
            }
            if isWhole { try count.write(storage) }
        }
    }

    /// Does what takes events out of the quarantine: a start must not count them on, so that no count is kept from
    /// before and none is written meanwhile.
    /// - Throws: what `body` throws, and a failure to remove the count that was kept.
    package func leaving<Value>(_ body: () async throws -> Value) async throws -> Value {
        let hasBegun = departures.withLock { departures in
            guard !departures.mayBeKept else { return false }
            departures.begin()
            return true
        }
        if !hasBegun { try await BlockingWork.value { [self] in try beginWithoutCount() } }
        defer { departures.withLock { $0.underWay -= 1 } }
        return try await body()
    }

    private func beginWithoutCount() throws {
        try checkpoint.withLock { _ in
            try QuarantineCheckpoint.remove(storage)
            departures.withLock { departures in
                departures.mayBeKept = false
                departures.begin()
            }
        }
    }

    /// One replay at a time.
    func replayAlone<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        let isFree = isReplaying.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
        guard isFree else { throw PolicyError.replayRunning }
        defer { isReplaying.withLock { $0 = false } }
        return try await body()
    }
}
