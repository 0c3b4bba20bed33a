package import AurumCore
package import Database
internal import Synchronization
package import Telemetry

/// Jobs as rows of the database. What is enqueued in a transaction will run if, and only if, that commits; what is
/// completed in one commits with its effects, or not at all when somebody else holds the job by then.
package final class SQLJobStore: JobStore {
    package let wakes: AsyncStream<Void>
    let database: Database
    private let waker: AsyncStream<Void>.Continuation
    private let fences: SQLFences
    private let registry: MetricRegistry
    private let waitingMax: Int
    private let room = Mutex<[String: Room]>([:])
    private let forgottenAt = Mutex(Timestamp(microseconds: 0))

    /// What is known of how many jobs of an organisation wait, so that not every enqueue counts them.
    private struct Room {
        /// As many or fewer, as far as this process knows.
        var atMost: Int
        /// When it was last found full.
        var fullAt: Timestamp?
    }

    /// How long a full queue is believed to be full.
    private static let fullFor: Duration = .seconds(1)
    /// After so long the jobs that other processes have added are counted.
    private static let roomAge: Duration = .seconds(60)

    package init(
        database: Database, fences: SQLFences, registry: MetricRegistry, waitingMax: Int = JobLimits.waitingPerOrg
    ) {
        self.database = database
        self.fences = fences
        self.registry = registry
        self.waitingMax = waitingMax
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    package func wake() { waker.yield() }

    private func desk(_ tx: Transaction) -> JobDesk<SQLJobTable> {
        JobDesk(SQLJobTable(tx), now: tx.now) { [fences] in try fences.draw($0, in: tx).rawValue }
    }

    // MARK: inside the caller's transaction

    /// Joins the caller's transaction: committed means it will run, rolled back means it never was.
    /// - Parameter isFollowUp: whether it ends what is already under way: a full queue takes it all the same.
    /// - Throws: `JobError.queueFull`, and what `JobDesk.enqueue` throws; the caller's transaction must then fail.
    @discardableResult
    package func enqueue(_ job: NewJob, in tx: Transaction, isFollowUp: Bool = false) throws -> JobReceipt {
        try enqueue([job], in: tx, isFollowUp: isFollowUp)[0]
    }

    package func enqueue(_ jobs: [NewJob], in tx: Transaction, isFollowUp: Bool = false) throws -> [JobReceipt] {
        let desk = desk(tx)
        let receipts = try jobs.map { job in
            try desk.enqueue(job, id: UID(now: tx.now)) {
                if isFollowUp { return addToRoom(job.org) }
                try takeRoom(job.org, in: tx)
            }
        }
        var counts: [String: Int] = [:]
        for (job, receipt) in zip(jobs, receipts) where !receipt.isDuplicate { counts[job.kind.name, default: 0] += 1 }
        tx.afterCommit { [registry, waker, counts] in
            for (type, count) in counts { registry.counter(.jobs, type, "enqueued").increment(by: count) }
            waker.yield()
        }
        return receipts
    }

    /// Ends a job well together with the effects that the transaction writes.
    /// - Throws: `JobError.staleFence` when another worker holds it by now: the effects must not be kept.
    /// - Parameter job: as it was claimed, where the caller has it.
    package func complete(_ claim: JobClaim, job: JobRecord? = nil, in tx: Transaction) throws {
        try desk(tx).complete(claim, job: job)
    }

    /// Goes on only while the claim stands, and keeps others from taking the job before the transaction ends: the first
    /// statement of one that writes for a job without ending it.
    /// - Throws: `JobError.staleFence` when another worker holds it by now, or nobody.
    package func hold(_ claim: JobClaim, in tx: Transaction) throws {
        guard try SQLJobTable(tx).hold(claim) else { throw JobError.staleFence }
    }

    private func takeRoom(_ org: String, in tx: Transaction) throws {
        var known = room.withLock { $0[org] }
        if let fullAt = known?.fullAt, tx.now - fullAt < Self.fullFor { throw JobError.queueFull }
        if known == nil || known.map({ $0.atMost >= waitingMax }) == true {
            known = Room(atMost: try SQLJobTable(tx).waiting(org: org, limit: waitingMax))
        }
        guard var known else { return }
        let isFull = known.atMost >= waitingMax
        if isFull { known.fullAt = tx.now } else { known.atMost += 1 }
        room.withLock { $0[org] = known }
        if isFull { throw JobError.queueFull }
    }

    private func addToRoom(_ org: String) { room.withLock { $0[org]?.atMost += 1 } }

    private func forgetRoom(_ now: Timestamp) {
        let isTime = forgottenAt.withLock { last in
            guard now - last >= Self.roomAge else { return false }
            last = now
            return true
        }
        if isTime { room.withLock { $0.removeAll() } }
    }

    // MARK: JobStore

    package func enqueue(_ jobs: [NewJob]) async throws -> [JobReceipt] {
        try await database.write("jobs.enqueue") { try self.enqueue(jobs, in: $0) }
    }

    package func turn(_ turn: JobTurn) async throws -> JobTurnResult {
        try await database.write("jobs.turn") { tx in
            var random = SystemRandomNumberGenerator()
            return try self.desk(tx).turn(turn, random: &random)
        }
    }

    package func hasDue() async throws -> Bool {
        try await database.read("jobs.hasDue") { tx in
            let table = SQLJobTable(tx)
            for priority in JobPriority.allCases where !(try table.due(priority, at: tx.now, limit: 1).isEmpty) {
                return true
            }
            return try !table.ready(at: tx.now, limit: 1).isEmpty
        }
    }

    package func renew(_ claims: [JobClaim], worker: UID, lease: Duration) async throws -> [HeldJob] {
        try await database.write("jobs.renew") { tx in
            try SQLJobTable(tx).renew(claims, worker: worker, until: tx.now + lease)
        }
    }

    package func progress(_ claim: JobClaim, fraction: Double, note: String) async throws {
        try await database.write("jobs.progress") { tx in
            try self.desk(tx).progress(claim, fraction: fraction, note: note)
        }
    }

    package func tend() async throws -> JobUpkeep {
        try await database.write("jobs.tend") { tx in
            self.forgetRoom(tx.now)
            return try self.desk(tx).tend()
        }
    }

    package func recover() async throws -> JobUpkeep {
        try await database.write("jobs.recover") { try self.desk($0).recover() }
    }

    package func keep(_ schedule: JobSchedule) async throws {
        try await database.write("jobs.schedule") { try self.desk($0).keep(schedule) }
    }

    package func keepOnly(_ names: Set<String>) async throws {
        try await database.write("jobs.keepOnly") { try self.desk($0).keepOnly(names) }
    }

    package func cancel(_ id: UID, org: String) async throws -> JobRecord {
        try await cancel(id, org: org) { _, _ in }
    }

    /// - Parameter onCancel: what the job's type does about it: `JobHandler.onCancel`.
    /// - Throws: `JobError.unknownJob`, `wrongState`, and what `onCancel` throws.
    package func cancel(
        _ id: UID, org: String, telling onCancel: @escaping JobHandler.OnCancel
    ) async throws -> JobRecord {
        let job = try await database.write("jobs.cancel") { tx in
            let job = try self.desk(tx).cancel(id, org: org)
            try onCancel(job, tx)
            return job
        }
        if job.state == .cancelled { registry.counter(.jobs, job.type, "cancelled").increment() }
        wake()
        return job
    }

    package func redrive(_ id: UID, org: String) async throws -> JobRecord {
        let job = try await database.write("jobs.redrive") { try self.desk($0).redrive(id, org: org) }
        registry.counter(.jobs, job.type, "redriven").increment()
        wake()
        return job
    }

    package func redrive(org: String, type: String?, since: Timestamp, rate: Double?) async throws -> Int {
        var total = 0
        var next: DeadPlace? = DeadPlace(since: since)
        while let after = next {
            let already = total
            let batch = try await database.write("jobs.redriveAll") { tx in
                try self.desk(tx).redrive(org: org, type: type, after: after, rate: rate, already: already)
            }
            total += batch.redriven
            registry.counter(.jobs, type ?? "all", "redriven").increment(by: batch.redriven)
            wake()
            next = batch.next
        }
        return total
    }

    package func job(_ id: UID, org: String) async throws -> JobRecord? {
        try await database.read("jobs.byID") { try SQLJobTable($0).job(id: id, org: org) }
    }
}
