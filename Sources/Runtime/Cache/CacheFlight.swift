internal import Synchronization

/// The making itself, which has to end.
enum CacheFactory {
    /// - Throws: what the factory throws, or `CacheError.timedOut` after `CacheLimits.factoryMax`.
    static func run(_ factory: @escaping @Sendable () async throws -> [UInt8]?) async throws -> [UInt8]? {
        try await withThrowingTaskGroup(of: [UInt8]??.self) { group in
            group.addTask { .some(try await factory()) }
            group.addTask {
                guard (try? await Task.sleep(for: CacheLimits.factoryMax)) != nil else { return nil }
                throw CacheError.timedOut
            }
            defer { group.cancelAll() }
            while let value = try await group.next() { if let value { return value } }
            throw CancellationError()
        }
    }
}

/// One making of a value, and everybody who waits for it.
package final class CacheFlight: Sendable {
    private struct State: Sendable {
        var result: Result<Cached, any Error>?
        var next: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Result<Cached, any Error>, Never>] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    func finish(_ result: Result<Cached, any Error>) {
        let waiters = state.withLock { state in
            state.result = result
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: result) }
    }

    /// Waits for the end. A caller that is cancelled leaves; the flight goes on.
    func wait() async throws -> Cached {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        let result: Result<Cached, any Error> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Result<Cached, any Error>? = state.withLock { state in
                    if let result = state.result { return result }
                    if Task.isCancelled { return .failure(CacheError.cancelled) }
                    state.waiters[id] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: .failure(CacheError.cancelled))
        }
        return try result.get()
    }
}
