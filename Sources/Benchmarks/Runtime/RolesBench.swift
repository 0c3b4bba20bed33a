internal import AurumCore
internal import Foundation
internal import Logging
internal import Runtime
internal import Synchronization
internal import Telemetry

/// Limits, locks and caches: of one process, and on a Redis server.
struct RolesBench: Sendable {
    let options: RuntimeBenchOptions

    func count(_ usual: Int) -> Int { options.tiny ? max(50, usual / 2000) : usual }

    func rows() async throws -> [BenchRow] {
        var rows = try await memory() + [cacheTail()]
        guard options.redisURL != nil || LocalRedis.isInstalled else {
            let why = "not measured: redis-server is not installed and no --redis-url was given"
            return rows + [BenchRow(name: "lock.redis.p95", value: 0, unit: "ms", bar: 2, n: 0, notJudged: why)]
        }
        let local = try options.redisURL == nil ? LocalRedis() : nil
        defer { local?.end() }
        rows += try await shared(options.redisURL ?? local?.url ?? "")
        return rows
    }

    // MARK: one process

    private func memory() async throws -> [BenchRow] {
        let registry = MetricRegistry()
        let cache = MemoryCache(registry: registry)
        let (policy, reads) = (CachePolicy(freshFor: .seconds(3600)), count(2_000_000))
        let keys = (0..<1000).map { CacheKey(org: "bench", cache: "bench", name: "key \($0)") }
        for key in keys { _ = try await cache.get(key, policy, tags: ["tag"]) { [1, 2, 3] } }
        let hit = try await nanoseconds(reads) { number in
            _ = try await cache.get(keys[number % 1000], policy, tags: ["tag"]) { nil }
        }
        let limiter = MemoryRateLimiter(clock: SystemWallClock(), meters: RateMeters(registry: registry))
        let (rate, decisions) = (RateLimit.gcra("bench", 1_000_000, in: .seconds(1)), count(2_000_000))
        let requests = (0..<1000).map { RateRequest(rate, .org("bench"), "subject \($0)") }
        let decision = try await nanoseconds(decisions) { number in
            _ = limiter.decide(requests[number % 1000])
        }
        let lock = MemoryLock(fences: MemoryFences(), meters: LockMeters(registry: registry))
        let (key, holds) = (LockKey(owner: "bench", "lock"), count(400_000))
        let token = UID(high: 1, low: 1)
        let step = try await nanoseconds(holds) { _ in
            guard lock.set(key, token: token, lease: .seconds(30)) == .yes else { return }
            _ = try await lock.fences.next()
            _ = lock.confirm(key, token: token)
            lock.release(key, token: token)
        }
        let held = try await nanoseconds(count(100_000)) { _ in
            try await lock.withLock(key, LockOptions(wait: .zero)) { _ in }
        }
        return [
            row("cache.hit", hit, "ns", 200, reads, "one task, 1,000 keys, a tag each"),
            row("limiter.decision", decision, "ns", 500, decisions, "gcra, one task, 1,000 keys"),
            BenchRow(
                name: "lock.memory", value: 1e9 / step, unit: "locks/s", bar: 200_000, higherIsBetter: true, n: holds,
                note: "set, fence, confirm, release", notJudged: tooFew(holds)),
            BenchRow(
                name: "lock.memory.with", value: 1e9 / held, unit: "locks/s", n: count(100_000),
                note: "withLock around an empty body, with the task that extends the lease"),
        ]
    }

    private func nanoseconds(_ count: Int, _ body: (Int) async throws -> Void) async throws -> Double {
        for number in 0..<(count / 10) { try await body(number) }
        let start = ContinuousClock.now
        for number in 0..<count { try await body(number) }
        return (ContinuousClock.now - start).seconds * 1e9 / Double(count)
    }

    func row(
        _ name: String, _ value: Double, _ unit: String, _ bar: Double, _ count: Int, _ note: String
    ) -> BenchRow {
        BenchRow(name: name, value: value, unit: unit, bar: bar, n: count, note: note, notJudged: tooFew(count))
    }

    func tooFew(_ count: Int, _ needed: Int = 1000) -> String? { count < needed ? "too few" : nil }

    // MARK: on Redis

    private func shared(_ url: String) async throws -> [BenchRow] {
        var rows: [BenchRow] = []
        try await FleetNode.with(url) { node in
            let holds = count(4000)
            let lockTimes = try await Self.lockTimes(node, holds)
            rows.append(
                row(
                    "lock.redis.p95", Percentile.of(lockTimes, 0.95), "ms", 2, holds,
                    "acquire, fence of this process, confirm, release, uncontended"))
            rows.append(try await lockTasks(node))
            let limit = RateLimit.gcra("bench", 1_000_000, in: .seconds(1))
            let decisions = count(10_000)
            var limiterTimes: [Double] = []
            for number in 0..<decisions {
                let start = ContinuousClock.now
                _ = await node.limiter.decide(RateRequest(limit, .org("bench"), "subject \(number % 1000)"))
                limiterTimes.append((ContinuousClock.now - start).seconds * 1000)
            }
            rows.append(
                row("limiter.redis.p95", Percentile.of(limiterTimes, 0.95), "ms", 2, decisions, "gcra, one task"))
            let (per, tasks) = (count(1000), 100)
            let start = ContinuousClock.now
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<tasks {
                    group.addTask {
                        for _ in 0..<per {
                            _ = await node.limiter.decide(RateRequest(limit, .org("bench"), "subject \(task)"))
                        }
                    }
                }
            }
            rows.append(
                BenchRow(
                    name: "limiter.redis", value: Double(per * tasks) / (ContinuousClock.now - start).seconds,
                    unit: "decisions/s", bar: 20_000, higherIsBetter: true, n: per * tasks, note: "100 tasks",
                    notJudged: tooFew(per * tasks, 50_000)))
            rows.append(try await memoryGrowth(node))
        }
        rows.append(try await secondLevel(url))
        rows.append(try await fencedLock(url))
        if let program = options.program { rows.append(try await fleet(url, program)) }
        return rows
    }

    /// Three processes that miss at once; one of them makes the value.
    private func fleet(_ url: String, _ program: String) async throws -> BenchRow {
        let callers = options.tiny ? 300 : 10_002
        let name = UID(now: SystemWallClock().now).hex
        let outputs = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    try await LocalRedis.output(
                        program, ["bench", "runtime", "--cache-worker", "\(url) \(name) \(callers / 3)"])
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let answers = outputs.compactMap { text -> (made: Int, calls: Int)? in
            let words = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
            return words.count == 2 ? (words[0], words[1]) : nil
        }
        guard answers.count == 3 else { throw BenchFailure("a cache worker failed: \(outputs)") }
        return BenchRow(
            name: "cache.fleet.factories", value: Double(answers.reduce(0) { $0 + $1.made }), unit: "calls", bar: 1,
            n: answers.reduce(0) { $0 + $1.calls }, note: "concurrent misses of three processes")
    }
}

/// One process of a fleet, for as long as a body runs.
struct FleetNode: Sendable {
    let client: RedisClient
    let cache: RedisCache
    let lock: RedisLock
    let limiter: RedisRateLimiter

    static func with(
        _ url: String, fences: any FenceSequence = MemoryFences(), _ body: (FleetNode) async throws -> Void
    ) async throws {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let client: RedisClient
        do {
            client = try RedisClient(
                configuration: RedisConfiguration(url: url), registry: registry,
                health: HealthRegistry(clock: clock), logger: Logger.silent)
        } catch { throw BenchFailure(error.description) }
        let pubSub = RedisPubSub(client: client, clock: clock, registry: registry)
        let cache = RedisCache(client: client, pubSub: pubSub, clock: clock, registry: registry)
        let lock = RedisLock(
            client: client, pubSub: pubSub, fences: fences, meters: LockMeters(registry: registry))
        let limiter = RedisRateLimiter(client: client, clock: clock, registry: registry, nodes: { 1 })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            group.addTask { try await pubSub.run() }
            group.addTask { try await cache.run() }
            group.addTask { try await lock.run() }
            defer { group.cancelAll() }
            guard await client.waitUntilAvailable(within: .seconds(10)) else {
                throw BenchFailure("no Redis answers")
            }
            try await body(FleetNode(client: client, cache: cache, lock: lock, limiter: limiter))
        }
    }
}

/// The part of one process in `cache.fleet.factories`. Prints how often it made the value, and how many callers had it.
/// - Parameter order: URL, name of the value, callers.
package func cacheWorker(_ order: String) async throws -> String {
    let words = order.split(separator: " ").map(String.init)
    guard words.count == 3, let callers = Int(words[2]) else { throw BenchFailure("not an order: \(order)") }
    let tally = FleetTally()
    try await FleetNode.with(words[0]) { node in
        // All three are there before anybody asks.
        let ready = "aurum:{bench}:ready:\(words[1])"
        _ = try await node.client.call(RedisCommand("INCR", ready))
        while try await node.client.call(RedisCommand("GET", ready)).integer ?? 0 < 3 {
            try await Task.sleep(for: .milliseconds(5))
        }
        let key = CacheKey(org: "bench", cache: "fleet", name: words[1])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<callers {
                group.addTask {
                    let cached = try await node.cache.get(key, CachePolicy(freshFor: .seconds(60)), tags: []) {
                        tally.made.wrappingAdd(1, ordering: .relaxed)
                        try await Task.sleep(for: .milliseconds(200))
                        return [1]
                    }
                    if cached.value == [1] { tally.served.wrappingAdd(1, ordering: .relaxed) }
                }
            }
            try await group.waitForAll()
        }
    }
    return "\(tally.made.load(ordering: .relaxed)) \(tally.served.load(ordering: .relaxed))"
}

private final class FleetTally: Sendable {
    let made = Atomic<Int>(0)
    let served = Atomic<Int>(0)
}
