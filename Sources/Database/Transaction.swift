package import AurumCore
internal import GRDB

/// The statements of one `read` or `write`. It ends with its closure: using it later throws `closed`.
package final class Transaction {
    private let connection: GRDB.Database
    private let clock: any WallClock
    private var isOpen = true
    /// True once an outbox row was written, so that the relay is woken after the commit.
    private(set) var emitted = false

    init(_ connection: GRDB.Database, clock: any WallClock) {
        self.connection = connection
        self.clock = clock
    }

    func end() { isOpen = false }

    /// The time of the product, for `created_at` columns.
    package var now: Timestamp { clock.now }

    /// Runs a statement and answers how many rows it changed.
    @discardableResult
    package func run(_ sql: SQLStatement) throws -> Int {
        let statement = try prepared(sql)
        do {
            try statement.execute()
            return connection.changesCount
        } catch { throw SQLError.mapped(error) }
    }

    /// The first row of an answer, or nil when there is none.
    package func one<Value: RowDecodable>(_ type: Value.Type, _ sql: SQLStatement) throws -> Value? {
        let statement = try prepared(sql)
        do {
            guard let row = try GRDB.Row.fetchOne(statement) else { return nil }
            return try Value(row: Row(row: row))
        } catch { throw SQLError.mapped(error) }
    }

    /// All rows of an answer, in its order.
    package func all<Value: RowDecodable>(_ type: Value.Type, _ sql: SQLStatement) throws -> [Value] {
        let statement = try prepared(sql)
        do {
            var values: [Value] = []
            let rows = try GRDB.Row.fetchCursor(statement)
            while let row = try rows.next() { values.append(try Value(row: Row(row: row))) }
            return values
        } catch { throw SQLError.mapped(error) }
    }

    /// The first column of the first row; nil when there is no row or it is NULL.
    package func value<Value: SQLBindable>(_ type: Value.Type, _ sql: SQLStatement) throws -> Value? {
        let statement = try prepared(sql)
        do {
            guard let row = try GRDB.Row.fetchOne(statement) else { return nil }
            return try Row(row: row).first(as: type)
        } catch { throw SQLError.mapped(error) }
    }

    /// The first column of every row, NULLs left out.
    package func values<Value: SQLBindable>(_ type: Value.Type, _ sql: SQLStatement) throws -> [Value] {
        let statement = try prepared(sql)
        do {
            var values: [Value] = []
            let rows = try GRDB.Row.fetchCursor(statement)
            while let row = try rows.next() {
                if let value = try Row(row: row).first(as: type) { values.append(value) }
            }
            return values
        } catch { throw SQLError.mapped(error) }
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
    }

    private func prepared(_ sql: SQLStatement) throws -> Statement {
        guard isOpen else { throw SQLError.closed }
        do {
            let statement = try connection.cachedStatement(sql: sql.text)
            try statement.setArguments(StatementArguments(sql.values.map(\.databaseValue)))
            return statement
        } catch { throw SQLError.mapped(error) }
    }
}
