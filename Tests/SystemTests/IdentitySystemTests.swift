import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Persons across SIGKILL, over HTTP and on the command line.
@Suite(.serialized) struct IdentitySystemTests {
    private static let ndjson = ["content-type": "application/x-ndjson"]

    private func person(_ client: TestClient, _ user: String) async throws -> TestClient.Answer {
        try await client.get("/v1/identity?namespace=user&value=\(user)")
    }

    @Test func `after SIGKILL every person, merge and unmerge that was answered is there`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        var target = try await server.start()
        let rounds = soakCount(75)
        for round in 0..<rounds {
            let admin = TestClient(url: target.url, key: target.adminToken)
            let events = try await admin.makeKey(["events:write", "events:read"])
            var before: [String: JSONValue] = [:]
            for number in 0..<30 {
                let (visitor, user) = ("a\(random.next() % 40)", "u\(random.next() % 20)")
                let line =
                    #"{"id":"k\#(round)-\#(number)","type":"identify","anonymous_id":"\#(visitor)","user_id":"\#(user)"}"#
                let sent = try await events.call("POST", "/v1/events", Array(line.utf8), Self.ndjson)
                #expect(sent.status == 202)
                if number % 3 == 0 {
                    let other = "u\(random.next() % 20)"
                    let merge = try await admin.post(
                        "/v1/identity/merge",
                        [
                            "a": ["namespace": "user", "value": .string(user)],
                            "b": ["namespace": "user", "value": .string(other)], "reason": "test",
                        ])
                    #expect(merge.status == (user == other ? 422 : 201), "\(merge.text)")
                }
                if number % 5 == 0, let link = try await person(events, user).body["links"]?.array?.last {
                    let answer = try await admin.post(
                        "/v1/identity/unmerge", ["merge_id": link["merge_id"] ?? .null, "reason": "test"])
                    #expect(answer.status == 200, "\(answer.text)")
                }
            }
            for user in 0..<20 { before["u\(user)"] = try await person(events, "u\(user)").body }
            await server.kill()
            target = try await server.restart()
            let again = TestClient(url: target.url, key: events.key)
            for (user, report) in before {
                #expect(try await person(again, user).body == report, "\(user), round \(round), seed \(seed)")
            }
        }
        #expect(
            try await TestClient(url: target.url, key: "").get("/v1/identity?namespace=user&value=u1").status == 401)
        await server.stop()
    }

    @Test func `persons and funnels follow a merge, and an unmerge restores every answer`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let events = try await admin.makeKey(["events:write", "events:read", "analytics:read"])
        let now = SystemWallClock().now
        func ago(_ minutes: Int64) -> String {
            Timestamp(microseconds: now.microseconds - minutes * 60_000_000).rfc3339
        }
        let lines = [
            #"{"id":"1","type":"page","url":"https://a.example/","user_id":"u1","ts":"\#(ago(20))"}"#,
            #"{"id":"2","type":"track","name":"signup","user_id":"u2","ts":"\#(ago(10))"}"#,
            #"{"id":"3","type":"identify","anonymous_id":"v1","user_id":"u1","ts":"\#(ago(15))"}"#,
            #"{"id":"4","type":"page","url":"https://a.example/","anonymous_id":"v1","ts":"\#(ago(60))"}"#,
        ]
        let sent = try await events.call(
            "POST", "/v1/events", Array(lines.joined(separator: "\n").utf8), Self.ndjson)
        #expect(sent.body["stored"] == .integer(4), "\(sent.text)")
        func answers() async throws -> [JSONValue?] {
            let unique = try await events.post(
                "/v1/query",
                ["from": .string(ago(120)), "to": .string(ago(0)), "measures": ["unique(person)"]])
            let funnel = try await events.post(
                "/v1/query/funnel",
                [
                    "from": .string(ago(120)), "to": .string(ago(0)),
                    "steps": [["where": #"type = "page""#], ["where": #"name = "signup""#]],
                ])
            #expect(unique.status == 200 && funnel.status == 200, "\(unique.text) \(funnel.text)")
            return [unique.body["rows"], funnel.body["steps"]]
        }
        let before = try await answers()
        #expect("\(before[0] ?? .null)".contains("2"), "\(before)")
        let merge = try await admin.post(
            "/v1/identity/merge",
            [
                "a": ["namespace": "user", "value": "u1"], "b": ["namespace": "user", "value": "u2"], "reason": "test",
            ])
        #expect(merge.status == 201, "\(merge.text)")
        let merged = try await answers()
        #expect(merged[0] != before[0] && merged[1] != before[1], "\(merged)")
        let unmerged = try await admin.post(
            "/v1/identity/unmerge", ["merge_id": merge.body["merge_id"] ?? .null, "reason": "test"])
        #expect(unmerged.status == 200, "\(unmerged.text)")
        #expect(try await answers() == before)
        await server.stop()
    }

    @Test func `the command merges, shows and unmerges with a server and without`() async throws {
        let folder = TemporaryFolder()
        let environment = [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "error",
            "AURUM_DATA_DIR": folder.file("data"),
        ]
        func run(_ arguments: String...) async throws -> (status: Int32, output: String) {
            try await AurumBinary.run(["identity"] + arguments, environment: environment)
        }
        func links() async throws -> Int {
            let shown = try await run("show", "user:u2")
            let report = try JSONDecoder().decode(JSONValue.self, from: Data(shown.output.utf8))
            return report["links"]?.array?.count ?? -1
        }
        let made = try await run("merge", "user:u1", "user:u2", "--reason", "test")
        // The log line of the merge stands before it.
        let merge = made.output.split(separator: "\n").last { $0.hasPrefix("mrg_") }.map(String.init) ?? ""
        #expect(made.status == 0 && merge.utf8.count == 36, "\(made.output)")
        #expect(try await links() == 1)
        let server = try ChildProcess(AurumBinary.path, ["serve"], environment: environment)
        _ = try await server.line(containing: "Aurum is ready at", within: .seconds(20))
        #expect(try await links() == 1)
        let gone = try await run("unmerge", merge, "--reason", "test")
        #expect(gone.status == 0 && gone.output.contains("unmerged \(merge)"), "\(gone.output)")
        #expect(try await links() == 0)
        let unknown = try await run("unmerge", merge, "--reason", "test")
        #expect(unknown.status != 0 && unknown.output.contains("no such merge"))
        server.terminate()
        #expect(try await server.exit(within: .seconds(30)) == 0)
        let refused = try await run("merge", "user:guest", "user:u2", "--reason", "test")
        #expect(refused.status != 0 && refused.output.contains("identifier_not_linkable"))
        #expect(try await run("show", "nobody:u1").status != 0)
    }
}
