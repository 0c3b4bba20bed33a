/// Metrics of limits, locks, caches and what else every service needs while it runs.
extension MetricDefinition {
    package static let rateLimitDecisions = MetricDefinition(
        "aurum_ratelimit_decisions_total", .counter, labels: ["limiter", "decision", "mode"],
        "Decisions of rate limits, by where the count was.")
    package static let fallbackActive = MetricDefinition(
        "aurum_fallback_active", .gauge, labels: ["component", "fallback"], "1 while the fallback is in use.")
}

extension MetricDefinition {
    package static let lockWait = MetricDefinition(
        "aurum_lock_wait_seconds", .histogram, "From asking for a lock to holding it.")
    package static let lockFailures = MetricDefinition(
        "aurum_lock_failures_total", .counter, labels: ["reason"],
        "Locks that timed out, were lost or could not be had, and releases by somebody who had lost one.")
    package static let lockFenceRefused = MetricDefinition(
        "aurum_lock_fence_refused_total", .counter, labels: ["resource"], "Writes of holders that were overtaken.")
}

extension MetricDefinition {
    package static let pubSubGaps = MetricDefinition(
        "aurum_pubsub_gaps_total", .counter, "Times a subscriber was told that messages may be missing.")
    package static let pubSubSubscriptions = MetricDefinition(
        "aurum_pubsub_subscriptions", .gauge,
        "Channels and patterns that somebody reads; who has gone counts until the next message.")
}

extension MetricDefinition {
    package static let breakerState = MetricDefinition(
        "aurum_resilience_breaker_state", .gauge, labels: ["dependency", "state"],
        "1 for the state that a breaker is in.")
    package static let retryBudgetRefused = MetricDefinition(
        "aurum_resilience_retry_budget_refused_total", .counter, labels: ["origin"],
        "Second tries that the process' budget refused.")
    package static let faultsInjected = MetricDefinition(
        "aurum_faults_injected_total", .counter, labels: ["dependency", "kind"],
        "Calls that a plan of faults struck; none outside of tests.")
}

extension MetricDefinition {
    package static let cacheLookups = MetricDefinition(
        "aurum_cache_lookups_total", .counter, labels: ["cache", "result"],
        "Questions to caches: l1 and l2 hits, stale values, remembered absences, misses.")
    package static let cacheFactory = MetricDefinition(
        "aurum_cache_factory_duration_seconds", .histogram, labels: ["cache"], "Making one value.")
    package static let cacheEvictions = MetricDefinition(
        "aurum_cache_evictions_total", .counter, "Values that had to go to make room.")
}

extension MetricDefinition {
    package static let clusterNodes = MetricDefinition(
        "aurum_cluster_nodes", .gauge, "Nodes that share their counts and live.")
}
