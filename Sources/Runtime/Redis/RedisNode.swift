internal import NIOCore
internal import Synchronization
internal import Telemetry

/// Numbers of commands, by which a cancelled one is found.
final class RedisIDs: Sendable {
    private let last = Atomic<UInt64>(0)
    func next() -> UInt64 { last.wrappingAdd(1, ordering: .relaxed).newValue }
}

/// The connections to one server, as each of them knows the others: where one misses an answer, all are asked for a
/// sign of life, so that a server that went silent is found at once and not by one connection after the other.
final class RedisSiblings: Sendable {
    private struct Sibling: Sendable {
        weak let connection: RedisConnection?
    }

    private let all = Mutex<[Sibling]>([])

    func set(_ connections: [RedisConnection]) { all.withLock { $0 = connections.map { Sibling(connection: $0) } } }

    /// On the event loop that all of them share.
    func suspect() {
        for sibling in all.withLock({ $0 }) { sibling.connection?.suspect() }
    }
}

/// The connections to one server.
final class RedisNode: Sendable {
    let address: RedisConfiguration.Address
    private let connections: [RedisConnection]
    private let turn = Atomic<Int>(0)

    init(
        address: RedisConfiguration.Address, settings: RedisLinkSettings, group: any EventLoopGroup,
        observer: any RedisConnectionObserver, inFlight: Gauge
    ) {
        self.address = address
        // One loop for all connections to a server: one wake-up then serves what callers gave to any of them.
        let eventLoop = group.next()
        let siblings = RedisSiblings()
        connections = (0..<max(1, settings.configuration.connectionsPerNode)).map { _ in
            RedisConnection(
                eventLoop: eventLoop, address: address, settings: settings, observer: observer, siblings: siblings,
                inFlight: inFlight)
        }
        siblings.set(connections)
    }

    /// The next connection in turn that is up; nil while none is.
    func pick() -> RedisConnection? {
        let first = turn.wrappingAdd(1, ordering: .relaxed).oldValue & Int.max
        for offset in 0..<connections.count {
            let connection = connections[(first + offset) % connections.count]
            if connection.isReady { return connection }
        }
        return nil
    }

    func start() { for connection in connections { connection.start() } }

    func stop(within limit: Duration) async {
        for future in leave(within: limit) { try? await future.get() }
    }

    /// The same without waiting.
    @discardableResult
    func leave(within limit: Duration) -> [EventLoopFuture<Void>] { connections.map { $0.stop(within: limit) } }

    /// `unavailable` says that nothing was changed, so one more connection may be tried.
    func call(_ command: RedisCommand, _ ids: RedisIDs, _ deadline: NIODeadline) async -> RedisConnection.Answer {
        guard let first = pick() else { return .failure(.unavailable) }
        let answer = await first.call(command, id: ids.next(), deadline: deadline)
        guard case .failure(.unavailable) = answer, deadline > .now(), let second = pick() else { return answer }
        return await second.call(command, id: ids.next(), deadline: deadline)
    }

    func batch(_ commands: [RedisCommand], _ ids: RedisIDs, _ deadline: NIODeadline) async -> RedisConnection.Answers {
        guard let first = pick() else { return .failure(.unavailable) }
        let answers = await first.batch(commands, id: ids.next(), deadline: deadline)
        guard case .failure(.unavailable) = answers, deadline > .now(), let second = pick() else { return answers }
        return await second.batch(commands, id: ids.next(), deadline: deadline)
    }
}
