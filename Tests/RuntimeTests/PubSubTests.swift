import AurumCore
import Foundation
import Runtime
import Telemetry
import TestSupport
import Testing

/// What every implementation does with messages that arrive.
struct PubSubConformance {
    let pubSub: any PubSub

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func take(_ count: Int, _ messages: PubSubMessages) async -> [PubSubMessage] {
        var taken: [PubSubMessage] = []
        for await message in messages {
            taken.append(message)
            if taken.count == count { break }
        }
        return taken
    }

    func run() async throws {
        let base = "aurum:{test}:\(UID(now: SystemWallClock().now).hex)"
        let (exact, star) = (PubSubSubscription.channel(base + ":a"), PubSubSubscription.pattern(base + ":*"))
        let some = PubSubSubscription.pattern(base + ":[a-c]")
        let messages = pubSub.subscribe([exact, star, some])
        let others = pubSub.subscribe([.channel(base + ":b")])
        try await pubSub.publish(bytes("1"), to: base + ":a")
        try await pubSub.publish(bytes("2"), to: base + ":z")
        try await pubSub.publish(bytes("3"), to: base + ":b")
        let taken = await take(6, messages)
        func count(_ text: String, _ subscription: PubSubSubscription) -> Int {
            taken.count { message in
                guard case .message(_, subscription, let payload) = message else { return false }
                return payload == bytes(text)
            }
        }
        #expect(count("1", exact) == 1 && count("1", star) == 1 && count("1", some) == 1)
        #expect(count("2", star) == 1 && count("3", star) == 1 && count("3", some) == 1)
        #expect(
            await take(1, others) == [
                .message(channel: base + ":b", subscription: .channel(base + ":b"), payload: bytes("3"))
            ])
        try await order(base)
        await #expect(throws: PubSubError.payloadTooLarge(bytes: (256 << 10) + 1)) {
            try await pubSub.publish(Array(repeating: 0, count: (256 << 10) + 1), to: base)
        }
    }

    /// A stuck reader neither slows the publisher nor its neighbour, and is told how much it missed.
    private func order(_ base: String) async throws {
        let (channel, count) = (base + ":order", PubSubLimits.bufferMax + 500)
        let stuck = pubSub.subscribe([.channel(channel)])
        let dropped = pubSub.subscribe([.channel(channel)], whenFull: .disconnect)
        let live = pubSub.subscribe([.channel(channel)])
        var iterator = live.makeAsyncIterator()
        for number in 0..<count {
            try await pubSub.publish(bytes("\(number)"), to: channel)
            let message = await iterator.next()
            #expect(message == .message(channel: channel, subscription: .channel(channel), payload: bytes("\(number)")))
        }
        var late = stuck.makeAsyncIterator()
        #expect(await late.next() == .gap(.overflow(500)))
        #expect(
            await late.next()
                == .message(channel: channel, subscription: .channel(channel), payload: bytes("500")))
        var ended = dropped.makeAsyncIterator()
        var kept = 0
        while await ended.next() != nil { kept += 1 }
        #expect(kept == PubSubLimits.bufferMax)
    }
}

struct PubSubTests {
    @Test func `the memory twin conforms`() async throws {
        try await PubSubConformance(pubSub: MemoryPubSub(registry: MetricRegistry())).run()
    }

    @Test func `a reader that is cancelled ends, and is forgotten at the next message`() async throws {
        let registry = MetricRegistry()
        let pubSub = MemoryPubSub(registry: registry)
        let subscriptions = registry.gauge(.pubSubSubscriptions)
        let messages = pubSub.subscribe([.channel("a"), .pattern("*")])
        #expect(subscriptions.value == 2)
        let reader = Task {
            var count = 0
            for await _ in messages { count += 1 }
            return count
        }
        reader.cancel()
        #expect(await reader.value == 0)
        try pubSub.publish([1], to: "a")
        #expect(subscriptions.value == 0)
    }

    /// Redis' own rules, row by row; the same table runs against a server where there is one.
    static let patterns: [(String, String, Bool)] = [
        ("a", "a", true), ("a", "b", false), ("a", "", false), ("", "", true), ("", "a", false), ("abc", "abc", true),
        ("abc", "abd", false), ("abc", "ab", false), ("ab", "abc", false), ("*", "", true), ("*", "a", true),
        ("*", "abc", true), ("**", "abc", true), ("a*", "a", true), ("a*", "abc", true), ("a*", "ba", false),
        ("*a", "a", true), ("*a", "bba", true), ("*a", "ab", false), ("a*b", "ab", true), ("a*b", "axxb", true),
        ("a*b", "axxc", false), ("*b*", "abc", true), ("*b*", "ac", false), ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false), ("*aab", "aaaab", true), ("*.*.*", "a.b.c", true), ("*.*.*", "a.b", false),
        ("?", "a", true), ("?", "", false), ("?", "ab", false), ("a?c", "abc", true), ("a?c", "ac", false),
        ("??", "ab", true), ("?*", "a", true), ("?*", "", false), ("*?", "ab", true), ("[abc]", "b", true),
        ("[abc]", "d", false), ("[abc]", "", false), ("[a-c]", "b", true), ("[a-c]", "d", false),
        ("[c-a]", "b", true), ("[^a]", "b", true), ("[^a]", "a", false), ("[^a-c]", "d", true),
        ("[^a-c]", "b", false), ("[a-cx]", "x", true), ("x[0-9]y", "x5y", true), ("x[0-9]y", "xay", false),
        ("[*]", "*", true), ("[*]", "a", false), ("[?]", "?", true), ("\\*", "*", true), ("\\*", "a", false),
        ("\\?", "?", true), ("a\\", "a\\", true), ("h[ae]llo", "hello", true), ("h[^e]llo", "hello", false),
        ("news.*", "news.", true), ("[\\]]", "]", true),
    ]

    @Test func `patterns mean what they mean to Redis`() async throws {
        let pubSub = MemoryPubSub(registry: MetricRegistry())
        for (pattern, channel, fits) in Self.patterns {
            let messages = pubSub.subscribe([.pattern(pattern), .channel("end")])
            try pubSub.publish([1], to: channel)
            try pubSub.publish([2], to: "end")
            var found = false
            for await message in messages {
                guard case .message(let name, let subscription, _) = message else { continue }
                if name == channel, subscription == .pattern(pattern) { found = true }
                if name == "end", subscription == .channel("end") { break }
            }
            #expect(found == fits, "\(pattern) and \(channel)")
        }
        #expect(Self.patterns.count >= 60)
    }
}
