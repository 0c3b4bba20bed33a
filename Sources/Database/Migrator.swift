internal import AurumCore
internal import Crypto
internal import Foundation
internal import GRDB

/// One schema change: a file that is never edited once released.
struct Migration: Sendable, Equatable {
    let version: Int
    let name: String
    let sql: String

    /// SHA-256 of the text with line ends normalised.
    var checksum: String {
        Hex.encode(SHA256.hash(data: Data(sql.replacingOccurrences(of: "\r\n", with: "\n").utf8)))
    }
}

/// Brings a database to the newest schema, each migration in a transaction of its own.
struct Migrator: Sendable {
    let migrations: [Migration]

    /// The files in `migrations/NNNN_name.sql`, in order.
    static var embedded: Migrator {
        let files = Asset.names(in: "migrations/").sorted()
        return Migrator(
            migrations: files.map { file in
                let base = file.dropFirst("migrations/".count).dropLast(".sql".count)
                let parts = base.split(separator: "_", maxSplits: 1)
                guard parts.count == 2, let version = Int(parts[0]) else { preconditionFailure("bad name \(file)") }
                return Migration(version: version, name: String(parts[1]), sql: Asset.text(file))
            })
    }

    func migrate(_ connection: GRDB.Database, clock: any WallClock) throws {
        try connection.execute(
            sql: """
                CREATE TABLE IF NOT EXISTS schema_migrations (
                    version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL
                ) STRICT
                """)
        let applied = try GRDB.Row.fetchAll(connection, sql: "SELECT version, sha256 FROM schema_migrations")
        let checksums = Dictionary(
            applied.map { (Int($0["version"] as Int64), $0["sha256"] as String) }, uniquingKeysWith: { $1 })
        try check(applied: checksums)
        for migration in migrations where checksums[migration.version] == nil {
            try connection.inTransaction(.immediate) {
                try connection.execute(sql: migration.sql)
                try connection.execute(
                    sql: "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
                    arguments: [migration.version, migration.name, migration.checksum, clock.now.microseconds])
                return .commit
            }
        }
    }

    /// Refuses an edited file and a database that is newer than this program.
    private func check(applied: [Int: String]) throws {
        for (version, checksum) in applied.sorted(by: { $0.key < $1.key }) {
            guard let known = migrations.first(where: { $0.version == version }) else {
                throw SQLError.schema("the database has migration \(version), which this release does not know")
            }
            guard known.checksum == checksum else {
                throw SQLError.schema(
                    "migration \(version) was changed: the database has \(checksum), the file \(known.checksum); "
                        + "restore the file; add a new migration")
            }
        }
    }
}
