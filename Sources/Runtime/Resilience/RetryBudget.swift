internal import Synchronization
package import Telemetry

/// Second tries of the whole process: at most a fifth of the calls under way, and three in any case. A dependency that
/// fails everything is not asked several times as often.
package final class RetryBudget: Sendable {
    package static let percent = 20
    package static let retriesMin = 3

    private struct State: Sendable {
        var calls = 0
        var retries = 0
    }

    private let state = Mutex(State())
    private let refused: Counter

    package init(registry: MetricRegistry) { refused = registry.counter(.retryBudgetRefused, "http") }

    /// A call begins; end it with `end()`.
    func begin() { state.withLock { $0.calls += 1 } }
    func end() { state.withLock { $0.calls -= 1 } }

    /// Whether one more try may go out; end it with `endRetry()`.
    func beginRetry() -> Bool {
        let isAllowed = state.withLock { state in
            guard state.retries < max(Self.retriesMin, state.calls * Self.percent / 100) else { return false }
            state.retries += 1
            return true
        }
        if !isAllowed { refused.increment() }
        return isAllowed
    }

    func endRetry() { state.withLock { $0.retries -= 1 } }
}
