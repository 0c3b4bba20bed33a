import AurumCore
import Database
import Foundation
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

struct DatabaseTests {
    private func event(_ id: UID, _ key: String = "k") -> OutboxEvent {
        OutboxEvent(
            id: id, org: "o", key: key, name: "test.happened", traceID: nil, at: Timestamp(milliseconds: 1),
            props: ["n": 1])
    }

    @Test func `a value of every kind comes back as it was written`() async throws {
        let open = try OpenDatabase()
        let id = UID(high: 1, low: .max)
        let text = "O'Brien; DROP TABLE outbox; -- \u{1F600} é"
        let json: JSONValue = ["b": [1, 2.5, true, .null], "a": "x"]
        try await open.database.write("test.insert") { tx in
            try tx.run(
                """
                INSERT INTO outbox (id, org, key, name, trace_id, at, props, created_at)
                VALUES (\(id), \(text), \("k"), \("n"), \(UID?.none), \(Timestamp(microseconds: .max)), \(json), \(Int64.min))
                """)
        }
        let back = try await open.database.read("test.read") { tx in
            try #require(try tx.one(Everything.self, "SELECT * FROM outbox"))
        }
        #expect(back.id == id)
        #expect(back.org == text)
        #expect(back.trace == nil)
        #expect(back.at == Timestamp(microseconds: .max))
        #expect(back.props == json)
        #expect(back.created == Int64.min)
    }

    @Test func `a wrong type, a missing column and a null are errors, never a default`() async throws {
        let open = try OpenDatabase()
        let errors = try await open.database.write("test.errors") { tx -> [RowError] in
            try tx.emit(event(UID(high: 1, low: 1)))
            return ["SELECT 'x' AS n", "SELECT 1 AS m", "SELECT NULL AS n"].compactMap { text -> RowError? in
                do {
                    _ = try tx.one(OneNumber.self, SQLStatement(stringLiteral: text))
                    return nil
                } catch { return error as? RowError }
            }
        }
        #expect(
            errors == [
                .wrongType(column: "n", expected: "Int", found: "text"), .missingColumn("n"), .null(column: "n"),
            ])
    }

    @Test func `one failing write of a shared commit leaves the others committed`() async throws {
        let open = try OpenDatabase()
        let results = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<64 {
                group.addTask {
                    do {
                        try await open.database.write("test.grouped") { tx in
                            try tx.emit(event(UID(high: 7, low: UInt64(index / 2 * 2 == 20 ? 20 : index))))
                        }
                        return true
                    } catch {
                        guard case SQLError.constraint = error else { Issue.record("\(error)"); return false }
                        return false
                    }
                }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        let count = try await open.database.read("test.count") { try $0.value(Int.self, "SELECT COUNT(*) FROM outbox") }
        #expect(results == 63)
        #expect(count == 63)
    }

    @Test func `what shared a commit with a write that found no room is stored if, and only if, it succeeded`()
        async throws
    {
        let open = try OpenDatabase(on: .sqlite)
        try await open.database.write("test.narrow") { tx in
            try tx.run("CREATE TABLE parts (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
            let pages = try tx.value(Int.self, "PRAGMA page_count") ?? 0
            _ = try tx.value(Int.self, SQLStatement(stringLiteral: "PRAGMA max_page_count = \(pages + 40)"))
        }
        let mayGoOn = Shared(false)
        let ends = Shared<[Int: Bool]>([:])
        let (ended, end) = AsyncStream<Void>.makeStream()
        // Holds the writer until the others wait for one commit together.
        open.database.enqueue("test.holdsWriter") { _ in
            let deadline = ContinuousClock.now + .seconds(30)
            while !mayGoOn.withLock({ $0 }), ContinuousClock.now < deadline { usleep(1000) }
        } finish: { _ in
            end.yield()
        }
        for (id, count) in [(1, 10), (2, 1 << 20), (3, 10), (4, 10)] {
            open.database.enqueue("test.part") { tx in
                try tx.run(
                    "INSERT INTO parts (id, body) VALUES (\(id), \([UInt8](repeating: 7, count: count)))")
            } finish: { error in
                ends.withLock { $0[id] = error == nil }
                end.yield()
            }
        }
        mayGoOn.withLock { $0 = true }
        var signals = ended.makeAsyncIterator()
        for _ in 0..<5 { _ = await signals.next() }
        let stored = try await open.database.read("test.parts") { try $0.values(Int.self, "SELECT id FROM parts") }
        let told = ends.withLock { $0 }
        #expect(told[2] == false)
        #expect(Set(stored) == Set(told.filter { $0.value }.keys))
    }

    @Test func `a probe row of a process that is long gone is taken out`() async throws {
        let open = try OpenDatabase()
        try await open.database.write("test.forgotten") { tx in
            _ = try tx.run("INSERT INTO database_probe (node, at) VALUES ('gone', 1)")
        }
        let probe = DatabaseProbe(
            database: open.database, health: HealthRegistry(clock: open.clock), registry: open.registry,
            clock: open.clock)
        let running = Task { try await probe.run() }
        let deadline = ContinuousClock.now + .seconds(30)
        var left = 1
        while left > 0, ContinuousClock.now < deadline {
            left =
                try await open.database.read("test.forgottenLeft") {
                    try $0.value(Int.self, "SELECT COUNT(*) FROM database_probe WHERE node = 'gone'")
                } ?? 0
            if left > 0 { try await Task.sleep(for: .milliseconds(5)) }
        }
        #expect(left == 0)
        running.cancel()
        _ = try? await running.value
    }

    @Test func `a transaction used after its closure is closed`() async throws {
        let open = try OpenDatabase()
        let kept = Mutex<UncheckedTransaction?>(nil)
        try await open.database.write("test.escape") { tx in kept.withLock { $0 = UncheckedTransaction(tx) } }
        let escaped = try #require(kept.withLock { $0 })
        #expect(throws: SQLError.closed) { try escaped.transaction.run("DELETE FROM outbox") }
    }

    @Test func `an edited migration stops the start and names both checksums`() async throws {
        let folder = TemporaryFolder()
        let path = folder.file("a.db")
        let registry = MetricRegistry()
        let database = try Database.openSQLite(at: path, registry: registry, clock: ManualWallClock())
        try await database.write("test.tamper") { tx in
            _ = try tx.run("UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1")
        }
        try database.close()
        do {
            _ = try Database.openSQLite(at: path, registry: registry, clock: ManualWallClock())
            Issue.record("opened")
        } catch let SQLError.schema(sentence) {
            #expect(sentence.contains("migration 1 was changed") && sentence.contains("other"))
        }
    }

    @Test func `a database of a newer release is refused`() async throws {
        let folder = TemporaryFolder()
        let path = folder.file("a.db")
        let database = try Database.openSQLite(at: path, registry: MetricRegistry(), clock: ManualWallClock())
        try await database.write("test.newer") { tx in
            _ = try tx.run("INSERT INTO schema_migrations VALUES (9999, 'future', 'x', 1)")
        }
        try database.close()
        #expect(throws: SQLError.schema("the database has migration 9999, which this release does not know")) {
            try Database.openSQLite(at: path, registry: MetricRegistry(), clock: ManualWallClock())
        }
    }

    @Test func `a file that is no database is refused with a named error`() throws {
        let folder = TemporaryFolder()
        let path = folder.file("a.db")
        try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: path))
        #expect(throws: SQLError.corrupt) {
            try Database.openSQLite(at: path, registry: MetricRegistry(), clock: ManualWallClock())
        }
    }

    @Test func `writes after close are refused and earlier ones are on disk`() async throws {
        let folder = TemporaryFolder()
        let path = folder.file("a.db")
        let database = try Database.openSQLite(at: path, registry: MetricRegistry(), clock: ManualWallClock())
        try await database.write("test.last") { tx in try tx.emit(event(UID(high: 1, low: 2))) }
        try database.close()
        await #expect(throws: SQLError.closed) {
            try await database.write("test.late") { tx in try tx.emit(event(UID(high: 1, low: 3))) }
        }
        let again = try Database.openSQLite(at: path, registry: MetricRegistry(), clock: ManualWallClock())
        let count = try await again.read("test.count") { try $0.value(Int.self, "SELECT COUNT(*) FROM outbox") }
        #expect(count == 1)
    }

    @Test func `the relay delivers each row in order, and again after a refusal`() async throws {
        let open = try OpenDatabase()
        let seen = Mutex<[UID]>([])
        let refuse = Mutex(true)
        let relay = OutboxRelay(
            database: open.database, health: HealthRegistry(clock: open.clock), logger: .init(label: "test")
        ) { events in
            if refuse.withLock({ $0 }) { throw SQLError.unavailable }
            seen.withLock { $0 += events.map(\.id) }
        }
        for index in 0..<1200 {
            try await open.database.write("test.fill") { tx in try tx.emit(event(UID(high: 1, low: UInt64(index)))) }
        }
        await relay.drain()
        #expect(seen.withLock { $0.isEmpty })
        refuse.withLock { $0 = false }
        await relay.drain()
        #expect(seen.withLock { $0.map(\.low) } == Array(0..<1200))
        let left = try await open.database.read("test.count") { try $0.value(Int.self, "SELECT COUNT(*) FROM outbox") }
        #expect(left == 0)
    }
}

private struct UncheckedTransaction: @unchecked Sendable {  // used only to prove that it is dead
    let transaction: Transaction
    init(_ transaction: Transaction) { self.transaction = transaction }
}

private struct OneNumber: RowDecodable {
    let n: Int
    init(row: Row) throws { n = try row.get("n") }
}

private struct Everything: RowDecodable, Sendable {
    let id: UID
    let org: String
    let trace: UID?
    let at: Timestamp
    let props: JSONValue
    let created: Int64

    init(row: Row) throws {
        id = try row.get("id")
        org = try row.get("org")
        trace = try row.optional("trace_id")
        at = try row.get("at")
        props = try row.get("props")
        created = try row.get("created_at")
    }
}
