internal import AurumCore
internal import Database
internal import Foundation
internal import Runtime
internal import Synchronization
internal import Telemetry

/// What takes a second process, a database or many tasks; and what all of it keeps in memory.
extension RolesBench {
    /// How long hits of a process's own cache take at worst, of one in a hundred.
    func cacheTail() async throws -> BenchRow {
        let cache = MemoryCache(registry: MetricRegistry())
        let (policy, reads) = (CachePolicy(freshFor: .seconds(3600)), count(200_000))
        let keys = (0..<1000).map { CacheKey(org: "bench", cache: "bench", name: "key \($0)") }
        for key in keys { _ = try await cache.get(key, policy, tags: ["tag"]) { [1, 2, 3] } }
        var times: [Double] = []
        times.reserveCapacity(reads)
        for number in 0..<reads {
            let start = ContinuousClock.now
            _ = try await cache.get(keys[number % 1000], policy, tags: ["tag"]) { nil }
            times.append((ContinuousClock.now - start).seconds * 1e6)
        }
        return row(
            "cache.hit.p99", Percentile.of(times, 0.99), "µs", 10, reads, "one task, the time of asking the clock in it"
        )
    }

    /// Values that another process made: found on Redis, not in this process.
    func secondLevel(_ url: String) async throws -> BenchRow {
        let reads = count(4000)
        let (policy, name) = (CachePolicy(freshFor: .seconds(600)), UID(now: SystemWallClock().now).hex)
        let keys = (0..<reads).map { CacheKey(org: "bench", cache: "second", name: "\(name) \($0)") }
        let made = Atomic<Int>(0)
        var times: [Double] = []
        try await FleetNode.with(url) { node in
            for key in keys { _ = try await node.cache.get(key, policy, tags: []) { [1, 2, 3] } }
        }
        try await FleetNode.with(url) { node in
            for key in keys {
                let start = ContinuousClock.now
                _ = try await node.cache.get(key, policy, tags: []) {
                    made.add(1, ordering: .relaxed)
                    return [1, 2, 3]
                }
                times.append((ContinuousClock.now - start).seconds * 1000)
            }
        }
        // XFetch makes a value early now and then.
        let again = made.load(ordering: .relaxed)
        guard again * 100 <= reads else { throw BenchFailure("\(again) of \(reads) values were not found on Redis") }
        return row(
            "cache.redis.p95", Percentile.of(times, 0.95), "ms", 2, reads,
            "hits of the second level, one task; \(again) made again")
    }

    /// Locks of 32 tasks, each its own.
    func lockTasks(_ node: FleetNode) async throws -> BenchRow {
        let (per, tasks) = (count(2000), 32)
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    let key = LockKey(owner: "bench", "lock \(task)")
                    for _ in 0..<per { try await node.lock.withLock(key, LockOptions(wait: .zero)) { _ in } }
                }
            }
            try await group.waitForAll()
        }
        return BenchRow(
            name: "lock.redis.tasks", value: Double(per * tasks) / (ContinuousClock.now - start).seconds,
            unit: "locks/s", bar: 5000, higherIsBetter: true, n: per * tasks,
            note: "\(tasks) tasks, a lock each, uncontended", notJudged: tooFew(per * tasks, 10_000))
    }

    /// Locks whose fences come from PostgreSQL, which is started for it.
    func fencedLock(_ url: String) async throws -> BenchRow {
        let name = "lock.redis.postgres.p95"
        guard LocalPostgres.isInstalled else {
            let why = "not measured: PostgreSQL's programs (initdb, postgres, psql) are not installed"
            return BenchRow(name: name, value: 0, unit: "ms", bar: 5, n: 0, notJudged: why)
        }
        let holds = count(4000)
        let server = try await LocalPostgres.start(isDurable: true)
        do {
            let database = try await Database.open(
                try await server.newSchema("locks"), registry: MetricRegistry(), clock: SystemWallClock())
            var times: [Double] = []
            try await FleetNode.with(url, fences: SQLFences(database: database)) { node in
                times = try await Self.lockTimes(node, holds)
            }
            try database.close()
            await server.endApart()
            return row(name, Percentile.of(times, 0.95), "ms", 5, holds, "the same with a fence from PostgreSQL")
        } catch {
            await server.endApart()
            throw error
        }
    }

    /// Milliseconds of taking a lock that nobody else wants and giving it back.
    static func lockTimes(_ node: FleetNode, _ count: Int) async throws -> [Double] {
        var times: [Double] = []
        for _ in 0..<count {
            let start = ContinuousClock.now
            try await node.lock.withLock(LockKey(owner: "bench", "lock"), LockOptions(wait: .zero)) { _ in }
            times.append((ContinuousClock.now - start).seconds * 1000)
        }
        return times
    }

    /// What 500 operations of each role leave in the memory of the process, after as many to warm up.
    func memoryGrowth(_ node: FleetNode) async throws -> BenchRow {
        let operations = 500
        let limit = RateLimit.gcra("bench", 1_000_000, in: .seconds(1))
        func work(_ round: Int) async throws {
            for number in 0..<operations {
                let key = CacheKey(org: "bench", cache: "memory", name: "\(round) \(number)")
                _ = try await node.cache.get(key, CachePolicy(freshFor: .seconds(60)), tags: ["tag"]) { [1, 2, 3] }
                try await node.lock.withLock(LockKey(owner: "bench", "memory"), LockOptions(wait: .zero)) { _ in }
                _ = await node.limiter.decide(RateRequest(limit, .org("bench"), "\(round) \(number)"))
            }
        }
        for round in 0..<4 { try await work(round) }
        let before = ProcessMemory.residentBytes
        try await work(4)
        let grown = Double(ProcessMemory.residentBytes - before) / 1_048_576
        return BenchRow(
            name: "roles.memory", value: max(0, grown), unit: "MB", bar: 5, n: operations,
            note: "resident memory, \(operations) operations each of cache, lock and limiter on Redis after 2,000")
    }
}
