internal import AurumCore
internal import Events
import Testing

/// Recorded requests of Segment's own library, byte for byte.
struct SegmentWireTests {
    private static let receivedAt = Timestamp(rfc3339: "2026-11-21T01:47:14.300Z") ?? testNow

    private func send(_ name: String, _ log: EventLog) async throws -> Receipt {
        let request = try RecordedRequest("segment/\(name)")
        let format = try #require(WireFormat(segmentPath: request.path.split(separator: "/").last ?? ""))
        return try await log.capture.submit(
            request.body, format: format, encoding: request.encoding, source: testSource, receivedAt: Self.receivedAt)
    }

    @Test func `the recorded batch yields the expected table of events`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await send("01", log)
        #expect(receipt.received == 7)
        #expect(receipt.stored == 6)
        #expect(receipt.late == 1)
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        let events = try await log.store.events(filter)
        #expect(events.map(\.type) == [.identify, .track, .page, .screen, .group, .alias, .track])
        #expect(events.map(\.name) == ["identify", "Signed Up", "Home", "Main", "group", "alias", "Viewed"])
        #expect(events.map(\.userID) == Array(repeating: "user-1", count: 6) + [nil])
        #expect(events[0].traits?["plan"]?.string == "pro")
        #expect(events[1].value == Millionths(decimal: "9.5"))
        #expect(events[1].currency == "USD")
        #expect(events[1].campaign.name == "c1")
        #expect(events[1].channel == .paidSearch)
        #expect(events[1].context?["ip"]?.string == "1.2.3.4")
        #expect(events[2].url == "https://ex.com/?gclid=abc")
        #expect(events[2].clickID == "abc")
        #expect(events[2].channel == .paidSearch)
        #expect(events[2].extra["category"]?.string == "Docs")
        #expect(events[3].screen == "Main")
        #expect(events[4].groupID == "acct-9")
        #expect(events[5].previousID == "anon-1")
        #expect(events[6].anonymousID == "anon-2")
        #expect(events[6].outcome == .late)
        #expect(events[6].id == "4ccde777-d2d5-417f-a0c2-01349700d9f2")
        await log.close()
    }

    @Test func `gzip and the synchronous mode are taken, and a repeat is a duplicate`() async throws {
        let log = try openEvents(VolatileLogStorage())
        #expect(try await send("02", log).quarantined == 0)
        #expect(try await send("03", log).stored == 1)
        let again = try await send("03", log)
        #expect(again.duplicate == 1)
        #expect(again.problems.first?.id == "e8f9e311-c4a5-4916-b0ce-1f7288e3dd45")
        await log.close()
    }

    @Test func `the write key is found in plain and packed bodies`() throws {
        for (name, key) in [("01", "WK_TEST"), ("02", "WK_GZ"), ("03", "WK_SYNC")] {
            let request = try RecordedRequest("segment/\(name)")
            let body = try request.encoding.decode(request.body, limits: EventLimits())
            let found = body.withUnsafeBytes { SegmentEnvelope.writeKey(of: $0) }
            #expect(found == key)
        }
        #expect(Array("{\"a\":{\"writeKey\":\"x\"}}".utf8).withUnsafeBytes { SegmentEnvelope.writeKey(of: $0) } == nil)
    }

    @Test func `single calls take their type from the route`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let calls: [(WireFormat, String)] = [
            (
                .segmentTrack,
                "\"event\":\"E\",\"properties\":{\"total\":\"3.10\",\"currency\":\"EUR\",\"order_id\":\"o1\"}"
            ),
            (.segmentIdentify, "\"traits\":{\"a\":1}"), (.segmentPage, "\"name\":\"P\""),
            (.segmentScreen, "\"name\":\"S\""), (.segmentGroup, "\"groupId\":\"g\""),
            (.segmentAlias, "\"previousId\":\"p\""),
        ]
        for (format, members) in calls {
            let receipt = try await log.send(
                "{\"userId\":\"u\",\"messageId\":\"\(format)\",\(members)}", format: format)
            #expect(receipt.stored == 1, "\(format): \(receipt.problems)")
        }
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        let events = try await log.store.events(filter)
        #expect(events.map(\.type) == [.track, .identify, .page, .screen, .group, .alias])
        #expect(events[0].value?.decimal == "3.1")
        #expect(events[0].currency == "EUR")
        #expect(events[0].orderID == "o1")
        await log.close()
    }

    @Test func `events without an id get one from their bytes, so that a retry is a duplicate`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let batch =
            "{\"batch\":[{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u\",\"timestamp\":\"2026-11-21T11:00:00Z\"}]}"
        #expect(try await log.send(batch, format: .segmentBatch).stored == 1)
        // The same event with its members in another order.
        let shuffled =
            "{\"batch\":[{\"timestamp\":\"2026-11-21T11:00:00Z\",\"userId\":\"u\",\"event\":\"E\",\"type\":\"track\"}]}"
        #expect(try await log.send(shuffled, format: .segmentBatch).duplicate == 1)
        // Without a time as well, it is never a duplicate.
        let bare = "{\"batch\":[{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u\"}]}"
        #expect(try await log.send(bare, format: .segmentBatch).stored == 1)
        #expect(try await log.send(bare, format: .segmentBatch).stored == 1)
        let ids = try await log.store.events(EventFilter(org: "acme")).map(\.id)
        #expect(Set(ids).count == 3 && ids.allSatisfy { $0.utf8.count == 32 })
        for id in ids {
            #expect(try await log.store.outcome(eventID: id, org: "acme", app: "shop")?.outcome == .stored)
        }
        await log.close()
    }

    @Test(arguments: [
        ("[", WireFormat.json, 1), ("[{\"id\":1},]", .json, 10), ("{\"id\":", .json, 6), ("[1] x", .json, 4),
        ("", .json, 0),
        ("{\"batch\":[{]}", .segmentBatch, 11), ("", .segmentBatch, 0), ("{\"userId\":\"u\"", .segmentTrack, 13),
    ])
    func `a document that is not JSON refuses the body with the byte`(
        body: String, format: WireFormat, offset: Int
    ) async throws {
        let log = try openEvents(VolatileLogStorage())
        await #expect(throws: CaptureError.malformedBody(offset: offset)) { try await log.send(body, format: format) }
        #expect(log.store.totals(org: "acme").events == 0)
        #expect(try await log.send(trackLine()).stored == 1)
        await log.close()
    }

    @Test(arguments: [
        ("{\"batch\":5}", WireFormat.segmentBatch, 9, "array named batch"),
        ("[]", .segmentBatch, 0, "array named batch"),
        (" {}", .segmentBatch, 1, "array named batch"), ("{\"batch\":null}", .rudderBatch, 9, "array named batch"),
        ("[{}]", .segmentTrack, 0, "one event"),
    ])
    func `JSON of another shape is refused with what the route takes`(
        body: String, format: WireFormat, offset: Int, wanted: String
    ) async throws {
        let log = try openEvents(VolatileLogStorage())
        do throws(CaptureError) {
            _ = try await log.send(body, format: format)
            Issue.record("\(body) was taken")
        } catch {
            guard case .unexpectedShape(offset, _) = error else { throw error }
            #expect(error.tag == "malformed_body" && error.status == 400 && error.sentence.contains(wanted))
        }
        #expect(log.store.totals(org: "acme").events == 0)
        await log.close()
    }

    @Test func `one bad event of an array does not refuse its neighbours`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let body = "[\(trackLine()), 7, {\"id\":\"b\",\"type\":\"nope\"}\n,\(trackLine(["id": "\"c\""]))]"
        let receipt = try await log.send(body, format: .json)
        #expect(receipt.stored == 2 && receipt.quarantined == 2)
        #expect(receipt.problems.map(\.index) == [1, 2])
        #expect(receipt.problems.map(\.reason) == ["not_json", "unknown_type"])
        #expect(receipt.problems[1].id == "b")
        await log.close()
    }
}
