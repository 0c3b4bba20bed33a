internal import Synchronization
package import Telemetry

/// Decisions by limit, verdict and mode. Handles are made once.
package final class RateMeters: Sendable {
    private let registry: MetricRegistry
    private let counters = Mutex<[String: Counter]>([:])

    package init(registry: MetricRegistry) { self.registry = registry }

    func count(_ limit: RateLimit, _ verdict: RateVerdict) {
        // The usual decision is counted without building a key.
        let counter = counters.withLock { counters in
            if verdict.isAllowed, verdict.mode == .memory, let counter = counters[limit.name] { return counter }
            let decision = verdict.isAllowed ? "allowed" : "refused"
            let key =
                verdict.isAllowed && verdict.mode == .memory
                ? limit.name : "\(limit.name) \(decision) \(verdict.mode.rawValue)"
            if let counter = counters[key] { return counter }
            let made = registry.counter(.rateLimitDecisions, limit.name, decision, verdict.mode.rawValue)
            counters[key] = made
            return made
        }
        counter.increment()
    }
}
