internal import Synchronization

/// Tasks of this process that wait for a lock to become free.
final class ReleaseWaiters: Sendable {
    private struct State: Sendable {
        var next: UInt64 = 0
        var waiting: [LockKey: [UInt64: AsyncStream<Void>.Continuation]] = [:]
    }

    private let state = Mutex(State())

    func wake(_ key: LockKey) {
        for waiter in state.withLock({ Array(($0.waiting[key] ?? [:]).values) }) { waiter.finish() }
    }

    func wakeAll() {
        for waiter in state.withLock({ $0.waiting.values.flatMap(\.values) }) { waiter.finish() }
    }

    /// Returns when the key was woken since the call, or after `limit`. `isFree` is asked once the caller would hear.
    func wait(_ key: LockKey, atMost limit: Duration, isFree: () -> Bool = { false }) async {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        let id = state.withLock { state in
            state.next += 1
            state.waiting[key, default: [:]][state.next] = continuation
            return state.next
        }
        defer {
            state.withLock { state in
                state.waiting[key]?[id] = nil
                if state.waiting[key]?.isEmpty == true { state.waiting[key] = nil }
            }
        }
        if isFree() { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in stream {} }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }
}
