import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// What the database does, as an operator sees it: API, command, page, metrics.
@Suite struct DatabaseQueriesTests {
    @Test func `statements and slow calls are in the API, the command and the page`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error", "AURUM_DATABASE_SLOW_MS": "1"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        // Every commit waits for the disk; the probe writes one every few seconds.
        let deadline = ContinuousClock.now + .seconds(60)
        var report = JSONValue.null
        while report["slow"]?.array?.contains(where: { $0["plan"]?.string != nil }) != true,
            ContinuousClock.now < deadline
        {
            _ = try await admin.post("/v1/exports", ["format": "ndjson"])
            report = try await admin.get("/v1/database?slow=1000").body
        }
        #expect(report["slow"]?.array?.contains { $0["plan"]?.string != nil } == true, "\(report.canonical)")
        #expect(report["slow_after_ms"] == 1 && report["engine"] == "sqlite")
        #expect((report["statements"]?.array?.count ?? 0) > 3 && report["pool"]?["max"] == 9)
        #expect(!report.canonical.contains(target.adminToken))
        let wrong = try await admin.get("/v1/database?sort=luck")
        #expect(wrong.status == 400)
        let stranger = try await TestClient(url: target.url, key: "sk_nobody").get("/v1/database")
        #expect(stranger.status == 401)
        let page = try await admin.get("/database")
        #expect(page.status == 200 && page.text.contains("/database\""), "\(page.text)")
        let script = try await admin.get("/assets/database.js")
        #expect(script.status == 200 && script.text.contains("/v1/database"))

        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        let list = try await AurumBinary.run(
            ["database", "queries", "--sort", "p95", "--limit", "1000"], environment: environment)
        #expect(list.status == 0 && list.output.contains("p95 ms") && list.output.contains("database.probe"))
        let slow = try await AurumBinary.run(["database", "queries", "--slow"], environment: environment)
        #expect(slow.status == 0 && slow.output.contains("  ms: pool "), "\(slow.output)")
        let json = try await AurumBinary.run(["database", "queries", "--json"], environment: environment)
        #expect(json.status == 0 && json.output.hasPrefix("{"), "\(json.output)")
        let rejected = try await admin.get("/v1/outbox/rejected")
        #expect(rejected.status == 200 && rejected.body["rejected"] == .array([]), "\(rejected.text)")
        #expect(try await admin.post("/v1/outbox/rejected/retry", [:]).body["retried"] == 0)
        let unknown = try await admin.call("DELETE", "/v1/outbox/rejected/\(UID(high: 1, low: 1).hex)")
        #expect(unknown.status == 404 && unknown.body["code"] == "rejected_event_unknown", "\(unknown.text)")
        for (arguments, words) in [([], "refused nothing"), (["--retry"], "retried 0")] as [([String], String)] {
            let answer = try await AurumBinary.run(["database", "rejected"] + arguments, environment: environment)
            #expect(answer.status == 0 && answer.output.contains(words), "\(answer.output)")
        }
        let repeated = try await AurumBinary.run(["database", "queries", "--repeated"], environment: environment)
        #expect(repeated.status == 0 && repeated.output.contains("No request ran"), "\(repeated.output)")
        for arguments in [["--slow", "--repeated"], ["--sort", "luck"], ["--limit", "0"]] {
            let refused = try await AurumBinary.run(["database", "queries"] + arguments, environment: environment)
            #expect(refused.status != 0, "\(arguments)")
        }
        await server.stop()
        let none = try await AurumBinary.run(["database", "queries"], environment: environment)
        #expect(none.status != 0 && none.output.contains("no server runs"), "\(none.output)")
    }
}
