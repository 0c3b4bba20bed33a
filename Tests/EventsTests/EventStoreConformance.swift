internal import AurumCore
internal import Events
import Testing

/// What every home of events must answer. Run it with a store that holds exactly what `fill` sent.
struct EventStoreConformance {
    let store: any EventStore
    let receipts: [Receipt]

    static let lines: [String] = [
        "{\"id\":\"c1\",\"type\":\"click\",\"click_id\":\"k1\",\"anonymous_id\":\"a1\",\"ts\":\"2026-11-21T11:00:00Z\","
            + "\"campaign\":{\"network\":\"google\",\"name\":\"spring\"},\"value\":\"0.35\",\"currency\":\"USD\"}",
        "{\"id\":\"p1\",\"type\":\"page\",\"anonymous_id\":\"a1\",\"ts\":\"2026-11-21T11:00:05Z\","
            + "\"url\":\"https://www.solar.example/?utm_source=facebook&utm_medium=paid_social&utm_campaign=nyc%20roof&fbclid=f1\"}",
        "{\"id\":\"p2\",\"type\":\"page\",\"anonymous_id\":\"a1\",\"ts\":\"2026-11-21T11:01:00Z\","
            + "\"url\":\"https://solar.example/faq\",\"referrer\":\"https://www.solar.example/\"}",
        "{\"id\":\"p3\",\"type\":\"page\",\"anonymous_id\":\"a1\",\"user_id\":\"u1\",\"ts\":\"2026-11-21T11:30:00Z\","
            + "\"url\":\"https://solar.example/\",\"referrer\":\"https://duckduckgo.com/\",\"context\":{\"user_agent\":\"Mozilla/5.0\"}}",
        "{\"id\":\"t1\",\"type\":\"track\",\"name\":\"quote\",\"user_id\":\"u1\",\"ts\":\"2026-11-21T11:31:00Z\","
            + "\"trace_id\":\"0000000000000000000000000000abcd\",\"props\":{\"roof\":\"flat\"},\"mine\":[1,2]}",
        "{\"id\":\"b1\",\"type\":\"page\",\"anonymous_id\":\"a9\",\"url\":\"https://solar.example/?gclid=x\","
            + "\"context\":{\"user_agent\":\"Googlebot/2.1\"}}",
        "{\"id\":\"l1\",\"type\":\"track\",\"name\":\"old\",\"user_id\":\"u2\",\"ts\":\"2026-11-01T00:00:00Z\"}",
        "{\"id\":\"q1\",\"type\":\"track\",\"user_id\":\"u1\"}",
        "{\"id\":\"t1\",\"type\":\"track\",\"name\":\"quote\",\"user_id\":\"u1\"}",
    ]

    static func fill(_ log: EventLog) async throws -> [Receipt] {
        let first = try await log.send(lines.joined(separator: "\n"))
        let other = try await log.send(
            "{\"id\":\"t1\",\"type\":\"track\",\"name\":\"quote\",\"user_id\":\"u1\"}",
            source: CaptureSource(org: "rival", app: "shop"))
        let again = try await log.send("{\"id\":\"c1\",\"type\":\"click\",\"click_id\":\"k1\"}")
        return [first, other, again]
    }

    func run() async throws {
        try await receiptsAndOutcomes()
        try await filters()
        try await fields()
        try await journeys()
    }

    private func receiptsAndOutcomes() async throws {
        #expect(receipts[0].received == 9 && receipts[0].stored == 5 && receipts[0].bot == 1)
        #expect(receipts[0].late == 1 && receipts[0].quarantined == 1 && receipts[0].duplicate == 1)
        #expect(receipts[1].stored == 1 && receipts[2].duplicate == 1)
        let stored = try #require(try await store.receipt(receipts[0].id, org: "acme"))
        #expect(stored.problems == receipts[0].problems)
        #expect(stored.problems.map(\.outcome) == [.bot, .late, .quarantined, .duplicate])
        #expect(stored.problems.map(\.id) == ["b1", "l1", "q1", "t1"])
        #expect(try await store.receipt(receipts[0].id, org: "rival") == nil)
        for index in 4..<receipts[0].id.count {
            var characters = Array(receipts[0].id)
            characters[index] = characters[index] == "0" ? "1" : "0"
            #expect(try await store.receipt(String(characters), org: "acme") == nil, "character \(index)")
        }
        #expect(try await store.receipt(receipts[0].id.uppercased(), org: "acme") == nil)
        let click = try #require(try await store.outcome(eventID: "c1", org: "acme", app: "shop"))
        #expect(click.outcome == .stored && click.receipt == receipts[0].id)
        #expect(click.duplicates.map(\.receipt) == [receipts[2].id])
        let refused = try await store.outcome(eventID: "q1", org: "acme", app: "shop")
        #expect(refused?.reason == "missing_field" && refused?.field == "name")
        #expect(try await store.outcome(eventID: "c1", org: "rival", app: "shop") == nil)
        #expect(try await store.outcome(eventID: "never", org: "acme", app: "shop") == nil)
        let totals = store.totals(org: "acme")
        #expect(totals.events == 10 && totals.stored == 5 && totals.duplicate == 2)
        #expect(totals.series.count == 60)
    }

    private func ids(_ change: (inout EventFilter) -> Void) async throws -> [String] {
        var filter = EventFilter(org: "acme")
        change(&filter)
        return try await store.events(filter).map(\.id)
    }

    private func filters() async throws {
        #expect(try await ids { _ in } == ["l1", "t1", "p3", "p2", "p1", "c1"])
        #expect(try await ids { $0.newestFirst = false } == ["c1", "p1", "p2", "p3", "t1", "l1"])
        #expect(try await ids { $0.limit = 2 } == ["l1", "t1"])
        #expect(try await ids { $0.limit = 0 } == [])
        #expect(try await ids { $0.types = [.page] } == ["p3", "p2", "p1"])
        #expect(try await ids { $0.names = ["quote", "old"] } == ["l1", "t1"])
        #expect(try await ids { $0.names = ["page"] } == ["p3", "p2", "p1"])
        #expect(try await ids { $0.traceID = UID(high: 0, low: 0xabcd) } == ["t1"])
        #expect(try await ids { $0.identifiers = [PersonIdentifier(.user, "u1")] } == ["t1", "p3"])
        #expect(try await ids { $0.identifiers = [PersonIdentifier(.anonymous, "u1")] } == [])
        #expect(try await ids { $0.outcomes = [.bot] } == ["b1"])
        #expect(try await ids { $0.app = "elsewhere" } == [])
        #expect(
            try await ids {
                $0.from = Timestamp(rfc3339: "2026-11-21T11:00:05Z")
                $0.to = Timestamp(rfc3339: "2026-11-21T11:01:00Z")
            } == ["p2", "p1"])
    }

    private func fields() async throws {
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        let events = try await store.events(filter)
        #expect(events[0].value?.decimal == "0.35" && events[0].currency == "USD" && events[0].channel == .paidSearch)
        #expect(events[1].campaign.name == "nyc roof" && events[1].campaign.source == "facebook")
        #expect(events[1].clickID == "f1" && events[1].channel == .paidSocial && events[1].campaign.network == "meta")
        #expect(events[3].channel == .organicSearch && events[2].channel == .direct)
        #expect(events[4].props?["roof"]?.string == "flat" && events[4].extra["mine"] == [1, 2])
        #expect(events[4].hasOwnTraceID && !events[0].hasOwnTraceID)
        #expect(events[0].traceID == events[1].traceID && events[0].traceID == events[2].traceID)
        #expect(events[0].raw == Self.lines[0])
        #expect(events.allSatisfy { $0.receipt == receipts[0].id })
    }

    private func journeys() async throws {
        func journey(_ identifiers: [PersonIdentifier], until: String = "2026-11-21T12:00:00Z", hours: Int = 24)
            async throws
            -> [String]
        {
            let until = try #require(Timestamp(rfc3339: until))
            return try await store.journey(
                JourneyQuery(
                    org: "acme", traceID: nil, identifiers: identifiers, until: until, lookback: .seconds(hours * 3600))
            ).map(\.eventID)
        }
        #expect(try await journey([PersonIdentifier(.anonymous, "a1")]) == ["c1", "p1", "p3"])
        #expect(try await journey([PersonIdentifier(.user, "u1")]) == ["p3"])
        #expect(try await journey([PersonIdentifier(.anonymous, "a9")]) == [])
        #expect(try await journey([PersonIdentifier(.anonymous, "a1")], until: "2026-11-21T11:00:05Z") == ["c1", "p1"])
        #expect(
            try await journey([PersonIdentifier(.anonymous, "a1")], until: "2026-11-21T13:00:05Z", hours: 2)
                == ["p1", "p3"])
        let touches = try await store.journey(
            JourneyQuery(
                org: "acme", traceID: nil, identifiers: [PersonIdentifier(.anonymous, "a1")], until: testNow,
                lookback: .seconds(86_400), limit: 2))
        #expect(touches.map(\.eventID) == ["p1", "p3"])
        #expect(touches[0].campaign == "nyc roof" && touches[0].kind == .visit)
        let rival = try await store.journey(
            JourneyQuery(org: "rival", traceID: touches[0].traceID, until: testNow, lookback: .seconds(86_400)))
        #expect(rival.isEmpty)
    }
}

struct BlockEventStoreTests {
    @Test func `the log's own store answers as every store must`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage)
        let receipts = try await EventStoreConformance.fill(log)
        try await EventStoreConformance(store: log.store, receipts: receipts).run()
        await log.close()
        let again = try openEvents(storage)
        try await EventStoreConformance(store: again.store, receipts: receipts).run()
        await again.close()
    }

    @Test func `the derived trace id is the one that events get`() async throws {
        let log = try openEvents(VolatileLogStorage())
        _ = try await log.send(trackLine(["anonymous_id": "\"a\""]))
        let event = try #require(try await log.store.events(EventFilter(org: "acme")).first)
        let derived = log.store.derivedTraceID(org: "acme", app: "shop", identifier: PersonIdentifier(.user, "u1"))
        #expect(event.traceID == derived)
        #expect(derived != log.store.derivedTraceID(org: "acme", app: "web", identifier: PersonIdentifier(.user, "u1")))
        var filter = EventFilter(org: "acme")
        filter.traceID = derived
        #expect(try await log.store.events(filter).count == 1)
        await log.close()
    }

    @Test func `0.1 and 0.2 sum to exactly 0.300000`() async throws {
        let log = try openEvents(VolatileLogStorage())
        for (id, value) in [("a", "0.1"), ("b", "\"0.2\"")] {
            _ = try await log.send(trackLine(["id": "\"\(id)\"", "value": value, "currency": "\"USD\""]))
        }
        let sum = try await log.store.events(EventFilter(org: "acme")).reduce(0) { $0 + ($1.value?.value ?? 0) }
        #expect(sum == 300_000)
        await log.close()
    }

    @Test func `listeners hear of each commit after it is durable`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let (notices, heard) = AsyncStream<CommitNotice>.makeStream()
        let subscription = log.store.onCommit { heard.yield($0) }
        _ = try await log.send(trackLine())
        var iterator = notices.makeAsyncIterator()
        let notice = try #require(await iterator.next())
        #expect(notice.rows == 1 && notice.organisations == ["acme"])
        subscription.cancel()
        await log.close()
    }
}
