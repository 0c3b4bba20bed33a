internal import AurumCore
internal import Foundation
internal import GRDB
internal import Synchronization

/// Connections that read one SQLite file, each with a thread of its own. Calls wait in order of arrival; whichever
/// thread is free takes the first. A statement that runs too long, or whose caller is gone, is interrupted.
final class SQLiteReaders: @unchecked Sendable {  // `state` is guarded by `condition`
    static let readersMax = 8
    /// Calls that may wait; one more is refused with `busy`.
    static let waitersMax = 2048
    /// How often statements that run are held against their limit.
    private static let watchInterval: Duration = .milliseconds(250)

    /// One read: `run` answers its caller whatever happens, on a connection or with the error of having none.
    private struct Call: Sendable {
        let ticket: WriteTicket
        let limit: Duration
        let run: @Sendable (Result<SQLiteReader, any Error>) -> Void
    }

    private struct State {
        var calls: [Call] = []
        var readers: [SQLiteReader] = []
        var threads = 0
        var idle = 0
        var isClosed = false
    }

    private let path: String
    private let configuration: GRDB.Configuration
    private let condition = NSCondition()
    private var state = State()

    init(path: String, configuration: GRDB.Configuration) {
        self.path = path
        var configuration = configuration
        configuration.readonly = true
        self.configuration = configuration
        OwnThread.start("aurum-sqlite-watch") { [weak self] in
            while self?.watch() == true { OwnThread.pause(Self.watchInterval) }
        }
    }

    var figures: EngineFigures {
        condition.withLock {
            EngineFigures(
                connections: state.readers.count, connectionsMax: Self.readersMax, busy: state.threads - state.idle,
                waiting: state.calls.count)
        }
    }

    /// Runs `body` on a snapshot, on a thread of its own.
    func read<Value: Sendable>(
        limit: Duration, _ body: @Sendable @escaping (GRDB.Database, SQLiteReader) throws -> Value
    ) async throws -> Value {
        let ticket = WriteTicket()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                submit(
                    Call(ticket: ticket, limit: limit) { reader in
                        continuation.resume(
                            with: Result {
                                if ticket.isCancelled { throw CancellationError() }
                                return try reader.get().snapshot(ticket, body)
                            })
                    })
            }
        } onCancel: {
            ticket.cancel()
        }
    }

    private func submit(_ call: Call) {
        let refusal: SQLError? = condition.withLock {
            if state.isClosed { return .closed }
            if state.calls.count >= Self.waitersMax { return .busy }
            state.calls.append(call)
            if state.idle > 0 {
                condition.signal()
            } else if state.threads < Self.readersMax {
                state.threads += 1
                OwnThread.start("aurum-sqlite") { [self] in work() }
            }
            return nil
        }
        if let refusal { call.run(.failure(refusal)) }
    }

    private func work() {
        var open: SQLiteReader?
        while let call = next() {
            do {
                let reader = try open ?? SQLiteReader(path: path, configuration: configuration)
                if open == nil { condition.withLock { state.readers.append(reader) } }
                open = reader
                reader.limit = call.limit
                call.run(.success(reader))
            } catch { call.run(.failure(SQLError.mapped(error))) }
        }
        open?.close()
    }

    /// The next call, waited for; nil when its thread should end.
    private func next() -> Call? {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if !state.calls.isEmpty { return state.calls.removeFirst() }
            if state.isClosed { break }
            state.idle += 1
            condition.wait()
            state.idle -= 1
        }
        state.threads -= 1
        condition.broadcast()
        return nil
    }

    /// Interrupts what runs too long. False when there is nothing left to watch.
    private func watch() -> Bool {
        let (readers, isClosed) = condition.withLock { (state.readers, state.isClosed && state.threads == 0) }
        let now = ContinuousClock.now
        for reader in readers { reader.interrupt(at: now) }
        return !isClosed
    }

    /// Refuses further calls, runs those that wait, and returns when every connection is closed.
    func close() {
        end()
        condition.lock()
        while state.threads > 0 { condition.wait() }
        state.readers = []
        condition.unlock()
    }

    /// The same without waiting.
    func end() {
        condition.withLock {
            state.isClosed = true
            condition.broadcast()
        }
    }
}

/// One connection of `SQLiteReaders`. Only its own thread uses it; any thread may interrupt it.
final class SQLiteReader: @unchecked Sendable {  // `limit` is of its thread alone
    private struct Running {
        /// The call that is served, so that a cancellation that comes late hits nobody else.
        var call = 0
        /// Until when the statement that runs may take; nil between statements.
        var until: ContinuousClock.Instant?
        /// Why it was interrupted.
        var reason: (any Error)?
    }

    /// How long one statement of the present call may take.
    fileprivate var limit: Duration = .seconds(5)
    private let queue: DatabaseQueue
    private let running = Mutex(Running())

    init(path: String, configuration: GRDB.Configuration) throws {
        queue = try DatabaseQueue(path: path, configuration: configuration)
    }

    /// Runs `body` on one snapshot; the cancellation of its task interrupts what it runs.
    fileprivate func snapshot<Value>(
        _ ticket: WriteTicket, _ body: (GRDB.Database, SQLiteReader) throws -> Value
    ) throws -> Value {
        let call = running.withLock { running in
            running = Running(call: running.call + 1)
            return running.call
        }
        ticket.onCancel { [weak self] in self?.stop(call) }
        do {
            return try queue.unsafeRead { connection in
                try connection.cachedStatement(sql: "BEGIN").execute()
                defer { try? connection.cachedStatement(sql: "COMMIT").execute() }
                return try body(connection, self)
            }
        } catch { throw told(error) }
    }

    /// Runs one statement under its limit.
    func statement<Value>(_ body: () throws -> Value) throws -> Value {
        let until = ContinuousClock.now + limit
        let reason = running.withLock { running in
            running.until = until
            return running.reason
        }
        if let reason { throw reason }
        defer { running.withLock { $0.until = nil } }
        do { return try body() } catch { throw told(error) }
    }

    /// The reason of an interruption in place of the engine's word for it.
    private func told(_ error: any Error) -> any Error {
        guard let engine = error as? DatabaseError else { return error }
        let reason = engine.resultCode == .SQLITE_INTERRUPT ? running.withLock { $0.reason } : nil
        return reason ?? SQLError.mapped(engine)
    }

    private func stop(_ call: Int) {
        running.withLock { running in
            guard running.call == call else { return }
            running.reason = CancellationError()
            // Under the lock, so that the statement cannot be another one.
            if running.until != nil { queue.interrupt() }
        }
    }

    /// Interrupts the statement that should have ended by now.
    fileprivate func interrupt(at now: ContinuousClock.Instant) {
        running.withLock { running in
            // An interruption that came before its statement had begun to run is lost, so it is repeated.
            guard let until = running.until, until < now || running.reason != nil else { return }
            running.reason = running.reason ?? SQLError.timeout(.statement)
            queue.interrupt()
        }
    }

    fileprivate func close() { try? queue.close() }
}
