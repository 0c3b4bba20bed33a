internal import GRDB
internal import Synchronization

/// Holds the writes of one SQLite connection to their limits: a statement, the silence between two, and all of it.
/// Only the writer's own thread uses it; its watching thread may interrupt what runs.
final class SQLiteWriteWatch: Sendable {
    /// Longest silence between two statements of a write: others wait behind it.
    static let silenceMax: Duration = .seconds(10)
    /// How often a statement that runs is held against its limit.
    private static let watchInterval: Duration = .milliseconds(250)

    private struct State: Sendable {
        var limit = StatementLimit.standard
        /// Until when the write that runs may take.
        var deadline = ContinuousClock.now
        /// When its last statement ended, or it began.
        var quietSince = ContinuousClock.now
        /// Until when the statement that runs may take; nil between statements.
        var until: ContinuousClock.Instant?
        /// What is over when `until` is.
        var reason = SQLError.Timeout.statement
        var isInterrupted = false
        var isClosed = false
    }

    private let writer: DatabasePool
    private let state = Mutex(State())

    init(_ writer: DatabasePool) {
        self.writer = writer
        OwnThread.start("aurum-sqlite-writes") { [weak self] in
            while self?.watch() == true { OwnThread.pause(Self.watchInterval) }
        }
    }

    /// A write begins.
    func begin(_ limit: StatementLimit) {
        let now = ContinuousClock.now
        state.withLock { state in
            state.limit = limit
            state.deadline = now + limit.transaction
            state.quietSince = now
            state.isInterrupted = false
        }
    }

    /// Whether the last statement of the present write was stopped.
    var isInterrupted: Bool { state.withLock { $0.isInterrupted } }

    /// Runs one statement under what is left of its time.
    /// - Throws: `SQLError.timeout`; after `statement` or `transaction` of a change SQLite has undone the whole
    ///   transaction, other writes of it included.
    func statement<Value>(_ body: () throws -> Value) throws -> Value {
        let now = ContinuousClock.now
        try state.withLock { state in
            try Self.checkTime(state, now)
            let end = now + state.limit.duration
            (state.until, state.reason) = end < state.deadline ? (end, .statement) : (state.deadline, .transaction)
            state.isInterrupted = false
        }
        defer {
            let now = ContinuousClock.now
            state.withLock { state in
                state.until = nil
                state.quietSince = now
            }
        }
        do { return try body() } catch { throw told(error) }
    }

    /// The closure has returned.
    /// - Throws: `SQLError.timeout` when it took too long between its statements.
    func check() throws { try state.withLock { try Self.checkTime($0, .now) } }

    private static func checkTime(_ state: State, _ now: ContinuousClock.Instant) throws {
        if now - state.quietSince > Self.silenceMax { throw SQLError.timeout(.idle) }
        if now > state.deadline { throw SQLError.timeout(.transaction) }
    }

    /// The reason of an interruption in place of the engine's word for it.
    private func told(_ error: any Error) -> any Error {
        guard let engine = error as? DatabaseError, engine.resultCode == .SQLITE_INTERRUPT else {
            return SQLError.mapped(error)
        }
        let reason = state.withLock { $0.isInterrupted ? $0.reason : nil }
        return reason.map { SQLError.timeout($0) } ?? SQLError.mapped(engine)
    }

    /// Interrupts the statement that should have ended by now. False when there is nothing left to watch.
    private func watch() -> Bool {
        let now = ContinuousClock.now
        return state.withLock { state in
            if let until = state.until, until < now {
                state.isInterrupted = true
                // Under the lock, so that the statement cannot be another one. One that comes before its statement
                // has begun to run is lost, so it is repeated.
                writer.interrupt()
            }
            return !state.isClosed
        }
    }

    func close() { state.withLock { $0.isClosed = true } }
}
