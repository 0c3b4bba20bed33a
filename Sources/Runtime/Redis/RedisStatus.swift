internal import Logging
internal import Synchronization
internal import Telemetry

/// What is known of the connections: for callers, health, metrics and logs.
final class RedisStatus: Sendable, RedisConnectionObserver {
    private struct State: Sendable {
        /// Connections that are up.
        var ready: [RedisConfiguration.Address: Int] = [:]
        /// Commands need one connection to each of these.
        var needed: [RedisConfiguration.Address] = []
        var sentence: String?
        /// Connections that are up and owe a sign of life.
        var silent: [RedisConfiguration.Address: Int] = [:]
        /// Servers that refuse a subscription of ours, and what they say.
        var refusals: [RedisConfiguration.Address: String] = [:]
        /// Who says that the cluster is down, in a sentence.
        var clusterDown: String?
        var isAvailable = false
        var hasEnded = false
    }

    static let component = "redis"
    private let state = Mutex(State())
    private let available = Atomic<Bool>(false)
    private let watch = ConditionWatch()
    private let health: HealthRegistry
    private let registry: MetricRegistry
    private let logger: Logger
    private let reconnects: Counter
    private let refused: Counter
    private let connections: Gauge
    private let silent: Gauge

    init(registry: MetricRegistry, health: HealthRegistry, logger: Logger) {
        self.health = health
        self.registry = registry
        self.logger = logger
        reconnects = registry.counter(.redisReconnects)
        refused = registry.counter(.redisSubscriptionsRefused)
        connections = registry.gauge(.redisConnections)
        silent = registry.gauge(.redisSilentConnections)
        health.report(Self.component, .down, required: false, reason: "redis_connecting")
    }

    var isAvailable: Bool { available.load(ordering: .acquiring) }

    func changes() -> ConditionChanges { watch.changes { [self] in state.withLock { $0.isAvailable } } }

    /// Says that the cluster carries out nothing though its nodes are there, in a sentence; nil when it is whole.
    func clusterIsDown(_ sentence: String?) {
        guard state.withLock({ $0.clusterDown != sentence }) else { return }
        update { $0.clusterDown = sentence }
    }

    /// Says which servers commands need.
    func need(_ addresses: [RedisConfiguration.Address]) { update { $0.needed = addresses } }

    /// The client was stopped: nobody has to be told of anything more.
    func end() {
        state.withLock { state in
            state.hasEnded = true
            state.isAvailable = false
            available.store(false, ordering: .releasing)
        }
        watch.end()
    }

    func count(_ error: RedisError) { registry.counter(.redisErrors, error.tag).increment() }

    func connectionChanged(_ address: RedisConfiguration.Address, _ change: RedisConnectionChange) {
        update { state in
            switch change {
            case .ready(let isAgain):
                if isAgain { reconnects.increment() }
                state.ready[address, default: 0] += 1
            case .lost:
                // A node that left a cluster does not stay in the books.
                let left = state.ready[address, default: 0] - 1
                state.ready[address] = left > 0 ? left : nil
            case .silent: state.silent[address, default: 0] += 1
            case .heard:
                let left = state.silent[address, default: 0] - 1
                state.silent[address] = left > 0 ? left : nil
            case .failed(let sentence): state.sentence = "\(address): \(sentence)"
            }
        }
    }

    /// Longest part of what a server says that is shown.
    private static let shownMax = 200

    /// A server does not let us listen to everything that somebody wants to hear; it is asked again now and then.
    func subscriptionRefused(_ address: RedisConfiguration.Address, _ text: String) {
        refused.increment()
        let text = String(text.prefix(Self.shownMax))
        let isNews = state.withLock { $0.refusals.updateValue(text, forKey: address) } == nil
        update { _ in }
        guard isNews else { return }
        logger.warning(
            "redis refused a subscription",
            metadata: ["code": "redis_subscription_refused", "error": "\(text)", "node": "\(address)"])
    }

    /// Everything that somebody wants to hear of this server is heard, or nobody wants to hear it any more.
    func subscriptionsAccepted(_ address: RedisConfiguration.Address) {
        guard state.withLock({ $0.refusals.removeValue(forKey: address) }) != nil else { return }
        update { _ in }
        logger.info("redis accepts subscriptions again", metadata: ["node": "\(address)"])
    }

    /// A change as the log tells it.
    private struct Picture {
        var wasAvailable: Bool
        var isAvailable: Bool
        var wasSilent: Bool
        var isSilent: Bool
        var detail: String?
    }

    private func update(_ change: (inout State) -> Void) {
        let picture = state.withLock { state in
            let (wasAvailable, wasSilent) = (state.isAvailable, !state.silent.isEmpty)
            change(&state)
            if !state.hasEnded {
                state.isAvailable =
                    !state.needed.isEmpty && state.clusterDown == nil
                    && state.needed.allSatisfy { state.ready[$0, default: 0] > 0 }
                available.store(state.isAvailable, ordering: .releasing)
            }
            // Under the lock: of two changes the later one must be shown last. Who hears of it then finds it shown.
            return show(state, wasAvailable: wasAvailable, wasSilent: wasSilent)
        }
        if picture.wasAvailable != picture.isAvailable { watch.tell() }
        log(picture)
    }

    private func show(_ state: State, wasAvailable: Bool, wasSilent: Bool) -> Picture {
        let (connected, owing) = (state.ready.values.reduce(0, +), state.silent.values.reduce(0, +))
        connections.set(Double(connected))
        silent.set(Double(owing))
        let (health, reason, detail) = Self.judged(state)
        self.health.report(
            Self.component, health, required: false, reason: reason, numbers: ["connections": Double(connected)],
            details: detail.map { [$0] })
        return Picture(
            wasAvailable: wasAvailable, isAvailable: state.isAvailable, wasSilent: wasSilent, isSilent: owing > 0,
            detail: detail)
    }

    /// The state, its reason and what explains it: the worst that is so.
    private static func judged(_ state: State) -> (ComponentHealth.State, String?, String?) {
        if let sentence = state.clusterDown { return (.down, "redis_cluster_down", sentence) }
        guard state.isAvailable else { return (.down, "redis_unreachable", state.sentence) }
        if let address = state.silent.keys.min(by: { "\($0)" < "\($1)" }) {
            return (.degraded, "redis_silent", "\(address) owes an answer")
        }
        if let refusal = state.refusals.min(by: { "\($0.key)" < "\($1.key)" }) {
            let detail = "\(refusal.key) refused a subscription: \(refusal.value)"
            return (.degraded, "redis_subscription_refused", detail)
        }
        return (.ok, nil, nil)
    }

    private func log(_ picture: Picture) {
        if !picture.wasSilent, picture.isSilent {
            logger.warning(
                "redis is silent", metadata: ["code": "redis_silent", "reason": "\(picture.detail ?? "")"])
        }
        guard picture.wasAvailable != picture.isAvailable else { return }
        if picture.isAvailable {
            logger.info("redis is available")
        } else {
            let reason = picture.detail ?? "connections were lost"
            logger.warning("redis is unavailable", metadata: ["reason": "\(reason)"])
        }
    }
}
