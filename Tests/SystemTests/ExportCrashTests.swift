import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// SIGKILL in the middle of an export.
@Suite(.serialized) struct ExportCrashTests {
    private static func body(_ start: Int, _ count: Int) -> [UInt8] {
        let lines = (start..<start + count).map { number in
            #"{"id":"e\#(number)","type":"track","name":"export \#(number % 13)","user_id":"u\#(number % 997)","#
                + #""props":{"n":\#(number)}}"#
        }
        return Array(lines.joined(separator: "\n").utf8)
    }

    private static func done(_ client: TestClient, _ id: String) async throws -> JSONValue {
        let deadline = ContinuousClock.now + .seconds(120)
        while true {
            let job = try await client.get("/v1/exports/\(id)").body
            if job["state"] == "done" || job["state"] == "failed" { return job }
            guard ContinuousClock.now < deadline else { return job }
        }
    }

    @Test func `an export of all events, whatever they refuse, is for few and leaves a record`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let reader = try await admin.makeKey(["events:write", "events:read"])
        let line = #"{"id":"e1","type":"track","name":"x","user_id":"u1","consent":{"ads":"denied"}}"#
        _ = try await reader.call("POST", "/v1/events", Array(line.utf8), ["content-type": "application/x-ndjson"])
        let wish: JSONValue = ["where": "type = track", "consent": "any"]
        let refused = try await reader.post("/v1/exports", wish)
        #expect(refused.status == 403 && refused.text.contains("scope_missing"), "\(refused.text)")
        let id = try #require(try await admin.post("/v1/exports", wish).body["id"]?.string)
        #expect(try await Self.done(admin, id)["rows"] == 1)
        #expect(try await reader.get("/v1/exports/\(id)/file").status == 403)
        #expect(try await admin.get("/v1/exports/\(id)/file").status == 200)
        let usual = try #require(try await reader.post("/v1/exports", ["where": "type = track"]).body["id"]?.string)
        #expect(try await Self.done(admin, usual)["rows"] == 0)
        #expect(try await reader.get("/v1/exports/\(usual)/file").status == 200)
        var records: [JSONValue] = []
        let deadline = ContinuousClock.now + .seconds(30)
        while records.isEmpty, ContinuousClock.now < deadline {
            records = try await admin.get("/v1/events?type=internal&name=export.unconfined").body["events"]?.array ?? []
        }
        #expect(records.count == 1 && records.first?["props"]?["export"]?.string == id, "\(records)")
        #expect(records.first?["props"]?["actor"]?.string?.isEmpty == false)
        await server.stop()

        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        for (consent, count) in [("ads", 0), ("any", 1)] {
            let command = try await AurumBinary.run(
                ["events", "export", "--where", "type = track", "--consent", consent, "--out", folder.file(consent)],
                environment: environment)
            #expect(command.status == 0 && command.output.contains("\(count) events,"), "\(command.output)")
        }
        let found = try await AurumBinary.run(
            ["events", "list", "--name", "export.unconfined"], environment: environment)
        #expect(found.output.components(separatedBy: "export.unconfined").count >= 3, "\(found.output)")
    }

    @Test func `a killed export goes on where it was, and its hash equals that of an unbroken one`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        var target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let client = try await admin.makeKey(["events:write", "events:read"])
        let total = 100_000
        for start in stride(from: 0, to: total, by: 2500) {
            let answer = try await client.call(
                "POST", "/v1/events", Self.body(start, 2500), ["content-type": "application/x-ndjson"])
            #expect(answer.body["stored"]?.integer == 2500, "\(answer.text)")
        }
        for compression in ["gzip", "zstd"] {
            let wish: JSONValue = ["format": "ndjson", "compression": .string(compression)]
            let id = try #require(try await client.post("/v1/exports", wish).body["id"]?.string)
            var killed = 0
            var seen: Int64 = 0
            while killed < 2 {
                let job = try await client.get("/v1/exports/\(id)").body
                if job["state"] == "done" { break }
                guard let rows = job["rows"]?.integer, rows > seen, job["state"] == "running" else { continue }
                seen = rows
                await server.kill()
                killed += 1
                target = try await server.restart()
            }
            let job = try await Self.done(client, id)
            #expect(job["state"] == "done" && job["rows"]?.integer == Int64(total), "\(job.canonical)")
            #expect(killed > 0 && job["resumed"]?.integer ?? 0 >= 1, "it was never cut off: \(job.canonical)")
            let other = try #require(try await client.post("/v1/exports", wish).body["id"]?.string)
            let whole = try await Self.done(client, other)
            #expect(whole["resumed"]?.integer == 0)
            #expect(job["sha256"]?.string?.count == 64 && whole["sha256"] == job["sha256"])
            #expect(whole["bytes"] == job["bytes"])
            #expect(whole["first_position"] == job["first_position"] && whole["last_position"] == job["last_position"])
        }
        let command = try await AurumBinary.run(
            ["events", "export", "--where", "name = \"export 3\"", "--format", "csv", "--out", folder.file("out.csv")],
            environment: ["AURUM_DATA_DIR": folder.file("data")])
        #expect(command.status == 0 && command.output.contains("7693 events"), "\(command.output)")
        await server.stop()
        let offline = try await AurumBinary.run(
            [
                "events", "export", "--where", "name = \"export 3\"", "--format", "csv", "--out",
                folder.file("again.csv"),
            ], environment: ["AURUM_DATA_DIR": folder.file("data")])
        #expect(offline.status == 0, "\(offline.output)")
        let one = try Data(contentsOf: URL(fileURLWithPath: folder.file("out.csv")))
        #expect(one == (try Data(contentsOf: URL(fileURLWithPath: folder.file("again.csv")))))
        #expect(one.split(separator: UInt8(ascii: "\n")).count == 7694)

        try Data(#"{"steps":["name = x"]}"#.utf8).write(to: URL(fileURLWithPath: folder.file("bad.json")))
        let bad = try await AurumBinary.run(
            ["events", "funnel", folder.file("bad.json")], environment: ["AURUM_DATA_DIR": folder.file("data")])
        #expect(bad.status != 0 && bad.output.contains("steps"), "\(bad.output)")
        let question = #"{"steps":[{"where":"name = \"export 1\""},{"where":"name = \"export 2\""}]}"#
        try Data(question.utf8).write(to: URL(fileURLWithPath: folder.file("funnel.json")))
        let funnel = try await AurumBinary.run(
            ["events", "funnel", folder.file("funnel.json")], environment: ["AURUM_DATA_DIR": folder.file("data")])
        #expect(funnel.status == 0 && funnel.output.contains("100.0 %"), "\(funnel.output)")
    }
}
