import AurumCore
import Database
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What only jobs on Redis show: several processes, a cluster, a server that dies, and what people see of them.
struct RedisJobTests {
    private func store(_ client: RedisClient, _ registry: MetricRegistry, name: String = "test") -> RedisJobStore {
        RedisJobStore(client: client, clock: SystemWallClock(), registry: registry, name: name)
    }

    private func queue(
        _ store: RedisJobStore, _ handlers: [JobHandler], registry: MetricRegistry = MetricRegistry(),
        health: HealthRegistry = HealthRegistry(clock: SystemWallClock()),
        change: (inout JobQueue.Configuration) -> Void = { _ in }
    ) -> JobQueue {
        var configuration = JobQueue.Configuration()
        configuration.poll = .milliseconds(50)
        configuration.component = "jobs_redis"
        configuration.durability = RedisJobStore.durability
        configuration.isOptional = true
        change(&configuration)
        return JobQueue(
            store: store, handlers: handlers, reads: RedisJobReads(store), clock: SystemWallClock(),
            registry: registry, health: health, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            configuration: configuration)
    }

    private func new(_ kind: JobKind, _ number: Int, concurrency: JobConcurrency? = nil) -> NewJob {
        NewJob(kind, org: "acme", payload: ["n": .integer(Int64(number))], concurrency: concurrency)
    }

    @Test func `a cluster does the same to the same words as memory`() async throws {
        let cluster = try await RedisCluster()
        try await JobStoreTests.compare(.redis, seeds: 1...2, url: cluster.url)
    }

    @Test func `many who enqueue and claim at once lose nothing, claim nothing twice, and keep to limits`()
        async throws
    {
        let server = try await RedisServer()
        let kind = JobKind("test.keyed")
        let (seen, running) = (Guarded<[String: Int]>([:]), Guarded<(now: Int, most: Int)>((0, 0)))
        let handler = JobHandler(kind) { job in
            let key = job.record.concurrency != nil
            if key { running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) } }
            seen.withLock { $0[job.id.hex, default: 0] += 1 }
            await Task.yield()
            if key { running.withLock { $0.now -= 1 } }
        }
        let sites = [try await RedisSite(server.url), try await RedisSite(server.url), try await RedisSite(server.url)]
        defer { withExtendedLifetime((server, sites)) {} }
        let stores = sites.map { store($0.client, $0.registry) }
        let made = Guarded<Set<String>>([])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in stores {
                let queue = queue(store, [handler])
                group.addTask { try await queue.run() }
            }
            try await withThrowingTaskGroup(of: Void.self) { adding in
                for (at, store) in stores.enumerated() {
                    adding.addTask {
                        for round in 0..<20 {
                            let jobs = (0..<10).map {
                                new(kind, round, concurrency: $0 % 2 == at % 2 ? JobConcurrency("k", limit: 3) : nil)
                            }
                            let receipts = try await store.enqueue(jobs)
                            made.withLock { made in made.formUnion(receipts.map(\.id.hex)) }
                        }
                    }
                }
                try await adding.waitForAll()
            }
            try await eventually("the end of the jobs", within: .seconds(120)) {
                let counts = try await RedisJobReads(stores[0]).counts(org: "acme")
                return counts.allSatisfy { $0.state == .done } && seen.withLock { $0.count } == 600
            }
            group.cancelAll()
        }
        #expect(made.withLock { $0.count } == 600)
        #expect(seen.withLock { $0 } == Dictionary(uniqueKeysWithValues: made.withLock { $0 }.map { ($0, 1) }))
        #expect(running.withLock { $0.most } <= 3)
    }

    @Test func `a job that is put aside while the one before it ends is let back`() async throws {
        let server = try await RedisServer()
        let sites = [try await RedisSite(server.url), try await RedisSite(server.url)]
        defer { withExtendedLifetime((server, sites)) {} }
        let stores = sites.map { store($0.client, $0.registry) }
        let (kind, worker) = (JobKind("test.keyed"), UID(now: SystemWallClock().now))
        for round in 0..<300 {
            let key = JobConcurrency("k\(round)", limit: 1)
            _ = try await stores[0].enqueue([new(kind, 0, concurrency: key), new(kind, 1, concurrency: key)])
            let first = try #require(try await stores[0].turn(JobTurn(worker: worker, limit: 1)).claimed.first)
            // Some answers sooner or later, so that one of them reads before and writes after the other.
            async let ended: Void = {
                for _ in 0..<round % 6 { _ = try await stores[0].hasDue() }
                let end = JobEnd(first.claim, .done, job: first)
                _ = try await stores[0].turn(JobTurn(worker: worker, ends: [end], limit: 0))
            }()
            var second = try await stores[1].turn(JobTurn(worker: worker, limit: 1)).claimed
            try await ended
            if second.isEmpty { second = try await stores[1].turn(JobTurn(worker: worker, limit: 1)).claimed }
            let end = JobEnd(try #require(second.first, "round \(round)").claim, .done, job: second.first)
            #expect(try await stores[0].turn(JobTurn(worker: worker, ends: [end], limit: 0)).ended[0] != nil)
        }
    }

    @Test func `a server that is killed twenty times in the middle loses no job that it acknowledged`() async throws {
        let server = try await RedisServer(["--appendonly", "yes", "--appendfsync", "always"])
        let site = try await RedisSite(server.url)
        defer { withExtendedLifetime((server, site)) {} }
        let open = try OpenDatabase(on: .sqlite)
        try await open.database.write("test.effects") {
            try $0.run("CREATE TABLE effects (job TEXT PRIMARY KEY, tries INTEGER NOT NULL) STRICT")
        }
        let (kind, database) = (JobKind("test.effect", attemptsMax: JobLimits.attemptsMax), open.database)
        let handler = JobHandler(kind) { job in
            let id = job.id.hex
            // The guard of the effect is its own row: jobs on Redis may be done again.
            try await database.write("test.effect") { tx in
                try tx.run(
                    """
                    INSERT INTO effects (job, tries) VALUES (\(id), 1)
                    ON CONFLICT (job) DO UPDATE SET tries = effects.tries + 1
                    """)
            }
        }
        let store = store(site.client, site.registry)
        let queue = queue(store, [handler]) {
            ($0.lease, $0.renewEvery) = (.seconds(2), .milliseconds(500))
        }
        let acknowledged = Guarded<Set<String>>([])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.run() }
            for round in 0..<20 {
                group.addTask {
                    // What is not acknowledged may or may not be there.
                    for _ in 0..<5 {
                        guard let receipts = try? await store.enqueue((0..<20).map { new(kind, $0) }) else { continue }
                        acknowledged.withLock { all in all.formUnion(receipts.map(\.id.hex)) }
                    }
                }
                guard round % 5 == 4 else { continue }
                try await server.kill()
                try await server.restart()
            }
            for round in 0..<16 {
                try await eventually("a job that is acknowledged") {
                    guard let receipts = try? await store.enqueue([new(kind, round)]) else { return false }
                    acknowledged.withLock { all in all.formUnion(receipts.map(\.id.hex)) }
                    return true
                }
                try await server.kill()
                try await server.restart()
            }
            try await eventually("the effects", within: .seconds(120)) {
                let done = Set(
                    try await database.read("test.done") { try $0.values(String.self, "SELECT job FROM effects") })
                _ = try? await store.redrive(org: "acme", type: nil, since: Timestamp(milliseconds: 0), rate: nil)
                return acknowledged.withLock { $0.isSubset(of: done) }
            }
            group.cancelAll()
        }
        let effects = try await database.read("test.rows") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM effects")
        }
        #expect((effects ?? 0) >= acknowledged.withLock { $0.count } && acknowledged.withLock { $0.count } >= 16)
    }

    @Test func `a server that lost all of its data gives no number and no fence out twice`() async throws {
        let server = try await RedisServer()
        let site = try await RedisSite(server.url)
        defer { withExtendedLifetime((server, site)) {} }
        let (store, kind, worker) = (
            store(site.client, site.registry), JobKind("test.work"), UID(now: SystemWallClock().now)
        )
        _ = try await store.enqueue([new(kind, 0)])
        let first = try #require(try await store.turn(JobTurn(worker: worker, limit: 1)).claimed.first)
        try await server.kill()
        try await server.restart()
        try await eventually("the server") { (try? await store.enqueue([new(kind, 1)])) != nil }
        let second = try #require(try await store.turn(JobTurn(worker: worker, limit: 1)).claimed.first)
        #expect(second.seq > first.seq && second.fence > first.fence)
        let late = try await store.turn(JobTurn(worker: worker, ends: [JobEnd(first.claim, .done)], limit: 0))
        #expect(late.ended == [nil])
    }

    @Test func `the queue waits for a Redis that is not there, says so in health, and then works`() async throws {
        let server = try await RedisServer()
        let site = try await RedisSite(server.url)
        defer { withExtendedLifetime((server, site)) {} }
        try await server.kill()
        try await eventually("the loss") { !site.client.isAvailable }
        let health = HealthRegistry(clock: SystemWallClock())
        let (done, end) = AsyncStream<Void>.makeStream()
        let (store, kind) = (store(site.client, site.registry), JobKind("test.work"))
        let queue = queue(store, [JobHandler(kind) { _ in end.yield() }], health: health)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.run() }
            try await eventually("the word of it") { health.snapshot["jobs_redis"]?.reason == "jobs_failed" }
            #expect(health.isReady && health.snapshot["jobs_redis"]?.details == [RedisJobStore.durability])
            await #expect(throws: RedisError.unavailable) { _ = try await store.enqueue([new(kind, 0)]) }
            try await server.restart()
            try #require(await site.client.waitUntilAvailable(within: .seconds(30)))
            _ = try await store.enqueue([new(kind, 1)])
            for await _ in done { break }
            try await eventually("health") { health.snapshot["jobs_redis"]?.state == .ok }
            group.cancelAll()
        }
    }

    @Test func `a server without memory refuses a script before it has written anything`() async throws {
        let test = try await JobHarness(.redis)
        let client = try #require(test.redis).client
        for name in ["a", "b"] { try await test.add(test.new(name)) }
        _ = try await client.call(RedisCommand("CONFIG", "SET", "maxmemory", "1"))
        await #expect(throws: RedisError.self) { _ = try await test.claim() }
        await #expect(throws: RedisError.self) { try await test.add(test.new("c")) }
        _ = try await client.call(RedisCommand("CONFIG", "SET", "maxmemory", "0"))
        #expect(try await test.claim().count == 2)
    }

    @Test func `the turn of one script ends, claims and refuses as the desk does`() async throws {
        let test = try await JobHarness(.redis)
        let brief = JobKind("test.brief", keepsDone: .zero)
        let ids = [
            try await test.add(test.new("a", unique: ("u", .untilDone))),
            try await test.add(test.new("b", kind: brief)),
            try await test.add(test.new("c")),
        ]
        let claimed = try await test.claim()
        #expect(claimed.map(\.id) == ids)
        let child = try await test.add(test.new("d", after: [ids[2]]))
        // One that somebody waits for, and one of an old claim, beside two that end as most do.
        let ends =
            claimed.map { JobEnd($0.claim, .done, job: $0) } + [
                JobEnd(JobClaim(seq: claimed[0].seq, fence: 1), .done, job: claimed[0])
            ]
        func end(_ ends: [JobEnd], limit: Int = 0) async throws -> JobTurnResult {
            try await test.store.turn(JobTurn(worker: test.one, ends: ends, limit: limit))
        }
        #expect(
            try await end([ends[0], ends[0], ends[1], ends[3]]).ended.map { $0?.state } == [.done, .done, .done, nil])
        #expect(try await end([ends[0], ends[1]]).ended.map { $0?.state } == [.done, nil])
        #expect(try await test.store.job(ids[1], org: "acme") == nil)
        #expect(try await test.job(ids[0]).keepUntil == test.clock.now + JobLimits.keepDone)
        #expect(try await !test.store.enqueue([test.new(unique: ("u", .untilDone))])[0].isDuplicate)
        // Its worker does not know of the child yet; the script finds out, and the desk does it.
        let last = try await end([ends[2]], limit: 10)
        #expect(last.ended.map { $0?.state } == [.done] && last.claimed.count == 2)
        #expect(last.claimed.contains { $0.id == child })
    }

    @Test func `the turn of one script does with keys and rates what the desk does`() async throws {
        let server = try await RedisServer()
        defer { withExtendedLifetime(server) {} }
        for seed in UInt64(1)...20 {
            let tests = [try await JobHarness(.memory), try await JobHarness(.redis, url: server.url)]
            var random = SeededRandom(seed: seed)
            var (ids, held): ([[UID]], [[JobRecord]]) = ([[], []], [[], []])
            for step in 0..<80 {
                let second = Int.random(in: 0...6, using: &random)
                let limit = [0, 1, 3, 100].randomElement(using: &random) ?? 1
                let jobs = (0..<Int.random(in: 0...4, using: &random)).map {
                    keyed(tests[0], "\(step).\($0)", &random)
                }
                let told = Array(held[0].indices.shuffled(using: &random).prefix(3))
                var results: [JobTurnResult] = []
                for (at, test) in tests.enumerated() {
                    test.clock.advance(by: .seconds(second))
                    if !jobs.isEmpty { ids[at] += try await test.store.enqueue(jobs).map(\.id) }
                    let ends = told.map { JobEnd(held[at][$0].claim, .done, job: held[at][$0]) }
                    let turn = JobTurn(worker: test.one, ends: ends, limit: limit)
                    let result = try await test.store.turn(turn)
                    held[at] = held[at].indices.filter { !told.contains($0) }.map { held[at][$0] } + result.claimed
                    results.append(result)
                }
                let (desk, script) = (results[0], results[1])
                #expect(desk.claimed.map(\.payload) == script.claimed.map(\.payload), "seed \(seed) step \(step)")
                #expect(desk.parked == script.parked, "seed \(seed) step \(step)")
                #expect(desk.ended.map { $0?.keepUntil } == script.ended.map { $0?.keepUntil }, "seed \(seed)")
            }
            for (left, right) in zip(ids[0], ids[1]) {
                let desk = try await tests[0].store.job(left, org: "acme")
                let script = try await tests[1].store.job(right, org: "acme")
                #expect(desk?.state == script?.state && desk?.readyAt == script?.readyAt, "seed \(seed)")
                #expect(desk?.keepUntil == script?.keepUntil && desk?.isUniqueHeld == script?.isUniqueHeld)
            }
        }
    }

    /// With some of all kinds of keys, or none.
    private func keyed(_ test: JobHarness, _ name: String, _ random: inout SeededRandom) -> NewJob {
        let number = Int.random(in: 0..<8, using: &random)
        let scopes: [JobUniqueness] = [.untilStarted, .untilDone, .lasting(.seconds(100_000))]
        return test.new(
            name, priority: JobPriority.allCases.randomElement(using: &random) ?? .low,
            unique: number < 3 ? ("u\(number)", scopes[number]) : nil,
            concurrency: number == 3 || number == 5 ? JobConcurrency("c", limit: 2) : nil,
            rate: number == 4 || number == 5 ? JobRate("r", count: 3, per: .seconds(20)) : nil,
            kind: number == 6 ? JobKind("test.brief", keepsDone: .zero) : JobHarness.kind)
    }

    @Test func `times beyond the calendar are the nearest that can be read`() async throws {
        let test = try await JobHarness(.redis)
        let late = try await test.add(test.new(due: Timestamp(microseconds: .max)))
        let early = try await test.add(test.new(due: Timestamp(microseconds: -5)))
        #expect(try await test.job(late).dueAt == Timestamp.end)
        #expect(try await test.claim().map(\.id) == [early])
    }

    @Test func `names may hold what separates texts`() async throws {
        let test = try await JobHarness(.redis)
        let odd = "a|b%7c\tc\nd}{é"
        var job = test.new(odd, unique: (odd, .untilDone), concurrency: JobConcurrency(odd, limit: 1))
        job.org = odd
        let id = try await test.store.enqueue([job])[0].id
        #expect(try await test.store.enqueue([job])[0] == JobReceipt(id: id, isDuplicate: true))
        let claimed = try #require(try await test.claim().first)
        #expect(claimed.org == odd && claimed.uniqueKey == odd && claimed.concurrency?.key == odd)
        try await test.end(claimed, .failed(code: odd, detail: odd, retry: .never))
        let dead = try #require(try await test.store.job(id, org: odd))
        #expect(dead.failures.map(\.detail) == [odd] && dead.payload == claimed.payload)
        #expect(try await test.store.job(id, org: "acme") == nil)
        #expect(try await test.store.redrive(org: odd, type: nil, since: Timestamp(milliseconds: 0), rate: nil) == 1)
    }

    @Test func `what people see is one list of both places, and what they ask for goes where the job is`()
        async throws
    {
        let (test, other) = (try await JobHarness(.redis), try await JobHarness(.sql))
        let store = try #require(test.store as? RedisJobStore)
        let reads = RedisJobReads(store)
        for _ in 0..<3 { try await test.add(test.new()) }
        try await test.add(test.new(due: test.clock.now + .seconds(60)))
        let running = try #require(try await test.claim(limit: 1).first)
        let dead = try #require(try await test.claim(limit: 1).first)
        try await test.end(dead, .failed(code: "no", detail: "", retry: .never))
        let counts = try await reads.counts(org: "acme")
        #expect(counts.first { $0.state == .scheduled }?.due == 1)
        #expect(counts.reduce(0) { $0 + $1.count } == 4)
        #expect(try await reads.counts(org: "other").isEmpty)
        for (state, count) in [("due", 1), ("scheduled", 1), ("dead", 1), ("running", 1), ("done", 0)] {
            let found = try await reads.list(org: "acme", state: state, type: nil, before: nil, limit: 10)
            #expect(found.count == count, "\(state)")
        }
        #expect(try await reads.running(org: "acme").map(\.id) == [running.id])
        let page = try await reads.list(org: "acme", state: nil, type: nil, before: nil, limit: 3)
        let rest = try await reads.list(org: "acme", state: nil, type: nil, before: page.last?.id, limit: 3)
        #expect(page.count == 3 && rest.count == 1)

        let sql = try await other.add(other.new())
        let places = JobPlaces(
            database: place(.database, other.store, JobReads(database: try #require(other.open).database)),
            redis: place(.redis, store, reads))
        let all = try await places.list(org: "acme", state: nil, type: nil, before: nil, limit: 10)
        #expect(all.value.count == 5 && all.away.isEmpty && all.value.count { $0.home == .redis } == 4)
        #expect(try await places.redrive(dead.id, org: "acme").home == .redis)
        #expect(try await places.cancel(sql, org: "acme").home == .database)
        await #expect(throws: JobError.unknownJob) { _ = try await places.cancel(dead.id, org: "other") }
        let overview = try await places.overview(org: "acme", now: test.clock.now)
        #expect(overview["queues"]?.array?.map { $0["home"] } == ["redis"])
        #expect(overview["workers"]?.array?.count == 1)
        #expect(places.place(for: JobKind("a")).home == .database)
        #expect(try await JobTrial.enqueue(600, org: "acme", in: places) == 600)
        let trials = try await places.list(
            org: "acme", state: "due", type: JobTrial.kind.name, before: nil, limit: 200)
        #expect(trials.value.count == 200 && trials.value.allSatisfy { $0.home == .redis })
        // Without the server the database's are shown all the same.
        try await test.redis?.server?.kill()
        let alone = try await places.list(org: "acme", state: nil, type: nil, before: nil, limit: 10)
        #expect(alone.value.map(\.job.id) == [sql] && alone.away == [.redis])
    }

    private func place(_ home: JobHome, _ store: any JobStore, _ reads: any JobReading) -> JobPlaces.Place {
        let clock = SystemWallClock()
        let queue = JobQueue(
            store: store, handlers: [], clock: clock, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return JobPlaces.Place(home, store: store, reads: reads, queue: queue)
    }
}
