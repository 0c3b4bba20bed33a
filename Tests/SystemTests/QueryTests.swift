import AurumCore
import Foundation
import TestSupport
import Testing

/// Questions about events, from outside.
struct QueryTests {
    private static let quiet = ["AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning"]

    private static let lines = (0..<40).map { number in
        "{\"id\":\"q\(number)\",\"type\":\"page\",\"anonymous_id\":\"a\(number % 7)\","
            + "\"url\":\"\(number % 2 == 0 ? "=cmd()" : "/faq")\",\"value\":\"0.1\",\"currency\":\"USD\"}"
    }.joined(separator: "\n")

    @Test func `a server and its folder answer queries as JSON, CSV, lines and a table`() async throws {
        let folder = TemporaryFolder()
        let environment = Self.quiet.merging(["AURUM_DATA_DIR": folder.file("data")]) { $1 }
        let server = try ChildProcess(AurumBinary.path, ["serve"], environment: environment)
        let line = try await server.line(containing: "Aurum is ready at", within: .seconds(20))
        let url = "http://127.0.0.1:" + (line.split(separator: ":").last.map(String.init) ?? "")
        let token = try #require(
            server.output.split(separator: "\n").first { $0.contains("Admin token") }?.split(separator: " ").last)
        let admin = TestClient(url: url, key: String(token))
        let sent = try await admin.call(
            "POST", "/v1/events", Array(Self.lines.utf8), ["content-type": "application/x-ndjson"])
        #expect(sent.status == 202)
        try await answers(admin)
        try await refusals(admin)
        try await outcomes(admin)

        let table = try await AurumBinary.run(
            ["events", "query", "count, unique(person) by url"], environment: environment)
        #expect(table.status == 0 && table.output.contains("/faq") && table.output.contains("2 of 2 groups"))
        let broken = try await AurumBinary.run(["events", "query", "count where"], environment: environment)
        #expect(broken.status != 0 && broken.output.contains("At byte 11: expected a column"))
        server.terminate()
        #expect(try await server.exit(within: .seconds(30)) == 0)

        let file = folder.file("query.json")
        try Data("{\"measures\":[\"sum(value)\"]}".utf8).write(to: URL(fileURLWithPath: file))
        let stopped = try await AurumBinary.run(["events", "query", file, "--json"], environment: environment)
        #expect(stopped.status == 0 && stopped.output.contains("\"USD\" : \"4\""), "\(stopped.output)")
    }

    private func answers(_ admin: TestClient) async throws {
        let key = try await admin.makeKey(["analytics:read"])
        let counted = try await key.post("/v1/query", ["q": "count, unique(person), sum(value) by url order by url"])
        #expect(counted.status == 200)
        let first = counted.body["rows"]?.array?.first
        #expect(first?["url"] == "/faq" && first?["count"] == 20 && first?["unique(person)"] == 7)
        #expect(first?["sum(value)"] == ["USD": "2"])
        #expect(counted.body["approximate"] == false && counted.body["position"]?.string != nil)
        let read = try await key.get("/v1/query?q=count%20per%20day%20today&timezone=Asia%2FKathmandu")
        #expect(read.body["rows"]?.array?.count == 1 && read.body["timezone"] == "Asia/Kathmandu")
        let csv = try await key.call(
            "POST", "/v1/query", Array("{\"q\":\"count by url order by url\"}".utf8), ["accept": "text/csv"])
        #expect(csv.text == "url,count\r\n/faq,20\r\n'=cmd(),20\r\n")
        #expect(csv.headers["aurum-query"]?.contains("\"truncated\":false") == true)
        let lines = try await key.call(
            "POST", "/v1/query", Array("{\"q\":\"count by url order by url\"}".utf8),
            ["accept": "application/x-ndjson"])
        #expect(lines.text == "{\"url\":\"/faq\",\"count\":20}\n{\"url\":\"=cmd()\",\"count\":20}\n")
    }

    /// What `/v1/outcomes` counts adds up to what the receipts said, before and after the log is compacted.
    private func outcomes(_ admin: TestClient) async throws {
        let mixed =
            #"{"id":"q1","type":"page","anonymous_id":"a","url":"/"}"# + "\n" + #"{"id":"bad","type":"page"}"# + "\n"
            + "not json\n" + #"{"id":"odd","type":"dance","anonymous_id":"a"}"#
        let sent = try await admin.call(
            "POST", "/v1/events", Array(mixed.utf8), ["content-type": "application/x-ndjson"])
        #expect(sent.status == 202)
        let receipt = try JSONDecoder().decode(JSONValue.self, from: Data(sent.text.utf8))
        #expect(receipt["duplicate"] == 1 && receipt["quarantined"] == 3)
        for round in 0..<2 {
            let plain = try await admin.get("/v1/outcomes")
            let counts = (plain.body["rows"]?.array ?? []).reduce(into: [String: Int64]()) {
                $0[$1["outcome"]?.string ?? ""] = $1["count"]?.integer
            }
            #expect(counts == ["stored": 40, "duplicate": 1, "quarantined": 3], "round \(round)")
            let reasons = try await admin.get("/v1/outcomes?by=reason&last=1d")
            let found = (reasons.body["rows"]?.array ?? []).reduce(into: [String: Int64]()) {
                $0[$1["quarantine_reason"]?.string ?? "none"] = $1["count"]?.integer
            }
            #expect(
                found.filter { $0.key != "none" } == ["missing_identifier": 1, "not_json": 1, "unknown_type": 1],
                "round \(round): \(found)")
            if round == 0 { #expect(try await admin.post("/v1/log/compact", [:]).status == 200) }
        }
        let formats = try await admin.get("/v1/outcomes?by=format")
        #expect(formats.body["rows"]?.array?.allSatisfy { $0["source_format"] == "native" } == true)
        #expect(try await admin.get("/v1/outcomes?by=colour").status == 400)
        #expect(try await admin.makeKey(["events:write"]).get("/v1/outcomes").status == 403)
    }

    private func refusals(_ admin: TestClient) async throws {
        let text = try await admin.post("/v1/query", ["q": "count where"])
        #expect(text.status == 400 && text.body["code"] == "bad_query" && text.body["offset"] == 11)
        let document = try await admin.post("/v1/query", ["where": ["and": [["column": "a", "op": "~"]]]])
        #expect(document.status == 400 && document.body["place"] == "where.and[0].op")
        #expect(try await admin.post("/v1/query", ["org": "rival"]).status == 400)
        let writer = try await admin.makeKey(["events:write"])
        #expect(try await writer.post("/v1/query", ["q": "count"]).status == 403)
        #expect(try await TestClient(url: admin.url, key: "").post("/v1/query", ["q": "count"]).status == 401)
    }
}
