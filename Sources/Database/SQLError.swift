internal import GRDB

/// What can go wrong with a statement or a transaction. The engine's own words stay in the log.
package enum SQLError: Error, Equatable, Sendable {
    /// Nobody answers: the file cannot be opened, the server is away.
    case unavailable
    case timeout(Timeout)
    /// Too much waits already, or another process holds the file.
    case busy
    /// Writes that ran at the same time kept getting in each other's way.
    case serialization
    /// The connection ended during COMMIT and nobody can say what became of it. The token names the transaction.
    case commitUnknown(token: String)
    /// A UNIQUE, CHECK, NOT NULL or FOREIGN KEY rule said no; the engine's name of it, without values.
    case constraint(String)
    case staleFence
    case nestedTransaction
    case diskFull
    case readOnly
    case corrupt
    /// A migration file and the database disagree.
    case schema(String)
    case closed
    /// A mistake in a statement of ours.
    case statement(String)

    /// What took too long.
    package enum Timeout: String, Sendable, Equatable {
        /// Waiting for a connection.
        case acquire
        case statement
        /// Waiting for a row that another transaction holds.
        case lock
        /// A closure that did nothing with its transaction.
        case idle
        case transaction
    }

    /// Whether the same call may succeed a moment later: answered as 503, never as a fault of ours.
    package var isTemporary: Bool {
        switch self {
        case .unavailable, .timeout, .busy, .serialization, .commitUnknown, .diskFull, .readOnly, .closed: true
        case .constraint, .staleFence, .nestedTransaction, .corrupt, .schema, .statement: false
        }
    }
}

extension SQLError {
    /// The closed error for whatever the engine threw; errors of ours and of callers pass unchanged.
    static func mapped(_ error: any Error) -> any Error {
        guard let engine = error as? DatabaseError else { return error }
        return switch engine.resultCode {
        case .SQLITE_CONSTRAINT: SQLError.constraint(engine.message ?? "constraint")
        case .SQLITE_BUSY, .SQLITE_LOCKED: SQLError.busy
        case .SQLITE_FULL: SQLError.diskFull
        case .SQLITE_READONLY: SQLError.readOnly
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: SQLError.corrupt
        case .SQLITE_IOERR, .SQLITE_CANTOPEN: SQLError.unavailable
        default: SQLError.statement(engine.message ?? "statement failed")
        }
    }
}
