import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// Credit of a sale over a real log and a real database.
struct AttributionServiceTests {
    @Test func `a sale is credited once to its first and last touch, and a return takes the credit back`() async throws
    {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        open.clock.advance(by: .seconds(3600))
        try await visit("2", "utm_source=newsletter&utm_medium=email&utm_campaign=reminder", log, open.clock)
        open.clock.advance(by: .seconds(60))

        let leg = UID(high: 1, low: 2)
        let sale = Sale(
            org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 18_201), at: open.clock.now)
        try await service.credit(sale)
        try await service.credit(sale)
        let first = try await revenue(service, "o", .first)
        let last = try await revenue(service, "o", .last)
        #expect(first.map(\.campaign) == ["spring"] && first.first?.revenueMinor == 18_201 && first.first?.sales == 1)
        #expect(last.map(\.campaign) == ["reminder"] && last.first?.revenueMinor == 18_201 && last.first?.sales == 1)
        #expect(first.first?.channel == "paid_search" && last.first?.channel == "email")
        #expect(try await revenue(service, "other", .first).isEmpty)

        try await service.reverse(org: "o", leg: leg)
        #expect(try await revenue(service, "o", .first).isEmpty)
        await log.close()
    }

    @Test func `every model adds up to the price, reports agree, and a return takes all of it back`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        for (number, source) in ["google", "bing", "newsletter"].enumerated() {
            try await visit(
                "\(number)", "utm_source=\(source)&utm_medium=cpc&utm_campaign=c\(number)", log, open.clock)
            open.clock.advance(by: .seconds(86_400))
        }
        let milestone = open.clock.now - .seconds(86_400 + 3600)
        let legs = [UID(high: 1, low: 1), UID(high: 1, low: 2)]
        for (leg, cents) in zip(legs, [Int64(10_000), 10_001]) {
            let sale = Sale(
                org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: cents), at: open.clock.now,
                milestoneAt: milestone)
            try await service.credit(sale)
        }
        for model in CreditModel.allCases {
            let credits = try await credits(service, legs[0], model)
            #expect(credits.reduce(0) { $0 + $1.amount.minorUnits } == 10_000, "\(model)")
            #expect(credits.reduce(0) { $0 + $1.sharePPM } == 1_000_000, "\(model)")
            for dimension in CreditQuestion.Dimension.allCases {
                let lines = try await service.report(org: "o", CreditQuestion(models: [model], dimension: dimension))
                #expect(lines.reduce(0) { $0 + $1.revenueMinor } == 20_001, "\(model) by \(dimension)")
            }
        }
        func parts(_ model: CreditModel) async throws -> [String: Int64] {
            let credits = try await credits(service, legs[1], model)
            return Dictionary(uniqueKeysWithValues: credits.map { ($0.campaign, $0.amount.minorUnits) })
        }
        #expect(try await parts(.linear) == ["c0": 3333, "c1": 3334, "c2": 3334])
        #expect(try await parts(.position) == ["c0": 4000, "c1": 2000, "c2": 4001])
        // The lead was made between the second and the third visit.
        #expect(try await parts(.wShaped) == ["c0": 3000, "c1": 3000, "c2": 4001])
        let past = CreditQuestion(models: [.linear], dimension: .day, to: open.clock.now)
        #expect(try await service.report(org: "o", past).isEmpty)

        try await service.reverse(org: "o", leg: legs[0])
        let left = try await service.report(org: "o", CreditQuestion(models: [.linear], dimension: .campaign))
        #expect(left.reduce(0) { $0 + $1.revenueMinor } == 10_001 && left.allSatisfy { $0.sales == 1 })

        // A release that knew two models left this; the rest is filled in, but not for a sale that was returned.
        try await open.database.write("test.older") { transaction in
            _ = try transaction.run("DELETE FROM attribution_credits WHERE model NOT IN ('first', 'last')")
        }
        let known = try await service.incompleteSales(after: nil)
        #expect(known.map(\.leg) == [legs[1]] && known[0].price == .usd(cents: 10_001))
        for leg in legs {
            try await service.complete(
                Sale(
                    org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 10_001),
                    at: open.clock.now))
        }
        #expect(try await service.incompleteSales(after: nil).isEmpty)
        #expect(try await parts(.linear) == ["c0": 3333, "c1": 3334, "c2": 3334])
        #expect(try await service.credits(org: "o", leg: legs[0]).isEmpty)
        await log.close()
    }

    @Test(.timeLimit(.minutes(1)))
    func `sales that come together are credited at the same time, and what follows a sale behind it`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store, registry: open.registry)
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        open.clock.advance(by: .seconds(60))
        let at = open.clock.now
        func leg(_ number: Int) -> UID { UID(high: 8, low: UInt64(number)) }
        let sales = (0..<100).map { number in
            CreditStep.sale(
                Sale(
                    org: "o", leg: leg(number), traceID: nil, visitorID: "visitor", price: .usd(cents: 100), at: at))
        }
        let after = (0..<50).map { CreditStep.returned(org: "o", leg: leg($0)) }
        let lead = CreditStep.lead(
            NewLead(org: "o", lead: UID(high: 9, low: 1), traceID: nil, visitorID: "visitor", at: at))
        let told = sales + after + [lead, .recognised(org: "o", leg: leg(60), at: at)]
        // One after the other they would wait for each other for ever.
        let meeting = Meeting(of: AttributionService.creditedAtOnce)
        try await service.follow(told) { step in
            await meeting.arrive()
            return step
        }
        let lines = try await service.report(org: "o", CreditQuestion(models: [.last], dimension: .campaign))
        #expect(lines.reduce(0) { $0 + $1.sales } == 50 && lines.reduce(0) { $0 + $1.revenueMinor } == 5000)
        #expect(lines.reduce(0) { $0 + $1.recognisedMinor } == 100)
        #expect(lines.reduce(0) { $0 + $1.leadsMillionths } == 1_000_000)
        for model in CreditModel.allCases {
            let computed = open.registry.histogram(.attributionComputeSeconds, model.rawValue)
            #expect(computed.snapshot.count == 101, "\(model)")
        }
        // Told once more after a crash: returned sales are credited and returned again.
        try await service.follow(told) { $0 }
        let again = try await service.report(org: "o", CreditQuestion(models: [.last], dimension: .campaign))
        #expect(again == lines)
        await log.close()
    }

    @Test func `a touch older than the window earns nothing, one at its edge does`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        let start = open.clock.now
        let edge = start + LookbackWindow.leadSale.click
        for (low, at, campaign) in [
            (UInt64(1), edge, "spring"), (2, edge + .milliseconds(1), Credit.organic),
        ] {
            let leg = UID(high: 0, low: low)
            let sale = Sale(org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 100), at: at)
            try await service.credit(sale)
            #expect(try await credits(service, leg, .last).map(\.campaign) == [campaign])
        }
        await log.close()
    }

    @Test(arguments: ["{\"ads\":\"denied\"}", "{\"gpc\":true}", "{\"ads\":\"granted\",\"gpc\":true}"])
    func `a touch that refuses advertising earns nothing, whatever else there is`(refusal: String) async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        func credited(_ low: UInt64, _ model: CreditModel) async throws -> [String] {
            let (sale, lead) = (UID(high: 6, low: low), UID(high: 7, low: low))
            try await service.credit(
                NewLead(org: "o", lead: lead, traceID: nil, visitorID: "visitor", at: open.clock.now))
            try await service.credit(
                Sale(
                    org: "o", leg: sale, traceID: nil, visitorID: "visitor", price: .usd(cents: 100),
                    at: open.clock.now))
            return try await credits(service, sale, model).map(\.campaign)
        }
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=refused", log, open.clock, consent: refusal)
        open.clock.advance(by: .seconds(60))
        #expect(try await credited(1, .last) == [Credit.organic])
        try await visit(
            "2", "utm_source=bing&utm_medium=cpc&utm_campaign=allowed", log, open.clock,
            consent: "{\"ads\":\"granted\"}")
        open.clock.advance(by: .seconds(60))
        for (low, model) in CreditModel.allCases.enumerated() {
            #expect(try await credited(UInt64(low + 2), model) == ["allowed"], "\(model)")
        }
        let leads = try await service.report(org: "o", CreditQuestion(models: [.first], dimension: .campaign))
        #expect(Set(leads.map(\.key)) == [Credit.organic, "allowed"])
        // Whoever asks for the person's touches sees both, and which of them earns nothing.
        let touches = try await log.store.journey(
            JourneyQuery(
                org: "o", traceID: nil, identifiers: [PersonIdentifier(.anonymous, "visitor")], until: open.clock.now,
                lookback: .seconds(86_400)))
        #expect(touches.map(\.refusesAdvertising) == [true, false])
        await log.close()
    }

    @Test func `a sale that comes again after an earlier touch came in keeps its split`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        let leg = UID(high: 3, low: 1)
        func credit(after seconds: Int) async throws {
            try await service.credit(
                Sale(
                    org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 10_000),
                    at: open.clock.now + .seconds(seconds)))
        }
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        try await credit(after: 7200)
        // The same sale again, with a touch that the log did not know the first time.
        open.clock.advance(by: .seconds(3600))
        try await visit("2", "utm_source=newsletter&utm_medium=email&utm_campaign=reminder", log, open.clock)
        try await credit(after: 3600)
        for model in CreditModel.allCases {
            let credits = try await credits(service, leg, model)
            #expect(credits.map(\.campaign) == ["spring"], "\(model)")
            #expect(credits.reduce(0) { $0 + $1.amount.minorUnits } == 10_000, "\(model)")
            #expect(credits.reduce(0) { $0 + $1.sharePPM } == 1_000_000, "\(model)")
        }
        let question = CreditQuestion(models: [.linear, .last], dimension: .source)
        let lines = try await service.report(org: "o", question)
        #expect(Set(lines.map(\.model)) == [.rule(.linear), .rule(.last)])
        #expect(lines.allSatisfy { $0.revenueMinor == 10_000 })
        await log.close()
    }

    @Test func `a NUL character in a campaign does not keep a sale from its credit`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        try await visit("1", "utm_source=goo%00gle&utm_medium=cpc&utm_campaign=a%00b", log, open.clock)
        let leg = UID(high: 5, low: 1)
        try await service.credit(
            Sale(
                org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 100),
                at: open.clock.now + .seconds(1)))
        let credits = try await credits(service, leg, .last)
        #expect(credits.count == 1)
        #expect(credits.allSatisfy { !$0.campaign.utf8.contains(0) && $0.campaign != Credit.organic })
        await log.close()
    }

    @Test func `parts that do not add up to the sale are refused`() throws {
        let leg = UID(high: 4, low: 1)
        let now = ManualWallClock().now
        let organic = Credit.split(
            .usd(cents: 100), over: Journey([], conversionAt: now, window: .leadSale), model: .linear, at: now)
        try Credit.check(organic, of: .usd(cents: 100), leg: leg, model: .linear)
        let whole = try #require(organic.first)
        var half = whole
        half.sharePPM = 500_000
        let wrong: [([Credit], Int64)] = [([whole, whole], 200), ([half], 100), ([whole], 101), ([], 100)]
        for (credits, cents) in wrong {
            #expect(throws: CreditError.unbalanced(leg: leg, model: .linear)) {
                try Credit.check(credits, of: .usd(cents: cents), leg: leg, model: .linear)
            }
        }
    }

    private func revenue(
        _ service: AttributionService, _ org: String, _ model: CreditModel
    ) async throws -> [CampaignRevenue] {
        try await service.revenue(org: org)[model] ?? []
    }

    private func credits(_ service: AttributionService, _ leg: UID, _ model: CreditModel) async throws -> [Credit] {
        try await service.credits(org: "o", leg: leg)[model] ?? []
    }

    private func visit(
        _ id: String, _ query: String, _ log: EventLog, _ clock: ManualWallClock, consent: String = "{}"
    ) async throws {
        let line = """
            {"id":"\(id)","type":"page","anonymous_id":"visitor","url":"https://a.example/?\(query)","consent":\(consent)}
            """
        let receipt = try await log.capture.submit(
            Array((line + "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
            receivedAt: clock.now)
        #expect(receipt.stored == 1)
    }
}

/// Lets callers go on when so many of them are there, and all later ones.
private actor Meeting {
    private let size: Int
    private var arrived = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(of size: Int) { self.size = size }

    func arrive() async {
        arrived += 1
        guard arrived < size else {
            for one in waiting { one.resume() }
            waiting = []
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }
}
