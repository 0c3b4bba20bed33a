package import AurumCore
package import Database
internal import Synchronization
package import Telemetry

/// Jobs as rows of the database. What is enqueued in a transaction will run if, and only if, that commits; what is
/// completed in one commits with its effects, or not at all when somebody else holds the job by then.
///
/// On PostgreSQL any number of processes work on the same rows, in transactions that are `READ COMMITTED` and lock
/// every row that they read in order to write it. Why that loses nothing, and who waits for whom, is in
/// docs/decisions/0012-jobs-on-postgresql.md. What callers do in transactions of their own is right at every isolation.
package final class SQLJobStore: JobStore {
    package let wakes: AsyncStream<Void>
    let database: Database
    private let waker: AsyncStream<Void>.Continuation
    private let fences: SQLFences
    private let registry: MetricRegistry
    private let waitingMax: Int
    private let time: DatabaseClock?
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

    /// - Parameter time: what leases and due times are measured by where several nodes must agree on them; nil for the
    ///   clock of the database's own process, which tests and simulations move.
    package init(
        database: Database, fences: SQLFences, registry: MetricRegistry, time: DatabaseClock? = nil,
        waitingMax: Int = JobLimits.waitingPerOrg
    ) {
        self.database = database
        self.time = time
        self.fences = fences
        self.registry = registry
        self.waitingMax = waitingMax
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    package func wake() { waker.yield() }

    /// What people see of these jobs, by the same clock.
    package var reads: JobReads { JobReads(database: database, time: time) }

    private func now(_ tx: Transaction) throws -> Timestamp { try time?.now(in: tx) ?? tx.now }

    private func desk(_ tx: Transaction, _ sharing: JobSharing = .guest) throws -> JobDesk<SQLJobTable> {
        JobDesk(SQLJobTable(tx, sharing: sharing), now: try now(tx)) { [fences] in
            try fences.draw($0, in: tx).map(\.rawValue)
        }
    }

    /// A desk that may do everything, once others are through with what only one may do. The first of its transaction.
    private func wholeDesk(_ tx: Transaction) throws -> JobDesk<SQLJobTable> {
        let desk = try desk(tx, .whole)
        try desk.table.waitForOthers()
        return desk
    }

    /// How often a whole transaction is tried that others keep waiting for longer than a statement may.
    private static let wholeTries = 5

    /// A transaction that may do everything. It waits for its turn first, so that one that waited too long has done
    /// nothing, and is tried again.
    private func whole<Value: Sendable>(
        _ name: StaticString, _ body: @escaping @Sendable (Transaction, JobDesk<SQLJobTable>) throws -> Value
    ) async throws -> Value {
        for _ in 1..<Self.wholeTries {
            do {
                return try await database.write(name, isolation: .readCommitted) { try body($0, self.wholeDesk($0)) }
            } catch SQLError.timeout(.lock) { continue }
        }
        return try await database.write(name, isolation: .readCommitted) { try body($0, self.wholeDesk($0)) }
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
        let desk = try desk(tx)
        let receipts = try desk.enqueue(jobs.map { ($0, UID(now: desk.now)) }) { org, pending in
            if isFollowUp { return addToRoom(org) }
            try takeRoom(org, pending: pending, in: tx)
        }
        var counts: [String: Int] = [:]
        for (job, receipt) in zip(jobs, receipts) where !receipt.isDuplicate { counts[job.kind.name, default: 0] += 1 }
        tx.afterCommit { [registry, waker, counts, database] in
            for (type, count) in counts { registry.counter(.jobs, type, "enqueued").increment(by: count) }
            waker.yield()
            if !counts.isEmpty { database.announce(.jobs) }
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

    private func takeRoom(_ org: String, pending: Int, in tx: Transaction) throws {
        var known = room.withLock { $0[org] }
        if let fullAt = known?.fullAt, tx.now - fullAt < Self.fullFor { throw JobError.queueFull }
        if known == nil || known.map({ $0.atMost >= waitingMax }) == true {
            known = Room(atMost: try SQLJobTable(tx).waiting(org: org, limit: waitingMax) + pending)
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
        try await database.write("jobs.enqueue", isolation: .readCommitted) { try self.enqueue(jobs, in: $0) }
    }

    /// A turn that touches no key and no child waits for nobody on PostgreSQL. Whether it is one is seen before it
    /// locks anything; one that finds out later begins again.
    package func turn(_ turn: JobTurn) async throws -> JobTurnResult {
        let isShort = database.dialect == .postgres && turn.isShort
        if isShort {
            do {
                return try await database.write("jobs.turn.short", isolation: .readCommitted) { tx in
                    let desk = try self.desk(tx, .short)
                    try desk.table.preferIndexes()
                    let limit = min(turn.limit, JobLimits.batch)
                    guard try desk.table.needsWhole(at: desk.now, limit: limit) else {
                        return try self.turn(turn, desk)
                    }
                    return try self.turn(turn, self.wholeDesk(tx))
                }
            } catch is JobTurnIsLong {}
        }
        return try await database.write("jobs.turn", isolation: .readCommitted) { tx in
            try self.turn(turn, self.wholeDesk(tx))
        }
    }

    private func turn(_ turn: JobTurn, _ desk: JobDesk<SQLJobTable>) throws -> JobTurnResult {
        var random = SystemRandomNumberGenerator()
        return try desk.turn(turn, random: &random)
    }

    package func hasDue() async throws -> Bool {
        try await database.read("jobs.hasDue") { try SQLJobTable($0).hasDue(at: self.now($0)) }
    }

    /// Wakes its queue whenever another process has enqueued something, until the task is cancelled.
    package func listen() async {
        for await _ in database.announcements(.jobs) { wake() }
    }

    package func renew(_ claims: [JobClaim], worker: UID, lease: Duration) async throws -> [HeldJob] {
        try await database.write("jobs.renew", isolation: .readCommitted) { tx in
            try SQLJobTable(tx).renew(claims, worker: worker, until: self.now(tx) + lease)
        }
    }

    package func progress(_ claim: JobClaim, fraction: Double, note: String) async throws {
        try await database.write("jobs.progress", isolation: .readCommitted) { tx in
            try self.desk(tx).progress(claim, fraction: fraction, note: note)
        }
    }

    package func tend() async throws -> JobUpkeep {
        try await database.write("jobs.tend", isolation: .readCommitted) { tx in
            self.forgetRoom(tx.now)
            return try self.wholeDesk(tx).tend()
        }
    }

    package func recover() async throws -> JobUpkeep {
        try await whole("jobs.recover") { try $1.recover() }
    }

    package func keep(_ schedule: JobSchedule) async throws {
        try await whole("jobs.schedule") { try $1.keep(schedule) }
    }

    package func keepOnly(_ names: Set<String>) async throws {
        try await whole("jobs.keepOnly") { try $1.keepOnly(names) }
    }

    package func cancel(_ id: UID, org: String) async throws -> JobRecord {
        try await cancel(id, org: org) { _, _ in }
    }

    /// What the job's type does about it may be anything, so this is a guest's transaction: jobs that wait for this
    /// one, or for its room, are told by the next turn of any worker.
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
        wakeAll()
        return job
    }

    package func redrive(_ id: UID, org: String) async throws -> JobRecord {
        let job = try await unlessTaken {
            try await self.whole("jobs.redrive") { try $1.redrive(id, org: org) }
        }
        registry.counter(.jobs, job.type, "redriven").increment()
        wakeAll()
        return job
    }

    package func redrive(org: String, type: String?, since: Timestamp, rate: Double?) async throws -> Int {
        var total = 0
        var next: DeadPlace? = DeadPlace(since: since)
        while let after = next {
            let already = total
            let batch = try await unlessTaken {
                try await self.whole("jobs.redriveAll") {
                    try $1.redrive(org: org, type: type, after: after, rate: rate, already: already)
                }
            }
            total += batch.redriven
            // Else the type may be anything that somebody wrote.
            if batch.redriven > 0 {
                registry.counter(.jobs, type ?? "all", "redriven").increment(by: batch.redriven)
            }
            wakeAll()
            next = batch.next
        }
        return total
    }

    /// How often a redrive is tried whose unique key a new job took between the look and the row.
    private static let redriveTries = 5

    /// Once more for those: then the look finds the new job.
    private func unlessTaken<Value: Sendable>(_ redrive: () async throws -> Value) async throws -> Value {
        for _ in 1..<Self.redriveTries {
            do { return try await redrive() } catch SQLError.constraint { continue }
        }
        return try await redrive()
    }

    /// The queue of this process, and those of others.
    private func wakeAll() {
        wake()
        database.announce(.jobs)
    }

    package func job(_ id: UID, org: String) async throws -> JobRecord? {
        try await database.read("jobs.byID") { try SQLJobTable($0).job(id: id, org: org) }
    }
}
