internal import AurumCore
internal import Events
internal import Foundation
internal import TestSupport
import Testing

/// PostHog's shape: recorded requests of its own library byte for byte, and the forms its browser library uses.
struct PostHogWireTests {
    private static let receivedAt = Timestamp(rfc3339: "2026-11-21T01:47:26.100Z") ?? testNow

    private func send(_ name: String, _ log: EventLog) async throws -> Receipt {
        let request = try RecordedRequest("posthog/\(name)")
        let body = try request.encoding.decode(request.body, limits: EventLimits())
        return try await log.sendPostHog(body, at: Self.receivedAt)
    }

    private struct Row {
        var id: String
        var type: EventType
        var name: String
        var at: String
        var anonymous: String?
        var user: String?
        var url: String?
        var extra: String = "{}"
        var traits: String?
        var group: String?
        var previous: String?
    }

    private static let rows = [
        Row(
            id: "470e3122-b85d-4c50-8494-2f948782e678", type: .track, name: "user signed up", at: "25.846597",
            anonymous: "user-1", url: "https://ex.com/?utm_source=google"),
        Row(
            id: "f4d36607-bdf4-45e2-8a2f-8f5f9673eecf", type: .page, name: "page", at: "25.852275",
            anonymous: "user-1", url: "https://ex.com/"),
        Row(
            id: "5cde50e3-9160-4fef-ada4-34669a9be223", type: .identify, name: "identify", at: "25.852479",
            anonymous: "user-1", extra: #"{"traits_set":{"email":"x@example.com"}}"#),
        Row(
            id: "71a9ead9-fab7-4592-b9f4-ea135497fc4c", type: .identify, name: "identify", at: "25.852561",
            anonymous: "user-1", extra: #"{"traits_once":{"initial_source":"google"}}"#),
        Row(
            id: "af1e5928-a502-404f-be0d-df9a9a690121", type: .alias, name: "alias", at: "25.852629", user: "user-1",
            previous: "anon-1"),
        Row(
            id: "d810efbd-8d92-4f75-aa2b-041f3b174712", type: .group, name: "group", at: "25.852694",
            anonymous: "04f1d4ec-6eeb-4330-8eb9-1fec6b198fc7", traits: #"{"name":"Acme"}"#, group: "acct-9"),
        Row(
            id: "04b79d55-3790-4a01-a0ee-3bdf55c722df", type: .track, name: "$exception", at: "25.853691",
            anonymous: "user-1"),
    ]

    @Test func `the recorded batch yields the expected table of events`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await send("01", log)
        #expect(receipt.received == 7 && receipt.stored == 7, "\(receipt.problems)")
        let sent = try json(String(decoding: try RecordedRequest("posthog/01").body, as: UTF8.self))
        let events = try await log.all()
        #expect(events.count == Self.rows.count)
        for (index, (event, row)) in zip(events, Self.rows).enumerated() {
            #expect(event.id == row.id)
            #expect(event.type == row.type)
            #expect(event.name == row.name)
            #expect(event.at == Timestamp(rfc3339: "2026-11-21T01:47:\(row.at)Z"))
            #expect(event.sentAt == Timestamp(rfc3339: "2026-11-21T01:47:25.854441Z") && event.atSent == nil)
            #expect(event.anonymousID == row.anonymous && event.userID == row.user)
            #expect(event.url == row.url)
            #expect(event.groupID == row.group && event.previousID == row.previous)
            #expect(try JSONValue.object(event.extra) == json(row.extra))
            #expect(try event.traits == row.traits.map(json))
            // Properties stay as they were sent, all of them.
            #expect(event.props == sent["batch"]?.array?[index]["properties"])
            #expect(event.format == "posthog" && event.value == nil && event.currency == nil)
            #expect(event.context?["library"] == "posthog-python")
            #expect(event.context?["library_version"] == "7.91.1")
        }
        #expect(events[0].campaign.source == "google" && events[0].context?["os"] == "Linux")
        await log.close()
    }

    @Test func `gzip, history and flags of the library are taken, and a repeat is a duplicate`() async throws {
        let log = try openEvents(VolatileLogStorage())
        #expect(try await send("02", log).stored == 1)
        #expect(try await send("03", log).stored == 1)
        #expect(try await send("05", log).stored == 1)
        #expect(try await send("05", log).duplicate == 1)
        let events = try await log.all()
        #expect(events.map(\.name) == ["gz event", "old event", "$feature_flag_called"])
        #expect(events.map(\.anonymousID) == ["u2", "u3", "user-1"])
        #expect(events.map(\.outcome) == [.stored, .stored, .stored])
        #expect(events[2].props?["$feature/x"] == .null)
        await log.close()
    }

    @Test func `what was marked as history may be years old and is never late`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let event =
            #"{"event":"E","distinct_id":"d","uuid":"ID","timestamp":"2023-01-02T03:04:05Z","properties":{}}"#
        func body(_ id: String, _ history: Bool) -> [UInt8] {
            let text = event.replacingOccurrences(of: "ID", with: id)
            return Array("{\"batch\":[\(text)],\"historical_migration\":\(history),\"api_key\":\"k\"}".utf8)
        }
        let now = try await log.sendPostHog(body("a", false))
        #expect(now.quarantined == 1 && now.problems.first?.reason == "ts_too_old")
        #expect(try await log.sendPostHog(body("b", true)).stored == 1)
        await log.close()
    }

    @Test func `a wrong clock is set right by the time of sending`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let batch =
            #"{"batch":[{"event":"E","distinct_id":"d","uuid":"1","timestamp":"2026-11-21T08:59:50Z"}],"#
            + #""sent_at":"2026-11-21T09:00:00+00:00"}"#
        #expect(try await log.sendPostHog(Array(batch.utf8)).stored == 1)
        let event = try #require(try await log.all().first)
        #expect(event.at == testNow - .seconds(10))
        #expect(event.atSent == Timestamp(rfc3339: "2026-11-21T08:59:50Z"))
        await log.close()
    }

    @Test func `an offset counts back from the receipt`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let body = #"[{"event":"O","distinct_id":"d","uuid":"2","offset":90000}]"#
        #expect(try await log.sendPostHog(Array(body.utf8)).stored == 1)
        #expect(try await log.all().first?.at == testNow - .seconds(90))
        await log.close()
    }

    @Test func `a request that is sent again is a duplicate, also where an offset is all that events say of time`()
        async throws
    {
        let body = Array(
            #"[{"event":"O","distinct_id":"d","offset":90000},{"event":"O","distinct_id":"d","offset":90000}]"#.utf8)
        func identifiers(at moment: Timestamp) throws -> [String?] {
            let translated = try body.withUnsafeBytes {
                try PostHogBody.translate($0, limits: EventLimits(), receivedAt: moment)
            }
            return try translated.lines.split(separator: 0x0a).map {
                try JSONDecoder().decode(JSONValue.self, from: Data($0))["id"]?.string
            }
        }
        let first = try identifiers(at: testNow)
        #expect(Set(first).count == 2 && !first.contains(nil))
        #expect(try identifiers(at: testNow + .seconds(3)) == first)
        let log = try openEvents(VolatileLogStorage())
        #expect(try await log.sendPostHog(body).stored == 2)
        #expect(try await log.sendPostHog(body).duplicate == 2)
        await log.close()
    }

    /// What posthog-js sends: the key and the person among the properties, `$set` there as well.
    @Test func `the browser library's single events are taken, and its key stays out of the log`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let key = "wk_" + String(repeating: "a", count: 8) + "_" + String(repeating: "b", count: 43)
        let events = """
            [{"uuid":"1","event":"$identify","timestamp":"2026-11-21 11:59:58.5",
              "$set":{"plan":"pro"},"$set_once":{"first":"x"},
              "properties":{"token":"\(key)","distinct_id":"user-9","$anon_distinct_id":"anon-9","$lib":"web"}},
             {"uuid":"2","event":"$pageview","timestamp":"2026-11-21T12:59:59.5+0100","properties":{
              "token":"\(key)","distinct_id":"user-9","$current_url":"https://a.example/p?gclid=g","title":"P",
              "$referrer":"$direct","$screen_width":1440,"$screen_height":900,"$browser_language":"de-DE",
              "$session_id":"s-1","$raw_user_agent":"Mozilla/5.0","$ip":null,"utm_campaign":"c"}},
             {"uuid":"3","event":"$screen","properties":{"distinct_id":7,"$screen_name":"Start"}},
             {"uuid":"4","event":"E","type":"capture","library":"x","distinct_id":"d","properties":{"token":"mine"}}]
            """
        let body = Array(events.utf8)
        let found = try body.withUnsafeBytes {
            try PostHogBody.translate($0, limits: EventLimits(), receivedAt: testNow)
        }
        #expect(found.key == key && found.events == 4)
        #expect(!String(decoding: found.lines, as: UTF8.self).contains("bbbb"))
        let receipt = try await log.sendPostHog(body)
        #expect(receipt.stored == 4, "\(receipt.problems)")
        let stored = try await log.all()
        #expect(stored[0].userID == "user-9" && stored[0].anonymousID == "anon-9")
        #expect(stored[0].traits == ["plan": "pro"])
        #expect(stored[0].extra == ["traits_set": ["plan": "pro"], "traits_once": ["first": "x"]])
        #expect(stored[0].at == Timestamp(rfc3339: "2026-11-21T11:59:58.5Z"))
        let page = stored[1]
        #expect(page.at == Timestamp(rfc3339: "2026-11-21T11:59:59.5Z"))
        #expect(page.clickID == "g" && page.title == "P" && page.referrer == nil && page.sessionID == "s-1")
        #expect(page.campaign.name == "c")
        #expect(page.context?["screen_width"] == 1440 && page.context?["locale"] == "de-DE")
        #expect(page.context?["user_agent"] == "Mozilla/5.0" && page.context?["ip"] == nil)
        #expect(page.props?["$ip"] == .null && page.props?["token"] == nil)
        #expect(stored[2].screen == "Start" && stored[2].anonymousID == "7")
        #expect(stored[3].extra == ["posthog_type": "capture", "library": "x"])
        #expect(stored[3].props == ["token": "mine"])
        await log.close()
    }

    @Test func `forms with base64 are taken, packed or not`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let event = #"{"event":"E~?>","distinct_id":"d","uuid":"U","token":"k"}"#
        func form(_ id: String, _ allowed: CharacterSet) -> [UInt8] {
            let data = Data(event.replacingOccurrences(of: "U", with: id).utf8).base64EncodedString()
            let escaped = data.addingPercentEncoding(withAllowedCharacters: allowed) ?? data
            return Array("compression=base64&data=\(escaped)&ip=1".utf8)
        }
        #expect(try await log.sendPostHog(form("1", .alphanumerics)).stored == 1)
        #expect(
            try await log.sendPostHog(form("2", CharacterSet(charactersIn: Unicode.Scalar(0)...Unicode.Scalar(127))))
                .stored == 1)
        let plain = "data=" + (event.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")
        #expect(try await log.sendPostHog(Array(plain.utf8)).stored == 1)
        await #expect(throws: CaptureError.malformedBody(offset: 0)) {
            try await log.sendPostHog(Array("data=%%%".utf8))
        }
        await log.close()
    }

    @Test func `an event that cannot be translated is quarantined with its bytes, its neighbours are stored`()
        async throws
    {
        let log = try openEvents(VolatileLogStorage())
        let long = String(repeating: "x", count: 33 << 10)
        let good = #"{"event":"E","distinct_id":"d","uuid":"ID"}"#
        let batch = """
            {"batch":[\(good.replacingOccurrences(of: "ID", with: "g1")), 7, [1,
            2], {"distinct_id":"d","uuid":"q1"}, {"event":5,"distinct_id":"d","uuid":"q2"},
            {"event":"E","uuid":"q3"}, {"event":"E","distinct_id":"d","uuid":"q4","timestamp":"soon"},
            {"event":"E","event":"F","distinct_id":"d","uuid":"q5"},
            {"event":"E","distinct_id":"d","uuid":"q6","properties":{"a":"\(long)"}},
            {"event":"E","distinct_id":"d","uuid":"q7","properties":{"a":"\\ud800"}},
            \(good.replacingOccurrences(of: "ID", with: "g2"))]}
            """
        let receipt = try await log.sendPostHog(Array(batch.utf8))
        #expect(receipt.received == 11 && receipt.stored == 2 && receipt.quarantined == 9)
        #expect(receipt.problems.map(\.index) == [1, 2, 3, 4, 5, 6, 7, 8, 9])
        #expect(
            receipt.problems.map(\.reason) == [
                "not_json", "not_json", "missing_field", "bad_type", "missing_identifier", "bad_ts", "duplicate_key",
                "event_too_large", "bad_unicode",
            ])
        #expect(receipt.problems.map(\.id).suffix(7).prefix(5) == ["q1", "q2", "q3", "q4", "q5"])
        #expect(try await log.all().map(\.id) == ["g1", "g2"])
        await log.close()
    }

    @Test(arguments: [
        ("{\"batch\":[{}", 12), ("{\"batch\":5}", 9), ("", 0), ("7", 0), ("{\"event\":\"E\"", 12), ("[{},]", 4),
        ("[] x", 3), ("{\"batch\":[],}", 12), ("{\"batch\":[{\"a\":tru}]}", 18),
    ])
    func `a document that is not JSON refuses the body with the byte`(body: String, offset: Int) async throws {
        let log = try openEvents(VolatileLogStorage())
        await #expect(throws: CaptureError.malformedBody(offset: offset)) {
            try await log.sendPostHog(Array(body.utf8))
        }
        #expect(log.store.totals(org: "acme").events == 0)
        await log.close()
    }

    @Test func `too many events and a bomb refuse the body`() async throws {
        var limits = EventLimits()
        limits.batchEventsMax = 2
        #expect(throws: CaptureError.tooManyEvents) {
            _ = try Array("[{},{},{}]".utf8).withUnsafeBytes {
                try PostHogBody.translate($0, limits: limits, receivedAt: testNow)
            }
        }
        let bomb = gzip([UInt8](repeating: 0x20, count: 2 << 20))
        for body in [bomb, Array("data=\(Data(bomb).base64EncodedString())".utf8)] {
            #expect(throws: CaptureError.inflateRatio) {
                try body.withUnsafeBytes { try PostHogBody.text($0, limits: EventLimits(), bodyBytesMax: 6 << 20) }
            }
        }
    }

    @Test func `no id means an id from the bytes, so that a retry is a duplicate`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let event = #"[{"event":"E","distinct_id":"d","timestamp":"2026-11-21T11:00:00Z","properties":{"b":1,"a":2}}]"#
        let shuffled =
            #"[{"distinct_id":"d","properties":{"a":2,"b":1},"timestamp":"2026-11-21T11:00:00Z","event":"E"}]"#
        #expect(try await log.sendPostHog(Array(event.utf8)).stored == 1)
        #expect(try await log.sendPostHog(Array(shuffled.utf8)).duplicate == 1)
        let bare = Array(#"[{"event":"E","distinct_id":"d"}]"#.utf8)
        #expect(try await log.sendPostHog(bare).stored == 1)
        #expect(try await log.sendPostHog(bare).stored == 1)
        await log.close()
    }

    @Test func `a core translates and parses 50,000 events a second`() throws {
        let recorded = try RecordedRequest("posthog/01").body
        let text = String(decoding: recorded, as: UTF8.self)
        let first = try #require(text.range(of: "{\"properties\""))
        let end = try #require(text.range(of: "}, {\"properties\""))
        let event = String(text[first.lowerBound...end.lowerBound])
        let body = Array("{\"batch\":[\(Array(repeating: event, count: 2000).joined(separator: ","))]}".utf8)
        let checker = ContractChecker()
        let moment = Self.receivedAt
        var best = Double.infinity
        for _ in 0..<5 {
            let before = threadSeconds()
            let translated = try body.withUnsafeBytes {
                try PostHogBody.translate($0, limits: EventLimits(), receivedAt: moment)
            }
            let rows = translated.lines.withUnsafeBytes { checker.append($0, format: .postHog, receivedAt: moment) }
            best = min(best, threadSeconds() - before)
            #expect(rows >= 2000)
            _ = checker.seal()
        }
        let rate = 2000 / best
        print("posthog: \(Int(rate)) events/s a core, \(event.utf8.count) bytes an event")
        #expect(rate > 50_000)
    }
}
