internal import Logging
internal import NIOCore
internal import ServiceLifecycle
internal import Telemetry

/// One server or a cluster: where commands and subscriptions go.
final class RedisHub: Sendable {
    private enum Place: Sendable {
        case single(RedisNode, RedisSubscriber)
        case cluster(RedisRouter)
    }

    let status: RedisStatus
    private let settings: RedisLinkSettings
    private let eventLoop: any EventLoop
    private let place: Place
    private let ids = RedisIDs()

    init(settings: RedisLinkSettings, group: any EventLoopGroup, registry: MetricRegistry, health: HealthRegistry) {
        self.settings = settings
        eventLoop = group.next()
        status = RedisStatus(registry: registry, health: health, logger: settings.logger)
        if settings.configuration.isCluster {
            place = .cluster(
                RedisRouter(settings: settings, group: group, registry: registry, status: status, ids: ids))
            return
        }
        let address = settings.configuration.addresses[0]
        let node = RedisNode(
            address: address, settings: settings, group: group, observer: status,
            inFlight: registry.gauge(.redisInFlight))
        let subscriber = RedisSubscriber(
            eventLoop: eventLoop, address: address, settings: settings, registry: registry, status: status,
            observer: nil)
        place = .single(node, subscriber)
        status.need([address])
    }

    /// Connects, stays connected until the service ends or is cancelled, and closes.
    func run() async {
        switch place {
        case .single(let node, let subscriber):
            node.start()
            subscriber.start()
            try? await gracefulShutdown()
            status.end()
            await subscriber.stop()
            await node.stop(within: settings.configuration.drainTimeout)
        case .cluster(let router):
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await router.run() }
                try? await gracefulShutdown()
                group.cancelAll()
            }
            status.end()
            await router.stop()
        }
    }

    func call(_ command: RedisCommand, deadline: NIODeadline) async -> RedisConnection.Answer {
        switch place {
        case .single(let node, _): await node.call(command, ids, deadline)
        case .cluster(let router): await router.call(command, deadline: deadline)
        }
    }

    func batch(_ commands: [RedisCommand], deadline: NIODeadline) async -> RedisConnection.Answers {
        switch place {
        case .single(let node, _): await node.batch(commands, ids, deadline)
        case .cluster(let router): await router.batch(commands, deadline: deadline)
        }
    }

    /// For one subscription that is made later.
    func activity() -> RedisActivity { RedisActivity(eventLoop: eventLoop) }

    func subscribe(_ targets: Set<RedisTarget>, _ activity: RedisActivity? = nil) -> RedisSubscription {
        let (messages, continuation) = AsyncStream.makeStream(
            of: RedisMessage.self, bufferingPolicy: .bufferingOldest(RedisLimits.subscriberMessagesMax))
        let listener = RedisListener(
            id: ids.next(), targets: targets, continuation: continuation, activity: activity ?? self.activity())
        continuation.onTermination = { [weak self] _ in self?.unsubscribe(listener.id) }
        switch place {
        case .single(_, let subscriber): subscriber.add(listener)
        case .cluster(let router): router.subscribe(listener)
        }
        return RedisSubscription(messages: messages, activity: listener.activity)
    }

    private func unsubscribe(_ id: UInt64) {
        switch place {
        case .single(_, let subscriber): subscriber.remove(id)
        case .cluster(let router): router.unsubscribe(id)
        }
    }
}
