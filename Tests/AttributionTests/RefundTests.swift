import Attribution
import AurumCore
import Database
import Events
import Foundation
import Logging
import Telemetry
import TestSupport
import Testing

/// Refunds that are events of the log, against arithmetic by hand.
struct RefundTests {
    private static let start: Int64 = 1_760_000_000_000
    private static let day: Int64 = 86_400_000

    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let attribution: LogAttribution

        init(
            on engine: Dialect = .ofTestRun, _ refunds: JSONValue? = [:], _ members: [String: JSONValue] = [:],
            _ change: (inout LogRunSettings) -> Void = { _ in }
        ) async throws {
            open = try OpenDatabase(
                clock: ManualWallClock(Timestamp(milliseconds: RefundTests.start + 40 * RefundTests.day)), on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let store = log.store
            var attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
            change(&attribution.settings)
            self.attribution = attribution
            var body: [String: JSONValue] = [
                "where": "type = conversion and name = purchase", "repeat": "per_order_id", "starts_at": "2020-01-01",
            ]
            if let refunds { body["refunds"] = refunds }
            _ = try await attribution.definitions.save(
                .object(body.merging(members) { $1 }), name: "purchase", org: "o", now: open.clock.now)
        }

        func send(_ events: [JSONValue], app: String = "shop") async throws {
            let receipt = try await log.capture.submit(
                Array(events.map(\.canonical).joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: "o", app: app), receivedAt: open.clock.now)
            #expect(receipt.quarantined == 0)
        }

        @discardableResult
        func run(from: Timestamp? = nil, to: Timestamp? = nil) async throws -> LogConversionResult {
            let summary = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", from: from, to: to, reason: "test"), org: "o",
                id: UID(high: 1, low: UInt64.random(in: 0 ... .max)))
            return try #require(summary.result.results.first)
        }

        /// Gross, returned and net of each campaign, in minor units.
        func report(_ model: LogModel, version: Int? = nil) async throws -> [String: [Int64]] {
            let report = try await attribution.report(
                org: "o", conversion: "purchase", model: model, by: .campaign, version: version)
            var found: [String: [Int64]] = [:]
            for line in report["lines"]?.array ?? [] {
                found[line["key"]?.string ?? ""] = ["amount_minor", "returned_minor", "net_minor"].map {
                    line[$0]?.integer ?? -1
                }
            }
            let totals = ["amount_minor", "returned_minor", "net_minor"].map { name in
                report["totals"]?[name]?.object?.values.reduce(0) { $0 + ($1.integer ?? 0) } ?? -1
            }
            found["all"] = totals
            return found
        }
    }

    private static func event(
        _ id: String, _ type: String, _ at: Int64, _ members: [String: JSONValue], person: String
    ) -> JSONValue {
        let all: [String: JSONValue] = [
            "id": .string(id), "type": .string(type), "ts": .integer(start + at), "anonymous_id": .string(person),
        ]
        return .object(all.merging(members) { $1 })
    }

    private static func click(_ campaign: String, _ at: Int64, _ person: String = "a") -> JSONValue {
        let source: [String: JSONValue] =
            campaign == "news"
            ? ["name": "news", "source": "list", "medium": "email"]
            : ["name": .string(campaign), "source": "google", "medium": "cpc"]
        return event("\(campaign)-\(person)-\(at)", "click", at, ["campaign": .object(source)], person: person)
    }

    private static func sale(
        _ order: String, _ value: JSONValue, _ at: Int64, _ person: String = "a", currency: String = "USD"
    ) -> JSONValue {
        event(
            "sale-\(order)-\(person)", "conversion", at,
            ["name": "purchase", "value": value, "currency": .string(currency), "order_id": .string(order)],
            person: person)
    }

    /// Told by the shop's server, which does not know the visitor.
    private static func refund(
        _ id: String, _ order: String?, _ value: JSONValue?, _ at: Int64, currency: String? = "USD",
        type: String = "track"
    ) -> JSONValue {
        var members: [String: JSONValue] = ["name": "refund"]
        members["order_id"] = order.map { .string($0) }
        if let value, currency == nil {
            // What Segment's clients send: the request says the currency.
            members["properties"] = ["revenue": value]
        } else {
            members["value"] = value
            if value != nil { members["currency"] = currency.map { .string($0) } }
        }
        return event(id, type, at, members, person: "server")
    }

    /// News by mail and then a search, and an order of 10.01 after both.
    private static let journey = [
        click("news", 0), click("brand", day), sale("o1", 10.01, 2 * day),
    ]

    @Test(arguments: Dialect.allCases)
    func `a refund of a part is taken off by the weights of each model, to the minor unit`(
        engine: Dialect
    ) async throws {
        let world = try await World(on: engine)
        try await world.send(Self.journey + [Self.refund("r1", "o1", 3.33, 5 * Self.day)])
        let found = try await world.run()
        let refunds = try #require(found.refunds)
        #expect(refunds.taken == 1 && refunds.unmatched == 0 && refunds.returned == 0 && refunds.partlyReturned == 1)
        // 10.01 and 3.33 by halves, the odd cents to the later; by 3/7 and 4/7: 142.71 and 190.29 of 333.
        let wanted: [(CreditModel, news: [Int64], brand: [Int64])] = [
            (.first, [1001, 333, 668], [0, 0, 0]), (.last, [0, 0, 0], [1001, 333, 668]),
            (.linear, [500, 166, 334], [501, 167, 334]), (.position, [500, 166, 334], [501, 167, 334]),
            (.wShaped, [429, 143, 286], [572, 190, 382]),
        ]
        for (model, news, brand) in wanted {
            let report = try await world.report(.rule(model))
            #expect((report["news"] ?? [0, 0, 0]) == news, "\(model)")
            #expect((report["brand"] ?? [0, 0, 0]) == brand, "\(model)")
        }
        for model in LogModel.standard {
            #expect(try await world.report(model)["all"] == [1001, 333, 668], "\(model.name)")
        }
        await world.log.close()
    }

    @Test func `refunds of one order add up, come before it too, and never take more than there was`() async throws {
        let world = try await World()
        try await world.send([
            Self.click("brand", 0), Self.sale("two", 10, Self.day), Self.sale("more", 20, Self.day + 1000),
            Self.sale("all", 40, Self.day + 2000), Self.sale("early", 80, Self.day + 3000),
            Self.sale("signs", 160, Self.day + 4000), Self.sale("kept", 320, Self.day + 5000),
            // 3.33 + 2.00 of 10; 30 of 20; whatever there is of 40; 8 of 80 before it was bought; a negative 16.
            Self.refund("r1", "two", 3.33, 2 * Self.day), Self.refund("r2", "two", 2, 3 * Self.day),
            Self.refund("r3", "more", 30, 2 * Self.day), Self.refund("r4", "all", nil, 2 * Self.day),
            Self.refund("r5", "early", 8, 1000, type: "conversion"), Self.refund("r6", "signs", -16, 2 * Self.day),
        ])
        let found = try await world.run()
        let refunds = try #require(found.refunds)
        #expect(refunds.taken == 6 && refunds.returned == 2 && refunds.partlyReturned == 3)
        #expect(try await world.report(.rule(.last))["brand"] == [63_000, 8933, 54_067])
        #expect(found.conversions == 6)
        await world.log.close()
    }

    @Test func `refunds are counted by the order that they found, also where the repeat rule leaves it out`()
        async throws
    {
        let world = try await World([:], ["repeat": "once_per_person"])
        try await world.send([
            Self.click("brand", 0), Self.sale("o1", 10, Self.day), Self.sale("o2", 20, 2 * Self.day),
            Self.refund("r1", "o1", 3, 3 * Self.day), Self.refund("r2", "o2", 5, 3 * Self.day),
        ])
        let found = try await world.run()
        let refunds = try #require(found.refunds)
        #expect(found.conversions == 1 && refunds.taken == 2 && refunds.unmatched == 0 && refunds.partlyReturned == 1)
        #expect(try await world.report(.rule(.last))["brand"] == [1000, 300, 700])
        await world.log.close()
    }

    @Test func `an event that comes twice is taken once, from whichever app`() async throws {
        let world = try await World()
        try await world.send(Self.journey)
        let twice = Self.refund("r1", "o1", 3.33, 3 * Self.day)
        try await world.send([twice])
        try await world.send([twice])
        try await world.send([twice], app: "backend")
        let refunds = try #require(try await world.run().refunds)
        #expect(refunds.taken == 1)
        #expect(try await world.report(.rule(.linear))["all"] == [1001, 333, 668])
        await world.log.close()
    }

    @Test func `a refund without a currency is in that of its order, whatever the app's is`() async throws {
        let world = try await World()
        // The requests say USD.
        try await world.send([
            Self.click("brand", 0), Self.sale("o1", 10, Self.day, currency: "EUR"),
            Self.refund("r1", "o1", 5, 2 * Self.day, currency: nil), Self.refund("r2", "o1", 1, 2 * Self.day),
        ])
        let refunds = try #require(try await world.run().refunds)
        #expect(refunds.taken == 1 && refunds.otherCurrency == 1 && refunds.partlyReturned == 1, "\(refunds)")
        #expect(try await world.report(.rule(.last))["brand"] == [1000, 500, 500])
        await world.log.close()
    }

    @Test func `the minor unit is that of the order's currency, also where the refund names none`() async throws {
        let world = try await World()
        try await world.send([
            Self.click("brand", 0), Self.sale("yen", 500, Self.day, currency: "JPY"),
            Self.refund("r1", "yen", 200, 2 * Self.day, currency: nil), Self.refund("r2", "yen", nil, 3 * Self.day),
        ])
        try await world.run()
        let found = try await world.attribution.why(
            org: "o", WhyQuestion(conversion: "purchase", event: "sale-yen-a"))
        let refunds = found["refunds"]?.array ?? []
        #expect(refunds.map { $0["amount_minor"]?.integer } == [200, nil], "\(refunds)")
        #expect(refunds.map { $0["currency"]?.string } == ["JPY", "JPY"], "\(refunds)")
        #expect(found["conversion"]?["amount_minor"] == 500 && found["conversion"]?["returned_minor"] == 500)
        await world.log.close()
    }

    @Test(
        arguments: [
            ("JPY", 500, 200, [500, 200, 300]), ("JPY", 500, 199.5, [500, 200, 300]),
            ("KWD", 1.234, 0.234, [1234, 234, 1000]), ("KWD", 1.234, 2, [1234, 1234, 0]),
        ] as [(String, Double, Double, [Int64])])
    func `currencies without two digits are taken off in their own minor unit`(
        _ currency: String, _ worth: Double, _ back: Double, _ wanted: [Int64]
    ) async throws {
        for stated in [currency, nil] {
            let world = try await World()
            try await world.send([
                Self.click("brand", 0), Self.sale("o1", .number(worth), Self.day, currency: currency),
                Self.refund("r1", "o1", .number(back), 2 * Self.day, currency: stated),
            ])
            try await world.run()
            for model in LogModel.standard where model.rule != nil {
                #expect(try await world.report(model)["brand"] == wanted, "\(model.name) \(stated ?? "none")")
            }
            await world.log.close()
        }
    }

    @Test func `what cannot be taken is counted by its reason`() async throws {
        let world = try await World(["amount": "props.back"])
        func back(_ id: String, _ order: String?, _ amount: JSONValue, _ currency: String = "USD") -> JSONValue {
            var members: [String: JSONValue] = [
                "name": "refund", "currency": .string(currency), "props": ["back": amount],
            ]
            members["order_id"] = order.map { .string($0) }
            return Self.event(id, "track", 3 * Self.day, members, person: "server")
        }
        try await world.send(
            Self.journey + [
                back("r1", "o1", 1, "EUR"), back("r2", "o1", "much"), back("r3", "o2", 1), back("r4", nil, 1),
                back("r5", "o1", "2.50"),
            ])
        let found = try await world.run()
        let refunds = try #require(found.refunds)
        #expect(refunds.otherCurrency == 1 && refunds.unreadable == 1 && refunds.unmatched == 2 && refunds.taken == 1)
        #expect(try await world.report(.rule(.linear))["all"] == [1001, 250, 751])
        let facts = try await world.attribution.head(org: "o", conversion: "purchase").facts
        #expect(facts["unmatched_refunds"] == 2 && facts["refunds_other_currency"] == 1)
        #expect(facts["refunds_unreadable"] == 1 && facts["refunds"] == 1 && facts["partly_returned"] == 1)
        await world.log.close()
    }

    @Test func `what was returned as a whole did not convert for fitted models, and later refunds restate`()
        async throws
    {
        let world = try await World()
        try await world.send([
            Self.click("brand", 0, "a"), Self.sale("o1", 10, Self.day, "a"),
            Self.click("news", 0, "b"), Self.sale("o2", 30, Self.day, "b"),
        ])
        let before = try await world.run()
        let fit = try #require(before.fits.first { $0.model == .markov(1) })
        #expect(fit.conversion == 1 && fit.effects == ["email": 0.5, "paid_search": 0.5])
        try await world.send([Self.refund("r1", "o1", 10, 20 * Self.day)])
        // The result before it stands until the next run.
        #expect(try await world.report(.rule(.last))["brand"] == [1000, 0, 1000])
        let after = try await world.run()
        let refit = try #require(after.fits.first { $0.model == .markov(1) })
        // Half of the journeys convert, all of them through mail.
        #expect(refit.conversion == 0.5 && refit.effects == ["email": 1] && refit.totals["email"] == 1)
        #expect(after.conversions == 2 && after.refunds?.returned == 1 && after.nulls == before.nulls)
        for model in [LogModel.rule(.last), .markov(1), .shapley] {
            let report = try await world.report(model)
            #expect(report["brand"] == [1000, 1000, 0] && report["news"] == [3000, 0, 3000], "\(model.name)")
        }
        #expect(try await world.report(.rule(.last), version: 1)["brand"] == [1000, 0, 1000])
        await world.log.close()
    }

    @Test func `what came back is divided by custom weights, as far as the conversion's version has some`()
        async throws
    {
        let world = try await World()
        let since = Timestamp(milliseconds: Self.start + 10 * Self.day)
        _ = try await world.attribution.definitions.save(
            [
                "where": "type = conversion and name = purchase", "repeat": "per_order_id", "refunds": [:],
                "custom": ["first": 3, "middle": 3, "last": 1], "starts_at": .string(since.rfc3339),
            ], name: "purchase", org: "o", now: world.open.clock.now)
        try await world.send([
            // Before there were weights.
            Self.click("brand", 0, "old"), Self.sale("o1", 7, Self.day, "old"),
            Self.refund("r1", "o1", 7, 2 * Self.day),
            Self.click("news", 10 * Self.day), Self.click("brand", 11 * Self.day), Self.click("other", 12 * Self.day),
            Self.sale("o2", 0.11, 13 * Self.day), Self.refund("r2", "o2", 0.10, 14 * Self.day),
            Self.sale("o3", 2.50, 13 * Self.day, "b"), Self.refund("r3", "o3", nil, 14 * Self.day),
        ])
        let refunds = try #require(try await world.run().refunds)
        #expect(refunds.taken == 3 && refunds.returned == 2 && refunds.partlyReturned == 1)
        // By 3, 3 and 1 of 7 the 11 cents are 4.71, 4.71 and 1.57: 5, 5 and 1. Of the 10 that came back 4.29, 4.29 and
        // 1.43 would be 4, 4 and 2, one more than the last touch got: the one before it gives that.
        let custom = try await world.report(.custom)
        #expect(custom["news"] == [5, 4, 1] && custom["brand"] == [5, 5, 0] && custom["other"] == [1, 1, 0])
        #expect(custom["(organic)"] == [250, 250, 0] && custom["all"] == [261, 260, 1], "\(custom)")
        let last = try await world.report(.rule(.last))
        #expect(last["brand"] == [700, 700, 0] && last["other"] == [11, 10, 1] && last["all"] == [961, 960, 1])
        var question = WhyQuestion(conversion: "purchase", event: "sale-o2-a")
        question.model = .custom
        let models = try await world.attribution.why(org: "o", question)["models"]?.array ?? []
        let credits = models.first?["credits"]?.array ?? []
        #expect(models.count == 1 && credits.map { $0["raw"]?.double } == [3, 3, 1])
        #expect(credits.map { $0["amount_minor"]?.integer } == [5, 5, 1])
        #expect(credits.map { $0["returned_minor"]?.integer } == [4, 5, 1])
        await world.log.close()
    }

    @Test func `a run over a range finds refunds that came after it, and knows orders before it`() async throws {
        let world = try await World(
            [:], ["repeat": "each", "value": ["source": "fixed", "amount": "5.00", "currency": "USD"]])
        try await world.send([
            Self.click("brand", 0), Self.sale("old", 10, Self.day), Self.sale("new", 10, 3 * Self.day),
            Self.refund("r1", "old", 1, 3 * Self.day), Self.refund("r2", "new", 2, 9 * Self.day),
        ])
        let found = try await world.run(
            from: Timestamp(milliseconds: Self.start + 2 * Self.day),
            to: Timestamp(milliseconds: Self.start + 4 * Self.day))
        #expect(found.conversions == 1 && found.refunds?.unmatched == 0 && found.refunds?.taken == 2)
        #expect(try await world.report(.rule(.linear))["all"] == [500, 200, 300])
        await world.log.close()
    }

    @Test func `a run over a range counts nobody for the refund of an order outside it`() async throws {
        let world = try await World([:], ["repeat": "each"])
        try await world.send([
            Self.sale("old", 10, 0, "b"), Self.click("brand", 19 * Self.day), Self.sale("new", 10, 20 * Self.day),
            Self.refund("r1", "old", 1, 25 * Self.day), Self.refund("r2", "new", 2, 25 * Self.day),
        ])
        let summary = try await world.attribution.run(
            LogAttribution.Wish(
                conversion: "purchase", from: Timestamp(milliseconds: Self.start + 20 * Self.day),
                to: Timestamp(milliseconds: Self.start + 22 * Self.day), reason: "test"), org: "o",
            id: UID(high: 1, low: 1))
        #expect(summary.result.persons == 1 && summary.result.results.first?.refunds?.taken == 2)
        #expect(try await world.report(.rule(.last))["all"] == [1000, 200, 800])
        await world.log.close()
    }

    @Test(arguments: [31, 32] as [UInt64])
    func `however persons and orders are divided, what is left is the same and never below nothing`(
        _ seed: UInt64
    ) async throws {
        var random = SeededRandom(seed: seed)
        func pick(_ count: UInt64) -> Int64 { Int64(random.next() % count) }
        var events: [JSONValue] = []
        var (worth, back): ([Int64], [Int64]) = ([], [])
        for order in 0..<300 {
            let person = "p\(pick(40))"
            for touch in 0..<pick(5) {
                let at = pick(5) * Self.day + touch * 60_000
                let campaign = ["news", "brand", "other"][Int(pick(3))]
                var click = Self.click(campaign, at, person).object ?? [:]
                click["id"] = .string("click-\(order)-\(touch)")
                events.append(.object(click))
            }
            worth.append(1 + pick(3000))
            back.append(0)
            let value = Double(worth[order]) / 100
            events.append(Self.sale("o\(order)", .number(value), 6 * Self.day + Int64(order), person))
            for refund in 0..<pick(3) {
                let amount = pick(2000)
                back[order] += amount
                let at = pick(9) * Self.day
                events.append(Self.refund("r-\(order)-\(refund)", "o\(order)", .number(Double(amount) / 100), at))
            }
        }
        let returned = zip(worth, back).reduce(0) { $0 + min($1.0, $1.1) }
        let weights: JSONValue = ["first": 2, "middle": 1, "last": 3, "channels": ["email": 0.5]]
        var answers: [[LogCreditRow]] = []
        for (partitions, workers, rows) in [(1, 1, 1_000_000), (64, 2, 4), (8, 3, 30)] {
            let world = try await World([:], ["custom": weights]) { settings in
                (settings.partitions, settings.workers, settings.threadRowsMax) = (partitions, workers, rows)
            }
            for start in stride(from: 0, to: events.count, by: 400) {
                try await world.send(Array(events[start..<min(events.count, start + 400)]))
            }
            let found = try await world.run()
            answers.append(Array(found.rows))
            for row in found.rows {
                #expect(0...row.amountMinor ~= row.returnedMinor, "seed \(seed): \(row)")
            }
            for model in LogModel.stored {
                let mine = found.rows.filter { $0.model == model.name }
                #expect(mine.reduce(0) { $0 + $1.amountMinor } == worth.reduce(0, +), "seed \(seed) \(model.name)")
                #expect(mine.reduce(0) { $0 + $1.returnedMinor } == returned, "seed \(seed) \(model.name)")
            }
            await world.log.close()
        }
        #expect(answers.allSatisfy { $0 == answers[0] }, "seed \(seed): not the same on every division")
    }

    @Test func `a definition without refunds keeps no record of orders`() async throws {
        var spilled: [Int] = []
        for refunds in [nil, [:]] as [JSONValue?] {
            let world = try await World(refunds)
            try await world.send(Self.journey + [Self.refund("r1", "o1", 3.33, 5 * Self.day)])
            let summary = try await world.attribution.run(
                LogAttribution.Wish(conversion: "purchase"), org: "o", id: UID(high: 1, low: 1))
            spilled.append(summary.result.spilledBytes)
            let found = try #require(summary.result.results.first)
            #expect((found.refunds == nil) == (refunds == nil))
            let wanted: [Int64] = refunds == nil ? [1001, 0, 1001] : [1001, 333, 668]
            #expect(try await world.report(.rule(.last))["all"] == wanted)
            await world.log.close()
        }
        // One record of the order and one of the refund.
        #expect(spilled[1] - spilled[0] == 80)
    }

    @Test func `why says which refunds were taken and which not, and what they took of each touch`() async throws {
        let world = try await World()
        try await world.send(
            Self.journey + [
                Self.refund("r1", "o1", 3.33, 5 * Self.day), Self.refund("r2", "o1", 1, 6 * Self.day, currency: "EUR"),
                Self.refund("r3", "o2", 1, 6 * Self.day),
            ])
        try await world.run()
        // Came after the run.
        try await world.send([Self.refund("r4", "o1", 1, 7 * Self.day)])
        let found = try await world.attribution.why(
            org: "o", WhyQuestion(conversion: "purchase", event: "sale-o1-a"))
        let refunds = found["refunds"]?.array ?? []
        #expect(refunds.map { $0["event"]?.string } == ["r1", "r2"])
        #expect(refunds.map { $0["amount_minor"]?.integer } == [333, 100])
        #expect(refunds.map { $0["taken"]?.bool } == [true, false])
        #expect(refunds.map { $0["reason"]?.string } == [nil, "other_currency"])
        #expect(found["conversion"]?["returned_minor"] == 333 && found["conversion"]?["net_minor"] == 668)
        #expect(found["conversion"]?["returned"] == false && found["definition_version"] == 1)
        #expect(found["definition"]?["refunds"]?["event"] == "refund")
        let linear = found["models"]?.array?.first { $0["model"] == "linear" }
        #expect((linear?["credits"]?.array ?? []).map { $0["returned_minor"]?.integer } == [166, 167])
        await world.log.close()
    }

    @Test func `an order is searched on several threads, and its refunds stand in their order all the same`()
        async throws
    {
        let world = try await World { $0.workers = 3 }
        try await world.send(Self.journey)
        // Each in a block of its own; the first one is told by another app once more.
        for number in 0..<8 {
            try await world.send([Self.refund("r\(number)", "o1", 0.5, (3 + Int64(number)) * Self.day)])
        }
        try await world.send([Self.refund("r0", "o1", 0.5, 3 * Self.day)], app: "backend")
        try await world.run()
        for _ in 0..<5 {
            let found = try await world.attribution.why(
                org: "o", WhyQuestion(conversion: "purchase", event: "sale-o1-a"))
            let refunds = found["refunds"]?.array ?? []
            #expect(refunds.map { $0["event"]?.string } == ["r0"] + (0..<8).map { "r\($0)" })
            #expect(refunds.map { $0["reason"]?.string ?? "" } == ["", "same_event"] + Array(repeating: "", count: 7))
            #expect(refunds.prefix(2).map { $0["app"]?.string } == ["shop", "backend"])
            #expect(found["conversion"]?["returned_minor"] == 400)
        }
        await world.log.close()
    }

    @Test func `a rule that cannot be read is refused by its member`() async throws {
        let world = try await World()
        let wrong: [(JSONValue, String)] = [
            ("refund", "refunds"), (["name": "refund"], "refunds"), (["event": ""], "refunds.event"),
            (["event": "a\"b"], "refunds.event"), (["order_id": "user_id"], "refunds.order_id"),
            (["order_id": "props."], "refunds.order_id"), (["amount": 5], "refunds.amount"),
        ]
        for (refunds, member) in wrong {
            do {
                _ = try await world.attribution.definitions.save(
                    ["where": "type = conversion", "refunds": refunds], name: "x", org: "o", now: world.open.clock.now)
                Issue.record("\(refunds.canonical) is taken")
            } catch LogAttributionError.invalid(let named, _) { #expect(named == member) }
        }
        let saved = try await world.attribution.definitions.save(
            ["where": "type = conversion", "refunds": ["event": "Order Refunded", "order_id": "props.order"]],
            name: "x", org: "o", now: world.open.clock.now)
        let rule: JSONValue = ["event": "Order Refunded", "order_id": "props.order", "amount": "value"]
        #expect(saved.json?["refunds"] == rule)
        let kept = try await world.attribution.definitions.current(org: "o").first { $0.name == "x" }
        #expect(kept?.json?["refunds"] == rule)
        await world.log.close()
    }
}
