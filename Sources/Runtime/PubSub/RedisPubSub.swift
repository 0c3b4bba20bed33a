package import AurumCore
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// Subscribers of all nodes that use one Redis. What is published here reaches subscribers of this node at once,
/// whether Redis answers or not, and those of the others through it; they are told of a gap when their connection was
/// lost, or came up after they had subscribed. Every node hears every channel below `aurum:`.
package final class RedisPubSub: PubSub, Service {
    /// Channels begin with it, so that one subscription carries them all.
    package static let prefix = "aurum:"
    static let timeout: Duration = .seconds(1)

    private let client: RedisClient
    private let local: MemoryPubSub
    /// Before every payload: messages of our own that come back are known by it.
    private let node: [UInt8]
    /// Whether messages of other nodes came, or could come, since the start.
    private let isJoined = Mutex(false)
    private let activity: RedisActivity
    private static let joinPoll: Duration = .milliseconds(200)

    package init(client: RedisClient, clock: any WallClock, registry: MetricRegistry) {
        self.client = client
        activity = client.activity()
        local = MemoryPubSub(registry: registry)
        node = UID(now: clock.now).bytes
    }

    /// Takes what other nodes publish, until the service ends.
    package func run() async throws {
        let messages = client.subscribe(pattern: Self.prefix + "*", showing: activity)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.join(messages) }
            for await message in messages.cancelOnGracefulShutdown() {
                joined()
                switch message {
                case .message(let channel, _, let payload):
                    guard payload.count >= node.count, !payload.starts(with: node) else { continue }
                    local.deliver(Array(payload[node.count...]), channel)
                case .gap: local.mark(.reconnected)
                }
            }
            group.cancelAll()
        }
    }

    /// Waits until the server has confirmed the subscription for the first time.
    private func join(_ messages: RedisSubscription) async {
        while !Task.isCancelled {
            if await messages.waitUntilActive(within: Self.joinPoll) { return joined() }
            try? await Task.sleep(for: Self.joinPoll)
        }
    }

    /// Who subscribed before that may have missed messages of other nodes.
    private func joined() {
        isJoined.withLock { isJoined in
            if !isJoined { local.mark(.reconnected) }
            isJoined = true
        }
    }

    package func hearing() -> ConditionChanges { activity.changes() }

    package func publish(_ payload: [UInt8], to channel: String) async throws(PubSubError) {
        precondition(channel.hasPrefix(Self.prefix), "\(channel) would not reach other nodes")
        try local.publish(payload, to: channel)
        // At most once: what could not be sent is lost for the others, whose connection tells them. Nobody waits for
        // the deadline of a server that is known to be away.
        guard client.isAvailable else { return }
        _ = try? await client.call(RedisCommand("PUBLISH", channel, node + payload), within: Self.timeout)
    }

    package func subscribe(_ subscriptions: [PubSubSubscription], whenFull: PubSubOverflow) -> PubSubMessages {
        local.subscribe(subscriptions, whenFull: whenFull)
    }
}
