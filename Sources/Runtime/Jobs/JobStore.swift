package import AurumCore
internal import Synchronization

/// Where jobs live. Each call is one transaction. Implementations: `SQLJobStore`, on which money, leads and messages
/// depend; `RedisJobStore`, for many that need no transaction of others and may be lost with a server; and
/// `MemoryJobStore`.
package protocol JobStore: Sendable {
    /// A value arrives when there may be something to claim. One reader.
    var wakes: AsyncStream<Void> { get }
    func wake()
    /// Wakes the queue for what other processes enqueue, until the task is cancelled. Returns at once where there are
    /// none.
    func listen() async
    /// All or none of them.
    /// - Throws: `JobError.queueFull` and what `JobDesk.enqueue` throws.
    func enqueue(_ jobs: [NewJob]) async throws -> [JobReceipt]
    func turn(_ turn: JobTurn) async throws -> JobTurnResult
    /// Whether a turn would find something to claim.
    func hasDue() async throws -> Bool
    /// Lengthens the leases of what a worker knows it holds; answers those that it does.
    func renew(_ claims: [JobClaim], worker: UID, lease: Duration) async throws -> [HeldJob]
    func progress(_ claim: JobClaim, fraction: Double, note: String) async throws
    func tend() async throws -> JobUpkeep
    func recover() async throws -> JobUpkeep
    func keep(_ schedule: JobSchedule) async throws
    /// Removes the schedules that are not among `names`.
    func keepOnly(_ names: Set<String>) async throws
    func cancel(_ id: UID, org: String) async throws -> JobRecord
    func redrive(_ id: UID, org: String) async throws -> JobRecord
    /// - Parameter rate: jobs a second; nil for all at once.
    func redrive(org: String, type: String?, since: Timestamp, rate: Double?) async throws -> Int
    func job(_ id: UID, org: String) async throws -> JobRecord?
}

/// Jobs of one process that forgets them: for tests and simulations.
package final class MemoryJobStore: JobStore {
    private struct State {
        let table = MemoryJobTable()
        let fences = MemoryFenceCount()
        var random: SeededRandom
    }

    package let wakes: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation
    private let state: Mutex<State>
    private let clock: any WallClock
    private let waitingMax: Int

    package init(
        clock: any WallClock, seed: UInt64 = 1, waitingMax: Int = JobLimits.waitingPerOrg
    ) {
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        state = Mutex(State(random: SeededRandom(seed: seed)))
        self.clock = clock
        self.waitingMax = waitingMax
    }

    package func wake() { waker.yield() }

    package func listen() async {}

    private func desk<Value: Sendable>(
        _ body: (JobDesk<MemoryJobTable>, inout SeededRandom) throws -> Value
    ) rethrows -> Value {
        let now = clock.now
        return try state.withLock { state in
            let fences = state.fences
            var random = state.random
            defer { state.random = random }
            return try state.table.transaction { table in
                try body(JobDesk(table, now: now) { fences.draw($0) }, &random)
            }
        }
    }

    package func enqueue(_ jobs: [NewJob]) throws -> [JobReceipt] {
        let now = clock.now
        defer { wake() }
        return try desk { desk, random in
            let wishes = jobs.map { ($0, UID(now: now, random: &random)) }
            return try desk.enqueue(wishes) { org, pending in
                guard desk.table.waiting(org: org, limit: waitingMax) + pending < waitingMax else {
                    throw JobError.queueFull
                }
            }
        }
    }

    package func turn(_ turn: JobTurn) throws -> JobTurnResult { try desk { try $0.turn(turn, random: &$1) } }

    package func hasDue() throws -> Bool {
        let now = clock.now
        return desk { desk, _ in
            JobPriority.allCases.contains { !desk.table.due($0, at: now, limit: 1).isEmpty }
                || !desk.table.ready(at: now, limit: 1).isEmpty
        }
    }

    package func renew(_ claims: [JobClaim], worker: UID, lease: Duration) throws -> [HeldJob] {
        let until = clock.now + lease
        return desk { desk, _ in desk.table.renew(claims, worker: worker, until: until) }
    }

    package func progress(_ claim: JobClaim, fraction: Double, note: String) throws {
        try desk { desk, _ in try desk.progress(claim, fraction: fraction, note: note) }
    }

    package func tend() throws -> JobUpkeep { try desk { desk, _ in try desk.tend() } }

    package func recover() throws -> JobUpkeep { try desk { desk, _ in try desk.recover() } }

    package func keep(_ schedule: JobSchedule) throws { try desk { desk, _ in try desk.keep(schedule) } }

    package func keepOnly(_ names: Set<String>) throws { try desk { desk, _ in try desk.keepOnly(names) } }

    package func cancel(_ id: UID, org: String) throws -> JobRecord {
        try desk { desk, _ in try desk.cancel(id, org: org) }
    }

    package func redrive(_ id: UID, org: String) throws -> JobRecord {
        try desk { desk, _ in try desk.redrive(id, org: org) }
    }

    package func redrive(org: String, type: String?, since: Timestamp, rate: Double?) throws -> Int {
        var total = 0
        var next: DeadPlace? = DeadPlace(since: since)
        while let after = next {
            let already = total
            let batch = try desk { desk, _ in
                try desk.redrive(org: org, type: type, after: after, rate: rate, already: already)
            }
            total += batch.redriven
            next = batch.next
        }
        return total
    }

    package func job(_ id: UID, org: String) -> JobRecord? { desk { desk, _ in desk.table.job(id: id, org: org) } }
}

/// Fences that a process forgets.
///
/// Unchecked because it is touched only under the lock of `MemoryJobStore`.
private final class MemoryFenceCount: @unchecked Sendable {
    private var last: Int64 = 0

    func draw(_ count: Int) -> [Int64] {
        defer { last += Int64(count) }
        return (0..<count).map { last + 1 + Int64($0) }
    }
}
