import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

/// What every engine must do, with real servers: one source, the engine is the parameter.
@Suite struct ConformanceTests {
    static let engines = Dialect.allCases

    @Test(arguments: engines) func `seeded values come back as they were written`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        var random = SeededRandom(seed: 41)
        print("seed 41")
        for batch in 0..<soakCount(200) {
            let rows = (0..<50).map { Values(number: batch * 50 + $0, &random) }
            try await open.database.write("test.values") { tx in for row in rows { try row.insert(tx) } }
            let back = try await open.database.read("test.valuesBack") { tx in
                try tx.all(Values.self, "SELECT * FROM test_values WHERE number >= \(batch * 50) ORDER BY number")
            }
            #expect(back == rows)
        }
    }

    @Test(arguments: engines) func `a text of one MiB and the edges of 64 bits come back`(_ engine: Dialect)
        async throws
    {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        let long = String(repeating: "é😀x", count: 150_000)
        let row = Values(
            number: 1, whole: .max, real: -0.1, text: long, bytes: [UInt8](repeating: 0, count: 70_000), flag: true)
        let other = Values(number: 2, whole: .min, real: nil, text: "", bytes: [], flag: false)
        try await open.database.write("test.edges") { tx in
            try row.insert(tx)
            try other.insert(tx)
        }
        let back = try await open.database.read("test.edgesBack") { tx in
            try tx.all(Values.self, "SELECT * FROM test_values ORDER BY number")
        }
        #expect(back == [row, other])
    }

    @Test(arguments: engines) func `a NUL character is refused before it is written`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        await #expect(throws: SQLError.statement("a text holds a NUL character")) {
            try await open.database.write("test.nul") { tx in
                try Values(number: 1, whole: 0, real: nil, text: "a\0b", bytes: [], flag: false).insert(tx)
            }
        }
    }

    @Test(arguments: engines) func `what looks like SQL is kept as text`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        let corpus = Injection.corpus
        #expect(corpus.count >= 500)
        try await open.database.write("test.inject") { tx in
            for (number, text) in corpus.enumerated() {
                try Values(number: number, whole: 0, real: nil, text: text, bytes: Array(text.utf8), flag: true).insert(
                    tx)
            }
        }
        let back = try await open.database.read("test.injected") { tx in
            try tx.values(String.self, "SELECT text FROM test_values ORDER BY number")
        }
        #expect(back == corpus)
        for text in corpus.prefix(50) {
            let count = try await open.database.read("test.find") { tx in
                try tx.value(Int.self, "SELECT COUNT(*) FROM test_values WHERE text = \(text)")
            }
            #expect(count == corpus.count { $0 == text })
        }
    }

    @Test(arguments: engines) func `text sorts by its bytes`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        let words = ["b", "B", "a", "é", "z", "_", "10", "9", "A b", "Ab"]
        try await open.database.write("test.sort") { tx in
            for (number, word) in words.enumerated() {
                try Values(number: number, whole: 0, real: nil, text: word, bytes: [], flag: true).insert(tx)
            }
        }
        let sorted = try await open.database.read("test.sorted") { tx in
            try tx.values(String.self, "SELECT text FROM test_values ORDER BY text")
        }
        #expect(sorted == words.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) })
    }

    @Test(arguments: engines) func `sums, truths and missing values have the same types`(_ engine: Dialect) async throws
    {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        try await open.database.write("test.numbers") { tx in
            for number in [-3, 0, 10_000, 123_456_789_012] {
                try Values(number: number, whole: Int64(number), real: 0.5, text: "", bytes: [], flag: number > 0)
                    .insert(tx)
            }
        }
        try await open.database.read("test.types") { (tx: Transaction) throws -> Void in
            #expect(try tx.value(Int64.self, "SELECT SUM(whole) FROM test_values") == 123_456_799_009)
            #expect(try tx.value(Int64.self, "SELECT SUM(whole) FROM test_values WHERE number < 0") == -3)
            #expect(try tx.value(Int64.self, "SELECT SUM(whole) FROM test_values WHERE number = 0") == 0)
            #expect(try tx.value(Int.self, "SELECT COUNT(*) FROM test_values WHERE flag = \(true)") == 2)
            #expect(try tx.value(Bool.self, "SELECT 1 = 1") == true)
            #expect(try tx.value(Double.self, "SELECT SUM(real_value) FROM test_values") == 2.0)
            #expect(try tx.value(Int.self, "SELECT MAX(whole) FROM test_values WHERE number = -99") == nil)
            #expect(try tx.values(Int.self, "SELECT whole FROM test_values WHERE number IN (\(list: [Int]()))") == [])
            #expect(
                try tx.values(Int.self, "SELECT whole FROM test_values WHERE number IN (\(list: [0, -3])) ORDER BY 1")
                    == [-3, 0])
        }
    }

    @Test(arguments: engines) func `each kind of constraint is named and undoes its write`(_ engine: Dialect)
        async throws
    {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        try await open.database.write("test.first") { tx in
            try Values(number: 1, whole: 0, real: nil, text: "", bytes: [], flag: true).insert(tx)
        }
        let statements: [SQLStatement] = [
            "INSERT INTO test_values (number, whole, text, bytes, flag) VALUES (1, 0, '', \([UInt8]()), 0)",
            "INSERT INTO test_values (number, whole, text, bytes, flag) VALUES (2, 0, '', \([UInt8]()), 2)",
            "INSERT INTO test_values (number, whole, text, bytes, flag) VALUES (3, 0, \(String?.none), \([UInt8]()), 1)",
            "INSERT INTO test_children (parent) VALUES (77)",
        ]
        for statement in statements {
            do {
                try await open.database.write("test.violate") { tx in
                    try Values(number: 50, whole: 0, real: nil, text: "", bytes: [], flag: true).insert(tx)
                    try tx.run(statement)
                }
                Issue.record("took \(statement.text)")
            } catch SQLError.constraint(let name) { #expect(!name.isEmpty) }
        }
        let count = try await open.database.read("test.left") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM test_values")
        }
        #expect(count == 1)
    }

    @Test(arguments: engines) func `a statement that failed undoes the write, also when its error is dropped`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        await #expect(throws: SQLError.self) {
            try await open.database.write("test.swallow") { tx in
                try Values(number: 1, whole: 0, real: nil, text: "", bytes: [], flag: true).insert(tx)
                _ = try? tx.run("INSERT INTO test_values (number) VALUES (1)")
            }
        }
        let count = try await open.database.read("test.swallowed") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM test_values")
        }
        #expect(count == 0)
    }

    @Test(arguments: engines) func `an error of the caller undoes only its own write`(_ engine: Dialect) async throws {
        struct Own: Error {}
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        let failed = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<64 {
                group.addTask {
                    do {
                        try await open.database.write("test.side") { tx in
                            try Values(number: number, whole: 0, real: nil, text: "", bytes: [], flag: true).insert(tx)
                            if number % 8 == 3 { throw Own() }
                        }
                        return false
                    } catch is Own { return true } catch {
                        Issue.record("\(error)")
                        return true
                    }
                }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        let numbers = try await open.database.read("test.sideRead") { tx in
            try tx.values(Int.self, "SELECT number FROM test_values ORDER BY number")
        }
        #expect(failed == 8)
        #expect(numbers == (0..<64).filter { $0 % 8 != 3 })
    }

    @Test(arguments: engines) func `a read sees one snapshot and may not write`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        let (started, start) = AsyncStream<Void>.makeStream()
        let mayGoOn = Shared(false)
        async let counts = open.database.read("test.snapshot") { tx -> [Int?] in
            let first = try tx.value(Int.self, "SELECT COUNT(*) FROM test_values")
            start.yield()
            let deadline = ContinuousClock.now + .seconds(20)
            while !mayGoOn.withLock({ $0 }), ContinuousClock.now < deadline { usleep(1000) }
            return [first, try tx.value(Int.self, "SELECT COUNT(*) FROM test_values")]
        }
        var signals = started.makeAsyncIterator()
        _ = await signals.next()
        try await open.database.write("test.meanwhile") { tx in
            try Values(number: 1, whole: 0, real: nil, text: "", bytes: [], flag: true).insert(tx)
        }
        mayGoOn.withLock { $0 = true }
        #expect(try await counts == [0, 0])
        await #expect(throws: SQLError.readOnly) {
            try await open.database.read("test.writeInRead") { tx in _ = try tx.run("DELETE FROM test_values") }
        }
    }

    @Test(arguments: engines) func `writes behave as if they ran one after another`(_ engine: Dialect) async throws {
        // Write skew: each takes one of two from duty, if the other stays. Side by side both would go.
        let open = try OpenDatabase(on: engine)
        try await Values.create(in: open.database)
        for round in 0..<10 {
            try await open.database.write("test.duty") { tx in
                try tx.run("DELETE FROM test_values")
                for number in 0..<2 {
                    try Values(number: number, whole: 1, real: nil, text: "", bytes: [], flag: true).insert(tx)
                }
            }
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<2 {
                    group.addTask {
                        _ = try? await open.database.write("test.leaveDuty") { tx in
                            let others = try tx.value(Int64.self, "SELECT SUM(whole) FROM test_values") ?? 0
                            guard others > 1 else { return }
                            try tx.run("UPDATE test_values SET whole = 0 WHERE number = \(number)")
                        }
                    }
                }
            }
            let left = try await open.database.read("test.onDuty") { tx in
                try tx.value(Int64.self, "SELECT SUM(whole) FROM test_values")
            }
            #expect(left == 1, "round \(round)")
        }
    }

    @Test(arguments: engines) func `an edited and an unknown migration stop the start`(_ engine: Dialect) async throws {
        for (tamper, word) in [
            ("UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1" as SQLStatement, "was changed"),
            ("INSERT INTO schema_migrations VALUES (9999, 'future', 'x', 1)", "does not know"),
        ] {
            let open = try OpenDatabase(on: engine)
            try await open.database.write("test.tampering") { tx in _ = try tx.run(tamper) }
            do {
                _ = try Database.forTest(
                    at: open.folder.file("aurum.db"), on: engine, registry: open.registry, clock: open.clock)
                Issue.record("opened")
            } catch SQLError.schema(let sentence) { #expect(sentence.contains(word)) }
        }
    }

    @Test(arguments: engines) func `a read whose statement failed fails, also when its error is dropped`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        await #expect(throws: SQLError.self) {
            try await open.database.read("test.droppedRead") { tx in
                _ = try? tx.value(Int.self, "SELECT nothing FROM nowhere")
            }
        }
    }

    @Test(arguments: engines) func `a database that a restore did not finish is refused until it did`(
        _ engine: Dialect
    ) async throws {
        let (folder, clock, registry) = (TemporaryFolder(), ManualWallClock(), MetricRegistry())
        let location: DatabaseLocation =
            try engine == .sqlite
            ? .sqlite(path: folder.file("a.db"))
            : DatabaseLocation(url: PostgresServer.shared().newURL(), requireTLS: true)
        let newest = try await Schema.look(at: location).pending.map(\.version).max() ?? 0
        func prepare(_ version: Int) async throws -> RestoreTarget {
            try await RestoreTarget.prepare(location, version: version, registry: registry, clock: clock)
        }
        func sentence(_ body: () async throws -> Void) async throws -> String {
            do { try await body() } catch SQLError.schema(let sentence) { return sentence }
            return "it was taken"
        }
        let unknown = try await sentence { _ = try await prepare(newest + 1) }
        #expect(unknown.contains("does not know"), "\(unknown)")
        let target = try await prepare(newest)
        let refusal = try await sentence {
            _ = try await Database.open(location, registry: registry, clock: clock)
        }
        #expect(refusal.contains("did not finish"), "\(refusal)")
        let again = try await sentence { _ = try await prepare(newest) }
        #expect(again.contains("did not finish"), "\(again)")
        try await target.finish()
        let whole = try await Database.open(location, registry: registry, clock: clock)
        let counts = try await whole.tableCounts()
        #expect(counts.allSatisfy { $0.rows == 0 }, "\(counts)")
        try whole.close()
        let older = try await sentence { _ = try await prepare(newest - 1) }
        #expect(older.contains("its schema has version"), "\(older)")
    }

    @Test(arguments: engines) func `two nodes that start at once migrate once`(_ engine: Dialect) async throws {
        let folder = TemporaryFolder()
        if engine == .postgres {
            try PostgresServer.shared().newURL().write(
                toFile: folder.file("a.db.url"), atomically: true, encoding: .utf8)
        }
        let count = try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    let open = try Database.forTest(
                        at: folder.file("a.db"), on: engine, registry: MetricRegistry(), clock: ManualWallClock())
                    try open.close()
                }
            }
            try await group.waitForAll()
            let open = try Database.forTest(
                at: folder.file("a.db"), on: engine, registry: MetricRegistry(), clock: ManualWallClock())
            return try await open.read("test.versions") { tx in
                try tx.value(Int.self, "SELECT COUNT(*) FROM schema_migrations")
            }
        }
        #expect(count ?? 0 >= 9)
    }
}

/// A row with every type of the tables of record.
private struct Values: RowDecodable, Equatable, Sendable {
    var number: Int
    var whole: Int64
    var real: Double?
    var text: String
    var bytes: [UInt8]
    var flag: Bool

    static func create(in database: Database) async throws {
        try await database.write("test.create") { tx in
            try tx.run(
                .dialect(
                    sqlite: """
                        CREATE TABLE test_values (number INTEGER PRIMARY KEY, whole INTEGER NOT NULL, real_value REAL,
                            text TEXT NOT NULL, bytes BLOB NOT NULL, flag INTEGER NOT NULL CHECK (flag IN (0, 1))) STRICT
                        """,
                    postgres: """
                        CREATE TABLE test_values (number BIGINT PRIMARY KEY, whole BIGINT NOT NULL,
                            real_value DOUBLE PRECISION, text TEXT COLLATE "C" NOT NULL, bytes BYTEA NOT NULL,
                            flag BIGINT NOT NULL CHECK (flag IN (0, 1)))
                        """))
            try tx.run("CREATE TABLE test_children (parent BIGINT NOT NULL REFERENCES test_values (number))")
        }
    }

    init(number: Int, whole: Int64, real: Double?, text: String, bytes: [UInt8], flag: Bool) {
        (self.number, self.whole, self.real) = (number, whole, real)
        (self.text, self.bytes, self.flag) = (text, bytes, flag)
    }

    init(number: Int, _ random: inout SeededRandom) {
        let scalars = (0..<Int.random(in: 0...60, using: &random)).compactMap { _ in
            Unicode.Scalar(
                Bool.random(using: &random)
                    ? UInt32.random(in: 1...0x7F, using: &random) : UInt32.random(in: 0x80...0x10FFFF, using: &random))
        }
        self.init(
            number: number,
            whole: Bool.random(using: &random)
                ? Int64.random(in: .min ... .max, using: &random) : Int64.random(in: -9...9, using: &random),
            real: Bool.random(using: &random)
                ? nil : Double(bitPattern: UInt64.random(in: 0...(0x7FEF << 48), using: &random)),
            text: String(String.UnicodeScalarView(scalars)),
            bytes: (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) },
            flag: Bool.random(using: &random))
    }

    init(row: Row) throws {
        self.init(
            number: try row.get("number"), whole: try row.get("whole"), real: try row.optional("real_value"),
            text: try row.get("text"), bytes: try row.get("bytes"), flag: try row.get("flag"))
    }

    func insert(_ tx: Transaction) throws {
        try tx.run(
            """
            INSERT INTO test_values (number, whole, real_value, text, bytes, flag)
            VALUES (\(number), \(whole), \(real), \(text), \(bytes), \(flag))
            """)
    }
}

/// Texts that would do harm if they were ever part of a statement.
enum Injection {
    static var corpus: [String] {
        let seeds = [
            "'; DROP TABLE test_values; --", "' OR '1'='1", "\" OR \"\"=\"", "1; DELETE FROM test_values", "?", "$1",
            "$$",
            "$tag$x$tag$", "\\'; --", "%", "_", "/* */", "--", "E'\\''", "U&'\\0027'", "\u{FF07} OR 1=1",
            "'||(SELECT 1)||'",
            "); INSERT INTO test_values VALUES (1", "\\x00", "NULL", "\r\n;", "{}", "[1,2]", "copy t from program 'x'",
            "😀'; --", "\u{202E}'; --", "' UNION SELECT sha256 FROM schema_migrations --",
        ]
        let frames: [(String) -> String] = [
            { $0 }, { "'\($0)'" }, { "\($0)\($0)" }, { "a\($0)" }, { "\($0)--" }, { "\\\($0)" }, { "(\($0))" },
            { $0.uppercased() }, { "\"\($0)\"" }, { "/*\($0)*/" }, { " \($0) " }, { "%\($0)%" }, { "\($0);" },
            { ":\($0)" }, { "@\($0)" }, { "$\($0)" }, { "?\($0)?" }, { "N'\($0)" }, { "\n\($0)" },
        ]
        return frames.flatMap { frame in seeds.map(frame) }
    }
}
