import AurumCore
import Foundation
import Runtime
import Telemetry
import TestSupport
import Testing

/// A subscriber's connection that is killed again and again costs messages, and never without a word.
struct PubSubKillTests {
    /// What a subscriber saw, in its order.
    private enum Seen: Equatable, Sendable {
        case message(Int)
        case gap
    }

    private static let messages = soakCount(1000) * 5
    private static let end = -1

    @Test func `with its connection killed between every two messages nothing is missing without a gap, nothing twice`()
        async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) { speaking in
            try await withRedis(server.url, change: { $0.reconnectMax = .milliseconds(20) }) { hearing in
                let clock = SystemWallClock()
                let speaker = RedisPubSub(client: speaking.client, clock: clock, registry: speaking.metrics)
                let hearer = RedisPubSub(client: hearing.client, clock: clock, registry: hearing.metrics)
                let channel = "aurum:{test}:kill"
                let inbox = hearer.subscribe([.channel(channel)], whenFull: .dropOldest)
                try await withThrowingTaskGroup(of: [Seen]?.self) { group in
                    group.addTask {
                        try await hearer.run()
                        return nil
                    }
                    group.addTask { await Self.listen(inbox) }
                    defer { group.cancelAll() }
                    try await Self.speak(speaker, speaking.client, channel)
                    while let seen = try await group.next() {
                        guard let seen else { continue }
                        Self.judge(seen)
                        return
                    }
                }
            }
        }
    }

    /// Publishes numbers with a kill after each. Every second one waits until somebody hears again.
    private static func speak(_ pubSub: RedisPubSub, _ client: RedisClient, _ channel: String) async throws {
        for number in 0..<messages {
            if number.isMultiple(of: 2) { try await untilHeard(client) }
            try await pubSub.publish(Array("\(number)".utf8), to: channel)
            _ = try await client.call(RedisCommand("CLIENT", "KILL", "TYPE", "pubsub"))
        }
        try await untilHeard(client)
        try await pubSub.publish(Array("\(end)".utf8), to: channel)
    }

    private static func untilHeard(_ client: RedisClient) async throws {
        try await eventually("a subscriber") {
            (try await client.call(RedisCommand("PUBSUB", "NUMPAT"), within: .seconds(5)).integer ?? 0) > 0
        }
    }

    private static func listen(_ inbox: PubSubMessages) async -> [Seen] {
        var seen: [Seen] = []
        for await message in inbox {
            switch message {
            case .gap: seen.append(.gap)
            case .message(_, _, let payload):
                let number = Int(String(decoding: payload, as: UTF8.self)) ?? Int.min
                if number == end { return seen }
                seen.append(.message(number))
            }
        }
        return seen
    }

    private static func judge(_ seen: [Seen]) {
        var (last, isGap, heard, silent) = (-1, false, 0, 0)
        for one in seen {
            guard case .message(let number) = one else {
                isGap = true
                continue
            }
            #expect(number > last, "\(number) came after \(last)")
            if number > last + 1, !isGap { silent += 1 }
            (last, isGap, heard) = (number, false, heard + 1)
        }
        let gaps = seen.count - heard
        print("pubsub: \(messages) messages, as many kills, \(heard) received, \(gaps) gaps")
        #expect(silent == 0, "messages are missing without a word")
        // Those that waited for a listener were heard, but for what a kill overtook.
        #expect(heard > messages / 4 && gaps > messages / 10)
        #expect(last + 1 == messages || isGap, "the last ones are missing without a word")
    }
}
