import AurumCore
import Database
import Telemetry
import TestSupport
import Testing

/// A request that asks the database the same thing for each row is named.
@Suite struct RepeatedStatementTests {
    private func ask(_ database: Database, _ times: Int) async throws {
        for number in 0..<times {
            _ = try await database.read("test.each") { tx in try tx.value(Int.self, "SELECT \(number)") }
        }
    }

    /// What the report says after a request did `body`.
    private func settled(
        _ open: OpenDatabase, _ body: @escaping @Sendable (Database) async throws -> Void
    ) async throws -> [JSONValue] {
        let scope = RequestScope()
        try await RequestScope.$current.withValue(scope) { try await body(open.database) }
        open.database.queries.repeats.settle(scope, route: "GET /v1/things")
        return open.database.queryReport()["n_plus_one"]?.array ?? []
    }

    @Test(arguments: Dialect.allCases) func `the 21st run of a statement in one request is told, the 20th is not`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        #expect(try await settled(open) { try await ask($0, 20) } == [])
        #expect(!open.registry.prometheusText().contains("aurum_database_n_plus_one_total{"))
        let rows = try await settled(open) { try await ask($0, 25) }
        try #require(rows.count == 1)
        #expect(rows[0]["route"] == "GET /v1/things" && rows[0]["statement"] == "test.each")
        #expect(rows[0]["runs_max"] == 25 && rows[0]["requests"] == 1)
        #expect(try await settled(open) { try await ask($0, 21) }.first?["requests"] == 2)
        #expect(open.registry.prometheusText().contains("aurum_database_n_plus_one_total{statement=\"test.each\"} 2"))
    }

    @Test func `runs within one transaction and in tasks of the request count together`() async throws {
        let open = try OpenDatabase()
        let rows = try await settled(open) { database in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<3 {
                    group.addTask {
                        _ = try await database.read("test.loop") { tx in
                            for number in 0..<10 { _ = try tx.value(Int.self, "SELECT \(number)") }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        #expect(rows.first?["runs_max"] == 30)
    }

    @Test func `different statements, other requests and work of no request do not add up`() async throws {
        let open = try OpenDatabase()
        try await ask(open.database, 30)
        for _ in 0..<3 { #expect(try await settled(open) { try await ask($0, 15) } == []) }
        let rows = try await settled(open) { database in
            try await ask(database, 15)
            _ = try await database.read("test.other") { tx in
                for number in 0..<15 { _ = try tx.value(Int.self, "SELECT \(number) + 1") }
            }
            try await RequestScope.$current.withValue(nil) { try await ask(database, 30) }
        }
        #expect(rows == [])
    }

    @Test func `a run that was undone because others were in the way does not count`() async throws {
        let (registry, clock) = (MetricRegistry(), ManualWallClock())
        let tracker = QueryTracker(registry: registry, clock: clock)
        let scope = RequestScope()
        RequestScope.$current.withValue(scope) {
            let track = tracker.begin("test.rerun", .write)
            for _ in 0..<2 {
                track.begin()
                for _ in 0..<15 { track.ran("SELECT 1", rows: 1, from: .now) }
                track.end()
            }
            tracker.finish(track, nil)
        }
        tracker.repeats.settle(scope, route: "POST /v1/things")
        #expect(tracker.repeats.json == .array([]))
    }
}
