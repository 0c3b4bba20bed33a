internal import Synchronization

/// Lets one run over the log work at a time, in order of arrival: each may take a gigabyte.
package final class LogRunGate: Sendable {
    private struct Waiting {
        var number: Int
        var continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var isTaken = false
        var next = 0
        var waiting: [Waiting] = []
        /// Given up before they waited.
        var givenUp: Set<Int> = []
    }

    /// Tasks that may wait; one more is told to come back, for who waits holds a worker of the job queue.
    package static let waitingMax = 2

    private let state = Mutex(State())

    package init() {}

    /// Tasks that wait.
    package var waiting: Int { state.withLock { $0.waiting.count } }

    /// Waits until nobody else is inside.
    /// - Throws: `cancelled` when the task was given up, `busy` when enough others wait; then there is nothing to give
    ///   back.
    package func take() async throws(LogAttributionError) {
        let number = state.withLock { state -> Int? in
            if state.isTaken, state.waiting.count >= Self.waitingMax { return nil }
            state.next += 1
            return state.next
        }
        guard let number else { throw .busy }
        let isMine = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
                let answer = state.withLock { state -> Bool? in
                    if state.givenUp.contains(number) { return false }
                    if !state.isTaken {
                        state.isTaken = true
                        return true
                    }
                    state.waiting.append(Waiting(number: number, continuation: continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiting = state.withLock { state -> Waiting? in
                guard let place = state.waiting.firstIndex(where: { $0.number == number }) else {
                    state.givenUp.insert(number)
                    return nil
                }
                return state.waiting.remove(at: place)
            }
            waiting?.continuation.resume(returning: false)
        }
        state.withLock { _ = $0.givenUp.remove(number) }
        guard isMine else { throw .cancelled }
    }

    package func give() {
        let next = state.withLock { state -> Waiting? in
            if state.waiting.isEmpty {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.continuation.resume(returning: true)
    }
}
