import AurumCore
import Database
import Synchronization
import Telemetry
import TestSupport
import Testing

/// A write of SQLite that takes too long is stopped, and nobody who shared its commit is harmed.
struct SQLiteWriteLimitTests {
    private static let endlessCount: SQLStatement =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) AS found FROM n"
    /// Changes nothing for ever; SQLite undoes the whole transaction of a change that is stopped.
    private static let endlessChange: SQLStatement = """
        INSERT INTO counted (id)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0
        """
    private static let halfASecond: SQLStatement = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
        SELECT COUNT(*) AS found FROM n
        """

    private let folder = TemporaryFolder()
    private let database: Database

    init() async throws {
        database = try Database.openSQLite(
            at: folder.file("a.db"), registry: MetricRegistry(), clock: ManualWallClock())
        try await database.write("test.table") { tx in
            try tx.run("CREATE TABLE counted (id INTEGER PRIMARY KEY) STRICT")
        }
    }

    private func ids() async throws -> [Int] {
        try await database.read("test.ids") { tx in try tx.values(Int.self, "SELECT id FROM counted ORDER BY id") }
    }

    /// One write that never ends, in the middle of twenty that wait for the same commit.
    private func amongOthers(_ endless: @escaping @Sendable (Transaction) throws -> Void) async throws {
        let database = database
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let first = Task {
            try await database.write("test.first") { tx in
                begin.finish()
                try tx.run("INSERT INTO counted (id) VALUES (1000)")
                // Long enough that the others wait together.
                _ = try tx.value(Int.self, Self.halfASecond)
            }
        }
        for await _ in begun {}
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...20 {
                group.addTask {
                    _ = try await database.write("test.other") { tx in
                        try tx.run("INSERT INTO counted (id) VALUES (\(number))")
                    }
                }
            }
            group.addTask { await Self.expectTimeout(database, endless) }
            try await group.waitForAll()
        }
        try await first.value
        #expect(try await ids() == Array(1...20) + [1000])
        try await database.write("test.after") { tx in try tx.run("INSERT INTO counted (id) VALUES (2000)") }
        #expect(try await ids().last == 2000)
    }

    private static func expectTimeout(
        _ database: Database, _ endless: @escaping @Sendable (Transaction) throws -> Void
    ) async {
        await #expect(throws: SQLError.timeout(.statement)) {
            try await database.write("test.endless") { tx in
                try tx.run("INSERT INTO counted (id) VALUES (5000)")
                // What a closure makes of the error changes nothing.
                do { try endless(tx) } catch {}
            }
        }
    }

    @Test func `a question without end is stopped, and what shared its commit is stored`() async throws {
        try await amongOthers { _ = try $0.value(Int.self, Self.endlessCount) }
    }

    @Test func `a change without end is stopped, and what it undid with itself is run again`() async throws {
        try await amongOthers { try $0.run(Self.endlessChange) }
    }

    @Test func `short statements that together take more than a transaction may are stopped`() async throws {
        let database = database
        let ran = Mutex(0)
        await #expect(throws: SQLError.timeout(.transaction)) {
            try await database.write("test.long") { tx in
                try tx.run("INSERT INTO counted (id) VALUES (1)")
                let end = ContinuousClock.now + .seconds(60)
                while ContinuousClock.now < end {
                    _ = try tx.value(Int.self, Self.halfASecond)
                    ran.withLock { $0 += 1 }
                }
            }
        }
        #expect(ran.withLock { $0 } > 1)
        #expect(try await ids() == [])
    }

    @Test func `a write that says it needs longer gets it`() async throws {
        let database = database
        let (start, clock) = (ContinuousClock.now, ContinuousClock())
        try await database.write("test.report", limit: .report) { tx in
            while clock.now - start < .seconds(11) { _ = try tx.value(Int.self, Self.halfASecond) }
            try tx.run("INSERT INTO counted (id) VALUES (1)")
        }
        #expect(try await ids() == [1])
    }
}
