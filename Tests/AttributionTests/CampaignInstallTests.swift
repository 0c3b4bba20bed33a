import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// Installs of campaign reports and of saturation against the table of installs.
struct CampaignInstallTests {
    private typealias World = CampaignWorld

    private static let spring =
        "\"campaign\":{\"name\":\"Spring\",\"id\":\"c-1\",\"source\":\"google\",\"medium\":\"cpc\",\"network\":\"google\","
        + "\"ad_group_id\":\"group\",\"creative_id\":\"picture\",\"publisher_id\":\"site\"}"

    private static func send(_ world: World, _ id: String, _ members: String) async throws {
        let receipt = try await world.log.capture.submit(
            Array("{\"id\":\"\(id)\",\(members)}\n".utf8), format: .ndjson,
            source: CaptureSource(org: "o", app: "site"), receivedAt: world.open.clock.now)
        #expect(receipt.stored == 1, "\(id)")
        world.open.clock.advance(by: .seconds(600))
    }

    /// One matched install, an organic one that names a campaign of its own, a rejected one and one that came again.
    private static func fill(_ world: World) async throws {
        try await send(world, "k1", "\"type\":\"click\",\"device_id\":\"d-1\",\(spring)")
        try await send(world, "matched", "\"type\":\"install\",\"device_id\":\"d-1\"")
        try await send(
            world, "organic", "\"type\":\"install\",\"device_id\":\"d-2\",\"campaign\":{\"name\":\"video\"}")
        try await send(world, "k3", "\"type\":\"click\",\"device_id\":\"d-3\",\(spring)")
        try await send(world, "rejected", "\"type\":\"install\",\"device_id\":\"d-3\",\(spring)")
        try await send(world, "again", "\"type\":\"install\",\"device_id\":\"d-1\",\(spring)")
    }

    private static func counts(_ report: CampaignReport) -> [String: Int64] {
        report.models[0].lines.reduce(into: [:]) { counts, line in
            if line.installs > 0 { counts[line.key] = line.installs }
        }
    }

    private static let judge = InstallFollowTests.StrictJudge(installs: [.ofEvent("rejected")])

    @Test(arguments: Dialect.allCases)
    func `installs count for the campaign of their decision, rejected ones and those that came again for none`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await Self.fill(world)
        try await world.spend("2026-11-21,google,c-1,Spring,USD,30.00,,\n")
        #expect(Self.counts(try await world.report(.last)).isEmpty, "nobody has decided them")
        let before = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        try await world.follow(Self.judge)
        let report = try await world.report(.last)
        #expect(Self.counts(report) == ["Spring": 1, Credit.organic: 1])
        #expect(try world.line(report, "Spring").costPerInstallMinor == 3000)

        // The table of installs says the same.
        let table = try await world.installs().summary(org: "o", InstallFilter())
        let lines = table["lines"]?.array ?? []
        let spring = try #require(lines.first { $0["campaign"] == "Spring" })
        #expect(spring["installs"] == 3 && spring["rejected"] == 1 && spring["reinstalls"] == 1)
        #expect(lines.first { $0["campaign"] == .null }?["organic"] == 1)

        let keys: [CreditQuestion.Dimension: (matched: String, organic: String)] = [
            .network: ("google", Credit.none), .source: ("google", Credit.none), .medium: ("cpc", Credit.none),
            .channel: ("paid_search", "organic"), .adGroup: ("group", Credit.organic),
            .creative: ("picture", Credit.organic), .publisher: ("site", Credit.organic),
            .keyword: (Credit.notSet, Credit.organic),
        ]
        for (dimension, (matched, organic)) in keys {
            let counts = Self.counts(try await world.report(.last) { $0.dimension = dimension })
            #expect(counts == [matched: 1, organic: 1], "\(dimension)")
        }
        for (dimension, key) in [
            (CreditQuestion.Dimension.day, "2026-11-21"), (.week, "2026-11-16"), (.month, "2026-11-01"),
        ] {
            let counts = Self.counts(try await world.report(.last) { $0.dimension = dimension })
            #expect(counts == [key: 2], "\(dimension)")
        }
        #expect(Self.counts(try await world.report(.last) { $0.dimension = .buyer }).isEmpty)
        let later = try await world.report(.last) { $0.from = .moment(world.open.clock.now) }
        #expect(Self.counts(later).isEmpty)

        // As it stood before they were decided, and as it stands since one was decided anew.
        #expect(Self.counts(try await world.report(.last) { $0.asOf = before }).isEmpty)
        let decided = world.open.clock.now
        world.open.clock.advance(by: .seconds(60))
        _ = try await world.installs().recompute(InstallWish(), org: "o", run: UID(high: 1, low: 1))
        #expect(Self.counts(try await world.report(.last)) == ["Spring": 2, Credit.organic: 1])
        let then = try await world.report(.last) { $0.asOf = decided }
        #expect(Self.counts(then) == ["Spring": 1, Credit.organic: 1])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `saturation on installs counts what the report counts`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await Self.fill(world)
        try await world.follow(Self.judge)
        try await world.spend("2026-11-21,google,c-1,Spring,USD,30.00,,\n")
        world.open.clock.advance(by: .seconds(86_400))
        let growth = GrowthReports(campaigns: world.reports)
        for (campaign, results) in [("Spring", [1.0]), ("spring", [1.0]), ("video", [])] {
            var question = SaturationQuestion(campaign: campaign)
            question.on = .installs
            let answer = try await growth.saturation(org: "o", question).answer
            #expect(answer.points.map(\.results) == results, "\(campaign)")
        }
        await world.log.close()
    }
}
