import AurumCore
import Database
import Logging
import Runtime
import Telemetry
import TestSupport
import Testing

/// What a person isolated stays isolated, whatever ends in between.
@Suite struct BreakerHoldTests {
    private struct Process {
        let guards: GuardBook
        let holds: BreakerHolds

        init(_ database: Database) async throws {
            let clock = ManualWallClock()
            guards = GuardBook(registry: MetricRegistry(), health: HealthRegistry(clock: clock), clock: clock)
            holds = try await BreakerHolds(
                database: database, guards: guards, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }

        func state(_ name: String) -> BreakerMachine.State? { guards.states.first { $0.name == name }?.state }
    }

    @Test(arguments: Dialect.allCases) func `an isolated breaker is isolated after a restart, before it is called`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        let first = try await Process(open.database)
        #expect(try await !first.holds.isolate("buyer:a", actor: "ann"), "it was never called")
        _ = (first.guards.guard("buyer:a"), first.guards.guard("buyer:b"))
        #expect(try await first.holds.isolate("buyer:a", actor: "ann"))
        #expect(try await first.holds.isolate("buyer:a", actor: "bob"), "who was first stays")
        #expect(first.state("buyer:a") == .isolated && first.state("buyer:b") == .closed)

        let second = try await Process(open.database)
        #expect(second.state("buyer:a") == .isolated && second.state("buyer:b") == nil)
        #expect(second.holds.holds["buyer:a"]?.actor == "ann")
        await #expect(throws: GuardRefusal.self) {
            try await second.guards.guard("buyer:a").call(within: .seconds(1), judge: { (_: Int) in .good }, { _ in 1 })
        }
        #expect(try await second.holds.release("buyer:a", actor: "ann"))
        #expect(second.state("buyer:a") == .closed && second.holds.holds.isEmpty)
        #expect(try await !second.holds.release("buyer:c", actor: "ann"))

        // The first process still runs, and follows the table.
        try await first.holds.reload()
        #expect(first.state("buyer:a") == .closed)
        #expect(try await Process(open.database).state("buyer:a") == nil)
    }

    @Test(arguments: Dialect.allCases) func `a breaker that is observed never opens, also after a restart`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        let first = try await Process(open.database)
        #expect(try await !first.holds.observe("buyer:a", actor: "ann"), "it was never called")
        _ = first.guards.guard("buyer:a")
        #expect(try await first.holds.isolate("buyer:a", actor: "ann"))
        #expect(try await first.holds.observe("buyer:a", actor: "bob"))
        #expect(first.state("buyer:a") == .metricsOnly && first.holds.holds["buyer:a"]?.actor == "bob")
        let second = try await Process(open.database)
        #expect(second.holds.holds["buyer:a"]?.kind == .observed)
        for _ in 0..<50 {
            let answer = try await second.guards.guard("buyer:a").call(
                within: .seconds(60), judge: { (_: Int) in .bad }, { _ in 1 })
            #expect(answer == 1)
        }
        #expect(second.state("buyer:a") == .metricsOnly)
        #expect(try await second.holds.isolate("buyer:a", actor: "eve"))
        #expect(second.state("buyer:a") == .isolated)
        try await first.holds.reload()
        #expect(first.state("buyer:a") == .isolated && first.holds.holds["buyer:a"]?.actor == "eve")
        #expect(try await first.holds.observe("buyer:a", actor: "bob"))
        #expect(try await first.holds.release("buyer:a", actor: "bob"))
        #expect(first.state("buyer:a") == .closed && first.holds.holds.isEmpty)
        #expect(try await Process(open.database).holds.holds.isEmpty)
    }

    @Test func `another process on the database isolates as soon as it hears of it`() async throws {
        let open = try OpenDatabase(on: .postgres)
        let (one, other) = (try await Process(open.database), try await Process(open.database))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await other.holds.run() }
            defer { group.cancelAll() }
            _ = one.guards.guard("buyer:a")
            #expect(try await one.holds.isolate("buyer:a", actor: "ann"))
            try await eventually("the other process isolates") { other.state("buyer:a") == .isolated }
        }
    }

    @Test func `turned back and forth by many at once, every process ends as the table says`() async throws {
        let open = try OpenDatabase()
        let process = try await Process(open.database)
        _ = process.guards.guard("buyer:a")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<40 {
                group.addTask {
                    if number.isMultiple(of: 2) {
                        _ = try await process.holds.isolate("buyer:a", actor: "\(number)")
                    } else {
                        _ = try await process.holds.release("buyer:a", actor: "\(number)")
                    }
                }
            }
            try await group.waitForAll()
        }
        let stored = try await open.database.read("test.holds") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM isolated_breakers")
        }
        #expect(process.state("buyer:a") == (stored == 1 ? .isolated : .closed))
    }
}
