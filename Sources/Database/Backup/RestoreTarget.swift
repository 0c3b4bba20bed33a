package import AurumCore
internal import Foundation
package import Telemetry

/// A table that is in a database for as long as a restore or an import fills it: who finds it has half a site before
/// him. Its one row is the number of the run that fills; a run that no longer finds its own has been overtaken.
enum RestoreMark {
    static let table = "database_restore"
    static let sentence =
        "a restore or an import into it did not finish; begin the import again, or make it empty (on PostgreSQL drop "
        + "and make the schema again) and restore again"

    static func exists(_ transaction: Transaction) throws -> Bool {
        let count = try transaction.value(
            Int.self,
            .dialect(
                sqlite: "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = \(table)",
                postgres: """
                    SELECT COUNT(*) FROM pg_class
                    WHERE relnamespace = current_schema()::regnamespace AND relname = \(table)
                    """))
        return count ?? 0 > 0
    }

    static func put(_ run: Int64, _ transaction: Transaction) throws {
        try transaction.run(SQLStatement(unsafe: "CREATE TABLE \(table) (run BIGINT PRIMARY KEY)"))
        try transaction.run(SQLStatement(unsafe: "INSERT INTO \(table) (run) VALUES (?)", values: [.integer(run)]))
    }

    /// Whoever fills the database under it finds it gone, or another number.
    static func drop(_ transaction: Transaction) throws {
        try transaction.run(SQLStatement(unsafe: "DROP TABLE \(table)"))
    }

    static func check(_ run: Int64, _ transaction: Transaction) throws {
        let isOwn =
            try exists(transaction)
            && transaction.value(Int64.self, SQLStatement(unsafe: "SELECT run FROM \(table)")) == run
        guard isOwn else { throw SQLError.schema("another restore or import into it began after this one") }
    }
}

/// A database that a backup or an export is put into: empty, and at its own schema until everything is in it.
package struct RestoreTarget: Sendable {
    private let database: Database
    private let location: DatabaseLocation
    private let shapes: [String: TableShape]
    private let run: Int64
    private let clock: any WallClock
    /// Whether an earlier run had begun to fill it.
    package let beganAgain: Bool

    /// Brings the schema of an empty database to `version`. One that holds rows is left as it is.
    ///
    /// - Parameter beginsAgain: whether a database is made empty that an earlier run did not finish; it was empty
    ///   before that, and nothing could open it since.
    /// - Throws: `SQLError.schema` when rows are in it already, when it is newer, or when the backup is of a newer
    ///   release.
    package static func prepare(
        _ location: DatabaseLocation, version: Int, beginsAgain: Bool = false, registry: MetricRegistry,
        clock: any WallClock
    ) async throws -> RestoreTarget {
        let schema = try await Schema.look(at: location)
        try fits(schema, version)
        let seeded = try await seededRows(version, clock)
        let run = Int64.random(in: 1 ... .max)
        var beganAgain = false
        if let newest = schema.applied.map(\.version).max() {
            let known = newest == version ? seeded : try await seededRows(newest, clock)
            let database = try await Database.openAsIs(location, registry: registry, clock: clock)
            defer { try? database.close() }
            beganAgain = try await look(at: database, seeded: known, run: run, beginsAgain: beginsAgain)
        }
        try await Schema.migrate(location, upTo: version, copies: false, clock: clock)
        let database = try await Database.openAsIs(location, registry: registry, clock: clock)
        do {
            let shapes = try await database.read("database.restore.shapes") { try TableShape.all($0) }
            try await database.write("database.restore.begin", limit: .backup) { transaction in
                if try RestoreMark.exists(transaction) {
                    try RestoreMark.check(run, transaction)
                } else {
                    try refuseRows(shapes, seeded: seeded, transaction)
                    try RestoreMark.put(run, transaction)
                }
                // What migrations put in comes with the backup, as it was there.
                for shape in shapes.reversed() where seeded[shape.name] ?? 0 > 0 {
                    try transaction.run(SQLStatement(unsafe: "DELETE FROM \(Database.quoted(shape.name))"))
                }
                try FenceSequenceState.reset(transaction)
            }
            return RestoreTarget(
                database: database, location: location,
                shapes: Dictionary(uniqueKeysWithValues: shapes.map { ($0.name, $0) }), run: run, clock: clock,
                beganAgain: beganAgain)
        } catch {
            try? database.close()
            throw error
        }
    }

    /// Before anything is changed: refuses what holds rows, and empties what an earlier run left.
    /// - Returns: whether there was an earlier run.
    private static func look(
        at database: Database, seeded: [String: Int], run: Int64, beginsAgain: Bool
    ) async throws -> Bool {
        let shapes = try await database.read("database.restore.found") { try TableShape.all($0) }
        let isMarked = try await database.read("database.restore.mark", limit: .backup) { transaction in
            let isMarked = try RestoreMark.exists(transaction)
            if !isMarked { try refuseRows(shapes, seeded: seeded, transaction) }
            return isMarked
        }
        guard isMarked else { return false }
        guard beginsAgain else { throw SQLError.schema(RestoreMark.sentence) }
        try await database.write("database.restore.again", limit: .backup) { transaction in
            // Fails where the run before has finished meanwhile: nothing is emptied then.
            try RestoreMark.drop(transaction)
            try RestoreMark.put(run, transaction)
            let names = shapes.reversed().map { Database.quoted($0.name) }
            if transaction.dialect == .postgres {
                try transaction.run(SQLStatement(unsafe: "TRUNCATE \(names.joined(separator: ", "))"))
            } else {
                for name in names { try transaction.run(SQLStatement(unsafe: "DELETE FROM \(name)")) }
            }
        }
        return true
    }

    private static func refuseRows(
        _ shapes: [TableShape], seeded: [String: Int], _ transaction: Transaction
    ) throws {
        for shape in shapes {
            let known = seeded[shape.name] ?? 0
            // One row too many says it: a table of a live site is not counted to its end.
            let count = SQLStatement(
                unsafe: "SELECT COUNT(*) FROM (SELECT 1 AS one FROM \(Database.quoted(shape.name)) LIMIT \(known + 1)) "
                    + "AS found")
            guard try transaction.value(Int.self, count) ?? 0 == known else {
                throw SQLError.schema("the table \(shape.name) holds rows; name an empty database")
            }
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
            let run = run
            try await database.write("database.restore.rows") { transaction in
                try RestoreMark.check(run, transaction)
                _ = try transaction.run(statement)
            }
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
    /// - Parameter check: looks at what came of it; the database stays unfinished when it throws.
    package func finish(check: (Database) async throws -> Void = { _ in }) async throws {
        if location.dialect == .postgres { try await setCounters() }
        try database.close()
        try await Schema.migrate(location, copies: false, clock: clock)
        let whole = try await Database.openAsIs(location, registry: MetricRegistry(), clock: clock)
        defer { try? whole.close() }
        try await check(whole)
        let run = run
        try await whole.write("database.restore.done") { transaction in
            try RestoreMark.check(run, transaction)
            try RestoreMark.drop(transaction)
        }
    }

    private func setCounters() async throws {
        let shapes = shapes.values.filter { $0.key.count == 1 }
        let run = run
        try await database.write("database.restore.counters", limit: .backup) { transaction in
            try RestoreMark.check(run, transaction)
            for shape in shapes {
                let (table, column) = (shape.name, shape.key[0])
                let counter = try transaction.value(
                    String.self,
                    .dialect(sqlite: "SELECT NULL", postgres: "SELECT pg_get_serial_sequence(\(table), \(column))"))
                guard let counter else { continue }
                let highest = try transaction.value(
                    Int64.self,
                    SQLStatement(unsafe: "SELECT MAX(\(Database.quoted(column))) FROM \(Database.quoted(table))"))
                // The next one is the first, or follows the highest.
                let statement: SQLStatement =
                    if let highest {
                        "SELECT setval(\(counter)::regclass, \(max(highest, 1)), true)"
                    } else {
                        "SELECT setval(\(counter)::regclass, 1, false)"
                    }
                _ = try transaction.value(Int64.self, statement)
            }
            try FenceSequenceState.raise(transaction)
        }
    }

    package func abandon() { try? database.close() }
}
