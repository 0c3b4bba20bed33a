import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Faults on purpose in a running server: who may set them, what they do to sales, and what no report may say then.
@Suite(.serialized) struct FaultPlanSystemTests {
    private static let enabled = [
        "AURUM_PROFILE": "test", "AURUM_FAULTS_ENABLED": "true", "AURUM_LOG_LEVEL": "critical",
    ]

    private func put(_ client: TestClient, _ body: JSONValue) async throws -> TestClient.Answer {
        try await client.call(
            "PUT", "/v1/faults", Array(body.canonical.utf8), ["content-type": "application/json"])
    }

    @Test func `a server that was not started for faults has none, and cannot be given any`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "critical"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        for answer in [
            try await admin.get("/v1/faults"), try await put(admin, ["plan": "redis error 1"]),
            try await admin.call("DELETE", "/v1/faults"),
        ] { #expect(answer.status == 409 && answer.body["code"] == "faults_disabled", "\(answer.text)") }
        #expect(try await admin.get("/health").body["components"]?["faults"] == nil)
        let command = try await AurumBinary.run(
            ["faults", "set", "redis error 1", "--data-dir", folder.file("data")])
        #expect(command.status != 0 && command.output.contains("AURUM_FAULTS_ENABLED"), "\(command.output)")
        await server.stop()
    }

    @Test(arguments: [
        (["AURUM_FAULTS_ENABLED": "true"], "profile other than production"),
        (["AURUM_FAULTS_PLAN": "redis error 1"], "faults.plan needs faults.enabled"),
        (
            ["AURUM_FAULTS_PLAN": "redis burn 1", "AURUM_FAULTS_ENABLED": "true", "AURUM_PROFILE": "test"],
            "KIND one of"
        ),
        (["AURUM_PROFILE": "beta"], "profile (environment) must be one of"),
    ])
    func `faults in production, or none that can be understood, stop the start`(
        _ settings: [String: String], _ part: String
    ) async throws {
        let folder = TemporaryFolder()
        let answer = try await AurumBinary.run(
            ["serve"], environment: settings.merging(["AURUM_DATA_DIR": folder.file("data")]) { $1 })
        #expect(answer.status != 0 && answer.output.contains(part), "\(answer.output)")
    }

    @Test func `leads are sold once each while a third of all calls of the buyer goes wrong`() async throws {
        let folder = TemporaryFolder()
        try await FakesServer.withRunning(buyers: [FakeBuyerConfiguration(code: "helios")]) { fakes, base in
            let server = SpawnedServer(
                executable: AurumBinary.path, environment: Self.enabled, dataDirectory: folder.file("data"))
            let target = try await server.start()
            let admin = TestClient(url: target.url, key: target.adminToken)
            let client = try await admin.makeKey(["leads:write", "leads:read", "ledger:read", "keys:manage"])
            #expect(try await put(client, ["plan": "redis error 1"]).status == 403, "only the administrator may")
            let wrong = try await put(admin, ["plan": "buyer:* burn 1"])
            #expect(wrong.status == 422 && wrong.text.contains("KIND one of"), "\(wrong.text)")
            #expect(try await put(admin, ["plan": 5]).status == 422)
            #expect(try await admin.get("/v1/faults").body == ["active": false])

            let set = try await AurumBinary.run(
                [
                    "faults", "set", "seed=5; buyer:* duplicate 0.3; buyer:* latency 0.5 20", "--data-dir",
                    folder.file("data"),
                ])
            #expect(set.status == 0 && set.output.contains("duplicate 0.3"), "\(set.output)")
            let component = try await admin.get("/health").body["components"]?["faults"]
            #expect(component?["state"] == "degraded" && component?["reason"] == "active", "\(component ?? .null)")
            try await PostgresSystemTests.register(admin, "helios", at: base)
            var ids: [String] = []
            for number in 0..<20 {
                let answer = try await PostgresSystemTests.offer(client, number)
                ids.append(try #require(answer.body["id"]?.string, "\(answer.text)"))
            }
            let buyer = try #require(fakes.buyer("helios"))
            for id in ids {
                let deadline = ContinuousClock.now + .seconds(20)
                var state: String?
                while state != "sold", ContinuousClock.now < deadline {
                    state = try await client.get("/v1/leads/\(id)").body["state"]?.string
                    if state != "sold" { try await Task.sleep(for: .milliseconds(25)) }
                }
                #expect(state == "sold", "lead \(id)")
                #expect(buyer.book.count { UID($0.leadID) == UID(id) } == 1, "lead \(id), posted twice, is one lead")
            }
            let accounts = try await client.get("/v1/ledger").body["accounts"]?.array ?? []
            #expect(!accounts.isEmpty && accounts.reduce(0) { $0 + ($1["balance_minor"]?.integer ?? 1) } == 0)
            let off = try await AurumBinary.run(["faults", "off", "--data-dir", folder.file("data")])
            #expect(off.status == 0)
            #expect(try await admin.get("/health").body["components"]?["faults"]?["state"] == "ok")
            await server.stop()
        }
    }

    @Test func `no check of a server with active faults is a PASS`() async throws {
        for (faults, verdict, status) in [("nobody error 1", Verdict.void, Int32(2)), ("off", .pass, 0)] {
            let folder = TemporaryFolder()
            let answer = try await AurumBinary.run(
                ["validate", "--spawn", "--profile", "tiny", "--check", "G03", "--out", folder.path],
                environment: Self.enabled.merging(["AURUM_FAULTS_PLAN": faults]) { $1 }, within: .seconds(60))
            let report = try JSONDecoder().decode(
                ValidationReport.self, from: Data(contentsOf: URL(fileURLWithPath: folder.file("report.json"))))
            #expect(report.results.map(\.verdict) == [verdict], "\(answer.output)")
            #expect(answer.status == status, "\(answer.output)")
            if verdict == .void { #expect(report.results[0].findings.contains { $0.contains("faults") }) }
        }
    }
}
