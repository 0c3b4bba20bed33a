internal import AurumCore
internal import Events
import Testing

/// One row: members of a `track` event, and what the contract says of it.
struct ContractRow: Sendable, CustomTestStringConvertible {
    var members: [String: String?]
    /// Empty: accepted.
    var reason: String
    var field: String?

    init(_ members: [String: String?], _ reason: String = "", _ field: String? = nil) {
        self.members = members
        self.reason = reason
        self.field = field
    }

    var testDescription: String {
        members.sorted { $0.key < $1.key }.map { "\($0.key)=\(($0.value ?? "absent").prefix(24))" }.joined(
            separator: " ")
            + " → \(reason.isEmpty ? "accepted" : reason)"
    }
}

private func text(_ count: Int) -> String { "\"" + String(repeating: "x", count: count) + "\"" }

/// Every string field: absent, null, empty, at its limit, past it, escaped at the limit, and of the wrong type.
private let stringRows: [ContractRow] = [
    ("anonymous_id", 200), ("device_id", 200), ("session_id", 200), ("click_id", 200), ("order_id", 200),
    ("lead_id", 200), ("advertising_id", 64), ("vendor_id", 64), ("install_referrer", 2048), ("url", 4096),
    ("referrer", 4096), ("title", 512), ("screen", 512), ("group_id", 200), ("previous_id", 200),
].flatMap { (name: String, limit: Int) -> [ContractRow] in
    [
        ContractRow([name: nil]), ContractRow([name: "null"]), ContractRow([name: "\"\""]),
        ContractRow([name: text(limit)]), ContractRow([name: text(limit + 1)], "too_long", name),
        ContractRow([name: "\"" + String(repeating: "\\u0041", count: limit) + "\""]),
        ContractRow([name: "5"], "bad_type", name), ContractRow([name: "{}"], "bad_type", name),
    ]
}

private let campaignNames = [
    "id", "name", "source", "medium", "term", "content", "network", "ad_group_id", "creative_id", "placement_id",
    "keyword", "publisher_id",
]
private let contextNames = [
    "ip", "user_agent", "locale", "timezone", "os", "os_version", "app_version", "app_build", "device_model",
    "device_maker", "library", "library_version",
]

private func campaignRows(_ name: String) -> [ContractRow] {
    [
        ContractRow(["campaign": "{\"\(name)\":\(text(200))}"]),
        ContractRow(["campaign": "{\"\(name)\":\(text(201))}"], "too_long", "campaign.\(name)"),
        ContractRow(["campaign": "{\"\(name)\":null}"]),
        ContractRow(["campaign": "{\"\(name)\":[]}"], "bad_type", "campaign.\(name)"),
    ]
}

private func contextRows(_ name: String) -> [ContractRow] {
    [
        ContractRow(["context": "{\"\(name)\":\"a\"}"]), ContractRow(["context": "{\"\(name)\":null}"]),
        ContractRow(["context": "{\"\(name)\":true}"], "bad_type", "context.\(name)"),
    ]
}

private let nestedRows: [ContractRow] = campaignNames.flatMap(campaignRows) + contextNames.flatMap(contextRows)

private let specialRows: [ContractRow] = [
    ContractRow(["id": nil], "missing_field", "id"), ContractRow(["id": "null"], "missing_field", "id"),
    ContractRow(["id": "\"\""], "missing_field", "id"), ContractRow(["id": text(200)]),
    ContractRow(["id": text(201)], "too_long", "id"), ContractRow(["id": "7"], "bad_type", "id"),
    ContractRow(["type": nil], "missing_field", "type"), ContractRow(["type": "null"], "missing_field", "type"),
    ContractRow(["type": "\"trak\""], "unknown_type", "type"), ContractRow(["type": "\"\""], "unknown_type", "type"),
    ContractRow(["type": "1"], "bad_type", "type"), ContractRow(["type": "\"internal\""], "reserved_type", "type"),
    ContractRow(["type": "\"postback\""], "reserved_type", "type"), ContractRow(["type": "\"tr\\u0061ck\""]),
    ContractRow(["name": nil], "missing_field", "name"), ContractRow(["name": "\"\""], "missing_field", "name"),
    ContractRow(["name": text(201)], "too_long", "name"), ContractRow(["user_id": nil], "missing_identifier"),
    ContractRow(["user_id": "null"], "missing_identifier"), ContractRow(["user_id": "\"\""], "missing_identifier"),
    ContractRow(["user_id": nil, "device_id": "\"d\""]), ContractRow(["user_id": nil, "anonymous_id": "\"a\""]),
    ContractRow(["user_id": nil, "click_id": "\"c\""], "missing_identifier"),
    ContractRow(["ts": "\"2026-11-21T11:59:59Z\""]), ContractRow(["ts": "\"2026-11-21T11:59:59.123456+01:00\""]),
    ContractRow(["ts": "1795262400000"]), ContractRow(["ts": "1795262400000.5"], "bad_ts", "ts"),
    ContractRow(["ts": "1e12"], "bad_ts", "ts"), ContractRow(["ts": "\"2026-04-31T00:00:00Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-02-29T00:00:00Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-11-21T24:00:00Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-11-21T11:60:00Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-11-21T11:59:60Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-11-21 11:59:59Z\""], "bad_ts", "ts"),
    ContractRow(["ts": "\"2026-11-21T11:59:59\""], "bad_ts", "ts"), ContractRow(["ts": "\"\""], "bad_ts", "ts"),
    ContractRow(["ts": "true"], "bad_type", "ts"), ContractRow(["ts": "null"]),
    ContractRow(["ts": "\"2026-11-22T12:00:00Z\""]),
    ContractRow(["ts": "\"2026-11-22T12:00:00.001Z\""], "ts_future", "ts"),
    ContractRow(["ts": "\"2025-10-17T12:00:00Z\""]),
    ContractRow(["ts": "\"2025-10-17T11:59:59Z\""], "ts_too_old", "ts"),
    ContractRow(["ts": "99999999999999999"], "bad_ts", "ts"), ContractRow(["sent_at": "\"x\""], "bad_ts", "sent_at"),
    ContractRow(["sent_at": "[]"], "bad_type", "sent_at"),
    ContractRow(["referral_clicked_at": "\"2026-13-01T00:00:00Z\""], "bad_ts", "referral_clicked_at"),
    ContractRow(["install_began_at": "12"]),
    ContractRow(["value": "1.5", "currency": "\"USD\""]), ContractRow(["value": "\"1.5\"", "currency": "\"usd\""]),
    ContractRow(["value": "999999999999.999999", "currency": "\"USD\""]),
    ContractRow(["value": "1000000000000", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "0.0000001", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "0.1000000000", "currency": "\"USD\""]),
    ContractRow(["value": "1e-5", "currency": "\"USD\""]),
    ContractRow(["value": "1e-7", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "\"1e-5\"", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "\"1,5\"", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "\"\"", "currency": "\"USD\""], "bad_money", "value"),
    ContractRow(["value": "-3.25", "currency": "\"USD\""]), ContractRow(["value": "1"], "missing_field", "currency"),
    ContractRow(["value": "true", "currency": "\"USD\""], "bad_type", "value"), ContractRow(["value": "null"]),
    ContractRow(["currency": "\"US\""], "bad_money", "currency"),
    ContractRow(["currency": "\"U5D\""], "bad_money", "currency"),
    ContractRow(["currency": "5"], "bad_type", "currency"), ContractRow(["quantity": "0"]),
    ContractRow(["quantity": "1000000"]), ContractRow(["quantity": "1000001"], "bad_type", "quantity"),
    ContractRow(["quantity": "-1"], "bad_type", "quantity"), ContractRow(["quantity": "1.5"], "bad_type", "quantity"),
    ContractRow(["quantity": "\"1\""], "bad_type", "quantity"),
    ContractRow(["trace_id": "\"00112233445566778899aabbccddeeff\""]),
    ContractRow(["trace_id": "\"00112233-4455-6677-8899-aabbccddeeff\""]),
    ContractRow(["trace_id": "\"0011\""], "bad_type", "trace_id"),
    ContractRow(["trace_id": "\"zz112233445566778899aabbccddeeff\""], "bad_type", "trace_id"),
    ContractRow(["props": "[]"], "bad_type", "props"), ContractRow(["traits": "\"x\""], "bad_type", "traits"),
    ContractRow(["campaign": "5"], "bad_type", "campaign"), ContractRow(["context": "5"], "bad_type", "context"),
    ContractRow(["consent": "\"granted\""], "bad_type", "consent"),
    ContractRow(["consent": "{\"gpc\":true,\"ads\":\"denied\"}"]),
    ContractRow(["consent": "{\"gpc\":1}"], "bad_type", "consent.gpc"),
    ContractRow(["consent": "{\"analytics\":\"yes\"}"], "bad_type", "consent.analytics"),
    ContractRow(["consent": "{\"tcf\":\(text(2049))}"], "too_long", "consent.tcf"),
    ContractRow(["context": "{\"platform\":\"iOS\"}"]),
    ContractRow(["context": "{\"platform\":\"tv\"}"], "bad_type", "context.platform"),
    ContractRow(["context": "{\"screen_width\":1920}"]),
    ContractRow(["context": "{\"screen_width\":\"wide\"}"], "bad_type", "context.screen_width"),
    ContractRow(["props": "{\"a\":\(text(8192))}"]),
    ContractRow(["props": "{\"a\":\(text(8193))}"], "too_long", "props"),
    ContractRow(["props": "{\(text(128)):1}"]), ContractRow(["props": "{\(text(129)):1}"], "too_long", "props"),
    ContractRow(["unknown": "{\"deep\":[1,2,{\"x\":null}]}"]),
]

struct ContractTableTests {
    @Test(arguments: stringRows + nestedRows + specialRows)
    func `each field is accepted at its limit and refused past it with its reason`(_ row: ContractRow) throws {
        let found = try #require(verdict(trackLine(row.members)))
        #expect(found.reason == row.reason)
        #expect((found.outcome == .quarantined) == !row.reason.isEmpty)
        if let field = row.field { #expect(found.field == field) }
    }

    @Test func `props take 32 levels and 256 keys and not one more`() throws {
        func nested(_ levels: Int) -> String {
            String(repeating: "{\"a\":", count: levels - 1) + "{}" + String(repeating: "}", count: levels - 1)
        }
        func wide(_ count: Int) -> String { "{" + (0..<count).map { "\"k\($0)\":1" }.joined(separator: ",") + "}" }
        #expect(verdict(trackLine(["props": nested(32)]))?.reason == "")
        #expect(verdict(trackLine(["props": nested(33)]))?.reason == "too_deep")
        #expect(verdict(trackLine(["props": wide(256)]))?.reason == "")
        #expect(verdict(trackLine(["props": wide(257)]))?.reason == "too_many_keys")
        #expect(verdict(trackLine(["extra": String(repeating: "[", count: 20_000)]))?.reason == "not_json")
        let brackets = String(repeating: "[", count: 15_000) + String(repeating: "]", count: 15_000)
        #expect(verdict(trackLine(["extra": brackets]))?.reason == "too_deep")
    }

    @Test func `a contract field given twice is refused under either of its names`() throws {
        let head = "{\"type\":\"track\",\"name\":\"n\",\"user_id\":\"u\","
        #expect(verdict(head + "\"id\":\"a\",\"id\":\"b\"}")?.reason == "duplicate_key")
        #expect(verdict(head + "\"id\":\"a\",\"messageId\":\"b\"}")?.reason == "duplicate_key")
        #expect(verdict(head + "\"id\":\"a\",\"i\\u0064\":\"b\"}")?.reason == "duplicate_key")
        #expect(verdict(head + "\"id\":\"a\",\"user_id\":null}")?.reason == "duplicate_key")
        #expect(verdict(head + "\"id\":\"a\",\"props\":{\"x\":1,\"x\":2}}")?.reason == "")
        #expect(verdict(head + "\"id\":\"a\",\"other\":1,\"other\":2}")?.reason == "")
        let twice = head + "\"id\":\"a\",\"campaign\":{\"name\":\"x\",\"name\":\"y\"}}"
        #expect(verdict(twice)?.field == "campaign.name")
    }

    @Test func `text that is no Unicode is refused, in bytes and in escapes`() throws {
        #expect(verdict(trackLine(["title": "\"\\ud800\""]))?.reason == "bad_unicode")
        #expect(verdict(trackLine(["title": "\"\\ude00\\ud83d\""]))?.reason == "bad_unicode")
        #expect(verdict(trackLine(["title": "\"\\ud83d\\ude00\""]))?.reason == "")
        let broken: [[UInt8]] = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]
        for bytes in broken {
            let line =
                Array("{\"id\":\"a\",\"type\":\"track\",\"name\":\"".utf8) + bytes + Array("\",\"user_id\":\"u\"}".utf8)
            #expect(verdicts(line).first?.reason == "bad_unicode")
        }
        #expect(verdict(trackLine(["title": "\"käse 🧀\""]))?.reason == "")
    }

    @Test(arguments: [
        "5", "[]", "\"x\"", "{", "{\"id\":\"a\"", "{}}", "{\"id\" \"a\"}", "{'id':1}", "nul", "{\"a\":01}",
    ])
    func `a line that is no JSON object is one quarantined event between its good neighbours`(_ bad: String) {
        let good = trackLine()
        let all = verdicts(Array("\(good)\n\(bad)\n\n  \r\n\(good)".utf8))
        #expect(all.map(\.reason) == ["", "not_json", ""])
    }

    @Test func `an event past 32 KB is refused with its bytes kept, and one just below is taken`() throws {
        func sized(_ count: Int) -> String {
            let room = count - trackLine(["props": "{}"]).utf8.count
            var parts: [String] = []
            var left = room
            var number = 0
            while left > 0 {
                let key = "\"k\(100 + number)\":\"\""
                let separator = parts.isEmpty ? 0 : 1
                let fill = min(8000, left - key.utf8.count - separator)
                parts.append("\"k\(100 + number)\":\"" + String(repeating: "y", count: max(0, fill)) + "\"")
                left -= key.utf8.count + separator + fill
                number += 1
            }
            return trackLine(["props": "{" + parts.joined(separator: ",") + "}"])
        }
        let exact = sized(32 << 10)
        #expect(exact.utf8.count == 32 << 10)
        #expect(verdict(exact)?.reason == "")
        #expect(verdict(sized((32 << 10) + 1))?.reason == "event_too_large")
    }

    @Test func `Segment-shaped names mean the contract's on the native route`() throws {
        let line = """
            {"messageId":"m1","type":"track","event":"Order","anonymousId":"a","timestamp":"2026-11-21T11:00:00Z",\
            "context":{"utm_source":"google","utm_medium":"cpc"},"properties":{"revenue":12.5,"currency":"eur"}}
            """
        let found = try #require(verdict(line))
        #expect(found.reason == "")
        #expect(found.id == "m1")
        #expect(verdict(line.replacing("12.5", with: "12.5000001"))?.field == "properties.revenue")
        // Text that is no decimal is refused where it is meant as money, as `value` is, and any text elsewhere.
        #expect(verdict(line.replacing("12.5", with: "\"free\""))?.reason == "bad_money")
        let total = line.replacing("\"revenue\":12.5", with: "\"total\":\"five\"")
        #expect(verdict(total)?.field == "properties.total")
        #expect(verdict(total.replacing(",\"currency\":\"eur\"", with: ""))?.reason == "")
    }

    @Test func `a clock more than a minute off is corrected by sent_at`() throws {
        let skewed = trackLine(["ts": "\"2030-01-01T00:00:00Z\"", "sent_at": "\"2030-01-01T00:05:00Z\""])
        let found = try #require(verdict(skewed))
        #expect(found.reason == "")
        #expect(found.at == testNow - .seconds(300))
        let near = trackLine(["ts": "\"2026-11-21T11:58:00Z\"", "sent_at": "\"2026-11-21T11:59:00Z\""])
        #expect(verdict(near)?.at.rfc3339 == "2026-11-21T11:58:00.000Z")
    }

    @Test func `what each type needs is asked for`() {
        let rows: [(String, String)] = [
            ("\"type\":\"click\",\"click_id\":\"c\"", ""), ("\"type\":\"click\"", "missing_identifier"),
            ("\"type\":\"install\",\"install_referrer\":\"r\"", ""), ("\"type\":\"install\"", "missing_identifier"),
            ("\"type\":\"open\",\"user_id\":\"u\"", "missing_field"), ("\"type\":\"open\",\"device_id\":\"d\"", ""),
            ("\"type\":\"page\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://a.example/\"", ""),
            ("\"type\":\"screen\",\"user_id\":\"u\",\"screen\":\"Main\"", ""),
            ("\"type\":\"screen\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"conversion\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"identify\",\"anonymous_id\":\"a\"", "missing_field"),
            ("\"type\":\"group\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"alias\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"alias\",\"user_id\":\"u\",\"previous_id\":\"p\"", ""),
            ("\"type\":\"consent\",\"user_id\":\"u\"", "missing_field"),
            ("\"type\":\"consent\",\"user_id\":\"u\",\"consent\":{}", ""),
            ("\"type\":\"ad_revenue\",\"user_id\":\"u\",\"value\":1,\"currency\":\"USD\"", ""),
            ("\"type\":\"ad_revenue\",\"user_id\":\"u\"", "missing_field"),
        ]
        for (members, reason) in rows { #expect(verdict("{\"id\":\"x\",\(members)}")?.reason == reason, "\(members)") }
    }
}
