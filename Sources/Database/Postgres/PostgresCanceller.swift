internal import CPostgres
internal import Foundation

/// Asks the server to stop statements of cancelled tasks, on a thread of its own: the request opens a connection and
/// waits for it.
final class PostgresCanceller: Sendable {
    /// The right to stop what one connection is doing. A request reaches the call that it was meant for or nobody.
    final class Handle: @unchecked Sendable {  // libpq's cancel object may be used on any thread; the rest by `lock`
        private let cancel: OpaquePointer
        private let lock = NSLock()
        private var call: ObjectIdentifier?
        private var wasAsked = false

        init(_ cancel: OpaquePointer) { self.cancel = cancel }

        deinit { PQfreeCancel(cancel) }

        /// The connection works for `call` from now on.
        func begin(_ call: ObjectIdentifier) {
            lock.withLock { (self.call, wasAsked) = (call, false) }
        }

        /// The call is over. True when the server was asked to stop it: the request may still be under way there, so
        /// one more round trip must take it.
        func end() -> Bool {
            lock.withLock {
                call = nil
                return wasAsked
            }
        }

        func stop(_ wanted: ObjectIdentifier) {
            lock.withLock { if call == wanted { ask() } }
        }

        /// From the connection's own thread.
        func stopNow() { lock.withLock { ask() } }

        private func ask() {
            wasAsked = true
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(cancel, &message, 256)
        }
    }

    private let condition = NSCondition()
    private let requests = Requests()

    private final class Requests: @unchecked Sendable {  // guarded by `condition`
        var waiting: [(Handle, ObjectIdentifier)] = []
        var isClosed = false
    }

    init() {
        let (condition, requests) = (condition, requests)
        OwnThread.start("aurum-pg-cancel") {
            while true {
                condition.lock()
                while requests.waiting.isEmpty, !requests.isClosed { condition.wait() }
                let batch = requests.waiting
                requests.waiting = []
                let isClosed = requests.isClosed
                condition.unlock()
                for (handle, call) in batch { handle.stop(call) }
                if isClosed { return }
            }
        }
    }

    func stop(_ handle: Handle, _ call: ObjectIdentifier) {
        condition.withLock {
            requests.waiting.append((handle, call))
            condition.signal()
        }
    }

    func close() {
        condition.withLock {
            requests.isClosed = true
            condition.signal()
        }
    }
}
