package import AurumCore

/// The statements of one `read` or `write`. It ends with its closure: using it later throws `closed`.
package final class Transaction {
    private let session: any SQLSession
    private let clock: any WallClock
    private let track: CallTrack?
    private var isOpen = true
    private var failure: (any Error)?
    /// True once an outbox row was written, so that the relay is woken after the commit.
    private(set) var emitted = false
    /// What `afterCommit` was given.
    private(set) var commitActions: [@Sendable () -> Void] = []

    init(_ session: any SQLSession, clock: any WallClock, track: CallTrack? = nil) {
        self.session = session
        self.clock = clock
        self.track = track
        track?.begin()
    }

    func end() {
        isOpen = false
        track?.end()
    }

    /// Throws the error of a statement that failed, whatever the closure made of it.
    func check() throws { if let failure { throw failure } }

    /// The time of the product, for `created_at` columns.
    package var now: Timestamp { clock.now }

    package var dialect: Dialect { session.dialect }

    /// Runs a statement and answers how many rows it changed.
    @discardableResult
    package func run(_ sql: SQLStatement) throws -> Int {
        try engine(sql) { rows in
            rows = try session.run(sql)
            return rows
        }
    }

    /// The first row of an answer, or nil when there is none.
    package func one<Value: RowDecodable>(_ type: Value.Type, _ sql: SQLStatement) throws -> Value? {
        var value: Value?
        try visit(sql) { row in
            value = try Value(row: row)
            return false
        }
        return value
    }

    /// All rows of an answer, in its order.
    package func all<Value: RowDecodable>(_ type: Value.Type, _ sql: SQLStatement) throws -> [Value] {
        var values: [Value] = []
        try visit(sql) { row in
            values.append(try Value(row: row))
            return true
        }
        return values
    }

    /// The first column of the first row; nil when there is no row or it is NULL.
    package func value<Value: SQLBindable>(_ type: Value.Type, _ sql: SQLStatement) throws -> Value? {
        var value: Value?
        try visit(sql) { row in
            value = try row.first(as: type)
            return false
        }
        return value
    }

    /// The first column of every row, NULLs left out.
    package func values<Value: SQLBindable>(_ type: Value.Type, _ sql: SQLStatement) throws -> [Value] {
        var values: [Value] = []
        try visit(sql) { row in
            if let value = try row.first(as: type) { values.append(value) }
            return true
        }
        return values
    }

    /// Shows the values of some columns of every row of an answer.
    func rows(_ sql: SQLStatement, columns: [String], _ show: ([SQLValue]) throws -> Void) throws {
        try visit(sql) { row in
            try show(try columns.map { try row.stored($0) })
            return true
        }
    }

    /// Writes an event that reaches the log exactly once if, and only if, this transaction commits.
    package func emit(_ event: OutboxEvent) throws {
        try run(
            """
            INSERT INTO outbox (id, org, key, name, trace_id, at, props, created_at)
            VALUES (\(event.id), \(event.org), \(event.key), \(event.name), \(event.traceID), \(event.at),
                    \(event.props), \(now))
            """)
        emitted = true
        track?.trace(event.traceID)
    }

    /// Runs `action` once this transaction is durable, never when it is undone: to wake those who wait for its rows.
    /// It must neither block nor fail; a crash may lose it.
    package func afterCommit(_ action: @escaping @Sendable () -> Void) { commitActions.append(action) }

    /// A row that does not decode is the caller's to judge; a statement that fails undoes the transaction.
    private func visit(_ sql: SQLStatement, _ visit: (Row) throws -> Bool) throws {
        var own: (any Error)?
        try engine(sql) { rows in
            try session.query(sql) { row in
                rows += 1
                do { return try visit(row) } catch {
                    own = error
                    return false
                }
            }
        }
        if let own { throw own }
    }

    /// The one place where statements of every engine pass.
    private func engine<Value>(_ sql: SQLStatement, _ work: (inout Int) throws -> Value) throws -> Value {
        guard isOpen else { throw SQLError.closed }
        if let failure { throw failure }
        var rows = 0
        let began = ContinuousClock.now
        defer { track?.ran(sql.resolved(for: session.dialect), rows: rows, from: began) }
        do { return try work(&rows) } catch {
            failure = error
            throw error
        }
    }
}
