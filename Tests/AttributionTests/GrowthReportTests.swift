import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// Cohorts, claims, saturation and advice over a real log and real tables of both engines.
struct GrowthReportTests {
    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let growth: GrowthReports
        var attribution: AttributionService { growth.campaigns.attribution }

        init(on engine: Dialect, returnDays: Int? = nil) throws {
            open = try OpenDatabase(clock: ManualWallClock(), on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let attribution = AttributionService(
                database: open.database, events: log.store, registry: open.registry)
            let campaigns = CampaignReports(
                attribution: attribution,
                spend: SpendStore(
                    database: open.database, clock: open.clock, registry: open.registry,
                    revision: attribution.revision),
                engine: QueryEngine(source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
                clock: open.clock, registry: open.registry)
            growth = GrowthReports(campaigns: campaigns) { _ in returnDays }
        }

        func visit(_ campaign: String, network: String = "google", by person: String) async throws {
            let line = """
                {"id":"\(UID(now: open.clock.now).hex)","type":"page","anonymous_id":"\(person)",\
                "session_id":"s-\(person)","url":"https://a.example/",\
                "campaign":{"name":"\(campaign)","source":"\(network)","medium":"cpc","network":"\(network)"}}

                """
            let receipt = try await log.capture.submit(
                Array(line.utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
                receivedAt: open.clock.now)
            #expect(receipt.stored == 1)
            open.clock.advance(by: .seconds(60))
        }

        func spend(_ rows: String, org: String = "o") async throws {
            let text = "date,network,campaign,currency,spend,conversions,value\n" + rows
            let file = try SpendReader.csv(Array(text.utf8), latest: growth.campaigns.spend.latestDay)
            _ = try await growth.campaigns.spend.store(file, org: org)
        }

        func sell(_ number: Int, _ cents: Int64, to person: String, currency: Currency = .usd) async throws {
            try await attribution.credit(
                Sale(
                    org: "o", leg: Self.leg(number), traceID: nil, visitorID: person,
                    price: Money(minorUnits: cents, currency: currency), at: open.clock.now))
        }

        static func leg(_ number: Int) -> UID { UID(high: 9, low: UInt64(number)) }

        func lead(_ number: Int, of person: String) async throws {
            try await attribution.credit(
                NewLead(
                    org: "o", lead: UID(high: 8, low: UInt64(number)), traceID: nil, visitorID: person,
                    at: open.clock.now))
        }
    }

    // MARK: cohorts

    private struct Happening {
        let person: String
        let at: Timestamp
        var cents: Int64 = 0
        var isReturned = false
    }

    private struct Expected: Equatable {
        var size: Int64 = 0
        var revenue: [Int64] = [0, 0, 0]
        var lifetime: Int64 = 0
    }

    /// By first day and campaign, person by person.
    private static func naive(
        _ entries: [Happening], _ sales: [Happening], _ campaign: (String) -> String
    ) -> [String: Expected] {
        var answer: [String: Expected] = [:]
        for (person, all) in Dictionary(grouping: entries, by: \.person) {
            guard let first = all.map(\.at).min() else { continue }
            let key = "\(first.utcDate) \(campaign(person))"
            var one = answer[key] ?? Expected()
            one.size += 1
            for sale in sales where sale.person == person && !sale.isReturned && sale.at >= first {
                one.lifetime += sale.cents
                for (place, days) in [1, 7, 30].enumerated() where sale.at < first + .seconds(days * 86_400) {
                    one.revenue[place] += sale.cents
                }
            }
            answer[key] = one
        }
        return answer
    }

    @Test(arguments: Dialect.allCases)
    func `cohorts are those of a count person by person, whatever happened in which order`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let seed: UInt64 = 160
        print("cohort seed \(seed)")
        var random = SeededRandom(seed: seed)
        let persons = (0..<12).map { "p\($0)" }
        func campaign(_ person: String) -> String {
            guard let number = Int(person.dropFirst()), number < 10 else { return Credit.organic }
            return number.isMultiple(of: 2) ? "spring" : "video"
        }
        for person in persons where campaign(person) != Credit.organic {
            try await world.visit(campaign(person), by: person)
        }
        var (leads, sales): ([Happening], [Happening]) = ([], [])
        for step in 0..<70 {
            // 70 steps of at most 9.6 hours end within the 30 days that a touch may earn credit.
            world.open.clock.advance(by: .seconds(Int.random(in: 0...34_000, using: &random)))
            let person = persons[Int.random(in: 0..<persons.count, using: &random)]
            let now = world.open.clock.now
            if Bool.random(using: &random) {
                try await world.lead(step, of: person)
                leads.append(Happening(person: person, at: now))
            } else {
                let cents = Int64.random(in: 1...30_000, using: &random)
                try await world.sell(step, cents, to: person)
                var sale = Happening(person: person, at: now, cents: cents)
                if Int.random(in: 0..<4, using: &random) == 0 {
                    try await world.attribution.reverse(org: "o", leg: World.leg(step))
                    sale.isReturned = true
                }
                sales.append(sale)
            }
        }
        try await world.spend("2026-11-22,google,spring,USD,12.34,,\n2026-11-23,google,video,USD,5.00,,\n")
        for (on, entries) in [(CohortQuestion.Entry.leads, leads), (.conversions, sales)] {
            var question = CohortQuestion()
            (question.on, question.period, question.days, question.timezone) = (on, .day, 60, "UTC")
            let report = try await world.growth.cohorts(org: "o", question)
            let found = Dictionary(
                report.lines.filter { $0.size > 0 }.map {
                    (
                        "\($0.start) \($0.key)",
                        Expected(size: $0.size, revenue: $0.revenueMinor, lifetime: $0.lifetimeMinor)
                    )
                }, uniquingKeysWith: { one, _ in one })
            #expect(found == Self.naive(entries, sales, campaign), "\(on)")
            #expect(report.lines.reduce(0) { $0 + $1.spendMinor } == 1734)
            for line in report.lines {
                let end = Timestamp(line.start) + .seconds(86_400)
                let mature = [1, 7, 30].map { end + .seconds($0 * 86_400) <= world.open.clock.now }
                #expect(line.isMature == mature, "\(line.start)")
            }
            // Averages are of mature cohorts alone.
            let all = CohortReport.AverageKey(key: nil, currency: .usd)
            let averages = try #require(report.averages[all])
            for place in CohortReport.horizons.indices {
                let mature = report.lines.filter { $0.isMature[place] }
                #expect(averages[place].revenueMinor == mature.reduce(0) { $0 + $1.revenueMinor[place] })
                #expect(averages[place].size == mature.reduce(0) { $0 + $1.size })
            }
            // Weeks, months and other keys put the same people elsewhere.
            for period in CohortQuestion.Period.allCases {
                for dimension in CohortQuestion.dimensions {
                    (question.period, question.dimension) = (period, dimension)
                    let other = try await world.growth.cohorts(org: "o", question)
                    #expect(other.lines.reduce(0) { $0 + $1.size } == Int64(Set(entries.map(\.person)).count))
                    #expect(
                        other.lines.reduce(0) { $0 + $1.lifetimeMinor }
                            == report.lines.reduce(0) { $0 + $1.lifetimeMinor }, "\(period) \(dimension)")
                }
            }
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `members count in every currency of their key, and ranges are whole and bounded`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let euro = try #require(Currency("EUR"))
        for (number, person) in ["ann", "bob", "eve"].enumerated() {
            try await world.visit("spring", by: person)
            try await world.lead(number, of: person)
            if person == "ann" { try await world.sell(1, 6000, to: person) }
            if person == "bob" { try await world.sell(2, 900, to: person, currency: euro) }
            world.open.clock.advance(by: .seconds(86_400))
        }
        world.open.clock.advance(by: .seconds(40 * 86_400))
        var question = CohortQuestion()
        (question.period, question.timezone) = (.day, "UTC")
        let report = try await world.growth.cohorts(org: "o", question)
        for key in ["spring", nil] {
            for (currency, minor) in [(Currency.usd, Int64(6000)), (euro, 900)] {
                let average = try #require(report.averages[.init(key: key, currency: currency)])
                #expect(average.map(\.size) == [3, 3, 3] && average.map(\.cohorts) == [3, 3, 3], "\(average)")
                #expect(average[2].revenueMinor == minor && average[2].lifetimeValueMinor == minor / 3)
            }
        }
        #expect(report.lines.reduce(0) { $0 + $1.size } == 3 && !report.isAveragesCut)

        let to = try #require(CivilDate("2026-11-23"))
        (question.to, question.days) = (to, 1)
        let one = try await world.growth.cohorts(org: "o", question)
        #expect(one.from == CivilDate(daysSince1970: to.daysSince1970 - 1) && one.to == to)
        #expect(one.lines.reduce(0) { $0 + $1.size } == 1)
        question.from = to
        await #expect(throws: GrowthError.self) { _ = try await world.growth.cohorts(org: "o", question) }
        question.from = CivilDate(daysSince1970: to.daysSince1970 - CampaignQuestion.daysMax - 1)
        await #expect(throws: GrowthError.self) { _ = try await world.growth.cohorts(org: "o", question) }
        question.from = CivilDate(daysSince1970: to.daysSince1970 - CampaignQuestion.daysMax)
        #expect(try await world.growth.cohorts(org: "o", question).lines.reduce(0) { $0 + $1.size } == 2)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what has a visitor or a trace in common is one person, and repeating it changes nothing`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let trace = UID(high: 1, low: 1)
        func lead(_ low: UInt64, trace: UID?, visitor: String?) async throws {
            for _ in 0..<2 {
                try await world.attribution.credit(
                    NewLead(
                        org: "o", lead: UID(high: 8, low: low), traceID: trace, visitorID: visitor,
                        at: world.open.clock.now))
            }
            world.open.clock.advance(by: .seconds(1))
        }
        try await lead(1, trace: trace, visitor: "ann")
        try await lead(2, trace: UID(high: 1, low: 2), visitor: "ann")
        try await lead(3, trace: trace, visitor: nil)
        try await lead(4, trace: UID(high: 1, low: 4), visitor: "bob")
        try await lead(5, trace: nil, visitor: nil)
        let report = try await world.growth.cohorts(org: "o", CohortQuestion())
        #expect(report.lines.reduce(0) { $0 + $1.size } == 3)
        #expect(try await world.growth.cohorts(org: "other", CohortQuestion()).lines.isEmpty)
        await world.log.close()
    }

    // MARK: claims

    @Test(arguments: Dialect.allCases)
    func `claims stand beside credits by network and day, and what cannot be is said`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.visit("spring", by: "ann")
        try await world.visit("video", network: "meta", by: "bob")
        try await world.sell(1, 10_000, to: "ann")
        try await world.sell(2, 4000, to: "bob")
        try await world.sell(3, 500, to: "nobody")
        try await world.sell(4, 900, to: "ann")
        try await world.attribution.reverse(org: "o", leg: World.leg(4))
        try await world.spend(
            """
            2026-11-21,google,spring,USD,30.00,2.5,300.00
            2026-11-21,meta,video,USD,10.00,3,
            2026-11-20,google,spring,USD,10.00,1,20.00

            """)
        let report = try await world.growth.claims(org: "o", ClaimQuestion())
        let today = try #require(CivilDate("2026-11-21")).daysSince1970
        func line(_ network: String, _ day: Int) throws -> ClaimLine {
            try #require(report.lines.first { $0.network == network && $0.day == day })
        }
        let google = try line("google", today)
        #expect(google.claimedMillionths == 2_500_000 && google.creditedMillionths == 1_000_000)
        #expect(google.inflation == 2_500_000 && google.values.map(\.inflation) == [3_000_000])
        let meta = try line("meta", today)
        #expect(meta.inflation == 3_000_000 && meta.values.map(\.claimedMinor) == [nil])
        #expect(meta.values.map(\.creditedMinor) == [4000] && meta.values.map(\.inflation) == [nil])
        let before = try line("google", today - 1)
        #expect(before.inflation == nil && before.creditedMillionths == 0)
        #expect(report.totals.map(\.network) == ["google", "meta"])
        #expect(report.totals.map(\.claimedMillionths) == [3_500_000, 3_000_000])
        // 5.5 were claimed of a day on which three sales were made and stayed.
        #expect(report.days.map(\.impossibleMillionths) == [2_500_000])
        await world.log.close()
    }

    @Test func `the metric of claims is of one organisation and of the question without parameters`() async throws {
        let world = try World(on: .ofTestRun)
        var question = ClaimQuestion()
        #expect(GrowthReports.measuredOrg == "default")
        try await world.spend("2026-11-21,google,spring,USD,30.00,7,\n", org: "default")
        let line =
            #"{"id":"\#(UID(now: world.open.clock.now).hex)","type":"page","anonymous_id":"ann","#
            + #""session_id":"s","url":"https://a.example/","campaign":{"name":"spring","network":"google"}}"#
        _ = try await world.log.capture.submit(
            Array((line + "\n").utf8), format: .ndjson, source: CaptureSource(org: "default", app: "site"),
            receivedAt: world.open.clock.now)
        for number in 0..<2 {
            try await world.attribution.credit(
                Sale(
                    org: "default", leg: World.leg(number), traceID: nil, visitorID: "ann", price: .usd(cents: 100),
                    at: world.open.clock.now + .seconds(1)))
        }
        let gauge = world.open.registry.gauge(.attributionClaimRatio, "google")
        question.days = 7
        _ = try await world.growth.claims(org: "default", question)
        _ = try await world.growth.claims(org: "o", ClaimQuestion())
        #expect(gauge.value == 0)
        _ = try await world.growth.claims(org: "default", ClaimQuestion())
        #expect(gauge.value == 3.5)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `claims of many days and currencies are those of a count by hand, leads included`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let seed: UInt64 = 161
        print("claim seed \(seed)")
        var random = SeededRandom(seed: seed)
        // "SPRING" is the same campaign in another spelling.
        for name in ["spring", "spring", "SPRING"] { try await world.visit(name, by: name) }
        try await world.visit("video", network: "meta", by: "bob")
        let currencies = [Currency.usd, try #require(Currency("EUR")), try #require(Currency("JPY"))]
        struct Line: Equatable {
            var claimed: Int64?
            var sold: Int64 = 0
            var leads: Int64 = 0
            var values: [String: Int64] = [:]
            var earned: [String: Int64] = [:]
        }
        var expected: [String: Line] = [:]
        for step in 0..<40 {
            world.open.clock.advance(by: .seconds(Int.random(in: 0...40_000, using: &random)))
            let person = ["spring", "SPRING", "bob"][step % 3]
            let key = "\(world.open.clock.now.utcDate) \(person == "bob" ? "meta" : "google")"
            if Bool.random(using: &random) {
                try await world.lead(step, of: person)
                expected[key, default: Line()].leads += 1_000_000
            } else {
                let currency = currencies[Int.random(in: 0..<3, using: &random)]
                let minor = Int64.random(in: 1...30_000, using: &random)
                try await world.sell(step, minor, to: person, currency: currency)
                expected[key, default: Line()].sold += 1_000_000
                expected[key, default: Line()].earned[currency.code, default: 0] += minor
            }
        }
        var rows = ""
        let last = world.open.clock.now.utcDate.daysSince1970
        for day in (last - 20)...last {
            for (network, name) in [("google", "Spring"), ("meta", "video")] {
                for currency in currencies where Int.random(in: 0..<3, using: &random) == 0 {
                    let (claims, value) = (
                        Int64.random(in: 0...9, using: &random), Int64.random(in: 0...99, using: &random)
                    )
                    let date = CivilDate(daysSince1970: day)
                    rows += "\(date),\(network),\(name),\(currency.code),1,\(claims),\(value)\n"
                    let unit = (0..<currency.fractionDigits).reduce(Int64(1)) { unit, _ in unit * 10 }
                    let key = "\(date) \(network)"
                    expected[key, default: Line()].claimed =
                        (expected[key]?.claimed ?? 0) + claims * 1_000_000
                    expected[key, default: Line()].values[currency.code] = value * unit
                }
            }
        }
        try await world.spend(rows)
        for ours in [ClaimQuestion.Ours.conversions, .leads] {
            var question = ClaimQuestion()
            (question.ours, question.timezone) = (ours, "UTC")
            let report = try await world.growth.claims(org: "o", question)
            var found: [String: Line] = [:]
            for line in report.lines {
                var one = Line(claimed: line.claimedMillionths)
                if ours == .leads { one.leads = line.creditedMillionths } else { one.sold = line.creditedMillionths }
                for value in line.values {
                    one.values[value.currency.code] = value.claimedMinor
                    if value.creditedMinor != 0 { one.earned[value.currency.code] = value.creditedMinor }
                }
                found["\(CivilDate(daysSince1970: line.day ?? 0)) \(line.network)"] = one
            }
            var wanted = expected.mapValues { line in
                var line = line
                if ours == .leads { (line.sold, line.earned) = (0, [:]) } else { line.leads = 0 }
                return line
            }
            wanted = wanted.filter { $0.value != Line() }
            #expect(found == wanted, "\(ours)")
            #expect(
                report.totals.reduce(0) { $0 + $1.creditedMillionths }
                    == wanted.values.reduce(0) { $0 + $1.sold + $1.leads })
            for day in report.days {
                let date = CivilDate(daysSince1970: day.day)
                let lines = ["google", "meta"].compactMap { wanted["\(date) \($0)"] }
                #expect(day.claimedMillionths == lines.reduce(0) { $0 + ($1.claimed ?? 0) }, "\(date)")
                #expect(day.happenedMillionths == lines.reduce(0) { $0 + $1.sold + $1.leads }, "\(date)")
            }
        }
        await world.log.close()
    }

    // MARK: saturation and advice

    /// Forty days before today: spend in a weekly rhythm, as many sales of 100 dollars as the curve says, from tables.
    private static func fill(_ world: World, _ truth: LogisticCurve) async throws -> Int {
        var random = SeededRandom(seed: 5)
        let today = world.open.clock.now.utcDate.daysSince1970
        var rows = ""
        var sales: [(day: Int, count: Int)] = []
        for back in (1...40).reversed() {
            let spend = Int64(20_000 + back % 7 * 10_000) + Int64.random(in: 0...5000, using: &random)
            sales.append((today - back, Int((Double(spend) / truth.cost(at: Double(spend))).rounded())))
            rows += "\(CivilDate(daysSince1970: today - back)),google,spring,USD,\(Money.usd(cents: spend).decimal),,\n"
        }
        try await world.spend(rows)
        let made = sales
        try await world.open.database.write("test.sales") { transaction in
            for (place, (day, count)) in made.enumerated() {
                // The same campaign, as some touches write it.
                let name = place.isMultiple(of: 2) ? "spring" : "SPRING"
                let at = Timestamp(CivilDate(daysSince1970: day)) + .seconds(40_000)
                for number in 0..<count {
                    let leg = UID(high: UInt64(day), low: UInt64(number))
                    try transaction.run(
                        """
                        INSERT INTO attribution_credits
                            (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                             share_ppm, amount_minor, currency, sold_at, created_at)
                        VALUES ('o', \(leg), 'last', 0, 'e', \(name), 'google', 'cpc', 'paid_search', \(at), 1000000,
                                10000, 'USD', \(at), \(at))
                        """)
                }
            }
        }
        return sales.reduce(0) { $0 + $1.count }
    }

    @Test(arguments: Dialect.allCases)
    func `a campaign's curve is found from spend and sales, and advice on it is decided once a day`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        for name in ["spring", "spring", "SPRING"] { try await world.visit(name, by: "ann") }
        // At the usual 50,000 a day or so: 40 % of the ceiling, 1,500 a sale that brings 10,000.
        let truth = LogisticCurve(ceiling: 4000, steepness: 4e-5, midpoint: 62_000)
        let sold = try await Self.fill(world, truth)
        let report = try await world.growth.saturation(org: "o", SaturationQuestion(campaign: "SPRING"))
        #expect(report.campaign == "spring" && report.currency == .usd && report.timezone == "UTC")
        let results = report.answer.points.reduce(0) { $0 + $1.results }
        #expect(report.answer.points.count <= 40 && results > 0 && results <= Double(sold))
        #expect(report.answer.state == .efficient, "\(report.answer)")
        let fit = try #require(report.answer.fit)
        #expect(apart(fit.curve.cost(at: 50_000), truth.cost(at: 50_000)) < 0.1)
        #expect(report.json["curve"]?.array?.count == 41)
        var other = SaturationQuestion(campaign: "spring")
        for kind in [ResultKind.installs, .leads] {
            other.on = kind
            let none = try await world.growth.saturation(org: "o", other).answer
            #expect(none.state == .insufficientData && none.missing.contains(.days) && none.fit == nil)
        }
        await #expect(throws: GrowthError.unknownCampaign) {
            _ = try await world.growth.saturation(org: "o", SaturationQuestion(campaign: "ghost"))
        }

        let budget = try await world.growth.set(CampaignBudget(campaign: "Spring", currency: .usd), org: "o")
        #expect(budget.campaign == "spring")
        let advice = try await world.growth.advice(org: "o", AdviceQuestion())
        let row = try #require(advice.rows.first)
        #expect(advice.rows.count == 1 && row.hasOwnTarget && row.state.conversionsMillionths > 30_000_000)
        // Fourteen days may still change; forty have spend, and nothing counts from before the first of them.
        let today = world.open.clock.now.utcDate.daysSince1970
        #expect(advice.maturityDays == 14 && row.countedFrom == CivilDate(daysSince1970: today - 40))
        #expect(row.countedTo == CivilDate(daysSince1970: today - 14) && row.countedTo == advice.matureTo)
        #expect(row.state.revenueMinor == row.state.conversionsMillionths / 100)
        #expect(row.decision.action == .raise && row.decision.reason == .earnsMore, "\(row.decision)")
        let to = try #require(row.decision.toMinor)
        func decide(_ minor: Int64, _ verdict: AdviceDecision.Verdict) async throws -> AdviceDecision {
            try await world.growth.decide(
                org: "o", campaign: "sPRING", currency: .usd, action: .raise, toMinor: minor, verdict: verdict,
                actor: "key", AdviceQuestion())
        }
        await #expect(throws: GrowthError.adviceChanged) { _ = try await decide(to + 1, .approved) }
        _ = try await decide(to, .rejected)
        let approved = try await decide(to, .approved)
        #expect(approved.fromMinor == row.state.currentMinor && approved.inputs["to_minor"]?.integer == to)
        await #expect(throws: GrowthError.decidedToday) { _ = try await decide(to, .approved) }
        #expect(try await world.growth.decisions(org: "o").map(\.verdict).contains(.approved))
        #expect(try await world.growth.decisions(org: "o").count == 2)
        // Whatever the calendar: it is one more day there, or one less.
        var elsewhere = AdviceQuestion()
        for zone in [nil, "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            elsewhere.timezone = zone
            let after = try await world.growth.advice(org: "o", elsewhere)
            #expect(after.rows.first?.decision.reason == .decidedToday, "\(zone ?? "")")
        }
        world.open.clock.advance(by: .seconds(86_400))
        #expect(try await world.growth.advice(org: "o", AdviceQuestion()).rows.first?.decision.reason != .decidedToday)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what is sold before and after the spend of a campaign is not held against it`(engine: Dialect) async throws {
        let world = try World(on: engine, returnDays: 5)
        try await world.visit("spring", by: "ann")
        let today = world.open.clock.now.utcDate.daysSince1970
        var rows = ""
        for back in [20, 18, 9] {
            rows += "\(CivilDate(daysSince1970: today - back)),google,spring,USD,100.00,,\n"
        }
        try await world.spend(rows)
        try await world.open.database.write("test.sales") { transaction in
            for back in 1...40 {
                let at = Timestamp(CivilDate(daysSince1970: today - back)) + .seconds(40_000)
                try transaction.run(
                    """
                    INSERT INTO attribution_credits
                        (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                         share_ppm, amount_minor, currency, sold_at, created_at)
                    VALUES ('o', \(UID(high: 1, low: UInt64(back))), 'last', 0, 'e', 'spring', 'google', 'cpc',
                            'paid_search', \(at), 1000000, 7, 'USD', \(at), \(at))
                    """)
            }
        }
        let report = try await world.growth.advice(org: "o", AdviceQuestion())
        let row = try #require(report.rows.first)
        #expect(report.maturityDays == 5 && row.state.spendMinor == 30_000)
        #expect(row.countedFrom == CivilDate(daysSince1970: today - 20))
        #expect(row.countedTo == CivilDate(daysSince1970: today - 8))
        #expect(row.state.revenueMinor == 12 * 7 && row.state.conversionsMillionths == 12_000_000)
        var young = AdviceQuestion()
        young.maturityDays = 4
        await #expect(throws: GrowthError.immature(leastDays: 5)) {
            _ = try await world.growth.advice(org: "o", young)
        }
        young.maturityDays = 10
        // The day with spend nine days ago is not mature.
        #expect(try await world.growth.advice(org: "o", young).rows.first?.state.spendMinor == 20_000)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `currencies that mix give no curve and no change`(engine: Dialect) async throws {
        let world = try World(on: engine)
        for name in ["spring", "spring", "SPRING"] { try await world.visit(name, by: "ann") }
        _ = try await Self.fill(world, LogisticCurve(ceiling: 4000, steepness: 4e-5, midpoint: 62_000))
        #expect(try await world.growth.advice(org: "o", AdviceQuestion()).rows.first?.decision.action == .raise)
        let euro = try #require(Currency("EUR"))
        // A sale in a currency without spend.
        try await world.sell(1, 500, to: "ann", currency: euro)
        world.open.clock.advance(by: .seconds(86_400))
        func check(_ rows: Int, _ on: [ResultKind]) async throws {
            let advice = try await world.growth.advice(org: "o", AdviceQuestion())
            #expect(advice.rows.count == rows)
            for row in advice.rows {
                #expect(row.decision.action == .hold && row.decision.reason == .mixedCurrencies, "\(row.currency)")
                #expect(row.state.fit == nil && row.saturation == nil)
            }
            for kind in ResultKind.allCases {
                var question = SaturationQuestion(campaign: "spring")
                question.on = kind
                let report = try await world.growth.saturation(org: "o", question)
                #expect(report.isCurrencyMixed == on.contains(kind), "\(kind)")
                if on.contains(kind) {
                    #expect(report.answer.missing == [.mixedCurrencies] && report.answer.fit == nil)
                    #expect(report.otherCurrencies == [euro])
                }
            }
        }
        try await check(1, [.conversions])
        try await world.spend("2026-11-20,google,spring,EUR,3000.00,,\n")
        try await check(2, ResultKind.allCases)
        // What was sold counts against no_conversion, whatever its currency.
        let rows = try await world.growth.advice(org: "o", AdviceQuestion()).rows
        #expect(rows.allSatisfy { $0.alerts.isEmpty }, "\(rows.map(\.alerts))")
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `figures that add up to too much are refused, and nothing ends the process`(engine: Dialect) async throws {
        let world = try World(on: engine)
        for person in ["ann", "bob"] { try await world.visit("spring", by: person) }
        try await world.lead(1, of: "ann")
        try await world.sell(1, 500, to: "ann")
        let days = (1...12).map { "2026-11-\($0 < 10 ? "0" : "")\($0),google,spring,USD,1,1,1\n" }
        try await world.spend(days.joined())
        let columns: [SQLStatement] = [
            "UPDATE spend_rows SET spend_minor = 1000000000000000000",
            "UPDATE spend_rows SET spend_minor = 1, conversions_millionths = 1000000000000000000",
            "UPDATE spend_rows SET conversions_millionths = 1, value_minor = 1000000000000000000",
        ]
        for (place, change) in columns.enumerated() {
            try await world.open.database.write("test.hostile") { transaction in _ = try transaction.run(change) }
            await #expect(throws: SpendError.figuresTooLarge, "\(place)") {
                _ = try await world.growth.campaigns.report(org: "o", CampaignQuestion(models: [.last]))
            }
            await #expect(throws: SpendError.figuresTooLarge, "\(place)") {
                _ = try await world.growth.claims(org: "o", ClaimQuestion())
            }
            if place == 0 {
                var question = CohortQuestion()
                question.period = .month
                let asked = question
                await #expect(throws: SpendError.figuresTooLarge) {
                    _ = try await world.growth.cohorts(org: "o", asked)
                }
                await #expect(throws: SpendError.figuresTooLarge) {
                    _ = try await world.growth.advice(org: "o", AdviceQuestion())
                }
            }
            let answer = try await world.growth.saturation(org: "o", SaturationQuestion(campaign: "spring")).answer
            #expect(answer.state == .insufficientData)
        }
        await world.log.close()
    }

    @Test func `a budget belongs to the campaign however it is written`() async throws {
        let world = try World(on: .ofTestRun)
        let early = CampaignBudget(campaign: "SPRING", currency: .usd, capMinor: 5)
        try await world.growth.set(early, org: "o")
        #expect(try await world.growth.budgets(org: "o") == [early])
        for person in ["ann", "bob"] { try await world.visit("spring", by: person) }
        #expect(try await world.growth.budgets(org: "o").map(\.campaign) == ["spring"])
        let late = try await world.growth.set(
            CampaignBudget(campaign: "Spring", currency: .usd, capMinor: 9), org: "o")
        #expect(try await world.growth.budgets(org: "o") == [late] && late.campaign == "spring")
        try await world.open.database.write("test.budgets") { transaction in
            for number in 1..<CampaignBudget.budgetsMax {
                try transaction.run(
                    """
                    INSERT INTO campaign_budgets
                        (org, campaign, currency, target_millionths, floor_minor, updated_at, created_at)
                    VALUES ('o', \("c\(number)"), 'USD', 1, 0, 1, 1)
                    """)
            }
        }
        await #expect(throws: GrowthError.self) {
            try await world.growth.set(CampaignBudget(campaign: "one more", currency: .usd), org: "o")
        }
        #expect(try await world.growth.set(early, org: "o").capMinor == 5)
        #expect(try await world.growth.budgets(org: "o").count == CampaignBudget.budgetsMax)
        await world.log.close()
    }

    @Test func `budgets that contradict themselves are refused`() async throws {
        let world = try World(on: .ofTestRun)
        for budget in [
            CampaignBudget(campaign: "c", currency: .usd, targetMillionths: 0),
            CampaignBudget(campaign: "c", currency: .usd, capMinor: 5, floorMinor: 6),
            CampaignBudget(campaign: "c", currency: .usd, floorMinor: -1),
        ] {
            await #expect(throws: GrowthError.self) { try await world.growth.set(budget, org: "o") }
        }
        let good = CampaignBudget(campaign: "c", currency: .usd, capMinor: 6, floorMinor: 6)
        for _ in 0..<2 { try await world.growth.set(good, org: "o") }
        #expect(try await world.growth.budgets(org: "o") == [good])
        await world.log.close()
    }

    @Test func `retention asks behaviour's engine about a campaign's people`() throws {
        var question = CohortRetention()
        (question.labels, question.timezone, question.days) = ([#"a "b" \ c"#, "B"], "America/New_York", 7)
        let now = try #require(Timestamp(rfc3339: "2026-11-22T03:00:00Z"))
        let body = try question.body(now: now)
        let list = #"("a \"b\" \\ c", "B")"#
        #expect(
            body["first"]?.string == "(type in (page, screen, open)) and (campaign.name in \(list) or "
                + "(not campaign.name exists and campaign.id in \(list)))")
        // It is still the 21st there.
        #expect(body["from"]?.string == "2026-11-15T05:00:00.000Z" && body["to"]?.string == "2026-11-22T05:00:00.000Z")
        question.timezone = "Mars/Base"
        #expect(throws: SpendError.unknownTimeZone) { try question.body(now: now) }
    }
}
