internal import Synchronization

/// Wakes everybody who watches the log, and gives them one snapshot to share.
package final class TailFeed: Sendable {
    private struct State: Sendable {
        var next = 0
        var waiting: [Int: AsyncStream<Void>.Continuation] = [:]
        var snapshot: (at: ContinuousClock.Instant, segments: [ColumnSegment])?
        var subscription: CommitSubscription?
        var watchers: [String: Int] = [:]
    }

    /// Watchers of one organisation.
    package static let watchersMax = 20
    /// A snapshot younger than this is shared.
    static let freshFor: Duration = .milliseconds(20)
    private let source: any ColumnSource
    private let state = Mutex(State())

    package init(_ store: BlockEventStore) {
        source = store
        let subscription = store.onCommit { [weak self] _ in self?.wake() }
        state.withLock { $0.subscription = subscription }
    }

    private func wake() {
        state.withLock { state in
            for continuation in state.waiting.values { continuation.yield() }
        }
    }

    /// A value arrives whenever something may have been committed since the last one was taken.
    func wakes() -> (stream: AsyncStream<Void>, number: Int) {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let number = state.withLock { state in
            state.next += 1
            state.waiting[state.next] = continuation
            return state.next
        }
        return (stream, number)
    }

    func end(_ number: Int) {
        state.withLock { $0.waiting.removeValue(forKey: number) }?.finish()
    }

    /// What is durable now, or was a moment ago. Blocks its thread.
    func segments() throws -> [ColumnSegment] {
        let now = ContinuousClock.now
        let known = state.withLock { state in
            state.snapshot.flatMap { now - $0.at < Self.freshFor ? $0.segments : nil }
        }
        if let known { return known }
        let segments = try source.segments()
        state.withLock { state in
            // Nobody watches: nothing of the log is held.
            state.snapshot = state.waiting.isEmpty ? nil : (now, segments)
        }
        return segments
    }

    // MARK: who watches

    /// Takes one of the organisation's places; false when all are taken.
    func enter(_ org: String) -> Bool {
        state.withLock { state in
            guard state.watchers[org, default: 0] < Self.watchersMax else { return false }
            state.watchers[org, default: 0] += 1
            return true
        }
    }

    func leave(_ org: String) {
        state.withLock { state in
            let left = state.watchers[org, default: 0] - 1
            state.watchers[org] = left > 0 ? left : nil
            if state.waiting.isEmpty { state.snapshot = nil }
        }
    }

    package func isFull(_ org: String) -> Bool {
        state.withLock { $0.watchers[org, default: 0] >= Self.watchersMax }
    }
}
