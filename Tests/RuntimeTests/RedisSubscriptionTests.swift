import Runtime
import Telemetry
import TestSupport
import Testing

/// Messages, and what a subscriber is told when some may be missing.
struct RedisSubscriptionTests {
    @Test func `channels, patterns and shard channels bring exactly their messages, binary ones too`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            let both = client.subscribe(channels: ["a", "b"], patterns: ["news.*"])
            let shard = client.subscribe(shard: "s")
            #expect(await both.waitUntilActive(within: .seconds(30)))
            #expect(await shard.waitUntilActive(within: .seconds(30)))
            let payload: [UInt8] = [0, 13, 10, 255]
            for (channel, text) in [("a", payload), ("c", [1]), ("news.x", [2]), ("b", [3])] as [(String, [UInt8])] {
                _ = try await client.call(RedisCommand("PUBLISH", channel, text))
            }
            #expect(try await client.call(RedisCommand("SPUBLISH", "s", "four")) == .integer(1))
            var messages = both.makeAsyncIterator()
            #expect(await messages.next() == .message(channel: "a", pattern: nil, payload: payload))
            #expect(await messages.next() == .message(channel: "news.x", pattern: "news.*", payload: [2]))
            #expect(await messages.next() == .message(channel: "b", pattern: nil, payload: [3]))
            var shards = shard.makeAsyncIterator()
            #expect(await shards.next() == .message(channel: "s", pattern: nil, payload: Array("four".utf8)))
        }
    }

    @Test func `after the server was killed and came back there is one gap, and then messages again`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let subscription = redis.client.subscribe(channels: ["a"])
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            try await server.kill()
            try await server.restart()
            var messages = subscription.makeAsyncIterator()
            #expect(await messages.next() == .gap(.reconnected))
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            #expect(await redis.client.waitUntilAvailable(within: .seconds(30)))
            #expect(try await redis.client.call(RedisCommand("PUBLISH", "a", "x")) == .integer(1))
            #expect(await messages.next() == .message(channel: "a", pattern: nil, payload: [0x78]))
        }
    }

    @Test func `a subscriber that does not take its messages is told of the gap before it gets the next`() async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            let slow = client.subscribe(channels: ["a"])
            let quick = client.subscribe(channels: ["end"])
            #expect(await slow.waitUntilActive(within: .seconds(30)))
            #expect(await quick.waitUntilActive(within: .seconds(30)))
            let count = RedisLimits.subscriberMessagesMax + 10
            for start in stride(from: 0, to: count, by: 1000) {
                let part = start..<min(count, start + 1000)
                _ = try await client.batch(part.map { RedisCommand("PUBLISH", "a", "\($0)") })
            }
            _ = try await client.call(RedisCommand("PUBLISH", "end", ""))
            for await _ in quick { break }
            var messages = slow.makeAsyncIterator()
            for number in 0..<RedisLimits.subscriberMessagesMax {
                let expected = RedisMessage.message(channel: "a", pattern: nil, payload: Array("\(number)".utf8))
                let message = await messages.next()
                try #require(message == expected)
            }
            _ = try await client.call(RedisCommand("PUBLISH", "a", "later"))
            #expect(await messages.next() == .gap(.overflow))
            #expect(await messages.next() == .message(channel: "a", pattern: nil, payload: Array("later".utf8)))
        }
    }

    @Test func `a gap that found no room is told when there is some`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            let slow = client.subscribe(channels: ["a"])
            let quick = client.subscribe(channels: ["end"])
            #expect(await slow.waitUntilActive(within: .seconds(30)))
            #expect(await quick.waitUntilActive(within: .seconds(30)))
            let count = RedisLimits.subscriberMessagesMax
            for start in stride(from: 0, to: count, by: 1000) {
                let part = start..<min(count, start + 1000)
                _ = try await client.batch(part.map { RedisCommand("PUBLISH", "a", "\($0)") })
            }
            _ = try await client.call(RedisCommand("PUBLISH", "end", ""))
            var others = quick.makeAsyncIterator()
            #expect(await others.next() == .message(channel: "end", pattern: nil, payload: []))
            try await server.kill()
            try await server.restart()
            #expect(await others.next() == .gap(.reconnected))
            #expect(await slow.waitUntilActive(within: .seconds(30)))
            #expect(await client.waitUntilAvailable(within: .seconds(30)))
            var messages = slow.makeAsyncIterator()
            for number in 0..<count {
                let expected = RedisMessage.message(channel: "a", pattern: nil, payload: Array("\(number)".utf8))
                let message = await messages.next()
                try #require(message == expected)
            }
            _ = try await client.call(RedisCommand("PUBLISH", "a", "later"))
            #expect(await messages.next() == .gap(.overflow))
            #expect(await messages.next() == .message(channel: "a", pattern: nil, payload: Array("later".utf8)))
        }
    }

    @Test func `a subscription that the server refuses is said in health and metric, and comes once it is allowed`()
        async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) {
            $0.reconnectMax = .milliseconds(100)
        } _: { redis in
            let client = redis.client
            _ = try await client.call(RedisCommand("ACL", "SETUSER", "default", "resetchannels", "&open*"))
            let closed = client.subscribe(channels: ["closed"], patterns: ["closed.*"])
            let open = client.subscribe(channels: ["open"])
            // What is allowed comes all the same.
            #expect(await open.waitUntilActive(within: .seconds(30)))
            try await eventually("the refusal in health") {
                redis.health.snapshot["redis"]?.reason == "redis_subscription_refused"
            }
            let said = redis.health.snapshot["redis"]
            #expect(said?.state == .degraded && said?.details?.joined().contains("NOPERM") == true, "\(said as Any)")
            let refused = redis.metrics.counter(.redisSubscriptionsRefused)
            #expect(refused.value >= 1 && client.isAvailable)
            // Asked again, and refused again.
            let before = refused.value
            try await eventually("another attempt") { refused.value > before + 1 }
            #expect(await !closed.waitUntilActive(within: .milliseconds(1)))
            _ = try await client.call(RedisCommand("ACL", "SETUSER", "default", "allchannels"))
            #expect(await closed.waitUntilActive(within: .seconds(30)))
            try await eventually("health") { redis.health.snapshot["redis"]?.state == .ok }
            #expect(redis.health.snapshot["redis"]?.reason == nil)
            #expect(try await client.call(RedisCommand("PUBLISH", "closed", "x")) == .integer(1))
            var messages = closed.makeAsyncIterator()
            #expect(await messages.next() == .message(channel: "closed", pattern: nil, payload: [0x78]))
        }
    }

    @Test func `after a reconnect one channel that is forbidden keeps no other from being heard`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) {
            // What is heard was not asked for a second time after a while.
            $0.reconnectMax = .seconds(600)
        } _: { redis in
            let client = redis.client
            let open = client.subscribe(channels: ["open"])
            let closed = client.subscribe(channels: ["closed"])
            let (openPattern, closedPattern) = (
                client.subscribe(patterns: ["open.*"]), client.subscribe(patterns: ["closed.*"])
            )
            for one in [open, closed, openPattern, closedPattern] {
                #expect(await one.waitUntilActive(within: .seconds(30)))
            }
            // The server ends the connection of whoever listens to what it may not.
            _ = try await client.call(
                RedisCommand("ACL", "SETUSER", "default", "resetchannels", "&open", "&open.*"))
            try await eventually("the refusal of both") {
                redis.metrics.counter(.redisSubscriptionsRefused).value == 2
            }
            #expect(await open.waitUntilActive(within: .seconds(30)))
            #expect(await openPattern.waitUntilActive(within: .seconds(30)))
            #expect(try await client.call(RedisCommand("PUBLISH", "open", "x")) == .integer(1))
            var messages = open.makeAsyncIterator()
            #expect(await messages.next() == .gap(.reconnected))
            #expect(await messages.next() == .message(channel: "open", pattern: nil, payload: [0x78]))
            #expect(await !closed.waitUntilActive(within: .milliseconds(1)))
            #expect(await !closedPattern.waitUntilActive(within: .milliseconds(1)))
        }
    }

    @Test func `who may not listen any more is told of the gap when it may again, and one who goes ends the matter`()
        async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) {
            $0.reconnectMax = .milliseconds(100)
        } _: { redis in
            let client = redis.client
            let subscription = client.subscribe(channels: ["a"])
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            // The server ends the connection of whoever listens to what it may not.
            _ = try await client.call(RedisCommand("ACL", "SETUSER", "default", "resetchannels"))
            try await eventually("the refusal") { redis.health.snapshot["redis"]?.state == .degraded }
            _ = try await client.call(RedisCommand("ACL", "SETUSER", "default", "allchannels"))
            var messages = subscription.makeAsyncIterator()
            #expect(await messages.next() == .gap(.reconnected))
            try await eventually("health") { redis.health.snapshot["redis"]?.state == .ok }
            _ = try await client.call(RedisCommand("ACL", "SETUSER", "default", "resetchannels", "&a"))
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in client.subscribe(channels: ["b"]) {} }
                try? await eventually("the refusal") { redis.health.snapshot["redis"]?.state == .degraded }
                group.cancelAll()
            }
            try await eventually("health without who wanted it") { redis.health.snapshot["redis"]?.state == .ok }
        }
    }

    @Test func `ending the iteration unsubscribes`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in client.subscribe(channels: ["a"]) { break } }
                group.addTask { for await _ in client.subscribe(patterns: ["b*"]) {} }
                group.addTask {
                    let dropped = client.subscribe(channels: ["c"])
                    #expect(await dropped.waitUntilActive(within: .seconds(30)))
                }
                await group.next()
                try? await eventually("a listener to a") {
                    try await client.call(RedisCommand("PUBLISH", "a", "x")) == .integer(1)
                }
                await group.next()
                group.cancelAll()
            }
            for channel in ["a", "b1", "c"] {
                try await eventually("the end of the subscription to \(channel)") {
                    try await client.call(RedisCommand("PUBLISH", channel, "x")) == .integer(0)
                }
            }
        }
    }
}
