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

    /// Unchecked because what changes in it changes under the lock of its cache.
    private final class Entry: @unchecked Sendable {
        let value: [UInt8]?
        let freshUntil: Nanoseconds
        let staleUntil: Nanoseconds
        /// Seconds that making it took.
        let cost: Double
        let isStale: Bool
        let meters: CacheMeters.OfCache
        private let tags: SeenTags
        /// No refresh before this, after one failed.
        var retryAt = Nanoseconds.min
        /// Changes of tags when the entry's own were looked at last, and found current.
        private var checkedAt: UInt64

        init(
            _ made: Made, freshUntil: Nanoseconds, tags: SeenTags, changes: UInt64, meters: CacheMeters.OfCache
        ) {
            (value, cost, isStale) = (made.value, made.cost.seconds, made.isStale)
            self.freshUntil = freshUntil
            staleUntil = made.value == nil ? freshUntil : freshUntil.after(made.staleFor)
            (self.tags, checkedAt, self.meters) = (tags, changes, meters)
        }

        /// - Parameter changes: of the tags of the cache, read before this.
        func isCurrent(_ changes: UInt64) -> Bool {
            if checkedAt == changes { return true }
            guard tags.areCurrent else { return false }
            checkedAt = changes
            return true
        }
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
        let now = Nanoseconds.now
        let changes = tags.changes
        let found = state.withLock { state -> Entry? in
            guard let entry = state.entries.hit(key), entry.isCurrent(changes) else { return nil }
            return entry
        }
        guard let found,
            EarlyRefresh.isFar(
                remaining: found.freshUntil.seconds(after: now), cost: found.cost, beta: policy.beta)
        else { return nil }
        found.meters.hit(isNegative: found.value == nil)
        return Cached(value: found.value, isStale: found.isStale, isNew: false)
    }

    /// - Parameter make: told whether callers have a value meanwhile, so that nobody waits for the new one.
    func fetch(
        _ key: CacheKey, _ policy: CachePolicy, tags names: [String],
        make: @escaping @Sendable (_ isBehind: Bool) async throws -> Made
    ) async throws -> Cached {
        // Before the factory begins: what is invalidated from here on must not be stored.
        let seen = tags.seen(key.org, names)
        let meters = meters.of(key.cache)
        switch look(key, policy, seen) {
        case .fresh(let cached):
            meters.hit(isNegative: cached.value == nil)
            return cached
        case .behind(let cached, let flight):
            meters.count(cached.isStale ? .stale : .hit)
            if let flight { await launch { [self] in await fly(flight, key, seen) { try await make(true) } } }
            return cached
        case .join(let flight):
            meters.count(.miss)
            return try await flight.wait()
        case .start(let flight):
            meters.count(.miss)
            await launch { [self] in await fly(flight, key, seen) { try await make(false) } }
            return try await flight.wait()
        }
    }

    package func invalidate(org: String, tag: String) { tags.raise(org, tag) }
    package func invalidate(org: String) { tags.raise(org, "") }

    package var count: Int { state.withLock { $0.entries.count } }

    // MARK: steps

    private static func isEarly(
        _ entry: Entry, _ policy: CachePolicy, _ now: Nanoseconds, _ random: inout some RandomNumberGenerator
    ) -> Bool {
        EarlyRefresh.isDue(
            remaining: entry.freshUntil.seconds(after: now), cost: entry.cost, beta: policy.beta, random: &random)
    }

    private func look(_ key: CacheKey, _ policy: CachePolicy, _ seen: SeenTags) -> Found {
        let now = Nanoseconds.now
        let changes = tags.changes
        return state.withLock { state in
            let flying = state.flights[key].flatMap { $0.seen.areCurrent ? $0.flight : nil }
            if let entry = state.entries.hit(key), now < entry.staleUntil, entry.isCurrent(changes) {
                let isFresh = now < entry.freshUntil
                let cached = Cached(value: entry.value, isStale: !isFresh || entry.isStale, isNew: false)
                let isDue = isFresh ? Self.isEarly(entry, policy, now, &state.random) : true
                if isDue, flying == nil, now >= entry.retryAt {
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
            if made.isNew { meters.of(key.cache).factory.observe(ContinuousClock.now - start) }
            land(flight, key, seen, made)
        } catch {
            let later = Nanoseconds.now.after(CacheLimits.retryAfter)
            state.withLock { state in
                if state.flights[key]?.flight === flight { state.flights[key] = nil }
                state.entries.peek(key)?.retryAt = later
            }
            flight.finish(.failure(error))
        }
    }

    /// Keeps what was made, unless one of its tags was invalidated meanwhile; who waited gets it in any case.
    private func land(_ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ made: Made) {
        let (now, changes, meters) = (Nanoseconds.now, tags.changes, meters.of(key.cache))
        let evicted = state.withLock { state -> Int in
            if state.flights[key]?.flight === flight { state.flights[key] = nil }
            guard seen.areCurrent, made.freshFor + made.staleFor > .zero else { return 0 }
            let jitter = Double(Int.random(in: -100...100, using: &state.random)) / 100
            let spread = made.value == nil ? 0.2 : Double(CacheLimits.jitterPercent) / 100
            let fresh =
                (made.value == nil ? min(made.freshFor, CacheLimits.negativeFor) : made.freshFor)
                * (1 + jitter * spread)
            let entry = Entry(
                made, freshUntil: now.after(fresh), tags: seen, changes: changes, meters: meters)
            return state.entries.insert(key, entry, bytes: (made.value?.count ?? 0) + key.name.utf8.count + 200)
        }
        if evicted > 0 { self.meters.evictions.increment(by: evicted) }
        flight.finish(.success(Cached(value: made.value, isStale: made.isStale, isNew: made.isNew)))
    }
}
