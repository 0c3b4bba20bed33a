package import AurumCore
internal import Synchronization
package import Telemetry

/// The guards of a process by the name of what they stand before.
package final class GuardBook: Sendable {
    /// Dependencies with a guard of their own; those beyond share one.
    package static let guardsMax = 1000
    private static let rest = "others"

    private struct State: Sendable {
        var guards: [String: Guard] = [:]
    }

    private let state = Mutex(State())
    /// Second tries of the whole process; jobs that make calls draw on it too.
    package let budget: RetryBudget
    /// What strikes calls on purpose; nil in every process that was not started for tests.
    package let faults: FaultInjector?
    private let rules: BreakerMachine.Rules
    private let registry: MetricRegistry
    private let health: HealthRegistry
    private let clock: any WallClock

    package init(
        registry: MetricRegistry, health: HealthRegistry, clock: any WallClock,
        rules: BreakerMachine.Rules = BreakerMachine.Rules(), faults: FaultInjector? = nil
    ) {
        self.faults = faults
        budget = RetryBudget(registry: registry)
        self.rules = rules
        self.registry = registry
        self.health = health
        self.clock = clock
    }

    /// The guard before `name`, which comes from a bounded set of our own.
    package func `guard`(_ name: String) -> Guard {
        state.withLock { state in
            if let known = state.guards[name] { return known }
            let name = state.guards.count < Self.guardsMax ? name : Self.rest
            if let known = state.guards[name] { return known }
            let made = Guard(name: name, rules: rules, budget: budget, clock: clock, faults: faults) {
                [registry, health] state in Self.show(name, state, registry, health)
            }
            state.guards[name] = made
            Self.show(name, .closed, registry, health)
            return made
        }
    }

    /// Names and states, in order.
    package var states: [(name: String, state: BreakerMachine.State)] {
        state.withLock { $0.guards.values.map { ($0.name, $0.state) } }.sorted { $0.name < $1.name }
    }

    /// Whether anything of this name was called, or is held open.
    package func knows(_ name: String) -> Bool { state.withLock { $0.guards[name] != nil } }

    /// Isolates the breakers of these names, keeps the observed ones from opening, and releases every other one that
    /// a person held. Names that were never called are held before they are, as far as they can have a guard of their
    /// own.
    package func hold(only names: Set<String>, observing observed: Set<String> = []) {
        for name in names.sorted() where knows(name) || hasRoom { `guard`(name).isolate() }
        let observed = observed.subtracting(names)
        for name in observed.sorted() where knows(name) || hasRoom { `guard`(name).observe() }
        let held = names.union(observed)
        let others = state.withLock { state in state.guards.filter { !held.contains($0.key) }.map(\.value) }
        for other in others { other.release() }
    }

    /// One that had no place of its own would hold what it shares a guard with.
    private var hasRoom: Bool { state.withLock { $0.guards.count < Self.guardsMax } }

    private static func show(
        _ name: String, _ state: BreakerMachine.State, _ registry: MetricRegistry, _ health: HealthRegistry
    ) {
        for each in BreakerMachine.State.allCases {
            registry.gauge(.breakerState, name, each.rawValue).set(each == state ? 1 : 0)
        }
        let isOff = state == .open || state == .isolated || state == .halfOpen
        health.report(
            name, isOff ? .degraded : .ok, required: false, reason: isOff ? "breaker_\(state.rawValue)" : nil,
            fallback: state == .metricsOnly ? "breaker does not open" : nil)
    }
}
