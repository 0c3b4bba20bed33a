import AurumCore
import Events
import Foundation
import TestSupport
import Testing

/// Questions about behaviour over a real log, against a walk written plainly.
struct BehaviourTests {
    private static let now = testNow.milliseconds
    private static let day: Int64 = 86_400_000

    private struct Bench {
        let events: [PlainEvent]
        let log: EventLog
        let service: BehaviourService
        var model: BehaviourModel { BehaviourModel(events: events) }

        init(_ events: [PlainEvent], rules: SessionRules = SessionRules()) async throws {
            self.events = events
            log = try openEvents(VolatileLogStorage())
            service = BehaviourService(
                engine: openEngine(log), clock: ManualWallClock(testNow),
                sessions: { $0 == "acme" ? rules : SessionRules() })
            var rest = events[...]
            while let first = rest.first {
                let batch = rest.prefix(97).prefix { $0.app == first.app }
                rest = rest.dropFirst(batch.count)
                let source = CaptureSource(org: "acme", app: first.app)
                _ = try await log.send(batch.map(\.line).joined(separator: "\n"), source: source)
            }
            // Another organisation has the same persons.
            _ = try await log.send(
                events.prefix(20).map(\.line).joined(separator: "\n"), source: CaptureSource(org: "rival", app: "shop"))
        }

        func ask(_ kind: BehaviourKind, _ body: JSONValue, memoryBytes: Int? = nil) async throws -> JSONValue {
            try await service.answer(kind, body, org: "acme", memoryBytes: memoryBytes)
        }
    }

    private static func bench(_ seed: UInt64, days: Int64 = 5) async throws -> (Bench, SeededRandom) {
        var random = SeededRandom(seed: seed)
        let count = Int.random(in: 1...500, using: &random)
        let persons = Int.random(in: 1...20, using: &random)
        let events = PlainEvent.some(count, persons: persons, days: days, now: now, random: &random)
        return (try await Bench(events), random)
    }

    private static func name(_ name: String) -> JSONValue {
        ["column": "name", "op": "=", "value": .string(name)]
    }

    private static func range(_ random: inout SeededRandom, days: Int64) -> Range<Int64> {
        let from = now - Int64.random(in: 1...days * 86_400, using: &random) * 1000
        return from..<from + Int64.random(in: 1...days * 86_400, using: &random) * 1000
    }

    private static let seeds = (0..<soakCount(1000)).map { _ in UInt64.random(in: 0...UInt64.max) }

    @Test func `funnels equal a plain walk of every person`() async throws {
        for seed in Self.seeds {
            var (bench, random) = try await Self.bench(seed)
            let order = ["ordered", "strict", "any"][Int.random(in: 0..<3, using: &random)]
            let names = (0..<Int.random(in: 2...5, using: &random)).map { _ in
                PlainEvent.names[Int.random(in: 0..<5, using: &random)]
            }
            let range = Self.range(&random, days: 5)
            let minutes = [1, 30, 1440][Int.random(in: 0..<3, using: &random)]
            let answer = try await bench.ask(
                .funnel,
                [
                    "steps": .array(names.map { Self.name($0) }), "order": .string(order),
                    "window": .string("\(minutes)m"), "breakdown": "campaign.source",
                    "from": .integer(range.lowerBound), "to": .integer(range.upperBound),
                ])
            let expected = bench.model.funnel(
                names.map { name in { $0.name == name } }, order: order, window: Int64(minutes) * 60_000, range: range)
            let groups = answer["groups"]?.array ?? []
            #expect(groups.count == expected.count, "seed \(seed) \(order) \(names)")
            for group in groups {
                let own = expected[group["value"]?.string]
                let steps = group["steps"]?.array ?? []
                #expect(steps.map { $0["persons"]?.integer } == own?.persons.map { Int64($0) }, "seed \(seed) \(order)")
                for (step, times) in (own?.times ?? []).enumerated() where !times.isEmpty {
                    let median = Double(times[(times.count - 1) / 2] + times[times.count / 2]) / 2000
                    #expect(abs((steps[step]["median_seconds"]?.double ?? -1) - median) < 1e-5, "seed \(seed)")
                }
            }
            let totals = (answer["steps"]?.array ?? []).map { $0["persons"]?.integer ?? -1 }
            #expect(
                totals == names.indices.map { step in Int64(expected.values.reduce(0) { $0 + $1.persons[step] }) },
                "seed \(seed) \(order)")
        }
    }

    @Test func `retention equals a plain walk of every person`() async throws {
        for seed in Self.seeds {
            var (bench, random) = try await Self.bench(seed, days: 30)
            let mode = ["classic", "rolling", "unbounded"][Int.random(in: 0..<3, using: &random)]
            let zone = ["UTC", "America/New_York", "Asia/Kathmandu"][Int.random(in: 0..<3, using: &random)]
            let range = Self.range(&random, days: 30)
            let days = [1, 2, 7, 14]
            let answer = try await bench.ask(
                .retention,
                [
                    "first": Self.name("a"), "return": Self.name("b"), "mode": .string(mode),
                    "days": .array(days.map { .integer(Int64($0)) }), "timezone": .string(zone),
                    "from": .integer(range.lowerBound), "to": .integer(range.upperBound), "by": "week",
                ])
            let expected = bench.model.retention(
                first: { $0.name == "a" }, comeBack: { $0.name == "b" }, mode: mode, days: days, range: range,
                zone: zone, now: Self.now)
            let rows = answer["days"]?.array ?? []
            let run: Comment = "seed \(seed) \(mode) \(zone)"
            #expect(answer["persons"]?.integer == Int64(expected.persons), run)
            #expect(rows.map { $0["eligible"]?.integer } == expected.eligible.map { Int64($0) }, run)
            #expect(rows.map { $0["returned"]?.integer } == expected.returned.map { Int64($0) }, run)
            let cohorts = answer["cohorts"]?.array ?? []
            #expect(cohorts.reduce(0) { $0 + ($1["persons"]?.integer ?? 0) } == Int64(expected.persons), run)
        }
    }

    @Test func `cohorts equal a plain walk of every person, sums of money exactly`() async throws {
        for seed in Self.seeds {
            var (bench, random) = try await Self.bench(seed, days: 60)
            let unit = ["day", "week", "month"][Int.random(in: 0..<3, using: &random)]
            let zone = ["UTC", "Europe/Berlin", "America/New_York"][Int.random(in: 0..<3, using: &random)]
            let range = Self.range(&random, days: 60)
            let answer = try await bench.ask(
                .cohorts,
                [
                    "first": Self.name("a"), "event": ["not": Self.name("c")], "period": .string(unit),
                    "timezone": .string(zone), "from": .integer(range.lowerBound), "to": .integer(range.upperBound),
                ])
            let expected = bench.model.cohorts(
                first: { $0.name == "a" }, later: { $0.name != "c" },
                period: BehaviourModel.Period(zone: zone, unit: unit), range: range)
            var found: [String: [Int: BehaviourModel.Cell]] = [:]
            for cohort in answer["cohorts"]?.array ?? [] {
                var cells: [Int: BehaviourModel.Cell] = [:]
                for cell in cohort["periods"]?.array ?? [] {
                    cells[Int(cell["after"]?.integer ?? -1)] = BehaviourModel.Cell(
                        persons: Int(cell["persons"]?.integer ?? -1), count: Int(cell["count"]?.integer ?? -1),
                        values: (cell["value"]?.object ?? [:]).compactMapValues {
                            $0.string.flatMap { Millionths(decimal: $0)?.value }
                        })
                }
                found[cohort["start"]?.string ?? ""] = cells
            }
            #expect(found == expected, "seed \(seed) \(unit) \(zone)")
        }
    }

    @Test func `paths equal a plain walk of every person`() async throws {
        for seed in Self.seeds {
            var (bench, random) = try await Self.bench(seed)
            let isForward = Bool.random(using: &random)
            let depth = Int.random(in: 1...10, using: &random)
            let range = Self.range(&random, days: 5)
            let minutes = [10, 60, 2880][Int.random(in: 0..<3, using: &random)]
            let answer = try await bench.ask(
                .paths,
                [
                    isForward ? "start" : "end": Self.name("a"), "depth": .integer(Int64(depth)),
                    "window": .string("\(minutes)m"), "from": .integer(range.lowerBound),
                    "to": .integer(range.upperBound),
                ])
            let expected = bench.model.paths(
                { $0.name == "a" }, isForward: isForward, depth: depth, window: Int64(minutes) * 60_000, range: range)
            let branches = (answer["branches"]?.array ?? []).map { branch in
                ((branch["path"]?.array ?? []).compactMap(\.string), Int(branch["persons"]?.integer ?? -1))
            }
            let found = Dictionary(branches, uniquingKeysWith: +)
            #expect(found == expected, "seed \(seed)")
            let persons = answer["persons"]?.integer
            #expect(persons == Int64(expected.values.reduce(0, +)), "seed \(seed)")
        }
    }

    @Test func `sessions equal a plain walk, and shuffled arrival gives the same sessions`() async throws {
        for seed in Self.seeds {
            var (bench, random) = try await Self.bench(seed)
            let range = Self.range(&random, days: 5)
            let gap = [1, 30, 240][Int.random(in: 0..<3, using: &random)]
            let body: JSONValue = [
                "gap_minutes": .integer(Int64(gap)), "list": 1000, "from": .integer(range.lowerBound),
                "to": .integer(range.upperBound),
            ]
            let answer = try await bench.ask(.sessions, body)
            let expected = bench.model.sessions(gap: Int64(gap) * 60_000, range: range)
            let found = (answer["list"]?.array ?? []).map { session in
                [session["start"], session["end"], session["events"], session["entry"], session["exit"]]
                    .map { $0?.canonical ?? "" }.joined(separator: " ")
            }
            let wanted = expected.map { visit in
                let times = [visit.start, visit.end].map { "\"\(Timestamp(milliseconds: $0).rfc3339)\"" }
                return "\(times[0]) \(times[1]) \(visit.events) \"\(visit.entry)\" \"\(visit.exit)\""
            }
            #expect(found.sorted() == wanted.sorted(), "seed \(seed) gap \(gap)")
            let total = answer["total"]
            #expect(total?["sessions"]?.integer == Int64(expected.count), "seed \(seed)")
            #expect(total?["persons"]?.integer == Int64(Set(expected.map(\.person)).count), "seed \(seed)")
            let bounces = expected.count { $0.events == 1 }
            #expect(total?["bounces"]?.integer == Int64(bounces), "seed \(seed)")

            let shuffled = try await Bench(bench.events.shuffled(using: &random))
            let again = try await shuffled.ask(.sessions, body)
            for member in ["total", "buckets", "entries", "exits"] {
                #expect(again[member] == answer[member], "seed \(seed): \(member)")
            }
            // Keys of persons are an installation's own.
            let others = (again["list"]?.array ?? []).map { session in
                [session["start"], session["end"], session["events"], session["entry"], session["exit"]]
                    .map { $0?.canonical ?? "" }.joined(separator: " ")
            }
            #expect(others.sorted() == found.sorted(), "seed \(seed)")
        }
    }

    @Test func `every app's settings say what its sessions are, unless the question does`() async throws {
        var events: [PlainEvent] = []
        // Seven minutes apart; the client names two sessions to and fro, and once none.
        for (app, first) in [("shop", 0), ("quick", 10), ("named", 20)] {
            for (number, session) in ["s1", "s2", "s1", nil].enumerated() {
                events.append(
                    PlainEvent(
                        id: "e\(first + number)", person: "u1", app: app,
                        time: Self.now - 3_600_000 + Int64(number) * 420_000, name: "a", session: session))
            }
        }
        let rules = SessionRules(apps: ["quick": .init(gapMinutes: 5), "named": .init(isClients: true)])
        let bench = try await Bench(events, rules: rules)
        func ask(_ body: JSONValue) async throws -> [Int64?] {
            let answer = try await bench.ask(.sessions, body)
            return ["sessions", "events", "bounces"].map { answer["total"]?[$0]?.integer }
        }
        #expect(try await ask(["last": "7d", "apps": ["shop"]]) == [1, 4, 0])
        #expect(try await ask(["last": "7d", "apps": ["quick"]]) == [4, 4, 4])
        #expect(try await ask(["last": "7d", "apps": ["named"]]) == [2, 3, 1])
        #expect(try await ask(["last": "7d"]) == [7, 11, 5])
        #expect(try await ask(["last": "7d", "gap_minutes": 6]) == [10, 11, 9])
        #expect(try await ask(["last": "7d", "sessions": "gap"]) == [6, 12, 4])
        #expect(try await ask(["last": "7d", "sessions": "client"]) == [6, 9, 3])
        let mixed = try await bench.ask(.sessions, ["last": "7d"])
        #expect(mixed["sessions"] == "app" && mixed["gap_minutes"] == .null)
        let one = try await bench.ask(.sessions, ["last": "7d", "apps": ["quick"]])
        #expect(one["sessions"] == "gap" && one["gap_minutes"] == 5)
        await bench.log.close()
    }

    @Test func `a client's own session ids decide only when asked to`() async throws {
        var events: [PlainEvent] = []
        for (number, session) in ["s1", "s2", "s1", nil].enumerated() {
            events.append(
                PlainEvent(
                    id: "e\(number)", person: "u1", app: "shop", time: Self.now - 3_600_000 + Int64(number) * 60_000,
                    name: "a", session: session))
        }
        let bench = try await Bench(events)
        let gap = try await bench.ask(.sessions, ["last": "7d"])
        #expect(gap["total"]?["sessions"]?.integer == 1)
        let client = try await bench.ask(.sessions, ["last": "7d", "sessions": "client", "list": 10])
        #expect(client["total"]?["sessions"]?.integer == 2)
        #expect(client["total"]?["events"]?.integer == 3)
    }

    @Test func `midnight does not split a session, 24 hours do, and one late event joins two`() async throws {
        let rule = SessionRule()
        let minute: Int64 = 60_000_000
        let midnight = Timestamp(microseconds: 20_000 * 86_400_000_000).microseconds
        #expect(rule.sessions([midnight - minute, midnight + minute]).count == 1)
        let long = (0...100).map { midnight + Int64($0) * 29 * minute }
        #expect(rule.sessions(long).map(\.count) == [50, 50, 1])
        let apart = [0, 31 * minute]
        #expect(rule.sessions(apart).count == 2)
        #expect(rule.sessions([0, 15 * minute, 31 * minute]).count == 1)
        #expect(rule.sessions([0, 30 * minute]).count == 1)
        #expect(rule.sessions([]).isEmpty)
        let rows = [0, 31, 15].map { SessionRow(person: 1, app: 1, time: $0 * minute) }
        #expect(rule.assign(rows).count == 1)
        #expect(rule.count(Array(rows.prefix(2))) == 2)
        #expect(rule.count(rows) { $0 == 1 } == 1)
        #expect(
            rule.count(rows + [SessionRow(person: 1, app: 2, time: 0), SessionRow(person: 2, app: 1, time: 0)]) == 3)
    }

    @Test func `a small memory gives the same answer in more passes, too small a one is refused`() async throws {
        var random = SeededRandom(seed: 11)
        let events = PlainEvent.some(6000, persons: 600, days: 5, now: Self.now, random: &random)
        let bench = try await Bench(events)
        let body: JSONValue = [
            "steps": .array(["a", "b", "c"].map { Self.name($0) }), "order": "ordered", "breakdown": "campaign.source",
        ]
        let whole = try await bench.ask(.funnel, body)
        #expect(whole["passes"]?.integer == 1)
        let parts = try await bench.ask(.funnel, body, memoryBytes: 50_000)
        #expect(parts["passes"]?.integer ?? 0 > 1 && parts["memory_exceeded"] == true)
        for member in ["steps", "groups", "rows_selected"] { #expect(parts[member] == whole[member]) }
        let one = try await Bench(PlainEvent.some(2000, persons: 1, days: 5, now: Self.now, random: &random))
        await #expect(throws: QueryError.self) {
            _ = try await one.ask(.funnel, body, memoryBytes: 3200)
        }
    }

    @Test(arguments: [
        (BehaviourKind.funnel, #"{}"#, "steps"),
        (.funnel, #"{"steps":[{"column":"name","op":"=","value":"a"}]}"#, "steps"),
        (.funnel, #"{"steps":["a = 1",2]}"#, "steps[1]"), (.funnel, #"{"steps":["a = 1","b"]}"#, "steps[1].where"),
        (.funnel, #"{"steps":[{"name":"x"},{"where":{"column":"name","op":"=","value":"a"},"y":1}]}"#, "steps[1].y"),
        (.funnel, #"{"window":"8y"}"#, "window"), (.funnel, #"{"window":"-1d"}"#, "window"),
        (.funnel, #"{"order":"loose"}"#, "order"), (.retention, #"{"days":[0]}"#, "days"),
        (.retention, #"{"mode":"x"}"#, "mode"), (.retention, #"{"timezone":"Mars/Olympus"}"#, "timezone"),
        (.cohorts, #"{"period":"year"}"#, "period"), (.cohorts, #"{"from":"yesterday"}"#, "from"),
        (.cohorts, #"{"from":"2026-11-02","to":"2026-11-01"}"#, "to"), (.cohorts, #"{"last":"7x"}"#, "last"),
        (.paths, #"{}"#, "start"), (.paths, #"{"depth":11}"#, "depth"), (.paths, #"{"limit":51}"#, "limit"),
        (.sessions, #"{"gap_minutes":0}"#, "gap_minutes"), (.sessions, #"{"gap_minutes":241}"#, "gap_minutes"),
        (.sessions, #"{"where":"type = page last 7d"}"#, "where"), (.sessions, #"{"where":"type ="}"#, "where"),
        (
            .funnel, #"{"steps":[{"and":[{"column":"name","op":"is","value":1}]},{"where":"a = b"}]}"#,
            "steps[0].and[0].op"
        ),
        (.sessions, #"{"nonsense":1}"#, "nonsense"), (.sessions, #"[]"#, ""),
        (.sessions, #"{"apps":[1]}"#, "apps[0]"), (.sessions, #"{"bots":"some"}"#, "bots"),
    ])
    func `what is wrong with a question is named`(kind: BehaviourKind, text: String, field: String) async throws {
        let bench = try await Bench([])
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        do {
            _ = try await bench.ask(kind, body)
            Issue.record("\(text) was answered")
        } catch let error as BehaviourError {
            #expect(error.problems.contains { $0.field == field }, "\(error.problems)")
        }
    }

    @Test func `questions about nothing have answers`() async throws {
        let bench = try await Bench([])
        let steps: JSONValue = ["steps": [Self.name("a"), Self.name("b")]]
        for (kind, body) in [
            (BehaviourKind.funnel, steps), (.retention, [:]), (.cohorts, [:]), (.paths, ["start": Self.name("a")]),
            (.sessions, [:]),
        ] {
            let answer = try await bench.ask(kind, body)
            #expect(answer["as_of"]?.string == testNow.rfc3339)
            #expect(answer["position"] == .null)
        }
    }
}
