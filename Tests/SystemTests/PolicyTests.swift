import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Settings and quarantine as an operator uses them, and a replay that is killed.
struct PolicyTests {
    @Test func `a replay killed at any moment is finished by the next one, with every event stored once`() async throws
    {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        var target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(["events:write", "events:read", "policies:write", "privacy:manage"])
        let type = ["content-type": "application/json"]
        let strict = Array(#"{"mode":"enforce","names":{"order":{"required":["total"]}}}"#.utf8)
        #expect(try await key.call("PUT", "/v1/apps/default/plan", strict, type).status == 200)
        let lines = (0..<2000).map { #"{"id":"k\#($0)","type":"track","name":"order","user_id":"killed\#($0 % 4)"}"# }
        let body = Array(lines.joined(separator: "\n").utf8)
        let sent = try await key.call("POST", "/v1/events", body, ["content-type": "application/x-ndjson"])
        #expect(sent.body["quarantined"] == 2000, "\(sent.text.prefix(300))")
        let open = Array(#"{"names":{"order":true}}"#.utf8)
        #expect(try await key.call("PUT", "/v1/apps/default/plan", open, type).status == 200)
        for _ in 0..<soakCount(100) {
            let delay = Duration.milliseconds(Int.random(in: 1...120, using: &random))
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try? await key.call(
                        "POST", "/v1/quarantine/replay", Array("{}".utf8), type, timeout: .seconds(3))
                }
                try? await Task.sleep(for: delay)
                await server.kill()
                await group.waitForAll()
            }
            target = try await server.restart()
        }
        let last = try await key.call("POST", "/v1/quarantine/replay", Array("{}".utf8), type)
        #expect(last.status == 200 && last.body["quarantined"] == 0, "\(last.text)")
        let again = try await key.call("POST", "/v1/quarantine/replay", Array("{}".utf8), type)
        #expect(again.body["matched"] == 0 && again.body["stored"] == 0, "\(again.text)")
        var ids: [String] = []
        for person in 0..<4 {
            let list = try await key.get("/v1/events?user_id=killed\(person)&limit=1000")
            ids += (list.body["events"]?.array ?? []).compactMap { $0["id"]?.string }
        }
        #expect(ids.count == 2000 && Set(ids).count == 2000, "\(ids.count) events, seed \(seed)")
        let receipt = try await key.get("/v1/receipts/\(sent.body["receipt"]?.string ?? "")")
        #expect(receipt.body["stored"] == 2000 && receipt.body["quarantined"] == 0, "\(receipt.text.prefix(300))")
        await server.stop()
    }

    @Test func `settings and the quarantine are changed beside a running server and without one`() async throws {
        let folder = TemporaryFolder()
        let environment = [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
            "AURUM_DATA_DIR": folder.file("data"),
        ]
        func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
            try await AurumBinary.run(arguments, environment: environment)
        }
        let alone = try await run(["apps", "set", "default", "lateness_hours=48", "own_hosts=[\"shop.example\"]"])
        #expect(alone.status == 0 && alone.output.contains("\"lateness_hours\":48"), "\(alone.output)")
        let wrong = try await run(["apps", "set", "default", "sessions=both"])
        #expect(wrong.status != 0 && wrong.output.contains("sessions: must be one of client, derived"))

        let server = try ChildProcess(AurumBinary.path, ["serve"], environment: environment)
        let ready = try await server.line(containing: "Aurum is ready at", within: .seconds(20))
        let url = ready.split(separator: " ").first { $0.hasPrefix("http") }.map(String.init) ?? ""
        let made = try await run(["keys", "create", "--scope", "events:write", "--json"])
        let key = try JSONDecoder().decode(JSONValue.self, from: Data(made.output.utf8))["key"]?.string ?? ""
        let sent = try await TestClient(url: url, key: key).call(
            "POST", "/v1/events", Array("nonsense".utf8), ["content-type": "application/x-ndjson"])
        #expect(sent.body["quarantined"] == 1, "\(sent.text)")
        let person = #"{"id":"i1","type":"identify","user_id":"u1","traits":{"email":"needle@mail.example"}}"#
        _ = try await TestClient(url: url, key: key).call(
            "POST", "/v1/events", Array(person.utf8), ["content-type": "application/x-ndjson"])
        let contact = try JSONDecoder().decode(
            JSONValue.self, from: Data(contentsOf: URL(fileURLWithPath: folder.file("data/server.json"))))
        let admin = TestClient(url: url, key: contact["token"]?.string ?? "")
        #expect(try await admin.get("/v1/events?user_id=u1").text.contains("needle") == false)
        let open = try await admin.get("/v1/events?user_id=u1&unseal=true")
        #expect(open.body["events"]?.array?.first?["traits"]?["email"] == "needle@mail.example", "\(open.text)")
        let beside = try await run(["apps", "set", "default", "plan_mode=warn"])
        #expect(beside.output.contains("\"plan_mode\":\"warn\"") && beside.output.contains("\"lateness_hours\":48"))
        #expect(try await run(["apps", "show", "default"]).output.contains("\"version\":2"))
        #expect(try await run(["apps", "list"]).output.contains("shop.example"))
        #expect(try await run(["quarantine", "counts"]).output == "1  default  not_json\n")
        #expect(try await run(["quarantine", "list"]).output.contains("nonsense"))
        #expect(try await run(["quarantine", "replay", "--dry-run"]).output.contains("\"not_json\":1"))
        server.terminate()
        _ = try await server.exit(within: .seconds(30))
        #expect(try await run(["quarantine", "delete"]).status != 0, "not everything by mistake")
        #expect(try await run(["quarantine", "delete", "--reason", "not_json"]).output == "deleted 1\n")
        #expect(try await run(["quarantine", "counts"]).output.isEmpty)
        let mode = try FileManager.default.attributesOfItem(atPath: folder.file("data/personal-fields.key"))
        #expect(mode[.posixPermissions] as? Int == 0o600)
    }
}
