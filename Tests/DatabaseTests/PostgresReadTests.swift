import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

/// Reads on PostgreSQL end their transaction with their statement where they ask for one alone: what they see, and what
/// a connection is good for afterwards, must not show it.
@Suite(.serialized) struct PostgresReadTests {
    private struct Refusal: Error {}

    /// One connection, so that each read finds what the one before left on it.
    private static func open() async throws -> Database {
        let folder = TemporaryFolder()
        var pool = PostgresPoolSettings()
        (pool.connectionsMin, pool.connectionsMax) = (1, 1)
        let database = try Database.forTest(
            at: folder.file("reads"), on: .postgres, pool: pool, registry: MetricRegistry(), clock: ManualWallClock())
        try await database.write("test.reads.create") { tx in
            try tx.run("CREATE TABLE counters (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)")
            try tx.run("INSERT INTO counters (id, value) VALUES (1, 0)")
        }
        return database
    }

    private static func value(_ database: Database) async throws -> Int? {
        try await database.read("test.reads.value") { tx in
            try tx.value(Int.self, "SELECT value FROM counters WHERE id = 1")
        }
    }

    @Test(arguments: [false, true])
    func `a read that asks for more than it ever did sees one snapshot`(swallows: Bool) async throws {
        let folder = TemporaryFolder()
        let database = try Database.forTest(
            at: folder.file("reads"), on: .postgres, registry: MetricRegistry(), clock: ManualWallClock())
        try await database.write("test.reads.create") { tx in
            try tx.run("CREATE TABLE counters (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)")
            try tx.run("INSERT INTO counters (id, value) VALUES (1, 0)")
        }
        let between = Shared<@Sendable () -> Void>({})
        @Sendable func read(_ statements: Int) async throws -> [Int?] {
            try await database.read("test.reads.grows") { tx in
                try (0..<statements).map { number in
                    if number > 0 { between.withLock { $0 }() }
                    let sql: SQLStatement = "SELECT value FROM counters WHERE id = 1"
                    // A closure may make what it likes of a failure.
                    return swallows ? (try? tx.value(Int.self, sql)) ?? nil : try tx.value(Int.self, sql)
                }
            }
        }
        for _ in 0..<5 { #expect(try await read(1) == [0]) }
        // Another writes between the two statements, each time that they are asked.
        between.withLock { between in
            between = {
                let isDone = DispatchSemaphore(value: 0)
                Task {
                    try await database.write("test.reads.add") { tx in
                        try tx.run("UPDATE counters SET value = value + 1 WHERE id = 1")
                    }
                    isDone.signal()
                }
                isDone.wait()
            }
        }
        for _ in 0..<5 {
            let seen = try await read(3)
            #expect(Set(seen).count == 1 && seen.count == 3, "\(seen)")
        }
        between.withLock { $0 = {} }
        let last = try await Self.value(database)
        #expect(try await read(1) == [last] && last != 0)
        try database.close()
    }

    @Test func `a read that fails, is stopped or throws leaves its connection in order`() async throws {
        let database = try await Self.open()
        for round in 1...4 {
            #expect(try await Self.value(database) == round - 1)
            await #expect(throws: SQLError.self) {
                _ = try await database.read("test.reads.wrong") { tx in
                    try tx.value(Int.self, "SELECT 1 / CAST(\(0) AS BIGINT)")
                }
            }
            #expect(try await Self.value(database) == round - 1)
            await #expect(throws: Refusal.self) {
                _ = try await database.read("test.reads.refused") { tx -> Int in
                    _ = try tx.value(Int.self, "SELECT value FROM counters WHERE id = 1")
                    throw Refusal()
                }
            }
            let hasBegun = Shared(false)
            let stopped = Task {
                try await database.read("test.reads.sleeps") { tx in
                    hasBegun.withLock { $0 = true }
                    return try tx.value(String.self, "SELECT CAST(pg_sleep(20) AS TEXT)")
                }
            }
            while !hasBegun.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
            try await Task.sleep(for: .milliseconds(50))
            stopped.cancel()
            await #expect(throws: CancellationError.self) { _ = try await stopped.value }
            try await database.write("test.reads.add") { tx in
                try tx.run("UPDATE counters SET value = value + 1 WHERE id = 1")
            }
        }
        #expect(try await Self.value(database) == 4)
        // A read of nothing.
        #expect(try await database.read("test.reads.nothing") { _ in 7 } == 7)
        #expect(try await Self.value(database) == 4)
        try database.close()
    }

    @Test func `statements that make room for others do not reach into the next write`() async throws {
        let database = try await Self.open()
        for number in 0..<600 {
            // One statement a read, each a new one: from the 257th on each makes another forgotten.
            let text = SQLStatement(stringLiteral: "SELECT value + \(number) FROM counters WHERE id = 1")
            let found = try await database.read("test.reads.many") { tx in try tx.value(Int.self, text) }
            #expect(found == number + number / 50)
            guard number % 50 == 49 else { continue }
            // What is undone stays undone, whatever the server was told just before.
            await #expect(throws: Refusal.self) {
                try await database.write("test.reads.undone") { tx in
                    try tx.run("UPDATE counters SET value = value + 1000 WHERE id = 1")
                    throw Refusal()
                }
            }
            #expect(try await Self.value(database) == number / 50)
            let another = SQLStatement(stringLiteral: "SELECT value - \(number) FROM counters WHERE id = 1")
            _ = try await database.read("test.reads.many") { tx in try tx.value(Int.self, another) }
            try await database.write("test.reads.add") { tx in
                try tx.run("UPDATE counters SET value = value + 1 WHERE id = 1")
            }
        }
        #expect(try await Self.value(database) == 12)
        try database.close()
    }

    @Test func `a write that asks for nothing keeps its connection`() async throws {
        let database = try await Self.open()
        @Sendable func process() async throws -> Int? {
            try await database.read("test.reads.process") { tx in try tx.value(Int.self, "SELECT pg_backend_pid()") }
        }
        let first = try await process()
        for _ in 0..<3 {
            try await database.write("test.reads.empty") { _ in }
            await #expect(throws: Refusal.self) {
                try await database.write("test.reads.refused") { _ in throw Refusal() }
            }
            await #expect(throws: SQLError.self) {
                try await database.write("test.reads.refusedText") { tx in
                    try tx.run("UPDATE counters SET value = 7 WHERE CAST(id AS TEXT) = \("1\0")")
                }
            }
            #expect(try await process() == first)
        }
        #expect(try await Self.value(database) == 0)
        try database.close()
    }

    @Test func `a read that failed after its first statement is not taken for one of one statement`() async throws {
        let database = try await Self.open()
        let (runs, fails) = (Shared(0), Shared(true))
        @Sendable func read() async throws -> Int? {
            try await database.read("test.reads.failing") { tx in
                runs.withLock { $0 += 1 }
                _ = try tx.value(Int.self, "SELECT value FROM counters WHERE id = 1")
                if fails.withLock({ $0 }) { throw Refusal() }
                return try tx.value(Int.self, "SELECT value + 1 FROM counters WHERE id = 1")
            }
        }
        for _ in 0..<3 { await #expect(throws: Refusal.self) { _ = try await read() } }
        fails.withLock { $0 = false }
        #expect(try await read() == 1)
        #expect(runs.withLock { $0 } == 4, "each ran once")
        try database.close()
    }
}
