internal import GRDB

/// What can go wrong with a statement or a transaction. The engine's own words stay in the log.
package enum SQLError: Error, Equatable, Sendable {
    case unavailable
    case busy
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
