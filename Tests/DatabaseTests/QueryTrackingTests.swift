import AurumCore
import Database
import Foundation
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What is known of reads and writes by their name: on both engines, with times given where they decide.
struct QueryTrackingTests {
    /// Stands for what nobody else may read.
    private static let needle = "needle-7f3a-secret"

    // MARK: Real engines

    @Test(arguments: Dialect.allCases) func `a slow statement is named in record, plan, metric and report`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        let database = open.database
        let slow = try await Self.slowStatement(database)
        let answer = try await database.read("test.slowed") { tx in try tx.value(Int.self, slow) }
        #expect(answer != nil)
        try await database.write("test.fastWrite") { tx in
            try tx.run("INSERT INTO database_probe (node, at) VALUES (\(Self.needle), \(tx.now))")
        }
        await database.takePlans()
        let record = try #require(database.queries.slowCalls().first { $0.name == "test.slowed" })
        #expect(record.duration >= .milliseconds(100) && record.rows == 1 && record.statements == 1)
        #expect(record.parts.engine >= .milliseconds(100) && record.parts.engine <= record.duration)
        #expect(record.parameters == ["text of \(Self.needle.utf8.count) bytes"])
        let plan = try #require(record.plan)
        #expect(!plan.hasPrefix("no plan"), "\(plan)")
        #expect(plan.contains(engine == .sqlite ? "SCAN" : "Node Type"), "\(plan)")
        let text = open.registry.prometheusText()
        #expect(text.contains("aurum_database_slow_total{statement=\"test.slowed\"} 1"))
        #expect(text.contains("aurum_database_rows_total{statement=\"test.slowed\"} 1"))
        let report = database.queryReport()
        #expect(report["slow"]?.array?.contains { $0["statement"]?.string == "test.slowed" } == true)
        let row = report["statements"]?.array?.first { $0["name"]?.string == "test.slowed" }
        #expect(row?["calls"] == 1 && row?["slow"] == 1 && row?["kind"] == "read")
        #expect((row?["p95_ms"]?.double ?? 0) >= 100)
        #expect(report["engine"]?.string == engine.rawValue && report["pool"]?["max"]?.integer ?? 0 > 0)
        #expect(!report.canonical.contains(Self.needle) && !text.contains(Self.needle))
        #expect(report["open"] == .array([]))
    }

    @Test(arguments: Dialect.allCases) func `what is below the threshold is counted and not kept`(
        _ engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        open.database.queries.slowAfter = .seconds(600)
        for _ in 0..<20 { try await open.database.read("test.quick") { tx in _ = try tx.value(Int.self, "SELECT 1") } }
        #expect(open.database.queries.slowCalls().isEmpty)
        let quick = open.database.queries.statements.first { $0.name == "test.quick" }
        #expect(quick?.calls == 20 && quick?.rows == 20 && quick?.slow == 0 && quick?.errorCount == 0)
        #expect(!open.registry.prometheusText().contains("aurum_database_slow_total{"))
    }

    @Test(arguments: Dialect.allCases) func `plans of writes are taken, and write nothing`(_ engine: Dialect)
        async throws
    {
        let open = try OpenDatabase(on: engine)
        let database = open.database
        // Every call is slow.
        database.queries.slowAfter = .zero
        try await database.write("test.insert") { tx in
            try tx.run("INSERT INTO database_probe (node, at) VALUES (\(Self.needle), \(tx.now))")
        }
        try await database.write("test.change") { tx in
            try tx.run("UPDATE database_probe SET at = \(Int64(5)) WHERE node = \(Self.needle)")
        }
        await database.takePlans()
        for name in ["test.insert", "test.change"] {
            let plan = database.queries.slowCalls().first { $0.name == name }?.plan
            #expect(plan?.hasPrefix("no plan") == false, "\(name): \(plan ?? "none")")
        }
        database.queries.slowAfter = .seconds(600)
        let rows = try await database.read("test.left") { tx in
            try tx.values(Int64.self, "SELECT at FROM database_probe")
        }
        #expect(rows == [5])
        // Prepared for the plan, and forgotten: the same again.
        database.queries.slowAfter = .zero
        try await database.write("test.insertMore") { tx in
            try tx.run("INSERT INTO database_probe (node, at) VALUES (\(Self.needle + "2"), \(tx.now))")
        }
        await database.takePlans()
        #expect(
            database.queries.slowCalls().first { $0.name == "test.insertMore" }?.plan?.hasPrefix("no plan") == false)
        #expect(!database.queryReport().canonical.contains(Self.needle))
    }

    @Test(arguments: Dialect.allCases) func `errors are counted by class`(_ engine: Dialect) async throws {
        struct Own: Error {}
        let open = try OpenDatabase(on: engine)
        let database = open.database
        await #expect(throws: SQLError.self) {
            try await database.read("test.mistake") { tx in _ = try tx.value(Int.self, "SELECT nothing FROM nowhere") }
        }
        await #expect(throws: Own.self) {
            try await database.write("test.own") { (_: Transaction) throws -> Void in throw Own() }
        }
        let all = Dictionary(uniqueKeysWithValues: database.queries.statements.map { ($0.name, $0.errors) })
        #expect(all["test.mistake"]?[.statement] == 1 && all["test.own"]?[.caller] == 1)
        #expect(
            open.registry.prometheusText().contains(
                "aurum_database_errors_total{statement=\"test.mistake\",class=\"statement\"} 1"))
        let rates = database.queries.rates(last: 60)
        #expect(rates.errors[.statement] == 1 && rates.faultRate > 0 && rates.faultRate < 1)
    }

    /// A statement that takes 120 ms at least, as measured on the machine and at the time of the test.
    private static func slowStatement(_ database: Database) async throws -> SQLStatement {
        if database.dialect == .postgres {
            return "SELECT 1 FROM (SELECT pg_sleep(0.13)) AS slept WHERE \(needle) <> ''"
        }
        var count = 100_000
        while true {
            let statement = recursion(count)
            let took = try await database.read("test.calibrate") { tx in
                let began = ContinuousClock.now
                _ = try tx.value(Int.self, statement)
                return ContinuousClock.now - began
            }
            // Twice as much again: the next run may find the machine free.
            if took > .milliseconds(150) { return recursion(count * 2) }
            count *= 2
        }
    }

    private static func recursion(_ count: Int) -> SQLStatement {
        SQLStatement(
            stringInterpolation: {
                var text = SQLStatement.StringInterpolation(literalCapacity: 200, interpolationCount: 1)
                text.appendLiteral(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(count)) ")
                text.appendLiteral("SELECT COUNT(*) AS found FROM n WHERE ")
                text.appendInterpolation(needle)
                text.appendLiteral(" <> ''")
                return text
            }())
    }

    // MARK: Given times

    private final class Lines: Sendable {
        let all = Mutex<[String]>([])

        var logger: Logger {
            Logger(label: "test", factory: { [self] _ in Handler(lines: self) })
        }

        struct Handler: LogHandler {
            let lines: Lines
            var metadata: Logger.Metadata = [:]
            var logLevel = Logger.Level.trace

            init(lines: Lines) { self.lines = lines }

            subscript(metadataKey key: String) -> Logger.Metadata.Value? {
                get { metadata[key] }
                set { metadata[key] = newValue }
            }

            func log(event: LogEvent) {
                let line = "\(event.message) \(event.metadata ?? [:])"
                lines.all.withLock { $0.append(line) }
            }
        }
    }

    private func makeTracker(_ lines: Lines = Lines()) -> (QueryTracker, MetricRegistry) {
        let registry = MetricRegistry()
        return (QueryTracker(registry: registry, clock: ManualWallClock(), logger: lines.logger), registry)
    }

    /// A call of one statement: 10 ms of waiting, 5 of its own, 5 of commit, the rest in the statement.
    private func call(
        _ tracker: QueryTracker, _ took: Duration, at began: ContinuousClock.Instant = .now,
        limit: StatementLimit = .standard, error: (any Error)? = nil
    ) {
        let track = tracker.begin("test.given", .write, limit: limit, at: began)
        track.begin(at: began + .milliseconds(10))
        track.ran(
            "UPDATE a SET b = \(Self.needle), c = \(17)", rows: 3, from: began + .milliseconds(10),
            to: began + took - .milliseconds(10))
        track.end(at: began + took - .milliseconds(5))
        tracker.finish(track, error, at: began + took)
    }

    @Test func `120 ms is slow, 80 ms is not, and the parts make up the whole`() throws {
        let lines = Lines()
        let (tracker, registry) = makeTracker(lines)
        call(tracker, .milliseconds(80))
        #expect(tracker.slowCalls().isEmpty && lines.all.withLock { $0.isEmpty })
        call(tracker, .milliseconds(120))
        let record = try #require(tracker.slowCalls().first)
        #expect(tracker.slowCalls().count == 1 && record.duration == .milliseconds(120) && record.rows == 3)
        let parts = record.parts
        #expect(parts.pool == .milliseconds(10) && parts.own == .milliseconds(5) && parts.commit == .milliseconds(5))
        #expect(parts.lock == .zero && parts.engine == .milliseconds(100))
        #expect(record.parameters == ["text of \(Self.needle.utf8.count) bytes", "integer"])
        let said = lines.all.withLock { $0 }
        #expect(said.count == 1 && said[0].contains("slow statement test.given") && said[0].contains("UPDATE a SET b"))
        #expect(!said[0].contains(Self.needle) && !said[0].contains("17"))
        #expect(!record.json.canonical.contains(Self.needle))
        let snapshot = try #require(tracker.statements.first)
        #expect(snapshot.calls == 2 && snapshot.slow == 1 && snapshot.most == .milliseconds(120))
        #expect(abs(snapshot.p50.seconds - 0.085) < 1e-9 && abs(snapshot.p95.seconds - 0.12) < 1e-9)
        #expect(registry.prometheusText().contains("aurum_database_slow_total{statement=\"test.given\"} 1"))
    }

    @Test func `a run that others were in the way of counts as lock, and only the last run's statements count`()
        throws
    {
        let (tracker, _) = makeTracker()
        let began = ContinuousClock.now
        let track = tracker.begin("test.given", .write, at: began)
        track.begin(at: began)
        track.ran("SELECT 1", rows: 1, from: began, to: began + .milliseconds(40))
        track.end(at: began + .milliseconds(50))
        track.begin(at: began + .milliseconds(60))
        track.ran("SELECT 2", rows: 1, from: began + .milliseconds(60), to: began + .milliseconds(160))
        track.end(at: began + .milliseconds(160))
        tracker.finish(track, nil, at: began + .milliseconds(160))
        let record = try #require(tracker.slowCalls().first)
        #expect(record.parts.lock == .milliseconds(60) && record.parts.engine == .milliseconds(100))
        #expect(record.statements == 1 && record.rows == 1 && record.text == "SELECT 2")
    }

    @Test func `the log says a name once a second, and how often it did not`() {
        let lines = Lines()
        let (tracker, _) = makeTracker(lines)
        let began = ContinuousClock.now
        for index in 0..<50 { call(tracker, .milliseconds(120), at: began + .milliseconds(index * 10)) }
        #expect(lines.all.withLock { $0.count } == 1 && tracker.slowCalls().count == 50)
        call(tracker, .milliseconds(120), at: began + .seconds(5))
        let said = lines.all.withLock { $0 }
        #expect(said.count == 2 && said[1].contains("unlogged_before") && said[1].contains("49"))
    }

    @Test func `the last thousand slow calls are kept, and no more`() {
        let (tracker, _) = makeTracker()
        let began = ContinuousClock.now
        for index in 0..<10_000 { call(tracker, .milliseconds(200 + index), at: began) }
        let kept = tracker.slowCalls()
        #expect(kept.count == QueryTracker.slowMax)
        #expect(kept.map(\.serial) == Array((9_000..<10_000).reversed()))
        #expect(kept.first?.duration == .milliseconds(10_199) && tracker.statements.first?.slow == 10_000)
        #expect(tracker.slowCalls(5).map(\.serial) == [9999, 9998, 9997, 9996, 9995])
    }

    @Test func `a transaction that stays open is warned of once, with its statements`() {
        let lines = Lines()
        let (tracker, registry) = makeTracker(lines)
        tracker.slowAfter = .seconds(600)
        let began = ContinuousClock.now
        let track = tracker.begin("test.given", .write, at: began)
        track.begin(at: began)
        for index in 0..<100 {
            track.ran("UPDATE a SET b = \(Self.needle)", rows: 1, from: began, to: began + .milliseconds(index))
        }
        tracker.watch(at: began + .milliseconds(900))
        #expect(lines.all.withLock { $0.isEmpty })
        #expect(registry.prometheusText().contains("aurum_database_transaction_open 1"))
        tracker.watch(at: began + .milliseconds(1100))
        tracker.watch(at: began + .milliseconds(2100))
        track.end(at: began + .seconds(3))
        tracker.finish(track, nil, at: began + .seconds(3))
        tracker.watch(at: began + .seconds(4))
        let said = lines.all.withLock { $0 }
        #expect(said.count == 1 && said[0].contains("test.given is open") && said[0].contains("UPDATE a SET b = ?"))
        #expect(said.allSatisfy { !$0.contains(Self.needle) })
        #expect(said[0].components(separatedBy: "UPDATE").count - 1 == CallTrack.statementsListedMax)
        let text = registry.prometheusText()
        #expect(text.contains("aurum_database_transactions_long_total{statement=\"test.given\"} 1"))
        #expect(text.contains("aurum_database_transaction_open 0"))
        // A backup is long by its nature.
        call(tracker, .seconds(60), at: began, limit: .backup)
        #expect(lines.all.withLock { $0.count } == 1)
    }

    @Test func `rates are of the last minute and the last five`() {
        var window = OutcomeWindow()
        for second in 0..<400 {
            window.add(.ok, second: second)
            if second < 300 { window.add(.busy, second: second) }
            if second >= 380 { window.add(.constraint, second: second) }
        }
        let (minute, five) = (window.rates(last: 60, second: 399), window.rates(last: 300, second: 399))
        #expect(minute.calls == 80 && minute.errors == [.constraint: 20] && minute.faultRate == 0)
        #expect(five.calls == 300 + 200 + 20 && five.errors == [.busy: 200, .constraint: 20])
        #expect(abs(five.faultRate - 200.0 / 520) < 1e-9 && abs(five.rate(.constraint) - 20.0 / 520) < 1e-9)
        #expect(window.rates(last: 300, second: 2000) == OutcomeRates())
    }

    @Test func `more than one call in a hundred that fails for five minutes is failing`() {
        let (tracker, registry) = makeTracker()
        for _ in 0..<99 { call(tracker, .milliseconds(30)) }
        #expect(!tracker.isFailing)
        for _ in 0..<50 { call(tracker, .milliseconds(30), error: SQLError.constraint("x")) }
        #expect(!tracker.isFailing, "a rule that says no is no fault")
        for _ in 0..<4 { call(tracker, .milliseconds(30), error: SQLError.timeout(.lock)) }
        #expect(tracker.isFailing)
        tracker.watch()
        let text = registry.prometheusText()
        #expect(text.contains("aurum_database_error_rate{class=\"timeout_lock\",window=\"5m\"} 0.02"))
    }

    @Test func `counting a call costs little`() {
        let (tracker, _) = makeTracker()
        let count = 50_000
        let statement: SQLStatement = "SELECT 1"
        let began = ContinuousClock.now
        for _ in 0..<count {
            let track = tracker.begin("test.cost", .read)
            track.begin()
            let now = ContinuousClock.now
            track.ran(statement, rows: 1, from: now)
            track.end()
            tracker.finish(track, nil)
        }
        let each = (ContinuousClock.now - began) / count
        print("query tracking: \(each) a call of one statement")
        #expect(each < .microseconds(100), "the bar of 3 µs is for a quiet machine; this one only catches a blunder")
    }
}
