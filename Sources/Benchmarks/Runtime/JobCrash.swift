internal import AurumCore
package import Database
internal import Foundation
internal import Logging
internal import Runtime
internal import Telemetry

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Jobs in one database, worked on by processes that are killed at random: every job's effect must be there once.
package struct JobCrash: Sendable {
    package var jobs = 10_000
    package var kills = 20
    package var workers = 3
    package var seed: UInt64 = 7
    /// Where the jobs are; nil for a SQLite file in a temporary folder.
    package var server: LocalPostgres?
    /// Whether the jobs are on a Redis of its own and only their effects in the database, each behind a row of its own.
    package var isOnRedis = false
    /// Starts a worker on a database: `executable` with these arguments and the file's path or the URL.
    package var executable = "/proc/self/exe"
    package var arguments = ["bench", "runtime", "--jobs-worker"]

    package init() {}

    package struct Result: Sendable {
        package var jobs: Int
        package var effects: Int
        /// Jobs that have an effect.
        package var distinct: Int
        package var kills: Int
        /// Attempts beyond the first, because a worker was killed.
        package var repeated: Int
        /// Jobs that lost three workers in a row and had to be redriven.
        package var redriven: Int
        package var seconds: Double
    }

    private static let kind = JobKind("bench.effect", attemptsMax: JobLimits.attemptsMax)
    private static let org = "bench"
    /// Short, so that what a killed worker held does not wait half a minute.
    private static let lease: Duration = .seconds(2)
    private static let lifeMax: Duration = .seconds(300)

    // MARK: the judge

    /// - Throws: `BenchFailure` when the jobs do not come to an end.
    package func run() async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-crash-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var path = folder.appending(path: "records.sqlite").path
        if let server {
            let schema = "crash_\(folder.lastPathComponent.suffix(8).lowercased())"
            _ = try await server.newSchema(schema)
            path = server.url(schema: schema)
        }
        let redis = isOnRedis ? try LocalRedis(sync: "everysec") : nil
        defer { redis?.end() }
        guard let redis else { return try await run(path, nil) }
        let place = path + "#" + redis.url
        var result: Result?
        try await FleetNode.with(redis.url) { result = try await run(place, $0.client) }
        guard let result else { throw BenchFailure("the jobs did not come to an end") }
        return result
    }

    private func run(_ path: String, _ client: RedisClient?) async throws -> Result {
        let site = try await Self.open(path, client)
        defer { try? site.database.close() }
        try await site.database.write("bench.effects") { tx in
            try tx.run(
                .dialect(
                    sqlite: "CREATE TABLE effects (job BLOB NOT NULL, worker BLOB NOT NULL)",
                    postgres: "CREATE TABLE effects (job BYTEA NOT NULL, worker BYTEA NOT NULL)"))
            try tx.run(
                .dialect(
                    sqlite: "CREATE TABLE begun (job BLOB PRIMARY KEY, tries INTEGER NOT NULL) STRICT",
                    postgres: "CREATE TABLE begun (job BYTEA PRIMARY KEY, tries INTEGER NOT NULL)"))
        }
        let started = ContinuousClock.now
        var result = Result(
            jobs: jobs, effects: 0, distinct: 0, kills: 0, repeated: 0, redriven: 0, seconds: 0)
        try await crash(site, path, &result)
        result.seconds = (ContinuousClock.now - started).seconds
        return result
    }

    /// The jobs come in portions, a kill in the middle of each but the last, so that every kill hits work.
    private func crash(_ site: Site, _ path: String, _ result: inout Result) async throws {
        var random = SeededRandom(seed: seed)
        var running: [Process] = []
        defer { for process in running { kill(process.processIdentifier, SIGKILL) } }
        for _ in 0..<workers { running.append(try start(path)) }
        let deadline = ContinuousClock.now + Self.lifeMax
        var enqueued = 0
        for portion in 1...kills + 1 {
            let end = jobs * portion / (kills + 1)
            let target = enqueued + (end - enqueued) * Int.random(in: 5...60, using: &random) / 100
            try await enqueue(end - enqueued, site)
            enqueued = end
            if portion > kills { break }
            // What killed workers held comes back with its lease; it is not waited for here.
            while try await site.progress().done < target - workers * Self.heldMax {
                guard ContinuousClock.now < deadline else { throw BenchFailure("the jobs did not come to an end") }
                try await Task.sleep(for: .milliseconds(2))
            }
            let victim = Int.random(in: 0..<running.count, using: &random)
            kill(running[victim].processIdentifier, SIGKILL)
            result.kills += 1
            running[victim] = try start(path)
        }
        try await finish(site, deadline, &result)
    }

    /// Jobs that one worker holds at once.
    private static let heldMax = JobQueue.Configuration().concurrency

    private func enqueue(_ count: Int, _ site: Site) async throws {
        for start in stride(from: 0, to: count, by: JobLimits.batch) {
            let batch = (start..<min(count, start + JobLimits.batch)).map { _ in NewJob(Self.kind, org: Self.org) }
            _ = try await site.store.enqueue(batch)
        }
    }

    private func finish(_ site: Site, _ deadline: ContinuousClock.Instant, _ result: inout Result) async throws {
        while true {
            guard ContinuousClock.now < deadline else { throw BenchFailure("the jobs did not come to an end") }
            let state = try await site.progress()
            if state.open == 0, state.dead == 0 {
                (result.effects, result.distinct) = (state.effects, state.distinct)
                result.repeated = state.attempts - jobs
                return
            }
            if state.open == 0 {
                result.redriven += try await site.store.redrive(
                    org: Self.org, type: nil, since: Timestamp(milliseconds: 0), rate: nil)
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func start(_ path: String) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments + [path]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        return process
    }

    // MARK: a worker

    /// Works on the jobs of a database, or of a Redis beside it, until it is killed.
    package static func work(_ path: String) async throws {
        guard let url = redisURL(path) else { return try await work(try await open(path, nil)) }
        try await FleetNode.with(url) { try await work(try await open(path, $0.client)) }
    }

    private static func redisURL(_ path: String) -> String? {
        path.lastIndex(of: "#").map { String(path[path.index(after: $0)...]) }
    }

    private static func work(_ site: Site) async throws {
        let (database, store, worker) = (site.database, site.store, UID(now: SystemWallClock().now))
        var configuration = JobQueue.Configuration()
        configuration.lease = lease
        configuration.renewEvery = .milliseconds(500)
        configuration.poll = .milliseconds(100)
        let clock = SystemWallClock()
        let queue = JobQueue(
            store: store,
            handlers: [
                JobHandler(kind) { job in
                    let id = job.id
                    try await database.write("bench.effect", isolation: .readCommitted) { tx in
                        guard try isFirst(job, in: tx, site) else { return }
                        try tx.run("INSERT INTO effects (job, worker) VALUES (\(id), \(worker))")
                        if site.redis == nil { try job.complete(in: tx) }
                    }
                }
            ], clock: clock, registry: MetricRegistry(), health: HealthRegistry(clock: clock),
            logger: Logger.silent, configuration: configuration)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.run() }
            // Whoever started it may be gone.
            group.addTask { try await Task.sleep(for: lifeMax) }
            _ = try await group.next()
            group.cancelAll()
        }
    }

    /// Whether the effect of a job on Redis is still to come: the row that keeps it single is in the database, for
    /// the job cannot be completed there.
    private static func isFirst(_ job: RunningJob, in tx: Transaction, _ site: Site) throws -> Bool {
        guard site.redis != nil else { return true }
        try tx.run(
            """
            INSERT INTO begun (job, tries) VALUES (\(job.id), 1)
            ON CONFLICT (job) DO UPDATE SET tries = begun.tries + 1
            """)
        return try tx.value(Int.self, "SELECT tries FROM begun WHERE job = \(job.id)") == 1
    }

    // MARK: the database

    private struct Site: Sendable {
        let database: Database
        let store: any JobStore
        /// Nil where jobs and effects are in one database.
        let redis: RedisJobReads?

        func progress() async throws -> Progress {
            if let redis { return try await progress(redis) }
            return try await database.read("bench.progress") { tx in
                try tx.one(
                    Progress.self,
                    """
                    SELECT SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END) AS done,
                        SUM(CASE WHEN state = 'dead' THEN 1 ELSE 0 END) AS dead,
                        SUM(CASE WHEN state IN ('done', 'dead', 'cancelled') THEN 0 ELSE 1 END) AS open,
                        SUM(attempt) AS attempts, (SELECT COUNT(*) FROM effects) AS effects,
                        (SELECT COUNT(DISTINCT job) FROM effects) AS distinct_jobs FROM jobs
                    """)
            } ?? Progress()
        }

        /// Jobs before their effects: what is over by the first look has its effect in the second.
        private func progress(_ redis: RedisJobReads) async throws -> Progress {
            let counts = try await redis.counts(org: org)
            var progress =
                try await database.read("bench.progress.redis") { tx in
                    try tx.one(
                        Progress.self,
                        """
                        SELECT COUNT(*) AS done, 0 AS dead, 0 AS open,
                            (SELECT COALESCE(SUM(tries), 0) FROM begun) AS attempts, COUNT(*) AS effects,
                            COUNT(DISTINCT job) AS distinct_jobs FROM effects
                        """)
                } ?? Progress()
            for count in counts {
                if count.state == .dead { progress.dead += count.count } else { progress.open += count.count }
            }
            return progress
        }
    }

    private struct Progress: RowDecodable {
        var (done, dead, open, attempts, effects, distinct) = (0, 0, 0, 0, 0, 0)

        init() {}

        init(row: Row) throws {
            done = try row.get("done")
            dead = try row.get("dead")
            open = try row.get("open")
            attempts = try row.get("attempts")
            effects = try row.get("effects")
            distinct = try row.get("distinct_jobs")
        }
    }

    private static func open(_ place: String, _ client: RedisClient?) async throws -> Site {
        let registry = MetricRegistry()
        let path = redisURL(place) == nil ? place : String(place.prefix { $0 != "#" })
        let location: DatabaseLocation =
            path.hasPrefix("/") ? .sqlite(path: path) : try DatabaseLocation(url: path, requireTLS: true)
        let database = try await Database.open(location, registry: registry, clock: SystemWallClock())
        if let client {
            let store = RedisJobStore(client: client, clock: SystemWallClock(), registry: registry, name: "crash")
            return Site(database: database, store: store, redis: RedisJobReads(store))
        }
        return Site(
            database: database,
            store: SQLJobStore(
                database: database, fences: SQLFences(database: database, isShared: true), registry: registry),
            redis: nil)
    }
}

extension JobCrash {
    /// The runs as figures: effects that are missing or doubled, on SQLite, on Redis and on PostgreSQL.
    package func rows() async throws -> [BenchRow] {
        let first = try await [row("runtime.jobs.crash"), redisRow()]
        let name = "runtime.jobs.postgres.crash"
        guard LocalPostgres.isInstalled else {
            return first + [
                BenchRow(
                    name: name, value: 0, unit: "effects wrong", bar: 0, n: 0,
                    notJudged: "not measured: PostgreSQL's programs (initdb, postgres, psql) are not installed")
            ]
        }
        var other = self
        let server = try await LocalPostgres.start(isDurable: true)
        defer { server.end() }
        other.server = server
        return first + [try await other.row(name)]
    }

    private func redisRow() async throws -> BenchRow {
        let name = "runtime.jobs.redis.crash"
        guard LocalRedis.isInstalled else {
            return BenchRow(
                name: name, value: 0, unit: "effects wrong", bar: 0, n: 0,
                notJudged: "not measured: redis-server is not installed")
        }
        var other = self
        other.isOnRedis = true
        return try await other.row(name)
    }

    private func row(_ name: String) async throws -> BenchRow {
        let result = try await run()
        return BenchRow(
            name: name, value: Double(abs(result.effects - result.jobs) + abs(result.distinct - result.jobs)),
            unit: "effects wrong", bar: 0, n: result.jobs,
            note: "\(result.jobs) jobs, \(result.kills) workers killed, \(result.repeated) attempts repeated, "
                + "\(result.redriven) redriven, \(String(format: "%.1f", result.seconds)) s, seed \(seed)")
    }
}
