internal import Runtime

/// What `aurum bench runtime` is asked for.
package struct RuntimeBenchOptions: Sendable {
    /// A server to measure with; nil starts one of this machine's `redis-server`.
    package var redisURL: String?
    /// Commands behind each figure.
    package var operations = 500_000
    /// This program, to be run as the processes of a fleet; nil where it cannot be.
    package var program: String?
    /// One small round of everything: proves that it works, measures nothing.
    package var tiny = false

    package init() {}
}

/// Measures the Redis client, each figure against its bar (runtime.md §10).
package func redisBench(_ options: RuntimeBenchOptions) async throws -> [BenchRow] {
    try await RedisBench(options: options).rows()
}

/// Measures caches, locks and limits, each figure against its bar (runtime.md §10).
package func rolesBench(_ options: RuntimeBenchOptions) async throws -> [BenchRow] {
    try await RolesBench(options: options).rows()
}
