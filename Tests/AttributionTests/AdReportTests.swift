import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// Campaign reports by what ads say of themselves, over a real log and real tables, against arithmetic by hand.
struct AdReportTests {
    private typealias World = CampaignWorld

    private static let spring = "utm_source=google&utm_medium=cpc&utm_campaign=Spring"
    private static let video = "utm_source=facebook&utm_medium=paid_social&utm_campaign=video"
    private static let first = spring + "&adgroupid=g1&creative=a1&keyword=solar&site_id=p1"
    private static let second = video + "&adset_id=g2&ad_id=a2"

    /// Five sales: of one ad, of texts alone, of two ads, of an ad that says nothing, and of nobody's.
    private func fill(_ world: World) async throws -> (ann: UID, cyd: UID, eve: UID) {
        try await world.visit(Self.first, by: "ann")
        try await world.visit(Self.spring + "&utm_content=blue&utm_term=panels", by: "bob")
        try await world.visit(Self.first, by: "cyd")
        try await world.visit(Self.second, by: "cyd")
        try await world.visit(Self.spring, by: "dan")
        let ann = try await world.sell(1, 10_000, to: "ann")
        try await world.sell(2, 5001, to: "bob")
        let cyd = try await world.sell(3, 3001, to: "cyd")
        try await world.sell(4, 700, to: "dan")
        let eve = try await world.sell(5, 200, to: "eve")
        try await world.spend(
            """
            2026-11-20,google,Spring,g1,a1,USD,10.00,100,10
            2026-11-21,google,Spring,g1,a3,USD,4.00,50,5
            2026-11-21,meta,video,g2,a2,USD,3.00,30,3
            2026-11-21,meta,video,,,USD,1.00,,

            """, columns: "date,network,campaign,ad_group_id,creative_id,currency,spend,impressions,clicks")
        return (ann, cyd, eve)
    }

    /// Booked cents by key.
    private func booked(_ report: CampaignReport) -> [String: Int64] {
        Dictionary(report.models[0].lines.map { ($0.key, $0.bookedMinor) }, uniquingKeysWith: +)
    }

    private func spent(_ report: CampaignReport) -> [String: Int64?] {
        Dictionary(report.models[0].lines.map { ($0.key, $0.knownSpendMinor) }, uniquingKeysWith: { $1 })
    }

    @Test(arguments: Dialect.allCases)
    func `sales, leads, spend and touches stand under the ad group and the creative of their touches`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let legs = try await fill(world)
        let groups = try await world.report(.linear) { $0.dimension = .adGroup }
        #expect(booked(groups) == ["g1": 11_500, "g2": 1501, Credit.notSet: 5701, Credit.organic: 200])
        #expect(spent(groups) == ["g1": 1400, "g2": 300, Credit.notSet: 100, Credit.organic: 0])
        let group = try world.line(groups, "g1")
        #expect(group.sales == 2 && group.salesMillionths == 1_500_000 && group.leadsMillionths == 1_500_000)
        #expect(group.clicks == 15 && group.clicksFrom == "network" && group.impressions == 150 && group.visits == 2)
        // 14.00 on 1.5 sales, 115.00 for 14.00.
        #expect(group.costPerConversionMinor == 933 && group.returnOnSpend(.booked) == 8_214_286)
        let rest = try world.line(groups, Credit.notSet)
        #expect(rest.sales == 2 && rest.visits == 2 && rest.leadsMillionths == 2_000_000)
        #expect(groups.models[0].totals.map(\.bookedMinor) == [18_902] && groups.models[0].totals[0].sales == 5)
        #expect(groups.models[0].totals.map(\.spendMinor) == [1800] && !groups.areTouchesCut)
        let last = try await world.report(.last) { $0.dimension = .adGroup }
        #expect(booked(last) == ["g1": 10_000, "g2": 3001, Credit.notSet: 5701, Credit.organic: 200])

        let creatives = try await world.report(.linear) { $0.dimension = .creative }
        #expect(
            booked(creatives)
                == ["a1": 11_500, "a2": 1501, "a3": 0, "blue": 5001, Credit.notSet: 700, Credit.organic: 200])
        #expect(
            spent(creatives)
                == ["a1": 1000, "a2": 300, "a3": 400, "blue": 0, Credit.notSet: 100, Credit.organic: 0])
        #expect(try world.line(creatives, "blue").visits == 1 && world.line(creatives, "a1").visits == 2)

        let credits = try await world.attribution.credits(org: "o", leg: legs.cyd)[.linear] ?? []
        let ads = [
            AdNames(adGroup: "g1", creative: "a1", keyword: "solar", publisher: "p1"),
            AdNames(adGroup: "g2", creative: "a2"),
        ]
        #expect(credits.map(\.ad) == ads)
        var question = CampaignQuestion(models: [.linear])
        question.dimension = .adGroup
        #expect(try await world.reports.report(org: "p", question).models[0].lines.isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `no spend has a keyword or a publisher, and clicks are those of the log`(engine: Dialect) async throws {
        let world = try World(on: engine)
        _ = try await fill(world)
        let keywords = try await world.report(.linear) { $0.dimension = .keyword }
        #expect(booked(keywords) == ["solar": 11_500, "panels": 5001, Credit.notSet: 2201, Credit.organic: 200])
        let solar = try world.line(keywords, "solar")
        #expect(solar.knownSpendMinor == nil && solar.clicks == 2 && solar.clicksFrom == "visits")
        // 1.5 sales of 2 visits.
        #expect(solar.conversionRate == 750_000 && solar.returnOnSpend(.booked) == nil)
        #expect(keywords.models[0].totals.map(\.knownSpendMinor) == [nil])
        #expect(keywords.models[0].totals[0].clicks == 5)
        let publishers = try await world.report(.linear) { $0.dimension = .publisher }
        #expect(booked(publishers) == ["p1": 11_500, Credit.notSet: 7202, Credit.organic: 200])
        let row = publishers.json["rows"]?.array?.first ?? .null
        #expect(row["key"] == "p1" && row["spend_minor"] == .null && row["visits"] == 2, "\(row)")
        #expect(publishers.json["group_by"] == "publisher" && row["not_recorded"] == nil)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a report of an earlier moment keeps the ad of what came back since`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let legs = try await fill(world)
        let before = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        try await world.attribution.reverse(org: "o", leg: legs.cyd)
        let now = try await world.report(.linear) { $0.dimension = .adGroup }
        #expect(booked(now) == ["g1": 10_000, "g2": 0, Credit.notSet: 5701, Credit.organic: 200])
        #expect(try world.line(now, "g1").returnedMinor == 1500 && world.line(now, "g2").returnedMinor == 1501)
        let past = try await world.report(.linear) { ($0.dimension, $0.asOf) = (.adGroup, before) }
        #expect(booked(past) == ["g1": 11_500, "g2": 1501, Credit.notSet: 5701, Credit.organic: 200])
        #expect(spent(past) == ["g1": 1400, "g2": 300, Credit.notSet: 100, Credit.organic: 0])
        let row = past.json["rows"]?.array?.first { $0["key"] == "g2" } ?? .null
        #expect(row["changed"]?["revenue_minor"] == 0 && row["changed"]?["returned_minor"] == 1501, "\(row)")
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `credits of an earlier release are not set, and the answer says which part that is`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        let legs = try await fill(world)
        try await world.open.database.write("test.older") { transaction in
            try transaction.run(
                "UPDATE attribution_credits SET ad = NULL WHERE leg IN (\(list: [legs.ann, legs.eve]))")
            try transaction.run(
                "UPDATE attribution_leads SET ad = NULL WHERE lead = \(UID(high: 8, low: 1))")
        }
        let groups = try await world.report(.linear) { $0.dimension = .adGroup }
        #expect(booked(groups) == ["g1": 1500, "g2": 1501, Credit.notSet: 15_701, Credit.organic: 200])
        let lost: JSONValue = ["conversions": 1, "leads": 1, "returned_minor": 0]
        let row = groups.json["rows"]?.array?.first { $0["key"] == .string(Credit.notSet) } ?? .null
        #expect(row["not_recorded"] == lost && row["sales"] == 3, "\(row)")
        #expect(groups.json["totals"]?.array?.first?["not_recorded"] == lost)
        #expect(try world.line(groups, Credit.organic).unrecorded == UnrecordedCredit())
        let compared = groups.comparison(base: .rule(.linear))
        #expect(compared["totals"]?.array?.first?["not_recorded"] == lost, "\(compared)")
        let lines = groups.csv.split(separator: "\r\n")
        #expect(lines.first?.hasSuffix(",conversions_not_recorded") == true)
        #expect(lines.contains { $0.hasPrefix("(not set),") && $0.hasSuffix(",1") }, "\(groups.csv)")
        // Where the ads do not matter, nothing is missing.
        let campaigns = try await world.report(.linear)
        #expect(campaigns.models[0].totals.map(\.unrecorded) == [UnrecordedCredit()])
        #expect(booked(campaigns) == ["Spring": 17_201, "video": 1501, Credit.organic: 200])
        #expect(try await world.attribution.credits(org: "o", leg: legs.ann)[.last]?.map(\.ad) == [AdNames()])

        try await world.attribution.reverse(org: "o", leg: legs.ann)
        let after = try await world.report(.linear) { $0.dimension = .adGroup }
        let rest = try world.line(after, Credit.notSet)
        #expect(rest.bookedMinor == 5701 && rest.returnedMinor == 10_000)
        #expect(rest.unrecorded.returnedMinor == 10_000 && rest.unrecorded.salesMillionths == 0)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a click and its landing page tell of one ad, and a long name is one key everywhere`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        try await world.send(
            "\"type\":\"click\",\"click_id\":\"k1\",\"campaign\":{\"name\":\"Spring\",\"ad_group_id\":\"g9\"}",
            by: "fay")
        world.open.clock.advance(by: .seconds(60))
        let long = String(repeating: "é", count: 150)
        try await world.visit(
            "aurum_click=k1&utm_campaign=Spring&ad_group_id=other&utm_content=" + long.percentEncoded, by: "fay")
        let leg = try await world.sell(1, 900, to: "fay")
        let key = String(repeating: "é", count: 100)
        let credits = try await world.attribution.credits(org: "o", leg: leg)[.last] ?? []
        // The click says the ad group; what it does not say, its landing page does.
        #expect(credits.map(\.ad) == [AdNames(adGroup: "g9", creative: key)])
        let creatives = try await world.report(.last) { $0.dimension = .creative }
        let line = try world.line(creatives, key)
        #expect(line.bookedMinor == 900 && line.visits == 1, "\(creatives.models)")
        await world.log.close()
    }
}
