internal import AurumCore
internal import Foundation

/// Bad rows among good ones: each is named, none takes its neighbours along.
extension CheckList {
    static let records: [Check] = [
        Check(
            id: "P03", title: "bad input is named, good rows are kept", phase: "integration",
            suites: ["events", "leads"],
            threshold: "every row of the table ends in its outcome and reason; good neighbours read back equal",
            source: "platform validation", body: badRows)
    ]

    /// A broken event line and the reason it must be quarantined for.
    private static func brokenEvents(_ mark: String) -> [(line: String, reason: String)] {
        let time = SystemWallClock().now
        let future = (time + .seconds(3 * 86_400)).rfc3339
        let old = (time - .seconds(500 * 86_400)).rfc3339
        let long = String(repeating: "x", count: 201)
        let deep = String(repeating: "{\"a\":", count: 40) + "1" + String(repeating: "}", count: 40)
        return [
            ("{\"id\":", "not_json"), ("nonsense", "not_json"), ("[1,2]", "not_json"),
            (#"{"type":"page","anonymous_id":"a","url":"https://a/"}"#, "missing_field"),
            (#"{"id":"\#(mark)-1","type":"track","anonymous_id":"a"}"#, "missing_field"),
            (#"{"id":"\#(mark)-2","type":"track","name":"x"}"#, "missing_identifier"),
            (#"{"id":"\#(mark)-3","type":"wedding","anonymous_id":"a"}"#, "unknown_type"),
            (#"{"id":"\#(mark)-4","type":"internal","name":"ledger.posted","anonymous_id":"a"}"#, "reserved_type"),
            (#"{"id":"\#(mark)-5","type":"track","name":5,"anonymous_id":"a"}"#, "bad_type"),
            (#"{"id":"\#(mark)-6","type":"track","name":"x","anonymous_id":"\#(long)"}"#, "too_long"),
            (#"{"id":"\#(mark)-7","type":"track","name":"x","anonymous_id":"a","ts":"yesterday"}"#, "bad_ts"),
            (#"{"id":"\#(mark)-8","type":"track","name":"x","anonymous_id":"a","ts":"\#(future)"}"#, "ts_future"),
            (#"{"id":"\#(mark)-9","type":"track","name":"x","anonymous_id":"a","ts":"\#(old)"}"#, "ts_too_old"),
            (
                #"{"id":"\#(mark)-10","type":"conversion","name":"x","user_id":"a","value":"1,5","currency":"USD"}"#,
                "bad_money"
            ),
            (#"{"id":"\#(mark)-11","id":"\#(mark)-x","type":"track","name":"x","anonymous_id":"a"}"#, "duplicate_key"),
            (#"{"id":"\#(mark)-12","type":"track","name":"x","anonymous_id":"a","props":\#(deep)}"#, "too_deep"),
        ]
    }

    @Sendable private static func badRows(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p03")
        let mark = "p03-\(context.runID)"
        let broken = brokenEvents(mark)
        var lines: [String] = []
        var expected: [Int: String] = [:]
        for (index, row) in broken.enumerated() {
            lines.append(
                #"{"id":"\#(mark)-good-\#(index)","type":"track","name":"good row","#
                    + #""anonymous_id":"\#(mark)","props":{"row":\#(index)}}"#
            )
            expected[lines.count] = row.reason
            lines.append(row.line)
        }
        let body = Array((lines.joined(separator: "\n") + "\n").utf8)
        let answer = try await context.call {
            try await org.write.send("POST", "/v1/events", body: body, contentType: "application/x-ndjson")
        }
        findings.expect(answer.status == 202, "the mixed body is answered \(answer.status) \(answer.code)")
        findings.expect(
            answer.json["stored"]?.integer == Int64(broken.count),
            "stored \(answer.json["stored"]?.integer ?? -1), expected \(broken.count)")
        findings.expect(
            answer.json["quarantined"]?.integer == Int64(broken.count),
            "quarantined \(answer.json["quarantined"]?.integer ?? -1), expected \(broken.count)")
        var reasons: [Int: String] = [:]
        for problem in answer.json["problems"]?.array ?? [] {
            if let index = problem["index"]?.integer { reasons[Int(index)] = problem["reason"]?.string }
        }
        for (index, reason) in expected.sorted(by: { $0.key < $1.key }) {
            findings.expect(
                reasons[index] == reason, "line \(index): \(reasons[index] ?? "no problem"), expected \(reason)")
        }
        let back = try await context.call { try await org.read.get("/v1/events?anonymous_id=\(mark)&limit=100") }
        let rows = back.json["events"]?.array?.compactMap { $0.at("props", "row")?.integer } ?? []
        findings.expect(
            rows.sorted() == (0..<Int64(broken.count)).map { $0 }, "good rows read back as \(rows.sorted())")
        try await repeatedBody(context, findings, org, body, count: broken.count)
        try await brokenRequests(context, findings, org)
        try await brokenLeads(context, findings, org)
    }

    private static func repeatedBody(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ body: [UInt8], count: Int
    ) async throws {
        let again = try await context.call {
            try await org.write.send("POST", "/v1/events", body: body, contentType: "application/x-ndjson")
        }
        findings.expect(
            again.json["stored"]?.integer == 0, "the same body again stores \(again.json["stored"]?.integer ?? -1) more"
        )
        findings.expect(
            again.json["duplicate"]?.integer == Int64(count),
            "the same body again has \(again.json["duplicate"]?.integer ?? -1) duplicates")
        let receipt = again.json["receipt"]?.string ?? ""
        let read = try await context.call { try await org.read.get("/v1/receipts/\(receipt)") }
        findings.expect(read.status == 200, "the receipt is answered \(read.status) \(read.code)")
        findings.expect(
            read.json["duplicate"]?.integer == Int64(count), "the receipt tells another story than the answer")
        let altered = String(receipt.dropLast()) + (receipt.hasSuffix("a") ? "b" : "a")
        let unknown = try await context.call { try await org.read.get("/v1/receipts/\(altered)") }
        findings.expect(
            unknown.status == 404 && unknown.code == "receipt_unknown",
            "an altered receipt is answered \(unknown.status) \(unknown.code)")
    }

    private static func brokenRequests(_ context: CheckContext, _ findings: Findings, _ org: Organisation) async throws
    {
        let table: [(what: String, body: [UInt8], type: String, encoding: String?, status: Int, code: String)] = [
            ("an array that is not closed", Array(#"[{"id":"x""#.utf8), "application/json", nil, 400, "malformed_body"),
            ("an unknown encoding", Array("{}".utf8), "application/json", "br", 415, "unsupported_encoding"),
            ("gzip that is not gzip", Array("hello".utf8), "application/json", "gzip", 400, "malformed_body"),
            ("an unknown media type", Array("{}".utf8), "application/xml", nil, 415, "unsupported_media_type"),
            (
                "a body over the limit", [UInt8](repeating: 10, count: 5 << 20), "application/x-ndjson", nil, 413,
                "body_too_large"
            ),
        ]
        for row in table {
            let headers = row.encoding.map { [("content-encoding", $0)] } ?? []
            let answer = try await context.call {
                try await org.write.send("POST", "/v1/events", body: row.body, contentType: row.type, headers: headers)
            }
            findings.expect(
                answer.status == row.status && answer.code == row.code,
                "\(row.what) is answered \(answer.status) \(answer.code), expected \(row.status) \(row.code)")
        }
    }

    private static func brokenLeads(_ context: CheckContext, _ findings: Findings, _ org: Organisation) async throws {
        func changed(_ change: (inout [String: JSONValue]) -> Void) -> JSONValue {
            var members = LeadBodies.rooftop(number: context.number(9)).object ?? [:]
            change(&members)
            return .object(members)
        }
        let table: [(what: String, body: JSONValue, field: String)] = [
            ("no type", changed { $0["type"] = nil }, "type"),
            ("a type that does not exist", changed { $0["type"] = "castle" }, "type"),
            ("no contact", changed { $0["contact"] = nil }, "contact"),
            ("a ZIP of four digits", changed { $0["contact"] = ["zip": "1121"] }, "contact.zip"),
            ("an unknown field", changed { $0["colour"] = "red" }, "colour"),
            ("a bill as text", changed { $0["attributes"] = ["bill": "much"] }, "attributes.bill"),
            ("an unknown attribute", changed { $0["attributes"] = ["shoeSize": 43] }, "attributes.shoeSize"),
            ("a negative bill", changed { $0["attributes"] = ["bill": -5] }, "attributes.bill"),
            ("a trace id of words", changed { $0["trace_id"] = "mine" }, "trace_id"),
            (
                "consent for another product", changed { $0["consent"] = ["scope": "castle", "text": "t"] },
                "consent.scope"
            ),
        ]
        for row in table {
            let answer = try await context.call { try await org.manage.post("/v1/leads", row.body) }
            findings.expect((400..<500).contains(answer.status), "a lead with \(row.what) is answered \(answer.status)")
            findings.expect(
                answer.text.contains("\"\(row.field)\""),
                "a lead with \(row.what): the answer does not name \(row.field): \(answer.text.prefix(200))")
        }
        let list = try await context.call { try await org.read.get("/v1/leads") }
        findings.expect(list.json["leads"]?.array?.isEmpty ?? false, "a refused lead was stored")
    }
}
