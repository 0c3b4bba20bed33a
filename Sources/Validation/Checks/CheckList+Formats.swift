internal import AurumCore

/// The wire formats of other products' clients, sent as they send them and read back.
extension CheckList {
    static let formats: [Check] = [
        Check(
            id: "P04", title: "every capture format is stored and read back", phase: "integration", suites: ["events"],
            threshold: "each format answers as its clients expect; the stored event has its fields and its format",
            source: "events specification, capture endpoints", body: allFormats)
    ]

    /// One request of a format, and what must be stored of it.
    private struct FormatRow {
        var format: String
        var method = "POST"
        var path: String
        var body: String?
        /// The answer's status, and its text where clients look at it.
        var status: Int
        var answer: String?
        var expected: [String: JSONValue]
        var sendsKey = false
    }

    private static func rows(_ mark: String, _ org: Organisation) -> [FormatRow] {
        let visitor: JSONValue = .string(mark)
        return [
            FormatRow(
                format: "native", path: "/v1/events",
                body: #"[{"id":"\#(mark)-n","type":"track","name":"n","anonymous_id":"\#(mark)"}]"#, status: 202,
                expected: ["type": "track", "name": "n"], sendsKey: true),
            FormatRow(
                format: "segment", path: "/v1/track",
                body: #"{"messageId":"\#(mark)-s","anonymousId":"\#(mark)","event":"s","properties":{"revenue":9.5}}"#,
                status: 200, expected: ["type": "track", "value": "9.5", "currency": "USD"], sendsKey: true),
            FormatRow(
                format: "rudder", path: "/v1/batch",
                body: #"{"batch":[{"type":"page","messageId":"\#(mark)-r","anonymousId":"\#(mark)","channel":"web","#
                    + #""properties":{"url":"https://a.example/?gclid=g"}}]}"#, status: 200, answer: "OK",
                expected: ["type": "page", "click_id": "g", "channel": "paid_search"], sendsKey: true),
            FormatRow(
                format: "posthog", path: "/batch/",
                body: #"{"api_key":"\#(org.writer)","batch":[{"uuid":"\#(mark)-p","event":"$pageview","#
                    + #""distinct_id":"\#(mark)","properties":{"$current_url":"https://a.example/"}}]}"#,
                status: 200, answer: #"{"status":"Ok"}"#,
                expected: ["id": .string("\(mark)-p"), "type": "page", "url": "https://a.example/"]),
            FormatRow(
                format: "ga4", path: "/mp/collect?measurement_id=G-1&api_secret=\(org.writer)",
                body: #"{"client_id":"\#(mark)","events":[{"name":"purchase","params":{"transaction_id":"t","#
                    + #""value":30.03,"currency":"EUR"}}]}"#, status: 204,
                expected: ["type": "conversion", "value": "30.03", "currency": "EUR", "order_id": "t"]),
            FormatRow(
                format: "pixel", method: "GET", path: "/v1/px.gif?k=\(org.site)&anonymous_id=\(mark)&campaign=c",
                status: 200, expected: ["type": "impression", "campaign": ["name": "c"]]),
            FormatRow(
                format: "click", method: "GET",
                path: "/v1/click?k=\(org.site)&anonymous_id=\(mark)&click_id=\(mark)-c&to=\(org.target.url)/",
                status: 302, expected: ["type": "click", "click_id": .string("\(mark)-c"), "anonymous_id": visitor]),
            FormatRow(
                format: "install", path: "/v1/installs",
                body: #"{"id":"\#(mark)-i","device_id":"d","anonymous_id":"\#(mark)"}"#, status: 202,
                expected: ["type": "install", "device_id": "d"], sendsKey: true),
        ]
    }

    @Sendable private static func allFormats(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p04")
        let mark = "p04-\(context.runID.prefix(12))"
        let rows = rows(mark, org)
        for row in rows {
            let answer = try await context.call {
                try await context.client(row.sendsKey ? org.writer : nil).send(
                    row.method, row.path, body: row.body.map { Array($0.utf8) })
            }
            findings.expect(
                answer.status == row.status, "\(row.format) is answered \(answer.status) \(answer.code)")
            if let text = row.answer {
                findings.expect(answer.text == text, "\(row.format) is answered “\(answer.text.prefix(80))”")
            }
            findings.expect(
                answer.header("aurum-receipt")?.hasPrefix("rcp_") ?? false, "\(row.format): the answer has no receipt")
            if row.format == "click" {
                findings.expect(
                    answer.header("location") == "\(org.target.url)/?aurum_click=\(mark)-c",
                    "the click leads to \(answer.header("location") ?? "nowhere")")
            }
        }
        let back = try await context.call { try await org.read.get("/v1/events?anonymous_id=\(mark)&limit=100") }
        let events = back.json["events"]?.array ?? []
        findings.expect(events.count == rows.count, "\(events.count) events read back, \(rows.count) sent")
        for row in rows {
            guard let event = events.first(where: { $0["source_format"]?.string == row.format }) else {
                findings.expect(false, "no event of format \(row.format) reads back")
                continue
            }
            for (name, value) in row.expected {
                findings.expect(
                    event[name] == value, "\(row.format): \(name) is \(event[name]?.canonical ?? "absent")")
            }
        }
        try await refusedClick(context, findings, org)
    }

    private static func refusedClick(_ context: CheckContext, _ findings: Findings, _ org: Organisation) async throws {
        let answer = try await context.call {
            try await context.client(nil).get("/v1/click?k=\(org.site)&to=https://evil.example/")
        }
        findings.expect(
            answer.status == 400 && answer.code == "redirect_not_allowed" && answer.header("location") == nil,
            "a click to a foreign host is answered \(answer.status) \(answer.code)")
        let clicks = try await context.call { try await org.read.get("/v1/events?type=click&limit=10") }
        findings.expect(clicks.json["events"]?.array?.count == 2, "the click to a foreign host was not stored")
        let messages = try await context.call {
            try await context.client(nil).send(
                "POST", "/debug/mp/collect?api_secret=\(org.writer)", body: Array(#"{"events":[{"name":"x"}]}"#.utf8))
        }
        findings.expect(
            messages.status == 200 && messages.json["validationMessages"]?.array?.count == 1,
            "the debug route answers \(messages.status) \(messages.text.prefix(120))")
    }
}
