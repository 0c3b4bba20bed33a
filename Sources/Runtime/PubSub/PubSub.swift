/// Delivery is at most once: what is published while a subscriber is away, or too slow, is gone, and it is told so by a
/// `gap`. Whoever needs every message reads the event log's tail instead.
package protocol PubSub: Sendable {
    /// Hands a message to everybody who subscribes now, on every node.
    /// - Throws: `payloadTooLarge`; nothing was published.
    func publish(_ payload: [UInt8], to channel: String) async throws(PubSubError)

    /// Whether messages of other nodes come, beginning with now; a slow reader sees the newest only. True where there
    /// are no other nodes.
    func hearing() -> ConditionChanges

    /// Begins at once: messages published after this call are in the stream. A message that fits several of the
    /// subscriptions comes once for each, labelled with it. Order is kept for each publisher and channel.
    func subscribe(_ subscriptions: [PubSubSubscription], whenFull: PubSubOverflow) -> PubSubMessages
}

extension PubSub {
    package func subscribe(_ subscriptions: [PubSubSubscription]) -> PubSubMessages {
        subscribe(subscriptions, whenFull: .dropOldest)
    }
}

package enum PubSubError: Error, Sendable, Equatable {
    /// More than `PubSubLimits.payloadBytesMax`.
    case payloadTooLarge(bytes: Int)
}

package enum PubSubLimits {
    package static let payloadBytesMax = 256 << 10
    /// Messages that wait for one subscriber.
    package static let bufferMax = 1024
}

package enum PubSubSubscription: Hashable, Sendable {
    case channel(String)
    /// `*`, `?`, `[a-c]`, `[^a]`, and `\` before a character that means itself: as Redis reads them.
    case pattern(String)
}

/// What a subscriber who does not read gets.
package enum PubSubOverflow: Sendable { case dropOldest, disconnect }

package enum PubSubGap: Sendable, Equatable {
    /// The connection was lost and made again, or made for the first time after the subscription.
    case reconnected
    /// So many messages did not fit.
    case overflow(Int)
}

package enum PubSubMessage: Sendable, Equatable {
    case message(channel: String, subscription: PubSubSubscription, payload: [UInt8])
    /// Messages may be missing here.
    case gap(PubSubGap)
}
