internal import AurumCore
internal import Crypto
internal import Foundation

/// One schema change: a file that is never edited once released.
struct Migration: Sendable, Equatable {
    let version: Int
    let name: String
    /// The file's own text.
    let sql: String
    /// What the engine runs.
    let script: String

    init(version: Int, name: String, sql: String, script: String? = nil) {
        self.version = version
        self.name = name
        self.sql = sql
        self.script = script ?? sql
    }

    /// SHA-256 of the file's text with line ends normalised.
    var checksum: String {
        Hex.encode(SHA256.hash(data: Data(sql.replacingOccurrences(of: "\r\n", with: "\n").utf8)))
    }

    /// Where the database keeps what was applied, in words of both engines.
    static let table = """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT
        """
}

/// Told after every step of a migration: 0 once its transaction is open, then the number of the statement that ran, at
/// last one more once it is noted and only its commit is missing. What it throws undoes the migration.
package typealias MigrationWatch = @Sendable (_ version: Int, _ step: Int) throws -> Void

/// One connection that changes a schema.
protocol MigrationTarget {
    /// Checksums of what was applied, by version.
    func applied() throws -> [Int: String]
    /// Runs the migration and notes it, whole or not at all.
    func apply(_ migration: Migration, at: Timestamp, watch: MigrationWatch) throws
}

/// Brings a database to the newest schema, each migration in a transaction of its own.
struct Migrator: Sendable {
    let migrations: [Migration]

    /// The files `migrations/NNNN_name.sql`, in order. Where the engines need different words there are two files,
    /// `.sqlite.sql` and `.postgres.sql`.
    static func embedded(for dialect: Dialect) -> Migrator {
        let all = Asset.names(in: "migrations/").sorted()
        return Migrator(migrations: all.compactMap { file in migration(file, for: dialect) })
    }

    private static func migration(_ file: String, for dialect: Dialect) -> Migration? {
        var base = file.dropFirst("migrations/".count).dropLast(".sql".count)
        var isOwn = false
        for other in Dialect.allCases where base.hasSuffix("." + other.rawValue) {
            guard other == dialect else { return nil }
            base = base.dropLast(other.rawValue.count + 1)
            isOwn = true
        }
        let parts = base.split(separator: "_", maxSplits: 1)
        guard parts.count == 2, let version = Int(parts[0]) else { preconditionFailure("bad name \(file)") }
        let text = Asset.text(file)
        let isShared = dialect == .postgres && !isOwn
        return Migration(
            version: version, name: String(parts[1]), sql: text, script: isShared ? PostgresText.schema(text) : text)
    }

    /// Applies what is missing, at most up to version `last`.
    func migrate(
        _ target: some MigrationTarget, upTo last: Int = .max, clock: any WallClock,
        watch: MigrationWatch = { _, _ in }
    ) throws {
        for migration in try missing(try target.applied()) where migration.version <= last {
            try target.apply(migration, at: clock.now, watch: watch)
        }
    }

    /// What is not applied yet, in order. Refuses an edited file and a database that is newer than this program.
    func missing(_ applied: [Int: String]) throws -> [Migration] {
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
        return migrations.filter { applied[$0.version] == nil }
    }
}
