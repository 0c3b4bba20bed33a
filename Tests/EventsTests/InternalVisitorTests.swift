internal import AurumCore
internal import Database
internal import Events
internal import TestSupport
import Testing

/// Visitors in events that Aurum writes itself.
struct InternalVisitorTests {
    private static func event(_ number: UInt64, _ visitor: JSONValue?) -> InternalEvent {
        var facts: [String: JSONValue] = ["type": "rooftop"]
        facts["anonymous_id"] = visitor
        return InternalEvent(
            OutboxEvent(
                id: UID(high: 9, low: number), org: "acme", key: "lead", name: "lead.created", traceID: nil,
                at: testNow - .seconds(3600), props: .object(facts)))
    }

    /// Whom the log names in these events, in their order.
    private static func named(_ visitors: [JSONValue?], _ desk: PolicyDesk) async throws -> [String?] {
        try await desk.log.capture.appendInternal(visitors.enumerated().map { event(UInt64($0 + 1), $1) })
        let stored = try await desk.events().filter { $0.type == .internal }
        #expect(stored.count == visitors.count)
        #expect(stored.allSatisfy { $0.props?["type"] == "rooftop" })
        return stored.map(\.anonymousID)
    }

    @Test func `a visitor is named as in the visitor's own events, and is the same person`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.log.send(#"{"id":"p","type":"page","anonymous_id":"v1","url":"https://shop.example/"}"#)
        _ = try await desk.log.send(
            #"{"id":"q","type":"page","anonymous_id":"ann@needle.example","url":"https://shop.example/"}"#)
        let long = String(repeating: "v", count: 201)
        let named = try await Self.named(["v1", "ann@needle.example", .string(long), "", 7, nil], desk)
        #expect(named[0] == "v1" && named[1]?.hasPrefix("h:") == true)
        #expect(named[2...].allSatisfy { $0 == nil })
        #expect(try await desk.found(["needle"]) == [])
        for visitor in ["v1", "ann@needle.example"] {
            var filter = EventFilter(org: "acme")
            filter.identifiers = [desk.policies.storedForm(PersonIdentifier(.anonymous, visitor), org: "acme")]
            #expect(try await desk.store.events(filter).map(\.name).contains("lead.created"), "\(visitor)")
            #expect(try await desk.store.events(filter).count == 2, "\(visitor)")
        }
        await desk.log.close()
    }

    @Test func `who denied analytics is not named`() async throws {
        let desk = try await PolicyDesk.open()
        let line = trackLine([
            "type": "\"consent\"", "user_id": nil, "name": nil, "anonymous_id": "\"needle\"",
            "consent": "{\"analytics\":\"denied\"}",
        ])
        #expect(try await desk.log.send(line).stored == 1)
        #expect(try await Self.named(["needle", "v1"], desk) == [nil, "v1"])
        #expect(try await desk.found(["needle"]) == [])
        await desk.log.close()
    }

    @Test func `nobody is named where an app takes analytics for denied`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.put(
            org: "acme", app: "shop", ["default_consent": ["analytics": "denied"]])
        #expect(try await Self.named(["needle"], desk) == [nil])
        #expect(try await desk.found(["needle"]) == [])
        await desk.log.close()
    }

    @Test func `events of our own are in no session`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let service = BehaviourService(engine: openEngine(log), clock: ManualWallClock(testNow))
        _ = try await log.send(
            #"{"id":"p","type":"page","anonymous_id":"v1","ts":"2026-11-21T10:59:00Z","url":"https://shop.example/"}"#)
        try await log.capture.appendInternal([Self.event(1, "v1")])
        let answer = try await service.answer(.sessions, ["last": "7d"], org: "acme")
        #expect(answer["total"]?["sessions"] == 1 && answer["total"]?["events"] == 1, "\(answer.canonical)")
        await log.close()
    }
}
