import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// SIGKILL while installs are being matched.
@Suite(.serialized) struct InstallCrashTests {
    private static let each = 60

    @Test func `every acknowledged install is matched once after SIGKILL, with the click that was acknowledged`()
        async throws
    {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        var target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let keys = try await admin.makeKey(["events:write", "analytics:read"])
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let rounds = 6
        for round in 0..<rounds {
            let writer = TestClient(url: target.url, key: keys.key)
            for part in 0..<3 {
                // An install within a second of its click is fraud.
                let clicked = (SystemWallClock().now - .seconds(300)).milliseconds
                let lines = (0..<Self.each).flatMap { number -> [String] in
                    let name = "\(round)-\(part)-\(number)"
                    return [
                        #"{"id":"t-\#(name)","type":"click","click_id":"c-\#(name)","ts":\#(clicked)}"#,
                        #"{"id":"i-\#(name)","type":"install","device_id":"d-\#(name)","click_id":"c-\#(name)"}"#,
                    ]
                }
                let answer = try await writer.call(
                    "POST", "/v1/events", Array(lines.joined(separator: "\n").utf8),
                    ["content-type": "application/x-ndjson"])
                #expect(
                    answer.status == 202 && answer.body["stored"]?.integer == Int64(2 * Self.each), "\(answer.text)")
            }
            // Somewhere between reading, keeping and deciding.
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...400, using: &random)))
            await server.kill()
            target = try await server.restart()
        }
        let reader = TestClient(url: target.url, key: keys.key)
        let wanted = Int64(rounds * 3 * Self.each)
        let deadline = ContinuousClock.now + .seconds(30)
        var totals = JSONValue.null
        while ContinuousClock.now < deadline, totals["installs"]?.integer != wanted {
            totals = try await reader.get("/v1/attribution/installs/campaigns").body["totals"] ?? .null
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(totals["installs"]?.integer == wanted && totals["organic"] == 0, "\(totals.canonical), seed \(seed)")
        var (seen, after): (Set<String>, String) = ([], "")
        var isOver = false
        while !isOver {
            let page = try await reader.get("/v1/attribution/installs?limit=1000" + after).body
            for install in page["installs"]?.array ?? [] {
                let id = install["id"]?.string ?? ""
                #expect(seen.insert(id).inserted && install["version"] == 1, "\(id)")
                #expect(install["touch"]?["id"]?.string == "t" + id.dropFirst(), "\(install.canonical)")
            }
            let next = page["next"]?.string
            isOver = next == nil
            after = "&after=" + (next?.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")
        }
        #expect(Int64(seen.count) == wanted, "seed \(seed)")
        await server.stop()
    }
}
