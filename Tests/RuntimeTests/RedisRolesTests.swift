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

/// The roles on a real Redis: the suites of their twins, and what only several nodes can show.
struct RedisRolesTests {
    /// A node: a client of its own with the roles on it.
    struct Node: Sendable {
        let client: RedisClient
        let registry: MetricRegistry
        let health: HealthRegistry
        let pubSub: RedisPubSub
        let cache: RedisCache
        let lock: RedisLock
        let limiter: RedisRateLimiter
        let presence: NodePresence
        let watch: RedisWatch
    }

    private static func withNodes(
        _ count: Int, _ url: String, fences: any FenceSequence = MemoryFences(),
        _ body: ([Node]) async throws -> Void
    ) async throws {
        let clock = SystemWallClock()
        var nodes: [Node] = []
        var configuration = try RedisConfiguration(url: url)
        // A busy machine must not make a test fail.
        configuration.keepAliveAfter = .seconds(15)
        for _ in 0..<count {
            let (registry, health) = (MetricRegistry(), HealthRegistry(clock: clock))
            let client = try RedisClient(
                configuration: configuration, registry: registry, health: health,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let pubSub = RedisPubSub(client: client, clock: clock, registry: registry)
            let presence = NodePresence(client: client, clock: clock)
            nodes.append(
                Node(
                    client: client, registry: registry, health: health, pubSub: pubSub,
                    cache: RedisCache(client: client, pubSub: pubSub, clock: clock, registry: registry),
                    lock: RedisLock(
                        client: client, pubSub: pubSub, fences: fences, meters: LockMeters(registry: registry)),
                    limiter: RedisRateLimiter(
                        client: client, clock: clock, registry: registry, nodes: { presence.count },
                        timeout: .seconds(30)),
                    presence: presence,
                    watch: RedisWatch(client: client, sharesLocks: true, registry: registry, health: health)))
        }
        let all = nodes
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in all {
                group.addTask { try await node.client.run() }
                group.addTask { try await node.pubSub.run() }
                group.addTask { try await node.cache.run() }
                group.addTask { try await node.lock.run() }
                group.addTask { try await node.watch.run() }
            }
            defer { group.cancelAll() }
            for node in all {
                try #require(await node.client.waitUntilAvailable(within: .seconds(30)))
                try await listens(node, all[0])
            }
            try await body(all)
        }
    }

    /// Waits until `node` hears what another node publishes.
    private static func listens(_ node: Node, _ other: Node) async throws {
        let channel = "aurum:{test}:\(UID(now: SystemWallClock().now).hex)"
        let seen = Shared(false)
        let messages = node.pubSub.subscribe([.channel(channel)])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // Not the gap that ends the time before the subscription stood.
                for await case .message in messages { return seen.withLock { $0 = true } }
            }
            try await eventually("the subscription") {
                // Written below the node, so that it must come through the server.
                _ = try await other.client.call(
                    RedisCommand("PUBLISH", channel, Array(repeating: UInt8(0), count: 16)))
                return seen.withLock { $0 }
            }
            group.cancelAll()
        }
    }

    @Test func `nodes that end in the middle of their work end`() async throws {
        let server = try await RedisServer()
        for round in 0..<100 {
            try await Self.withNodes(1, server.url) { nodes in
                for number in 0..<10 {
                    let key = CacheKey(org: "test", cache: "end", name: "\(round) \(number)")
                    _ = try await nodes[0].cache.get(key, CachePolicy(freshFor: .seconds(60)), tags: []) { [1] }
                }
            }
        }
    }

    @Test func `every role conforms on one server`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(1, server.url) { nodes in
            let node = nodes[0]
            await RateLimiterConformance(limiter: node.limiter).run()
            try await PubSubConformance(pubSub: node.pubSub).run()
            try await LockConformance(lock: node.lock).run()
            try await CacheConformance(cache: node.cache).run()
            #expect(node.health.snapshot["locks"]?.state == .ok)
        }
    }

    @Test func `the script decides like the machine on every arrival`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            var random = SeededRandom(seed: 51)
            let clock = ManualWallClock()
            let shared = RedisRateLimiter(
                client: redis.client, clock: clock, registry: redis.metrics, nodes: { 1 }, time: clock,
                timeout: .seconds(30))
            for round in 0..<30 {
                let alone = MemoryRateLimiter(clock: clock)
                let units = Int.random(in: 1...40, using: &random)
                let window = Duration.microseconds(Int64.random(in: 100...20_000_000, using: &random))
                let limits = [
                    RateLimit.gcra("g", units, in: window, burst: Int.random(in: 1...60, using: &random)),
                    .slidingLog("l", units, in: window), .slidingCounter("c", units, in: window),
                ]
                let step = max(2, window.microseconds / Int64(units))
                for _ in 0..<60 {
                    clock.advance(by: .microseconds(Int64.random(in: 0...(step * 2), using: &random)))
                    let cost = Int.random(in: 1...(units + 2), using: &random) / 3 + 1
                    var requests = limits.map { RateRequest($0, .org("o"), "\(round)", cost: cost) }
                    if Bool.random(using: &random) { requests = [requests[Int.random(in: 0..<3, using: &random)]] }
                    switch Int.random(in: 0..<20, using: &random) {
                    case 0, 1:
                        await shared.owe(requests[0])
                        alone.owe(requests[0])
                        continue
                    case 2, 3:
                        let back = RateRequest(limits[0], .org("o"), "\(round)", cost: cost)
                        await shared.giveBack(back)
                        alone.giveBack(back)
                        continue
                    default: break
                    }
                    let (one, other) = (await shared.decide(all: requests), alone.decide(all: requests))
                    var compared = one
                    compared.mode = .memory
                    #expect(compared == other, "seed 51, round \(round): \(requests)")
                    #expect(one.mode == .shared)
                }
                // More than can be owed, and what of it was given back.
                let most = RateRequest(limits[0], .org("o"), "\(round)", cost: 1 << 52)
                await shared.owe(most)
                alone.owe(most)
                for _ in 0..<2 {
                    let one = RateRequest(limits[0], .org("o"), "\(round)")
                    var (compared, other) = (await shared.decide(one), alone.decide(one))
                    (compared.mode, other.mode) = (.memory, .memory)
                    #expect(compared == other, "seed 51, round \(round): \(limits[0])")
                    await shared.giveBack(most)
                    alone.giveBack(most)
                }
            }
        }
    }

    @Test func `three nodes that share a limit of a thousand allow a thousand`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(3, server.url) { nodes in
            let limit = RateLimit.gcra("shared", 1000, in: .seconds(360_000))
            let allowed = await withTaskGroup(of: Int.self) { group in
                for node in nodes {
                    for _ in 0..<10 {
                        group.addTask {
                            var allowed = 0
                            for _ in 0..<50 {
                                let verdict = await node.limiter.decide(RateRequest(limit, .org("acme"), "key"))
                                #expect(verdict.mode == .shared)
                                if verdict.isAllowed { allowed += 1 }
                            }
                            return allowed
                        }
                    }
                }
                return await group.reduce(0, +)
            }
            #expect(allowed == 1000)
        }
    }

    @Test func `ten thousand callers on three nodes cost one making, and an invalidation reaches all`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(3, server.url) { nodes in
            let made = Shared(0)
            let policy = CachePolicy(freshFor: .seconds(60), beta: 0)
            let key = CacheKey(org: "acme", cache: "fleet", name: "report")
            @Sendable func ask(_ node: Node) async throws -> Cached {
                try await node.cache.get(key, policy, tags: ["leads"]) {
                    let number = made.withLock { made in
                        made += 1
                        return made
                    }
                    try await Task.sleep(for: .milliseconds(100))
                    return Array("\(number)".utf8)
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<10_000 {
                    group.addTask {
                        let cached = try await ask(nodes[number % 3])
                        #expect(cached.value == Array("1".utf8))
                    }
                }
                try await group.waitForAll()
            }
            #expect(made.withLock { $0 } == 1)
            await nodes[1].cache.invalidate(org: "acme", tag: "leads")
            for node in nodes {
                try await eventually("the new value") { try await ask(node).value == Array("2".utf8) }
            }
            #expect(made.withLock { $0 } == 2)
        }
    }

    @Test func `a node that may not listen forgets, and remembers nothing for long, while commands go on`() async throws
    {
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            let made = Shared<UInt8>(0)
            let policy = CachePolicy(freshFor: .seconds(600), beta: 0)
            let key = CacheKey(org: "acme", cache: "fleet", name: "deaf")
            @Sendable func ask(_ node: Node) async throws -> [UInt8]? {
                try await node.cache.get(key, policy, tags: ["leads"]) {
                    [
                        made.withLock { made in
                            made += 1
                            return made
                        }
                    ]
                }.value
            }
            #expect(try await ask(nodes[0]) == [1])
            _ = try await nodes[1].client.call(RedisCommand("ACL", "SETUSER", "default", "resetchannels"))
            try await eventually("the refusal") {
                nodes.allSatisfy { $0.health.snapshot["redis"]?.reason == "redis_subscription_refused" }
            }
            #expect(try await ask(nodes[0]) == [1])
            await nodes[1].cache.invalidate(org: "acme", tag: "leads")
            // Nobody tells the first node: it looks for itself, long before the minute of one that hears.
            try await eventually("the new value", within: .seconds(20)) { try await ask(nodes[0]) == [2] }
            #expect(nodes.allSatisfy { $0.client.isAvailable })
            _ = try await nodes[1].client.call(RedisCommand("ACL", "SETUSER", "default", "allchannels"))
            try await eventually("health") { nodes.allSatisfy { $0.health.snapshot["redis"]?.state == .ok } }
            await nodes[1].cache.invalidate(org: "acme", tag: "leads")
            try await eventually("the newest value", within: .seconds(20)) { try await ask(nodes[0]) == [3] }
        }
    }

    @Test func `a large value lies compressed on the server, and another node reads it whole`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            let key = CacheKey(org: "acme", cache: "fleet", name: "large")
            let value = Array(String(repeating: "campaign of Queens, ", count: 10_000).utf8)
            let policy = CachePolicy(freshFor: .seconds(60), beta: 0)
            _ = try await nodes[0].cache.get(key, policy, tags: []) { value }
            let cached = try await nodes[1].cache.get(key, policy, tags: []) { [0] }
            #expect(cached.value == value && !cached.isNew)
            let names = try #require(await nodes[0].client.call(RedisCommand("KEYS", "aurum:{acme}:cache:*")).array)
            let length = try await nodes[0].client.call(RedisCommand("STRLEN", names.first?.string ?? "")).integer
            #expect(names.count == 1 && length ?? .max < 2000)
        }
    }

    @Test func `a stale value of another node is served at once, and the server's loss is forgetting`() async throws {
        struct Broken: Error {}
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            let short = CachePolicy(freshFor: .milliseconds(200), staleFor: .seconds(600), beta: 0)
            let stale = CacheKey(org: "acme", cache: "fleet", name: "stale")
            _ = try await nodes[0].cache.get(stale, short, tags: []) { [1] }
            try await Task.sleep(for: .milliseconds(300))
            let tries = Shared(0)
            let cached = try await nodes[1].cache.get(stale, short, tags: []) {
                tries.withLock { $0 += 1 }
                throw Broken()
            }
            #expect(cached.value == [1] && cached.isStale)
            try await eventually("it is made anew though nobody asks again") { tries.withLock { $0 } == 1 }
            let (key, long) = (CacheKey(org: "acme", cache: "fleet", name: "long"), CachePolicy(freshFor: .seconds(60)))
            _ = try await nodes[0].cache.get(key, long, tags: []) { [1] }
            try await server.kill()
            try await eventually("what was remembered is made anew") {
                try await nodes[0].cache.get(key, long, tags: []) { [2] }.value == [2]
            }
        }
    }

    @Test func `what was being made while the server lost its data overwrites no invalidation`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            let key = CacheKey(org: "acme", cache: "fleet", name: "lost")
            let policy = CachePolicy(freshFor: .seconds(60), beta: 0)
            let (other, client) = (nodes[1].cache, nodes[1].client)
            let late = try await nodes[0].cache.get(key, policy, tags: ["t"]) {
                await other.invalidate(org: "acme", tag: "t")
                // The generation that was raised is forgotten with everything else.
                _ = try await client.call(RedisCommand("FLUSHALL"))
                return [1]
            }
            #expect(late.value == [1])
            #expect(try await other.get(key, policy, tags: ["t"]) { [2] }.value == [2])
        }
    }

    @Test func `messages reach other nodes once, and a lost connection is told`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            let channel = "aurum:{acme}:news"
            let messages = nodes[1].pubSub.subscribe([.channel(channel)])
            var iterator = messages.makeAsyncIterator()
            for number in 0..<200 { try await nodes[0].pubSub.publish([UInt8(number)], to: channel) }
            for number in 0..<200 {
                let next = await iterator.next()
                #expect(
                    next == .message(channel: channel, subscription: .channel(channel), payload: [UInt8(number)]))
            }
            try await server.kill()
            try await eventually("the loss") { !nodes[1].client.isAvailable }
            // This node goes on by itself.
            try await nodes[1].pubSub.publish([7], to: channel)
            #expect(
                await iterator.next()
                    == .message(channel: channel, subscription: .channel(channel), payload: [7]))
            try await server.restart()
            #expect(await iterator.next() == .gap(.reconnected))
        }
    }

    @Test func `who subscribed before Redis was reached is told that messages may be missing`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let pubSub = RedisPubSub(client: redis.client, clock: SystemWallClock(), registry: redis.metrics)
            let early = pubSub.subscribe([.channel("aurum:{test}:early")])
            await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await pubSub.run() }
                var iterator = early.makeAsyncIterator()
                #expect(await iterator.next() == .gap(.reconnected))
                group.cancelAll()
            }
        }
    }

    @Test func `without Redis every limit does what it declares, and health says so until it is back`() async throws {
        let server = try await RedisServer()
        try await Self.withNodes(2, server.url) { nodes in
            for node in nodes { await node.presence.announce() }
            await nodes[0].presence.announce()
            #expect(nodes[0].presence.count == 2)
            try await server.kill()
            let node = nodes[0]
            try await eventually("the loss") { node.health.snapshot["rate_limits"]?.state == .degraded }
            func passes(_ limit: RateLimit) async -> (Int, RateVerdict.Mode) {
                var passed = 0
                var mode = RateVerdict.Mode.shared
                for _ in 0..<20 {
                    let verdict = await node.limiter.decide(RateRequest(limit, .net, "somebody"))
                    mode = verdict.mode
                    if verdict.isAllowed { passed += 1 }
                }
                return (passed, mode)
            }
            let hour = Duration.seconds(360_000)
            #expect(await passes(.slidingLog("share", 7, in: hour, degradedMode: .localShare)) == (4, .localShare))
            #expect(await passes(.slidingLog("full", 7, in: hour, degradedMode: .localFull)) == (7, .localFull))
            #expect(await passes(.slidingLog("closed", 7, in: hour, degradedMode: .closed)) == (0, .closed))
            // What is owed is owed of the share.
            let owed = RateLimit.gcra("owed", 8, in: hour)
            await node.limiter.owe(RateRequest(owed, .net, "somebody", cost: 4))
            #expect(await passes(owed) == (0, .localShare))
            let metric = "aurum_fallback_active{component=\"rate_limits\",fallback=\"share of this node\"}"
            #expect(node.registry.prometheusText().contains(metric + " 1"))
            // No lease without the server, where there are other nodes.
            await #expect(throws: LockError.unavailable) {
                try await node.lock.withLock(LockKey("x"), LockOptions(wait: .zero)) { _ in }
            }
            // What costs is still made, by this node alone.
            let key = CacheKey(org: "acme", cache: "alone", name: "n")
            let alone = try await node.cache.get(key, CachePolicy(freshFor: .seconds(60)), tags: []) { [5] }
            #expect(alone.value == [5])
            try await server.restart()
            try await eventually("the return") { node.health.snapshot["rate_limits"]?.state == .ok }
            #expect(node.registry.prometheusText().contains(metric + " 0"))
            #expect(await passes(.slidingLog("share", 7, in: hour)) == (7, .shared))
        }
    }

    @Test func `without Redis relays of the outbox go on, and one that was overtaken deletes nothing`() async throws {
        let (server, open) = (try await RedisServer(), try OpenDatabase())
        try await Self.withNodes(2, server.url, fences: SQLFences(database: open.database)) { nodes in
            try await server.kill()
            try await eventually("the loss") { nodes.allSatisfy { !$0.client.isAvailable } }
            let deleted = Shared<[Int]>([])
            try await nodes[0].lock.relayTurn { first in
                try await nodes[1].lock.relayTurn { second in
                    try await open.database.write("test.second") { try second($0) }
                    deleted.withLock { $0.append(2) }
                }
                try await open.database.write("test.first") { try first($0) }
                deleted.withLock { $0.append(1) }
            }
            #expect(deleted.withLock { $0 } == [2])
        }
    }

    @Test func `losing the server's data lets a second holder in, and the first one's write is refused`() async throws {
        let (server, open) = (try await RedisServer(), try OpenDatabase())
        let fences = SQLFences(database: open.database)
        try await Self.withNodes(2, server.url, fences: fences) { nodes in
            let key = LockKey("report")
            try await nodes[0].lock.withLock(key, LockOptions(wait: .seconds(60))) { first in
                _ = try await nodes[1].client.call(RedisCommand("FLUSHALL"))
                await HeldElsewhere.run {
                    await #expect(throws: Never.self) {
                        try await nodes[1].lock.withLock(key, LockOptions(wait: .seconds(60))) { second in
                            #expect(second.fence > first.fence)
                            try await open.database.write("test.second") {
                                try $0.guarded("report", by: second.fence)
                            }
                        }
                    }
                }
                await #expect(throws: SQLError.staleFence) {
                    try await open.database.write("test.first") { try $0.guarded("report", by: first.fence) }
                }
            }
        }
    }
}
