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
        var watching: [UInt64: AsyncStream<Bool>.Continuation] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func activate() { tell(true) { $0.isActive = true } }

    func deactivate() {
        state.withLock { state in
            let wasActive = state.isActive
            state.isActive = false
            if wasActive { for one in state.watching.values { one.yield(false) } }
        }
    }

    func end() {
        deactivate()
        tell(false) { $0.hasEnded = true }
    }

    private func tell(_ answer: Bool, _ change: (inout State) -> Void) {
        let waiting = state.withLock { state in
            let wasActive = state.isActive
            change(&state)
            if state.isActive, !wasActive { for one in state.watching.values { one.yield(true) } }
            defer { state.waiting = [:] }
            return state.waiting.values.map { $0 }
        }
        for one in waiting { one.resume(returning: answer) }
    }

    /// Whether messages come, beginning with now; a slow reader sees the newest only.
    func changes() -> AsyncStream<Bool> {
        let (stream, continuation) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.next += 1
            state.watching[state.next] = continuation
            continuation.yield(state.isActive)
            return state.next
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { $0.watching[id] = nil }
        }
        return stream
    }

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
