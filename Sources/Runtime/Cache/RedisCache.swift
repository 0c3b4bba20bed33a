package import AurumCore
internal import Crypto
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// The cache of all nodes that use one Redis: values of this process before it, a value is made once in the fleet, and
/// invalidations reach every node. When Redis goes and when it comes back what nodes remembered is dropped; between,
/// each goes on alone. Invalidations that could not be sent are sent later.
package final class RedisCache: Cache, Service {
    static let timeout: Duration = .seconds(1)
    /// Invalidations that wait to be sent; beyond, everything of the organisation is forgotten then.
    static let pendingMax = 10_000
    /// Between attempts to send those that failed while a connection was up.
    static let sendInterval: Duration = .seconds(1)
    static let channel = "aurum:cache"

    private struct Tag: Hashable, Sendable { let org: String; let name: String }

    private let client: RedisClient
    private let pubSub: any PubSub
    private let local: MemoryCache
    private let clock: any WallClock
    private let filled = ReleaseWaiters()
    private let pending = Mutex<Set<Tag>>([])
    /// Invalidations of other nodes come.
    private let hears = Atomic<Bool>(false)

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
            group.addTask { await self.watchNews() }
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
            // What was missed meanwhile is not known.
            if !isFirst { local.tags.raiseAll() }
            isFirst = false
            if isHere { await sendPending() }
        }
    }

    /// The connection over which invalidations come may be lost, or not let listen, while those for commands stand:
    /// what was remembered with news is dropped then, and what is remembered without is not for long.
    private func watchNews() async {
        var isFirst = true
        for await hears in pubSub.hearing().cancelOnGracefulShutdown() {
            self.hears.store(hears, ordering: .releasing)
            // That it was lost for a moment may have passed by.
            if !hears || !isFirst { local.tags.raiseAll() }
            isFirst = false
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

    /// Does what `FleetMaking` says.
    private func make(
        _ key: CacheKey, _ policy: CachePolicy, _ tags: [String], isBehind: Bool,
        _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> MadeValue {
        let keys = Keys(key, tags)
        var random = SystemRandomNumberGenerator()
        var making = FleetMaking(policy, isBehind: isBehind, at: .now)
        var step = FleetMaking.Step.look
        var token = ""
        var failure: any Error = CacheError.timedOut
        while true {
            switch step {
            case .look:
                let asked = Nanoseconds.now
                let found = await look(keys)
                step = making.looked(found, asked: asked, at: moment, random: &random)
            case .board:
                let own = await board(keys)
                token = own ?? ""
                step = making.boarded(own != nil, at: moment)
            case .wait:
                await filled.wait(LockKey(keys.flight), atMost: FleetMaking.pollInterval)
                step = making.waited()
            case .run(let isLeased):
                do {
                    let value =
                        isLeased ? try await renewing(keys, token, factory) : try await CacheFactory.run(factory)
                    step = making.made(value, at: moment, random: &random)
                } catch {
                    failure = error
                    step = making.failed(at: moment)
                }
            case .store(let entry, let life):
                await store(keys, token, entry, life)
                step = making.stored(at: moment)
            case .abandon:
                await abandon(keys, token)
                step = making.abandoned(at: moment)
            case .serve(let made): return made
            case .fail: throw failure
            }
        }
    }

    private var moment: FleetMaking.Moment {
        FleetMaking.Moment(.now, hasNews: client.isAvailable && hears.load(ordering: .acquiring))
    }

    /// The token of the flight, if it is ours.
    private func board(_ keys: Keys) async -> String? {
        let token = UID(now: clock.now).hex
        let lease = Int(FleetMaking.flightLease.microseconds / 1000)
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

    /// Stores what was made unless a tag was raised meanwhile, and says that the flight ended.
    private func store(_ keys: Keys, _ token: String, _ entry: SharedEntry, _ life: Duration) async {
        let arguments: [any RedisArgument] =
            [token, entry.bytes, max(1, Int(life.microseconds / 1000))]
            + entry.generations.map { $0 as any RedisArgument }
        _ = try? await client.eval(
            CacheScripts.store, keys: [keys.value, keys.flight] + keys.tags, arguments: arguments,
            within: Self.timeout)
        try? await pubSub.publish(Array("f\0\(keys.flight)".utf8), to: Self.channel)
    }

    private func renewing(
        _ keys: Keys, _ token: String, _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> [UInt8]? {
        try await withThrowingTaskGroup(of: [UInt8]??.self) { group in
            group.addTask { .some(try await CacheFactory.run(factory)) }
            group.addTask { [client] in
                while (try? await Task.sleep(for: FleetMaking.flightRenewal)) != nil {
                    let lease = Int(FleetMaking.flightLease.microseconds / 1000)
                    _ = try? await client.eval(
                        CacheScripts.renew, keys: [keys.flight], arguments: [token, lease],
                        within: FleetMaking.renewalTimeout)
                }
                return nil
            }
            defer { group.cancelAll() }
            while let value = try await group.next() { if let value { return value } }
            throw CancellationError()
        }
    }

    private func look(_ keys: Keys) async -> SharedLook {
        // At once: with a part of a cluster away every look would wait for its deadline.
        guard client.isAvailable else { return .away }
        guard
            case .array(let fields)? = try? await client.eval(
                CacheScripts.read, keys: [keys.value] + keys.tags, within: Self.timeout),
            fields.count == 2 + keys.tags.count
        else { return .away }
        let generations = fields[2...].compactMap(\.string)
        guard generations.count == keys.tags.count else { return .away }
        guard case .integer(let left) = fields[1] else { return .missing(generations: generations) }
        return SharedLook(fields[0].bytes, left: left, generations: generations)
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
