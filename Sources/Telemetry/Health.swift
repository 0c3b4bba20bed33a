package import AurumCore
internal import Synchronization

/// The state of one part of the product as `/health` shows it.
package struct ComponentHealth: Sendable, Codable, Equatable {
    package enum State: String, Sendable, Codable { case ok, degraded, down, unconfigured }

    package var state: State
    /// Whether the product can take traffic without it.
    package var required: Bool
    /// A stable reason code, for example `log_failed`; nil while all is well.
    package var reason: String?
    /// The fallback in use, named wherever it matters; nil when the real thing runs.
    package var fallback: String?
    package var since: Timestamp
    /// Figures that explain the state.
    package var numbers: [String: Double]
    /// Sentences that say what the figures are about, a bounded number of them; nil where there is nothing to say.
    package var details: [String]?
}

/// What every component last said about itself. Reading never waits for a component.
package final class HealthRegistry: Sendable {
    private let components = Mutex<[String: ComponentHealth]>([:])
    private let clock: any WallClock

    package init(clock: any WallClock) { self.clock = clock }

    /// Records the state of `component`; `since` moves only when the state or its reason changes.
    package func report(
        _ component: String, _ state: ComponentHealth.State, required: Bool = true, reason: String? = nil,
        fallback: String? = nil, numbers: [String: Double] = [:], details: [String]? = nil
    ) {
        let now = clock.now
        components.withLock { all in
            let old = all[component]
            let unchanged = old?.state == state && old?.reason == reason
            all[component] = ComponentHealth(
                state: state, required: required, reason: reason, fallback: fallback,
                since: unchanged ? old?.since ?? now : now, numbers: numbers, details: details)
        }
    }

    package var snapshot: [String: ComponentHealth] { components.withLock { $0 } }

    /// True while every required component is ok or degraded.
    package var isReady: Bool {
        snapshot.values.allSatisfy { !$0.required || $0.state == .ok || $0.state == .degraded }
    }
}
