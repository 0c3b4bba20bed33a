import AurumCore
import Runtime
import Telemetry
import TestSupport
import Testing

/// The client against a real cluster of three masters and three replicas.
struct RedisClusterTests {
    @Test func `in a cluster commands find their nodes, also while a slot moves`() async throws {
        let cluster = try await RedisCluster()
        try await withRedis(cluster.url) { redis in
            try await everyNodeIsUsed(redis.client)
            try await oneNodeRefuses(redis.client)
            try await messagesComeFromAllNodes(redis.client)
            try await slotMoves(cluster, redis.client)
        }
    }

    @Test func `when a master dies its replica is found, and a single host of the cluster is enough to begin`()
        async throws
    {
        let cluster = try await RedisCluster()
        // One dead host beside one that lives: the map tells the rest.
        let dead = try FreePort.next()
        let url = "redis://127.0.0.1:\(dead),127.0.0.1:\(cluster.servers[4].port)"
        try await withRedis(url) { redis in
            let client = redis.client
            let victim = try #require(try await server(cluster, owning: RedisSlot.of("key")))
            _ = try await client.call(RedisCommand("SET", "key", "old"))
            #expect(try await cluster.ask(victim, "wait", "1", "5000") == "1")
            try await victim.kill()
            try await eventually("the replica's promotion", within: .seconds(60)) {
                (try? await client.call(RedisCommand("SET", "key", "new"))) == .simple("OK")
            }
            let found6 = try await client.call(RedisCommand("GET", "key")).string
            #expect(found6 == "new")
            #expect(await client.waitUntilAvailable(within: .seconds(30)))
        }
    }

    @Test func `who listens at a node that leaves the cluster is moved to another, told of it, and hears again`()
        async throws
    {
        let cluster = try await RedisCluster()
        try await withRedis(cluster.url) {
            $0.mapRefresh = .milliseconds(200)
        } _: { redis in
            let client = redis.client
            let subscription = client.subscribe(channels: ["news"])
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            var homes: [RedisServer] = []
            for server in try await masters(cluster) {
                if try await cluster.ask(server, "pubsub", "numsub", "news").hasSuffix("1") { homes.append(server) }
            }
            let home = try #require(homes.first)
            let id = try await cluster.ask(home, "cluster", "myid")
            var replica: RedisServer?
            for server in cluster.servers where server.port != home.port {
                let own = try await cluster.ask(server, "cluster", "nodes").split(separator: "\n").first {
                    $0.contains("myself")
                }
                if own?.contains("slave \(id)") == true { replica = server }
            }
            // Its replica takes its slots over; then the others forget it, and it them. Its connections stand.
            _ = try await cluster.ask(try #require(replica), "cluster", "failover", "takeover")
            try await eventually("the node without slots") {
                try await cluster.ask(home, "role").hasPrefix("slave")
            }
            for server in cluster.servers where server.port != home.port {
                _ = try await cluster.ask(server, "cluster", "forget", id)
            }
            _ = try await cluster.ask(home, "cluster", "reset", "hard")
            var messages = subscription.makeAsyncIterator()
            #expect(await messages.next() == .gap(.moved))
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            _ = try await client.call(RedisCommand("PUBLISH", "news", "x"))
            #expect(await messages.next() == .message(channel: "news", pattern: nil, payload: [0x78]))
            #expect(try await cluster.ask(home, "pubsub", "numsub", "news").hasSuffix("0"))
        }
    }

    @Test func `a cluster that is down is an outage that is told and asked again, and refuses nothing`() async throws {
        let cluster = try await RedisCluster()
        try await withRedis(cluster.url) { redis in
            let client = redis.client
            let slot = RedisSlot.of("{down}")
            let home = try #require(try await server(cluster, owning: slot))
            #expect(try await client.call(RedisCommand("INCR", "{down}key")) == .integer(1))
            // A slot that nobody has takes all of the cluster down, as the node sees it.
            _ = try await cluster.ask(home, "cluster", "delslots", "\(slot)")
            let shard = client.subscribe(shard: "{down}shard")
            try await eventually("the outage in health") {
                redis.health.snapshot["redis"]?.reason == "redis_cluster_down"
            }
            #expect(redis.health.snapshot["redis"]?.state == .down && !client.isAvailable)
            await #expect(throws: RedisError.unavailable) {
                try await client.call(RedisCommand("INCR", "{down}key"), within: .seconds(10))
            }
            await #expect(throws: RedisError.unavailable) {
                try await client.batch([RedisCommand("INCR", "{down}key")], within: .seconds(10))
            }
            _ = try await cluster.ask(home, "cluster", "addslots", "\(slot)")
            #expect(await client.waitUntilAvailable(within: .seconds(30)))
            #expect(try await client.call(RedisCommand("INCR", "{down}key")) == .integer(2))
            #expect(await shard.waitUntilActive(within: .seconds(30)))
            #expect(redis.metrics.counter(.redisSubscriptionsRefused).value == 0)
            #expect(redis.health.snapshot["redis"]?.state == .ok)
        }
    }

    private func everyNodeIsUsed(_ client: RedisClient) async throws {
        let keys = (0..<300).map { "key\($0)" }
        let stored = try await client.batch(keys.map { RedisCommand("SET", $0, "value of \($0)") })
        #expect(stored.allSatisfy { $0 == .simple("OK") })
        let values = try await client.batch(keys.map { RedisCommand("GET", $0) })
        #expect(values.map(\.string) == keys.map { "value of \($0)" })
        for key in keys.prefix(20) {
            let found7 = try await client.call(RedisCommand("GET", key)).string
            #expect(found7 == "value of \(key)")
        }
        let slots = Set(keys.map { RedisSlot.of($0) / 5462 })
        #expect(slots.count == 3, "the keys lie on all masters")
        await #expect(throws: RedisError.crossSlot) { try await client.call(RedisCommand("MGET", "key1", "key2")) }
        await #expect(throws: RedisError.crossSlot) { try await client.batch([RedisCommand("DEL", "key1", "key2")]) }
        let script = RedisScript("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])")
        let answer = try await client.eval(script, keys: ["{t}1", "{t}2"], arguments: ["x"])
        #expect(answer == .null)
        #expect(try await client.call(RedisCommand("PING")) == .simple("PONG"))
    }

    /// More commands than a connection may owe are refused unsent; `bar` lies on another master than `foo`.
    private func oneNodeRefuses(_ client: RedisClient) async throws {
        let many = (0...RedisLimits.inFlightMax).map { _ in RedisCommand("GET", "foo") }
        await #expect(throws: RedisError.backpressure) {
            try await client.batch(many + [RedisCommand("GET", "{bar}count")])
        }
        await #expect(throws: RedisError.outcomeUnknown) {
            try await client.batch(many + [RedisCommand("INCR", "{bar}count")])
        }
        let count = try await client.call(RedisCommand("GET", "{bar}count")).string
        #expect(count == "1")
    }

    private func messagesComeFromAllNodes(_ client: RedisClient) async throws {
        let subscription = client.subscribe(channels: ["news"], patterns: ["p.*"])
        let shards = ["a", "b", "c"].map { client.subscribe(shard: $0) }
        #expect(await subscription.waitUntilActive(within: .seconds(30)))
        for shard in shards { #expect(await shard.waitUntilActive(within: .seconds(30))) }
        for _ in 0..<3 { _ = try await client.call(RedisCommand("PUBLISH", "news", "x")) }
        _ = try await client.call(RedisCommand("PUBLISH", "p.1", "y"))
        var received: [String] = []
        for await case .message(let channel, _, _) in subscription {
            received.append(channel)
            if received.count == 4 { break }
        }
        #expect(received.sorted() == ["news", "news", "news", "p.1"])
        for (name, shard) in zip(["a", "b", "c"], shards) {
            #expect(try await client.call(RedisCommand("SPUBLISH", name, "z")) == .integer(1))
            for await message in shard {
                #expect(message == .message(channel: name, pattern: nil, payload: [0x7a]))
                break
            }
        }
    }

    private func slotMoves(_ cluster: RedisCluster, _ client: RedisClient) async throws {
        let slot = RedisSlot.of("{moving}")
        let from = try #require(try await server(cluster, owning: slot))
        let masters = try await masters(cluster)
        let to = try #require(masters.first { $0.port != from.port })
        let ids = try await (cluster.ask(from, "cluster", "myid"), cluster.ask(to, "cluster", "myid"))
        let shard = client.subscribe(shard: "{moving}shard")
        #expect(await shard.waitUntilActive(within: .seconds(30)))
        for number in 0..<50 { _ = try await client.call(RedisCommand("SET", "{moving}\(number)", number)) }

        _ = try await cluster.ask(to, "cluster", "setslot", "\(slot)", "importing", ids.0)
        _ = try await cluster.ask(from, "cluster", "setslot", "\(slot)", "migrating", ids.1)
        // The first half goes; every key is found all the same: some at the old node, some by ASK, new ones too.
        let keys = (0..<25).map { "{moving}\($0)" }
        _ = try await RedisCluster.cli(
            ["-p", "\(from.port)", "migrate", "127.0.0.1", "\(to.port)", "", "0", "5000", "keys"] + keys)
        for number in 0..<50 {
            #expect(try await client.call(RedisCommand("INCR", "{moving}\(number)")) == .integer(Int64(number + 1)))
        }
        _ = try await client.call(RedisCommand("SET", "{moving}new", "x"))
        let answers = try await client.batch((0..<50).map { RedisCommand("GET", "{moving}\($0)") })
        #expect(answers.map(\.integer) == (1...50).map { Int64($0) })
        // One key here and one there: TRYAGAIN until the move is over.
        await #expect(throws: RedisError.self) {
            try await client.call(RedisCommand("MGET", "{moving}1", "{moving}49"), within: .milliseconds(200))
        }
        async let waiting = sum(client, "{moving}1", "{moving}49")
        let rest = (25..<50).map { "{moving}\($0)" }
        _ = try await RedisCluster.cli(
            ["-p", "\(from.port)", "migrate", "127.0.0.1", "\(to.port)", "", "0", "5000", "keys"] + rest)
        for node in [to, from] { _ = try await cluster.ask(node, "cluster", "setslot", "\(slot)", "node", ids.1) }
        #expect(try await waiting == 52)
        let found8 = try await client.call(RedisCommand("GET", "{moving}new")).string
        #expect(found8 == "x")
        // The shard channel moved with its slot, and says so.
        var messages = shard.makeAsyncIterator()
        #expect(await messages.next() == .gap(.moved))
        #expect(await shard.waitUntilActive(within: .seconds(30)))
        #expect(try await client.call(RedisCommand("SPUBLISH", "{moving}shard", "z")) == .integer(1))
        #expect(await messages.next() == .message(channel: "{moving}shard", pattern: nil, payload: [0x7a]))
    }

    /// The sum of two values, asked for until the server gives both.
    private func sum(_ client: RedisClient, _ first: String, _ second: String) async throws -> Int64 {
        while true {
            do throws(RedisError) {
                let values = try await client.call(RedisCommand("MGET", first, second)).array ?? []
                return values.reduce(0) { $0 + ($1.integer ?? 0) }
            } catch { guard error == .tooManyRedirects else { throw error } }
        }
    }

    private func masters(_ cluster: RedisCluster) async throws -> [RedisServer] {
        var masters: [RedisServer] = []
        for server in cluster.servers where try await cluster.ask(server, "role").hasPrefix("master") {
            masters.append(server)
        }
        return masters
    }

    /// The master of a slot, by asking each whether it would answer for it.
    private func server(_ cluster: RedisCluster, owning slot: Int) async throws -> RedisServer? {
        for server in try await masters(cluster) {
            let nodes = try await cluster.ask(server, "cluster", "nodes")
            let own = nodes.split(separator: "\n").first { $0.contains("myself") }?.split(separator: " ") ?? []
            for range in own.dropFirst(8) {
                let ends = range.split(separator: "-").compactMap { Int($0) }
                if let first = ends.first, let last = ends.last, (first...last).contains(slot) { return server }
            }
        }
        return nil
    }
}
