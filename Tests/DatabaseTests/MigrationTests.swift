import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

/// Migrations never change once released, and end whole or not at all.
@Suite struct MigrationTests {
    static let engines = Dialect.allCases

    /// SHA-256 of every released file, by its version. A new one is free until a release holds it; to add it then, copy
    /// the line that the failing test prints (or `sha256sum` of the file, with LF line ends). Never change a line: an
    /// installation that has the old text would no longer start.
    private static let released: [Int: String] = [
        1: "6fc1282dfb2133b907bd5bf491a44d893a4baf36958ec86d5d59ec7d8d00c1bc",
        2: "fd97c51398b12d4fc2f7803a179efad697574060ea89cd1d2eee65999b36a9d7",
        3: "4ed2c3554fbc012734e027920b021e7bcb5fcbcc7870a03e4b265bdaaaa73c29",
        4: "75ea5af2ce8d14ceac535c48a69753d4daee46dae480c75bed271dd4ef8975a4",
        5: "cba9fd09c70e1d6ee947185a4eb07d019f4e2b5701c836e0e316245bcd0d3da5",
        6: "ea41ee67c00e8445b3a604d70dba8eb33d9b785175089183142082dcfdb65724",
        7: "1d9f6996099d4325e4a828f84234761c7323620f7d206eca5116464a4a751ff1",
    ]
    /// In the sources, in no release yet.
    private static let unreleased: Set = [
        8, 11, 100, 120, 121, 122, 123, 130, 131, 132, 133, 140, 141, 142, 143, 150, 160, 161, 180,
    ]

    private struct Applied: RowDecodable, Sendable {
        let version: Int
        let checksum: String

        init(row: Row) throws { (version, checksum) = (try row.get("version"), try row.get("sha256")) }
    }

    @Test(arguments: engines) func `released migrations are as they were released`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let applied = try await open.database.read("test.checksums") { tx in
            try tx.all(Applied.self, "SELECT version, sha256 FROM schema_migrations ORDER BY version")
        }
        for migration in applied {
            if let checksum = Self.released[migration.version] {
                #expect(migration.checksum == checksum, "migration \(migration.version) was edited: restore the file")
            } else {
                #expect(
                    Self.unreleased.contains(migration.version),
                    "name it as unreleased, or as released: \(migration.version): \"\(migration.checksum)\",")
            }
        }
        #expect(Set(Self.released.keys).isSubset(of: applied.map(\.version)), "a released migration is gone")
    }

    private struct Killed: Error {}

    @Test(arguments: engines) func `ended after any statement and started again, the schema is that of a fresh one`(
        _ engine: Dialect
    ) async throws {
        let (folder, clock) = (TemporaryFolder(), ManualWallClock())
        let location = try place(engine, folder, "killed")
        var ends = 0
        while let version = try await Schema.look(at: location).pending.first?.version {
            var isDone = false
            var step = 0
            while !isDone {
                let last = step
                do {
                    try await Schema.migrate(location, upTo: version, clock: clock) { _, step in
                        if step == last { throw Killed() }
                    }
                    isDone = true
                } catch is Killed {
                    let pending = try await Schema.look(at: location).pending.first?.version
                    #expect(pending == version, "step \(last) of \(version) left something behind")
                    (step, ends) = (step + 1, ends + 1)
                }
            }
        }
        #expect(ends > 60, "\(ends)")
        let fresh = try place(engine, folder, "fresh")
        try await Schema.migrate(fresh, clock: clock)
        let (one, other) = (try await dump(location), try await dump(fresh))
        #expect(one == other)
        #expect(one.count > 50)
    }

    @Test func `a file with a schema is copied before it is migrated, once for each version`() async throws {
        let (folder, clock) = (TemporaryFolder(), ManualWallClock())
        let location = try place(.sqlite, folder, "copied")
        let path = folder.file("copied.db")
        func copies() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.contains(".schema-") }.sorted()
        }
        try await Schema.migrate(location, upTo: 2, clock: clock)
        #expect(try copies() == [], "there was nothing to copy")
        try await Schema.migrate(location, upTo: 3, clock: clock)
        try await Schema.migrate(location, upTo: 3, clock: clock)
        #expect(try copies() == ["copied.db.schema-0002"])
        try Database.openSQLite(at: path, registry: MetricRegistry(), clock: clock).close()
        #expect(try copies() == ["copied.db.schema-0002", "copied.db.schema-0003"])
        let copy = try await Schema.look(at: .sqlite(path: path + ".schema-0003"))
        #expect(copy.applied.map(\.version) == [1, 2, 3])
        let rights = try FileManager.default.attributesOfItem(atPath: path + ".schema-0003")[.posixPermissions]
        #expect((rights as? NSNumber)?.intValue == 0o600)
        try Database.openSQLite(at: path, registry: MetricRegistry(), clock: clock).close()
        #expect(try copies().count == 2, "a start without migrations copies nothing")
    }

    private func place(_ engine: Dialect, _ folder: TemporaryFolder, _ name: String) throws -> DatabaseLocation {
        guard engine == .postgres else { return .sqlite(path: folder.file(name + ".db")) }
        return try DatabaseLocation(url: PostgresServer.shared().newURL(), requireTLS: true)
    }

    /// Everything that makes a schema, one line each.
    private func dump(_ location: DatabaseLocation) async throws -> [String] {
        let database = try await Database.open(location, registry: MetricRegistry(), clock: ManualWallClock())
        defer { try? database.close() }
        return try await database.read("test.dump") { tx in
            try tx.values(
                String.self,
                .dialect(
                    sqlite: """
                        SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_schema
                        """,
                    postgres: """
                        SELECT 'column ' || c.relname::text || '.' || a.attname::text || ' '
                            || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' '
                            || COALESCE(pg_get_expr(d.adbin, d.adrelid), '')
                        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                            AND NOT a.attisdropped
                        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
                        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
                        UNION ALL
                        SELECT 'index ' || replace(indexdef, current_schema()::text || '.', '') FROM pg_indexes
                        WHERE schemaname = current_schema()
                        UNION ALL
                        SELECT 'rule ' || conname::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                        WHERE connamespace = current_schema()::regnamespace
                        """))
        }.sorted()
    }
}
