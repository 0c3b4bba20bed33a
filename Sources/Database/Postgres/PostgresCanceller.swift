internal import AurumCore
internal import CPostgres
internal import Foundation
internal import Synchronization

/// Asks the server to stop what one connection is doing. A request reaches the call that it was meant for or nobody.
///
/// libpq waits for the server's word on a request without any limit. A server, or a network, that took the request and
/// says nothing would hold the asking thread for ever, so each request has a thread of its own, and nobody waits for
/// it longer than `limit`.
final class PostgresCanceller: @unchecked Sendable {  // libpq's cancel object may be used on any thread; rest by `lock`
    /// What became of the requests of one call.
    enum Asked: Equatable {
        case never
        /// The server has heard of it; what it does may still be under way, so one more round trip must take it.
        case heard
        /// Nobody knows whether it will still arrive: the connection is of no further use.
        case unanswered
    }

    /// How long a request may take.
    static let limit: Duration = .seconds(2)
    /// Requests of the process that nobody answered yet: beyond, a connection is given up without one.
    static let underWayMax = 64

    private final class Request: @unchecked Sendable {  // guarded by `condition`
        private let condition = NSCondition()
        private let until = Date(timeIntervalSinceNow: PostgresCanceller.limit.seconds)
        private var isDone = false

        var isOver: Bool { condition.withLock { isDone } }

        func finish() {
            condition.withLock {
                isDone = true
                condition.broadcast()
            }
        }

        /// Whether it is over by its limit.
        func wait() -> Bool {
            condition.withLock {
                while !isDone { guard condition.wait(until: until) else { return isDone } }
                return true
            }
        }
    }

    private static let underWay = Atomic<Int>(0)

    private let cancel: OpaquePointer
    private let lock = NSLock()
    private var call: ObjectIdentifier?
    private var asked = Asked.never
    private var request: Request?

    init(_ cancel: OpaquePointer) { self.cancel = cancel }

    deinit { PQfreeCancel(cancel) }

    /// The connection works for `call` from now on.
    func begin(_ call: ObjectIdentifier) {
        lock.withLock { (self.call, asked, request) = (call, .never, nil) }
    }

    /// The call is over. Waits for a request that is under way, at most for what is left of its limit.
    func end() -> Asked {
        let (asked, request) = lock.withLock {
            call = nil
            return (self.asked, self.request)
        }
        guard asked == .heard, let request else { return asked }
        return request.wait() ? .heard : .unanswered
    }

    /// Stops `wanted`, if the connection still works for it. Returns at once.
    func stop(_ wanted: ObjectIdentifier) {
        lock.withLock { if call == wanted { ask() } }
    }

    /// The same for whatever the connection does, from its own thread.
    func stopNow() { lock.withLock { ask() } }

    /// Only under `lock`.
    private func ask() {
        if asked == .unanswered { return }
        // One that is under way does for both.
        if let request, !request.isOver { return }
        guard Self.underWay.add(1, ordering: .relaxed).newValue <= Self.underWayMax else {
            Self.underWay.subtract(1, ordering: .relaxed)
            asked = .unanswered
            return
        }
        let request = Request()
        (self.request, asked) = (request, .heard)
        OwnThread.start("aurum-pg-cancel") { [self] in
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(cancel, &message, 256)
            Self.underWay.subtract(1, ordering: .relaxed)
            request.finish()
        }
    }
}
