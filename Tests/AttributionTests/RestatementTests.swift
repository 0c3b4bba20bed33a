import Attribution
import AurumCore
import Database
import Events
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Credit of leads and sales whose persons turn out to have more touches.
struct RestatementTests {
    private static let reminder = "utm_source=newsletter&utm_medium=email&utm_campaign=reminder"
    private static let spring = "utm_source=google&utm_medium=cpc&utm_campaign=spring"
    private static let price = Money.usd(cents: 10_001)
    private static let leg = UID(high: 7, low: 1)
    private static let lead = UID(high: 7, low: 2)

    private final class Items: Sendable {
        private let all = Mutex<[LiveCredit]>([])
        func add(_ item: LiveCredit) { all.withLock { $0.append(item) } }
        func since(_ moment: Timestamp) -> [LiveCredit] { all.withLock { $0.filter { $0.at >= moment } } }
        func page(_ from: Timestamp, behind place: LivePlace, _ limit: Int) -> [LiveCredit] {
            let left = since(from).filter { item in
                item.at < place.before || item.at == place.before && place.after.map { item.item > $0 } == true
            }
            return Array(left.sorted { ($1.at, $0.item) < ($0.at, $1.item) }.prefix(limit))
        }
    }

    private struct World {
        let base: CampaignWorld
        let items = Items()

        init(_ engine: Dialect = .sqlite) throws { base = try CampaignWorld(on: engine) }

        var service: AttributionService { base.attribution }
        var now: Timestamp { base.open.clock.now }

        /// As a process begins: what it knows is in the tables.
        func follower() -> CreditFollower {
            let (store, items) = (base.log.store, items)
            return CreditFollower(
                service, source: store, log: store.logIdentity,
                keys: { store.personKeys(org: $0, of: PersonIdentifier(.anonymous, $1)) },
                live: { _, since, limit in Array(items.since(since).prefix(limit)) }, orgs: { ["o"] },
                clock: base.open.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }

        /// A lead and its sale, both credited.
        func sell(to visitor: String) async throws {
            let at = now
            try await service.credit(
                NewLead(org: "o", lead: RestatementTests.lead, traceID: nil, visitorID: visitor, at: at))
            try await service.credit(
                Sale(
                    org: "o", leg: RestatementTests.leg, traceID: nil, visitorID: visitor,
                    price: RestatementTests.price, at: at, milestoneAt: at))
            for (kind, item) in [(LiveCredit.Kind.lead, RestatementTests.lead), (.sale, RestatementTests.leg)] {
                items.add(LiveCredit(kind, item, org: "o", traceID: nil, visitorID: visitor, at: at, leadAt: at))
            }
            base.open.clock.advance(by: .seconds(60))
        }

        /// A visit of an hour ago that comes in now.
        func visitLate(_ query: String, by person: String) async throws {
            let at = now.milliseconds - 3_600_000
            try await base.send(
                "\"type\":\"page\",\"ts\":\(at),\"url\":\"https://a.example/?\(query)\"", by: person)
            base.open.clock.advance(by: .seconds(60))
        }

        func campaigns(_ model: CreditModel) async throws -> [String] {
            try await service.credits(org: "o", leg: RestatementTests.leg)[model, default: []].map(\.campaign)
        }

        /// Revenue, leads and returns by campaign.
        func report(_ model: CreditModel, asOf: Timestamp? = nil) async throws -> [String: [Int64]] {
            var question = CreditQuestion(models: [model], dimension: .campaign)
            question.asOf = asOf
            var found: [String: [Int64]] = [:]
            for line in try await service.report(org: "o", question) {
                let known = found[line.key] ?? [0, 0, 0]
                found[line.key] = [
                    known[0] + line.revenueMinor, known[1] + line.leadsMillionths, known[2] + line.returnedMinor,
                ]
            }
            return found
        }
    }

    /// What the jobs that look at live leads and sales do, until none is due.
    private static func recompute(_ world: World, from: Timestamp? = nil, to: Timestamp? = nil, pageSize: Int = 500)
        async throws -> [JobRecord]
    {
        let (open, items) = (world.base.open, world.items)
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let jobs = SQLJobStore(
            database: open.database, fences: SQLFences(database: open.database), registry: open.registry)
        let recomputation = LiveRecomputation(
            world.service, page: { _, from, place, limit in items.page(from, behind: place, limit) },
            pageSize: pageSize, logger: quiet)
        var configuration = JobQueue.Configuration()
        configuration.isAlone = open.database.dialect == .sqlite
        let queue = JobQueue(
            store: jobs, handlers: [recomputation.handler(jobs)], clock: open.clock, registry: open.registry,
            health: HealthRegistry(clock: open.clock), logger: quiet, configuration: configuration)
        let job = LiveRecomputation.job(org: "o", from: from, to: to)
        var made = try await jobs.enqueue([job, job])
        #expect(made.map(\.isDuplicate) == [false, true], "one that waits stands for all")
        try await queue.start()
        try await queue.runDue()
        made.removeLast()
        var records: [JobRecord] = []
        for receipt in made {
            if let record = try await jobs.job(receipt.id, org: "o") { records.append(record) }
        }
        return records
    }

    @Test(arguments: Dialect.allCases)
    func `asked for, all leads and sales of a time are credited anew, in pages of any size`(
        _ engine: Dialect
    ) async throws {
        let world = try World(engine)
        try await world.base.visit(Self.spring, by: "ann")
        let before = world.now
        try await world.sell(to: "ann")
        try await world.visitLate(Self.reminder, by: "ann")
        // Another time is not looked at.
        _ = try await Self.recompute(world, from: world.now)
        _ = try await Self.recompute(world, to: before)
        #expect(try await world.campaigns(.first) == ["spring"])
        // Lead and sale are of one moment, more than a page takes: one job each, and one that finds nothing more.
        let records = try await Self.recompute(world, from: before, to: world.now, pageSize: 1)
        #expect(records.map(\.state) == [.done] && records.first?.note == "1 leads and sales", "\(records)")
        #expect(try await world.campaigns(.first) == ["reminder"])
        #expect(try await world.report(.first)["reminder"] == [10_001, 1_000_000, 0])
        let registry = world.base.open.registry
        #expect(registry.counter(.attributionRestatements, "late").value == 2)
        #expect(registry.counter(.jobs, "attribution.live", "enqueued").value == 5)
        _ = try await Self.recompute(world)
        #expect(registry.counter(.attributionRestatements, "late").value == 2, "nothing is left to do")
        await world.base.log.close()
    }

    @Test func `a sale whose credit cannot be read keeps no other from being credited anew`() async throws {
        let world = try World()
        try await world.base.visit(Self.spring, by: "ann")
        try await world.sell(to: "ann")
        try await world.visitLate(Self.reminder, by: "ann")
        let leg = Self.leg
        try await world.base.open.database.write("test.spoil") { transaction in
            try transaction.run("UPDATE attribution_credits SET currency = 'no currency' WHERE leg = \(leg)")
        }
        // The sale comes before the lead.
        let records = try await Self.recompute(world, pageSize: 1)
        #expect(records.map(\.state) == [.done], "\(records)")
        let registry = world.base.open.registry
        #expect(registry.counter(.attributionRestatements, "late").value == 1, "the lead")
        #expect(registry.counter(.jobs, "attribution.live", "enqueued").value == 3)
        await world.base.log.close()
    }

    @Test func `a recomputation of everything is of live leads and sales too, unless told otherwise`() throws {
        let wanted: [(JSONValue, Bool)] = [
            (["reason": "new touches"], true), (["from": "2026-10-01", "to": "2026-11-01"], true),
            (["live": false], false), (["conversion": "purchase"], false), (["only_if_changed": true], false),
            (["conversion": "purchase", "live": true], true),
        ]
        for (body, isOfLive) in wanted {
            var wish = try LogAttribution.Wish(body)
            #expect(wish.isOfLive == isOfLive, "\(body.canonical)")
            // A server of the release before does the run's job too, and knows no such member.
            #expect(wish.json["live"] == nil, "\(body.canonical)")
            var read = try LogAttribution.Wish(wish.json)
            #expect(read.key == wish.key)
            (read.isOfLive, wish.isOfLive) = (false, false)
            #expect(read == wish, "\(body.canonical)")
        }
        #expect(LogAttribution.Wish(reason: "installs").json == ["reason": "installs"])
        #expect(!LogAttribution.Wish(reason: "installs").isOfLive)
        #expect(throws: LogAttributionError.invalid("live", "must be true or false.")) {
            try LogAttribution.Wish(["live": "yes"])
        }
    }

    @Test(arguments: Dialect.allCases)
    func `a touch that comes in late changes the credit, and reports of before show what it was`(
        _ engine: Dialect
    ) async throws {
        let world = try World(engine)
        try await world.base.visit(Self.reminder, by: "v")
        let follower = world.follower()
        #expect(try await follower.catchUp() == 0)
        try await world.sell(to: "v")
        let before = world.now
        world.base.open.clock.advance(by: .seconds(60))
        try await world.visitLate(Self.spring, by: "somebody else")
        #expect(try await follower.catchUp() == 0)
        try await world.visitLate(Self.spring, by: "v")
        #expect(try await follower.catchUp() == 2)
        #expect(try await world.campaigns(.first) == ["spring"])
        #expect(try await world.campaigns(.last) == ["reminder"])
        #expect(try await world.campaigns(.linear) == ["spring", "reminder"])
        let stored = try await world.service.credits(org: "o", leg: Self.leg)
        for model in CreditModel.allCases {
            #expect(stored[model, default: []].reduce(0) { $0 + $1.amount.minorUnits } == 10_001, "\(model)")
        }
        #expect(try await world.report(.first) == ["spring": [10_001, 1_000_000, 0]])
        #expect(try await world.report(.first, asOf: before) == ["reminder": [10_001, 1_000_000, 0]])
        #expect(try await world.report(.first, asOf: world.now) == ["spring": [10_001, 1_000_000, 0]])
        var question = CampaignQuestion(models: [.first])
        let report = try await world.base.reports.report(org: "o", question)
        #expect(report.restatedAt == world.now && report.json["restated_at"]?.string == world.now.rfc3339)
        question.asOf = before
        let earlier = try await world.base.reports.report(org: "o", question)
        #expect(earlier.restatedAt == nil && earlier.json["restated_at"] == .null)
        let basis = try await world.service.basis(
            of: Sale(
                org: "o", leg: Self.leg, traceID: nil, visitorID: "v", price: Self.price, at: before - .seconds(60)))
        #expect(basis["version"] == 2 && basis["versions_before"]?.array?.map { $0["cause"] } == ["late"])
        // Nothing new, also to a process that begins, and to one that lost its place.
        #expect(try await follower.catchUp() == 0)
        #expect(try await world.follower().catchUp() == 0)
        let registry = world.base.open.registry
        #expect(registry.counter(.attributionRestatements, "late").value == 2)
        try await world.visitLate("utm_source=bing&utm_medium=cpc&utm_campaign=third", by: "v")
        #expect(try await world.follower().catchUp() == 2)
        #expect(try await world.report(.linear, asOf: before) == ["reminder": [10_001, 1_000_000, 0]])
        #expect(try await world.report(.linear).count == 3)
        await world.base.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `older versions go 400 days after they were restated, and reports of before say so`(
        _ engine: Dialect
    ) async throws {
        let world = try World(engine)
        try await world.base.visit(Self.reminder, by: "v")
        let follower = world.follower()
        #expect(try await follower.catchUp() == 0)
        try await world.sell(to: "v")
        let before = world.now
        try await world.visitLate(Self.spring, by: "v")
        #expect(try await follower.catchUp() == 2)
        func known() async throws -> Timestamp? {
            try await world.base.report(.first) { $0.asOf = before }.creditKnownSince
        }
        world.base.open.clock.advance(by: AttributionService.restatedKept - .seconds(3600))
        #expect(try await world.service.purgeRestated() == 0)
        #expect(try await world.report(.first, asOf: before) == ["reminder": [10_001, 1_000_000, 0]])
        #expect(try await known() == nil)
        world.base.open.clock.advance(by: .seconds(2 * 3600))
        let rows = 2 * CreditModel.allCases.count
        #expect(try await world.service.purgeRestated() == rows)
        #expect(try await world.service.purgeRestated() == 0)
        #expect(world.base.open.registry.counter(.attributionRestatedPurged).value == rows)
        #expect(try await known() == world.now - AttributionService.restatedKept)
        #expect(try await world.report(.first) == ["spring": [10_001, 1_000_000, 0]])
        await world.base.log.close()
    }

    @Test func `persons that are found to be one share their touches from then on`() async throws {
        let world = try World()
        try await world.base.visit(Self.spring, by: "phone")
        let follower = world.follower()
        try await follower.catchUp()
        try await world.sell(to: "laptop")
        #expect(try await world.campaigns(.first) == ["(organic)"])
        try await world.base.send("\"type\":\"identify\",\"user_id\":\"u\"", by: "phone")
        #expect(try await follower.catchUp() == 0)
        try await world.base.send("\"type\":\"identify\",\"user_id\":\"u\"", by: "laptop")
        #expect(try await follower.catchUp() == 0, "leads of a month are looked at once a minute")
        #expect(await follower.hasMore)
        world.base.open.clock.advance(by: .seconds(60))
        #expect(try await follower.catchUp() == 2)
        #expect(await !follower.hasMore)
        #expect(try await world.campaigns(.first) == ["spring"])
        #expect(world.base.open.registry.counter(.attributionRestatements, "merge").value == 2)
        #expect(try await follower.catchUp() == 0)
        await world.base.log.close()
    }

    @Test func `a sale that was returned stays so, and one returned later is returned as it was restated`() async throws
    {
        let world = try World()
        try await world.base.visit(Self.reminder, by: "v")
        let follower = world.follower()
        try await follower.catchUp()
        try await world.sell(to: "v")
        let sold = world.now
        world.base.open.clock.advance(by: .seconds(60))
        try await world.visitLate(Self.spring, by: "v")
        #expect(try await follower.catchUp() == 2)
        world.base.open.clock.advance(by: .seconds(60))
        let restated = world.now
        world.base.open.clock.advance(by: .seconds(60))
        try await world.service.reverse(org: "o", leg: Self.leg)
        #expect(try await world.report(.first, asOf: sold)["reminder"]?.first == 10_001)
        #expect(try await world.report(.first, asOf: restated)["spring"]?.first == 10_001)
        #expect(try await world.report(.first)["spring"] == [0, 1_000_000, 10_001])
        try await world.visitLate("utm_source=bing&utm_medium=cpc&utm_campaign=third", by: "v")
        #expect(try await follower.catchUp() == 1, "the lead alone")
        #expect(try await world.report(.first)["spring"]?[2] == 10_001)
        await world.base.log.close()
    }

    @Test func `credit of a touch that is gone stays, and touches after the sale change nothing`() async throws {
        let world = try World()
        try await world.base.visit(Self.reminder, by: "v")
        let follower = world.follower()
        try await follower.catchUp()
        try await world.sell(to: "v")
        world.base.open.clock.advance(by: .seconds(3600))
        try await world.base.visit(Self.spring, by: "v")
        #expect(try await follower.catchUp() == 0)
        _ = try await world.base.log.upkeep.erase(
            org: "o", [PersonIdentifier(.anonymous, "v")], actor: "test")
        world.base.open.clock.advance(by: .seconds(60))
        let at = world.now.milliseconds - 2 * 3_600_000
        try await world.base.send(
            "\"type\":\"page\",\"ts\":\(at),\"url\":\"https://a.example/?\(Self.spring)\"", by: "v")
        #expect(try await follower.catchUp() == 0)
        #expect(try await world.campaigns(.first) == ["reminder"])
        await world.base.log.close()
    }

    @Test func `a touch that came while a sale was being credited is not lost, also to the next process`() async throws
    {
        let world = try World()
        try await world.base.visit(Self.reminder, by: "v")
        try await world.follower().catchUp()
        let at = world.now
        world.items.add(
            LiveCredit(.sale, Self.leg, org: "o", traceID: nil, visitorID: "v", at: at, leadAt: at))
        // Its journey was read, and its credit is not stored yet.
        world.base.open.clock.advance(by: .seconds(60))
        try await world.visitLate(Self.spring, by: "v")
        let follower = world.follower()
        #expect(try await follower.catchUp() == 0)
        #expect(await follower.hasMore)
        let sale = Sale(
            org: "o", leg: Self.leg, traceID: nil, visitorID: "v", price: Self.price, at: at, milestoneAt: at)
        try await world.service.credit(sale)
        #expect(try await world.follower().catchUp() == 0, "it was credited with all of it")
        #expect(try await follower.catchUp() == 0)
        #expect(await !follower.hasMore)
        #expect(try await world.campaigns(.first) == ["spring"])
        await world.base.log.close()
    }

    @Test func `leads that are told again keep the credit that they have`() async throws {
        let world = try World()
        try await world.base.visit(Self.reminder, by: "v")
        try await world.sell(to: "v")
        let before = try await world.report(.linear)
        let at = world.now
        try await world.visitLate(Self.spring, by: "v")
        try await world.service.credit(
            NewLead(org: "o", lead: Self.lead, traceID: nil, visitorID: "v", at: at))
        #expect(try await world.report(.linear) == before)
        await world.base.log.close()
    }

    @Test func `a log that is older than the tables is read from its beginning`() async throws {
        let world = try World()
        try await world.base.visit(Self.reminder, by: "v")
        try await world.follower().catchUp()
        try await world.sell(to: "v")
        try await world.visitLate(Self.spring, by: "v")
        let log = world.base.log.store.logIdentity
        try await world.base.open.database.write("test.ahead") { transaction in
            try transaction.run(
                "UPDATE attribution_positions SET position = \(LogPosition(segment: 9, offset: 0, row: 0).description)")
        }
        #expect(try await world.follower().catchUp() == 2, "log \(log)")
        #expect(try await world.follower().catchUp() == 0)
        await world.base.log.close()
    }
}
