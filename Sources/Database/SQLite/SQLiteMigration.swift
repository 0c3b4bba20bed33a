internal import AurumCore
internal import Foundation
internal import GRDB
internal import Logging

/// Migrations on a SQLite connection.
struct SQLiteMigration: MigrationTarget {
    private let connection: GRDB.Database

    init(_ connection: GRDB.Database) { self.connection = connection }

    /// Applies what is missing, at most up to version `last`. Before the first of it, a database that has a schema is
    /// copied to a file next to it, `path` with `.schema-NNNN` of the version that it has.
    static func migrate(
        _ connection: GRDB.Database, path: String, upTo last: Int = .max, copies: Bool = true, clock: any WallClock,
        watch: MigrationWatch = { _, _ in }
    ) throws {
        let (target, migrator) = (SQLiteMigration(connection), Migrator.embedded(for: .sqlite))
        let applied = try target.applied()
        let isMissing = try migrator.missing(applied).contains { $0.version <= last }
        if copies, isMissing, let newest = applied.keys.max() {
            try keepCopy(connection, at: path + ".schema-" + String(format: "%04d", newest))
        }
        try migrator.migrate(target, upTo: last, clock: clock, watch: watch)
    }

    /// One copy of each version: an older one of the same is from a start that did not get further.
    private static func keepCopy(_ connection: GRDB.Database, at path: String) throws {
        let (files, unfinished) = (FileManager.default, path + ".unfinished")
        do {
            // Made before it is filled, so that nobody else ever may read it.
            guard files.createFile(atPath: unfinished, contents: nil, attributes: [.posixPermissions: 0o600]),
                let handle = FileHandle(forUpdatingAtPath: unfinished)
            else { throw SQLError.unavailable }
            defer { try? handle.close() }
            try connection.execute(sql: "VACUUM INTO ?", arguments: [unfinished])
            try handle.synchronize()
            if files.fileExists(atPath: path) { try files.removeItem(atPath: path) }
            try files.moveItem(atPath: unfinished, toPath: path)
        } catch {
            try? files.removeItem(atPath: unfinished)
            throw SQLError.schema(
                "no copy of it could be made at \(path) before its migrations (\(SQLError.mapped(error))); make room "
                    + "for one")
        }
        Logger(label: "database").notice(
            "a copy was kept before the schema changes", metadata: ["code": "schema_copied", "file": "\(path)"])
    }

    func applied() throws -> [Int: String] {
        try connection.execute(sql: Migration.table)
        return try Self.applied(connection)
    }

    static func applied(_ connection: GRDB.Database) throws -> [Int: String] {
        let rows = try GRDB.Row.fetchAll(connection, sql: "SELECT version, sha256 FROM schema_migrations")
        return Dictionary(
            rows.map { (Int($0["version"] as Int64), $0["sha256"] as String) }, uniquingKeysWith: { $1 })
    }

    func apply(_ migration: Migration, at now: Timestamp, watch: MigrationWatch) throws {
        try connection.inTransaction(.immediate) {
            // Another node may have been first while this one waited.
            let known = try Int64.fetchOne(
                connection, sql: "SELECT version FROM schema_migrations WHERE version = ?",
                arguments: [migration.version])
            guard known == nil else { return .commit }
            var step = 0
            try watch(migration.version, step)
            let statements = try connection.allStatements(sql: migration.script)
            while let statement = try statements.next() {
                try statement.execute()
                step += 1
                try watch(migration.version, step)
            }
            try connection.execute(
                sql: "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
                arguments: [migration.version, migration.name, migration.checksum, now.microseconds])
            try watch(migration.version, step + 1)
            return .commit
        }
    }
}
