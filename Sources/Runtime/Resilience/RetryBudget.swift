internal import Synchronization
package import Telemetry

/// Second tries of the whole process, of calls and of jobs that make calls: at most a fifth of the calls under way, and
/// three in any case. A dependency that fails everything is not asked several times as often.
package final class RetryBudget: Sendable {
    package static let percent = 20
    package static let retriesMin = 3

    /// Who asks for a second try.
    package enum Origin: String, Sendable, CaseIterable { case http, job }

    private struct State: Sendable {
        var calls = 0
        var retries = 0
    }

    private let state = Mutex(State())
    private let registry: MetricRegistry

    package init(registry: MetricRegistry) { self.registry = registry }

    /// A call begins; end it with `end()`.
    func begin() { state.withLock { $0.calls += 1 } }
    func end() { state.withLock { $0.calls -= 1 } }

    /// Whether one more try may go out; end it with `endRetry()`.
    package func beginRetry(_ origin: Origin) -> Bool {
        let isAllowed = state.withLock { state in
            guard state.retries < max(Self.retriesMin, state.calls * Self.percent / 100) else { return false }
            state.retries += 1
            return true
        }
        if !isAllowed { registry.counter(.retryBudgetRefused, origin.rawValue).increment() }
        return isAllowed
    }

    package func endRetry() { state.withLock { $0.retries -= 1 } }
}
