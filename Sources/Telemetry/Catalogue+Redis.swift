/// Metrics of the Redis client.
extension MetricDefinition {
    package static let redisCommandDuration = MetricDefinition(
        "aurum_redis_command_duration_seconds", .histogram, labels: ["command_class"],
        "From the call to its answer, time in the pipeline included.")
    package static let redisErrors = MetricDefinition(
        "aurum_redis_errors_total", .counter, labels: ["error"], "Commands without an answer, by the reason.")
    package static let redisReconnects = MetricDefinition(
        "aurum_redis_reconnects_total", .counter, "Connections made again after one was lost.")
    package static let redisConnections = MetricDefinition(
        "aurum_redis_connections", .gauge, "Connections that are signed in.")
    package static let redisSilentConnections = MetricDefinition(
        "aurum_redis_silent_connections", .gauge, "Connections that stand and owe a sign of life for too long.")
    package static let redisInFlight = MetricDefinition(
        "aurum_redis_in_flight", .gauge, "Replies that servers owe.")
    package static let redisSubscriptionsRefused = MetricDefinition(
        "aurum_redis_subscriptions_refused_total", .counter,
        "Commands that subscribe and that a server refused, those tried again included.")
    package static let redisSubscriptionGaps = MetricDefinition(
        "aurum_redis_subscription_gaps_total", .counter, labels: ["reason"],
        "Times a subscriber was told that messages may be missing.")
}
