internal import AurumCore
internal import ServiceLifecycle
package import Telemetry

/// Says in health and in the metric what every role does while Redis is away, and that it is back.
package struct RedisWatch: Service {
    /// Component and what it falls back to.
    package let fallbacks: [(component: String, fallback: String)]
    private let client: RedisClient
    private let registry: MetricRegistry
    private let health: HealthRegistry

    /// - Parameter sharesLocks: whether locks are kept in Redis, as nodes of one database do.
    package init(
        client: RedisClient, sharesLocks: Bool, registry: MetricRegistry, health: HealthRegistry
    ) {
        self.client = client
        self.registry = registry
        self.health = health
        var fallbacks = [
            (component: "rate_limits", fallback: "share of this node"),
            (component: "cache", fallback: "this node's memory"), (component: "pubsub", fallback: "this node"),
        ]
        if sharesLocks { fallbacks.append((component: "locks", fallback: "no new leases")) }
        self.fallbacks = fallbacks
        show(isHere: true)
    }

    package func run() async throws {
        for await isHere in client.availability().cancelOnGracefulShutdown() { show(isHere: isHere) }
    }

    private func show(isHere: Bool) {
        for (component, fallback) in fallbacks {
            registry.gauge(.fallbackActive, component, fallback).set(isHere ? 0 : 1)
            health.report(
                component, isHere ? .ok : .degraded, required: false, reason: isHere ? nil : "redis_unreachable",
                fallback: isHere ? nil : fallback)
        }
    }
}
