/// Which words of SQL a database understands.
package enum Dialect: String, Sendable, CaseIterable { case sqlite, postgres }

/// What a write may see of others that run at the same time. SQLite runs writes one after another, so that there both
/// mean the same.
package enum Isolation: Sendable {
    /// As if writes ran one after another; run again when that was not so.
    case serializable
    /// Each statement sees what is committed when it begins. For writes of which every statement decides by itself.
    case readCommitted
}

/// How long one statement may take.
package enum StatementLimit: Sendable {
    case standard
    /// Reports, and reads of a whole table when the server starts.
    case report
    /// The whole of the tables, page by page.
    case backup

    package var duration: Duration {
        switch self {
        case .standard: .seconds(5)
        case .report: .seconds(30)
        case .backup: .seconds(6 * 3600)
        }
    }

    /// How long all statements of one call may take together, with what lies between them.
    package var transaction: Duration { max(duration, .seconds(10)) }
}

/// What is asked of an engine beside the closure.
struct SQLRequest: Sendable {
    let name: StaticString
    var isolation = Isolation.serializable
    var limit = StatementLimit.standard
    /// Counts what the call does; nil for what is not counted.
    var track: CallTrack?
}

/// One engine that keeps the tables of record. A closure runs on a thread of the engine's own and may run again; its
/// transaction is no longer open when the answer is known.
protocol SQLEngine: Sendable {
    var dialect: Dialect { get }

    /// Runs `body` on one snapshot and answers what it returned.
    func read<Value: Sendable>(
        _ request: SQLRequest, _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value

    /// Runs `body` in a transaction. `finish` is called once, on any thread, after the commit is durable or with the
    /// error; `emitted` tells whether outbox rows were written.
    func write(
        _ request: SQLRequest, ticket: WriteTicket, _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @Sendable @escaping (_ error: (any Error)?, _ emitted: Bool) -> Void)

    /// Figures for health: connections, waiting calls.
    var figures: EngineFigures { get }

    /// Speaks with other processes on the same database; nil where there are none.
    var bell: PostgresBell? { get }

    /// Refuses further calls, waits for writes under way, and closes.
    func close() throws
}

/// How busy an engine is.
package struct EngineFigures: Sendable, Equatable {
    /// Connections that exist, and how many there may be.
    package var connections = 0
    package var connectionsMax = 0
    /// Connections at work.
    package var busy = 0
    /// Calls that wait.
    package var waiting = 0
    /// Calls that waited too long for a connection.
    package var acquireTimeouts = 0
    /// Nothing is written any more: the disk did not take a commit.
    package var isReadOnly = false
    /// Size of the write-ahead log; nil where the engine has none of its own.
    package var walBytes: Int?
    /// Whether announcements of other processes are heard; without, everybody looks by himself now and then. Nil where
    /// nobody listens or there are no others.
    package var isListening: Bool?
}

/// The statements of one open transaction, spoken to one connection.
protocol SQLSession: AnyObject {
    var dialect: Dialect { get }

    /// Runs a statement and answers how many rows it changed.
    func run(_ statement: SQLStatement) throws -> Int

    /// Runs a statement and shows its rows in order until `visit` answers false.
    func query(_ statement: SQLStatement, _ visit: (Row) throws -> Bool) throws
}
