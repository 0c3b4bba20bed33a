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
