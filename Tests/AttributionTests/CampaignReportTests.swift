import Attribution
import AurumCore
import Database
import Events
import Telemetry
import TestSupport
import Testing

/// What campaigns cost and earned, over a real log and real tables, against arithmetic by hand.
struct CampaignReportTests {
    private typealias World = CampaignWorld

    private static let spring = "utm_source=google&utm_medium=cpc&utm_campaign=Spring&utm_id=c-1"
    private static let video = "utm_source=facebook&utm_medium=paid_social&utm_campaign=video"

    @Test(arguments: Dialect.allCases)
    func `spend, touches, leads and revenue meet by campaign, and every figure is as by hand`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        for person in ["ann", "bob"] { try await world.visit(Self.spring, by: person) }
        try await world.visit(Self.video, by: "cyd")
        try await world.visit(Self.spring, by: "cyd")
        try await world.send(
            "\"type\":\"impression\",\"device_id\":\"d-1\",\"campaign\":{\"name\":\"video\",\"network\":\"meta\"}",
            by: "dan")
        try await world.send("\"type\":\"install\",\"device_id\":\"d-1\"", by: "dan")
        try await world.follow()
        try await world.sell(1, 10_000, to: "ann")
        let second = try await world.sell(2, 5_001, to: "cyd")
        try await world.sell(3, 7_000, to: "bob", currency: try #require(Currency("EUR")))
        try await world.attribution.credit(
            NewLead(
                org: "o", lead: UID(high: 7, low: 1), traceID: nil, visitorID: "nobody", at: world.open.clock.now))
        // By its id, though its name is another; by its name in another case; never seen.
        try await world.spend(
            """
            2026-11-20,google,c-1,Spring (renamed),USD,30.00,1000,50
            2026-11-21,google,c-1,Spring (renamed),USD,10.00,500,10
            2026-11-21,google,c-1,Spring (renamed),EUR,2.00,,
            2026-11-21,meta,,VIDEO,USD,5.00,300,
            2026-11-21,meta,,ghost,USD,1.11,,

            """)

        let last = try await world.report(.last)
        let spring = try world.line(last, "Spring")
        #expect(spring.spendMinor == 4000 && spring.impressions == 1500 && spring.clicks == 60)
        #expect(spring.bookedMinor == 15_001 && spring.sales == 2 && spring.salesMillionths == 2_000_000)
        #expect(spring.leadsMillionths == 3_000_000 && spring.visits == 3)
        // 60/1500, 2/60, 40/2, 40/3, 150.01/40.
        #expect(spring.clickRate == 40_000 && spring.conversionRate == 33_333)
        #expect(spring.costPerConversionMinor == 2000 && spring.costPerLeadMinor == 1333)
        #expect(spring.returnOnSpend(.booked) == 3_750_250 && spring.returnOnSpend(.recognised) == 0)
        let euro = try world.line(last, "Spring", try #require(Currency("EUR")))
        #expect(euro.spendMinor == 200 && euro.bookedMinor == 7000 && euro.returnOnSpend(.booked) == 35_000_000)
        let video = try world.line(last, "video")
        #expect(
            video.spendMinor == 500 && video.bookedMinor == 0 && video.installs == 1 && video.costPerInstallMinor == 500
        )
        #expect(video.clicksFrom == "visits" && video.clicks == 1 && video.costPerConversionMinor == nil)
        let ghost = try world.line(last, "unmatched")
        #expect(ghost.spendMinor == 111 && ghost.conversionRate == nil && ghost.clickRate == nil)
        #expect(last.unmatched.map(\.campaign.name) == ["ghost"])
        let organic = try world.line(last, Credit.organic)
        #expect(organic.leadsMillionths == 1_000_000 && organic.returnOnSpend(.booked) == nil)
        #expect(last.models[0].totals.map(\.currency.code) == ["EUR", "USD"])
        #expect(last.models[0].totals.map(\.bookedMinor) == [7000, 15_001])
        #expect(
            last.models[0].totals.map(\.spendMinor) == [200, 4611] && last.models[0].totals.map(\.sales) == [1, 2])

        let linear = try await world.report(.linear)
        #expect(try world.line(linear, "video").bookedMinor == 2500)
        #expect(try world.line(linear, "Spring").bookedMinor == 12_501)
        #expect(try world.line(linear, "video").salesMillionths == 500_000)
        #expect(try world.line(linear, "video").costPerConversionMinor == 1000)

        // A return restates at once, and what was returned stays to be seen.
        try await world.attribution.recognise(org: "o", leg: second, at: world.open.clock.now)
        #expect(try world.line(try await world.report(.linear), "video").recognisedMinor == 2500)
        try await world.attribution.reverse(org: "o", leg: second)
        let after = try await world.report(.linear)
        #expect(try world.line(after, "video").bookedMinor == 0)
        #expect(try world.line(after, "video").returnedMinor == 2500)
        #expect(try world.line(after, "Spring").recognisedMinor == 0)
        #expect(after.models[0].totals.map(\.bookedMinor) == [7000, 10_000])
        #expect(world.open.registry.counter(.attributionRestatements, "return").value == 1)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a campaign is one row, however its touches write it, and the row that its spend is on`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let others = ["spring", "SPRING"].map { "utm_source=google&utm_medium=cpc&utm_campaign=\($0)" }
        let bare = "utm_source=google&utm_medium=cpc&utm_id=c-1"
        for query in [Self.spring, Self.spring, Self.spring, others[0], bare] {
            try await world.visit(query, by: "ann")
        }
        try await world.visit(others[1], by: "bob")
        // More events give the id alone than with the name.
        for _ in 0..<4 { try await world.visit(bare, by: "cyd") }
        let click = "\"campaign\":{\"name\":\"spring\",\"network\":\"adwords\"}"
        try await world.send("\"type\":\"click\",\"device_id\":\"d-1\",\(click)", by: "dan")
        try await world.send("\"type\":\"install\",\"device_id\":\"d-1\"", by: "dan")
        try await world.follow()
        try await world.spend("2026-11-20,google,c-1,Spring,USD,40.00,,\n2026-11-20,google,,sPrInG,USD,5.00,,\n")
        for (number, person) in ["ann", "bob", "cyd"].enumerated() {
            try await world.sell(UInt64(number), 3000, to: person)
        }
        let back = try await world.sell(9, 400, to: "ann")
        try await world.attribution.reverse(org: "o", leg: back)
        let now = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        for model in CreditModel.allCases {
            for asOf in [nil, now] {
                let report = try await world.report(model) { $0.asOf = asOf }
                #expect(report.models[0].lines.map(\.key) == ["Spring"], "\(model)")
                let line = try world.line(report, "Spring")
                #expect(line.spendMinor == 4500 && line.bookedMinor == 9000 && line.returnedMinor == 400, "\(model)")
                // The sale of ann, whose touches are written in three ways, is one.
                #expect(line.sales == 3 && line.salesMillionths == 3_000_000 && line.leadsMillionths == 4_000_000)
                #expect(line.returnOnSpend(.booked) == 2_000_000 && line.loggedClicks == 1 && line.installs == 1)
                let networks = try await world.report(model) { ($0.dimension, $0.asOf) = (.network, asOf) }
                #expect(networks.models[0].lines.map(\.key) == ["google"], "\(model)")
                #expect(networks.models[0].lines.map(\.sales) == [3], "\(model)")
            }
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `every model and every dimension adds up to the same money`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let seed: UInt64 = 2026
        print("campaign report seed \(seed)")
        var random = SeededRandom(seed: seed)
        var (revenue, spend, rows): (Int64, Int64, String) = (0, 0, "")
        for number in 0..<12 {
            let person = "p\(number)"
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                try await world.visit(Bool.random(using: &random) ? Self.spring : Self.video, by: person)
                world.open.clock.advance(by: .seconds(Int.random(in: 0...40_000, using: &random)))
            }
            let cents = Int64.random(in: 1...30_000, using: &random)
            let leg = try await world.sell(UInt64(number), cents, to: person)
            if number % 4 == 3 { try await world.attribution.reverse(org: "o", leg: leg) } else { revenue += cents }
        }
        for day in 10...21 {
            let minor = Int64.random(in: 0...9999, using: &random)
            spend += minor
            let name = ["Spring", "video", "ghost"][day % 3]
            rows +=
                "2026-11-\(day),\(name == "Spring" ? "google" : "meta"),,\(name),USD,"
                + Money.usd(cents: minor).decimal + ",,\n"
        }
        try await world.spend(rows)
        for model in CreditModel.allCases {
            for dimension in CreditQuestion.Dimension.allCases {
                let report = try await world.report(model) { $0.dimension = dimension }
                let lines = report.models[0].lines
                let name = Comment(rawValue: "\(model) by \(dimension)")
                #expect(lines.reduce(0) { $0 + $1.bookedMinor } == revenue, name)
                // Nothing but a sale has a buyer, and no spend a keyword or a publisher.
                let (hasAll, one) = (dimension != .buyer, lines.first)
                let hasSpend = ![.buyer, .keyword, .publisher].contains(dimension)
                #expect(lines.reduce(0) { $0 + $1.spendMinor } == (hasSpend ? spend : 0), name)
                #expect(one?.isSpendKnown == hasSpend && (one?.clicks != nil) == hasAll, name)
                #expect(lines.reduce(0) { $0 + $1.salesMillionths } == 9_000_000, name)
                #expect(lines.reduce(0) { $0 + $1.leadsMillionths } == (hasAll ? 12_000_000 : 0), name)
                #expect(report.models[0].totals.map(\.sales) == [9], name)
            }
        }
        let question = CampaignQuestion(models: CreditModel.allCases)
        let compared = try await world.reports.report(org: "o", question).comparison(base: .rule(.last))
        for model in CreditModel.allCases {
            let total = compared["totals"]?.array?.first?["models"]?[model.rawValue]
            #expect(total?["revenue_minor"]?.integer == revenue && total?["difference_minor"] == 0, "\(model)")
            let parts = (compared["rows"]?.array ?? []).compactMap { row in
                row["models"]?[model.rawValue]?["difference_minor"]?.integer
            }
            #expect(parts.reduce(0, +) == 0, "\(model)")
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `the report says what no touch led to, and the windows and the half-life it goes by`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.visit(Self.spring, by: "ann")
        try await world.sell(1, 900, to: "ann")
        let before = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        try await world.sell(2, 500, to: "nobody")
        let lost = UnattributedCredit(
            conversionsMillionths: 1_000_000, leadsMillionths: 1_000_000, revenueMinor: [.usd: 500])
        for dimension in [CreditQuestion.Dimension.campaign, .channel, .day, .network, .keyword, .buyer] {
            let report = try await world.report(.timeDecay) { $0.dimension = dimension }
            #expect(report.unattributed == lost, "\(dimension)")
        }
        let recognised = try await world.report(.last) { $0.basis = .recognised }
        #expect(recognised.unattributed.revenueMinor == [.usd: 0])
        let past = try await world.report(.last) { $0.asOf = before }
        #expect(past.unattributed == UnattributedCredit(leadsMillionths: 0))
        let question = CampaignQuestion(models: CreditModel.allCases)
        let compared = try await world.reports.report(org: "o", question).comparison(base: .rule(.last))
        let settings = compared["settings"]
        #expect(settings?["click_hours"]?.double == 720 && settings?["view_hours"]?.double == 24, "\(compared)")
        #expect(settings?["models"]?["time_decay"]?["half_life_hours"]?.double == 168)
        #expect(settings?["models"]?["w_shaped"]?["milestone"] == "lead")
        #expect(compared["unattributed"] == ["conversions": 1, "leads": 1, "revenue_minor": ["USD": 500]])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `days are those of the accounts' calendar, for spend and sales alike`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let text =
            "date,network,campaign,currency,spend\n2026-11-20,google,Spring,USD,1\n2026-11-21,google,Spring,USD,2\n"
        let file = try SpendReader.csv(Array(text.utf8), latest: world.reports.spend.latestDay)
        _ = try await world.reports.spend.store(file, org: "o", timezone: "America/New_York")
        try await world.visit(Self.spring, by: "ann")
        // The clock stands at 2026-11-21 12:01 UTC; 16 h later it is still the 21st in New York.
        world.open.clock.advance(by: .seconds(57_600))
        try await world.sell(1, 900, to: "ann")
        let days = try await world.report(.last) { $0.dimension = .day }
        #expect(days.timezone == "America/New_York" && !days.isTimezoneMixed)
        #expect(try world.line(days, "2026-11-21").bookedMinor == 900)
        #expect(try world.line(days, "2026-11-21").spendMinor == 200)
        let utc = try await world.report(.last) { ($0.dimension, $0.timezone) = (.day, "UTC") }
        #expect(try world.line(utc, "2026-11-22").bookedMinor == 900)
        let today = try await world.report(.last) { $0.days = 1 }
        #expect(today.models[0].totals.map(\.spendMinor) == [200] && today.models[0].totals.map(\.bookedMinor) == [900])
        let past = try await world.report(.last) {
            $0.from = .date(CivilDate(daysSince1970: 0))
            $0.to = CivilDate("2026-11-21").map { .date($0) }
        }
        #expect(past.models[0].totals.map(\.spendMinor) == [100] && past.models[0].totals.map(\.bookedMinor) == [0])
        // Noon is no day's beginning: the day of the 20th begins before it.
        let noon = try await world.report(.last) { question in
            question.from = Timestamp(rfc3339: "2026-11-20T17:00:00Z").map { .moment($0) }
        }
        #expect(noon.models[0].totals.map(\.spendMinor) == [200])
        let csv = days.csv.split(separator: "\r\n")
        #expect(csv[0].hasPrefix("day,currency,spend,") && csv[1].hasPrefix("2026-11-21,USD,2.00,"))
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `the report as it stood at any moment is the one that was given then, whatever came since`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        var given: [(at: Timestamp, report: CampaignReport)] = []
        func keep() async throws {
            given.append((world.open.clock.now, try await world.report(.linear)))
            world.open.clock.advance(by: .seconds(60))
        }
        try await keep()
        try await world.visit(Self.video, by: "cyd")
        try await world.visit(Self.spring, by: "cyd")
        try await world.spend("2026-11-20,google,c-1,Spring,USD,30.00,1000,50\n2026-11-20,meta,,VIDEO,USD,5.00,300,9\n")
        try await keep()
        let leg = try await world.sell(1, 5001, to: "cyd")
        try await keep()
        try await world.attribution.recognise(org: "o", leg: leg, at: world.open.clock.now)
        try await keep()
        // A later import replaces one row, and one campaign is new.
        try await world.spend("2026-11-20,google,c-1,Spring,USD,28.50,990,50\n2026-11-21,meta,,ghost,USD,1.00,,\n")
        try await keep()
        try await world.attribution.reverse(org: "o", leg: leg)
        try await keep()

        for (index, one) in given.enumerated() {
            let past = try await world.report(.linear) { $0.asOf = one.at }
            let (then, name) = (one.report.models[0], Comment(rawValue: "moment \(index)"))
            // Lines that are there only now stand beside those of then, with nothing on them.
            let known = Set(then.lines.map(\.key))
            #expect(past.models[0].lines.filter { known.contains($0.key) } == then.lines, name)
            let others = past.models[0].lines.filter { !known.contains($0.key) }
            #expect(others.allSatisfy { $0.bookedMinor == 0 && $0.spendMinor == 0 && $0.visits == 0 }, name)
            #expect(past.models[0].linesNow.count == past.models[0].lines.count, name)
            #expect(past.unmatched == one.report.unmatched && past.asOf == one.at, name)
            #expect(past.spendKnownSince == nil && past.comparedAt == world.open.clock.now, name)
        }
        // By hand: half of 50.01 is 25.00 and 25.01, the odd cent the later touch's.
        let recognised = try await world.report(.linear) { $0.asOf = given[3].at }
        let spring = try world.line(recognised, "Spring")
        #expect(spring.bookedMinor == 2501 && spring.recognisedMinor == 2501 && spring.returnedMinor == 0)
        #expect(spring.spendMinor == 3000 && spring.salesMillionths == 500_000 && spring.sales == 1)
        let row = recognised.json["rows"]?.array?.first { $0["key"] == "Spring" } ?? .null
        let changed: JSONValue = [
            "spend_minor": 2850, "impressions": 990, "booked_minor": 0, "revenue_minor": 0, "recognised_minor": 0,
            "returned_minor": 2501, "sales": 0, "conversions": 0,
        ]
        #expect(row["changed"] == changed, "\(row)")
        let sold = try await world.report(.linear) { $0.asOf = given[2].at }
        let unrecognised = try world.line(sold, "Spring")
        #expect(unrecognised.recognisedMinor == 0 && !unrecognised.isEstimated)
        #expect(sold.models[0].totals.map(\.sales) == [1] && sold.models[0].totalsNow.map(\.returnedMinor) == [5001])
        // What came in before the first event had no line at all.
        #expect(given[0].report.models[0].lines.isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what an earlier release did not keep is said to be unknown or worked out, and never shown as nothing`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        let beginning = world.open.clock.now
        try await world.visit(Self.spring, by: "ann")
        try await world.spend("2026-11-20,google,c-1,Spring,USD,30.00,1000,50\n2026-11-20,meta,,ghost,USD,1.00,,\n")
        let leg = try await world.sell(1, 5000, to: "ann")
        let sold = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        try await world.attribution.reverse(org: "o", leg: leg)
        let since = world.open.clock.now
        try await world.open.database.write("test.older") { transaction in
            try transaction.run("UPDATE spend_heads SET history_since = \(since)")
            try transaction.run("UPDATE attribution_returns SET is_estimated = 1")
        }
        let past = try await world.report(.last) { $0.asOf = sold }
        let spring = try world.line(past, "Spring")
        #expect(!spring.isSpendKnown && spring.isEstimated && spring.bookedMinor == 5000 && spring.visits == 1)
        #expect(past.spendKnownSince == since && past.unmatched.isEmpty)
        let row = spring.json(.booked)
        for name in [
            "spend_minor", "impressions", "clicks", "ctr", "cvr", "cpc_minor", "cpa_minor", "cpl_minor", "roas",
        ] {
            #expect(row[name] == .null, "\(name)")
        }
        #expect(row["conversions_estimated"] == true && row["leads"] == 1)
        let total = past.json["totals"]?.array?.first ?? .null
        #expect(total["spend_minor"] == .null && total["changed"]?["spend_minor"] == 3100, "\(total)")
        // A line that is there only now is no line without spend then.
        #expect(try world.line(past, "unmatched").knownSpendMinor == nil)
        let empty = try await world.report(.last) { $0.asOf = beginning - .seconds(1) }
        #expect(empty.models[0].lines.map(\.isSpendKnown) == [false, false], "\(empty.models[0].lines)")
        #expect(empty.models[0].totals.map(\.knownSpendMinor) == [nil] && empty.models[0].totals[0].bookedMinor == 0)
        let today = try await world.report(.last)
        let line = try world.line(today, "Spring")
        #expect(today.models[0].totals.map(\.knownSpendMinor) == [3100] && !line.isEstimated)
        let known = try await world.report(.last) { $0.asOf = since }
        #expect(known.models[0].totals.map(\.knownSpendMinor) == [3100])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `weeks begin on Monday, months on the first, and a buyer has what it bought`(engine: Dialect) async throws {
        let world = try World(on: engine)
        // The clock stands at Saturday, 2026-11-21, 12:00 UTC.
        try await world.visit(Self.spring, by: "ann")
        try await world.sell(1, 1000, to: "ann")
        world.open.clock.advance(by: .seconds(10 * 86_400))
        try await world.sell(2, 300, to: "ann")
        try await world.spend(
            "2026-11-15,google,c-1,Spring,USD,1.00,,\n2026-11-16,google,c-1,Spring,USD,2.00,,\n"
                + "2026-12-01,google,c-1,Spring,USD,4.00,,\n")
        let weeks = try await world.report(.last) { $0.dimension = .week }
        #expect(try world.line(weeks, "2026-11-09").spendMinor == 100)
        let week = try world.line(weeks, "2026-11-16")
        #expect(week.spendMinor == 200 && week.bookedMinor == 1000 && week.visits == 1)
        let last = try world.line(weeks, "2026-11-30")
        #expect(last.spendMinor == 400 && last.bookedMinor == 300 && last.leadsMillionths == 1_000_000)
        let months = try await world.report(.last) { $0.dimension = .month }
        #expect(try world.line(months, "2026-11-01").spendMinor == 300)
        #expect(try world.line(months, "2026-12-01").bookedMinor == 300 && months.models[0].lines.count == 2)
        let buyers = try await world.report(.last) { $0.dimension = .buyer }
        let nobody = try world.line(buyers, Credit.none)
        #expect(buyers.models[0].lines.count == 1 && nobody.bookedMinor == 1300 && nobody.sales == 2)
        let row = nobody.json(.booked)
        for name in ["spend_minor", "clicks", "clicks_from", "visits", "installs", "leads", "roas", "cpa_minor", "cvr"]
        {
            #expect(row[name] == .null, "\(name)")
        }
        await world.log.close()
    }

    @Test func `a ratio is rounded to the nearest, and nil where it has no divisor`() {
        #expect(Ratio.of(1, by: 0) == nil && Ratio.of(0, by: 5) == 0)
        #expect(
            Ratio.of(1, by: 2) == 1 && Ratio.of(-1, by: 2) == -1 && Ratio.of(2, by: 3) == 1 && Ratio.of(1, by: 3) == 0)
        #expect(Ratio.of(.max, by: 1, scale: 1_000_000) == nil)
        #expect(Ratio.of(.max, by: .max, scale: 1_000_000) == 1_000_000)
    }
}
