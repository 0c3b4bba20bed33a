package import AurumCore
internal import Foundation
internal import GRDB

/// The schema of a database as commands look at it and change it.
package struct Schema: Sendable, Equatable {
    package struct Step: Sendable, Equatable, Codable {
        package var version: Int
        package var name: String
    }

    /// `SQLite 3.40.1`, `PostgreSQL 15.4`.
    package var engine: String
    package var applied: [Step]
    package var pending: [Step]
    /// Why nothing opens the database: a restore or an import into it did not finish. Nil for every other.
    package var unfinished: String?
    /// The node that migrates just now, as far as the look was not to wait for it.
    package var migrating: String?

    private init(
        _ engine: String, _ migrator: Migrator, _ applied: [Int: String], isUnfinished: Bool = false,
        migrating: String? = nil
    ) throws {
        self.engine = engine
        self.migrating = migrating
        unfinished = isUnfinished ? RestoreMark.sentence : nil
        let missing = try migrator.missing(applied)
        pending = missing.map { Step(version: $0.version, name: $0.name) }
        self.applied = migrator.migrations.filter { applied[$0.version] != nil }
            .map { Step(version: $0.version, name: $0.name) }
    }

    /// What is applied and what is missing; changes nothing.
    /// - Parameter waits: whether a node that migrates is waited for, at most ten minutes.
    /// - Throws: `SQLError.schema` when a file was edited or the database is newer; `unavailable`, `corrupt`.
    package static func look(at location: DatabaseLocation, waits: Bool = true) async throws -> Schema {
        switch location {
        case .sqlite(let path): return try look(path)
        case .postgres(let address):
            return try await OwnThread.run {
                guard waits else {
                    return try PostgresMigration.beside(address) { try look($0, migrating: $0.holder()) }
                }
                return try PostgresMigration.alone(address) { try look($0, migrating: nil) }
            }
        }
    }

    private static func look(_ target: PostgresMigration, migrating: String?) throws -> Schema {
        try Schema(
            "PostgreSQL \(target.version())", .embedded(for: .postgres), target.known(),
            isUnfinished: target.isHalfRestored(), migrating: migrating)
    }

    /// Applies what is missing, at most up to version `last`. A SQLite file that has a schema is copied before, unless
    /// `copies` is false.
    package static func migrate(
        _ location: DatabaseLocation, upTo last: Int = .max, copies: Bool = true, clock: any WallClock,
        watch: @escaping MigrationWatch = { _, _ in }
    ) async throws {
        switch location {
        case .sqlite(let path): try migrate(path, upTo: last, copies: copies, clock: clock, watch: watch)
        case .postgres(let address):
            try await OwnThread.run {
                try PostgresMigration.alone(address) { target in
                    try Migrator.embedded(for: .postgres).migrate(target, upTo: last, clock: clock, watch: watch)
                }
            }
        }
    }

    private static func look(_ path: String) throws -> Schema {
        let migrator = Migrator.embedded(for: .sqlite)
        guard FileManager.default.fileExists(atPath: path) else { return try Schema("SQLite", migrator, [:]) }
        do {
            var configuration = SQLiteEngine.configuration
            configuration.readonly = true
            configuration.prepareDatabase { _ in }
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            return try queue.read { connection in
                let version = try String.fetchOne(connection, sql: "SELECT sqlite_version()") ?? ""
                let exists = try connection.tableExists("schema_migrations")
                return try Schema(
                    "SQLite \(version)", migrator, exists ? SQLiteMigration.applied(connection) : [:],
                    isUnfinished: connection.tableExists(RestoreMark.table))
            }
        } catch { throw SQLError.mapped(error) }
    }

    private static func migrate(
        _ path: String, upTo last: Int, copies: Bool, clock: any WallClock, watch: MigrationWatch
    ) throws {
        do {
            try DatabaseQueue(path: path, configuration: SQLiteEngine.configuration).writeWithoutTransaction {
                try SQLiteMigration.migrate(
                    $0, path: path, upTo: last, copies: copies, clock: clock, watch: watch)
            }
        } catch { throw SQLError.mapped(error) }
    }
}
