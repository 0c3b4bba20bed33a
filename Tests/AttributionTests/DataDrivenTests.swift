import Attribution
import AurumCore
import Database
import Events
import Logging
import TestSupport
import Testing

/// Credit of runs over the log times what experiments say of its channels.
struct DataDrivenTests {
    private static let spring = "\"name\":\"Spring\",\"source\":\"google\",\"medium\":\"cpc\""
    private static let winter = "\"name\":\"Winter\",\"source\":\"facebook\",\"medium\":\"paid_social\""

    private struct World {
        let campaigns: CampaignWorld
        let attribution: LogAttribution

        /// Four purchases after paid search, one after paid social, one out of nowhere; 2026-11-21.
        init(on engine: Dialect) async throws {
            campaigns = try CampaignWorld(on: engine)
            let (store, open) = (campaigns.log.store, campaigns.open)
            attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let buyers = [
                ("ann", spring, "10.01"), ("bob", spring, "10.01"), ("cat", spring, "10.01"), ("dan", spring, "10.00"),
                ("eve", winter, "20"),
            ]
            for (person, campaign, value) in buyers { try await buy(value, by: person, after: campaign) }
            try await buy("5", by: "flo")
        }

        private func send(_ members: String, by person: String) async throws {
            try await campaigns.send(members, by: person)
            campaigns.open.clock.advance(by: .seconds(60))
        }

        /// The order has the person's name.
        func buy(_ value: String, by person: String, after campaign: String? = nil) async throws {
            if let campaign { try await send("\"type\":\"click\",\"campaign\":{\(campaign)}", by: person) }
            try await tell("purchase", value, person, by: person)
        }

        /// Told by the shop's server.
        func refund(_ value: String, to person: String) async throws {
            try await tell("refund", value, person, by: "server")
        }

        private func tell(_ name: String, _ value: String, _ order: String, by person: String) async throws {
            try await send(
                "\"type\":\"conversion\",\"name\":\"\(name)\",\"currency\":\"USD\",\"value\":\(value),"
                    + "\"order_id\":\"\(order)\"", by: person)
        }

        func run(from: Timestamp? = nil) async throws {
            try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", from: from), org: "o",
                id: UID(now: campaigns.open.clock.now))
        }

        func add(_ name: String = "autumn", _ change: (inout [String: JSONValue]) -> Void = { _ in }) async throws {
            _ = try await attribution.experiments.add(UpliftTests.body(name, change), org: "o")
        }

        func report(
            _ models: [LogModel] = [.dataDriven], _ change: (inout CampaignQuestion) -> Void = { _ in }
        ) async throws -> CampaignReport {
            var question = CampaignQuestion(definition: "purchase", models: models)
            change(&question)
            return try await campaigns.reports.report(org: "o", question)
        }

        func log(_ dimension: LogDimension, _ model: LogModel = .dataDriven) async throws -> JSONValue {
            try await attribution.report(org: "o", conversion: "purchase", model: model, by: dimension)
        }

        /// What answers say of a channel.
        func factor(_ channel: String) async throws -> JSONValue {
            let channels = try await log(.channel)["data_driven"]?["channels"]?.array ?? []
            return try #require(channels.first { $0["channel"]?.string == channel }, "\(channels)")
        }
    }

    @Test(arguments: Dialect.allCases)
    func `an experiment halves its channel's credit, and the rest is the baseline, to the cent`(
        engine: Dialect
    ) async throws {
        let world = try await World(on: engine)
        try await world.run()
        try await world.add()
        let report = try await world.report()
        let spring = try world.campaigns.line(report, "Spring")
        // 40.03 and 4 conversions, of which 2 are incremental.
        #expect(spring.salesMillionths == 2_000_000 && spring.bookedMinor == 2002, "\(spring)")
        let baseline = try world.campaigns.line(report, Credit.baseline)
        #expect(baseline.salesMillionths == 2_000_000 && baseline.bookedMinor == 2001, "\(baseline)")
        let winter = try world.campaigns.line(report, "Winter")
        #expect(winter.salesMillionths == 1_000_000 && winter.bookedMinor == 2000, "\(winter)")
        #expect(report.unattributed.revenueMinor == [.usd: 500])
        let said = report.json["settings"]?["models"]?["data_driven"]
        #expect(said?["of"] == "markov1", "\(report.json)")
        let channels = said?["channels"]?.array ?? []
        #expect(channels.map { $0["channel"] } == ["paid_search", "paid_social"], "\(channels)")
        #expect(channels.first?["state"] == "calibrated" && channels.first?["factor"]?.double == 0.5)
        #expect(channels.first?["low"]?.double == 0.5 && channels.first?["high"]?.double == 0.5)
        #expect(channels.first?["experiment"]?["name"] == "autumn" && channels.first?["credited_conversions"] == 4)
        #expect(channels.last?["state"] == "uncalibrated" && channels.last?["factor"] == 1)
        #expect(channels.last?["reason"] == "no_experiment" && channels.last?["experiment"] == .null)
        // However it is grouped, both models add up to the same, and so do the parts.
        for dimension in CreditQuestion.Dimension.allCases where dimension.isOfRuns {
            let both = try await world.report([.markov(1), .dataDriven]) { $0.dimension = dimension }
            for lines in both.models {
                let total = try #require(lines.totals.first)
                #expect(total.salesMillionths == 6_000_000 && total.bookedMinor == 6503, "\(dimension) \(lines.model)")
            }
            let rest = both.models.last?.lines.first { $0.key == Credit.baseline }
            #expect(rest?.bookedMinor == 2001 && rest?.salesMillionths == 2_000_000, "\(dimension)")
        }
        for dimension in LogDimension.allCases {
            let answer = try await world.log(dimension)
            let plain = try await world.log(dimension, .markov(1))
            #expect(answer["totals"] == plain["totals"], "\(answer)")
            let rest = answer["lines"]?.array?.first { $0["key"]?.string == Credit.baseline }
            #expect(rest?["amount_minor"] == 2001 && rest?["conversions"]?.double == 2, "\(answer)")
        }
        await world.campaigns.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what came back is divided as the credit is, and gross, returned and net add up however they are grouped`(
        engine: Dialect
    ) async throws {
        let world = try await World(on: engine)
        _ = try await world.attribution.definitions.save(
            [
                "where": "type = conversion and name = purchase", "repeat": "per_order_id", "refunds": [:],
                "starts_at": "2020-01-01",
            ], name: "purchase", org: "o", now: world.campaigns.open.clock.now)
        try await world.buy("7.76", by: "gus", after: Self.spring.replacing("Spring", with: "Summer"))
        for (value, person) in [("3.33", "ann"), ("10.01", "cat"), ("5.01", "eve"), ("5", "flo"), ("1.12", "gus")] {
            try await world.refund(value, to: person)
        }
        try await world.run()
        try await world.add()
        // 2 of 5 conversions of paid search are incremental, the one that came back as a whole among the 5.
        #expect(try await world.factor("paid_search")["factor"]?.double == 0.4)
        // Of Spring's 40.03 and 13.34 that is 16.01 and 5.34; of Summer's 7.76 and 1.12 it is 3.10 and 0.45.
        let (spring, summer): ([Int64], [Int64]) = ([1601, 534, 1067], [310, 45, 265])
        // 24.02 and 4.66, less 8.00 and 0.67. Winter has no experiment, and flo came by herself.
        let (baseline, winter): ([Int64], [Int64]) = ([2868, 867, 2001], [2000, 501, 1499])
        let organic: [Int64] = [500, 500, 0]
        let wanted: [LogDimension: [String: [Int64]]] = [
            .campaign: [
                "Spring": spring, "Summer": summer, "Winter": winter, Credit.organic: organic,
                Credit.baseline: baseline,
            ],
            .channel: [
                "paid_search": [1911, 579, 1332], "paid_social": winter, "organic": organic, Credit.baseline: baseline,
            ],
            .day: ["2026-11-21": [4411, 1580, 2831], Credit.baseline: baseline],
        ]
        let names = ["amount_minor", "returned_minor", "net_minor"]
        for (dimension, lines) in wanted {
            let answer = try await world.log(dimension)
            var found: [String: [Int64]] = [:]
            for line in answer["lines"]?.array ?? [] {
                found[line["key"]?.string ?? ""] = names.map { line[$0]?.integer ?? -1 }
            }
            #expect(found == lines, "\(dimension)")
            #expect(names.map { answer["totals"]?[$0]?["USD"]?.integer } == [7279, 2447, 4832], "\(answer)")
            #expect(answer["totals"] == (try await world.log(dimension, .markov(1)))["totals"], "\(answer)")
        }
        // Campaign reports have the net as revenue.
        for dimension in CreditQuestion.Dimension.allCases where dimension.isOfRuns {
            for lines in try await world.report([.markov(1), .dataDriven], { $0.dimension = dimension }).models {
                let total = try #require(lines.totals.first)
                let sums = [total.grossMinor, total.returnedMinor, total.bookedMinor]
                #expect(sums == [7279, 2447, 4832], "\(dimension) \(lines.model)")
                guard lines.model == .dataDriven else { continue }
                let rest = try #require(lines.lines.first { $0.key == Credit.baseline })
                #expect([rest.grossMinor, rest.returnedMinor, rest.bookedMinor] == baseline, "\(dimension)")
                guard dimension == .campaign else { continue }
                for (key, line) in ["Spring": spring, "Summer": summer, "Winter": winter, Credit.organic: organic] {
                    let one = try #require(lines.lines.first { $0.key == key })
                    #expect([one.grossMinor, one.returnedMinor, one.bookedMinor] == line, "\(key)")
                }
            }
        }
        await world.campaigns.log.close()
    }

    @Test func `a run that ended within an experiment counts for it until the days are over, and one after it does`()
        async throws
    {
        let world = try await World(on: .sqlite)
        try await world.run()
        try await world.add()
        #expect(try await world.factor("paid_search")["factor"]?.double == 0.5)
        world.campaigns.open.clock.advance(by: .seconds(2 * 86_400))
        #expect(try await world.factor("paid_search")["reason"] == "run_misses_days")
        try await world.run()
        #expect(try await world.factor("paid_search")["factor"]?.double == 0.5)
        await world.campaigns.log.close()
    }

    @Test func `a campaign may be called baseline`() async throws {
        let world = try await World(on: .sqlite)
        try await world.buy("7", by: "gus", after: Self.winter.replacing("Winter", with: "baseline"))
        try await world.run()
        try await world.add()
        let answer = try await world.log(.campaign)
        let amounts = (answer["lines"]?.array ?? []).reduce(into: [String: Int64]()) {
            $0[$1["key"]?.string ?? ""] = $1["amount_minor"]?.integer
        }
        #expect(amounts["baseline"] == 700 && amounts["(baseline)"] == 2001, "\(answer)")
        let report = try await world.report()
        #expect(try world.campaigns.line(report, "baseline").bookedMinor == 700)
        #expect(try world.campaigns.line(report, Credit.baseline).bookedMinor == 2001)
        await world.campaigns.log.close()
    }

    @Test func `credit is read once however many experiments a channel has`() async throws {
        let world = try await World(on: .sqlite)
        world.campaigns.open.clock.advance(by: .seconds(5 * 86_400))
        try await world.run()
        try await world.add()
        for number in 1...12 {
            try await world.add("later-\(number)") { ($0["from"], $0["to"]) = ("2026-11-23", "2026-11-24") }
        }
        func reads() -> Int {
            let all = world.campaigns.open.database.queries.statements
            return all.filter { $0.name == "attribution.experimentCredit" }.reduce(0) { $0 + Int($1.calls) }
        }
        let before = reads()
        let found = try await world.factor("paid_search")
        #expect(found["experiment"]?["name"] == "autumn" && found["factor"]?.double == 0.5, "\(found)")
        #expect(reads() == before + 1)
        await world.campaigns.log.close()
    }

    @Test func `without an experiment all is as under Markov, and says that it is uncalibrated`() async throws {
        let world = try await World(on: .sqlite)
        try await world.run()
        // Neither another organisation's nor another conversion's counts.
        _ = try await world.attribution.experiments.add(UpliftTests.body(), org: "p")
        try await world.add { $0["conversion"] = "signup" }
        let plain = try await world.log(.campaign, .markov(1))
        let driven = try await world.log(.campaign)
        #expect(driven["lines"] == plain["lines"] && driven["totals"] == plain["totals"], "\(driven)")
        #expect(try await world.factor("paid_search")["reason"] == "no_experiment")
        let compared = try await world.report(LogModel.allCases) { $0.base = .dataDriven }.document
        #expect(compared["models"]?.array?.last == "data_driven", "\(compared)")
        await world.campaigns.log.close()
    }

    @Test func `the newest experiment that the run covers counts, and a factor stays between nothing and all`()
        async throws
    {
        let world = try await World(on: .sqlite)
        try await world.run()
        // Before any of the credit.
        try await world.add("early") { ($0["from"], $0["to"]) = ("2026-10-01", "2026-10-11") }
        #expect(try await world.factor("paid_search")["reason"] == "no_credit")
        #expect(try await world.attribution.experiment("early", org: "o")["calibration"]?["state"] == "uncalibrated")
        try await world.add()
        #expect(try await world.factor("paid_search")["factor"]?.double == 0.5)
        let shown = try await world.attribution.experiment("autumn", org: "o")
        #expect(shown["calibration"]?["factor"]?.double == 0.5 && shown["regions"]?.array?.count == 8, "\(shown)")
        #expect(try await world.attribution.experiment("early", org: "o")["calibration"] == .null)
        // Twenty times the conversions of the log: all of the credit is kept, and no more.
        func sides(_ treated: Int64, _ control: Int64) -> JSONValue {
            .array(
                (0..<8).map { index -> JSONValue in
                    [
                        "region": .string("r\(index)"), "side": index < 4 ? "treated" : "control",
                        "conversions": .integer(index < 4 ? treated : control),
                    ]
                })
        }
        try await world.add("more") { $0["regions"] = sides(40, 20) }
        try await world.attribution.experiments.remove("autumn", org: "o")
        #expect(try await world.factor("paid_search")["factor"] == 1)
        #expect(try await world.factor("paid_search")["state"] == "calibrated")
        // A channel that does harm keeps nothing.
        try await world.add("harm") { $0["regions"] = sides(20, 40) }
        try await world.attribution.experiments.remove("more", org: "o")
        let none = try await world.report()
        #expect(try world.campaigns.line(none, Credit.baseline).bookedMinor == 4003)
        #expect(none.models[0].lines.allSatisfy { $0.key != "Spring" || $0.bookedMinor == 0 })
        // A run that begins after the experiment knows nothing of its days.
        try await world.run(from: Timestamp(rfc3339: "2026-11-21T12:00:00Z"))
        #expect(try await world.factor("paid_search")["reason"] == "run_misses_days")
        await world.campaigns.log.close()
    }
}
