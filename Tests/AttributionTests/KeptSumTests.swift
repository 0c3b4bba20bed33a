import Attribution
import AurumCore
import Database
import Dispatch
import Events
import Telemetry
import TestSupport
import Testing

/// Reports of now from kept sums against the same by reading every fact.
struct KeptSumTests {
    /// Of a moment that nothing lies behind, every fact is read.
    private static func whole(_ question: CreditQuestion) -> CreditQuestion {
        var question = question
        question.asOf = .end
        return question
    }

    private static func limits(atOnce: Int, again: Int, bytes: Int = 64 << 20) -> CreditSumLimits {
        var limits = CreditSumLimits()
        (limits.factsAtOnce, limits.factsAgain, limits.bytesMax) = (atOnce, again, bytes)
        return limits
    }

    private static func service(
        _ world: CampaignWorld, _ limits: CreditSumLimits, _ registry: MetricRegistry = MetricRegistry()
    ) -> AttributionService {
        AttributionService(
            database: world.open.database, events: world.log.store, registry: registry, sums: limits)
    }

    /// A history as it comes: who is asked and who writes are several processes on one database.
    private struct History {
        static let campaigns = [
            "utm_source=google&utm_medium=cpc&utm_campaign=Spring&adgroupid=g1&keyword=solar",
            "utm_source=google&utm_medium=cpc&utm_campaign=spring&adgroupid=g2",
            "utm_source=facebook&utm_medium=paid_social&utm_campaign=video&ad_id=a2",
            "utm_source=newsletter&utm_medium=email&utm_campaign=reminder",
        ]
        let world: CampaignWorld
        let services: [AttributionService]
        var random: SeededRandom
        var sold: [LiveCredit] = []
        var leads: [LiveCredit] = []

        var now: Timestamp { world.open.clock.now }

        mutating func pick<Item>(_ items: [Item]) throws -> Item {
            try #require(items.randomElement(using: &random))
        }

        mutating func step() async throws {
            let service = try pick(services)
            let person = "p\(Int.random(in: 0..<4, using: &random))"
            switch Int.random(in: 0..<14, using: &random) {
            case 0...1: try await world.visit(try pick(Self.campaigns), by: person)
            case 2...5: try await sell(service, person)
            case 6:
                let lead = UID(high: 2, low: UInt64(leads.count))
                try await service.credit(NewLead(org: "o", lead: lead, traceID: nil, visitorID: person, at: now))
                leads.append(
                    LiveCredit(.lead, lead, org: "o", traceID: nil, visitorID: person, at: now, leadAt: now))
            case 7:
                guard let leg = sold.randomElement(using: &random)?.item else { return }
                try await service.recognise(org: "o", leg: leg, at: now)
            case 8:
                guard let leg = sold.randomElement(using: &random)?.item else { return }
                try await service.reverse(org: "o", leg: leg)
            case 9...10: try await comeLate(service)
            case 11: try await service.compactChanges(org: "o")
            default:
                let seconds = try pick([1, 7, 30, 900, 18_000, 100_000, 45 * 86_400])
                world.open.clock.advance(by: .seconds(seconds) + .microseconds(17))
            }
        }

        /// A new one, or one that is told again.
        private mutating func sell(_ service: AttributionService, _ person: String) async throws {
            let at = now - (try pick([Duration.zero, .zero, .microseconds(1), .seconds(70), .seconds(90_000)]))
            var live = LiveCredit(
                .sale, UID(high: 1, low: UInt64(sold.count)), org: "o", traceID: nil, visitorID: person, at: at,
                leadAt: at)
            if let known = sold.randomElement(using: &random), Bool.random(using: &random) { live = known }
            let price = Money(
                minorUnits: Int64(100 + sold.count * 7), currency: try pick([.usd, Currency("EUR") ?? .usd]))
            try await service.credit(
                Sale(
                    org: "o", leg: live.item, traceID: nil, visitorID: live.visitorID, price: price, at: live.at,
                    milestoneAt: live.leadAt))
            if live.item == UID(high: 1, low: UInt64(sold.count)) { sold.append(live) }
        }

        /// A touch of somebody who has bought comes in late.
        private mutating func comeLate(_ service: AttributionService) async throws {
            guard let live = (sold + leads).randomElement(using: &random), let person = live.visitorID else { return }
            let at = live.at.milliseconds - 60_000
            guard now.milliseconds - at < 86_400_000 else { return }
            try await world.send(
                "\"type\":\"page\",\"ts\":\(at),\"url\":\"https://a.example/?\(try pick(Self.campaigns))\"", by: person)
            for one in sold + leads where one.visitorID == person {
                try await service.restate(one, cause: .late)
            }
        }

        mutating func question() throws -> CreditQuestion {
            let models = try pick(
                [[.linear], [.last, .linear, .linear], [.first], [.timeDecay, .wShaped]] as [[CreditModel]])
            var question = CreditQuestion(models: models, dimension: try pick(CreditQuestion.Dimension.allCases))
            question.zone = ZoneClock(try pick(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]))
            if Bool.random(using: &random) { question.campaigns = ["spring": "Spring"] }
            question.networks = try pick([[:], ["Spring": "google", "spring": "google", "video": "meta"]])
            switch Int.random(in: 0..<5, using: &random) {
            case 0: (question.from, question.to) = (now - .seconds(30 * 86_400), now + .seconds(86_400))
            case 1: question.from = now - .seconds(Int.random(in: 0..<200_000, using: &random))
            case 2: question.to = (try pick(sold.map(\.at) + [now])) + .microseconds(try pick([0, 1, 500_000]))
            case 3:
                let from = try pick(sold.map(\.at) + [now])
                (question.from, question.to) = (
                    from, from + (try pick([.microseconds(1), .seconds(3), .seconds(86_400)]))
                )
            default: break
            }
            return question
        }
    }

    @Test(arguments: Dialect.allCases)
    func `after every step of any history reports are those that reading everything gives`(engine: Dialect)
        async throws
    {
        for seed in 0..<UInt64(soakCount(100)) {
            let world = try CampaignWorld(on: engine)
            let registry = MetricRegistry()
            let small = Self.limits(atOnce: 12, again: 4)
            var history = History(
                world: world,
                services: [
                    world.attribution, Self.service(world, small, registry),
                    Self.service(world, Self.limits(atOnce: 12, again: 0, bytes: 6000)),
                ], random: SeededRandom(seed: seed))
            for step in 0..<50 {
                try await history.step()
                let question = try history.question()
                let expected = try await world.attribution.report(org: "o", Self.whole(question))
                for (number, service) in history.services.enumerated() {
                    let lines = try await service.report(org: "o", question)
                    #expect(lines == expected, "seed \(seed), step \(step), service \(number): \(question)")
                }
            }
            #expect(registry.counter(.attributionSums, "hit").value > 0)
            #expect(registry.counter(.attributionSums, "merged").value > 0)
            await world.log.close()
        }
    }

    @Test(arguments: Dialect.allCases)
    func `a report reads what changed since the last one, whoever changed it`(engine: Dialect) async throws {
        let world = try CampaignWorld(on: engine)
        let registry = MetricRegistry()
        let asked = Self.service(world, Self.limits(atOnce: 8, again: 2), registry)
        try await world.visit(History.campaigns[0], by: "ann")
        for number in 0..<30 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(7200))
        }
        let question = CreditQuestion(models: [.linear], dimension: .source)
        func read() -> Int64 { registry.counter(.attributionSumFacts).value }
        func sales() async throws -> Int { try await asked.report(org: "o", question).reduce(0) { $0 + $1.sales } }
        #expect(try await sales() == 30 && read() == 60)
        #expect(try await sales() == 30 && read() == 60, "nothing has changed")
        try await world.sell(30, 100, to: "ann")
        #expect(try await sales() == 31)
        #expect(read() <= 70, "\(read())")
        // An old one, by another process.
        let before = read()
        try await world.attribution.reverse(org: "o", leg: UID(high: 9, low: 3))
        #expect(try await sales() == 30)
        #expect(read() - before <= 10, "\(read() - before)")
        // Marks of the same second become one, and nothing is read again.
        let rows = try await Self.marks(world)
        let last = read()
        try await world.attribution.compactChanges(org: "o")
        #expect(try await Self.marks(world) < rows)
        #expect(try await sales() == 30 && read() == last)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `names of labels without credit let nothing be read again, and count once they have some`(engine: Dialect)
        async throws
    {
        let world = try CampaignWorld(on: engine)
        let registry = MetricRegistry()
        let asked = Self.service(world, Self.limits(atOnce: 8, again: 2), registry)
        try await world.visit(History.campaigns[0], by: "ann")
        for number in 0..<12 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(7200))
        }
        func read() -> Int64 { registry.counter(.attributionSumFacts).value }
        for dimension in [CreditQuestion.Dimension.campaign, .network] {
            var question = CreditQuestion(models: [.last], dimension: dimension)
            (question.campaigns, question.networks) = (["spring": "Spring"], ["Spring": "google"])
            _ = try await asked.report(org: "o", question)
            let before = read()
            // A click brings another way to write it, which nothing was credited to.
            question.campaigns["SPRING \(dimension)"] = "Spring"
            question.networks["SPRING \(dimension)"] = "google"
            let lines = try await asked.report(org: "o", question)
            #expect(try await world.attribution.report(org: "o", Self.whole(question)) == lines)
            #expect(read() == before, "\(dimension)")
            try await world.visit("utm_source=google&utm_campaign=SPRING%20\(dimension)", by: "\(dimension)")
            try await world.sell(dimension == .campaign ? 100 : 101, 100, to: "\(dimension)")
            let expected = try await world.attribution.report(org: "o", Self.whole(question))
            #expect(try await asked.report(org: "o", question) == expected)
            // Another name for what has credit.
            (question.campaigns["Spring"], question.networks["Spring"]) = ("Summer", "meta")
            let renamed = try await world.attribution.report(org: "o", Self.whole(question))
            #expect(renamed != expected)
            #expect(try await asked.report(org: "o", question) == renamed)
        }
        await world.log.close()
    }

    private static func marks(_ world: CampaignWorld) async throws -> Int {
        try await world.open.database.read("test.marks") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM attribution_changes WHERE org = 'o'") ?? 0
        }
    }

    @Test(arguments: Dialect.allCases)
    func `marks become few, and what was kept before is not taken for right after a change`(engine: Dialect)
        async throws
    {
        let world = try CampaignWorld(on: engine)
        // Every report reads down to the second, so that stretches within a longer slot are kept.
        let asked = Self.service(world, Self.limits(atOnce: 0, again: 0))
        let question = CreditQuestion(models: [.linear], dimension: .day)
        func check(_ place: String) async throws {
            let expected = try await world.attribution.report(org: "o", Self.whole(question))
            #expect(try await asked.report(org: "o", question) == expected, "\(place)")
        }
        try await world.visit(History.campaigns[0], by: "ann")
        for number in 0..<20 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(40))
            try await check("sale \(number)")
        }
        let first = try await Self.marks(world)
        for (number, wait) in [Duration.seconds(3600), .seconds(45 * 86_400), .seconds(86_400)].enumerated() {
            world.open.clock.advance(by: wait)
            try await world.attribution.compactChanges()
            try await check("after \(wait)")
            let leg = UID(high: 9, low: UInt64(number))
            try await world.attribution.recognise(org: "o", leg: leg, at: world.open.clock.now)
            try await check("recognised after \(wait)")
            try await world.attribution.compactChanges()
            try await world.attribution.reverse(org: "o", leg: UID(high: 9, low: UInt64(number + 10)))
            try await check("returned after \(wait)")
        }
        world.open.clock.advance(by: .seconds(2 * 86_400))
        try await world.attribution.compactChanges()
        try await check("at last")
        #expect(first > 20)
        #expect(try await Self.marks(world) == 1, "one day, long ago")
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `reports while sixteen credit at once miss nothing afterwards`(engine: Dialect) async throws {
        let world = try CampaignWorld(on: engine)
        let asked = Self.service(world, Self.limits(atOnce: 8, again: 2))
        try await world.visit(History.campaigns[0], by: "ann")
        let at = world.open.clock.now
        let question = CreditQuestion(models: [.linear, .first], dimension: .campaign)
        for round in 1...10 {
            // Each in a second of its own: no later mark makes up for one that is missed.
            let sales = ((round - 1) * 16..<round * 16).map { number in
                CreditStep.sale(
                    Sale(
                        org: "o", leg: UID(high: 4, low: UInt64(number)), traceID: nil, visitorID: "ann",
                        price: .usd(cents: 100), at: at + .seconds(number)))
            }
            let recognised = (0..<4).map { number in
                CreditStep.recognised(
                    org: "o", leg: UID(high: 4, low: UInt64((round - 1) * 16 + number * 5)), at: at)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                // Sales and recognitions by two who know nothing of each other.
                group.addTask { try await world.attribution.follow(sales) { $0 } }
                group.addTask { try await asked.follow(recognised) { $0 } }
                group.addTask {
                    var last = 0
                    while last < round * 16 {
                        try Task.checkCancellation()
                        let lines = try await asked.report(org: "o", question)
                        let count = lines.filter { $0.model == .rule(.first) }.reduce(0) { $0 + $1.sales }
                        #expect(count >= last && count <= round * 16)
                        last = count
                        try await world.attribution.compactChanges(org: "o")
                    }
                }
                try await group.waitForAll()
            }
            let expected = try await world.attribution.report(org: "o", Self.whole(question))
            #expect(try await asked.report(org: "o", question) == expected, "round \(round)")
            #expect(expected.reduce(0) { $0 + $1.recognisedMinor } == Int64(round * 800))
        }
        await world.log.close()
    }

    private struct Undone: Error {}

    @Test func `a recognition that could not see its sale leaves a mark on it all the same`() async throws {
        let world = try CampaignWorld(on: .postgres)
        let (database, now) = (world.open.database, world.open.clock.now)
        let asked = Self.service(world, CreditSumLimits())
        let question = CreditQuestion(models: [.linear], dimension: .source)
        func recognised() async throws -> Int64 {
            try await asked.report(org: "o", question).reduce(0) { $0 + $1.recognisedMinor }
        }
        let leg = UID(high: 9, low: 1)
        let (held, hold) = AsyncStream<Void>.makeStream()
        let release = DispatchSemaphore(value: 0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { release.signal() }
            group.addTask {
                // The same row that is not there in the end: the recognition waits between its reads and its commit.
                try? await database.write("test.holding", isolation: .readCommitted) { transaction -> Void in
                    _ = try transaction.run(
                        """
                        INSERT INTO attribution_recognised (org, leg, recognised_at, created_at)
                        VALUES ('o', \(leg), \(now), \(now))
                        """)
                    hold.yield()
                    release.wait()
                    throw Undone()
                }
            }
            for await _ in held { break }
            group.addTask { try await world.attribution.recognise(org: "o", leg: leg, at: now) }
            #expect(try await Self.isWaiting(database))
            try await world.sell(1, 100, to: "ann")
            #expect(try await recognised() == 0)
            release.signal()
            try await group.waitForAll()
        }
        #expect(try await recognised() == 100)
        await world.log.close()
    }

    /// Returns once somebody waits for a row of recognitions.
    private static func isWaiting(_ database: Database) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < end {
            let count = try await database.read("test.waiting") { transaction in
                try transaction.value(
                    Int.self,
                    """
                    SELECT COUNT(*) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND query LIKE '%INTO attribution_recognised%'
                    """)
            }
            if count ?? 0 > 0 { return true }
        }
        return false
    }

    @Test func `what is kept has a bound, and more questions than fit are answered all the same`() async throws {
        let world = try CampaignWorld(on: .sqlite)
        let registry = MetricRegistry()
        let asked = Self.service(world, Self.limits(atOnce: 4, again: 1, bytes: 20_000), registry)
        for campaign in History.campaigns { try await world.visit(campaign, by: "ann") }
        for number in 0..<12 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(3000))
        }
        for number in 0..<15 {
            var question = CreditQuestion(models: [.linear], dimension: .network)
            question.networks = ["Spring": "network \(number)"]
            let lines = try await asked.report(org: "o", question)
            #expect(lines.filter { $0.currency != nil }.reduce(0) { $0 + $1.revenueMinor } == 1200)
            #expect(registry.gauge(.attributionSumBytes).value <= 20_000)
        }
        await world.log.close()
    }

    @Test(arguments: [6, 86_400] as [Int64])
    func `for hours after an upgrade of several nodes nothing is kept`(seconds: Int64) async throws {
        let world = try CampaignWorld(on: .postgres)
        try await world.visit(History.campaigns[0], by: "ann")
        // The release before has been here for so long.
        try await world.open.database.write("test.older") { transaction in
            _ = try transaction.run(
                """
                UPDATE schema_migrations SET applied_at = applied_at - \(seconds * 1_000_000) WHERE version < 320
                """)
        }
        let question = CreditQuestion(models: [.linear], dimension: .campaign)
        func revenue() async throws -> Int64 {
            try await world.attribution.report(org: "o", question).reduce(0) { $0 + $1.revenueMinor }
        }
        /// A node of that release takes a cent off, and leaves no mark.
        func change() async throws {
            try await world.open.database.write("test.change") { transaction in
                _ = try transaction.run(
                    "UPDATE attribution_credits SET amount_minor = amount_minor - 1 WHERE model = 'linear'")
            }
        }
        try await world.sell(1, 100, to: "ann")
        #expect(try await revenue() == 100)
        try await change()
        #expect(try await revenue() == 99)
        world.open.clock.advance(by: .seconds(6 * 3600))
        #expect(try await revenue() == 99)
        try await change()
        #expect(try await revenue() == 99, "by now every node leaves marks")
        await world.log.close()
    }
}
