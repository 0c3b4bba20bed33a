/// The roles that services share, each in one implementation: of this process, or of the Redis that all nodes use.
package struct RuntimeRoles: Sendable {
    package var limiter: any RateLimiter
    package var cache: any Cache
    package var pubSub: any PubSub
    package var lock: any Lock
    package var sessions: Sessions
    package var guards: GuardBook
    package var holds: BreakerHolds
    package var metrics: any SharedMetrics

    package init(
        limiter: any RateLimiter, cache: any Cache, pubSub: any PubSub, lock: any Lock, sessions: Sessions,
        guards: GuardBook, holds: BreakerHolds, metrics: any SharedMetrics
    ) {
        self.limiter = limiter
        self.cache = cache
        self.pubSub = pubSub
        self.lock = lock
        self.sessions = sessions
        self.guards = guards
        self.holds = holds
        self.metrics = metrics
    }
}
