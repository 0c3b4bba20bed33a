internal import Synchronization

/// What takes the rows of a backup, on the thread of the read.
package protocol TableSink: AnyObject, Sendable {
    /// The rows that follow are those of `table`.
    func begin(_ table: TableShape) throws
    /// Whole lines of `RowText`.
    func take(_ lines: [UInt8], rows: Int) throws
    func end() throws
}

extension Database {
    /// Rows that are read, or written, together.
    private static let pageRows = 1000

    /// Shows every row of every table of record to `sink`, in the order of the keys, as they were at one moment. Writes
    /// go on meanwhile.
    ///
    /// - Parameter begun: called once that moment is fixed, on a thread that may block; what it throws ends the dump.
    /// - Returns: the version of the schema.
    /// - Throws: what the sink throws; `unavailable` when the connection was lost, and nothing of it counts then.
    package func dump(to sink: any TableSink, begun: @escaping @Sendable () throws -> Void) async throws -> Int {
        // A read runs again after a lost connection, but the sink cannot begin again.
        let signal = Mutex(false)
        return try await read("database.dump", limit: .backup) { transaction in
            let version = try transaction.value(Int.self, "SELECT MAX(version) FROM schema_migrations") ?? 0
            let isAgain = signal.withLock { known in
                defer { known = true }
                return known
            }
            guard !isAgain else { throw SQLError.unavailable }
            try begun()
            for table in try TableShape.all(transaction) {
                try sink.begin(table)
                try Self.pages(of: table, transaction, sink)
                try sink.end()
            }
            return version
        }
    }

    /// How many rows each table of record holds, for comparing with a backup.
    package func tableCounts() async throws -> [(name: String, rows: Int)] {
        try await read("database.counts", limit: .backup) { transaction in
            try TableShape.all(transaction).map { table in
                let count = SQLStatement(unsafe: "SELECT COUNT(*) FROM \(Self.quoted(table.name))")
                return (table.name, try transaction.value(Int.self, count) ?? 0)
            }
        }
    }

    private static func pages(of table: TableShape, _ transaction: Transaction, _ sink: any TableSink) throws {
        let keyPlaces = table.key.compactMap { table.columns.firstIndex(of: $0) }
        var last: [SQLValue] = []
        while true {
            var lines: [UInt8] = []
            var count = 0
            try transaction.rows(pageStatement(table, after: last), columns: table.columns) { values in
                lines += RowText.line(values)
                last = keyPlaces.map { values[$0] }
                count += 1
            }
            if count > 0 { try sink.take(lines, rows: count) }
            if count < pageRows { return }
        }
    }

    private static func pageStatement(_ table: TableShape, after last: [SQLValue]) -> SQLStatement {
        let columns = table.columns.map(quoted).joined(separator: ", ")
        let key = table.key.map(quoted).joined(separator: ", ")
        var text = SQLStatement.StringInterpolation(literalCapacity: 200, interpolationCount: last.count + 1)
        text.appendInterpolation(unsafe: "SELECT \(columns) FROM \(table.source)")
        if !last.isEmpty {
            text.appendInterpolation(unsafe: " WHERE (\(key)) > (")
            for (index, value) in last.enumerated() {
                if index > 0 { text.appendLiteral(", ") }
                text.appendInterpolation(value: value)
            }
            text.appendLiteral(")")
        }
        text.appendInterpolation(unsafe: " ORDER BY \(key) LIMIT \(pageRows)")
        return SQLStatement(stringInterpolation: text)
    }

    static func quoted(_ name: String) -> String { "\"" + name + "\"" }
}
