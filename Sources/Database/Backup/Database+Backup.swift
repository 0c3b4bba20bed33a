package import AurumCore
internal import Foundation
internal import Synchronization
package import Telemetry

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

/// A table that is in a database for as long as a restore fills it: who finds it has half a site before him.
enum RestoreMark {
    static let table = "database_restore"
    static let sentence =
        "a restore into it did not finish; make it empty (on PostgreSQL drop and make the schema again) and restore "
        + "again"
}

/// A database that a backup is put back into: empty, and at the backup's own schema until everything is in it.
package struct RestoreTarget: Sendable {
    private let database: Database
    private let location: DatabaseLocation
    private let shapes: [String: TableShape]
    private let clock: any WallClock

    /// Brings the schema of an empty database to `version`.
    /// - Throws: `SQLError.schema` when rows are in it already, when it is newer, or when the backup is of a newer
    ///   release.
    package static func prepare(
        _ location: DatabaseLocation, version: Int, registry: MetricRegistry, clock: any WallClock
    ) async throws -> RestoreTarget {
        let schema = try await Schema.look(at: location)
        try fits(schema, version)
        try await Schema.migrate(location, upTo: version, clock: clock)
        let database = try await Database.openAsIs(location, registry: registry, clock: clock)
        do {
            let isMarked = try await database.read("database.restore.mark") { try holdsMark($0) }
            guard !isMarked else { throw SQLError.schema(RestoreMark.sentence) }
            let shapes = try await database.read("database.restore.shapes") { try TableShape.all($0) }
            let seeded = try await seededRows(version, clock)
            for (name, rows) in try await database.tableCounts() where rows != seeded[name] ?? 0 {
                throw SQLError.schema("the table \(name) holds rows; a backup is put into an empty database")
            }
            // What migrations put in comes with the backup, as it was there.
            try await database.write("database.restore.unseed") { transaction in
                _ = try transaction.run(
                    SQLStatement(unsafe: "CREATE TABLE \(RestoreMark.table) (one INTEGER PRIMARY KEY)"))
                for shape in shapes.reversed() where seeded[shape.name] ?? 0 > 0 {
                    _ = try transaction.run(SQLStatement(unsafe: "DELETE FROM \(Database.quoted(shape.name))"))
                }
            }
            return RestoreTarget(
                database: database, location: location,
                shapes: Dictionary(uniqueKeysWithValues: shapes.map { ($0.name, $0) }), clock: clock)
        } catch {
            try? database.close()
            throw error
        }
    }

    /// A table of another version than its rows would take them wrongly or not at all.
    private static func fits(_ schema: Schema, _ version: Int) throws {
        let newest = schema.applied.map(\.version).max() ?? 0
        guard newest <= version else {
            throw SQLError.schema("its schema has version \(newest), the backup \(version); name an empty database")
        }
        guard (schema.applied + schema.pending).contains(where: { $0.version == version }) else {
            throw SQLError.schema(
                "the backup has version \(version) of the schema, which this release does not know; restore it with "
                    + "the release that made it, or a newer one")
        }
    }

    private static func holdsMark(_ transaction: Transaction) throws -> Bool {
        let count = try transaction.value(
            Int.self,
            .dialect(
                sqlite: "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = \(RestoreMark.table)",
                postgres: """
                    SELECT COUNT(*) FROM pg_class
                    WHERE relnamespace = current_schema()::regnamespace AND relname = \(RestoreMark.table)
                    """))
        return count ?? 0 > 0
    }

    /// Rows that migrations themselves put into tables.
    private static func seededRows(_ version: Int, _ clock: any WallClock) async throws -> [String: Int] {
        let place = NSTemporaryDirectory() + "aurum-schema-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: place) }
        let fresh = DatabaseLocation.sqlite(path: place + "/fresh.db")
        try await Schema.migrate(fresh, upTo: version, clock: clock)
        let database = try await Database.openAsIs(fresh, registry: MetricRegistry(), clock: clock)
        defer { try? database.close() }
        return Dictionary(uniqueKeysWithValues: try await database.tableCounts().map { ($0.name, $0.rows) })
    }

    private static let batchRows = 200

    /// Puts the lines of one table in; whole lines only.
    /// - Returns: how many rows.
    package func load(_ table: String, columns: [String], lines: [UInt8]) async throws -> Int {
        guard let shape = shapes[table] else {
            throw SQLError.schema("the backup has a table \(table), which the schema lacks")
        }
        let unknown = Set(columns).subtracting(shape.columns)
        guard unknown.isEmpty else {
            throw SQLError.schema(
                "the backup has columns that \(table) lacks: \(unknown.sorted().joined(separator: ", "))")
        }
        var rows: [[SQLValue]] = []
        for line in lines.split(separator: UInt8(ascii: "\n")) {
            guard let values = RowText.values(line), values.count == columns.count else {
                throw SQLError.corrupt
            }
            rows.append(values)
        }
        var start = 0
        while start < rows.count {
            let batch = Array(rows[start..<min(start + Self.batchRows, rows.count)])
            let statement = Self.insertion(table, columns, batch)
            try await database.write("database.restore.rows") { transaction in _ = try transaction.run(statement) }
            start += batch.count
        }
        return rows.count
    }

    private static func insertion(_ table: String, _ columns: [String], _ rows: [[SQLValue]]) -> SQLStatement {
        var text = SQLStatement.StringInterpolation(
            literalCapacity: 200, interpolationCount: rows.count * columns.count)
        let names = columns.map(Database.quoted).joined(separator: ", ")
        text.appendInterpolation(unsafe: "INSERT INTO \(Database.quoted(table)) (\(names)) VALUES ")
        for (index, row) in rows.enumerated() {
            text.appendLiteral(index == 0 ? "(" : ", (")
            for (place, value) in row.enumerated() {
                if place > 0 { text.appendLiteral(", ") }
                text.appendInterpolation(value: value)
            }
            text.appendLiteral(")")
        }
        return SQLStatement(stringInterpolation: text)
    }

    /// Sets what counts by itself behind the highest row, brings the schema to the newest, and lets the database be
    /// opened: the last thing that is done to it.
    package func finish() async throws {
        let shapes = shapes.values.filter { $0.key.count == 1 }
        if location.dialect == .postgres {
            try await database.write("database.restore.counters") { transaction in
                for shape in shapes {
                    let (table, column) = (shape.name, shape.key[0])
                    let counter = try transaction.value(
                        String.self,
                        .dialect(sqlite: "SELECT NULL", postgres: "SELECT pg_get_serial_sequence(\(table), \(column))"))
                    guard let counter else { continue }
                    let highest =
                        try transaction.value(
                            Int64.self,
                            SQLStatement(
                                unsafe: "SELECT MAX(\(Database.quoted(column))) FROM \(Database.quoted(table))")) ?? 0
                    _ = try transaction.value(Int64.self, "SELECT setval(\(counter)::regclass, \(highest + 1), false)")
                }
                try FenceSequenceState.raise(transaction)
            }
        }
        try database.close()
        try await Schema.migrate(location, copies: false, clock: clock)
        let whole = try await Database.openAsIs(location, registry: MetricRegistry(), clock: clock)
        defer { try? whole.close() }
        try await whole.write("database.restore.done") { transaction in
            _ = try transaction.run(SQLStatement(unsafe: "DROP TABLE \(RestoreMark.table)"))
        }
    }

    package func abandon() { try? database.close() }
}
