package import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// Our client of Redis 7 and Valkey 8: one server, or a cluster, over a few connections that many tasks share.
///
/// Nothing is connected before `run()`; until a connection is up, and whenever none is, a command fails at once with
/// `unavailable`, so that callers can use their fallback. Every command has a deadline, and is sent at most once unless
/// it only reads or carries an operation id: see `RedisError.outcomeUnknown`. Commands that block the connection
/// (`BLPOP`, `WAIT`, `SUBSCRIBE`, `MULTI` across calls) must not be sent: connections are shared.
package final class RedisClient: Service, Sendable {
    package let configuration: RedisConfiguration
    private let hub: RedisHub
    private let durations: Durations
    private let faults: FaultInjector?

    private struct Durations: Sendable {
        let read: Histogram
        let write: Histogram
        let batch: Histogram
    }

    /// Of a plan of faults.
    package static let dependency = "redis"

    /// - Throws: `RedisConfiguration.Problem` when the authorities' file of `?ca=` cannot be used.
    package init(
        configuration: RedisConfiguration, registry: MetricRegistry, health: HealthRegistry, logger: Logger,
        faults: FaultInjector? = nil
    ) throws(RedisConfiguration.Problem) {
        (self.configuration, self.faults) = (configuration, faults)
        durations = Durations(
            read: registry.histogram(.redisCommandDuration, "read"),
            write: registry.histogram(.redisCommandDuration, "write"),
            batch: registry.histogram(.redisCommandDuration, "batch"))
        let settings = RedisLinkSettings(
            configuration: configuration, tls: try RedisTLS.context(configuration), logger: logger)
        hub = RedisHub(
            settings: settings, group: MultiThreadedEventLoopGroup.singleton, registry: registry, health: health)
    }

    /// Whether commands can be carried out now: a connection to the server, or to every master of the cluster, is up.
    package var isAvailable: Bool { hub.status.isAvailable }

    /// `isAvailable` as it is now, then whenever it may have changed. A reader sees the newest only, perhaps twice.
    package func availability() -> ConditionChanges { hub.status.changes() }

    /// Waits until commands can be carried out; false when that takes longer than `limit`.
    package func waitUntilAvailable(within limit: Duration) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await isAvailable in self.availability() where isAvailable { return true }
                return false
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return false
            }
            let first = await group.next() ?? false
            group.cancelAll()
            return first
        }
    }

    /// Connects, keeps connected, and at the end of the service waits for what is owed and closes.
    package func run() async throws {
        await hub.run()
    }

    /// Sends one command and waits for its answer.
    /// - Parameter timeout: nil for `RedisConfiguration.commandTimeout`.
    /// - Throws: an error of the server as `RedisError.server`.
    package func call(_ command: RedisCommand, within timeout: Duration? = nil) async throws(RedisError) -> RESPValue {
        let began = NIODeadline.now()
        let deadline = began + TimeAmount(timeout ?? configuration.commandTimeout)
        let answer = await send(by: deadline, isRepeatable: command.isRepeatable) {
            await hub.call(command, deadline: deadline)
        }
        (command.isRead ? durations.read : durations.write).observe(Duration(.now() - began))
        if case .failure(let error) = answer { hub.status.count(error) }
        return try answer.get().get()
    }

    /// Sends commands in one write (one for each node of a cluster) and waits for all answers, which are in the order
    /// of the commands; errors of the server are values among them. It is no transaction: where one command failed,
    /// those beside it have run. At most `RedisLimits.inFlightMax` commands.
    package func batch(
        _ commands: [RedisCommand], within timeout: Duration? = nil
    ) async throws(RedisError) -> [RESPValue] {
        let began = NIODeadline.now()
        let deadline = began + TimeAmount(timeout ?? configuration.commandTimeout)
        let answers = await send(by: deadline, isRepeatable: commands.allSatisfy(\.isRepeatable)) {
            await hub.batch(commands, deadline: deadline)
        }
        durations.batch.observe(Duration(.now() - began))
        if case .failure(let error) = answers { hub.status.count(error) }
        return try answers.get()
    }

    /// Makes the exchange, with the fault that strikes it. A connection repeats nothing, so `duplicate` does nothing.
    private func send<Value: Sendable>(
        by deadline: NIODeadline, isRepeatable: @autoclosure () -> Bool,
        _ exchange: () async -> Result<Value, RedisError>
    ) async -> Result<Value, RedisError> {
        guard let fault = faults?.strike(Self.dependency) else { return await exchange() }
        switch fault.kind {
        case .error, .partition: return .failure(.unavailable)
        case .latency, .pause:
            try? await Task.sleep(for: min(fault.wait, max(.zero, Duration(deadline - .now()))))
            return deadline > .now() ? await exchange() : .failure(.unavailable)
        case .drop:
            _ = await exchange()
            return .failure(isRepeatable() ? .timeout : .outcomeUnknown)
        case .duplicate: return await exchange()
        }
    }

    /// Runs a script: by its hash, and in full where the server does not know it.
    /// - Parameters:
    ///   - keys: all of one slot, by a common `{tag}`.
    ///   - carriesOperationID: whether the script tells by its arguments that it ran already, and may be sent again.
    package func eval(
        _ script: RedisScript, keys: [String], arguments: [any RedisArgument] = [], carriesOperationID: Bool = false,
        within timeout: Duration? = nil
    ) async throws(RedisError) -> RESPValue {
        func prepared(_ command: RedisCommand) -> RedisCommand {
            carriesOperationID ? command.carryingOperationID() : command
        }
        do throws(RedisError) {
            return try await call(prepared(script.byHash(keys, arguments)), within: timeout)
        } catch {
            guard case .server(code: "NOSCRIPT", _) = error else { throw error }
            return try await call(prepared(script.inFull(keys, arguments)), within: timeout)
        }
    }

    /// The messages of channels and patterns (glob style: `news.*`). Returns at once; see
    /// `RedisSubscription.waitUntilActive(within:)`. In a cluster a message published on any node comes.
    package func subscribe(channels: [String] = [], patterns: [String] = []) -> RedisSubscription {
        let names = channels.map { RedisTarget(kind: .channel, name: $0) }
        return hub.subscribe(Set(names + patterns.map { RedisTarget(kind: .pattern, name: $0) }))
    }

    /// Whether the messages of a subscription come that is made later.
    func activity() -> RedisActivity { hub.activity() }

    /// The same for one pattern, with what shows whether its messages come.
    func subscribe(pattern: String, showing activity: RedisActivity) -> RedisSubscription {
        hub.subscribe([RedisTarget(kind: .pattern, name: pattern)], activity)
    }

    /// The messages that `SPUBLISH` sends to one channel; in a cluster only the nodes of its slot carry them.
    package func subscribe(shard channel: String) -> RedisSubscription {
        hub.subscribe([RedisTarget(kind: .shard, name: channel)])
    }
}

/// TLS as the configuration wants it.
enum RedisTLS {
    static func context(_ configuration: RedisConfiguration) throws(RedisConfiguration.Problem) -> NIOSSLContext? {
        guard configuration.usesTLS else { return nil }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        tls.certificateVerification = .fullVerification
        if let file = configuration.authoritiesFile { tls.trustRoots = .file(file) }
        do { return try NIOSSLContext(configuration: tls) } catch {
            throw RedisConfiguration.Problem(
                description: "TLS to Redis cannot be set up with \(configuration.authoritiesFile ?? "the system's CAs")"
                    + ": \(error)")
        }
    }
}
