internal import Synchronization

/// Carries the cancellation of a task to the engine that runs its write.
final class WriteTicket: Sendable {
    private struct State: Sendable {
        var isCancelled = false
        var act: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// Calls `act` when the task is cancelled; at once when it was already.
    func onCancel(_ act: @escaping @Sendable () -> Void) {
        let now = state.withLock { state in
            state.act = act
            return state.isCancelled
        }
        if now { act() }
    }

    func cancel() {
        let act = state.withLock { state in
            state.isCancelled = true
            return state.act
        }
        act?()
    }
}
