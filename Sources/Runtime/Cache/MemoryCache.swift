internal import AurumCore
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// The cache of one process. Values are made in tasks of the service, so that nobody's cancellation ends a making that
/// others wait for; before it runs, callers make them themselves.
package final class MemoryCache: Cache, Service {
    /// A value as it is made: how old it is already, and what it cost.
    struct Made: Sendable {
        var value: [UInt8]?
        var freshFor: Duration
        var staleFor: Duration
        var cost: Duration
        /// Whether a factory of this node ran.
        var isNew = true
        /// Whether it was past its time already.
        var isStale = false
    }

    private struct Entry: Sendable {
        var value: [UInt8]?
        var freshUntil: ContinuousClock.Instant
        var staleUntil: ContinuousClock.Instant
        var cost: Double
        var isStale: Bool
        /// No refresh before this, after one failed.
        var retryAt: ContinuousClock.Instant?
        let tags: SeenTags
    }

    private struct State: Sendable {
        var entries = SieveTable<CacheKey, Entry>(entriesMax: CacheLimits.entriesMax, bytesMax: CacheLimits.bytesMax)
        /// Makings under way and what they saw before they began: who comes after an invalidation does not join.
        var flights: [CacheKey: (flight: CacheFlight, seen: SeenTags)] = [:]
        var random = SystemRandomNumberGenerator()
    }

    private enum Found {
        case fresh(Cached)
        /// To be served now; the flight, if any, is new and to be started.
        case behind(Cached, CacheFlight?)
        case join(CacheFlight)
        case start(CacheFlight)
    }

    private let state = Mutex(State())
    let tags = TagBook()
    private let meters: CacheMeters
    private let work: AsyncStream<@Sendable () async -> Void>
    private let submit: AsyncStream<@Sendable () async -> Void>.Continuation
    private let isRunning = Atomic<Bool>(false)

    package init(registry: MetricRegistry) {
        meters = CacheMeters(registry: registry)
        (work, submit) = AsyncStream.makeStream()
    }

    /// Makes values until the service ends.
    package func run() async throws {
        isRunning.store(true, ordering: .releasing)
        await withDiscardingTaskGroup { group in
            for await job in work.cancelOnGracefulShutdown() { group.addTask { await job() } }
            isRunning.store(false, ordering: .releasing)
            group.cancelAll()
        }
    }

    package func get(
        _ key: CacheKey, _ policy: CachePolicy, tags names: [String],
        _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> Cached {
        if let hit = hit(key, policy) { return hit }
        return try await fetch(key, policy, tags: names) { _ in
            let start = ContinuousClock.now
            let value = try await CacheFactory.run(factory)
            return Made(
                value: value, freshFor: policy.freshFor, staleFor: policy.staleFor,
                cost: ContinuousClock.now - start)
        }
    }

    /// A fresh value that certainly nobody makes anew now: without a draw.
    func hit(_ key: CacheKey, _ policy: CachePolicy) -> Cached? {
        let now = ContinuousClock.now
        let value: Cached? = state.withLock { state in
            guard let entry = state.entries.hit(key), entry.tags.areCurrent,
                EarlyRefresh.isFar(
                    remaining: (entry.freshUntil - now).seconds, cost: entry.cost, beta: policy.beta)
            else { return nil }
            return Cached(value: entry.value, isStale: entry.isStale, isNew: false)
        }
        if let value { meters.hit(key.cache, isNegative: value.value == nil) }
        return value
    }

    /// - Parameter make: told whether callers have a value meanwhile, so that nobody waits for the new one.
    func fetch(
        _ key: CacheKey, _ policy: CachePolicy, tags names: [String],
        make: @escaping @Sendable (_ isBehind: Bool) async throws -> Made
    ) async throws -> Cached {
        // Before the factory begins: what is invalidated from here on must not be stored.
        let seen = tags.seen(key.org, names)
        switch look(key, policy, seen) {
        case .fresh(let cached):
            meters.hit(key.cache, isNegative: cached.value == nil)
            return cached
        case .behind(let cached, let flight):
            meters.count(key.cache, cached.isStale ? .stale : .hit)
            if let flight { await launch { [self] in await fly(flight, key, seen) { try await make(true) } } }
            return cached
        case .join(let flight):
            meters.count(key.cache, .miss)
            return try await flight.wait()
        case .start(let flight):
            meters.count(key.cache, .miss)
            await launch { [self] in await fly(flight, key, seen) { try await make(false) } }
            return try await flight.wait()
        }
    }

    package func invalidate(org: String, tag: String) { tags.raise(org, tag) }
    package func invalidate(org: String) { tags.raise(org, "") }

    package var count: Int { state.withLock { $0.entries.count } }

    // MARK: steps

    private static func isEarly(
        _ entry: Entry, _ policy: CachePolicy, _ now: ContinuousClock.Instant,
        _ random: inout some RandomNumberGenerator
    ) -> Bool {
        EarlyRefresh.isDue(
            remaining: (entry.freshUntil - now).seconds, cost: entry.cost, beta: policy.beta, random: &random)
    }

    private func look(_ key: CacheKey, _ policy: CachePolicy, _ seen: SeenTags) -> Found {
        let now = ContinuousClock.now
        return state.withLock { state in
            let flying = state.flights[key].flatMap { $0.seen.areCurrent ? $0.flight : nil }
            if let entry = state.entries.hit(key), now < entry.staleUntil, entry.tags.areCurrent {
                let isFresh = now < entry.freshUntil
                let cached = Cached(value: entry.value, isStale: !isFresh || entry.isStale, isNew: false)
                let isDue = isFresh ? Self.isEarly(entry, policy, now, &state.random) : true
                if isDue, flying == nil, entry.retryAt.map({ now >= $0 }) ?? true {
                    let flight = CacheFlight()
                    state.flights[key] = (flight, seen)
                    return .behind(cached, flight)
                }
                return isFresh ? .fresh(cached) : .behind(cached, nil)
            }
            if let flying { return .join(flying) }
            let flight = CacheFlight()
            state.flights[key] = (flight, seen)
            return .start(flight)
        }
    }

    private func launch(_ job: @escaping @Sendable () async -> Void) async {
        if isRunning.load(ordering: .acquiring), case .enqueued = submit.yield(job) { return }
        await job()
    }

    private func fly(
        _ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ make: @Sendable () async throws -> Made
    ) async {
        let start = ContinuousClock.now
        do {
            let made = try await make()
            if let bytes = made.value?.count, bytes > CacheLimits.valueBytesMax {
                throw CacheError.valueTooLarge(bytes: bytes)
            }
            if made.isNew { meters.made(key.cache, ContinuousClock.now - start) }
            land(flight, key, seen, made)
        } catch {
            let now = ContinuousClock.now
            state.withLock { state in
                if state.flights[key]?.flight === flight { state.flights[key] = nil }
                state.entries.change(key) { $0.retryAt = now + CacheLimits.retryAfter }
            }
            flight.finish(.failure(error))
        }
    }

    /// Keeps what was made, unless one of its tags was invalidated meanwhile; who waited gets it in any case.
    private func land(_ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ made: Made) {
        let now = ContinuousClock.now
        let evicted = state.withLock { state -> Int in
            if state.flights[key]?.flight === flight { state.flights[key] = nil }
            guard seen.areCurrent, made.freshFor + made.staleFor > .zero else { return 0 }
            let jitter = Double(Int.random(in: -100...100, using: &state.random)) / 100
            let spread = made.value == nil ? 0.2 : Double(CacheLimits.jitterPercent) / 100
            let fresh =
                (made.value == nil ? min(made.freshFor, CacheLimits.negativeFor) : made.freshFor)
                * (1 + jitter * spread)
            let entry = Entry(
                value: made.value, freshUntil: now + fresh,
                staleUntil: now + fresh + (made.value == nil ? .zero : made.staleFor), cost: made.cost.seconds,
                isStale: made.isStale, tags: seen)
            return state.entries.insert(key, entry, bytes: (made.value?.count ?? 0) + key.name.utf8.count + 200)
        }
        if evicted > 0 { meters.evictions.increment(by: evicted) }
        flight.finish(.success(Cached(value: made.value, isStale: made.isStale, isNew: made.isNew)))
    }
}
