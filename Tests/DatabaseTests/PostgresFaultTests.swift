import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What a network between us and PostgreSQL can do: cut, reset, delay, lose the answer to a COMMIT, say nothing. Every
/// call ends within its time, what was acknowledged is there, once, and the pool serves on by itself.
@Suite(.serialized) struct PostgresFaultTests {
    private struct Server {
        let proxy: FaultProxy
        let registry: MetricRegistry
        let database: Database

        /// - Parameter connections: what the pool may hold.
        init(connections: Int = 4) async throws {
            let (postgres, registry) = (try PostgresServer.shared(), MetricRegistry())
            let proxy = try await postgres.proxy()
            let url = try postgres.newURL(through: proxy)
            var pool = PostgresPoolSettings()
            (pool.connectionsMin, pool.connectionsMax) = (0, connections)
            let database = try await Database.open(
                DatabaseLocation(url: url, requireTLS: true), pool: pool, registry: registry, clock: ManualWallClock())
            (self.proxy, self.registry, self.database) = (proxy, registry, database)
            try await database.write("test.table") { tx in
                try tx.run("CREATE TABLE marks (id BIGINT PRIMARY KEY)")
                try tx.run("CREATE TABLE sums (id BIGINT PRIMARY KEY, total BIGINT NOT NULL)")
                try tx.run("INSERT INTO sums (id, total) VALUES (1, 0)")
            }
        }

        /// Writes a mark and adds one, and answers how often the closure ran.
        @discardableResult
        func mark(_ id: Int) async throws -> Int {
            let runs = Shared(0)
            try await database.write("test.mark", isolation: .readCommitted) { tx in
                runs.withLock { $0 += 1 }
                try tx.run("INSERT INTO marks (id) VALUES (\(id))")
                try tx.run("UPDATE sums SET total = total + 1")
            }
            return runs.withLock { $0 }
        }

        /// The marks, and how often one was added.
        func stored() async throws -> (marks: Set<Int>, total: Int) {
            try await database.read("test.stored") { tx in
                (
                    Set(try tx.values(Int.self, "SELECT id FROM marks")),
                    try tx.value(Int.self, "SELECT total FROM sums") ?? -1
                )
            }
        }
    }

    private static let commit = PostgresServer.commitMessage

    /// How long a call that meets a silent server may take: its statement, the grace for stopping it, a machine that is
    /// busy with other things.
    private static let patience: Duration = .seconds(9)

    private func until(_ what: String, within limit: Duration, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw PostgresServer.Failure(description: "never: \(what)") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    @Test func `a commit whose answer was lost is asked for by its id, and is not run again`() async throws {
        let server = try await Server()
        try await server.mark(1)
        server.proxy.watch(for: "pg_xact_status")
        server.proxy.set(FaultProxy.Fault(.loseAnswer(to: Self.commit), .toServer, strikes: 1))
        let runs = try await server.mark(2)
        #expect(runs == 1, "it was committed: a second run would be a second effect")
        #expect(server.proxy.struck == 1)
        #expect(server.proxy.count(of: "pg_xact_status") >= 1)
        let (marks, total) = try await server.stored()
        #expect(marks == [1, 2] && total == 2)
        await server.proxy.stop()
    }

    @Test func `a commit that never arrived is asked for by its id, and is run again`() async throws {
        let server = try await Server()
        try await server.mark(1)
        server.proxy.watch(for: "pg_xact_status")
        server.proxy.set(FaultProxy.Fault(.loseRequest(with: Self.commit), .toServer, strikes: 1))
        let runs = try await server.mark(2)
        #expect(runs == 2)
        #expect(server.proxy.count(of: "pg_xact_status") >= 1)
        let (marks, total) = try await server.stored()
        #expect(marks == [1, 2] && total == 2)
        await server.proxy.stop()
    }

    @Test func `a commit that nobody can be asked about is unknown within its time, and is never called refused`()
        async throws
    {
        let server = try await Server()
        try await server.mark(1)
        server.proxy.set(
            FaultProxy.Fault(.loseAnswer(to: Self.commit), .toServer, strikes: 1), thenTurning: .severed)
        let began = ContinuousClock.now
        do {
            try await server.mark(2)
            Issue.record("acknowledged by a server that nobody could ask")
        } catch let error as SQLError {
            guard case .commitUnknown(let token) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(UInt64(token) != nil, "the id of the transaction")
        }
        #expect(ContinuousClock.now - began < Self.patience)
        server.proxy.turn(.clear)
        try await until("the return", within: .seconds(10)) { (try? await server.stored()) != nil }
        let (marks, total) = try await server.stored()
        #expect(marks == [1, 2] && total == 2, "it was committed")
        await server.proxy.stop()
    }

    private static let faults: [FaultProxy.Fault] = {
        typealias Fault = FaultProxy.Fault
        var all: [Fault] = []
        // Within the greeting, the preparing of the session, statements and answers.
        for after in [1, 100, 700, 1500] {
            all.append(Fault(.cut(after: after), .toClient))
            all.append(Fault(.reset(after: after), .toClient))
            all.append(Fault(.cut(after: after), .toServer))
            all.append(Fault(.reset(after: after), .toServer))
        }
        all.append(Fault(.delay(milliseconds: 5), .toClient, strikes: 200))
        all.append(Fault(.delay(milliseconds: 5), .toServer, strikes: 200))
        all.append(Fault(.chop, .toClient, strikes: 200))
        all.append(Fault(.chop, .toServer, strikes: 200))
        all.append(Fault(.loseAnswer(to: Self.commit), .toServer, strikes: 5))
        all.append(Fault(.loseRequest(with: Self.commit), .toServer, strikes: 5))
        all.append(Fault(.loseAnswer(to: PostgresServer.beginMessage), .toServer, strikes: 5))
        return all
    }()

    @Test func `under each fault of the network nothing acknowledged is lost, and nothing is done twice`() async throws
    {
        let server = try await Server()
        let (acknowledged, refused) = (Shared<Set<Int>>([]), Shared<Set<Int>>([]))
        for (number, fault) in Self.faults.enumerated() {
            // Each fault meets connections from their first byte on.
            server.proxy.turn(.severed)
            server.proxy.turn(.clear)
            server.proxy.set(fault)
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<4 {
                    group.addTask {
                        for turn in 0..<10 {
                            let id = (number * 10 + task) * 100 + turn
                            do {
                                try await server.mark(id)
                                acknowledged.withLock { _ = $0.insert(id) }
                            } catch let error as SQLError {
                                #expect(error.isTemporary, "\(fault): \(error)")
                                if case .commitUnknown = error { continue }
                                refused.withLock { _ = $0.insert(id) }
                                // As whoever is told 503 does; the pool asks nobody within 100 ms of a refusal.
                                try? await Task.sleep(for: .milliseconds(30))
                            } catch { Issue.record("\(fault): \(error)") }
                        }
                    }
                }
            }
            #expect(server.proxy.struck > 0, "\(fault) met nobody")
            server.proxy.set(nil)
            // The way is clear: the next call must succeed by itself.
            try await until("the return after \(fault)", within: .seconds(10)) {
                (try? await server.stored()) != nil
            }
        }
        let (marks, total) = try await server.stored()
        let (done, undone) = (acknowledged.withLock { $0 }, refused.withLock { $0 })
        #expect(done.subtracting(marks).isEmpty, "acknowledged but not stored")
        #expect(undone.intersection(marks).isEmpty, "refused for certain but stored")
        #expect(total == marks.count, "\(total) additions for \(marks.count) marks")
        #expect(done.count > Self.faults.count * 10, "\(done.count)")
        await server.proxy.stop()
    }

    @Test(arguments: [FaultProxy.Weather.dark, .darkAndLossy])
    func `a server that says nothing ends reads and writes within their time, and serves on when it speaks`(
        _ weather: FaultProxy.Weather
    ) async throws {
        let server = try await Server()
        // Connections that are open already, for they are the ones that hang.
        await withTaskGroup(of: Void.self) { group in
            for id in 1...4 { group.addTask { _ = try? await server.mark(id) } }
        }
        let before = try await server.stored()
        #expect(before.total == before.marks.count)
        server.proxy.turn(weather)
        let slowest = Shared(Duration.zero)
        let unknown = Shared<Set<Int>>([])
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<8 {
                group.addTask {
                    let began = ContinuousClock.now
                    do {
                        if number % 2 == 0 {
                            _ = try await server.stored()
                        } else {
                            try await server.mark(100 + number)
                        }
                        Issue.record("answered in the dark")
                    } catch let error as SQLError {
                        #expect(error.isTemporary, "\(error)")
                        unknown.withLock { _ = $0.insert(100 + number) }
                    } catch { Issue.record("\(error)") }
                    let took = ContinuousClock.now - began
                    slowest.withLock { $0 = max($0, took) }
                }
            }
        }
        #expect(slowest.withLock { $0 } < Self.patience, "\(slowest.withLock { $0 })")
        server.proxy.turn(.clear)
        let cleared = ContinuousClock.now
        try await until("a write after the dark", within: .seconds(10)) { (try? await server.mark(1000)) != nil }
        #expect(ContinuousClock.now - cleared < .seconds(10))
        let after = try await server.stored()
        #expect(after.total == after.marks.count)
        // No statement in the dark was a COMMIT: nothing of them may be there, also when they arrive late.
        #expect(after.marks == before.marks.union([1000]))
        #expect(server.database.figures.connections <= 4)
        await server.proxy.stop()
    }

    @Test func `a cancelled call of a silent server does not hold its connection, nor those of others`() async throws {
        let server = try await Server(connections: 2)
        server.proxy.watch(for: "pg_sleep")
        let sleepers = Task {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        _ = try? await server.database.read("test.sleep", limit: .report) { tx in
                            try tx.value(String.self, "SELECT CAST(pg_sleep(25) AS TEXT)")
                        }
                    }
                }
            }
        }
        try await until("both sleep", within: .seconds(10)) { server.proxy.count(of: "pg_sleep") >= 2 }
        server.proxy.turn(.darkAndLossy)
        sleepers.cancel()
        // The request to stop them is lost. They hold their two connections until their own limit; nobody who comes
        // meanwhile waits for longer than a connection may be waited for.
        let began = ContinuousClock.now
        await #expect(throws: SQLError.self) { try await server.mark(1) }
        #expect(ContinuousClock.now - began < Self.patience)
        server.proxy.turn(.clear)
        server.proxy.turn(.severed)
        server.proxy.turn(.clear)
        await sleepers.value
        try await until("a write after the dark", within: .seconds(10)) { (try? await server.mark(2)) != nil }
        await server.proxy.stop()
    }
}
