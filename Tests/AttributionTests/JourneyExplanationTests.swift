import Attribution
import AurumCore
import Database
import Events
import Foundation
import Logging
import Telemetry
import TestSupport
import Testing

/// Why a run over the log credited a conversion as it did, against arithmetic by hand.
struct JourneyExplanationTests {
    private static let start: Int64 = 1_760_000_000_000
    private static let day: Int64 = 86_400_000

    private struct World {
        let open: OpenDatabase
        let log: EventLog
        var attribution: LogAttribution

        init() throws {
            open = try OpenDatabase(
                clock: ManualWallClock(
                    Timestamp(milliseconds: JourneyExplanationTests.start + 40 * JourneyExplanationTests.day)))
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let store = log.store
            attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
        }

        func send(_ events: [JSONValue], org: String = "o", app: String = "shop") async throws {
            let body = events.map(\.canonical).joined(separator: "\n")
            let receipt = try await log.capture.submit(
                Array(body.utf8), format: .ndjson, source: CaptureSource(org: org, app: app),
                receivedAt: open.clock.now)
            #expect(receipt.quarantined == 0)
        }

        @discardableResult
        func run(org: String = "o", from: Timestamp? = nil) async throws -> LogRunSummary {
            try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", from: from, reason: "test"), org: org,
                id: UID(high: 1, low: UInt64.random(in: 0 ... .max)))
        }

        func why(_ event: String, org: String = "o", _ change: (inout WhyQuestion) -> Void = { _ in }) async throws
            -> JSONValue
        {
            var question = WhyQuestion(conversion: "purchase", event: event)
            change(&question)
            return try await attribution.why(org: org, question)
        }

        func list(_ change: (inout ConversionFilter) -> Void = { _ in }) async throws -> (
            events: [String], next: String?
        ) {
            var filter = ConversionFilter(conversion: "purchase")
            change(&filter)
            let page = try await attribution.credited(org: "o", filter)
            return ((page["conversions"]?.array ?? []).compactMap { $0["event"]?.string }, page["next"]?.string)
        }
    }

    private static func event(
        _ id: String, _ type: String, _ at: Int64, _ members: [String: JSONValue] = [:], person: String = "a"
    ) -> JSONValue {
        var all: [String: JSONValue] = [
            "id": .string(id), "type": .string(type), "ts": .integer(start + at), "anonymous_id": .string(person),
        ]
        all.merge(members) { $1 }
        return .object(all)
    }

    private static func from(_ campaign: String, _ source: String, _ medium: String) -> [String: JSONValue] {
        ["campaign": ["name": .string(campaign), "source": .string(source), "medium": .string(medium)]]
    }

    private static func sale(_ id: String, _ at: Int64, person: String = "a") -> JSONValue {
        event(
            id, "conversion", at, ["name": "purchase", "value": 10.01, "currency": "USD"], person: person)
    }

    /// Email, four days later less an hour a direct visit, between them a search; and what does not count.
    private static let journey: [JSONValue] = [
        event("mail", "click", 0, from("news", "list", "email")),
        event("seen", "impression", day, from("banner", "news", "display")),
        event("search", "click", 2 * day, from("brand", "google", "cpc")),
        event("search-again", "click", 2 * day + 5000, from("brand", "google", "cpc")),
        event(
            "refused", "click", 3 * day, from("brand", "google", "cpc").merging(["consent": ["ads": "denied"]]) { $1 }),
        event(
            "robot", "click", 3 * day + 60_000,
            from("brand", "google", "cpc").merging(["context": ["user_agent": "Googlebot/2.1"]]) { $1 }),
        event("home", "page", 4 * day - 3_600_000, ["url": "https://shop.example/"]),
        event("home-2", "page", 4 * day - 3_599_000, ["url": "https://shop.example/2"]),
        sale("sale", 4 * day),
        event("later", "click", 5 * day, from("brand", "google", "cpc")),
    ]

    @Test func `each model's weights and credits are those of its formula by hand`() async throws {
        let world = try World()
        try await world.send(Self.journey)
        try await world.run()
        let found = try await world.why("sale")
        #expect(found["result"]?["version"]?.integer == 1 && found["organic"]?.bool == false)
        #expect(found["conversion"]?["amount_minor"]?.integer == 1001)
        #expect(found["conversion"]?["person"]?.string?.utf8.count == 16)
        #expect((found["journey"]?.array ?? []).map { $0["channel"]?.string } == ["email", "paid_search", "direct"])
        #expect((found["journey"]?.array ?? []).map { $0["campaign"]?.string ?? "" } == ["news", "brand", ""])
        // 4 days less an hour and 2 days less an hour before the last touch; half-life 7 days.
        let aged = [pow(0.5, 342_000.0 / 604_800), pow(0.5, 169_200.0 / 604_800), 1]
        let third = 1.0 / 3
        // The chain of order 1: start to email and to search, each 1/2; email to search; search to direct and to
        // nothing, each 1/2. P = 1/2; without email 1/4, without one of the others 0. Of the orders 2 and 3 no state
        // but one converts, and it holds every channel.
        let wanted: [(model: String, raw: [Double], minor: [Int64])] = [
            ("first", [1, 0, 0], [1001, 0, 0]), ("last", [0, 0, 1], [0, 0, 1001]),
            ("last_non_direct", [0, 1, 0], [0, 1001, 0]), ("linear", [third, third, third], [333, 334, 334]),
            ("time_decay", aged, [271, 330, 400]), ("position", [0.4, 0.2, 0.4], [400, 200, 401]),
            ("w_shaped", [3.0 / 7, 0, 4.0 / 7], [429, 0, 572]),
            ("w_shaped_30_30_30_10", [0.3, 0.1, 0.3], [429, 143, 429]),
            ("markov1", [0.5, 1, 1], [200, 400, 401]), ("markov2", [1, 1, 1], [333, 334, 334]),
            ("markov3", [1, 1, 1], [333, 334, 334]), ("shapley", [1, 1, 1], [333, 334, 334]),
        ]
        let models = found["models"]?.array ?? []
        #expect(models.compactMap { $0["model"]?.string } == wanted.map(\.model))
        for (model, expected) in zip(models, wanted) {
            let credits = model["credits"]?.array ?? []
            let raw = credits.compactMap { $0["raw"]?.double }
            #expect(zip(raw, expected.raw).allSatisfy { abs($0 - $1) < 1e-12 }, "\(expected.model): \(raw)")
            let sum = expected.raw.reduce(0, +)
            let weights = credits.compactMap { $0["weight"]?.double }
            #expect(zip(weights, expected.raw).allSatisfy { abs($0 - $1 / sum) < 1e-12 }, "\(expected.model)")
            #expect(credits.compactMap { $0["amount_minor"]?.integer } == expected.minor, "\(expected.model)")
            #expect(credits.compactMap { $0["credit_ppm"]?.integer }.reduce(0, +) == 1_000_000, "\(expected.model)")
        }
        let one = try await world.why("sale") { $0.model = .rule(.linear) }
        #expect(one["models"]?.array?.count == 1)
        let left = try? FileManager.default.contentsOfDirectory(atPath: world.open.folder.file("runs"))
        #expect(left == [])
        await world.log.close()
    }

    @Test func `the credits of every conversion add up to what the run stored`() async throws {
        let world = try World()
        var random = SeededRandom(seed: 5)
        let origins = [("a", "google", "cpc"), ("b", "list", "email"), ("c", "news", "display")]
        var events: [JSONValue] = []
        var sales: [String] = []
        for person in 0..<12 {
            for touch in 0..<Int(1 + random.next() % 7) {
                let origin = origins[Int(random.next() % 3)]
                events.append(
                    Self.event(
                        "t\(person)-\(touch)", random.next() % 4 == 0 ? "impression" : "click",
                        Int64(random.next() % 6) * Self.day + Int64(random.next() % 4) * 5000,
                        Self.from(origin.0, origin.1, origin.2), person: "p\(person)"))
            }
            sales.append("s\(person)")
            events.append(Self.sale("s\(person)", 6 * Self.day + Int64(person), person: "p\(person)"))
        }
        try await world.send(events)
        try await world.run()
        var sums: [String: [String: Int64]] = [:]
        for sale in sales {
            let found = try await world.why(sale)
            let journey = found["journey"]?.array ?? []
            for model in found["models"]?.array ?? [] {
                for credit in model["credits"]?.array ?? [] {
                    let place = credit["touchpoint"]?.integer.map { Int($0) }
                    let campaign = place.map { journey[$0]["campaign"]?.string ?? "" } ?? "(organic)"
                    sums[model["model"]?.string ?? "", default: [:]][campaign, default: 0] +=
                        credit["amount_minor"]?.integer ?? 0
                }
            }
        }
        for model in LogModel.stored {
            let report = try await world.attribution.report(
                org: "o", conversion: "purchase", model: model, by: .campaign)
            var stored: [String: Int64] = [:]
            for line in report["lines"]?.array ?? [] where line["amount_minor"]?.integer != 0 {
                stored[line["key"]?.string ?? ""] = line["amount_minor"]?.integer
            }
            #expect(sums[model.name]?.filter { $0.value != 0 } == stored, "\(model.name)")
        }
        await world.log.close()
    }

    @Test func `every touch says why it counts or does not`() async throws {
        let world = try World()
        try await world.send(Self.journey)
        // Sent again: the copy is no touch.
        try await world.send(Array(Self.journey.prefix(1)))
        try await world.run()
        let touches = try await world.why("sale")["touches"]?.array ?? []
        var reasons: [String: [String]] = [:]
        for touch in touches {
            reasons[touch["event"]?.string ?? "", default: []].append(touch["reason"]?.string ?? "yes")
        }
        #expect(reasons["mail"]?.sorted() == ["duplicate", "yes"])
        #expect(reasons["seen"] == ["outside_window"])
        #expect(reasons["search"] == ["yes"] && reasons["search-again"] == ["same_touchpoint"])
        #expect(reasons["refused"] == ["no_consent"] && reasons["robot"] == ["bot"])
        #expect(reasons["home"] == ["yes"] && reasons["home-2"] == ["same_session"])
        #expect(reasons["later"] == ["after_conversion"])
        #expect(reasons["sale"] == nil)
        let times = touches.compactMap { $0["at"]?.string.flatMap { Timestamp(rfc3339: $0) } }
        #expect(times == times.sorted())
        let again = touches.first { $0["event"] == "search-again" }
        #expect(again?["touchpoint"]?.integer == 1 && again?["eligible"]?.bool == false)
        await world.log.close()
    }

    @Test func `a run explains the log and the definition as it read them`() async throws {
        let world = try World()
        try await world.send(Self.journey)
        try await world.run()
        let before = try await world.why("sale")
        // An earlier touch that came later, a conversion after the run, and a shorter window.
        try await world.send([
            Self.event("late", "click", Self.day, Self.from("brand", "google", "cpc")),
            Self.sale("sale-2", 6 * Self.day),
        ])
        let body: JSONValue = [
            "where": "type = conversion and name = purchase", "click_hours": 30, "starts_at": "2020-01-01",
        ]
        _ = try await world.attribution.definitions.save(body, name: "purchase", org: "o", now: world.open.clock.now)
        #expect(try await world.why("sale") == before)
        await #expect(throws: LogAttributionError.notYetRun) { try await world.why("sale-2") }
        #expect(try await world.list().events == ["sale"])
        try await world.run()
        let after = try await world.why("sale")
        #expect(after["result"]?["version"]?.integer == 2)
        #expect((after["journey"]?.array ?? []).map { $0["channel"]?.string } == ["direct"])
        #expect(after["definition"]?["click_hours"]?.double == 30)
        #expect(try await world.why("sale") { $0.version = 1 }["models"] == before["models"])
        #expect(try await world.list().events == ["sale-2", "sale"])
        #expect(try await world.list { $0.version = 1 }.events == ["sale"])
        await #expect(throws: LogAttributionError.noResult("purchase")) {
            try await world.why("sale") { $0.version = 9 }
        }
        await world.log.close()
    }

    @Test func `merged persons have one journey, and a conversion without touches is organic`() async throws {
        let world = try World()
        try await world.send([
            Self.event("mail", "click", 0, Self.from("news", "list", "email")),
            Self.event("known", "identify", 1000, ["user_id": "u"]),
            Self.event(
                "sale", "conversion", Self.day, ["name": "purchase", "user_id": "u", "value": 5, "currency": "JPY"],
                person: "elsewhere"),
            Self.sale("alone", Self.day, person: "nobody"),
        ])
        try await world.run()
        let found = try await world.why("sale")
        #expect(found["journey"]?.array?.first?["campaign"] == "news")
        #expect(found["conversion"]?["amount_minor"]?.integer == 5)
        let alone = try await world.why("alone")
        #expect(alone["organic"]?.bool == true && alone["journey"]?.array?.isEmpty == true)
        #expect(alone["models"]?.array?.count == LogModel.stored.count)
        for model in alone["models"]?.array ?? [] {
            #expect(model["credits"]?.array?.first?["amount_minor"]?.integer == 1001)
        }
        await world.log.close()
    }

    @Test func `what a run credits to nobody is refused with its reason`() async throws {
        let world = try World()
        await #expect(throws: LogAttributionError.noResult("purchase")) { try await world.why("sale") }
        let body: JSONValue = [
            "where": "type = conversion and name = purchase", "repeat": "once_per_person", "starts_at": "2020-01-01",
        ]
        _ = try await world.attribution.definitions.save(body, name: "purchase", org: "o", now: world.open.clock.now)
        try await world.send(Self.journey + [Self.sale("second", 5 * Self.day), Self.sale("other", 0, person: "b")])
        try await world.send([Self.sale("theirs", 0, person: "a")], org: "p")
        try await world.run()
        try await world.run(org: "p")
        for (event, part) in [("second", "repeat rule"), ("mail", "counted as purchase"), ("robot", "bot")] {
            do {
                _ = try await world.why(event)
                Issue.record("\(event) is explained")
            } catch LogAttributionError.notCredited(let sentence) {
                #expect(sentence.contains(part), "\(sentence)")
            }
        }
        #expect(try await world.list().events == ["sale", "other"])
        await #expect(throws: LogAttributionError.unknownEvent) { try await world.why("theirs") }
        await #expect(throws: LogAttributionError.unknownEvent) { try await world.why("sale", org: "p") }
        await #expect(throws: LogAttributionError.unknownEvent) { try await world.why("sale") { $0.app = "another" } }
        #expect(try await world.why("theirs", org: "p")["organic"]?.bool == true)
        await world.log.close()
    }

    @Test func `an erased person's conversion is explained to nobody`() async throws {
        let world = try World()
        try await world.send(Self.journey + [Self.sale("other", 0, person: "b")])
        try await world.run()
        _ = try await world.log.upkeep.erase(org: "o", [PersonIdentifier(.anonymous, "a")], actor: "test")
        await #expect(throws: LogAttributionError.erasedEvent) { try await world.why("sale") }
        #expect(try await world.list().events == ["other"])
        await world.log.close()
    }

    @Test func `conversions come in pages, newest first`() async throws {
        let world = try World()
        try await world.send((0..<7).map { Self.sale("s\($0)", Int64($0 % 4) * Self.day, person: "p\($0)") })
        try await world.run()
        var (found, after): ([String], String?) = ([], nil)
        repeat {
            let page = try await world.list { filter in
                filter.limit = 3
                filter.after = after.flatMap { ConversionMark($0) }
            }
            #expect(page.events.count <= 3)
            found += page.events
            after = page.next
        } while after != nil && found.count < 20
        let whole = try await world.list().events
        #expect(found == whole && Set(found).count == 7)
        #expect(whole.first == "s3" && Set(whole.suffix(2)) == ["s0", "s4"])
        let ranged = try await world.list { filter in
            filter.from = Timestamp(milliseconds: Self.start + Self.day)
            filter.to = Timestamp(milliseconds: Self.start + 2 * Self.day)
        }
        #expect(Set(ranged.events) == ["s1", "s5"] && ranged.next == nil)
        await world.log.close()
    }

    @Test func `a question that reads for too long ends with a word`() async throws {
        var world = try World()
        try await world.send(Self.journey)
        try await world.run()
        world.attribution.limits.duration = .zero
        await #expect(throws: LogAttributionError.slow(0)) { try await world.why("sale") }
        world.attribution.limits = ExplanationLimits()
        world.attribution.limits.recordsMax = 3
        do {
            _ = try await world.why("sale")
            Issue.record("more was read than may be")
        } catch LogAttributionError.tooLarge {}
        await world.log.close()
    }
}
