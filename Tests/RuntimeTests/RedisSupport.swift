import AurumCore
import Logging
import NIOCore
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// A client that runs while `body` does, and what it says to health and metrics.
struct RunningRedis: Sendable {
    let client: RedisClient
    let health: HealthRegistry
    let metrics: MetricRegistry
}

/// Runs a client against `url`, waits until it is available unless told otherwise, and stops it after `body`.
func withRedis<Result: Sendable>(
    _ url: String, waits: Bool = true, change: (inout RedisConfiguration) -> Void = { _ in },
    _ body: (RunningRedis) async throws -> Result
) async throws -> Result {
    var configuration = try RedisConfiguration(url: url)
    // A busy machine must not make a test fail; tests of deadlines set their own.
    configuration.commandTimeout = .seconds(30)
    configuration.keepAliveAfter = .seconds(15)
    change(&configuration)
    let metrics = MetricRegistry()
    let health = HealthRegistry(clock: SystemWallClock())
    let client = try RedisClient(
        configuration: configuration, registry: metrics, health: health,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await client.run() }
        defer { group.cancelAll() }
        if waits { try #require(await client.waitUntilAvailable(within: .seconds(30)), "\(health.snapshot)") }
        return try await body(RunningRedis(client: client, health: health, metrics: metrics))
    }
}

/// A value that tasks share.
final class Guarded<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        mutex.withLock { value in body(&value) }
    }
}

/// A clock-bound wait for something that another process does.
func eventually(_ what: String, within: Duration = .seconds(30), _ isTrue: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + within
    while try await !isTrue() {
        try #require(ContinuousClock.now < deadline, "\(what) did not come about within \(within)")
        try await Task.sleep(for: .milliseconds(10))
    }
}
