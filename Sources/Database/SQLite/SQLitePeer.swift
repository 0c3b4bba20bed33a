internal import GRDB

/// SQLite with GRDB and nothing of this target around it: what `aurum bench database` holds the interface beside. A
/// pool of as many readers, and a writer that waits for the disk, as the records have them.
package final class SQLitePeer: Sendable {
    private let pool: DatabasePool

    /// Makes a file with `rows` rows; row `n` holds `7 n`.
    package init(path: String, rows: Int) throws {
        var configuration = Configuration()
        configuration.maximumReaderCount = SQLiteReaders.readersMax
        pool = try DatabasePool(path: path, configuration: configuration)
        try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        try pool.write { connection in
            try connection.execute(
                sql: """
                    CREATE TABLE bench_rows (id BIGINT PRIMARY KEY, value BIGINT NOT NULL);
                    CREATE TABLE bench_notes (id BIGINT PRIMARY KEY, row_id BIGINT NOT NULL)
                    """)
            for id in 0..<rows {
                try connection.execute(
                    sql: "INSERT INTO bench_rows (id, value) VALUES (?, ?)", arguments: [id, id * 7])
            }
        }
    }

    /// Reads one row by its key.
    package func read(_ id: Int) async throws -> Int? {
        try await pool.read { connection in
            let statement = try connection.cachedStatement(sql: "SELECT value FROM bench_rows WHERE id = ?")
            return try Int.fetchOne(statement, arguments: [id])
        }
    }

    /// Writes one row and waits for the disk.
    package func write(_ id: Int) async throws {
        try await pool.write { connection in
            let statement = try connection.cachedStatement(sql: "INSERT INTO bench_notes (id, row_id) VALUES (?, ?)")
            try statement.execute(arguments: [id, id])
        }
    }

    package func close() throws { try pool.close() }
}
