import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// Windows of networks and campaigns: which of them a run goes by, to the millisecond.
struct WindowOverrideTests {
    private typealias World = LogRunWorld
    private static let hour = World.hour

    /// Who has a window of so many hours.
    enum Level: Int, CaseIterable { case definition = 10, network = 6, campaign = 14 }

    private static func set(
        _ world: World, _ scope: WindowOverride.Scope, _ name: String, click: Int? = nil, view: Int? = nil,
        from start: Int64 = -24 * 3_600_000
    ) async throws {
        var window = WindowOverride(scope, name, startsAt: Timestamp(milliseconds: World.start + start))
        window.click = click.map { .seconds($0 * 3600) }
        window.view = view.map { .seconds($0 * 3600) }
        _ = try await world.attribution.windows.save(window, org: "o")
    }

    private static func touch(
        _ id: String, _ person: String, at: Int64 = 0, type: String = "click", campaign: String, network: String
    ) -> String {
        "{\"id\":\"\(id)\",\"type\":\"\(type)\",\"ts\":\(World.start + at),\"anonymous_id\":\"\(person)\","
            + "\"url\":\"https://shop.example/\",\"campaign\":{\"name\":\"\(campaign)\",\"source\":\"google\","
            + "\"medium\":\"cpc\",\"network\":\"\(network)\"}}"
    }

    @Test(arguments: ["click", "impression", "page"], Level.allCases)
    func `the end of a window belongs to it, and a campaign goes before its network, it before the definition`(
        _ type: String, _ level: Level
    ) async throws {
        let world = try World()
        try await world.save(["click_hours": 10, "view_hours": 10])
        if level != .definition { try await Self.set(world, .network, "TikTok", click: 6, view: 6) }
        if level == .campaign { try await Self.set(world, .campaign, "Spring Sale", click: 14, view: 14) }
        let window = Int64(level.rawValue) * Self.hour
        var lines: [String] = []
        for (number, past) in ([-1, 0, 1] as [Int64]).enumerated() {
            let campaign = level == .campaign ? "spring sale" : "other"
            let person = "p\(number)"
            lines.append(Self.touch("t\(number)", person, type: type, campaign: campaign, network: "tiktok"))
            lines.append(World.conversion("s\(number)", person, at: window + past))
        }
        try await world.send(lines)
        let rows = try await world.rows("linear")
        let touched = rows.filter { $0.campaign != "(organic)" }.reduce(0) { $0 + $1.creditPPM }
        let organic = rows.filter { $0.campaign == "(organic)" }.reduce(0) { $0 + $1.creditPPM }
        #expect(touched == 2_000_000 && organic == 1_000_000, "\(type) \(level): \(rows)")
        await world.log.close()
    }

    @Test func `an override without a view window leaves views to the network, then to the definition`() async throws {
        let world = try World()
        try await world.save(["click_hours": 10, "view_hours": 10])
        try await Self.set(world, .network, "meta", view: 4)
        try await Self.set(world, .campaign, "a", click: 2)
        try await Self.set(world, .campaign, "b", click: 2)
        try await world.send([
            Self.touch("1", "p", type: "impression", campaign: "a", network: "meta"),
            Self.touch("2", "p", type: "impression", campaign: "b", network: "google"),
            Self.touch("3", "p", at: 1, campaign: "c", network: "meta"),
            Self.touch("4", "p", at: 2, campaign: "b", network: "google"),
            World.conversion("s", "p", at: 5 * Self.hour),
        ])
        // The view of b goes by the definition, the click of c too; the view of a is too old for its network.
        let rows = try await world.rows("linear")
        let sums = Dictionary(rows.map { ($0.campaign, $0.creditPPM) }, uniquingKeysWith: +)
        #expect(sums == ["b": 500_000, "c": 500_000], "\(sums)")
        await world.log.close()
    }

    @Test(arguments: [-1000, 1000] as [Int64])
    func `a landing goes by the window of its click, whichever of them was first`(_ apart: Int64) async throws {
        let world = try World()
        try await world.save(["click_hours": 168])
        try await Self.set(world, .network, "newsletter", click: 2)
        // As a short link makes them: the landing says nothing but the click.
        func lines(_ person: String, until: Int64) -> [String] {
            [
                "{\"id\":\"c-\(person)\",\"type\":\"click\",\"ts\":\(World.start),\"anonymous_id\":\"\(person)\","
                    + "\"click_id\":\"k-\(person)\",\"campaign\":{\"name\":\"spring\",\"source\":\"list\","
                    + "\"medium\":\"email\",\"network\":\"newsletter\"}}",
                "{\"id\":\"l-\(person)\",\"type\":\"page\",\"ts\":\(World.start + apart),"
                    + "\"anonymous_id\":\"\(person)\",\"url\":\"https://shop.example/?aurum_click=k-\(person)\"}",
                World.conversion("s-\(person)", person, at: until),
            ]
        }
        try await world.send(lines("early", until: Self.hour) + lines("late", until: 3 * Self.hour))
        let rows = try await world.rows("linear")
        let sums = Dictionary(rows.map { ($0.campaign, $0.creditPPM) }, uniquingKeysWith: +)
        #expect(sums == ["spring": 1_000_000, "(organic)": 1_000_000], "\(sums)")
        for (event, reasons) in [
            ("s-early", [nil, "same_touchpoint"]), ("s-late", ["outside_window", "outside_window"]),
        ] as [(String, [String?])] {
            let found = try await world.attribution.why(
                org: "o", WhyQuestion(conversion: "purchase", event: event))
            #expect(found["touches"]?.array?.map { $0["reason"]?.string } == reasons, "\(event): \(found)")
        }
        await world.log.close()
    }

    @Test(arguments: [41, 42, 43, 44] as [UInt64])
    func `runs under overrides credit what the specification says`(_ seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
        let sources = [("paid_search", "google", "cpc"), ("email", "list", "email"), ("display", "news", "display")]
        let moments: [Int64] = [0, 1, 1000, 10_001, Self.hour, 2 * Self.hour, 2 * Self.hour + 1, 5 * Self.hour]
        var events: [NaiveEvent] = []
        for number in 0..<500 {
            let kind: NaiveEvent.Kind = [.click, .view, .visit, .conversion][pick(4)]
            var event = NaiveEvent(id: "e\(1000 + number)", kind: kind, time: World.start)
            event.time += Int64(pick(8)) * 6 * Self.hour + moments[pick(moments.count)]
            let person = pick(6)
            event.anonymous = "p\(person)"
            if kind != .conversion {
                let source = sources[pick(sources.count)]
                (event.channel, event.source) = (source.0, (source.1, source.2))
                (event.campaign, event.network) = ("c\(pick(3))", "n\(pick(3))")
                if pick(2) == 0 { event.click = "k\(person)-\(pick(12))" }
            }
            events.append(event)
        }
        let world = try World()
        var definition = ConversionDefinition(
            name: "purchase", condition: "type = conversion and name = purchase", repeats: .each)
        definition.window = LookbackWindow(click: .seconds(10 * 3600), view: .seconds(4 * 3600))
        try await world.save(definition.json.object ?? [:])
        try await Self.set(world, .campaign, "c0", click: 2)
        try await Self.set(world, .campaign, "c1", view: 1, from: 12 * Self.hour)
        try await Self.set(world, .network, "n0", click: 30, view: 7)
        try await Self.set(world, .network, "n0", click: 5, from: 20 * Self.hour)
        try await world.send(events.map(\.line))
        var naive = NaiveLogRun(definition)
        naive.windows = try await world.attribution.windows.versions(org: "o")
        naive.run(events) { $0.anonymous ?? "" }
        let result = try #require(try await world.run().result.results.first)
        #expect(result.conversions == naive.conversions, "seed \(seed)")
        let rules = Set(CreditModel.allCases.map(\.rawValue))
        var found: [NaiveKey: Int64] = [:]
        for row in result.rows where rules.contains(row.model) {
            let key = NaiveKey(
                model: row.model, campaign: row.campaign, channel: row.channel, day: row.day, currency: row.currency)
            found[key] = row.creditPPM
        }
        let wanted = naive.sums.filter { rules.contains($0.key.model) && $0.value.ppm != 0 }.mapValues(\.ppm)
        #expect(found == wanted, "seed \(seed)")
        await world.log.close()
    }

    @Test func `a conversion goes by the version in force at its time, and by none before the first`() async throws {
        let world = try World()
        let (hour, day) = (Self.hour, 24 * Self.hour)
        try await world.save(["click_hours": 10])
        try await Self.set(world, .campaign, "c1", click: 2, from: 0)
        for number in 1...4 { try await Self.set(world, .campaign, "c\(number)", click: 2, from: day) }
        for number in 1...4 { try await Self.set(world, .campaign, "c\(number)", click: 5, from: 2 * day) }
        for number in 1...4 { try await Self.set(world, .campaign, "c\(number)", from: 3 * day) }
        // Each of its own day: five hours after the click, the first with the new version's first millisecond.
        try await world.send(
            (1...4).flatMap { number -> [String] in
                let at = Int64(number - 1) * day
                return [
                    Self.touch("t\(number)", "p\(number)", at: at - 5 * hour, campaign: "c\(number)", network: "x"),
                    World.conversion("s\(number)", "p\(number)", at: at),
                ]
            } + [
                Self.touch("t5", "p5", at: day - 5 * hour - 1, campaign: "c2", network: "x"),
                World.conversion("s5", "p5", at: day - 1),
            ])
        let rows = try await world.rows("linear")
        let sums = Dictionary(rows.map { ($0.campaign, $0.creditPPM) }, uniquingKeysWith: +)
        // c1 has 2 hours from its day on. c2 has 2 from the second day on, and the definition's 10 a millisecond before.
        // c3 has 5, and c4 the definition's again.
        #expect(sums == ["(organic)": 2_000_000, "c2": 1_000_000, "c3": 1_000_000, "c4": 1_000_000], "\(sums)")
        await world.log.close()
    }

    @Test func `a changed window makes the result of a fresh run with it, and the version before stays`() async throws {
        let (changed, fresh) = (try World(), try World())
        let lines = [
            Self.touch("1", "p", campaign: "a", network: "x"),
            Self.touch("2", "p", at: Self.hour, campaign: "b", network: "y"),
            World.conversion("s", "p", at: 3 * Self.hour, value: "9.99"),
            // Led to nothing, as far as the window reaches: what the models are fitted to.
            Self.touch("3", "q", campaign: "a", network: "x"),
            Self.touch("4", "q", at: 4 * Self.hour, type: "impression", campaign: "b", network: "y"),
        ]
        try await changed.send(lines)
        try await fresh.send(lines)
        let before = Array(try await changed.run().result.results[0].rows)
        #expect(try await changed.run(ifChanged: true).isUnchanged)
        try await Self.set(changed, .network, "x", click: 2)
        try await Self.set(fresh, .network, "x", click: 2)
        let after = try await changed.run(ifChanged: true)
        #expect(!after.isUnchanged)
        let wanted = try await fresh.run().result.results[0]
        #expect(Array(after.result.results[0].rows) == Array(wanted.rows) && Array(wanted.rows) != before)
        #expect(after.result.results[0].fits == wanted.fits)
        let old = try await changed.attribution.report(
            org: "o", conversion: "purchase", model: .rule(.first), by: .campaign, version: 1)
        #expect(old["lines"]?.array?.map { $0["key"] } == ["a"])
        let new = try await changed.attribution.report(
            org: "o", conversion: "purchase", model: .rule(.first), by: .campaign)
        #expect(new["lines"]?.array?.map { $0["key"] } == ["b"])
        // The explanation of each version goes by the windows that its run had.
        for (version, reasons) in [(1, [nil, nil]), (2, ["outside_window", nil])] as [(Int, [String?])] {
            var question = WhyQuestion(conversion: "purchase", event: "s")
            question.version = version
            let touches = try await changed.attribution.why(org: "o", question)["touches"]?.array ?? []
            #expect(touches.map { $0["reason"]?.string } == reasons, "\(version): \(touches)")
        }
        await changed.log.close()
        await fresh.log.close()
    }

    @Test func `a window longer than every definition's is read that far back`() async throws {
        let world = try World()
        try await Self.set(world, .campaign, "long", click: 24 * 20)
        try await world.send([
            Self.touch("1", "p", campaign: "long", network: "x"), Self.touch("2", "p", campaign: "short", network: "x"),
            World.conversion("s", "p", at: 20 * 24 * Self.hour),
        ])
        let from = Timestamp(milliseconds: World.start + 19 * 24 * Self.hour)
        let summary = try await world.attribution.run(
            LogAttribution.Wish(conversion: "purchase", from: from), org: "o", id: UID(high: 3, low: 3))
        #expect(summary.result.results[0].rows.filter { $0.model == "linear" }.map(\.campaign) == ["long"])
        await world.log.close()
    }

    @Test(
        arguments: [
            ("{\"scope\":\"app\",\"name\":\"a\",\"click_hours\":1}", "scope"),
            ("{\"scope\":\"network\",\"name\":\"\",\"click_hours\":1}", "name"),
            ("{\"scope\":\"network\",\"name\":\"a\"}", "click_hours"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"click_hours\":0.5}", "click_hours"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"click_hours\":8761}", "click_hours"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"view_hours\":721}", "view_hours"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"view_hours\":1,\"starts_at\":\"soon\"}", "starts_at"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"view_hours\":1,\"starts_at\":7}", "starts_at"),
            ("{\"scope\":\"network\",\"name\":\"a\",\"hours\":1}", "body"), ("[]", "body"),
        ] as [(String, String)])
    func `windows that nobody can mean are refused`(_ text: String, _ member: String) throws {
        let body = try #require(JSONValue(sqlValue: .text(text)))
        let error = #expect(throws: LogAttributionError.self, "\(text)") {
            try WindowOverride(body, now: Timestamp(milliseconds: 0))
        }
        guard case .invalid(member, _) = error else { throw try #require(error) }
    }

    @Test(arguments: Dialect.allCases)
    func `every version is kept, and nothing ends that was not set`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let windows = world.attribution.windows
        await #expect(throws: LogAttributionError.unknownWindow) { try await Self.set(world, .network, "x") }
        try await Self.set(world, .network, "X", click: 2, from: 0)
        try await Self.set(world, .campaign, "x", view: 3, from: 0)
        try await Self.set(world, .network, "x", from: Self.hour)
        let all = try await windows.versions(org: "o")
        #expect(all.map(\.scope) == [.campaign, .network, .network] && all.map(\.version) == [1, 1, 2])
        #expect(all.map(\.isEnded) == [false, false, true] && all.map(\.name) == ["x", "x", "x"])
        #expect(all[1].click == .seconds(7200) && all[1].view == nil && all[0].view == .seconds(10_800))
        #expect(all[2].startsAt == Timestamp(milliseconds: World.start + Self.hour))
        #expect(try await windows.versions(org: "other").isEmpty)
        for _ in all.count..<WindowStore.versionsMax { try await Self.set(world, .network, "x", click: 1) }
        do {
            try await Self.set(world, .network, "x", click: 1)
            Issue.record("one more was saved")
        } catch LogAttributionError.tooLarge {}
        await world.log.close()
    }
}
