import Attribution
import AurumCore
import Database
import Events
import Foundation
import Logging
import Telemetry
import TestSupport
import Testing

/// What is kept of runs over the log, and what counts as a conversion.
struct LogResultTests {
    private static let start: Int64 = 1_760_000_000_000

    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let attribution: LogAttribution

        init() async throws {
            open = try OpenDatabase(
                clock: ManualWallClock(Timestamp(milliseconds: LogResultTests.start + 20 * 86_400_000)))
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let store = log.store
            attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
            var lines: [String] = []
            for person in 0..<20 {
                for touch in 0..<(1 + person % 4) {
                    let at = LogResultTests.start + Int64(touch) * 86_400_000 + Int64(person)
                    lines.append(
                        "{\"id\":\"t\(person)-\(touch)\",\"type\":\"click\",\"ts\":\(at),"
                            + "\"anonymous_id\":\"a\(person)\",\"campaign\":"
                            + "{\"name\":\"c\(touch)\",\"source\":\"google\",\"medium\":\"cpc\"}}"
                    )
                }
                let at = LogResultTests.start + 5 * 86_400_000
                lines.append(
                    "{\"id\":\"p\(person)\",\"type\":\"conversion\",\"name\":\"purchase\",\"ts\":\(at),"
                        + "\"anonymous_id\":\"a\(person)\",\"value\":12.34,\"currency\":\"USD\"}")
            }
            _ = try await log.capture.submit(
                Array(lines.joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: "o", app: "shop"),
                receivedAt: open.clock.now)
        }

        func run(_ low: UInt64, control: LogRunControl = LogRunControl()) async throws -> LogRunSummary {
            try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", reason: "run \(low)"), org: "o", id: UID(high: 0, low: low),
                control: control)
        }

        func report(_ model: LogModel = .rule(.linear), version: Int? = nil) async throws -> JSONValue {
            try await attribution.report(
                org: "o", conversion: "purchase", model: model, by: .campaign, version: version)
        }
    }

    @Test func `a report adds up to the conversions and their money under every model`() async throws {
        let world = try await World()
        await #expect(throws: LogAttributionError.noResult("purchase")) { try await world.report() }
        _ = try await world.run(1)
        for model in LogModel.standard {
            let report = try await world.report(model)
            #expect(report["totals"]?["conversions"]?.double == 20, "\(model.name)")
            #expect(report["totals"]?["amount_minor"]?["USD"]?.integer == 24_680, "\(model.name)")
        }
        let journeys = try await world.attribution.journeys(org: "o", conversion: "purchase", limit: 10)
        #expect(journeys["journeys"]?.array?.first?["path"]?.string == "paid_search")
        #expect(journeys["journeys"]?.array?.first?["conversions"]?.integer == 20)
        let left = try? FileManager.default.contentsOfDirectory(atPath: world.open.folder.file("runs"))
        #expect(left == [])
        await world.log.close()
    }

    @Test func `a run that ends half-way leaves the result before it`() async throws {
        let world = try await World()
        _ = try await world.run(1)
        let before = try await world.report()
        let control = LogRunControl()
        control.cancel()
        await #expect(throws: LogAttributionError.cancelled) { _ = try await world.run(2, control: control) }
        #expect(try await world.report() == before)
        // As a process that was killed while it stored leaves it.
        try await world.open.database.write("test.half") { transaction in
            try transaction.run(
                """
                INSERT INTO attribution_runs (org, conversion, version, run, state, cause, settings, facts, created_at)
                VALUES ('o', 'purchase', 2, \(UID(high: 0, low: 2)), 'writing', 'killed', '[]', '{}', 0)
                """)
            try transaction.run(
                """
                INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day, currency,
                    credit_ppm, amount_minor)
                VALUES ('o', 'purchase', 2, 'linear', 'half', 'email', 1, 'USD', 1, 1)
                """)
            // More than one transaction removes.
            try transaction.run(
                """
                INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day, currency,
                    credit_ppm, amount_minor)
                WITH RECURSIVE numbers(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM numbers WHERE i < 4500)
                SELECT 'o', 'purchase', 2, 'linear', 'half', 'email', i, 'USD', 1, 1 FROM numbers
                """)
        }
        #expect(try await world.report() == before)
        let next = try await world.run(3)
        #expect(next.versions == ["purchase": 3])
        let left = try await world.open.database.read("test.left") { transaction in
            try transaction.value(
                Int.self, "SELECT COUNT(*) FROM attribution_log_credits WHERE campaign = 'half'")
        }
        #expect(left == 0)
        let heads = try await world.open.database.read("test.heads") { transaction in
            try transaction.values(Int.self, "SELECT version FROM attribution_runs ORDER BY version")
        }
        #expect(heads == [1, 3])
        #expect(try await world.report()["lines"] == before["lines"])
        await world.log.close()
    }

    @Test func `another window gives another version, and the old one stays readable`() async throws {
        let world = try await World()
        _ = try await world.run(1)
        let wide = try await world.report()
        let body: JSONValue = [
            "where": "type = conversion and name = purchase", "click_hours": 30, "starts_at": "2020-01-01",
        ]
        let now = world.open.clock.now
        _ = try await world.attribution.definitions.save(body, name: "purchase", org: "o", now: now)
        let summary = try await world.run(2)
        #expect(summary.versions == ["purchase": 2])
        #expect(try await world.report()["lines"] != wide["lines"])
        #expect(try await world.report(version: 1)["lines"] == wide["lines"])
        let again = try await world.run(3)
        #expect(again.result.results == summary.result.results)
        let heads = try await world.attribution.runs(org: "o")
        #expect(heads.map(\.version) == [3, 2, 1])
        await world.log.close()
    }

    @Test func `a conversion goes by the version in force at its own time`() async throws {
        let world = try await World()
        let now = world.open.clock.now
        let definitions = world.attribution.definitions
        func save(_ name: String, _ startsAt: String) async throws {
            _ = try await definitions.save(
                ["where": .string("name = \(name)"), "starts_at": .string(startsAt)], name: "mine", org: "o", now: now)
        }
        try await save("one", "2025-03-01")
        try await save("two", "2025-06-01")
        try await save("three", "2025-05-01")
        let all = try await definitions.inForce(org: "o", names: ["mine"])
        let may = try #require(Timestamp(rfc3339: "2025-05-01T00:00:00Z"))
        // The third was said last and holds from May on; before the first the first holds.
        #expect(all.map(\.version) == [1, 3, 3])
        #expect(all.first?.from == .min && all.first?.to == may.microseconds && all.last?.to == .max)
        try await definitions.remove(name: "mine", org: "o")
        await #expect(throws: LogAttributionError.unknownConversion("mine")) {
            try await definitions.inForce(org: "o", names: ["mine"])
        }
        // A built-in one ends like any other.
        try await definitions.remove(name: "install", org: "o")
        #expect(try await definitions.inForce(org: "o", names: nil).allSatisfy { $0.definition.name != "install" })
        try await save("four", "2025-07-01")
        let july = try #require(Timestamp(rfc3339: "2025-07-01T00:00:00Z"))
        let again = try await definitions.inForce(org: "o", names: ["mine"])
        #expect(again.map(\.version) == [5] && again.first?.from == july.microseconds)
        try await definitions.remove(name: "mine", org: "o")
        #expect(
            try await definitions.current(org: "o").map(\.name)
                == ConversionDefinition.builtIn.map(\.name).filter { $0 != "install" }.sorted())
        await world.log.close()
    }

    @Test func `attempts that failed push no result out, and the newest five stay`() async throws {
        let world = try await World()
        for run in 1...3 { _ = try await world.run(UInt64(run)) }
        try await world.open.database.write("test.failed") { transaction in
            for version in 4...12 {
                try transaction.run(
                    """
                    INSERT INTO attribution_runs
                        (org, conversion, version, run, state, cause, settings, facts, created_at)
                    VALUES ('o', 'purchase', \(version), \(UID(high: 0, low: UInt64(version))), 'writing', 'killed',
                        '[]', '{}', 0)
                    """)
            }
        }
        #expect(try await world.run(4).versions == ["purchase": 13])
        #expect(try await world.attribution.runs(org: "o").map(\.version) == [13, 3, 2, 1])
        for run in 5...6 { _ = try await world.run(UInt64(run)) }
        #expect(try await world.attribution.runs(org: "o").map(\.version) == [15, 14, 13, 3, 2])
        let kept = try await world.open.database.read("test.kept") { transaction in
            try transaction.values(
                Int.self, "SELECT DISTINCT version FROM attribution_log_credits ORDER BY version")
        }
        #expect(kept == [2, 3, 13, 14, 15])
        await world.log.close()
    }

    @Test func `totals are of all lines, and sums past 64 bits are refused`() async throws {
        let world = try await World()
        _ = try await world.run(1)
        try await world.open.database.write("test.many") { transaction in
            try transaction.run(
                """
                INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day, currency,
                    credit_ppm, amount_minor)
                WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 10050)
                SELECT 'o', 'purchase', 1, 'linear', 'x' || CAST(i AS TEXT), 'email', 1, 'USD', 1000000, -100
                FROM numbers
                """)
        }
        let report = try await world.attribution.report(
            org: "o", conversion: "purchase", model: .rule(.linear), by: .campaign)
        #expect(report["lines"]?.array?.count == 10_000)
        #expect(report["totals"]?["conversions"]?.double == 10_070)
        #expect(report["totals"]?["amount_minor"]?["USD"]?.integer == 20 * 1234 - 1_005_000)
        let early = try await world.attribution.report(
            org: "o", conversion: "purchase", model: .rule(.linear), by: .channel,
            to: Timestamp(microseconds: 2 * 86_400_000_000))
        #expect(early["lines"]?.array?.count == 1 && early["totals"]?["conversions"]?.double == 10_050)
        for day in 2...3 {
            try await world.open.database.write("test.huge") { transaction in
                try transaction.run(
                    """
                    INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day,
                        currency, credit_ppm, amount_minor)
                    VALUES ('o', 'purchase', 1, 'linear', 'x1', 'email', \(day), 'USD', 1, \(Int64.max))
                    """)
            }
        }
        for dimension in LogDimension.allCases {
            do {
                _ = try await world.attribution.report(
                    org: "o", conversion: "purchase", model: .rule(.linear), by: dimension)
                Issue.record("\(dimension) was added up")
            } catch LogAttributionError.tooLarge {}
        }
        await world.log.close()
    }

    @Test func `campaigns that are named like none, like others or alike are one row each`() async throws {
        let world = try await World()
        let names = [#""(none)""#, #""(other)""#, #""a\u0000b""#, #""a\ufffdb""#, nil]
        var lines: [String] = []
        for (person, name) in names.enumerated() {
            let at = Self.start + 86_400_000
            let named = name.map { "\"name\":\($0)," } ?? ""
            lines.append(
                "{\"id\":\"c\(person)\",\"type\":\"click\",\"ts\":\(at),\"anonymous_id\":\"n\(person)\",\"campaign\":{"
                    + named + "\"source\":\"google\",\"medium\":\"cpc\"}}")
            lines.append(
                "{\"id\":\"d\(person)\",\"type\":\"conversion\",\"name\":\"signup\",\"ts\":\(at + 3_600_000),"
                    + "\"anonymous_id\":\"n\(person)\"}")
        }
        _ = try await world.log.capture.submit(
            Array(lines.joined(separator: "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "shop"),
            receivedAt: world.open.clock.now)
        _ = try await world.attribution.run(
            LogAttribution.Wish(conversion: "signup"), org: "o", id: UID(high: 0, low: 9))
        let report = try await world.attribution.report(
            org: "o", conversion: "signup", model: .rule(.last), by: .campaign)
        var found: [String: Double] = [:]
        for line in report["lines"]?.array ?? [] {
            found[line["key"]?.string ?? ""] = line["conversions"]?.double ?? 0
        }
        #expect(found == ["(none)": 2, "(other)": 1, "a\u{FFFD}b": 2])
        await world.log.close()
    }

    @Test func `who waits for another run can be given up`() async throws {
        let gate = LogRunGate()
        try await gate.take()
        let waiting = Task { try await gate.take() }
        let next = Task {
            try await gate.take()
            gate.give()
        }
        while gate.waiting < LogRunGate.waitingMax { await Task.yield() }
        await #expect(throws: LogAttributionError.busy) { try await gate.take() }
        waiting.cancel()
        await #expect(throws: LogAttributionError.cancelled) { try await waiting.value }
        gate.give()
        try await next.value
        let late = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await gate.take()
        }
        await #expect(throws: LogAttributionError.cancelled) { try await late.value }
        try await gate.take()
        gate.give()
    }

    @Test(arguments: [
        ("where", #"{"where":"name ="}"#), ("where", #"{"where":"name = a by url"}"#), ("where", #"{}"#),
        ("click_hours", #"{"where":"name = a","click_hours":0.5}"#),
        ("view_hours", #"{"where":"name = a","view_hours":721}"#), ("repeat", #"{"where":"name = a","repeat":"x"}"#),
        ("preset", #"{"where":"name = a","preset":"x"}"#), ("body", #"{"where":"name = a","window":3}"#),
        ("value.amount", #"{"where":"name = a","value":{"source":"fixed","currency":"USD","amount":"1.001"}}"#),
        ("value.source", #"{"where":"name = a","value":{"source":"guess"}}"#),
    ])
    func `a definition that is wrong is refused with the member that is`(_ member: String, _ text: String) throws {
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        do {
            _ = try ConversionDefinition(body, name: "mine", now: Timestamp(milliseconds: Self.start))
            Issue.record("\(text) was taken")
        } catch {
            var found = "\(error)"
            if case .invalid(let field, _) = error { found = field }
            #expect(found == member)
        }
    }

    @Test func `built-in definitions are what they are written as`() throws {
        for definition in ConversionDefinition.builtIn {
            let read = try ConversionDefinition(
                definition.json, name: definition.name, now: Timestamp(milliseconds: Self.start))
            #expect(read == definition)
        }
    }

    @Test func `two runs of which one may lack groups are not compared`() throws {
        func report(_ groups: Int, _ conversions: Double) -> JSONValue {
            let lines = (0..<groups).map { number -> JSONValue in
                ["key": .string("c\(number)"), "currency": "USD", "conversions": .number(conversions)]
            }
            return ["lines": .array(lines)]
        }
        let few = try RunComparison(report(2, 1), report(3, 1))
        #expect(few.lines.map(\.key) == ["c2", "c0", "c1"] && few.lines.map(\.conversionsMore) == [1, 0, 0])
        for (one, other) in [(10_000, 3), (3, 10_000)] {
            #expect(throws: LogAttributionError.self) { try RunComparison(report(one, 1), report(other, 1)) }
        }
    }
}
