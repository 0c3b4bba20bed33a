import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Requests that arrive more than once at a real server, and what health says after a backup.
@Suite(.serialized) struct IdempotencySystemTests {
    @Test func `a lead and an export sent ten times at once are one each, with equal answers`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let lead: JSONValue = [
            "type": "rooftop",
            "contact": ["name": "Ana Diaz", "phone": "9175550143", "email": "ana@example.com", "zip": "11215"],
            "attributes": ["bill": 41_000, "ownership": "owner"],
        ]
        let requests: [(path: String, body: JSONValue, list: String)] = [
            ("/v1/leads", lead, "leads"), ("/v1/exports", ["format": "ndjson"], "exports"),
        ]
        for (path, body, list) in requests {
            let headers = ["idempotency-key": "once-\(list)"]
            let texts = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        let answer = try await admin.post(path, body, headers: headers)
                        #expect(answer.status == 201, "\(answer.text)")
                        return answer.text
                    }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(texts.count == 1, "\(texts)")
            #expect(try await admin.get(path).body[list]?.array?.count == 1)
            var other = body.object ?? [:]
            let change: (String, JSONValue) = list == "leads" ? ("test", true) : ("compression", "gzip")
            other[change.0] = change.1
            let refused = try await admin.post(path, .object(other), headers: headers)
            #expect(refused.status == 409 && refused.text.contains("idempotency_key_reused"), "\(refused.text)")
            let long = try await admin.post(
                path, body, headers: ["idempotency-key": String(repeating: "k", count: 201)])
            #expect(long.status == 422, "\(long.text)")
        }
        let backup = try await admin.post("/v1/backups", ["to": .string(folder.file("backup"))])
        #expect(backup.body["verified"] == true, "\(backup.text)")
        // The probe looks every five seconds.
        let deadline = ContinuousClock.now + .seconds(60)
        var database: JSONValue?
        while database?["numbers"]?["backup_verified"] == nil, ContinuousClock.now < deadline {
            database = try await admin.get("/health").body["components"]?["database"]
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(database?["reason"]?.string?.hasPrefix("backup") != true, "\(String(describing: database))")
        #expect(database?["numbers"]?["backup_verified"] != nil, "\(String(describing: database))")
        await server.stop()
    }
}
