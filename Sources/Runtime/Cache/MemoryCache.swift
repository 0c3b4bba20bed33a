internal import AurumCore
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// The cache of one process. Values are made in tasks of the service, so that nobody's cancellation ends a making that
/// others wait for; before it runs, callers make them themselves.
package final class MemoryCache: Cache, Service {
    private struct State: Sendable {
        var shelf = CacheShelf()
        var time = TickClock()
        var random = SystemRandomNumberGenerator()
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
            return MadeValue(
                value: value, freshFor: policy.freshFor, staleFor: policy.staleFor,
                cost: ContinuousClock.now - start)
        }
    }

    /// A fresh value that certainly nobody makes anew now: without a draw.
    func hit(_ key: CacheKey, _ policy: CachePolicy) -> Cached? {
        let changes = tags.changes
        return state.withLock { state in
            let now = state.time.read()
            return state.shelf.hit(key, policy, changes: changes, at: now)
        }
    }

    /// - Parameter make: told whether callers have a value meanwhile, so that nobody waits for the new one.
    func fetch(
        _ key: CacheKey, _ policy: CachePolicy, tags names: [String],
        make: @escaping @Sendable (_ isBehind: Bool) async throws -> MadeValue
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
            if let flight { await launch { [self] in _ = await fly(flight, key, seen) { try await make(true) } } }
            return cached
        case .join(let flight):
            meters.count(.miss)
            return try await flight.wait()
        case .start(let flight):
            meters.count(.miss)
            await launch { [self] in
                guard await fly(flight, key, seen, { try await make(false) }),
                    let next = state.withLock({ $0.shelf.again(key, seen) })
                else { return }
                _ = await fly(next, key, seen) { try await make(true) }
            }
            return try await flight.wait()
        }
    }

    package func invalidate(org: String, tag: String) { tags.raise(org, tag) }
    package func invalidate(org: String) { tags.raise(org, "") }

    package var count: Int { state.withLock { $0.shelf.count } }

    // MARK: steps

    private func look(_ key: CacheKey, _ policy: CachePolicy, _ seen: SeenTags) -> CacheShelf.Found {
        let now = Nanoseconds.now
        let changes = tags.changes
        return state.withLock { state in
            state.shelf.look(key, policy, seen, changes: changes, at: now, random: &state.random)
        }
    }

    private func launch(_ job: @escaping @Sendable () async -> Void) async {
        if isRunning.load(ordering: .acquiring), case .enqueued = submit.yield(job) { return }
        await job()
    }

    /// - Returns: whether it landed with what is stale already.
    private func fly(
        _ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ make: @Sendable () async throws -> MadeValue
    ) async -> Bool {
        let start = ContinuousClock.now
        do {
            let made = try await make()
            if let bytes = made.value?.count, bytes > CacheLimits.valueBytesMax {
                throw CacheError.valueTooLarge(bytes: bytes)
            }
            if made.isNew { meters.of(key.cache).factory.observe(ContinuousClock.now - start) }
            land(flight, key, seen, made)
            return made.isStale
        } catch {
            state.withLock { $0.shelf.failed(flight, key, at: .now) }
            flight.finish(.failure(error))
            return false
        }
    }

    /// Keeps what was made, unless one of its tags was invalidated meanwhile; who waited gets it in any case.
    private func land(_ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ made: MadeValue) {
        let (now, changes, meters) = (Nanoseconds.now, tags.changes, meters.of(key.cache))
        let evicted = state.withLock { state in
            state.shelf.land(
                flight, key, seen, made, changes: changes, at: now, meters: meters, random: &state.random)
        }
        if evicted > 0 { self.meters.evictions.increment(by: evicted) }
        flight.finish(.success(made.cached))
    }
}
