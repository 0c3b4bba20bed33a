internal import AurumCore
internal import Events
import Testing

/// Recorded requests of RudderStack's own library, byte for byte.
struct RudderWireTests {
    private static let receivedAt = Timestamp(rfc3339: "2026-11-21T01:47:20.400Z") ?? testNow

    private func send(_ name: String, _ log: EventLog) async throws -> Receipt {
        let request = try RecordedRequest("rudder/\(name)")
        let body = try request.encoding.decode(request.body, limits: EventLimits())
        #expect(body.withUnsafeBytes { SegmentEnvelope.namesChannel($0) })
        let format = try #require(WireFormat(segmentPath: request.path.split(separator: "/").last ?? ""))
        return try await log.capture.submit(
            request.body, format: format.asRudder, encoding: request.encoding, source: testSource,
            receivedAt: Self.receivedAt)
    }

    private struct Row {
        var id: String
        var type: EventType
        var name: String
        var at: String
        var url: String?
        var value: String?
        var group: String?
        var previous: String?
        var traits: String?
        var props: String?
        var category: String?
    }

    private static let rows = [
        Row(
            id: "39cde20f-5d5f-4ae7-ad79-6341a7a53a74", type: .identify, name: "identify", at: "19.312886",
            traits: #"{"email":"x@example.com"}"#),
        Row(
            id: "3f486ed2-fa80-4692-a7ce-dbcf4d7416c3", type: .track, name: "Signed Up", at: "19.313430", value: "9.5",
            props: #"{"plan":"pro","revenue":9.5}"#),
        Row(
            id: "39169bd6-e283-4311-be0e-58679fa1f482", type: .page, name: "Home", at: "19.313683",
            url: "https://ex.com/", props: #"{"url":"https://ex.com/"}"#, category: "Docs"),
        Row(
            id: "853d223c-8d9d-4950-8fc9-874852edc344", type: .screen, name: "Main", at: "19.313894", props: "{}",
            category: "App"),
        Row(
            id: "da2dce84-06ce-47bd-b63d-7f687e87f15d", type: .group, name: "group", at: "19.314062", group: "acct-9",
            traits: #"{"name":"Acme"}"#),
        Row(
            id: "72ae66c8-509d-4c42-9280-bab9ea87aa16", type: .alias, name: "alias", at: "19.314208",
            previous: "anon-1"),
    ]

    @Test func `the recorded batch yields the expected table of events`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await send("01", log)
        #expect(receipt.received == 6 && receipt.stored == 6, "\(receipt.problems)")
        let events = try await log.all()
        #expect(events.count == Self.rows.count)
        for (event, row) in zip(events, Self.rows) {
            #expect(event.id == row.id)
            #expect(event.type == row.type)
            #expect(event.name == row.name)
            #expect(event.at == Timestamp(rfc3339: "2026-11-21T01:47:\(row.at)Z"))
            #expect(event.sentAt == Timestamp(rfc3339: "2026-11-21T01:47:19.812982Z"))
            #expect(event.userID == "user-1" && event.anonymousID == nil)
            #expect(event.url == row.url)
            #expect(event.value?.decimal == row.value)
            #expect(event.currency == (row.value == nil ? nil : "USD"))
            #expect(event.groupID == row.group && event.previousID == row.previous)
            #expect(try event.traits == row.traits.map(json))
            #expect(try event.props == row.props.map(json))
            #expect(event.extra["channel"] == "server")
            #expect(event.extra["integrations"] == ["All": true])
            #expect(event.extra["category"]?.string == row.category)
            #expect(event.format == "rudder")
        }
        #expect(events[3].screen == "Main")
        #expect(events[0].context?["library"]?["version"] == "2.1.9")
        await log.close()
    }

    @Test func `the plain request is taken, and a repeat is a duplicate`() async throws {
        let log = try openEvents(VolatileLogStorage())
        #expect(try await send("02", log).stored == 1)
        #expect(try await send("02", log).duplicate == 1)
        let event = try #require(try await log.all().first)
        #expect(event.name == "NoGz Event" && event.userID == "u2" && event.props == ["a": 1])
        await log.close()
    }

    @Test(arguments: [
        (#"{"channel":"web","event":"E"}"#, true), (#"{"batch":[{"channel":"web"}]}"#, true),
        (#" { "batch" : [ { "a" : {"channel":1} , "channel" : null } ] }"#, true),
        (#"{"batch":[{"a":{"channel":"web"}}]}"#, false), (#"{"context":{"channel":"web"}}"#, false),
        (#"{"batch":[]}"#, false), (#"{"batch":[{"channel""#, false), ("[]", false), ("", false), ("{", false),
    ])
    func `RudderStack's events are told by their channel`(body: String, isRudder: Bool) {
        #expect(Array(body.utf8).withUnsafeBytes { SegmentEnvelope.namesChannel($0) } == isRudder)
    }

    @Test func `events of a batch are counted`() {
        func count(_ body: String) -> Int { Array(body.utf8).withUnsafeBytes { SegmentEnvelope.eventCount(of: $0) } }
        #expect(count(#"{"batch":[{},{"a":[1,2]},3],"sentAt":"x"}"#) == 3)
        #expect(count(#"{"event":"E"}"#) == 1 && count("nonsense") == 1 && count(#"{"batch":[]}"#) == 1)
    }
}
