package import AurumCore
internal import Crypto
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// The cache of all nodes that use one Redis: values of this process before it, a value is made once in the fleet, and
/// invalidations reach every node. When Redis goes and when it comes back what nodes remembered is dropped; between,
/// each goes on alone. Invalidations that could not be sent are sent later.
package final class RedisCache: Cache, Service {
    /// How long a node that makes a value may be silent before another takes over.
    package static let flightLease: Duration = .seconds(3)
    static let flightRenewal: Duration = .seconds(1)
    /// Between looks at a value that another node makes, should nobody say that it is there.
    static let pollInterval: Duration = .milliseconds(50)
    /// Longest wait for another node.
    static let waitMax: Duration = .seconds(10)
    static let timeout: Duration = .seconds(1)
    /// How long a node serves what it remembers: with news of invalidations, and without.
    static let localFor: Duration = .seconds(60)
    static let localAloneFor: Duration = .seconds(1)
    /// Invalidations that wait to be sent; beyond, everything of the organisation is forgotten then.
    static let pendingMax = 10_000
    /// Between attempts to send those that failed while a connection was up.
    static let sendInterval: Duration = .seconds(1)
    static let channel = "aurum:cache"

    private struct Tag: Hashable, Sendable { let org: String; let name: String }
    private enum Look { case entry(SharedEntry, left: Duration, generations: [String]), missing([String]), away }

    private let client: RedisClient
    private let pubSub: any PubSub
    private let local: MemoryCache
    private let clock: any WallClock
    private let filled = ReleaseWaiters()
    private let pending = Mutex<Set<Tag>>([])
    private let hasNews = Atomic<Bool>(false)

    package init(client: RedisClient, pubSub: any PubSub, clock: any WallClock, registry: MetricRegistry) {
        self.client = client
        self.pubSub = pubSub
        self.clock = clock
        local = MemoryCache(registry: registry)
    }

    package func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.local.run() }
            group.addTask { await self.listen() }
            group.addTask { await self.watch() }
            group.addTask { await self.sendOften() }
            try await group.waitForAll()
        }
    }

    /// Messages of other nodes, and of this one: `i` org tag, or `f` flight.
    private func listen() async {
        for await message in pubSub.subscribe([.channel(Self.channel)]).cancelOnGracefulShutdown() {
            guard case .message(_, _, let payload) = message else {
                local.tags.raiseAll()
                filled.wakeAll()
                continue
            }
            let parts = payload.split(separator: 0, omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
            switch (parts.first, parts.count) {
            case ("i", 3): local.tags.raise(parts[1], parts[2])
            case ("f", 2): filled.wake(LockKey(parts[1]))
            default: continue
            }
        }
    }

    private func watch() async {
        var isFirst = true
        for await isHere in client.availability().cancelOnGracefulShutdown() {
            hasNews.store(isHere, ordering: .releasing)
            // Without news of invalidations nothing may be served for long, and what was missed is not known.
            if !isFirst { local.tags.raiseAll() }
            isFirst = false
            if isHere { await sendPending() }
        }
    }

    private func sendOften() async {
        try? await cancelWhenGracefulShutdown { [self] in
            while true {
                try await Task.sleep(for: Self.sendInterval)
                if client.isAvailable { await sendPending() }
            }
        }
    }

    // MARK: invalidation

    package func invalidate(org: String, tag: String) async {
        local.invalidate(org: org, tag: tag)
        await raise(Tag(org: org, name: tag))
    }

    package func invalidate(org: String) async { await invalidate(org: org, tag: "") }

    private func raise(_ tag: Tag) async {
        do throws(RedisError) {
            guard client.isAvailable else { throw RedisError.unavailable }
            _ = try await client.call(RedisCommand("INCR", Self.tagKey(tag.org, tag.name)), within: Self.timeout)
        } catch {
            // Raising twice does no harm: an unknown outcome is sent again as well.
            sendLater(tag)
        }
        try? await pubSub.publish(Array("i\0\(tag.org)\0\(tag.name)".utf8), to: Self.channel)
    }

    private func sendLater(_ tag: Tag) {
        let everything = Tag(org: tag.org, name: "")
        pending.withLock { pending in
            guard !pending.contains(everything) else { return }
            if pending.count < Self.pendingMax {
                pending.insert(tag)
            } else {
                pending = pending.filter { $0.org != tag.org }
                pending.insert(everything)
            }
        }
    }

    private func sendPending() async {
        for tag in pending.withLock({ pending in
            defer { pending = [] }
            return pending
        }) { await raise(tag) }
    }

    // MARK: get

    package func get(
        _ key: CacheKey, _ policy: CachePolicy, tags: [String],
        _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> Cached {
        precondition(tags.count <= CacheLimits.tagsMax, "too many tags for \(key.cache)")
        if let hit = local.hit(key, policy) { return hit }
        return try await local.fetch(key, policy, tags: tags) { [self] isBehind in
            try await make(key, policy, tags, isBehind: isBehind, factory)
        }
    }

    /// Redis, then the fleet's one flight, then the factory. Who has no value yet is given a stale one at once; it is
    /// made anew behind the next caller.
    private func make(
        _ key: CacheKey, _ policy: CachePolicy, _ tags: [String], isBehind: Bool,
        _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> MemoryCache.Made {
        let keys = Keys(key, tags)
        let start = ContinuousClock.now
        var isFirst = true
        while true {
            switch await look(keys) {
            case .away: return try await alone(policy, factory)
            case .entry(let entry, let left, _):
                let fresh = left - entry.staleFor
                if fresh <= .zero, !isBehind { return made(entry, left) }
                var random = SystemRandomNumberGenerator()
                let isDue =
                    fresh <= .zero
                    || EarlyRefresh.isDue(
                        remaining: fresh.seconds, cost: entry.cost.seconds, beta: policy.beta, random: &random)
                guard isFirst, isDue else { return made(entry, left) }
                // Somebody makes it anew; who is not it serves what there is.
                guard let token = await board(keys) else { return made(entry, left) }
                do { return try await fly(keys, token, policy, factory) } catch {
                    // Behind a value the failure is noted; who waited takes what there is.
                    if isBehind { throw error }
                    return made(entry, left)
                }
            case .missing:
                if let token = await board(keys) {
                    // It may have landed between the look and the lease.
                    if case .entry(let entry, let left, _) = await look(keys), left > entry.staleFor {
                        await abandon(keys, token)
                        return made(entry, left)
                    }
                    return try await fly(keys, token, policy, factory)
                }
            }
            isFirst = false
            guard ContinuousClock.now - start < Self.waitMax else { throw CacheError.timedOut }
            await filled.wait(LockKey(keys.flight), atMost: Self.pollInterval)
        }
    }

    private func alone(
        _ policy: CachePolicy, _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> MemoryCache.Made {
        let start = ContinuousClock.now
        let value = try await CacheFactory.run(factory)
        return MemoryCache.Made(
            value: value, freshFor: min(policy.freshFor, Self.localAloneFor), staleFor: policy.staleFor,
            cost: ContinuousClock.now - start)
    }

    private func made(_ entry: SharedEntry, _ left: Duration) -> MemoryCache.Made {
        // What is stale there is looked at again soon.
        let fresh = max(.milliseconds(100), min(left - entry.staleFor, localBound))
        return MemoryCache.Made(
            value: entry.value, freshFor: fresh, staleFor: min(entry.staleFor, left), cost: entry.cost, isNew: false,
            isStale: left <= entry.staleFor)
    }

    /// How long this node serves what it remembers.
    private var localBound: Duration { hasNews.load(ordering: .acquiring) ? Self.localFor : Self.localAloneFor }

    /// The token of the flight, if it is ours.
    private func board(_ keys: Keys) async -> String? {
        let token = UID(now: clock.now).hex
        let lease = Int(Self.flightLease.microseconds / 1000)
        let answer = try? await client.call(
            RedisCommand("SET", keys.flight, token, "NX", "PX", lease), within: Self.timeout)
        guard let answer, answer != .null else { return nil }
        return token
    }

    private func abandon(_ keys: Keys, _ token: String) async {
        _ = try? await client.eval(
            CacheScripts.abandon, keys: [keys.flight], arguments: [token], within: Self.timeout)
        try? await pubSub.publish(Array("f\0\(keys.flight)".utf8), to: Self.channel)
    }

    /// Makes the value while the lease is renewed, and stores it unless a tag was raised meanwhile.
    private func fly(
        _ keys: Keys, _ token: String, _ policy: CachePolicy, _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> MemoryCache.Made {
        guard let generations = await generations(keys) else {
            await abandon(keys, token)
            return try await alone(policy, factory)
        }
        let start = ContinuousClock.now
        let value: [UInt8]?
        do {
            value = try await renewing(keys, token, factory)
        } catch {
            await abandon(keys, token)
            throw error
        }
        let cost = ContinuousClock.now - start
        let (known, stale) = value == nil ? (CacheLimits.negativeFor, .zero) : (policy.freshFor, policy.staleFor)
        let spread = value == nil ? 0.2 : Double(CacheLimits.jitterPercent) / 100
        let fresh = known * (1 + Double.random(in: -spread...spread))
        let entry = SharedEntry(value: value, staleFor: stale, cost: cost, generations: generations)
        let life = max(1, Int((fresh + stale).microseconds / 1000))
        let arguments: [any RedisArgument] = [token, entry.bytes, life] + generations.map { $0 as any RedisArgument }
        if value?.count ?? 0 <= CacheLimits.valueBytesMax {
            _ = try? await client.eval(
                CacheScripts.store, keys: [keys.value, keys.flight] + keys.tags, arguments: arguments,
                within: Self.timeout)
        }
        try? await pubSub.publish(Array("f\0\(keys.flight)".utf8), to: Self.channel)
        return MemoryCache.Made(
            value: value, freshFor: min(policy.freshFor, localBound), staleFor: policy.staleFor, cost: cost)
    }

    private func renewing(
        _ keys: Keys, _ token: String, _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> [UInt8]? {
        try await withThrowingTaskGroup(of: [UInt8]??.self) { group in
            group.addTask { .some(try await CacheFactory.run(factory)) }
            group.addTask { [client] in
                while (try? await Task.sleep(for: Self.flightRenewal)) != nil {
                    let lease = Int(Self.flightLease.microseconds / 1000)
                    _ = try? await client.eval(
                        CacheScripts.renew, keys: [keys.flight], arguments: [token, lease], within: Self.timeout)
                }
                return nil
            }
            defer { group.cancelAll() }
            while let value = try await group.next() { if let value { return value } }
            throw CancellationError()
        }
    }

    private func look(_ keys: Keys) async -> Look {
        // At once: with a part of a cluster away every look would wait for its deadline.
        guard client.isAvailable else { return .away }
        guard
            case .array(let fields)? = try? await client.eval(
                CacheScripts.read, keys: [keys.value] + keys.tags, within: Self.timeout),
            fields.count == 2 + keys.tags.count
        else { return .away }
        let generations = fields[2...].compactMap(\.string)
        guard generations.count == keys.tags.count else { return .away }
        // What saw other generations was invalidated since.
        guard let bytes = fields[0].bytes, let entry = SharedEntry(bytes), entry.generations == generations,
            case .integer(let left) = fields[1], left > 0
        else { return .missing(generations) }
        return .entry(entry, left: .milliseconds(left), generations: generations)
    }

    private func generations(_ keys: Keys) async -> [String]? {
        switch await look(keys) {
        case .entry(_, _, let generations), .missing(let generations): generations
        case .away: nil
        }
    }

    static func tagKey(_ org: String, _ tag: String) -> String { "aurum:{\(org)}:tag:\(tag)" }

    /// Names on the server. That of the value goes as a hash.
    private struct Keys: Sendable {
        let value: String
        let flight: String
        let tags: [String]

        init(_ key: CacheKey, _ names: [String]) {
            let hash = Hex.encode(SHA256.hash(data: Array(key.name.utf8)).prefix(16))
            value = "aurum:{\(key.org)}:cache:\(key.cache):\(hash)"
            flight = "aurum:{\(key.org)}:flight:\(key.cache):\(hash)"
            tags = ([""] + names).map { RedisCache.tagKey(key.org, $0) }
        }
    }
}
