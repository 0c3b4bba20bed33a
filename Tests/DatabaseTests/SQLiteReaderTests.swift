import AurumCore
import Database
import Telemetry
import TestSupport
import Testing

/// Reads of a SQLite file: side by side, held to their limit, ended with their caller.
struct SQLiteReaderTests {
    private static let endless: SQLStatement =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) AS found FROM n"

    private let folder = TemporaryFolder()
    private let database: Database

    init() throws {
        database = try Database.openSQLite(
            at: folder.file("a.db"), registry: MetricRegistry(), clock: ManualWallClock())
    }

    private func one() async throws -> Int? {
        try await database.read("test.one") { tx in try tx.value(Int.self, "SELECT 1") }
    }

    @Test func `a statement that runs longer than its limit is stopped, and its connection serves others`() async throws
    {
        await #expect(throws: SQLError.timeout(.statement)) {
            _ = try await database.read("test.endless") { tx in try tx.value(Int.self, Self.endless) }
        }
        for _ in 0..<20 { #expect(try await one() == 1) }
    }

    @Test func `a read ends with its task, and others go on meanwhile`() async throws {
        let database = database
        let reads = (0..<7).map { _ in
            Task { try await database.read("test.endless", limit: .report) { try $0.value(Int.self, Self.endless) } }
        }
        #expect(try await one() == 1, "seven of eight connections are busy")
        for read in reads { read.cancel() }
        for read in reads {
            let result = await read.result
            #expect(throws: CancellationError.self) { try result.get() }
        }
        for _ in 0..<20 { #expect(try await one() == 1) }
    }

    @Test func `a read sees what was written before it began, and nothing later`() async throws {
        try await database.write("test.table") { tx in
            try tx.run("CREATE TABLE counted (id INTEGER NOT NULL) STRICT")
        }
        let database = database
        for number in 1...50 {
            try await database.write("test.count") { tx in try tx.run("INSERT INTO counted (id) VALUES (\(number))") }
            let seen = try await database.read("test.seen") { tx in
                let first = try tx.value(Int.self, "SELECT COUNT(*) FROM counted")
                return [first, try tx.value(Int.self, "SELECT COUNT(*) FROM counted")]
            }
            #expect(seen == [number, number])
        }
    }

    @Test func `a closed database refuses reads`() async throws {
        #expect(try await one() == 1)
        try database.close()
        await #expect(throws: SQLError.closed) { _ = try await database.read("test.late") { _ in 1 } }
    }

    @Test func `a read cannot write`() async throws {
        await #expect(throws: SQLError.readOnly) {
            _ = try await database.read("test.write") { tx in try tx.run("DELETE FROM outbox") }
        }
    }
}
