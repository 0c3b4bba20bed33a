internal import AurumCore
internal import Database
internal import Logging
internal import Runtime
internal import ServiceLifecycle
internal import Telemetry

/// The roles of the floor of limits, locks and caches: of this process, or of the Redis that all nodes use.
struct RuntimeWiring: Sendable {
    let roles: RuntimeRoles
    /// Nil without `AURUM_REDIS_URL`.
    let redis: RedisClient?
    /// Start order.
    let services: [any Service]

    static func open(
        _ configuration: AurumConfiguration, database: Database, fences: SQLFences, registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock
    ) async throws -> RuntimeWiring {
        let meters = LockMeters(registry: registry)
        // SQLite has one writing process: whatever shares its Redis, its records and its outbox are of this node alone.
        let isShared = database.dialect == .postgres
        let sessions = try await Sessions(database: database, clock: clock, isShared: isShared)
        let faults = try injector(configuration, registry: registry, health: health, clock: clock)
        // Limits and breakers of this process go on when the machine's clock is set back.
        let steady = SteadyClock()
        let guards = GuardBook(registry: registry, health: health, clock: steady, faults: faults)
        let holds = try await BreakerHolds(database: database, guards: guards, logger: Logger(label: "breakers"))
        guard let redis = try configuration.redis else {
            health.report(
                "redis", .unconfigured, required: false, details: ["limits, locks and caches of this process"])
            let cache = MemoryCache(registry: registry)
            return RuntimeWiring(
                roles: RuntimeRoles(
                    limiter: MemoryRateLimiter(clock: steady, meters: RateMeters(registry: registry)), cache: cache,
                    pubSub: MemoryPubSub(registry: registry), lock: MemoryLock(fences: fences, meters: meters),
                    sessions: sessions, guards: guards, holds: holds, metrics: MemorySharedMetrics(registry: registry)),
                redis: nil, services: [cache, holds])
        }
        let client = try RedisClient(
            configuration: redis, registry: registry, health: health, logger: Logger(label: "redis"), faults: faults)
        let nodes = NodePresence(client: client, clock: clock)
        let pubSub = RedisPubSub(client: client, clock: clock, registry: registry)
        let shared = isShared ? RedisLock(client: client, pubSub: pubSub, fences: fences, meters: meters) : nil
        let lock: any Lock = if let shared { shared } else { MemoryLock(fences: fences, meters: meters) }
        let metrics = RedisSharedMetrics(client: client, registry: registry, clock: clock)
        let cache = RedisCache(client: client, pubSub: pubSub, clock: clock, registry: registry)
        var services: [any Service] = [
            client, RedisWatch(client: client, sharesLocks: isShared, registry: registry, health: health), nodes,
            pubSub, cache, holds, metrics,
        ]
        if let shared { services.append(shared) }
        return RuntimeWiring(
            roles: RuntimeRoles(
                limiter: RedisRateLimiter(client: client, clock: steady, registry: registry) { nodes.count },
                cache: cache, pubSub: pubSub, lock: lock, sessions: sessions, guards: guards, holds: holds,
                metrics: metrics),
            redis: client, services: services)
    }

    /// Nil unless the process was started for tests.
    private static func injector(
        _ configuration: AurumConfiguration, registry: MetricRegistry, health: HealthRegistry, clock: any WallClock
    ) throws(FaultPlan.Problem) -> FaultInjector? {
        guard configuration.takesFaults else { return nil }
        let faults = FaultInjector(
            registry: registry, health: health, clock: clock, logger: Logger(label: "faults"))
        if let plan = try configuration.faults { faults.set(plan, actor: "configuration") }
        return faults
    }
}
