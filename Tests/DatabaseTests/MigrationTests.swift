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
    /// the line that the failing test prints (or `sha256sum` of the file, with LF line ends); a file for each
    /// engine makes two. Never change a line: an installation that has the old text would no longer start.
    private static let released: [Int: [String]] = [
        1: ["6fc1282dfb2133b907bd5bf491a44d893a4baf36958ec86d5d59ec7d8d00c1bc"],
        2: ["fd97c51398b12d4fc2f7803a179efad697574060ea89cd1d2eee65999b36a9d7"],
        3: ["4ed2c3554fbc012734e027920b021e7bcb5fcbcc7870a03e4b265bdaaaa73c29"],
        4: ["75ea5af2ce8d14ceac535c48a69753d4daee46dae480c75bed271dd4ef8975a4"],
        5: ["cba9fd09c70e1d6ee947185a4eb07d019f4e2b5701c836e0e316245bcd0d3da5"],
        6: ["ea41ee67c00e8445b3a604d70dba8eb33d9b785175089183142082dcfdb65724"],
        7: ["1d9f6996099d4325e4a828f84234761c7323620f7d206eca5116464a4a751ff1"],
        8: ["11013de7181111aed403051a45fc516f4405d831a5bc130ef84b094d70777f3d"],
        11: ["b64551448308d8c6e3320e134926dba1e5cebb9a4904bb2f0155822567f0084b"],
        100: ["b6b16b9afad88a6afb6566f6d24c85cc3339365bf3e8988f459b1fd1218d0302"],
        120: [
            "7dc52cf11edca5652a48e59f21e271d51adb61ba5e511cae8a27fa1803c80720",
            "49a5af879f69593ef7f194b584de63db2c1beebeca1420543d370248d3f93de1",
        ],
        121: ["2742c52607b8eca0c027f5a67eeb3dc7c3d9744e4e289b43c3df2ed092f67c4d"],
        122: [
            "250b2a07cdb608d427fcb69cb57a0f9b8c76ab3a0d8860cc4cf04585aafddf90",
            "f70030db2af2a5c4f9bad8c19b803caa54a762eceeea413de7f129102d6f2dde",
        ],
        123: ["88260ded588704deda254edca1c9cdd6077e1c6f0ce76a814fd3552d01c57d5c"],
        130: ["cc70e5628248f8716b57dbd018e4856e0b774797e744809c8f1d4abe37ee77db"],
        131: ["62c8f9ccb728f295b129d4c65be4b9079d4b5292ec7f55d423cd54358333ef60"],
        132: ["0843a2cd7f85a44b69dcdd4b1cbea58c35420bad7a6aa90e63906d324ead420c"],
        133: ["7d883e6c2172f9ff77ad4940e1a3253aa724c5c77cc49684da9aee8d0d96c363"],
        140: [
            "07d9ef91e050536fe6df5c5b769ccb73481ef8c7bcbc2fa80438ec0b39aec841",
            "d2b05e032a14662bb92825460bcd0d533be91b19afd65ee3c7c13673ab44d95e",
        ],
        141: ["45fe6eb10f4ce4c7ae98c47a39b984e587e272bf289ba44953a85863aca888e4"],
        142: [
            "e48a159b4cecd671788dbad103bfa8e8e5eb902f4d519a79b352b64729c093aa",
            "ec316902dc768ede189a05ba85015bf14e1ff38e131e7e318af824f98656f645",
        ],
        143: [
            "b5e5aad532b7c7bfbff8eb5ce9b464ed7b9c3724fc04799203d0a78a763d8ca8",
            "0e437cc547ec339a8648bf879d2411ed89ef1ac8edb4cd62ac24b34f734585e9",
        ],
        150: ["de319faccc4a57a1e0e0605ee73fea4d9da81064221fbad80480d967e179fa66"],
        160: ["fbb4d828c8387733d5af38620ebf4f0b451cd82f8b23019c5c5987517ffdec8f"],
        161: ["7b7569377f3aa23562020713899661868e5dd300853e2e72697eb210b631c3d3"],
        170: ["4ec9b7aecf2ca5391dc5452867fdedcc298d96e88b618f8c58901004a5e02536"],
        171: ["ca7e14f38bf3ef2094d242e51ee9f153ea00e16810987f0f598d934b0d18f220"],
        180: ["f65af5ac5c538bf3afe3dd31045bbee96fd1977d975bacf74f4fe842875487b2"],
        190: ["0cb18f84d678b126a99999a7b1e17b07bb1431f3f58c91968da222fdd99d7c51"],
        200: ["174924680e6e6022c689565b2e392439cacdd4c44f61fa5473d621bee8e26b74"],
        201: ["947c13c1372aaa0a4e8fbc81a3ace123f1d549c9426996855da8003eff6f6f2d"],
        210: ["3d8a1f24a80a6ecdcdd0a32beb4915150fe6bb598b21e3af18c447305e472499"],
        211: ["8b04c47260f3c4f2e257e50e13deae607e25f01704d55acdd359327b9e1f1751"],
        220: ["3cb5a15c7d3e91d1123223c5326a51c9da50976ac59901cb621227148b1c99b9"],
        230: ["5ce828455e8c06d920f687a7a73c0a511d7d169b6d9680de5166eeccb6344e4f"],
        240: ["8f803066076a3aa6cc140344a7490b2535c8c39e153a9804bfd418b3c8aabbfb"],
        250: ["784c5f9ca5c00b00b6d82ac5c016eda724750f0ac46ad643e50992ec8928c221"],
        265: ["c6017afb9e6a4d3ad951b59c487443bc63fbfad31d9d307761da79b269289485"],
        266: ["9e004cb157794280bf506d94e991242c8e38e314454e1c8d16290ba00cc6d60f"],
        270: ["c11bf10ae515d8b457d94e9249b45ad3d381035a7b7af2f6e8a43e8e97a199e8"],
        280: ["67895a5855521cc5f310ae3810f2abe26438c7a65d2bd1d2c2d6386e30e598d2"],
        290: ["88c08d90cda53bceec52ad78317d4135affc61c1f99d518c9adff17cf40e8ca1"],
        295: ["81b68a3ad9bf7844e5edc5caeec827f5bb19ba317b54c98215955fa4836f8e44"],
        300: ["6622de18287a8f5909aba81688cf5df9869b47aba71865f4fbb36329e6503931"],
        305: ["6922504793157721778965be92f39286dcd18c27d4b4773b0003527bb2803952"],
        315: ["e142d7fe48e353104819c0034e3afea0c387246dfdb2f8ad0fdcb10eb98337b4"],
        320: ["b332808900d94ee67506a67397add8893f81c7c990e31120d3747ad9494f6ad3"],
    ]
    /// In the sources, in no release yet.
    private static let unreleased: Set<Int> = []

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
            if let checksums = Self.released[migration.version] {
                #expect(
                    checksums.contains(migration.checksum),
                    "migration \(migration.version) was edited: restore the file")
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
        // The soak ends each migration after every statement, other runs after one of its first.
        let isWhole = soakCount(25) == 25
        var ends = 0
        while let version = try await Schema.look(at: location).pending.first?.version {
            var isDone = false
            var step = isWhole ? 0 : version % 3
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
                    (step, ends) = (isWhole ? step + 1 : .max, ends + 1)
                }
            }
        }
        #expect(ends > (isWhole ? 60 : 20), "\(ends)")
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
