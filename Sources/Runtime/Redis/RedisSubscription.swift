internal import NIOCore
internal import Synchronization

/// What a subscriber is told.
package enum RedisMessage: Sendable, Equatable {
    /// - Parameter pattern: the pattern that matched; nil for a channel that was named.
    case message(channel: String, pattern: String?, payload: [UInt8])
    /// Messages may be missing between the last one and the next one; the subscription is live again.
    case gap(RedisGap)
}

package enum RedisGap: String, Sendable, Equatable, CaseIterable {
    /// The connection was lost and made again.
    case reconnected
    /// The subscriber did not take its messages: more than `RedisLimits.subscriberMessagesMax` waited.
    case overflow
    /// The channel, or the node that was listened to, moved within the cluster.
    case moved
}

/// The messages of some channels and patterns, in the order in which the server sent them. It subscribes again by
/// itself whenever the connection was lost; what was published meanwhile is lost, and said so by `.gap`. Iterate once;
/// ending the iteration or dropping the value unsubscribes. It ends when the client stops.
package struct RedisSubscription: AsyncSequence, Sendable {
    package typealias Element = RedisMessage
    package typealias Failure = Never

    let messages: AsyncStream<RedisMessage>
    let activity: RedisActivity

    package func makeAsyncIterator() -> AsyncStream<RedisMessage>.AsyncIterator { messages.makeAsyncIterator() }

    /// Waits until the server has confirmed the subscription, so that a message published now will come.
    /// - Returns: false when that takes longer than `limit`, or when the client was stopped.
    package func waitUntilActive(within limit: Duration) async -> Bool { await activity.wait(within: limit) }
}

/// A switch that is on while messages come, and whoever waits for it.
final class RedisActivity: Sendable {
    private struct State: Sendable {
        var isActive = false
        var hasEnded = false
        var waiting: [UInt64: UnsafeContinuation<Bool, Never>] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())
    private let watch = ConditionWatch()
    private let eventLoop: any EventLoop

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    // These three resume tasks: none of them may be called under a lock that a cancellation takes.

    func activate() { change(answer: true) { $0.isActive = !$0.hasEnded } }

    func deactivate() { change(answer: nil) { $0.isActive = false } }

    func end() { change(answer: false) { ($0.isActive, $0.hasEnded) = (false, true) } }

    /// - Parameter answer: to whoever waits; nil when they go on waiting.
    private func change(answer: Bool?, _ change: (inout State) -> Void) {
        let (isNews, hasEnded, waiting) = state.withLock { state -> (Bool, Bool, [UnsafeContinuation<Bool, Never>]) in
            let wasActive = state.isActive
            change(&state)
            guard answer != nil else { return (wasActive != state.isActive, state.hasEnded, []) }
            defer { state.waiting = [:] }
            return (wasActive != state.isActive, state.hasEnded, Array(state.waiting.values))
        }
        if isNews { watch.tell() }
        for one in waiting { one.resume(returning: answer == true && !hasEnded) }
    }

    /// Whether messages come, beginning with now; a slow reader sees the newest only.
    func changes() -> ConditionChanges { watch.changes { [self] in state.withLock { $0.isActive } } }

    func wait(within limit: Duration) async -> Bool {
        await withUnsafeContinuation { continuation in
            let id: UInt64? = state.withLock { state in
                if state.isActive || state.hasEnded { return nil }
                state.next += 1
                state.waiting[state.next] = continuation
                return state.next
            }
            guard let id else { return continuation.resume(returning: state.withLock { $0.isActive }) }
            eventLoop.scheduleTask(in: TimeAmount(limit)) {
                self.state.withLock { $0.waiting.removeValue(forKey: id) }?.resume(returning: false)
            }
        }
    }
}
