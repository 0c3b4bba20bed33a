import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// Stop rules and advice without a person, over a real log and real tables of both engines.
struct StopRuleTests {
    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let growth: GrowthReports
        let watch: BudgetWatch
        /// 2026-11-21 in UTC.
        let today: Int

        init(on engine: Dialect) throws {
            open = try OpenDatabase(clock: ManualWallClock(), on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let attribution = AttributionService(
                database: open.database, events: log.store, registry: open.registry)
            growth = GrowthReports(
                campaigns: CampaignReports(
                    attribution: attribution,
                    spend: SpendStore(database: open.database, clock: open.clock, registry: open.registry),
                    engine: QueryEngine(
                        source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
                    clock: open.clock, registry: open.registry))
            watch = BudgetWatch(reports: growth, logger: quiet)
            today = open.clock.now.utcDate.daysSince1970
        }

        func date(_ back: Int) -> CivilDate { CivilDate(daysSince1970: today - back) }

        func spend(
            _ back: Int, _ amount: String, campaign: String = "spring", currency: String = "USD", org: String = "o",
            account: String = "", timezone: String? = nil
        ) async throws {
            let text =
                "date,network,account_id,campaign,currency,spend\n"
                + "\(date(back)),google,\(account),\(campaign),\(currency),\(amount)\n"
            let file = try SpendReader.csv(Array(text.utf8), latest: growth.campaigns.spend.latestDay)
            _ = try await growth.campaigns.spend.store(file, org: org, timezone: timezone)
        }

        /// A sale of another campaign: its organisation sells leads.
        func sellElsewhere(org: String = "o") async throws {
            try await sell(org == "o" ? 900 : 901, at: open.clock.now, campaign: "elsewhere", org: org)
        }

        func sell(
            _ number: Int, at: Timestamp, campaign: String = "spring", cents: Int64 = 100, org: String = "o"
        ) async throws {
            try await open.database.write("test.sale") { transaction in
                try transaction.run(
                    """
                    INSERT INTO attribution_credits
                        (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                         share_ppm, amount_minor, currency, sold_at, created_at)
                    VALUES (\(org), \(UID(high: 3, low: UInt64(number))), 'last', 0, 'e', \(campaign), 'google', 'cpc',
                            'paid_search', \(at), 1000000, \(cents), 'USD', \(at), \(at))
                    """)
            }
        }

        func set(
            _ cap: Int64? = nil, campaign: String = "spring", currency: Currency = .usd, org: String = "o",
            auto: Bool = false, pause: Bool = false, dryRun: Bool = true
        ) async throws {
            try await growth.set(
                CampaignBudget(
                    campaign: campaign, currency: currency, capMinor: cap, isAuto: auto, mayPause: pause,
                    isDryRun: dryRun), org: org)
        }

        func alerts(open isOpen: Bool = true, org: String = "o") async throws -> [StopAlert] {
            try await growth.stops(org: org, isOpen: isOpen)
        }

        func pauses(open isOpen: Bool = false) async throws -> [AdviceDecision] {
            try await growth.decisions(org: "o", isOpen: isOpen).filter { $0.action == .pause }
        }

        func raised(_ rule: BudgetAlert) -> Int { Int(open.registry.counter(.stopAlerts, rule.rawValue).value) }
    }

    // MARK: bounds

    @Test(arguments: Dialect.allCases)
    func `a day above 1.1 caps raises one alert, and one at 1.1 caps none`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.set(10_000)
        try await world.spend(0, "110.00")
        try await world.watch.look(org: "o")
        #expect(try await world.alerts(open: false).isEmpty)
        try await world.spend(0, "110.01")
        for _ in 0..<3 {
            try await world.watch.look(org: "o")
            world.open.clock.advance(by: .seconds(30))
        }
        let alerts = try await world.alerts(open: false)
        let alert = try #require(alerts.first)
        #expect(alerts.count == 1 && world.raised(.overCap) == 1)
        #expect(alert.finding.rule == .overCap && alert.finding.day == world.today)
        #expect(alert.finding.spendMinor == 11_001 && alert.finding.limitMinor == 11_000)
        #expect(alert.campaign == "spring" && alert.currency == .usd && alert.clearedAt == nil)
        #expect(alert.inputs["cap_minor"] == 10_000 && alert.inputs["day_spend_minor"] == 11_001)
        // A file that is put right ends it, one that is wrong again opens the same one.
        try await world.spend(0, "110.00")
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().isEmpty)
        #expect(try await world.alerts(open: false).first?.clearedAt == world.open.clock.now)
        try await world.spend(0, "120.00")
        try await world.watch.lookAtAll()
        #expect(try await world.alerts().map(\.id) == [alert.id])
        #expect(world.raised(.overCap) == 1)
        #expect(world.open.registry.gauge(.stopAlertsOpen, "over_cap").value == 1)
        // A cap that is raised ends it as well; nobody may pause, so nothing was decided.
        try await world.set(20_000)
        try await world.watch.lookAtAll()
        #expect(try await world.alerts().isEmpty)
        #expect(world.open.registry.gauge(.stopAlertsOpen, "over_cap").value == 0)
        #expect(try await world.growth.decisions(org: "o").isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `another day is another alert, and the one before it ends`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.set(10_000)
        try await world.spend(1, "200")
        try await world.watch.look(org: "o")
        try await world.spend(0, "300")
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().map(\.finding.day) == [world.today])
        #expect(try await world.alerts(open: false).count == 2)
        #expect(world.raised(.overCap) == 2)
        world.open.clock.advance(by: .seconds(4 * 86_400))
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases, [("USD", "999.99", "0.01"), ("JPY", "999", "1"), ("KWD", "999.999", "0.001")])
    func `a thousand units of its currency without a conversion raise an alert, and one unit less none`(
        engine: Dialect, sums: (currency: String, below: String, more: String)
    ) async throws {
        let world = try World(on: engine)
        try await world.sellElsewhere()
        try await world.spend(2, sums.below, currency: sums.currency)
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().isEmpty)
        try await world.spend(1, sums.more, currency: sums.currency)
        for _ in 0..<2 { try await world.watch.look(org: "o") }
        let alerts = try await world.alerts()
        #expect(alerts.map(\.finding.rule) == [.noConversion] && alerts.first?.finding.day == world.today - 1)
        #expect(alerts.first?.finding.spendMinor == alerts.first?.finding.limitMinor)
        #expect(alerts.first?.currency.code == sums.currency && world.raised(.noConversion) == 1)
        // A sale today ends it, also one that was written in another case.
        try await world.sell(1, at: world.open.clock.now, campaign: "SPRING")
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `an organisation that sold no lead has no campaign without a conversion, and nothing is paused for it`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.set(pause: true, dryRun: false)
        try await world.spend(0, "5000")
        // What campaigns bring here is in the log alone.
        let purchase =
            "{\"id\":\"p1\",\"type\":\"track\",\"name\":\"purchase\",\"anonymous_id\":\"ann\",\"value\":99,"
            + "\"currency\":\"USD\",\"campaign\":{\"name\":\"spring\"}}\n"
        _ = try await world.log.capture.submit(
            Array(purchase.utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
            receivedAt: world.open.clock.now)
        func advised() async throws -> [BudgetAlert] {
            try await world.growth.advice(org: "o", AdviceQuestion()).rows.flatMap(\.alerts)
        }
        func seen() async throws -> [Int] {
            try await world.watch.look(org: "o")
            return try await [world.alerts().count, world.pauses(open: true).count, advised().count]
        }
        #expect(try await seen() == [0, 0, 0])
        // Leads that another organisation sells, or that were sold before the days of the rule, change nothing.
        try await world.sellElsewhere(org: "p")
        try await world.sell(1, at: world.open.clock.now - .seconds(200 * 86_400), campaign: "elsewhere")
        #expect(try await seen() == [0, 0, 0])
        try await world.sellElsewhere()
        #expect(try await seen() == [1, 1, 1])
        // One that came back was sold all the same.
        try await world.growth.campaigns.attribution.reverse(org: "o", leg: UID(high: 3, low: 900))
        #expect(try await seen() == [1, 1, 1])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `days are those of the campaign's accounts, of UTC where they differ`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.sellElsewhere()
        // 12:00 on the 21st in UTC is 02:00 on the 22nd on Kiritimati, and 01:00 on the 21st on Pago Pago.
        for (account, zone) in [("k", "Pacific/Kiritimati"), ("p", "Pacific/Pago_Pago")] {
            try await world.spend(0, "2000", campaign: account, account: account, timezone: zone)
        }
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().map(\.campaign).sorted() == ["k", "p"])
        #expect(try await world.alerts().first { $0.campaign == "k" }?.timezone == "Pacific/Kiritimati")
        // 10:30 on the 21st in UTC is the 22nd there, after the spend's day, and the 20th here, before it.
        let half = Timestamp(CivilDate(daysSince1970: world.today)) + .seconds(10 * 3600 + 1800)
        for (number, account) in ["k", "p"].enumerated() {
            try await world.sell(number, at: half, campaign: account)
        }
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().map(\.campaign) == ["p"])
        try await world.spend(0, "1", campaign: "p", account: "k")
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().isEmpty, "by UTC the sale was on the day of the spend")
        await world.log.close()
    }

    // MARK: pauses

    @Test(arguments: Dialect.allCases)
    func `a pause is decided once where it is allowed, withdrawn without its reason, and acknowledged`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.set(10_000, pause: true)
        try await world.sellElsewhere()
        try await world.spend(0, "5000")
        try await world.watch.look(org: "o")
        // Two rules hold, and there is one campaign to pause; a dry run only says so.
        #expect(try await world.alerts().count == 2)
        var pauses = try await world.pauses()
        #expect(pauses.map(\.verdict) == [.dryRun] && pauses.first?.actor == "auto")
        let tried = try #require(pauses.first)
        await #expect(throws: GrowthError.notApproved) {
            _ = try await world.growth.acknowledge(tried.id, org: "o", actor: "k")
        }
        try await world.set(10_000, pause: true, dryRun: false)
        for _ in 0..<3 { try await world.watch.look(org: "o") }
        pauses = try await world.pauses(open: true)
        let pause = try #require(pauses.first)
        #expect(pauses.count == 1 && pause.fromMinor == 500_000 && pause.toMinor == 0)
        #expect(pause.inputs["may_pause"] == true && pause.inputs["limit_minor"] != nil)
        let decided = world.open.registry.counter(.budgetDecisions, "auto", "pause", "approved")
        #expect(decided.value == 1)

        try await world.set(10_000)
        try await world.watch.look(org: "o")
        #expect(try await [world.pauses(open: true).count, world.alerts().count] == [0, 2])
        await #expect(throws: GrowthError.withdrawn) {
            _ = try await world.growth.acknowledge(pause.id, org: "o", actor: "k")
        }
        try await world.set(10_000, pause: true, dryRun: false)
        try await world.watch.look(org: "o")
        #expect(try await world.pauses(open: true).map(\.id) == [pause.id])
        #expect(decided.value == 1)

        await #expect(throws: GrowthError.unknownDecision) {
            _ = try await world.growth.acknowledge(pause.id, org: "other", actor: "k")
        }
        let done = try await world.growth.acknowledge(pause.id, org: "o", actor: "k")
        world.open.clock.advance(by: .seconds(60))
        #expect(try await world.growth.acknowledge(pause.id, org: "o", actor: "again") == done)
        try await world.watch.look(org: "o")
        #expect(try await [world.pauses(open: true).count, world.pauses().count] == [0, 2])
        await world.log.close()
    }

    // MARK: what is kept

    private struct OldRow {
        var campaign: String
        var at: Timestamp
        var end: Timestamp?
        var verdict = "approved"
        var withdrawn: Timestamp?
        var org = "o"
    }

    private static func plant(
        _ world: World, alerts: [OldRow] = [], decisions: [OldRow] = [], automatic: [OldRow] = []
    ) async throws {
        try await world.open.database.write("test.old") { transaction in
            func id(_ place: Int, _ kind: UInt64) -> UID { UID(high: kind, low: UInt64(place)) }
            for (place, row) in alerts.enumerated() {
                try transaction.run(
                    """
                    INSERT INTO stop_alerts (org, id, campaign, currency, rule, day, timezone, spend_minor,
                        limit_minor, inputs, raised_at, cleared_at, created_at)
                    VALUES (\(row.org), \(id(place, 1)), \(row.campaign), 'USD', 'over_cap', 1, 'UTC', 2, 1, '{}',
                            \(row.at), \(row.end), \(row.at))
                    """)
            }
            for (place, row) in decisions.enumerated() {
                try transaction.run(
                    """
                    INSERT INTO advice_decisions (org, id, campaign, currency, day, action, from_minor, to_minor,
                        decision, actor, inputs, decided_at, acknowledged_at, acknowledged_by, created_at)
                    VALUES (\(row.org), \(id(place, 2)), \(row.campaign), 'USD', 1, 'lower', 2, 1, \(row.verdict), 'k',
                            '{}', \(row.at), \(row.end), 'k', \(row.at))
                    """)
            }
            for (place, row) in automatic.enumerated() {
                try transaction.run(
                    """
                    INSERT INTO automatic_decisions (org, id, campaign, currency, day, action, from_minor, to_minor,
                        decision, actor, inputs, decided_at, acknowledged_at, acknowledged_by, withdrawn_at,
                        created_at)
                    VALUES (\(row.org), \(id(place, 3)), \(row.campaign), 'USD', 1, 'pause', 2, 0, \(row.verdict),
                            'auto', '{}', \(row.at), \(row.end), 'k', \(row.withdrawn), \(row.at))
                    """)
            }
        }
    }

    @Test(arguments: Dialect.allCases)
    func `what was over 400 days ago is removed, and what is open or was never acknowledged stays`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        let now = world.open.clock.now
        let (old, young) = (now - .seconds(401 * 86_400), now - .seconds(399 * 86_400))
        let many = (0..<600).map { OldRow(campaign: "many-\($0)", at: old, end: old) }
        try await Self.plant(
            world,
            alerts: many + [
                OldRow(campaign: "other", at: old, end: old, org: "p"), OldRow(campaign: "late", at: old, end: young),
                OldRow(campaign: "open", at: old, end: nil), OldRow(campaign: "young", at: young, end: young),
            ],
            decisions: [
                OldRow(campaign: "rejected", at: old, end: nil, verdict: "rejected"),
                OldRow(campaign: "done", at: old, end: old), OldRow(campaign: "late", at: old, end: young),
                OldRow(campaign: "waits", at: old, end: nil),
                OldRow(campaign: "young", at: young, end: nil, verdict: "rejected"),
            ],
            automatic: [
                OldRow(campaign: "tried", at: old, end: nil, verdict: "dry_run"),
                OldRow(campaign: "done", at: old, end: old),
                OldRow(campaign: "withdrawn", at: old, end: nil, withdrawn: old),
                OldRow(campaign: "late", at: old, end: nil, withdrawn: young),
                OldRow(campaign: "waits", at: old, end: nil),
            ])
        func left() async throws -> [[String]] {
            try await world.open.database.read("test.left") { transaction in
                [
                    try transaction.values(String.self, "SELECT campaign FROM stop_alerts ORDER BY campaign"),
                    try transaction.values(String.self, "SELECT campaign FROM advice_decisions ORDER BY campaign"),
                    try transaction.values(String.self, "SELECT campaign FROM automatic_decisions ORDER BY campaign"),
                ]
            }
        }
        #expect(try await world.watch.purge() == 601 + 2 + 3)
        #expect(try await left() == [["late", "open", "young"], ["late", "waits", "young"], ["late", "waits"]])
        #expect(world.open.registry.counter(.budgetHistoryPurged, "alert").value == 601)
        #expect(world.open.registry.counter(.budgetHistoryPurged, "decision").value == 5)
        #expect(try await world.watch.purge() == 0)
        #expect(try await world.growth.decisions(org: "o", isOpen: true).map(\.campaign) == ["waits"])
        #expect(try await world.alerts().map(\.campaign) == ["open"])
        world.open.clock.advance(by: .seconds(2 * 86_400))
        #expect(try await world.watch.purge() == 2 + 2 + 1)
        #expect(try await left() == [["open"], ["waits"], ["waits"]])
        await world.log.close()
    }

    private struct Killed: Error {}

    @Test(arguments: Dialect.allCases)
    func `a look that is killed before its commit changed nothing, and one after it repeats nothing`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.set(10_000, pause: true, dryRun: false)
        try await world.sellElsewhere()
        try await world.spend(0, "5000")
        await #expect(throws: Killed.self) { try await world.watch.look(org: "o") { _ in throw Killed() } }
        #expect(try await [world.alerts(open: false).count, world.pauses().count] == [0, 0])
        for _ in 0..<2 { try await world.watch.look(org: "o") }
        #expect(try await [world.alerts(open: false).count, world.pauses().count] == [2, 1])
        // Campaigns of the same name are those of their organisation.
        try await world.sellElsewhere(org: "p")
        try await world.spend(0, "5000", org: "p")
        try await world.watch.lookAtAll()
        #expect(try await world.alerts(org: "p").map(\.finding.rule) == [.noConversion])
        #expect(try await world.alerts(open: false).count == 2)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `spend that was imported while a look ran is for the next one`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.set(10_000, pause: true, dryRun: false)
        try await world.sellElsewhere()
        try await world.spend(0, "5000")
        try await world.watch.look(org: "o") { transaction in
            try transaction.run("UPDATE spend_heads SET head = head + 1, newest = newest + 1 WHERE org = 'o'")
        }
        #expect(try await [world.alerts(open: false).count, world.pauses().count] == [0, 0])
        try await world.watch.look(org: "o")
        #expect(try await world.alerts().count == 2)
        await world.log.close()
    }

    // MARK: advice without a person

    /// Twenty mature days on which half of the spend came back: advice is to lower.
    private static func losing(_ world: World, campaign: String = "spring") async throws {
        try await world.open.database.write("test.campaign") { transaction in
            try transaction.run(
                """
                INSERT INTO attribution_campaigns (org, campaign, source, medium, channel, created_at)
                VALUES ('o', \(campaign), 'google', 'cpc', 'paid_search', 1)
                """)
        }
        for back in (1...34).reversed() { try await world.spend(back, "100", campaign: campaign) }
        for number in 0..<40 {
            let at = Timestamp(world.date(15 + number % 20)) + .seconds(40_000)
            try await world.sell(number, at: at, campaign: campaign, cents: 2500)
        }
    }

    @Test(arguments: Dialect.allCases)
    func `advice is decided without a person where somebody allowed it, once a day`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await Self.losing(world)
        func decide() async throws -> [AdviceDecision] {
            try await world.growth.decideAutomatically(org: "o")
        }
        let row = try #require(try await world.growth.advice(org: "o", AdviceQuestion()).rows.first)
        #expect(row.decision.action == .lower, "\(row.decision) of \(row.state)")
        #expect(try await decide().isEmpty, "nobody allowed it")
        try await world.set(auto: true)
        #expect(try await decide().map(\.verdict) == [.dryRun])
        #expect(try await decide().isEmpty)
        // A dry run changes nothing: the advice stands, and nothing waits to be carried out.
        let after = try #require(try await world.growth.advice(org: "o", AdviceQuestion()).rows.first)
        #expect(after.decision == row.decision)
        #expect(try await world.growth.decisions(org: "o", isOpen: true).isEmpty)

        try await world.set(auto: true, dryRun: false)
        await #expect(throws: Killed.self) {
            _ = try await world.growth.decideAutomatically(org: "o") { _ in throw Killed() }
        }
        #expect(try await world.growth.decisions(org: "o").count == 1)
        let made = try #require(try await decide().first)
        #expect(made.verdict == .approved && made.actor == "auto" && made.toMinor == row.decision.toMinor)
        #expect(made.inputs["auto"] == true && made.inputs["roas"] != nil)
        #expect(try await decide().isEmpty)
        #expect(try await world.growth.decisions(org: "o", isOpen: true).map(\.id) == [made.id])
        await #expect(throws: GrowthError.decidedToday) {
            _ = try await world.growth.decide(
                org: "o", campaign: "spring", currency: .usd, action: .lower, toMinor: made.toMinor,
                verdict: .approved, actor: "key", AdviceQuestion())
        }
        world.open.clock.advance(by: .seconds(86_400))
        #expect(try await world.growth.decisions(org: "o", isOpen: true).isEmpty, "it has expired")
        #expect(try await decide().count == 1)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what a person said, set or imported meanwhile goes before what is decided without one`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await Self.losing(world)
        try await world.set(auto: true, dryRun: false)
        func decide(_ meanwhile: SQLStatement) async throws -> Int {
            try await world.growth.decideAutomatically(org: "o") { _ = try $0.run(meanwhile) }.count
        }
        for change: SQLStatement in [
            "UPDATE campaign_budgets SET is_auto = 0", "UPDATE campaign_budgets SET is_auto = 1, floor_minor = 9999",
            "UPDATE spend_heads SET head = head + 1, newest = newest + 1",
        ] {
            #expect(try await decide(change) == 0)
            try await world.set(auto: true, dryRun: false)
        }
        let row = try #require(try await world.growth.advice(org: "o", AdviceQuestion()).rows.first)
        _ = try await world.growth.decide(
            org: "o", campaign: "spring", currency: .usd, action: .lower,
            toMinor: try #require(row.decision.toMinor), verdict: .rejected, actor: "key", AdviceQuestion())
        #expect(try await world.growth.decideAutomatically(org: "o").isEmpty, "a person rejected it today")
        world.open.clock.advance(by: .seconds(86_400))
        #expect(try await world.growth.decideAutomatically(org: "o").count == 1)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `in random states nothing decided without a person breaks a guard rail`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let seed: UInt64 = 220
        print("stop rule seed \(seed)")
        var random = SeededRandom(seed: seed)
        try await Self.losing(world)
        var made = 0
        for round in 0..<soakCount(500) {
            let cap = Bool.random(using: &random) ? Int64.random(in: 7000...12_000, using: &random) : nil
            let floor = Int64.random(in: 0...9500, using: &random)
            let (auto, dryRun) = (Int.random(in: 0..<4, using: &random) > 0, Bool.random(using: &random))
            try await world.growth.set(
                CampaignBudget(
                    campaign: "spring", currency: .usd, capMinor: cap.map { max($0, floor) }, floorMinor: floor,
                    isAuto: auto, isDryRun: dryRun), org: "o")
            for decision in try await world.growth.decideAutomatically(org: "o") {
                let name = Comment(rawValue: "seed \(seed) round \(round): \(decision)")
                made += 1
                #expect(auto && decision.verdict == (dryRun ? .dryRun : .approved), name)
                #expect(decision.toMinor >= floor && decision.toMinor <= cap.map { max($0, floor) } ?? .max, name)
                let part = Double(decision.toMinor) / Double(decision.fromMinor)
                #expect(decision.action == .lower && part >= 0.8 && part <= 0.9, name)
            }
            world.open.clock.advance(by: .seconds(Int.random(in: 0...7200, using: &random)))
        }
        let approved = try await world.growth.decisions(org: "o").filter { $0.verdict == .approved }
        #expect(Set(approved.map(\.decidedAt.utcDate)).count == approved.count && made > 0)
        await world.log.close()
    }
}
