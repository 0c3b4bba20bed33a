import AurumCore
import Database
import Foundation
import Logging
import Runtime
import ServiceLifecycle
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What only jobs in the database promise, and the queue that runs them.
struct JobStoreTests {
    private struct Stop: Error {}

    private func queue(
        _ test: JobHarness, _ handlers: [JobHandler], schedules: [JobSchedule] = [],
        budget: RetryBudget? = nil, configuration: JobQueue.Configuration = .init()
    ) throws -> JobQueue {
        let open = try #require(test.open)
        return JobQueue(
            store: test.store, handlers: handlers, schedules: schedules, reads: JobReads(database: open.database),
            clock: test.clock, registry: open.registry, health: HealthRegistry(clock: test.clock),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), budget: budget,
            configuration: configuration)
    }

    private func sql(_ test: JobHarness) throws -> (SQLJobStore, Database) {
        (try #require(test.store as? SQLJobStore), try #require(test.open).database)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a job of a transaction that is undone never was`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (store, database) = try sql(test)
        let job = test.new()
        await #expect(throws: Stop.self) {
            try await database.write("test.undone") { tx in
                try store.enqueue(job, in: tx)
                throw Stop()
            }
        }
        #expect(try await test.claim().isEmpty)
        try await database.write("test.kept") { try store.enqueue(job, in: $0) }
        #expect(try await test.claim().count == 1)
        #expect(test.open?.registry.counter(.jobs, "test.work", "enqueued").value == 1)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `effects commit with the end of their job, and a stale worker's do not`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (store, database) = try sql(test)
        try await database.write("test.table") { try $0.run("CREATE TABLE effects (id TEXT NOT NULL)") }
        let id = try await test.add(test.new())
        let first = try #require(try await test.claim().first)
        test.clock.advance(by: .seconds(31))
        _ = try await test.store.tend()
        let second = try #require(try await test.claim(test.two).first)
        @Sendable func effect(_ job: JobRecord) async throws {
            try await database.write("test.effect") { tx in
                try tx.run("INSERT INTO effects (id) VALUES (\(job.id.hex))")
                try store.complete(job.claim, in: tx)
            }
        }
        await #expect(throws: JobError.staleFence) { try await effect(first) }
        try await effect(second)
        await #expect(throws: JobError.staleFence) { try await effect(second) }
        let count = try await database.read("test.count") { try $0.value(Int.self, "SELECT COUNT(*) FROM effects") }
        #expect(count == 1)
        #expect(try await test.job(id).state == .done)
    }

    @Test func `columns are read in the order of the table`() async throws {
        let open = try OpenDatabase(on: .sqlite)
        let names = try await open.database.read("test.columns") { tx in
            try tx.values(String.self, "SELECT name FROM pragma_table_info('jobs') ORDER BY cid")
        }
        #expect(names == JobColumn.allCases.map(\.name))
    }

    @Test(arguments: JobStoreKind.allCases.filter { $0 != .memory })
    func `memory and table do the same to the same words`(_ kind: JobStoreKind) async throws {
        try await Self.compare(kind, seeds: 1...UInt64(max(2, soakCount(50))))
    }

    /// Does the same to a store in memory and to another one.
    static func compare(_ kind: JobStoreKind, seeds: ClosedRange<UInt64>, url: String? = nil) async throws {
        for seed in seeds {
            let (memory, table) = (try await JobHarness(.memory), try await JobHarness(kind, url: url))
            var random = SeededRandom(seed: seed)
            var (mine, theirs) = ([UID](), [UID]())
            var (claims, tableClaims) = ([JobRecord](), [JobRecord]())
            for step in 0..<250 {
                let second = Int.random(in: 0...6, using: &random)
                memory.clock.advance(by: .seconds(second))
                table.clock.advance(by: .seconds(second))
                let roll = Int.random(in: 0..<100, using: &random)
                if roll < 40 {
                    let number = Int.random(in: 0..<8, using: &random)
                    let priority = JobPriority.allCases.randomElement(using: &random) ?? .low
                    let parent = mine.isEmpty ? nil : mine.indices.randomElement(using: &random)
                    func job(_ ids: [UID]) -> NewJob {
                        memory.new(
                            "\(step)", priority: priority,
                            unique: number == 1 ? ("u", .untilDone) : number == 2 ? ("v", .untilStarted) : nil,
                            concurrency: number == 3 ? JobConcurrency("c", limit: 2) : nil,
                            rate: number == 4 ? JobRate("r", count: 2, per: .seconds(20)) : nil,
                            after: number == 5 ? parent.map { [ids[$0]] } ?? [] : [])
                    }
                    mine.append(try await memory.add(job(mine)))
                    theirs.append(try await table.add(job(theirs)))
                } else if roll < 65 {
                    let limit = Int.random(in: 1...4, using: &random)
                    claims += try await memory.claim(limit: limit)
                    tableClaims += try await table.claim(limit: limit)
                } else if roll < 88, !claims.isEmpty {
                    let at = Int.random(in: 0..<claims.count, using: &random)
                    let outcomes: [JobOutcome] = [
                        .done, .done, .released, .postponed(.seconds(3)),
                        .failed(code: "no", detail: "", retry: .after(.seconds(5))),
                        .failed(code: "never", detail: "", retry: .never),
                    ]
                    let outcome = outcomes.randomElement(using: &random) ?? .done
                    try await memory.end(claims.remove(at: at), outcome)
                    try await table.end(tableClaims.remove(at: at), outcome)
                } else if roll < 94 {
                    let (left, right) = (try await memory.store.tend(), try await table.store.tend())
                    #expect(left == right, "seed \(seed)")
                } else if let at = mine.indices.randomElement(using: &random) {
                    let left = try? await memory.store.cancel(mine[at], org: "acme").state
                    let right = try? await table.store.cancel(theirs[at], org: "acme").state
                    #expect(left == right, "seed \(seed)")
                    // Those that waited for it are told by the next turn where there are others.
                    _ = try await table.claim(limit: 0)
                }
                #expect(claims.map(\.payload) == tableClaims.map(\.payload), "seed \(seed) step \(step)")
            }
            for (left, right) in zip(mine, theirs) {
                let (a, b) = (try await memory.job(left), try await table.job(right))
                #expect(a.json(now: memory.clock.now)["state"] == b.json(now: table.clock.now)["state"])
                #expect((a.attempt, a.dueAt, a.failures.count) == (b.attempt, b.dueAt, b.failures.count))
            }
        }
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `the queue runs what is due and says how it ended`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (store, database) = try sql(test)
        let seen = Mutex<[String]>([])
        let follow = JobKind("test.follow")
        let queue = try queue(
            test,
            [
                JobHandler(JobHarness.kind) { job in
                    let name = try job.payload()["name"]?.string ?? ""
                    seen.withLock { $0.append(name) }
                    if name == "bad" { throw JobFault("bad", "as always", retry: .never) }
                    if name == "odd" { throw Stop() }
                    try await database.write("test.follow") { tx in
                        try store.enqueue(NewJob(follow, org: job.org), in: tx)
                        try job.complete(in: tx)
                    }
                },
                JobHandler(follow) { _ in seen.withLock { $0.append("follow") } },
            ])
        let good = try await test.add(test.new("good"))
        let bad = try await test.add(test.new("bad"))
        let odd = try await test.add(test.new("odd"))
        let unknown = try await test.add(test.new(kind: JobKind("test.unknown")))
        let newer = try await test.add(test.new(kind: JobKind("test.work", version: 2)))
        try await queue.runDue()
        #expect(seen.withLock { $0.sorted() } == ["bad", "follow", "good", "odd"])
        #expect(try await test.job(good).state == .done)
        #expect(try await test.job(bad).deadReason == .doNotRetry)
        #expect(try await test.job(odd).state == .scheduled)
        #expect(try await test.job(unknown).deadReason == .unknownType)
        #expect(try await test.job(newer).deadReason == .unknownType)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `second attempts of jobs that make calls wait while the process makes too many, and lose none`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        let budget = RetryBudget(registry: MetricRegistry())
        let (calling, quiet) = (JobKind("test.calling"), JobKind("test.quiet"))
        let ran = Guarded<[String]>([])
        func handler(_ kind: JobKind, makesCalls: Bool) -> JobHandler {
            JobHandler(kind, makesCalls: makesCalls) { job in
                ran.withLock { $0.append("\(kind.name) \(job.attempt)") }
                if job.attempt == 1 { throw JobFault("down", retry: .after(.zero)) }
            }
        }
        let queue = try queue(
            test, [handler(calling, makesCalls: true), handler(quiet, makesCalls: false)], budget: budget)
        let (one, other) = (try await test.add(test.new(kind: calling)), try await test.add(test.new(kind: quiet)))
        for _ in 0..<RetryBudget.retriesMin { #expect(budget.beginRetry(.http)) }
        try await queue.runDue()
        #expect(ran.withLock { $0.sorted() } == ["test.calling 1", "test.quiet 1", "test.quiet 2"])
        #expect(try await test.job(other).state == .done)
        let waiting = try await test.job(one)
        #expect(waiting.state == .scheduled && waiting.attempt == 1 && waiting.failures.count == 1)
        #expect(waiting.dueAt > test.clock.now && waiting.dueAt <= test.clock.now + JobLimits.postponed * 1.5)
        budget.endRetry()
        test.clock.advance(by: JobLimits.postponed * 2)
        try await queue.runDue()
        #expect(try await test.job(one).state == .done)
        #expect(ran.withLock { $0.last } == "test.calling 2")
        // It gave its place back.
        #expect(budget.beginRetry(.job) && !budget.beginRetry(.job))
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a job that waits for others comes again as often as it takes, and no attempt is charged`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        let waiting = JobKind("test.waiting", attemptsMax: 2)
        let turns = Guarded(0)
        let queue = try queue(
            test,
            [
                JobHandler(waiting) { job in
                    let turn = turns.withLock { turns in
                        turns += 1
                        return turns
                    }
                    #expect(job.attempt == 1)
                    if turn <= 5 { throw JobPostponement(by: .seconds(60)) }
                }
            ])
        let id = try await test.add(test.new(kind: waiting))
        for turn in 1...5 {
            try await queue.runDue()
            let job = try await test.job(id)
            #expect(job.state == .scheduled && job.attempt == 0 && job.failures.isEmpty, "turn \(turn): \(job)")
            #expect(job.dueAt == test.clock.now + .seconds(60))
            try await queue.runDue()
            #expect(turns.withLock { $0 } == turn, "not before its time")
            test.clock.advance(by: .seconds(60))
        }
        try await queue.runDue()
        #expect(try await test.job(id).state == .done)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a store that cannot be asked ends no process, and health says so`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let open = try #require(test.open)
        try open.database.close()
        let health = HealthRegistry(clock: test.clock)
        let queue = JobQueue(
            store: test.store, handlers: [], clock: test.clock, registry: open.registry, health: health,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: queue)], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            try await eventually("the queue says that it cannot work") {
                health.snapshot["jobs"]?.reason == "jobs_failed"
            }
            await group.triggerGracefulShutdown()
            // Ends without an error: whoever ran it goes on.
            try await tasks.waitForAll()
        }
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a stop lets running jobs finish, interrupts those that keep their place, and charges nobody`(
        _ kind: JobStoreKind
    )
        async throws
    {
        let test = try await JobHarness(kind)
        let (slow, kept) = (JobKind("test.slow"), JobKind("test.kept"))
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let (stopping, stop) = AsyncStream<Void>.makeStream()
        let queue = try queue(
            test,
            [
                JobHandler(slow) { _ in
                    begin.yield()
                    for await _ in stopping { break }
                },
                JobHandler(kept, stopping: .interrupt) { _ in
                    begin.yield()
                    try await Task.sleep(for: .seconds(3600))
                },
            ])
        let (first, second) = (
            try await test.add(test.new(kind: slow)), try await test.add(test.new(kind: kept))
        )
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: queue)],
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            var count = 0
            for await _ in begun {
                count += 1
                if count == 2 { break }
            }
            await group.triggerGracefulShutdown()
            stop.yield()
            try await tasks.waitForAll()
        }
        #expect(try await test.job(first).state == .done)
        let back = try await test.job(second)
        #expect(back.state == .scheduled && back.attempt == 0)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a full queue takes what ends work under way, and answers duplicates`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind, waitingMax: 2)
        let (store, database) = try sql(test)
        let (unique, job) = (test.new(unique: ("k", .untilDone)), test.new())
        let id = try await test.add(unique)
        try await test.add(job)
        await #expect(throws: JobError.queueFull) { try await test.add(job) }
        #expect(try await store.enqueue([unique]) == [JobReceipt(id: id, isDuplicate: true)])
        let receipt = try await database.write("test.followUp") { try store.enqueue(job, in: $0, isFollowUp: true) }
        #expect(!receipt.isDuplicate)
        await #expect(throws: JobError.queueFull) { try await test.add(job) }
        #expect(try await test.claim().count == 3)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a rate that is used no more leaves nothing behind`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (_, database) = try sql(test)
        try await test.add(test.new(rate: JobRate("vendor", count: 1, per: .seconds(10))))
        for job in try await test.claim() { try await test.end(job, .done) }
        func rates() async throws -> Int? {
            try await database.read("test.rates") { try $0.value(Int.self, "SELECT COUNT(*) FROM job_rates") }
        }
        #expect(try await rates() == 1)
        test.clock.advance(by: .seconds(2 * 86_400))
        _ = try await test.store.tend()
        #expect(try await rates() == 0)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a stop ends the turns although there is always more to do`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (begun, begin) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let (store, job) = (test.store, test.new())
        let queue = try queue(
            test,
            [
                JobHandler(JobHarness.kind) { _ in
                    begin.yield()
                    _ = try await store.enqueue([job])
                }
            ])
        for _ in 0..<8 { try await test.add(job) }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: queue)],
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            var count = 0
            for await _ in begun {
                count += 1
                if count == 20 { break }
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
        #expect(try await test.store.hasDue())
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a running job is told of its cancellation`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let queue = try queue(
            test,
            [
                JobHandler(JobHarness.kind) { _ in
                    begin.yield()
                    try await Task.sleep(for: .seconds(3600))
                }
            ])
        let id = try await test.add(test.new())
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await queue.runDue() }
            for await _ in begun { break }
            #expect(try await queue.cancel(id, org: "acme").state == .running)
            try await tasks.waitForAll()
        }
        #expect(try await test.job(id).state == .cancelled)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `a cancellation tells the owner in its transaction, or is refused`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (_, database) = try sql(test)
        try await database.write("test.table") { try $0.run("CREATE TABLE told (id TEXT NOT NULL)") }
        let kept = JobKind("test.kept")
        let queue = try queue(
            test,
            [
                JobHandler(
                    JobHarness.kind,
                    onCancel: { job, tx in try tx.run("INSERT INTO told (id) VALUES (\(job.id.hex))") },
                    body: { _ in }),
                JobHandler(kept, onCancel: { job, _ in throw JobError.notCancellable(job.type) }, body: { _ in }),
            ])
        let id = try await test.add(test.new())
        #expect(try await queue.cancel(id, org: "acme").state == .cancelled)
        let told = try await database.read("test.told") { try $0.value(Int.self, "SELECT COUNT(*) FROM told") }
        #expect(told == 1)
        let other = try await test.add(test.new(kind: kept))
        await #expect(throws: JobError.notCancellable("test.kept")) { try await queue.cancel(other, org: "acme") }
        #expect(try await test.job(other).state == .scheduled)
    }

    @Test(arguments: JobStoreKind.inDatabase)
    func `what people see is counted by type and state`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let reads = JobReads(database: try #require(test.open).database)
        for _ in 0..<3 { try await test.add(test.new()) }
        try await test.add(test.new(due: test.clock.now + .seconds(60)))
        let running = try #require(try await test.claim(limit: 1).first)
        let dead = try #require(try await test.claim(limit: 1).first)
        try await test.end(dead, .failed(code: "no", detail: "", retry: .never))
        let counts = try await reads.counts(org: "acme")
        #expect(counts.first { $0.state == .scheduled }?.due == 1)
        #expect(counts.reduce(0) { $0 + $1.count } == 4)
        #expect(try await reads.counts(org: "other").isEmpty)
        #expect(try await reads.list(org: "acme", state: "due", type: nil, before: nil, limit: 10).count == 1)
        #expect(try await reads.list(org: "acme", state: "scheduled", type: nil, before: nil, limit: 10).count == 1)
        #expect(
            try await reads.list(org: "acme", state: "running", type: "test.work", before: nil, limit: 10).map(\.id)
                == [running.id])
        let page = try await reads.list(org: "acme", state: nil, type: nil, before: nil, limit: 3)
        let rest = try await reads.list(org: "acme", state: nil, type: nil, before: page.last?.id, limit: 3)
        #expect(page.count == 3 && rest.count == 1)
        let overview = try await reads.overview(org: "acme", now: test.clock.now)
        #expect(overview["queues"]?.array?.first?["dead"] == 1)
        #expect(overview["workers"]?.array?.count == 1)
    }
}
