internal import Synchronization

/// Calls of one dependency at the same time, and how many more may wait, in order of arrival.
package final class Bulkhead: Sendable {
    private struct State: Sendable {
        var running = 0
        var next: UInt64 = 0
        var waiting: [(id: UInt64, turn: AsyncStream<Void>.Continuation)] = []
    }

    private let state = Mutex(State())
    private let runningMax: Int
    private let waitingMax: Int
    private let waitMax: Duration

    package init(runningMax: Int, waitingMax: Int, waitMax: Duration) {
        self.runningMax = runningMax
        self.waitingMax = waitingMax
        self.waitMax = waitMax
    }

    /// Takes a place, or answers false when there is none in time. Give it back with `leave`.
    /// - Parameter left: the caller's own time; waiting ends with it.
    package func enter(within left: Duration) async -> Bool {
        let (turns, turn) = AsyncStream.makeStream(of: Void.self)
        let place: (isIn: Bool, id: UInt64?) = state.withLock { state in
            if state.running < runningMax {
                state.running += 1
                return (true, nil)
            }
            guard state.waiting.count < waitingMax else { return (false, nil) }
            state.next += 1
            state.waiting.append((state.next, turn))
            return (false, state.next)
        }
        guard let id = place.id else { return place.isIn }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in turns {} }
            group.addTask { [waitMax] in try? await Task.sleep(for: min(waitMax, left)) }
            await group.next()
            group.cancelAll()
        }
        // Whoever is no longer waiting was handed a place, also when time ran out in the same moment.
        return state.withLock { state in
            guard let index = state.waiting.firstIndex(where: { $0.id == id }) else { return true }
            state.waiting.remove(at: index)
            return false
        }
    }

    package func leave() {
        let turn = state.withLock { state -> AsyncStream<Void>.Continuation? in
            if state.waiting.isEmpty {
                state.running -= 1
                return nil
            }
            return state.waiting.removeFirst().turn
        }
        turn?.finish()
    }

    package var running: Int { state.withLock { $0.running } }
    package var waiting: Int { state.withLock { $0.waiting.count } }
}
