internal import Synchronization

/// A condition as it changes: what it is now, then what it is whenever it may have changed. A reader sees the newest
/// only, perhaps twice: what was so for a moment may pass it by. Iterate once.
package struct ConditionChanges: AsyncSequence, Sendable {
    package typealias Element = Bool
    package typealias Failure = Never

    let signal: AsyncStream<Void>
    let condition: @Sendable () -> Bool

    /// A condition that never changes.
    static func always(_ value: Bool) -> ConditionChanges {
        let (signal, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        continuation.yield()
        continuation.finish()
        return ConditionChanges(signal: signal) { value }
    }

    package func makeAsyncIterator() -> Iterator {
        Iterator(signal: signal.makeAsyncIterator(), condition: condition)
    }

    package struct Iterator: AsyncIteratorProtocol {
        var signal: AsyncStream<Void>.Iterator
        let condition: @Sendable () -> Bool

        package mutating func next() async -> Bool? { await next(isolation: #isolation) }

        package mutating func next(isolation actor: isolated (any Actor)?) async -> Bool? {
            await signal.next(isolation: actor) == nil ? nil : condition()
        }
    }
}

/// Who watches a condition.
///
/// Watchers are only told that it may have changed, and outside of every lock: to resume a task takes a lock of that
/// task, and who cancels it holds the same lock while `onTermination` runs, which wants ours.
package final class ConditionWatch: Sendable {
    private struct State: Sendable {
        var watching: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var next: UInt64 = 0
        var hasEnded = false
    }

    private let state = Mutex(State())

    package init() {}

    /// - Parameter condition: takes its own lock; changed before `tell`.
    package func changes(_ condition: @escaping @Sendable () -> Bool) -> ConditionChanges {
        let (signal, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        continuation.yield()
        let id: UInt64? = state.withLock { state in
            guard !state.hasEnded else { return nil }
            state.next += 1
            state.watching[state.next] = continuation
            return state.next
        }
        if let id {
            continuation.onTermination = { [weak self] _ in self?.leave(id) }
        } else {
            continuation.finish()
        }
        return ConditionChanges(signal: signal, condition: condition)
    }

    private func leave(_ id: UInt64) { state.withLock { _ = $0.watching.removeValue(forKey: id) } }

    /// Not to be called under a lock.
    package func tell() {
        for one in state.withLock({ Array($0.watching.values) }) { one.yield() }
    }

    /// Nobody has to be told of anything more. Not to be called under a lock.
    package func end() {
        let all = state.withLock { state in
            defer { state.watching = [:] }
            state.hasEnded = true
            return Array(state.watching.values)
        }
        for one in all { one.finish() }
    }
}
