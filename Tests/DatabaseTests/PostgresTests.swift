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

/// What only a server on the other end of a connection can do to us.
@Suite(.serialized) struct PostgresTests {
    /// A database on a schema of its own, with a pool of our size.
    private struct Server {
        let folder = TemporaryFolder()
        let registry = MetricRegistry()
        let clock = ManualWallClock()
        let database: Database
        let postgres: PostgresServer

        init(_ postgres: PostgresServer? = nil, _ change: (inout PostgresPoolSettings) -> Void = { _ in }) throws {
            var pool = PostgresPoolSettings()
            (pool.connectionsMin, pool.connectionsMax) = (0, 8)
            change(&pool)
            self.postgres = try postgres ?? PostgresServer.shared()
            try self.postgres.newURL().write(toFile: folder.file("a.url"), atomically: true, encoding: .utf8)
            database = try Database.forTest(
                at: folder.file("a"), on: .postgres, pool: pool, registry: registry, clock: clock)
        }
    }

    private func accounts(_ database: Database, _ count: Int) async throws {
        try await database.write("test.accounts") { tx in
            try tx.run("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)")
            try tx.run("CREATE TABLE transfers (id BIGINT PRIMARY KEY)")
            for id in 0..<count { try tx.run("INSERT INTO accounts (id, balance) VALUES (\(id), 1000)") }
        }
    }

    @Test func `transfers keep the sum while connections are killed`() async throws {
        let server = try Server()
        try await accounts(server.database, 10)
        let (reported, refused) = (Shared<Set<Int>>([]), Shared<Set<Int>>([]))
        let seed: UInt64 = 77
        print("seed \(seed)")
        let (tasks, transfers) = (20, soakCount(250))
        let isDone = Shared(false)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !isDone.withLock({ $0 }) {
                    _ = try? server.postgres.psql(
                        """
                        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name LIKE 'aurum/%' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1
                        """)
                    try? await Task.sleep(for: .milliseconds(20))
                }
            }
            await withTaskGroup(of: Void.self) { workers in
                for task in 0..<tasks {
                    workers.addTask {
                        var random = SeededRandom(seed: seed &+ UInt64(task))
                        for number in 0..<transfers {
                            let id = task * 10_000 + number
                            let (from, to) = (
                                Int.random(in: 0..<10, using: &random), Int.random(in: 0..<10, using: &random)
                            )
                            do {
                                try await server.database.write("test.transfer") { tx in
                                    let balance =
                                        try tx.value(
                                            Int.self, "SELECT balance FROM accounts WHERE id = \(from)") ?? 0
                                    let amount = min(balance, 7)
                                    try tx.run("UPDATE accounts SET balance = balance - \(amount) WHERE id = \(from)")
                                    try tx.run("UPDATE accounts SET balance = balance + \(amount) WHERE id = \(to)")
                                    try tx.run("INSERT INTO transfers (id) VALUES (\(id))")
                                }
                                reported.withLock { _ = $0.insert(id) }
                            } catch let error as SQLError {
                                #expect(error.isTemporary, "\(error)")
                                if case .commitUnknown = error { continue }
                                refused.withLock { _ = $0.insert(id) }
                            } catch { Issue.record("\(error)") }
                        }
                    }
                }
            }
            isDone.withLock { $0 = true }
        }
        let (sum, stored) = try await server.database.read("test.bank") { tx in
            (
                try tx.value(Int.self, "SELECT SUM(balance) FROM accounts"),
                Set(try tx.values(Int.self, "SELECT id FROM transfers"))
            )
        }
        #expect(sum == 10_000)
        let successes = reported.withLock { $0 }
        #expect(successes.subtracting(stored).isEmpty, "reported but not stored")
        #expect(refused.withLock { $0 }.intersection(stored).isEmpty, "refused for certain but stored")
        #expect(successes.count > tasks)
    }

    @Test func `sessions name their machine and process, unless the URL names them otherwise`() async throws {
        let server = try Server()
        let own = try await server.database.read("test.session") { tx in
            try tx.value(String.self, "SELECT current_setting('application_name')")
        }
        let name = try #require(own)
        var machine = [CChar](repeating: 0, count: 256)
        #expect(gethostname(&machine, machine.count - 1) == 0)
        let host = String(decoding: machine.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        #expect(name == "aurum/\(host.prefix(40)):\(getpid())")
        let url = try server.postgres.newURL()
        let named = url + (url.contains("?") ? "&" : "?") + "application_name=reports"
        let other = try await Database.open(
            DatabaseLocation(url: named, requireTLS: true), registry: MetricRegistry(), clock: ManualWallClock())
        let given = try await other.read("test.sessionNamed") { tx in
            try tx.value(String.self, "SELECT current_setting('application_name')")
        }
        #expect(given == "reports")
        try other.close()
    }

    @Test func `a read whose connection was killed runs once more`() async throws {
        let server = try Server { $0.connectionsMax = 1 }
        let first = try await server.database.read("test.pid") { tx in
            try tx.value(Int.self, "SELECT pg_backend_pid()")
        }
        try server.postgres.psql("SELECT pg_terminate_backend(\(first ?? 0))")
        let second = try await server.database.read("test.pidAgain") { tx in
            try tx.value(Int.self, "SELECT pg_backend_pid()")
        }
        #expect(second != nil && second != first)
    }

    @Test func `a full pool makes calls wait, then refuses them by name`() async throws {
        let server = try Server {
            $0.connectionsMax = 2
            $0.acquireTimeout = .milliseconds(300)
            $0.waitersMax = 3
        }
        let isFree = Shared(false)
        try await withThrowingTaskGroup(of: SQLError?.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    do {
                        try await server.database.read("test.hold") { tx in
                            _ = try tx.value(Int.self, "SELECT 1")
                            let deadline = ContinuousClock.now + .seconds(4)
                            while !isFree.withLock({ $0 }), ContinuousClock.now < deadline { usleep(1000) }
                        }
                        return nil
                    } catch let error as SQLError { return error }
                }
            }
            var ends: [SQLError] = []
            while ends.count < 10, case let end?? = try await group.next() { ends.append(end) }
            #expect(ends.count { $0 == .busy } >= 1)
            #expect(ends.count { $0 == .timeout(.acquire) } >= 1)
            #expect(Set(ends.map { "\($0)" }) == ["busy", "timeout(Database.SQLError.Timeout.acquire)"])
            isFree.withLock { $0 = true }
            try await group.waitForAll()
        }
        #expect(server.database.figures.connections <= 2)
        #expect(server.database.figures.acquireTimeouts >= 1)
        #expect(try await server.database.read("test.after") { try $0.value(Int.self, "SELECT 1") } == 1)
    }

    @Test func `sleeping queries do not hold up anybody else`() async throws {
        let server = try Server { $0.connectionsMax = 20 }
        let sleepers = Task {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<18 {
                    group.addTask {
                        _ = try? await server.database.read("test.sleep") { tx in
                            try tx.value(String.self, "SELECT CAST(pg_sleep(30) AS TEXT)")
                        }
                    }
                }
            }
        }
        for _ in 0..<50 {
            let one = try await server.database.read("test.quick") { try $0.value(Int.self, "SELECT 1") }
            #expect(one == 1)
        }
        sleepers.cancel()
        await sleepers.value
        // Cancelled on the server, not only here.
        let running = try server.postgres.psql(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE 'SELECT CAST(pg_sleep(30)%' AND state = 'active'")
        #expect(running == "0")
    }

    @Test func `cancelled tasks leak no connection`() async throws {
        let server = try Server { $0.connectionsMax = 6 }
        try await accounts(server.database, 1)
        let ends = Shared((cancelled: 0, done: 0, other: 0))
        for _ in 0..<soakCount(250) {
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<40 {
                    group.addTask {
                        do {
                            if number % 2 == 0 {
                                _ = try await server.database.read("test.cancelled") { tx in
                                    try tx.value(String.self, "SELECT CAST(pg_sleep(0.05) AS TEXT)")
                                }
                            } else {
                                try await server.database.write("test.cancelledWrite", isolation: .readCommitted) {
                                    tx in
                                    try tx.run("UPDATE accounts SET balance = balance + 1")
                                }
                            }
                            ends.withLock { $0.done += 1 }
                        } catch is CancellationError { ends.withLock { $0.cancelled += 1 } } catch {
                            ends.withLock { $0.other += 1 }
                            Issue.record("\(error)")
                        }
                    }
                }
                await Task.yield()
                group.cancelAll()
            }
        }
        #expect(ends.withLock { $0.cancelled } > 0)
        #expect(server.database.figures.connections <= 6)
        for _ in 0..<60 {
            #expect(try await server.database.read("test.stillThere") { try $0.value(Int.self, "SELECT 1") } == 1)
        }
        #expect(server.database.figures.waiting == 0)
    }

    @Test func `the server is killed in a write and comes back`() async throws {
        let own = try PostgresServer()
        let server = try Server(own)
        try await accounts(server.database, 1)
        let acknowledged = Shared<[Int]>([])
        let isDone = Shared(false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<4 {
                group.addTask {
                    var number = task * 1_000_000
                    while !isDone.withLock({ $0 }) {
                        number += 1
                        do {
                            let id = number
                            try await server.database.write("test.mark") { tx in
                                try tx.run("INSERT INTO transfers (id) VALUES (\(id))")
                            }
                            acknowledged.withLock { $0.append(id) }
                        } catch let error as SQLError {
                            #expect(error.isTemporary, "\(error)")
                            try await Task.sleep(for: .milliseconds(5))
                        }
                    }
                }
            }
            for _ in 0..<3 {
                let before = acknowledged.withLock { $0.count }
                try await until("writes go on") { acknowledged.withLock { $0.count } > before + 20 }
                try own.kill()
                try own.start()
            }
            let before = acknowledged.withLock { $0.count }
            try await until("writes go on after the last return") { acknowledged.withLock { $0.count } > before + 20 }
            isDone.withLock { $0 = true }
            try await group.waitForAll()
        }
        let stored = Set(
            try await server.database.read("test.marks") { try $0.values(Int.self, "SELECT id FROM transfers") })
        #expect(Set(acknowledged.withLock { $0 }).subtracting(stored).isEmpty)
    }

    private func until(_ what: String, _ condition: () -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition() {
            guard ContinuousClock.now < deadline else { throw PostgresServer.Failure(description: "never: \(what)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    @Test func `a row that another transaction holds is a lock timeout`() async throws {
        let server = try Server()
        try await accounts(server.database, 1)
        let (started, start) = AsyncStream<Void>.makeStream()
        async let holder: Void = server.database.write("test.holder", isolation: .readCommitted) { tx in
            try tx.run("UPDATE accounts SET balance = 1")
            start.yield()
            _ = try tx.value(String.self, "SELECT CAST(pg_sleep(4) AS TEXT)")
        }
        var signals = started.makeAsyncIterator()
        _ = await signals.next()
        await #expect(throws: SQLError.timeout(.lock)) {
            try await server.database.write("test.blocked", isolation: .readCommitted) { tx in
                _ = try tx.run("UPDATE accounts SET balance = 2")
            }
        }
        try await holder
    }

    @Test func `a statement that takes too long is stopped, and its connection serves on`() async throws {
        let server = try Server { $0.connectionsMax = 1 }
        await #expect(throws: SQLError.timeout(.statement)) {
            try await server.database.read("test.long") { tx in
                _ = try tx.value(String.self, "SELECT CAST(pg_sleep(20) AS TEXT)")
            }
        }
        #expect(try await server.database.read("test.next") { try $0.value(Int.self, "SELECT 1") } == 1)
    }

    @Test func `more statements than are kept prepared still run`() async throws {
        let server = try Server { $0.connectionsMax = 1 }
        for round in 0..<2 {
            try await server.database.write("test.many") { (tx: Transaction) throws -> Void in
                for number in 0..<400 {
                    let statement = SQLStatement(stringLiteral: "SELECT \(number) AS n")
                    #expect(try tx.value(Int.self, statement) == number, "round \(round)")
                }
            }
        }
        let kept = try await server.database.read("test.kept") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM pg_prepared_statements")
        }
        // Four of them begin and end transactions.
        #expect(kept ?? 0 <= 262)
    }

    @Test func `the relay delivers a transaction that was overtaken, the naive reader loses it`() async throws {
        let server = try Server()
        let database = server.database
        @Sendable func event(_ number: UInt64) -> OutboxEvent {
            OutboxEvent(
                id: UID(high: 9, low: number), org: "o", key: "k", name: "test.happened", traceID: nil,
                at: Timestamp(milliseconds: 1), props: [:])
        }
        let seen = Shared<[UInt64]>([])
        let relay = OutboxRelay(
            database: database, health: HealthRegistry(clock: server.clock), logger: Logger(label: "test")
        ) { events in seen.withLock { $0 += events.map(\.id.low) } }
        // The first takes its number, the second commits before it.
        let mayCommit = Shared(false)
        let (started, start) = AsyncStream<Void>.makeStream()
        async let slow: Void = database.write("test.slow", isolation: .readCommitted) { tx in
            try tx.emit(event(1))
            start.yield()
            let deadline = ContinuousClock.now + .seconds(8)
            while !mayCommit.withLock({ $0 }), ContinuousClock.now < deadline { usleep(1000) }
        }
        var signals = started.makeAsyncIterator()
        _ = await signals.next()
        try await database.write("test.fast", isolation: .readCommitted) { tx in try tx.emit(event(2)) }
        // What a reader by sequence would see now, and how far it would remember to have come.
        let naive = try await database.read("test.naive") { tx in
            try tx.values(Int.self, "SELECT seq FROM outbox ORDER BY seq")
        }
        await relay.drain()
        #expect(seen.withLock { $0 } == [], "the second could still be overtaken")
        mayCommit.withLock { $0 = true }
        try await slow
        let deadline = ContinuousClock.now + .seconds(30)
        while seen.withLock({ $0.count }) < 2, ContinuousClock.now < deadline { await relay.drain() }
        #expect(seen.withLock { $0 } == [1, 2])
        // The canary: whoever goes on from the highest number seen never finds the first.
        #expect(naive == [2])
    }

    @Test func `what an open transaction holds back is looked for less and less often`() async throws {
        let server = try Server()
        let database = server.database
        @Sendable func event(_ number: UInt64) -> OutboxEvent {
            OutboxEvent(
                id: UID(high: 10, low: number), org: "o", key: "k", name: "test.happened", traceID: nil,
                at: Timestamp(milliseconds: 1), props: [:])
        }
        let mayCommit = Shared(false)
        let (started, start) = AsyncStream<Void>.makeStream()
        async let slow: Void = database.write("test.slow", isolation: .readCommitted) { tx in
            try tx.emit(event(1))
            start.yield()
            let deadline = ContinuousClock.now + .seconds(8)
            while !mayCommit.withLock({ $0 }), ContinuousClock.now < deadline { usleep(1000) }
        }
        var signals = started.makeAsyncIterator()
        _ = await signals.next()
        try await database.write("test.fast", isolation: .readCommitted) { tx in try tx.emit(event(2)) }
        let seen = Shared<[UInt64]>([])
        let relay = OutboxRelay(
            database: database, health: HealthRegistry(clock: server.clock), logger: Logger(label: "test")
        ) { events in seen.withLock { $0 += events.map(\.id.low) } }
        let began = ContinuousClock.now
        let running = Task { try await relay.run() }
        try await until("six looks") {
            database.queries.statements.first { $0.name == "outbox.heldBack" }?.calls ?? 0 >= 6
        }
        #expect(ContinuousClock.now - began >= .milliseconds(25 + 50 + 100 + 200 + 400))
        mayCommit.withLock { $0 = true }
        try await slow
        try await until("the rows are delivered") { seen.withLock { $0.count } >= 2 }
        running.cancel()
        _ = try? await running.value
        #expect(seen.withLock { $0 } == [1, 2])
    }

    @Test func `rows of a dump of another server are delivered, in their order`() async throws {
        let server = try Server()
        try await server.database.write("test.dumped") { tx in
            for number in 1...3 as ClosedRange<UInt64> {
                try tx.emit(
                    OutboxEvent(
                        id: UID(high: 8, low: number), org: "o", key: "k", name: "test.happened", traceID: nil,
                        at: Timestamp(milliseconds: 1), props: [:]))
            }
            // An id that this server reaches in years.
            _ = try tx.run("UPDATE outbox SET xid = CAST('9000000000' AS xid8)")
        }
        let seen = Shared<[UInt64]>([])
        let relay = OutboxRelay(
            database: server.database, health: HealthRegistry(clock: server.clock), logger: Logger(label: "test")
        ) { events in seen.withLock { $0 += events.map(\.id.low) } }
        let running = Task { try await relay.run() }
        try await until("the rows are delivered") { seen.withLock { $0.count } >= 3 }
        running.cancel()
        _ = try? await running.value
        #expect(seen.withLock { $0 } == [1, 2, 3])
    }

    @Test func `a search_path without a schema is a sentence at once`() async throws {
        let url = try PostgresServer.shared().url(schema: "nobody_made_it")
        let location = try DatabaseLocation(url: url, requireTLS: true)
        do {
            _ = try await Database.open(location, registry: MetricRegistry(), clock: ManualWallClock())
            Issue.record("opened")
        } catch SQLError.schema(let sentence) { #expect(sentence.contains("search_path"), "\(sentence)") }
    }

    @Test func `what nobody reads is named in health, and cleared when the server is back`() async throws {
        let own = try PostgresServer()
        let server = try Server(own)
        let health = HealthRegistry(clock: server.clock)
        let probe = DatabaseProbe(
            database: server.database, health: health, registry: server.registry, clock: server.clock)
        #expect(await probe.probe())
        #expect(health.snapshot["database"]?.state == .ok)
        try own.kill()
        #expect(await probe.probe() == false)
        #expect(health.snapshot["database"]?.state == .degraded)
        #expect(await probe.probe() == false)
        #expect(health.snapshot["database"]?.state == .down)
        #expect(health.snapshot["database"]?.reason == "probe_failed")
        #expect(!health.isReady)
        try own.start()
        // A server that was away is not asked at once again.
        let deadline = ContinuousClock.now + .seconds(10)
        var isBack = false
        while !isBack, ContinuousClock.now < deadline { isBack = await probe.probe() }
        #expect(isBack && health.isReady)
    }

    @Test func `a closed database refuses and leaves no connection`() async throws {
        let server = try Server()
        _ = try await server.database.read("test.before") { try $0.value(Int.self, "SELECT 1") }
        try server.database.close()
        #expect(server.database.figures.connections == 0)
        await #expect(throws: SQLError.closed) {
            _ = try await server.database.read("test.closed") { try $0.value(Int.self, "SELECT 1") }
        }
    }

    @Test func `URLs are checked, and a server elsewhere must prove who it is`() throws {
        for (url, word) in [
            ("sqlite://relative.db", "whole path"), ("mysql://x", "must begin"), ("postgres://%zz", "no URL"),
            ("postgres://u:p@db.example.com/x?sslmode=require", "verify-full"),
            ("postgres:///x?service=elsewhere", "service"),
        ] {
            do {
                _ = try DatabaseLocation(url: url, requireTLS: true)
                Issue.record("took \(url)")
            } catch { #expect(error.description.contains(word) && !error.description.contains("u:p"), "\(error)") }
        }
        let far = try DatabaseLocation(url: "postgres://u:secret@db.example.com:6432/x", requireTLS: true)
        #expect(far.shown == "postgres db.example.com:6432/x")
        let weak = try DatabaseLocation(url: "postgres://u:p@db.example.com/x?sslmode=require", requireTLS: false)
        guard case .postgres(let address) = weak else {
            Issue.record("\(weak.shown)")
            return
        }
        #expect(address.weakness == "TLS require")
    }
}

/// A value that tasks of a test share.
final class Shared<Value: Sendable>: Sendable {
    private let value: Mutex<Value>

    init(_ value: Value) { self.value = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result { value.withLock { body(&$0) } }
}
