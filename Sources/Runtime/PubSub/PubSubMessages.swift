internal import Synchronization

/// The messages of one subscriber, for one reader. It unsubscribes when it is dropped or its task is cancelled.
package struct PubSubMessages: AsyncSequence, Sendable {
    package typealias Element = PubSubMessage
    package typealias Failure = Never

    /// Held by the sequence and its iterator; the publisher knows it weakly.
    let inbox: PubSubInbox

    package func makeAsyncIterator() -> Iterator { Iterator(inbox: inbox) }

    package struct Iterator: AsyncIteratorProtocol {
        let inbox: PubSubInbox

        package mutating func next() async -> PubSubMessage? { await inbox.next() }

        package mutating func next(isolation actor: isolated (any Actor)?) async -> PubSubMessage? {
            await inbox.next()
        }
    }
}

/// What waits for a subscriber. Putting something in never waits.
final class PubSubInbox: Sendable {
    private struct State: Sendable {
        var waiting: [PubSubMessage] = []
        /// Where the unread begin.
        var first = 0
        var dropped = 0
        var isOver = false
        var reader: CheckedContinuation<PubSubMessage?, Never>?

        var unread: Int { waiting.count - first }

        /// What was dropped lay before what waits.
        mutating func take() -> PubSubMessage? {
            if dropped > 0 {
                defer { dropped = 0 }
                return .gap(.overflow(dropped))
            }
            guard first < waiting.count else { return nil }
            let message = waiting[first]
            first += 1
            if first == waiting.count {
                waiting.removeAll(keepingCapacity: true)
                first = 0
            } else if first > PubSubLimits.bufferMax {
                waiting.removeFirst(first)
                first = 0
            }
            return message
        }
    }

    private let state = Mutex(State())
    private let whenFull: PubSubOverflow
    private let onGap: @Sendable (PubSubGap) -> Void

    init(whenFull: PubSubOverflow, onGap: @escaping @Sendable (PubSubGap) -> Void) {
        self.whenFull = whenFull
        self.onGap = onGap
    }

    /// False when the subscriber is over.
    func put(_ message: PubSubMessage) -> Bool {
        var overflow = false
        let (alive, reader): (Bool, (CheckedContinuation<PubSubMessage?, Never>, PubSubMessage?)?) = state.withLock {
            state in
            if state.isOver { return (false, nil) }
            if state.unread >= PubSubLimits.bufferMax {
                overflow = true
                if whenFull == .disconnect {
                    state.isOver = true
                    return (false, nil)
                }
                state.first += 1
                state.dropped += 1
                if state.first > PubSubLimits.bufferMax {
                    state.waiting.removeFirst(state.first)
                    state.first = 0
                }
            }
            state.waiting.append(message)
            guard let reader = state.reader else { return (true, nil) }
            state.reader = nil
            return (true, (reader, state.take()))
        }
        if overflow { onGap(.overflow(1)) }
        if let (reader, message) = reader { reader.resume(returning: message) }
        return alive
    }

    /// Notes a gap between what came and what will come.
    func mark(_ gap: PubSubGap) {
        let reader = state.withLock { state -> CheckedContinuation<PubSubMessage?, Never>? in
            if state.isOver { return nil }
            guard let reader = state.reader else {
                state.waiting.append(.gap(gap))
                return nil
            }
            state.reader = nil
            return reader
        }
        onGap(gap)
        reader?.resume(returning: .gap(gap))
    }

    func end() {
        let reader = state.withLock { state in
            state.isOver = true
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: nil)
    }

    func next() async -> PubSubMessage? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: PubSubMessage?? = state.withLock { state in
                    if let message = state.take() { return .some(message) }
                    if state.isOver || Task.isCancelled { return .some(nil) }
                    state.reader = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            end()
        }
    }
}
