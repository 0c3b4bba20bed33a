import Attribution
import AurumCore
import Database
import Events
import Logging
import TestSupport
import Testing

/// Campaign reports whose conversions are those of a run over the log, beside spend.
struct CampaignRunTests {
    private typealias World = CampaignWorld

    private static let spring = "\"name\":\"Spring\",\"id\":\"77\",\"source\":\"google\",\"medium\":\"cpc\""
    private static let winter = "\"name\":\"Winter\",\"source\":\"facebook\",\"medium\":\"paid_social\""

    private static func attribution(_ world: World) -> LogAttribution {
        let store = world.log.store
        return LogAttribution(
            database: world.open.database, source: store, persons: { store.persons(org: $0) },
            folder: world.open.folder.file("runs"), clock: world.open.clock, registry: world.open.registry,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @discardableResult
    private static func run(_ world: World, _ conversion: String, from: Timestamp? = nil) async throws
        -> LogRunSummary
    {
        try await attribution(world).run(
            LogAttribution.Wish(conversion: conversion, from: from), org: "o", id: UID(now: world.open.clock.now))
    }

    private static func send(_ world: World, _ members: String, by person: String) async throws {
        try await world.send(members, by: person)
        world.open.clock.advance(by: .seconds(60))
    }

    /// Ann and bob buy after clicks, bob's written in another case; cat buys out of nowhere and eve signs up.
    private static func fill(_ world: World) async throws {
        try await send(world, "\"type\":\"click\",\"campaign\":{\(spring)}", by: "ann")
        try await send(world, "\"type\":\"click\",\"campaign\":{\(spring)}", by: "ann")
        try await send(world, "\(purchase)10.01", by: "ann")
        try await send(
            world, "\"type\":\"click\",\"campaign\":{\(spring.replacing("Spring", with: "spring"))}", by: "bob")
        try await send(world, "\"type\":\"click\",\"campaign\":{\(winter)}", by: "bob")
        try await send(world, "\(purchase)20", by: "bob")
        try await send(world, "\(purchase)5", by: "cat")
        try await send(world, "\"type\":\"click\",\"campaign\":{\(winter)}", by: "eve")
        try await send(world, "\"type\":\"conversion\",\"name\":\"signup\"", by: "eve")
        try await world.spend(
            "2026-11-21,google,77,,USD,30.00,1000,50\n2026-11-21,facebook,,winter,USD,10.00,,\n"
                + "2026-11-21,facebook,,ghost,USD,1.00,,\n")
    }

    private static let purchase = "\"type\":\"conversion\",\"name\":\"purchase\",\"currency\":\"USD\",\"value\":"

    private static func report(
        _ world: World, _ definition: String = "purchase", _ models: [LogModel] = [.rule(.linear)],
        _ change: (inout CampaignQuestion) -> Void = { _ in }
    ) async throws -> CampaignReport {
        var question = CampaignQuestion(definition: definition, models: models)
        change(&question)
        return try await world.reports.report(org: "o", question)
    }

    @Test(arguments: Dialect.allCases)
    func `purchases of the log stand beside spend, which finds its campaign by the same rule`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await Self.fill(world)
        await #expect(throws: LogAttributionError.noResult("purchase")) { try await Self.report(world) }
        await #expect(throws: LogAttributionError.unknownConversion("nothing")) {
            try await Self.report(world, "nothing")
        }
        try await Self.run(world, "purchase")
        let report = try await Self.report(world)
        let spring = try world.line(report, "Spring")
        #expect(spring.spendMinor == 3000 && spring.salesMillionths == 1_500_000 && spring.bookedMinor == 2001)
        #expect(spring.clicks == 50 && spring.impressions == 1000 && spring.costPerConversionMinor == 2000)
        #expect(spring.returnOnSpend(.booked) == 667_000)
        let winter = try world.line(report, "Winter")
        #expect(winter.spendMinor == 1000 && winter.salesMillionths == 500_000 && winter.bookedMinor == 1000)
        #expect(winter.clicks == 2 && winter.returnOnSpend(.booked) == 1_000_000)
        #expect(try world.line(report, Credit.organic).bookedMinor == 500)
        #expect(try world.line(report, "unmatched").spendMinor == 100)
        #expect(report.models[0].lines.count == 4 && report.unmatched.map(\.campaign.name) == ["ghost"])
        #expect(
            report.unattributed
                == UnattributedCredit(conversionsMillionths: 1_000_000, revenueMinor: [.usd: 500]))
        // What runs do not know is null, and no 0.
        let row = report.json["rows"]?.array?.first { $0["key"] == "Spring" } ?? .null
        for name in ["leads", "sales", "booked_minor", "recognised_minor", "returned_minor", "gross_minor"] {
            #expect(row[name] == .null, "\(name)")
        }
        #expect(row["conversions"]?.double == 1.5 && row["revenue_minor"] == 2001, "\(row)")
        let last = try await Self.report(world, "purchase", [.rule(.last)])
        #expect(try world.line(last, "Spring").bookedMinor == 1001)
        #expect(try world.line(last, "Winter").bookedMinor == 2000)
        // Another run is shown as soon as it is whole.
        try await Self.send(world, "\(Self.purchase)7", by: "dan")
        #expect(try await Self.report(world).run?.head.version == 1)
        try await Self.run(world, "purchase")
        let next = try await Self.report(world)
        #expect(next.run?.head.version == 2 && next.unattributed.revenueMinor == [.usd: 1200])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `revenue beside spend is what refunds left, and gross and returned stand with it`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        _ = try await Self.attribution(world).definitions.save(
            [
                "where": "type = conversion and name = purchase", "repeat": "per_order_id", "refunds": [:],
                "starts_at": "2020-01-01",
            ], name: "purchase", org: "o", now: world.open.clock.now)
        try await world.spend("2026-11-21,google,77,,USD,30.00,1000,50\n")
        try await Self.send(world, "\"type\":\"click\",\"campaign\":{\(Self.spring)}", by: "ann")
        try await Self.send(world, "\(Self.purchase)60,\"order_id\":\"o1\"", by: "ann")
        try await Self.send(world, "\(Self.purchase)9,\"order_id\":\"o2\"", by: "bob")
        let refund = "\"type\":\"conversion\",\"name\":\"refund\",\"currency\":\"USD\",\"value\":"
        try await Self.send(world, "\(refund)15,\"order_id\":\"o1\"", by: "server")
        try await Self.send(world, "\(refund)9,\"order_id\":\"o2\"", by: "server")
        try await Self.run(world, "purchase")
        let report = try await Self.report(world)
        let row = report.json["rows"]?.array?.first { $0["key"] == "Spring" } ?? .null
        #expect(row["revenue_minor"] == 4500 && row["gross_minor"] == 6000 && row["returned_minor"] == 1500)
        #expect(row["roas"]?.double == 1.5)
        let organic = try world.line(report, Credit.organic)
        #expect(organic.bookedMinor == 0 && organic.returnedMinor == 900)
        #expect(report.unattributed.revenueMinor == [.usd: 0])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `under every model and key the report adds up to the run, and spend to the files`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await Self.fill(world)
        try await Self.run(world, "purchase")
        for dimension in CreditQuestion.Dimension.allCases where dimension.isOfRuns {
            let report = try await Self.report(world, "purchase", LogModel.standard) { $0.dimension = dimension }
            #expect(report.models.map(\.model) == LogModel.standard)
            for lines in report.models {
                let total = try #require(lines.totals.first)
                #expect(lines.totals.count == 1 && total.spendMinor == 4100, "\(dimension) \(lines.model)")
                #expect(total.salesMillionths == 3_000_000 && total.bookedMinor == 3501, "\(dimension) \(lines.model)")
            }
        }
        let log = Self.attribution(world)
        for model in LogModel.standard {
            for (key, dimension) in [(LogDimension.channel, CreditQuestion.Dimension.channel), (.day, .day)] {
                let run = try await log.report(org: "o", conversion: "purchase", model: model, by: key)
                let report = try await Self.report(world, "purchase", [model]) { $0.dimension = dimension }
                for line in run["lines"]?.array ?? [] {
                    let found = try world.line(report, line["key"]?.string ?? "")
                    #expect(found.bookedMinor == line["amount_minor"]?.integer, "\(model) \(line)")
                    #expect(
                        Double(found.salesMillionths) / 1_000_000 == line["conversions"]?.double, "\(model) \(line)")
                }
            }
        }
        let keys: [(CreditQuestion.Dimension, String, Int64, Int64)] = [
            (.network, "google", 3000, 2001), (.day, "2026-11-21", 4100, 3501), (.week, "2026-11-16", 4100, 3501),
            (.month, "2026-11-01", 4100, 3501), (.channel, "paid_search", 3000, 2001),
        ]
        for (dimension, key, spend, revenue) in keys {
            let line = try world.line(try await Self.report(world) { $0.dimension = dimension }, key)
            #expect(line.spendMinor == spend && line.bookedMinor == revenue, "\(dimension) \(line)")
        }
        await world.log.close()
    }

    @Test func `models are compared side by side, and the answer says which run and settings it shows`() async throws {
        let world = try World(on: .sqlite)
        try await Self.fill(world)
        let summary = try await Self.run(world, "purchase")
        let compared = try await Self.report(world, "purchase", LogModel.standard) { $0.base = .markov(1) }.document
        #expect(compared["compare_to"] == "markov1")
        #expect(compared["models"]?.array?.compactMap(\.string) == LogModel.standard.map(\.name))
        let row = compared["rows"]?.array?.first { $0["key"] == "Spring" } ?? .null
        #expect(row["spend_minor"] == 3000 && row["models"]?["markov1"]?["difference_minor"] == 0, "\(row)")
        for model in LogModel.standard {
            let figures = row["models"]?[model.name] ?? .null
            #expect(figures["leads"] == .null && figures["revenue_minor"] != .null, "\(model)")
            let roas = (figures["revenue_minor"]?.double ?? 0) / 3000
            #expect(abs((figures["roas"]?.double ?? -1) - roas) < 1e-6, "\(model) \(figures)")
        }
        #expect(row["models"]?["shapley"]?["cpa_minor"]?.integer == 2000)
        let result = compared["result"] ?? .null
        #expect(compared["definition"] == "purchase" && compared["split"] == "per_conversion")
        #expect(result["version"] == 1 && result["position"]?.string == summary.result.position, "\(result)")
        #expect(result["run"]?.string != nil && result["finished_at"]?.string != nil)
        let definition = compared["settings"]?["definitions"]?.array?.first
        #expect(definition?["click_hours"]?.double == 168 && definition?["view_hours"]?.double == 24, "\(result)")
        let models = compared["settings"]?["models"]
        #expect(models?["time_decay"]?["half_life_hours"]?.array?.first?.double == 168)
        #expect(models?["markov2"]?["order"] == 2 && models?["markov2"]?["removal_effects"]?["paid_search"] != nil)
        #expect(models?["w_shaped"]?["milestone"]?["name"] == "lead")
        #expect(result["facts"]?["conversions"] == 3 && result["facts"]?["organic"] == 1)
        #expect(compared["unattributed"]?["conversions"] == 1)
        #expect(compared["unattributed"]?["revenue_minor"] == ["USD": 500])
        #expect(compared["basis"] == "event" && compared["timezone"] == "UTC")
        let csv = try await Self.report(world).csv.split(separator: "\r\n")
        #expect(csv.first?.hasSuffix(",roas,definition,result_version,log_position,computed_at") == true)
        let cells = csv.first { $0.hasPrefix("Spring,") }?.split(separator: ",", omittingEmptySubsequences: false) ?? []
        #expect(cells.count == 26 && cells[2] == "30.00" && cells[8] == "" && cells[9] == "" && cells[10] == "1.5")
        #expect(cells.count == 26 && cells[11] == "20.01" && cells[21] == "0.667" && cells[23] == "1", "\(cells)")
        await world.log.close()
    }

    @Test func `custom weights of a definition stand in reports and comparisons, and nowhere without`() async throws {
        let world = try World(on: .sqlite)
        try await Self.fill(world)
        try await Self.run(world, "purchase")
        await #expect(throws: LogAttributionError.noCustomWeights("purchase")) {
            try await Self.report(world, "purchase", [.custom])
        }
        let plain = try await Self.report(world, "purchase", LogModel.allCases) { $0.base = .rule(.last) }
        #expect(plain.models.map(\.model) == LogModel.standard + [.dataDriven])
        let body: JSONValue = [
            "where": "name = purchase", "repeat": "per_order_id", "custom": ["first": 3, "last": 1],
            "starts_at": "2020-01-01",
        ]
        _ = try await Self.attribution(world).definitions.save(
            body, name: "purchase", org: "o", now: world.open.clock.now)
        try await Self.run(world, "purchase")
        // Of bob's 20.00 three parts go to Spring and one to Winter; all of ann's 10.01 are Spring's.
        let report = try await Self.report(world, "purchase", [.custom])
        #expect(try world.line(report, "Spring").bookedMinor == 2501)
        #expect(try world.line(report, "Winter").bookedMinor == 500)
        #expect(try world.line(report, Credit.organic).bookedMinor == 500)
        let compared = try await Self.report(world, "purchase", LogModel.allCases) { $0.base = .custom }
        #expect(compared.models.map(\.model) == LogModel.allCases)
        let weights = compared.document["settings"]?["models"]?["custom"]?["weights"]?.array
        #expect(weights?.map { $0["first"]?.double } == [3], "\(compared.document["settings"] ?? .null)")
        let row = compared.document["rows"]?.array?.first { $0["key"] == "Spring" }
        #expect(row?["models"]?["linear"]?["difference_minor"] == -500, "\(row ?? .null)")
        await world.log.close()
    }

    @Test func `conversions without a value stand on their campaign's line, and a model without a fit is named`()
        async throws
    {
        let world = try World(on: .sqlite)
        try await Self.fill(world)
        try await Self.run(world, "signup")
        let report = try await Self.report(world, "signup", [.markov(1)])
        let winter = try world.line(report, "Winter")
        #expect(winter.salesMillionths == 1_000_000 && winter.valuelessMillionths == 1_000_000)
        #expect(winter.costPerConversionMinor == 1000 && winter.bookedMinor == 0 && winter.returnOnSpend(.booked) == 0)
        #expect(try world.line(report, "Spring").costPerConversionMinor == nil)
        let row = report.json["rows"]?.array?.first { $0["key"] == "Winter" }
        #expect(row?["conversions_without_value"] == 1)
        try await Self.run(world, "trial_start")
        await #expect(throws: LogAttributionError.notFitted("markov2", nil)) {
            try await Self.report(world, "trial_start", [.markov(2)])
        }
        let compared = try await Self.report(world, "trial_start", LogModel.standard) { $0.base = .rule(.last) }
        #expect(compared.models.map(\.model) == LogModel.standard.filter { $0.rule != nil || $0 == .shapley })
        await world.log.close()
    }

    @Test func `days that the run does not cover are told, and a range cuts conversions and spend alike`() async throws
    {
        let world = try World(on: .sqlite)
        try await Self.fill(world)
        try await Self.run(world, "purchase")
        let day = try #require(CivilDate("2026-11-21"))
        let next = try #require(CivilDate("2026-11-22"))
        #expect(try await Self.report(world).run?.isBeyond == false)
        let before = try await Self.report(world) { $0.to = .date(day) }
        #expect(before.models[0].totals.allSatisfy { $0.spendMinor == 0 && $0.bookedMinor == 0 })
        #expect(before.unattributed == UnattributedCredit())
        world.open.clock.advance(by: .seconds(2 * 86_400))
        #expect(try await Self.report(world).run?.isBeyond == true)
        let whole = try await Self.report(world) { ($0.from, $0.to) = (.date(day), .date(next)) }
        #expect(whole.run?.isBeyond == false && whole.models[0].totals.map(\.spendMinor) == [4100])
        #expect(whole.json["beyond_run"] == false)
        try await Self.run(world, "purchase", from: Timestamp(rfc3339: "2026-11-22T00:00:00Z"))
        let late = try await Self.report(world) { ($0.from, $0.to) = (.date(day), .date(next)) }
        #expect(late.run?.isBeyond == true && late.models[0].totals.map(\.bookedMinor) == [0])
        await world.log.close()
    }

    @Test func `days are those of runs, whatever calendar the accounts keep`() async throws {
        let world = try World(on: .sqlite)
        try await Self.fill(world)
        let text = "date,network,campaign,currency,spend\n2026-11-21,google,Spring,USD,1\n"
        let file = try SpendReader.csv(Array(text.utf8), latest: world.reports.spend.latestDay)
        _ = try await world.reports.spend.store(file, org: "o", timezone: "America/New_York")
        try await Self.run(world, "purchase")
        let report = try await Self.report(world) { ($0.dimension, $0.days) = (.day, 1) }
        #expect(report.timezone == "UTC" && report.isTimezoneMixed)
        #expect(report.from == Timestamp(rfc3339: "2026-11-21T00:00:00Z"))
        #expect(report.models[0].lines.map(\.key) == ["2026-11-21"])
        await world.log.close()
    }
}
