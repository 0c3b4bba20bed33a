import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// What networks claim beside what our paths hold of them, over a real log and real tables of both engines. Every
/// number was worked out by hand.
struct ClaimEvidenceTests {
    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let growth: GrowthReports
        var attribution: AttributionService { growth.campaigns.attribution }

        init(on engine: Dialect) throws {
            open = try OpenDatabase(clock: ManualWallClock(), on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let attribution = AttributionService(database: open.database, events: log.store, registry: open.registry)
            growth = GrowthReports(
                campaigns: CampaignReports(
                    attribution: attribution,
                    spend: SpendStore(
                        database: open.database, clock: open.clock, registry: open.registry,
                        revision: attribution.revision),
                    engine: QueryEngine(source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
                    clock: open.clock, registry: open.registry))
        }

        /// - Parameter members: of the event's JSON, beside its id and person.
        func event(_ members: String, by person: String, org: String = "o") async throws {
            let id = UID(now: open.clock.now).hex
            let line = """
                {"id":"\(id)","anonymous_id":"\(person)","session_id":"s-\(person)",\(members)}

                """
            let receipt = try await log.capture.submit(
                Array(line.utf8), format: .ndjson, source: CaptureSource(org: org, app: "site"),
                receivedAt: open.clock.now)
            #expect(receipt.stored == 1, "\(members)")
            open.clock.advance(by: .seconds(60))
        }

        func page(_ query: String, by person: String, org: String = "o") async throws {
            try await event(#""type":"page","url":"https://a.example/?\#(query)""#, by: person, org: org)
        }

        func ad(_ type: String, _ network: String, _ campaign: String, by person: String) async throws {
            try await event(
                #""type":"\#(type)","campaign":{"name":"\#(campaign)","network":"\#(network)"}"#, by: person)
        }

        func spend(_ rows: String, timezone: String? = nil) async throws {
            let text = "date,network,campaign,currency,spend,conversions,value\n" + rows
            let file = try SpendReader.csv(Array(text.utf8), latest: growth.campaigns.spend.latestDay)
            _ = try await growth.campaigns.spend.store(file, org: "o", timezone: timezone)
        }

        func sell(
            _ number: Int, _ minor: Int64, _ currency: Currency = .usd, to person: String, org: String = "o"
        ) async throws {
            try await attribution.credit(
                Sale(
                    org: org, leg: Self.leg(number), traceID: nil, visitorID: person,
                    price: Money(minorUnits: minor, currency: currency), at: open.clock.now))
        }

        func lead(_ number: Int, of person: String) async throws {
            try await attribution.credit(
                NewLead(
                    org: "o", lead: Self.leg(number), traceID: nil, visitorID: person, at: open.clock.now))
        }

        static func leg(_ number: Int) -> UID { UID(high: 9, low: UInt64(number)) }

        func claims(_ change: (inout ClaimQuestion) -> Void = { _ in }) async throws -> ClaimReport {
            var question = ClaimQuestion()
            change(&question)
            return try await growth.claims(org: "o", question)
        }

        func shared(_ change: (inout SharedClaimQuestion) -> Void = { _ in }) async throws -> SharedClaims {
            var question = SharedClaimQuestion()
            change(&question)
            return try await growth.sharedClaims(org: "o", question)
        }

        func evidenceRows() async throws -> Int64? {
            try await open.database.read("test.evidence") { transaction in
                try transaction.value(Int64.self, "SELECT COUNT(*) FROM attribution_evidence")
            }
        }

        /// Every credit of every model of the sales.
        func credits(_ numbers: [Int]) async throws -> [[CreditModel: [Credit]]] {
            var all: [[CreditModel: [Credit]]] = []
            for number in numbers { all.append(try await attribution.credits(org: "o", leg: Self.leg(number))) }
            return all
        }
    }

    private static func counts(
        click: Int64 = 0, view: Int64 = 0, visit: Int64 = 0, none: Int64 = 0, unknown: Int64 = 0
    ) -> EvidenceCounts {
        var counts = EvidenceCounts()
        (counts.click, counts.view, counts.visit) = (click, view, visit)
        (counts.none, counts.unknown) = (none, unknown)
        return counts
    }

    private static func line(_ report: ClaimReport, _ network: String, _ date: String) throws -> ClaimLine {
        let day = try #require(CivilDate(date)).daysSince1970
        return try #require(report.lines.first { $0.network == network && $0.day == day }, "\(network) \(date)")
    }

    private static func minor(_ line: ClaimLine, _ code: String) -> EvidenceCounts? {
        line.values.first { $0.currency.code == code }?.evidenceMinor
    }

    /// Nine sales of 2026-11-21, one of them returned.
    private static func everyKind(_ world: World) async throws {
        let euro = try #require(Currency("EUR"))
        try await world.page("gclid=g1", by: "ann")
        try await world.ad("click", "meta", "video", by: "bob")
        try await world.ad("impression", "meta", "video", by: "cat")
        try await world.page("utm_campaign=spring&utm_source=search", by: "dan")
        try await world.page("gclid=g5&utm_campaign=spring", by: "eve")
        try await world.ad("impression", "meta", "video", by: "eve")
        try await world.page("fbclid=f5&utm_campaign=video", by: "eve")
        try await world.ad("impression", "meta", "video", by: "gus")
        try await world.page("utm_campaign=video", by: "gus")
        try await world.page("utm_campaign=spring", by: "ida")
        try await world.sell(1, 1000, to: "ann")
        try await world.sell(2, 2000, to: "bob")
        try await world.sell(3, 3000, to: "cat")
        try await world.sell(4, 4000, to: "dan")
        try await world.sell(5, 5000, to: "eve")
        try await world.sell(6, 600, euro, to: "fay")
        try await world.sell(7, 700, to: "gus")
        try await world.sell(8, 900, to: "ann")
        try await world.attribution.reverse(org: "o", leg: World.leg(8))
        try await world.sell(9, 800, euro, to: "ida")
    }

    private static let bothClaim = """
        2026-11-21,google,spring,USD,30.00,4,90.00
        2026-11-21,meta,video,USD,10.00,3,
        2026-11-20,google,spring,USD,10.00,1,20.00

        """

    @Test(arguments: Dialect.allCases)
    func `each kind of evidence is counted by network, and claims change no credit`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await Self.everyKind(world)
        let before = try await world.credits(Array(1...9))
        try await world.spend(Self.bothClaim)
        let report = try await world.claims()

        // ann by a click id alone, eve; dan and ida came by links of its campaign; nothing of bob, cat, fay, gus.
        let google = try Self.line(report, "google", "2026-11-21")
        #expect(google.evidence == Self.counts(click: 2, visit: 2, none: 4))
        #expect(Self.minor(google, "USD") == Self.counts(click: 6000, visit: 4000, none: 5700))
        #expect(Self.minor(google, "EUR") == Self.counts(visit: 800, none: 600))
        // Credited by the last touch: dan and ida. eve's last touch was meta's; ann's names no campaign.
        #expect(google.creditedMillionths == 2_000_000 && google.inflation == 2_000_000)
        // bob and eve clicked; cat saw, and gus saw and came without a click.
        let meta = try Self.line(report, "meta", "2026-11-21")
        #expect(meta.evidence == Self.counts(click: 2, view: 2, none: 4))
        #expect(Self.minor(meta, "USD") == Self.counts(click: 7000, view: 3700, none: 5000))
        #expect(Self.minor(meta, "EUR") == nil)
        #expect(meta.creditedMillionths == 4_000_000 && meta.inflation == 750_000)
        let past = try Self.line(report, "google", "2026-11-20")
        #expect(past.evidence == Self.counts() && past.inflation == nil && past.creditedMillionths == 0)
        #expect(report.totals.map(\.evidence) == [google.evidence, meta.evidence])
        #expect(report.evidenceFrom == nil)

        let rows = report.json["rows"]?.array ?? []
        let told = rows.first { $0["network"] == "meta" }
        #expect(told?["evidence"] == ["click": 2, "view": 2, "visit": 0, "none": 4, "unknown": 0])
        #expect(told?["inflation"]?.double == 0.75)

        _ = try await world.shared()
        #expect(try await world.credits(Array(1...9)) == before)
        #expect(before.filter(\.isEmpty).count == 1)
        #expect(try await world.growth.claims(org: "other", ClaimQuestion()).lines.isEmpty)
        #expect(try await world.growth.sharedClaims(org: "other", SharedClaimQuestion()).conversions.isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a conversion of which two claiming networks have evidence is listed with its credit`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        try await Self.everyKind(world)
        try await world.spend(Self.bothClaim)
        let page = try await world.shared { $0.model = .linear }
        #expect(page.conversions.map(\.id) == [World.leg(5)] && page.next == nil)
        let eve = try #require(page.conversions.first)
        #expect(eve.claimants.map(\.network) == ["google", "meta"] && eve.value == .usd(cents: 5000))
        #expect(eve.claimants.map(\.evidence) == [.click, .click])
        #expect(eve.claimants.map(\.claimedMillionths) == [4_000_000, 3_000_000])
        // Three touches, two of them meta's: 1666.67 cents each, what is left over to the later ones.
        #expect(
            eve.credits.map(\.campaign) == ["video", "spring"] && eve.credits.map(\.network) == ["meta", "google"])
        #expect(eve.credits.map(\.minor) == [3334, 1666] && eve.credits.reduce(0) { $0 + $1.millionths } == 1_000_000)
        let json = page.json["conversions"]?.array?.first ?? .null
        #expect(json["date"] == "2026-11-21" && json["value_minor"] == 5000 && json["currency"] == "USD")
        #expect(json["networks"]?.array?.compactMap { $0["evidence"]?.string } == ["click", "click"])

        // Of 2026-11-22 google alone claims: evidence of both is no shared claim.
        world.open.clock.advance(by: .seconds(86_400))
        try await world.sell(10, 100, to: "eve")
        try await world.spend("2026-11-22,google,spring,USD,1.00,1,\n2026-11-22,meta,video,USD,1.00,0,\n")
        #expect(try await world.shared().conversions.map(\.id) == [World.leg(5)])
        // Leads have no value.
        try await world.lead(11, of: "eve")
        try await world.spend("2026-11-22,meta,video,USD,1.00,2,\n")
        let leads = try await world.shared { $0.ours = .leads }
        #expect(leads.conversions.map(\.id) == [World.leg(11)] && leads.conversions[0].value == nil)
        #expect(leads.conversions[0].credits.map(\.millionths) == [1_000_000])
        #expect(try await world.shared().conversions.map(\.id) == [World.leg(10), World.leg(5)])
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `pages of shared claims hold each once, in order, however little is read at a time`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        try await world.page("gclid=g&utm_campaign=spring", by: "eve")
        try await world.page("fbclid=f&utm_campaign=video", by: "eve")
        var wanted: [UID] = []
        var rows = ""
        for day in 0..<6 {
            // Four of one moment, every second of somebody without touches; the networks claim on every other day.
            for number in 0..<4 {
                try await world.sell(day * 10 + number, 100, to: number.isMultiple(of: 2) ? "eve" : "nobody")
            }
            if day.isMultiple(of: 2) {
                wanted = [World.leg(day * 10 + 2), World.leg(day * 10)] + wanted
                let date = world.open.clock.now.utcDate
                rows += "\(date),google,spring,USD,1,1,\n\(date),meta,video,USD,1,1,\n"
            }
            world.open.clock.advance(by: .seconds(86_400))
        }
        try await world.spend(rows)
        #expect(try await world.shared().conversions.map(\.id) == wanted)
        for (limit, atOnce, most) in [(1, 1, 1), (1, 3, 2), (2, 1, 20), (4, 5, 3), (6, 4, 100), (200, 1, 5)] {
            var found: [UID] = []
            var after: ClaimMark?
            var pages = 0
            repeat {
                let mark = after
                let page = try await world.shared { question in
                    (question.limit, question.after) = (limit, mark)
                    (question.paths.atOnce, question.paths.most) = (atOnce, most)
                }
                #expect(page.conversions.count <= limit)
                found += page.conversions.map(\.id)
                after = page.next
                // What is told is what is read again.
                if let next = page.next { #expect(ClaimMark(next.text) == next) }
                pages += 1
            } while after != nil && pages < 100
            #expect(found == wanted, "limit \(limit), \(atOnce) at once, \(most) a page")
        }
        for text in ["", "1", "1-2", "x-\(World.leg(1).hex)", "01-\(World.leg(1).hex)", "1-\(World.leg(1).hex)-"] {
            #expect(ClaimMark(text) == nil, "\(text)")
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `days are those of the accounts' calendar unless told`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.page("gclid=g&utm_campaign=spring", by: "eve")
        try await world.page("fbclid=f&utm_campaign=video", by: "eve")
        // 03:02 UTC of the 22nd is 22:02 of the 21st in New York.
        world.open.clock.advance(by: .seconds(15 * 3600))
        try await world.sell(1, 100, to: "eve")
        try await world.spend(
            "2026-11-21,google,spring,USD,1,1,\n2026-11-21,meta,video,USD,1,1,\n", timezone: "America/New_York")
        let local = try await world.claims()
        #expect(local.timezone == "America/New_York")
        #expect(try Self.line(local, "google", "2026-11-21").evidence == Self.counts(click: 1))
        #expect(try await world.shared().conversions.count == 1)
        let utc = try await world.claims { $0.timezone = "UTC" }
        #expect(try Self.line(utc, "google", "2026-11-21").evidence == Self.counts())
        #expect(try Self.line(utc, "google", "2026-11-22").evidence == Self.counts(click: 1))
        #expect(try await world.shared { $0.timezone = "UTC" }.conversions.isEmpty)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `one campaign at two networks is told apart by its clicks, and windows hold`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await world.page("gclid=g&utm_campaign=spring", by: "ann")
        try await world.page("fbclid=f&utm_campaign=spring", by: "bob")
        try await world.page("aurum_click=a&utm_campaign=spring", by: "cat")
        try await world.ad("impression", "meta", "spring", by: "dan")
        try await world.ad("impression", "letters", "note", by: "eve")
        // A view is too old after 24 hours, a click is not.
        world.open.clock.advance(by: .seconds(86_400))
        for (number, person) in ["ann", "bob", "cat", "dan", "eve"].enumerated() {
            try await world.sell(number, 100, to: person)
        }
        try await world.spend(
            """
            2026-11-22,google,spring,USD,9,1,
            2026-11-22,meta,spring,USD,2,1,

            """)
        let report = try await world.claims()
        // cat's click was handed on by Aurum: its campaign is google's, which it has most spend with.
        let google = try Self.line(report, "google", "2026-11-22")
        #expect(google.evidence == Self.counts(click: 2, none: 3) && google.creditedMillionths == 3_000_000)
        #expect(try Self.line(report, "meta", "2026-11-22").evidence == Self.counts(click: 1, none: 4))
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `evidence is what it was when credit was given, and unknown where nobody kept it`(engine: Dialect) async throws
    {
        let world = try World(on: engine)
        try await world.page("utm_campaign=spring", by: "ann")
        try await world.sell(1, 100, to: "ann")
        try await world.sell(2, 200, to: "nobody")
        try await world.lead(3, of: "ann")
        #expect(try await world.evidenceRows() == 3)
        // A click that is known later, and the same sale and lead again.
        try await world.event(
            #""type":"page","url":"https://a.example/?gclid=late","ts":"2026-11-21T12:00:01Z""#, by: "ann")
        try await world.attribution.credit(
            Sale(
                org: "o", leg: World.leg(1), traceID: nil, visitorID: "ann", price: .usd(cents: 100),
                at: world.open.clock.now))
        try await world.lead(3, of: "ann")
        #expect(try await world.evidenceRows() == 3)
        try await world.spend("2026-11-21,google,spring,USD,1,1,\n")
        func line(_ ours: ClaimQuestion.Ours) async throws -> ClaimLine {
            try Self.line(try await world.claims { $0.ours = ours }, "google", "2026-11-21")
        }
        #expect(try await line(.conversions).evidence == Self.counts(visit: 1, none: 1))
        let leads = try await line(.leads)
        #expect(leads.evidence == Self.counts(visit: 1) && leads.values.isEmpty)

        try await world.attribution.reverse(org: "o", leg: World.leg(2))
        #expect(try await world.evidenceRows() == 2)
        // As an earlier release left it.
        try await world.open.database.write("test.older") { transaction in
            _ = try transaction.run("DELETE FROM attribution_evidence")
        }
        let older = try await line(.conversions)
        #expect(older.evidence == Self.counts(unknown: 1) && older.creditedMillionths == 1_000_000)
        #expect(Self.minor(older, "USD") == Self.counts(unknown: 100))
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `of more conversions than are looked at the oldest days have no evidence, and totals none`(engine: Dialect)
        async throws
    {
        let world = try World(on: engine)
        try await world.page("gclid=g&utm_campaign=spring", by: "ann")
        var rows = ""
        for day in 0..<3 {
            for number in 0..<2 { try await world.sell(day * 10 + number, 100, to: "ann") }
            rows += "\(world.open.clock.now.utcDate),google,spring,USD,1,1,\n"
            world.open.clock.advance(by: .seconds(86_400))
        }
        try await world.spend(rows)
        let whole = try await world.claims { $0.paths.atOnce = 1 }
        #expect(whole.evidenceFrom == nil && whole.totals.map(\.evidence) == [Self.counts(click: 6)])
        // The fourth is of the second day, which may have more.
        let cut = try await world.claims { ($0.paths.atOnce, $0.paths.most) = (2, 3) }
        #expect(cut.evidenceFrom == CivilDate("2026-11-23")?.daysSince1970)
        #expect(try Self.line(cut, "google", "2026-11-23").evidence == Self.counts(click: 2))
        for date in ["2026-11-22", "2026-11-21"] {
            let line = try Self.line(cut, "google", date)
            #expect(line.evidence == nil && line.creditedMillionths == 2_000_000 && line.inflation == 500_000)
            #expect(line.values.map(\.evidenceMinor) == [nil])
        }
        #expect(cut.totals.map(\.evidence) == [nil] && cut.totals.map(\.creditedMillionths) == [6_000_000])
        #expect(cut.json["evidence_from"] == "2026-11-23")
        await world.log.close()
    }
}
