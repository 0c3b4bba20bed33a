import AurumCore
import Foundation
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What every cache does. It is run with its service, as in a server.
struct CacheConformance {
    let cache: any Cache
    let unique = UID(now: SystemWallClock().now).hex

    private struct Broken: Error, Equatable {}

    private func key(_ name: String) -> CacheKey {
        CacheKey(org: "org\(unique)", cache: "test", name: name)
    }

    private let minute = CachePolicy(freshFor: .seconds(60))

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    func run() async throws {
        try await once()
        try await absent()
        try await errors()
        try await stale()
        try await tags()
        try await overtaken()
        try await cancelled()
        await #expect(throws: CacheError.valueTooLarge(bytes: 9 << 20)) {
            try await cache.get(key("bomb"), minute, tags: []) { Array(repeating: 0, count: 9 << 20) }
        }
    }

    private func once() async throws {
        let made = Shared(0)
        let values = try await withThrowingTaskGroup(of: Cached.self) { group in
            for _ in 0..<500 {
                group.addTask {
                    try await cache.get(key("once"), minute, tags: []) {
                        made.withLock { $0 += 1 }
                        try await Task.sleep(for: .milliseconds(30))
                        return bytes("value")
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(made.withLock { $0 } == 1)
        #expect(values.allSatisfy { $0.value == bytes("value") && !$0.isStale })
    }

    private func absent() async throws {
        let made = Shared(0)
        for _ in 0..<5 {
            let cached = try await cache.get(key("absent"), minute, tags: []) {
                made.withLock { $0 += 1 }
                return nil
            }
            #expect(cached.value == nil)
        }
        #expect(made.withLock { $0 } == 1)
    }

    private func errors() async throws {
        let made = Shared(0)
        for round in 1...3 {
            await #expect(throws: Broken.self) {
                try await cache.get(key("broken"), minute, tags: []) {
                    made.withLock { $0 += 1 }
                    throw Broken()
                }
            }
            #expect(made.withLock { $0 } == round)
        }
        let repaired = try await cache.get(key("broken"), minute, tags: []) { bytes("whole") }
        #expect(repaired.value == bytes("whole"))
    }

    /// Past its time a value is served while another is made behind; a failure leaves it in use.
    private func stale() async throws {
        let policy = CachePolicy(freshFor: .milliseconds(200), staleFor: .seconds(600), beta: 0)
        let old = key("stale")
        let made = Shared(0)
        _ = try await cache.get(old, policy, tags: []) { bytes("1") }
        try await Task.sleep(for: .milliseconds(250))
        try await eventually("the stale value") {
            let cached = try await cache.get(old, policy, tags: []) {
                made.withLock { $0 += 1 }
                throw Broken()
            }
            #expect(cached.value == bytes("1"))
            return cached.isStale && made.withLock { $0 } > 0
        }
        // The failed one is not tried again at once.
        let tries = made.withLock { $0 }
        for _ in 0..<20 {
            _ = try await cache.get(old, policy, tags: []) {
                made.withLock { $0 += 1 }
                throw Broken()
            }
        }
        #expect(made.withLock { $0 } == tries)
        let fresh = key("renewed")
        _ = try await cache.get(fresh, policy, tags: []) { bytes("1") }
        try await Task.sleep(for: .milliseconds(250))
        try await eventually("the new value") {
            let cached = try await cache.get(fresh, policy, tags: []) { bytes("2") }
            return cached.value == bytes("2")
        }
    }

    private func tags() async throws {
        let org = "org\(unique)"
        func value(_ name: String, _ tags: [String]) async throws -> [UInt8]? {
            try await cache.get(key(name), minute, tags: tags) { bytes(UID(now: SystemWallClock().now).hex) }.value
        }
        let (a, b, c) = (
            try await value("a", ["red"]), try await value("b", ["red", "blue"]), try await value("c", ["blue"])
        )
        await cache.invalidate(org: org, tag: "red")
        let (a2, b2) = (try await value("a", ["red"]), try await value("b", ["red", "blue"]))
        #expect(a2 != a && b2 != b)
        #expect(try await value("c", ["blue"]) == c)
        await cache.invalidate(org: org)
        #expect(try await value("a", ["red"]) != a2)
        #expect(try await value("c", ["blue"]) != c)
    }

    /// What was begun before an invalidation is given to its caller and kept by nobody.
    private func overtaken() async throws {
        let (name, org) = (key("overtaken"), "org\(unique)")
        let late = try await cache.get(name, minute, tags: ["t"]) {
            await cache.invalidate(org: org, tag: "t")
            return bytes("old")
        }
        #expect(late.value == bytes("old"))
        #expect(try await cache.get(name, minute, tags: ["t"]) { bytes("new") }.value == bytes("new"))
        #expect(try await cache.get(name, minute, tags: ["t"]) { bytes("newer") }.value == bytes("new"))
    }

    private func cancelled() async throws {
        let (began, gate) = (AsyncStream.makeStream(of: Void.self), AsyncStream.makeStream(of: Void.self))
        let name = key("cancelled")
        let first = Task {
            try await cache.get(name, minute, tags: []) {
                began.continuation.finish()
                for await _ in gate.stream {}
                try Task.checkCancellation()
                return bytes("made")
            }
        }
        for await _ in began.stream {}
        first.cancel()
        await #expect(throws: CacheError.cancelled) { try await first.value }
        async let second = cache.get(name, minute, tags: []) { bytes("another") }
        gate.continuation.finish()
        #expect(try await second.value == bytes("made"))
    }
}

struct MemoryCacheTests {
    @Test func `the memory twin conforms`() async throws {
        let cache = MemoryCache(registry: MetricRegistry())
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await cache.run() }
            try await eventually("the service") {
                let probe = CacheKey(org: "probe", cache: "test", name: "probe")
                return try await cache.get(probe, CachePolicy(freshFor: .seconds(1)), tags: []) { [1] }.value == [1]
            }
            try await CacheConformance(cache: cache).run()
            group.cancelAll()
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `who asks after an invalidation does not wait for what was begun before it`() async throws {
        let cache = MemoryCache(registry: MetricRegistry())
        let (key, policy) = (CacheKey(org: "o", cache: "test", name: "late"), CachePolicy(freshFor: .seconds(60)))
        let (began, begin) = AsyncStream.makeStream(of: Void.self)
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        let first = Task {
            try await cache.get(key, policy, tags: ["t"]) {
                begin.finish()
                for await _ in gate {}
                return [1]
            }
        }
        for await _ in began {}
        cache.invalidate(org: "o", tag: "t")
        #expect(try await cache.get(key, policy, tags: ["t"]) { [2] }.value == [2])
        open.finish()
        #expect(try await first.value.value == [1])
        #expect(try await cache.get(key, policy, tags: ["t"]) { [3] }.value == [2])
    }

    @Test(arguments: [(2.0, 0.0067379), (0.4, 0.3678794), (0.1, 0.7788008)])
    func `early refresh follows its law`(remaining: Double, chance: Double) {
        func draws(beta: Double) -> Double {
            var random = SeededRandom(seed: 31)
            var early = 0
            for _ in 0..<100_000 {
                let uniform = 1 - Double.random(in: 0..<1, using: &random)
                if EarlyRefresh.isDue(remaining: remaining, cost: 0.4, beta: beta, uniform: uniform) { early += 1 }
            }
            // χ² of early and not early, one degree of freedom; 10.83 is p = 0.001.
            let expected = chance * 100_000
            let difference = Double(early) - expected
            return difference * difference / expected + difference * difference / (100_000 - expected)
        }
        #expect(draws(beta: 1) < 10.83)
        #expect(draws(beta: 1.2) > 10.83, "a wrong weight must be seen")
    }

    @Test func `long before its time nothing is refreshed`() {
        var random = SeededRandom(seed: 32)
        for _ in 0..<100_000 {
            let uniform = 1 - Double.random(in: 0..<1, using: &random)
            #expect(!EarlyRefresh.isDue(remaining: 10, cost: 0.4, beta: 1, uniform: uniform))
        }
    }

    @Test func `the ten thousand most asked of fifty thousand answer four questions in five`() async throws {
        let cache = MemoryCache(registry: MetricRegistry())
        var random = SeededRandom(seed: 33)
        var weights: [Double] = []
        var sum = 0.0
        for rank in 1...50_000 {
            sum += pow(Double(rank), -1.1)
            weights.append(sum)
        }
        let policy = CachePolicy(freshFor: .seconds(3600), beta: 0)
        let made = Shared(0)
        for _ in 0..<200_000 {
            let point = Double.random(in: 0..<sum, using: &random)
            var (low, high) = (0, weights.count - 1)
            while low < high {
                let middle = (low + high) / 2
                if weights[middle] < point { low = middle + 1 } else { high = middle }
            }
            _ = try await cache.get(CacheKey(org: "o", cache: "zipf", name: "\(low)"), policy, tags: []) {
                made.withLock { $0 += 1 }
                return [1]
            }
        }
        let ratio = 1 - Double(made.withLock { $0 }) / 200_000
        print("SIEVE, Zipf 1.1, 10,000 of 50,000: hit ratio \(ratio)")
        #expect(ratio >= 0.78)
        #expect(cache.count <= CacheLimits.entriesMax)
    }
}
