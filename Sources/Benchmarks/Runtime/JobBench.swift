internal import AurumCore
internal import Database
internal import Foundation
internal import Logging
internal import Runtime
internal import Synchronization
internal import Telemetry

/// The job queue from enqueue to done, with empty bodies, on databases of its own: a SQLite file, and a PostgreSQL
/// and a Redis server that are started for it where their programs are installed.
/// - Parameter redisURL: a Redis to use instead.
package func jobBench(tiny: Bool, seed: UInt64, redisURL: String? = nil) async throws -> [BenchRow] {
    let jobs = tiny ? 400 : 100_000
    let memory = try JobLoad.logic(jobs: jobs)
    var rows = [
        BenchRow(
            name: "runtime.jobs.memory", value: memory, unit: "jobs/s", bar: 100_000, higherIsBetter: true, n: jobs,
            note: "enqueue to done in batches of \(JobLimits.batch), the logic alone: no handler, no disk")
    ]
    rows += try await jobRows(
        ("runtime.jobs.sqlite", "runtime.jobs.keys", "runtime.jobs.wait_p95"), on: .sqlite, tiny: tiny)
    rows += try await redisJobRows(redisURL, tiny: tiny)
    let names = ("runtime.jobs.postgres", "runtime.jobs.postgres.keys", "runtime.jobs.postgres.wait_p95")
    guard LocalPostgres.isInstalled else {
        let why = "not measured: PostgreSQL's programs (initdb, postgres, psql) are not installed"
        return rows
            + [(names.0, 5000.0, "jobs/s"), (names.1, 0.5, "of the rate without"), (names.2, 50.0, "ms")].map {
                BenchRow(
                    name: $0, value: 0, unit: $2, bar: $1, higherIsBetter: $2 != "ms", n: 0, notJudged: why)
            }
    }
    let server = try await LocalPostgres.start(isDurable: true)
    do {
        rows += try await jobRows(names, on: .postgres(server), tiny: tiny)
    } catch {
        server.end()
        throw error
    }
    server.end()
    return rows
}

/// The same on Redis: as most of them run, with an append-only file that is synced each second; and the rate of one
/// that is synced before each answer.
private func redisJobRows(_ url: String?, tiny: Bool) async throws -> [BenchRow] {
    let names = ("runtime.jobs.redis", "runtime.jobs.redis.keys", "runtime.jobs.redis.wait_p95")
    guard url != nil || LocalRedis.isInstalled else {
        let why = "not measured: redis-server is not installed and no --redis-url was given"
        return [(names.0, 10_000.0, "jobs/s"), (names.1, 0.5, "of the rate without"), (names.2, 50.0, "ms")].map {
            BenchRow(name: $0, value: 0, unit: $2, bar: $1, higherIsBetter: $2 != "ms", n: 0, notJudged: why)
        }
    }
    var rows: [BenchRow] = []
    let local = try url == nil ? LocalRedis(sync: "everysec") : nil
    defer { local?.end() }
    try await FleetNode.with(url ?? local?.url ?? "") { node in
        rows += try await jobRows(
            names, on: .redis(node.client), tiny: tiny, bar: 10_000,
            durability: url == nil ? "on a Redis with appendfsync everysec" : "on the Redis that was given")
    }
    guard url == nil else { return rows }
    let synced = try LocalRedis(sync: "always")
    defer { synced.end() }
    let count = tiny ? 400 : 30_000
    try await FleetNode.with(synced.url) { node in
        let rate = try await JobLoad(jobs: count, place: .redis(node.client)).run()
        rows.append(
            BenchRow(
                name: "runtime.jobs.redis.always", value: rate, unit: "jobs/s", higherIsBetter: true, n: count,
                note: "the same on a Redis with appendfsync always"))
    }
    return rows
}

/// Rate, rate with keys, and wait on one engine.
private func jobRows(
    _ names: (rate: String, keys: String, wait: String), on place: JobLoad.Place, tiny: Bool, bar: Double = 5000,
    durability: String = "durable"
) async throws -> [BenchRow] {
    let count = tiny ? 400 : 30_000
    let sync = String(format: "%.2f ms (median)", try JobLoad.syncSeconds() * 1000)
    let plain = try await JobLoad(jobs: count, place: place).run()
    let keyed = try await JobLoad(jobs: tiny ? 400 : 10_000, keys: 100, place: place).run()
    let waits = try await JobLoad(jobs: tiny ? 50 : 5000, place: place).waits(perSecond: 500)
    let late = waits.sorted()[min(waits.count - 1, waits.count * 95 / 100)]
    return [
        BenchRow(
            name: names.rate, value: plain, unit: "jobs/s", bar: bar, higherIsBetter: true, n: count,
            note: "enqueue to done, \(durability), in batches of \(JobLimits.batch); one fdatasync takes \(sync)"),
        BenchRow(
            name: names.keys, value: keyed / plain, unit: "of the rate without", bar: 0.5, higherIsBetter: true,
            n: tiny ? 400 : 10_000, note: String(format: "%.0f jobs/s with 100 keys of one job at a time", keyed)),
        BenchRow(
            name: names.wait, value: late * 1000, unit: "ms", bar: 50, n: waits.count,
            note: "at 500 jobs a second, from due to its handler",
            notJudged: waits.count < 100 ? "fewer than 100 samples" : nil),
    ]
}

/// One run over a store.
private struct JobLoad {
    enum Place {
        case sqlite
        case postgres(LocalPostgres)
        case redis(RedisClient)
    }

    let jobs: Int
    var keys = 0
    var place = Place.sqlite

    private static let kind = JobKind("bench.empty")
    private static let callers = 8
    private static let schemas = Atomic<Int>(0)

    private struct Site {
        let store: any JobStore
        let close: () -> Void
    }

    private func open(_ registry: MetricRegistry) async throws -> Site {
        let clock = SystemWallClock()
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)")
        let location: DatabaseLocation
        switch place {
        case .redis(let client):
            let name = "bench-\(UID(now: clock.now))"
            return Site(
                store: RedisJobStore(client: client, clock: clock, registry: registry, name: name), close: {})
        case .sqlite:
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            location = .sqlite(path: folder.appending(path: "records.sqlite").path)
        case .postgres(let server):
            location = try await server.newSchema("jobs_\(Self.schemas.add(1, ordering: .relaxed).newValue)")
        }
        let database = try await Database.open(location, registry: registry, clock: clock)
        return Site(
            store: SQLJobStore(database: database, fences: SQLFences(database: database), registry: registry),
            close: {
                try? database.close()
                try? FileManager.default.removeItem(at: folder)
            })
    }

    private func queue(
        _ site: Site, _ registry: MetricRegistry, body: @escaping @Sendable (RunningJob) async throws -> Void
    ) -> JobQueue {
        let clock = SystemWallClock()
        var configuration = JobQueue.Configuration()
        configuration.concurrency = 4 * JobLimits.batch
        return JobQueue(
            store: site.store, handlers: [JobHandler(Self.kind, body: body)], clock: clock, registry: registry,
            health: HealthRegistry(clock: clock), logger: Logger.silent,
            configuration: configuration)
    }

    private func job(_ number: Int) -> NewJob {
        NewJob(
            Self.kind, org: "bench", payload: ["n": .integer(Int64(number))],
            concurrency: keys > 0 ? JobConcurrency("key-\(number % keys)", limit: 1) : nil)
    }

    /// Jobs a second, from the first enqueue until the last is durably done.
    func run() async throws -> Double {
        let registry = MetricRegistry()
        let site = try await open(registry)
        defer { site.close() }
        let queue = queue(site, registry) { _ in }
        let started = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.run() }
            for start in stride(from: 0, to: jobs, by: JobLimits.batch) {
                _ = try await site.store.enqueue((start..<min(jobs, start + JobLimits.batch)).map(job))
            }
            let done = registry.counter(.jobs, Self.kind.name, "done")
            while done.value < Int64(jobs) { try await Task.sleep(for: .milliseconds(1)) }
            group.cancelAll()
        }
        return Double(jobs) / (ContinuousClock.now - started).seconds
    }

    /// Jobs a second of the store in memory.
    static func logic(jobs: Int) throws -> Double {
        let clock = SystemWallClock()
        let store = MemoryJobStore(clock: clock)
        let worker = UID(now: clock.now)
        let load = JobLoad(jobs: jobs)
        let started = ContinuousClock.now
        var ends: [JobEnd] = []
        for start in stride(from: 0, to: jobs, by: JobLimits.batch) {
            _ = try store.enqueue((start..<min(jobs, start + JobLimits.batch)).map(load.job))
            let result = try store.turn(JobTurn(worker: worker, ends: ends, limit: JobLimits.batch))
            ends = result.claimed.map { JobEnd(JobClaim(seq: $0.seq, fence: $0.fence), .done, job: $0) }
        }
        _ = try store.turn(JobTurn(worker: worker, ends: ends, limit: 0))
        return Double(jobs) / (ContinuousClock.now - started).seconds
    }

    /// How long jobs wait that come one by one, in seconds; from several callers, as requests come: one alone would be
    /// held up by its own commits.
    func waits(perSecond: Int) async throws -> [Double] {
        let registry = MetricRegistry()
        let site = try await open(registry)
        defer { site.close() }
        let clock = SystemWallClock()
        let found = Mutex<[Double]>([])
        let queue = queue(site, registry) { job in
            let wait = (clock.now - job.record.dueAt).seconds
            found.withLock { $0.append(wait) }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.run() }
            try await arrive(site.store, perSecond: perSecond, from: clock.now)
            while found.withLock({ $0.count }) < jobs { try await Task.sleep(for: .milliseconds(5)) }
            group.cancelAll()
        }
        return found.withLock { $0 }
    }

    private func arrive(_ store: any JobStore, perSecond: Int, from first: Timestamp) async throws {
        let started = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<Self.callers {
                group.addTask {
                    for number in stride(from: caller, to: jobs, by: Self.callers) {
                        let after = Duration.microseconds(1_000_000 / perSecond * number)
                        try await ContinuousClock().sleep(until: started + after)
                        // It is due when it was meant to come, not when a slow enqueue got to it.
                        var one = job(number)
                        one.due = first + after
                        _ = try await store.enqueue([one])
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// The median time of one small write and its `fdatasync` here.
    static func syncSeconds() throws -> Double {
        let path = FileManager.default.temporaryDirectory.appending(path: "aurum-sync-\(UUID().uuidString)")
        guard FileManager.default.createFile(atPath: path.path, contents: nil) else {
            throw BenchFailure("no file can be made in the temporary folder")
        }
        defer { try? FileManager.default.removeItem(at: path) }
        let file = try FileHandle(forWritingTo: path)
        defer { try? file.close() }
        var times: [Double] = []
        for _ in 0..<31 {
            let started = ContinuousClock.now
            try file.write(contentsOf: Data(count: 4096))
            try file.synchronize()
            times.append((ContinuousClock.now - started).seconds)
        }
        return times.sorted()[times.count / 2]
    }
}
