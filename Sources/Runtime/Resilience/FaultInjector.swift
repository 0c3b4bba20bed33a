package import AurumCore
package import Logging
internal import Synchronization
package import Telemetry

/// Holds the plan of faults of a process that was started for tests, and strikes calls by it. A process for production
/// has none. The plan is not kept: it ends with the process.
package final class FaultInjector: Sendable {
    /// Component of health, and the reason while a plan strikes.
    package static let component = "faults"
    package static let activeReason = "active"

    private struct State: Sendable {
        var plan: FaultPlan?
        /// Calls so far by dependency, which are those of guards and as few.
        var calls: [String: UInt64] = [:]
    }

    private let state = Mutex(State())
    private let registry: MetricRegistry
    private let health: HealthRegistry
    private let clock: any WallClock
    private let logger: Logger

    package init(registry: MetricRegistry, health: HealthRegistry, clock: any WallClock, logger: Logger) {
        (self.registry, self.health, self.clock, self.logger) = (registry, health, clock, logger)
        show(nil)
    }

    package var plan: FaultPlan? { state.withLock { $0.plan } }

    /// Strikes by `plan` from now on, counting calls from none; nil ends all faults.
    /// - Parameter actor: the key of the person, or where else the plan came from.
    package func set(_ plan: FaultPlan?, actor: String) {
        state.withLock { $0 = State(plan: plan) }
        show(plan)
        logger.warning(
            plan == nil ? "no more faults are injected" : "faults are injected from now on",
            metadata: [
                "code": plan == nil ? "faults_off" : "faults_active", "plan": "\(plan?.text ?? "")",
                "actor": "\(actor)",
            ])
    }

    private func show(_ plan: FaultPlan?) {
        health.report(
            Self.component, plan == nil ? .ok : .degraded, required: false,
            reason: plan == nil ? nil : Self.activeReason, details: plan.map { $0.rules.map(\.text) })
    }

    /// What the next call of a dependency meets.
    func strike(_ dependency: String) -> FaultPlan.Fault? {
        let now = clock.now
        let fault: FaultPlan.Fault? = state.withLock { state in
            guard let plan = state.plan else { return nil }
            let call = state.calls[dependency, default: 0]
            state.calls[dependency] = call &+ 1
            return plan.fault(dependency, call: call, at: now)
        }
        guard let fault else { return nil }
        registry.counter(.faultsInjected, dependency, fault.kind.rawValue).increment()
        logger.info(
            "a fault was injected",
            metadata: [
                "code": "fault_injected", "dependency": "\(dependency)", "kind": "\(fault.kind.rawValue)",
            ])
        return fault
    }
}
