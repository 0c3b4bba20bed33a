import Runtime
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
