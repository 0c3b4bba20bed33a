package import AurumCore
internal import Synchronization
package import Telemetry

/// Jobs on Redis, for many that need no transaction: as durable as the Redis server is, and no more. What money, leads
/// or messages depend on belongs in `SQLJobStore`. There is no way to enqueue or complete in a transaction here.
///
/// Decisions are those of `JobDesk`: it works on what was read, and one script writes what it decided if all of that is
/// still so; else it is decided again. Only the turn of nearly every worker, which ends jobs well that nobody waits for
/// and claims others, is one script of its own, keys and rates included. Times are the server's. Any number of
/// processes work on one queue.
///
/// Numbers of jobs and fences never fall behind the server's clock, so that a server that lost its data gives none
/// out twice. Fences say who came later and keep old words out; they cannot be compared with those of the database.
package final class RedisJobStore: JobStore {
    /// What health says of it.
    package static let durability = "redis (as durable as the Redis server)"

    /// Jobs of one enqueue.
    package static let enqueueMax = 1000
    /// Jobs that one script removes; others wait for it.
    private static let purgeBatch = 500
    /// Scripts of one look at what is kept no longer.
    private static let purgesMax = 40
    /// Conflicts after which a transaction asks to write alone, and for how long it then may.
    private static let conflictsMax = 3
    private static let gateLife: Duration = .seconds(2)
    /// How long a transaction is tried.
    private static let patience: Duration = .seconds(10)
    private static let timeout: Duration = .seconds(5)

    package let wakes: AsyncStream<Void>
    let client: RedisClient
    /// The first key, with the slot's tag.
    let name: String
    private let waker: AsyncStream<Void>.Continuation
    private let registry: MetricRegistry
    private let clock: any WallClock
    private let time: (any WallClock)?
    private let waitingMax: Int

    /// - Parameters:
    ///   - clock: for the ids of jobs.
    ///   - name: of the queue: other names are other queues, each in one slot of a cluster.
    ///   - time: what is used instead of the server's clock: for tests.
    package init(
        client: RedisClient, clock: any WallClock, registry: MetricRegistry, name: String = "main",
        time: (any WallClock)? = nil, waitingMax: Int = JobLimits.waitingPerOrg
    ) {
        self.client = client
        self.clock = clock
        self.name = "aurum:{jobs:\(name)}"
        self.registry = registry
        self.time = time
        self.waitingMax = waitingMax
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    package func wake() { waker.yield() }

    /// Wakes the queue for what other processes enqueue, and whenever it may have missed such a word.
    package func listen() async {
        for await _ in client.subscribe(channels: ["\(name):wakes"]) { wake() }
    }

    // MARK: scripts

    func run(
        _ script: RedisScript, _ arguments: [any RedisArgument], isRepeatable: Bool = false
    ) async throws(RedisError) -> RESPValue {
        guard client.isAvailable else { throw .unavailable }
        let now: [any RedisArgument] = [Int(time?.now.microseconds ?? 0)]
        return try await client.eval(
            script, keys: [name], arguments: now + arguments, carriesOperationID: isRepeatable, within: Self.timeout)
    }

    /// Reads what is wished for. A repetition draws other numbers, which does no harm.
    private func read(
        _ wishes: [RedisJobWish], into snapshot: inout RedisJobSnapshot
    ) async throws(RedisError) {
        let answer = try await run(
            RedisJobScripts.read, RedisJobSnapshot.arguments(wishes), isRepeatable: true)
        try snapshot.add(answer, to: wishes)
    }

    /// Runs `body` on what it asks for until what it decided could be written.
    /// - Parameters:
    ///   - wishes: what it will ask for first.
    ///   - waitingMax: what may wait of an organisation whose jobs it adds; nil for as much as comes.
    /// - Throws: `JobError.queueFull`, `RedisError`, and what `body` throws.
    private func transaction<Value>(
        _ wishes: [RedisJobWish], waitingMax: Int? = nil, _ body: (JobDesk<RedisJobTable>) throws -> Value
    ) async throws -> Value {
        let deadline = ContinuousClock.now + Self.patience
        var (conflicts, token) = (0, "")
        while true {
            var first = wishes
            if !token.isEmpty { first.append(.gate(token: token, Self.gateLife)) }
            let (value, writes): (Value, RedisJobTable.Writes)
            do {
                (value, writes) = try await decide(first, token: token, waitingMax: waitingMax, body)
            } catch {
                if !token.isEmpty { await leave(token) }
                throw error
            }
            if writes.isEmpty {
                if !token.isEmpty { await leave(token) }
                return value
            }
            let answer = try await run(RedisJobScripts.commit, writes.arguments, isRepeatable: writes.isRepeatable)
            switch answer.string {
            case "ok": return value
            case "full":
                if !token.isEmpty { await leave(token) }
                throw JobError.queueFull
            case "conflict":
                conflicts += 1
                if conflicts == Self.conflictsMax {
                    var random = SystemRandomNumberGenerator()
                    token = String(UInt64.random(in: 1 ... .max, using: &random))
                }
            case "busy": break
            default: throw RedisJobSnapshot.unreadable
            }
            guard ContinuousClock.now < deadline else { throw RedisError.timeout }
            try await pause()
        }
    }

    private func decide<Value>(
        _ wishes: [RedisJobWish], token: String, waitingMax: Int?, _ body: (JobDesk<RedisJobTable>) throws -> Value
    ) async throws -> (Value, RedisJobTable.Writes) {
        var snapshot = RedisJobSnapshot()
        var next = wishes
        while true {
            try await read(next, into: &snapshot)
            let table = RedisJobTable(snapshot)
            guard let now = snapshot.now else { throw RedisJobSnapshot.unreadable }
            do {
                let value = try body(JobDesk(table, now: now) { try table.fences($0) })
                return (value, table.writes(token: snapshot.isAlone ? token : "", waitingMax: waitingMax))
            } catch let missing as RedisJobMissing { next = missing.wishes }
        }
    }

    /// Others may write again. Where it cannot be said, they may when the gate's life has ended.
    private func leave(_ token: String) async {
        _ = try? await run(RedisJobScripts.leave, [token], isRepeatable: true)
    }

    /// A little time for those who were first.
    private func pause() async throws { try await Task.sleep(for: .microseconds(Int.random(in: 500...5000))) }

    // MARK: JobStore

    /// - Throws: `JobError.invalid` for more than `enqueueMax` jobs, and `RedisError`, after which they may be there
    ///   unless it is `backpressure`.
    package func enqueue(_ jobs: [NewJob]) async throws -> [JobReceipt] {
        guard !jobs.isEmpty else { return [] }
        guard jobs.count <= Self.enqueueMax else {
            throw JobError.invalid("at most \(Self.enqueueMax) jobs are taken at once")
        }
        let fields = Set(jobs.compactMap(\.uniqueKey)).map { RedisJobText.heldField($0) }
        var wishes: [RedisJobWish] = [.seqs(jobs.count)]
        if !fields.isEmpty { wishes.append(.held(fields)) }
        let parents = Set(jobs.flatMap { $0.after })
        if !parents.isEmpty, parents.count <= Self.enqueueMax { wishes.append(.ids(Array(parents))) }
        let ids = jobs.map { _ in UID(now: clock.now) }
        let receipts = try await transaction(wishes, waitingMax: waitingMax) { desk in
            try desk.enqueue(Array(zip(jobs, ids))) { _, _ in }
        }
        var counts: [String: Int] = [:]
        for (job, receipt) in zip(jobs, receipts) where !receipt.isDuplicate { counts[job.kind.name, default: 0] += 1 }
        for (type, count) in counts { registry.counter(.jobs, type, "enqueued").increment(by: count) }
        wake()
        return receipts
    }

    package func turn(_ turn: JobTurn) async throws -> JobTurnResult {
        if turn.ends.allSatisfy(\.isShortOnRedis), let result = try await short(turn) { return result }
        var random = SystemRandomNumberGenerator()
        var wishes: [RedisJobWish] = []
        if !turn.ends.isEmpty { wishes.append(.rows(turn.ends.map(\.claim.seq))) }
        let limit = min(turn.limit, JobLimits.batch)
        if limit > 0 {
            wishes.append(.index(.ready, JobLimits.batch))
            wishes += JobPriority.allCases.map { .index(.due($0), limit) }
            // Drawn before it is known how many it takes: that saves a second look.
            wishes.append(.fences(limit))
        }
        let keys = Dictionary(grouping: turn.ends.compactMap { $0.job?.concurrencyPlace }, by: { $0 })
        if !keys.isEmpty {
            wishes.append(.usages(Array(keys.keys)))
            wishes += keys.map { .index(.parked($0), $1.count) }
        }
        return try await transaction(wishes) { try $0.turn(turn, random: &random) }
    }

    /// One script; nil where the turn is more than that, and nothing was done.
    private func short(_ turn: JobTurn) async throws -> JobTurnResult? {
        let deadline = ContinuousClock.now + Self.patience
        var arguments: [any RedisArgument] = [
            turn.worker.hex, Int(turn.lease.microseconds), max(0, min(turn.limit, JobLimits.batch)), JobLimits.batch,
            JobLimits.parkRounds, turn.ends.count,
        ]
        for end in turn.ends { arguments += [RedisJobText.place(end.claim.seq), end.claim.fence] }
        while true {
            let answer = try await run(RedisJobScripts.turn, arguments)
            switch answer.string {
            case "long": return nil
            case "busy":
                guard ContinuousClock.now < deadline else { throw RedisError.timeout }
                try await pause()
            case nil: return try Self.result(answer, turn)
            default: throw RedisJobSnapshot.unreadable
            }
        }
    }

    private static func result(_ answer: RESPValue, _ turn: JobTurn) throws(RedisError) -> JobTurnResult {
        guard let parts = answer.array, parts.count == 4, let micros = parts[0].integer, let codes = parts[1].array,
            codes.count == turn.ends.count
        else { throw RedisJobSnapshot.unreadable }
        let now = Timestamp(microseconds: micros)
        var result = JobTurnResult()
        result.ended = zip(turn.ends, codes).map { end, code in
            guard let job = end.job, (code.integer ?? 0) > 0 else { return nil }
            return JobMachine.end(job, .done, now: now, random: 0)
        }
        result.claimed = try RedisJobSnapshot.jobs(parts[2])
        result.parked = Int(parts[3].integer ?? 0)
        return result
    }

    package func hasDue() async throws -> Bool { try await run(RedisJobScripts.hasDue, []).integer == 1 }

    package func renew(_ claims: [JobClaim], worker: UID, lease: Duration) async throws -> [HeldJob] {
        var held: [HeldJob] = []
        for start in stride(from: 0, to: claims.count, by: JobLimits.purgeBatch) {
            let some = claims[start..<min(claims.count, start + JobLimits.purgeBatch)]
            var arguments: [any RedisArgument] = [worker.hex, Int(lease.microseconds), some.count]
            for claim in some { arguments += [RedisJobText.place(claim.seq), claim.fence] }
            let answer = try await run(RedisJobScripts.renew, arguments, isRepeatable: true)
            guard let codes = answer.array, codes.count == some.count else { throw RedisJobSnapshot.unreadable }
            for (claim, code) in zip(some, codes) where (code.integer ?? 0) > 0 {
                held.append(HeldJob(claim: claim, isCancelled: code.integer == 2))
            }
        }
        return held
    }

    package func progress(_ claim: JobClaim, fraction: Double, note: String) async throws {
        try await transaction([.rows([claim.seq])]) { try $0.progress(claim, fraction: fraction, note: note) }
    }

    package func tend() async throws -> JobUpkeep {
        let wishes: [RedisJobWish] = [
            .schedules, .index(.lost, JobLimits.batch),
            .index(.disobedient(JobLimits.cancelGrace), JobLimits.batch),
        ]
        var upkeep = try await transaction(wishes) { try $0.tend() }
        for _ in 0..<Self.purgesMax {
            let count = Int(try await run(RedisJobScripts.purge, [Self.purgeBatch], isRepeatable: true).integer ?? 0)
            upkeep.purged += count
            if count < Self.purgeBatch { break }
        }
        return upkeep
    }

    package func recover() async throws -> JobUpkeep {
        try await transaction([.index(.running, JobLimits.purgeBatch)]) { try $0.recover() }
    }

    package func keep(_ schedule: JobSchedule) async throws {
        try await transaction([.schedules]) { try $0.keep(schedule) }
    }

    package func keepOnly(_ names: Set<String>) async throws {
        try await transaction([.schedules]) { try $0.keepOnly(names) }
    }

    package func cancel(_ id: UID, org: String) async throws -> JobRecord {
        let job = try await transaction([.ids([id])]) { try $0.cancel(id, org: org) }
        if job.state == .cancelled { registry.counter(.jobs, job.type, "cancelled").increment() }
        wake()
        return job
    }

    package func redrive(_ id: UID, org: String) async throws -> JobRecord {
        let job = try await transaction([.ids([id]), .parents(id)]) { try $0.redrive(id, org: org) }
        registry.counter(.jobs, job.type, "redriven").increment()
        wake()
        return job
    }

    package func redrive(org: String, type: String?, since: Timestamp, rate: Double?) async throws -> Int {
        var total = 0
        var next: DeadPlace? = DeadPlace(since: since)
        while let after = next {
            let already = total
            let index = RedisJobIndex.dead(
                org: org, type: type, finishedAt: after.finishedAt, seq: after.seq)
            let batch = try await transaction([.index(index, JobLimits.redriveBatch)]) {
                try $0.redrive(org: org, type: type, after: after, rate: rate, already: already)
            }
            total += batch.redriven
            // Else the type may be anything that somebody wrote.
            if batch.redriven > 0 {
                registry.counter(.jobs, type ?? "all", "redriven").increment(by: batch.redriven)
            }
            wake()
            next = batch.next
        }
        return total
    }

    package func job(_ id: UID, org: String) async throws -> JobRecord? {
        var snapshot = RedisJobSnapshot()
        try await read([.ids([id])], into: &snapshot)
        return try RedisJobTable(snapshot).job(id: id, org: org)
    }

    func schedules() async throws -> [JobSchedule] {
        var snapshot = RedisJobSnapshot()
        try await read([.schedules], into: &snapshot)
        return (snapshot.schedules ?? [:]).values.map(\.schedule)
    }
}

extension JobEnd {
    /// As far as its worker knows, whether it ends a job that nobody waits for: the script finds out if it does not.
    fileprivate var isShortOnRedis: Bool {
        outcome == .done && job?.children == 0
    }
}
