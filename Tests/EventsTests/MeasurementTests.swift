internal import AurumCore
internal import Events
import Testing

/// GA4's Measurement Protocol. Bodies follow the examples of Google's reference.
struct MeasurementTests {
    private static let purchase = """
        {"client_id":"123.456","user_id":"u-1","timestamp_micros":"1795258800500000",
         "user_properties":{"plan":{"value":"pro"},"age":{"value":41,"set_timestamp_micros":1}},
         "consent":{"ad_user_data":"DENIED","ad_personalization":"GRANTED"},"non_personalized_ads":false,
         "ip_override":"203.0.113.7","device":{"language":"en-us","operating_system":"iOS","model":"iPhone"},
         "validation_behavior":"RELAXED",
         "events":[
          {"name":"purchase","params":{"transaction_id":"T_12345","value":30.03,"currency":"USD","tax":4.9,
            "coupon":"SUMMER","items":[{"item_id":"SKU_1","price":10.01,"quantity":3}],"session_id":1795258000,
            "page_location":"https://a.example/thanks?utm_source=news","campaign":"spring","campaign_id":"c9"}},
          {"name":"page_view","params":{"page_location":"https://a.example/","page_referrer":"https://b.example/",
            "page_title":"Start","engagement_time_msec":100},"timestamp_micros":1795258801000000},
          {"name":"screen_view","params":{"screen_name":"Main"}},
          {"name":"level_up","params":{"value":7,"character":"x"}},
          {"name":"refund","params":{"transaction_id":77,"value":"1.10"}},
          {"name":"type","note":1,"type":"internal","params":null}]}
        """

    @Test func `the reference body yields the expected table of events`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await log.sendMeasurement(Self.purchase)
        #expect(receipt.received == 6 && receipt.stored == 6, "\(receipt.problems)")
        let events = try await log.all()
        #expect(events.map(\.type) == [.conversion, .page, .screen, .track, .conversion, .track])
        #expect(events.map(\.name) == ["purchase", "page", "screen", "level_up", "refund", "type"])
        #expect(events.map { $0.value?.decimal } == ["30.03", nil, nil, nil, "1.1", nil])
        #expect(events.map(\.currency) == ["USD", nil, nil, nil, "USD", nil])
        #expect(events.map(\.orderID) == ["T_12345", nil, nil, nil, "77", nil])
        #expect(events.allSatisfy { $0.anonymousID == "123.456" && $0.userID == "u-1" && $0.format == "ga4" })
        #expect(events.allSatisfy { $0.traits == ["plan": "pro", "age": 41] })
        #expect(events.allSatisfy { $0.consent == ["ads": "denied", "personalisation": "granted"] })
        #expect(events[0].at == Timestamp(microseconds: 1_795_258_800_500_000))
        #expect(events[1].at == Timestamp(microseconds: 1_795_258_801_000_000))
        #expect(events[0].sessionID == "1795258000")
        #expect(events[0].campaign.name == "spring" && events[0].campaign.id == "c9")
        #expect(events[0].campaign.source == "news")
        #expect(events[0].props?["items"]?.array?.first?["quantity"] == 3)
        #expect(events[0].context?["ip"] == "203.0.113.7" && events[0].context?["os"] == "iOS")
        #expect(events[1].url == "https://a.example/" && events[1].referrer == "https://b.example/")
        #expect(events[1].title == "Start" && events[2].screen == "Main")
        #expect(events[3].props == ["value": 7, "character": "x"])
        #expect(events[5].extra["ga4_type"] == "internal" && events[5].extra["note"] == 1)
        #expect(events[5].extra["validation_behavior"] == "RELAXED" && events[5].props == nil)
        await log.close()
    }

    @Test func `a retry is a duplicate where the body has a time, and never where it has none`() async throws {
        let log = try openEvents(VolatileLogStorage())
        #expect(try await log.sendMeasurement(Self.purchase).stored == 6)
        #expect(try await log.sendMeasurement(Self.purchase).duplicate == 6)
        let timeless = #"{"client_id":"c","events":[{"name":"e"}]}"#
        #expect(try await log.sendMeasurement(timeless).stored == 1)
        #expect(try await log.sendMeasurement(timeless).stored == 1)
        await log.close()
    }

    @Test func `what an app sends is told by its instance`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let body = #"{"app_instance_id":"0123","non_personalized_ads":true,"events":[{"name":"e"},{"name":"f"}]}"#
        #expect(try await log.sendMeasurement(body).stored == 2)
        let event = try #require(try await log.all().first)
        #expect(event.deviceID == "0123" && event.anonymousID == nil)
        #expect(event.consent == ["personalisation": "denied"])
        await log.close()
    }

    @Test(arguments: [
        (#"{"value":"12,50","currency":"EUR"}"#, "bad_money"), (#"{"value":"$12.50"}"#, "bad_money"),
        (#"{"value":"","currency":"EUR"}"#, "bad_money"), (#"{"value":true,"currency":"EUR"}"#, "bad_type"),
        (#"{"value":5,"currency":12}"#, "bad_type"), (#"{"value":5,"currency":"EURO"}"#, "bad_money"),
    ])
    func `money that cannot be read is quarantined as it is on the native route`(
        params: String, reason: String
    ) async throws {
        let log = try openEvents(VolatileLogStorage())
        let body = #"{"client_id":"c","events":[{"name":"purchase","params":\#(params)}]}"#
        let receipt = try await log.sendMeasurement(body)
        #expect(receipt.problems.map(\.reason) == [reason], "\(receipt.json)")
        let members = try #require(try json(params).object)
        let native = trackLine([
            "value": members["value"]?.canonical, "currency": members["currency"]?.canonical ?? "\"USD\"",
        ])
        #expect(verdict(native)?.reason == reason)
        // Where nothing says that it is money it is a parameter like any other.
        let quiet = #"{"client_id":"c","events":[{"name":"tapped","params":{"value":"high"}}]}"#
        #expect(try await log.sendMeasurement(quiet).stored == 1)
        await log.close()
    }

    @Test func `bad events are quarantined and broken envelopes refused`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let body = """
            {"client_id":"c","events":[{"params":{}},5,{"name":"e","timestamp_micros":"soon"},{"name":"ok"},
            {"name":"e","timestamp_micros":1500000000000000},{"name":"e","params":[]},
            {"name":"purchase","params":{"value":1.0000001,"currency":"USD"}}]}
            """
        let receipt = try await log.sendMeasurement(body)
        #expect(receipt.stored == 1 && receipt.quarantined == 6)
        #expect(receipt.problems.map(\.index) == [0, 1, 2, 4, 5, 6])
        #expect(
            receipt.problems.map(\.reason) == [
                "missing_field", "not_json", "bad_ts", "ts_too_old", "bad_type", "bad_money",
            ])
        let wanted = "an object with an array named events"
        for (other, offset) in [("[]", 0), ("{\"client_id\":\"c\"}", 0), ("{\"events\":{}}", 10)] {
            await #expect(throws: CaptureError.unexpectedShape(offset: offset, wanted: wanted), "\(other)") {
                try await log.sendMeasurement(other)
            }
        }
        for (broken, offset) in [("{", 1), ("", 0)] {
            await #expect(throws: CaptureError.malformedBody(offset: offset), "\(broken)") {
                try await log.sendMeasurement(broken)
            }
        }
        await log.close()
    }

    @Test func `the debug route says what capture would refuse`() {
        func messages(_ body: String) -> [JSONValue] {
            Array(body.utf8).withUnsafeBytes {
                MeasurementBody.messages($0, limits: EventLimits(), receivedAt: testNow)
            }
        }
        #expect(messages(#"{"client_id":"c","events":[{"name":"ok"}]}"#).isEmpty)
        #expect(messages(#"{"client_id":"c","events":[]}"#).first?["validationCode"] == "VALUE_REQUIRED")
        #expect(messages("nonsense").first?["validationCode"] == "VALUE_INVALID")
        let two = messages(#"{"events":[{"name":"ok"},{"name":5}]}"#)
        #expect(two.map { $0["fieldPath"]?.string } == ["events[0].event", "events[1].name"])
        #expect(two.map { $0["validationCode"]?.string } == ["VALUE_REQUIRED", "VALUE_INVALID"])
        let long = String(repeating: "n", count: 201)
        #expect(
            messages("{\"client_id\":\"c\",\"events\":[{\"name\":\"\(long)\"}]}").first?["validationCode"]
                == "VALUE_OUT_OF_BOUNDS")
    }
}
