internal import Synchronization
internal import Telemetry

/// What is counted of caches. Handles are made once for each cache.
final class CacheMeters: Sendable {
    enum Outcome: String, CaseIterable { case hit = "l1", shared = "l2", stale, negative, miss }

    /// Of one cache. Whoever keeps it need not look it up again.
    final class OfCache: Sendable {
        private let lookups: [Counter]
        private let hits: Counter
        private let negatives: Counter
        let factory: Histogram

        init(_ cache: String, _ registry: MetricRegistry) {
            lookups = Outcome.allCases.map { registry.counter(.cacheLookups, cache, $0.rawValue) }
            hits = registry.counter(.cacheLookups, cache, Outcome.hit.rawValue)
            negatives = registry.counter(.cacheLookups, cache, Outcome.negative.rawValue)
            factory = registry.histogram(.cacheFactory, cache)
        }

        func hit(isNegative: Bool) { (isNegative ? negatives : hits).increment() }
        func count(_ outcome: Outcome) { lookups[Outcome.allCases.firstIndex(of: outcome) ?? 0].increment() }
    }

    let evictions: Counter
    private let registry: MetricRegistry
    private let caches = Mutex<[String: OfCache]>([:])

    init(registry: MetricRegistry) {
        self.registry = registry
        evictions = registry.counter(.cacheEvictions)
    }

    func of(_ cache: String) -> OfCache {
        caches.withLock { caches in
            if let known = caches[cache] { return known }
            let made = OfCache(cache, registry)
            caches[cache] = made
            return made
        }
    }
}
