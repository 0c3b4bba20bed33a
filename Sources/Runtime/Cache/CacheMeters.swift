internal import Synchronization
internal import Telemetry

/// What is counted of caches. Handles are made once for each cache.
final class CacheMeters: Sendable {
    enum Outcome: String, CaseIterable { case hit = "l1", shared = "l2", stale, negative, miss }

    private struct Counters: Sendable {
        let lookups: [Counter]
        let factory: Histogram
    }

    let evictions: Counter
    private let registry: MetricRegistry
    private let counters = Mutex<[String: Counters]>([:])

    init(registry: MetricRegistry) {
        self.registry = registry
        evictions = registry.counter(.cacheEvictions)
    }

    func hit(_ cache: String, isNegative: Bool) { count(cache, isNegative ? .negative : .hit) }

    func count(_ cache: String, _ outcome: Outcome) {
        let index = Outcome.allCases.firstIndex(of: outcome) ?? 0
        of(cache).lookups[index].increment()
    }

    func made(_ cache: String, _ duration: Duration) { of(cache).factory.observe(duration) }

    private func of(_ cache: String) -> Counters {
        counters.withLock { counters in
            if let known = counters[cache] { return known }
            let made = Counters(
                lookups: Outcome.allCases.map { registry.counter(.cacheLookups, cache, $0.rawValue) },
                factory: registry.histogram(.cacheFactory, cache))
            counters[cache] = made
            return made
        }
    }
}
