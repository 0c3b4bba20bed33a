internal import Synchronization

/// Documents that many watch: each made once, however many ask for it at the same time, and kept for a short while.
///
/// Whoever asks gets one that was begun after the last change known when it asked, and that is no older than
/// `freshFor`. Callers that come while one is made wait for it. What a maker throws all of them hear; a maker that is
/// cancelled leaves it to the next.
package final class ReportCopies<Key: Hashable & Sendable>: Sendable {
    private struct Copy {
        let at: ContinuousClock.Instant
        let revision: UInt64
        let text: String
    }

    private enum Outcome {
        case made(String, revision: UInt64)
        case failed(any Error)
        case abandoned
    }

    private struct Making {
        let revision: UInt64
        var waiting: [CheckedContinuation<Outcome, Never>] = []
    }

    private struct State {
        var copies: [Key: Copy] = [:]
        var making: [Key: Making] = [:]
    }

    private enum Step {
        case known(String)
        case make(revision: UInt64)
        case wait
    }

    private let freshFor: Duration
    /// With more, the oldest leave.
    private let copiesMax: Int
    private let state = Mutex(State())

    package init(freshFor: Duration, copiesMax: Int) { (self.freshFor, self.copiesMax) = (freshFor, copiesMax) }

    /// - Parameters:
    ///   - revision: grows with every change.
    ///   - make: makes a new one; what changes while it does so may be missing in it.
    /// - Throws: what `make` throws.
    package func text(
        _ key: Key, revision: @Sendable () -> UInt64, make: @Sendable () async throws -> String
    ) async throws -> String {
        // Of the moment of the question, so that nobody waits for more than the one that is made now and the next.
        let asked = revision()
        while true {
            switch step(key, asked, revision) {
            case .known(let text): return text
            case .make(let revision): return try await keep(key, revision, make)
            case .wait:
                switch await outcome(key) {
                case .made(let text, let revision) where revision >= asked: return text
                case .failed(let error): throw error
                case .made, .abandoned: try Task.checkCancellation()
                }
            }
        }
    }

    private func step(_ key: Key, _ asked: UInt64, _ revision: () -> UInt64) -> Step {
        state.withLock { state in
            let now = ContinuousClock.now
            if let copy = state.copies[key], copy.revision >= asked, now - copy.at < freshFor {
                return .known(copy.text)
            }
            if state.making[key] != nil { return .wait }
            let revision = revision()
            state.making[key] = Making(revision: revision)
            return .make(revision: revision)
        }
    }
    private func keep(
        _ key: Key, _ revision: UInt64, _ make: @Sendable () async throws -> String
    ) async throws -> String {
        let began = ContinuousClock.now
        do {
            let text = try await make()
            state.withLock { state in
                if state.copies.count >= copiesMax, state.copies[key] == nil,
                    let oldest = state.copies.min(by: { $0.value.at < $1.value.at })?.key
                {
                    state.copies[oldest] = nil
                }
                state.copies[key] = Copy(at: began, revision: revision, text: text)
            }
            end(key, .made(text, revision: revision))
            return text
        } catch {
            end(key, Task.isCancelled || error is CancellationError ? .abandoned : .failed(error))
            throw error
        }
    }

    private func end(_ key: Key, _ outcome: Outcome) {
        let waiting = state.withLock { $0.making.removeValue(forKey: key)?.waiting ?? [] }
        for continuation in waiting { continuation.resume(returning: outcome) }
    }

    /// What becomes of the one that is made; `abandoned` where none is any more.
    private func outcome(_ key: Key) async -> Outcome {
        await withCheckedContinuation { continuation in
            let isWaiting = state.withLock { state in
                state.making[key]?.waiting.append(continuation) != nil
            }
            if !isWaiting { continuation.resume(returning: .abandoned) }
        }
    }
}
