import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Callbacks over the real command and server.
@Suite struct CallbackSystemTests {
    @Test func `a callback is made, tried and told of an install, and a refused delivery is sent again`() async throws {
        try await FakesServer.withRunning(buyers: []) { fakes, url in
            let folder = TemporaryFolder()
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: ["AURUM_LOG_LEVEL": "error", "AURUM_EGRESS_ALLOW_LOOPBACK": "true"],
                dataDirectory: folder.file("data"))
            let target = try await server.start()
            let secret = folder.file("secret")
            try FakeReceiver.secret.write(toFile: secret, atomically: true, encoding: .utf8)
            func callbacks(_ arguments: String...) async throws -> (status: Int32, output: String) {
                let answer = try await AurumBinary.run(
                    ["callbacks"] + arguments, environment: ["AURUM_DATA_DIR": folder.file("data")])
                return (answer.status, answer.output)
            }
            let made = try await callbacks(
                "add", "Everflow", "install", url + "/callbacks/here?c={click_id}&x={conversion_id}", "--secret", secret
            )
            #expect(made.status == 0 && made.output.contains("everflow  install  enabled  signed  GET"), "\(made)")
            #expect(!made.output.contains(FakeReceiver.secret))
            let id = String(made.output.prefix { $0 != " " })
            let wrong = try await callbacks("add", "everflow", "install", "https://n.example/?c={clickid}")
            #expect(wrong.status != 0 && wrong.output.contains("unknown macro {clickid}"), "\(wrong)")
            let shown = try await callbacks("test", id)
            #expect(shown.status == 0 && shown.output.contains("?c=sample%20click%2F1%262&x="), "\(shown)")
            #expect(fakes.receiver.callbacks.isEmpty)
            let sent = try await callbacks("test", id, "--send")
            #expect(sent.status == 0 && sent.output.contains("delivered: 204"), "\(sent)")
            fakes.receiver.plan([FakeReceiver.Answer(410)])
            let admin = TestClient(url: target.url, key: target.adminToken)
            let writer = try await admin.makeKey(["events:write"])
            let now = SystemWallClock().now
            let events: [JSONValue] = [
                [
                    "type": "click", "id": "t", "ts": .string((now - .seconds(7200)).rfc3339), "device_id": "d",
                    "click_id": "c 1", "campaign": ["network": "everflow"],
                ],
                ["type": "install", "id": "i", "ts": .string((now - .seconds(3600)).rfc3339), "device_id": "d"],
            ]
            let taken = try await writer.call(
                "POST", "/v1/events", Array(events.map(\.canonical).joined(separator: "\n").utf8),
                ["content-type": "application/x-ndjson"])
            #expect(taken.status == 202, "\(taken.text)")
            let delivery = try await Self.only("refused", admin)
            let again = try await callbacks("redrive", delivery)
            #expect(again.status == 0 && again.output.contains("waiting"), "\(again)")
            #expect(try await Self.only("delivered", admin) == delivery)
            let told = fakes.receiver.callbacks.suffix(2)
            #expect(told.allSatisfy { $0.query == ["c": "c 1", "x": "i"] && $0.isSigned && $0.delivery == delivery })
            let bad = try await admin.get("/v1/callbacks/deliveries?state=lost")
            #expect(bad.status == 400, "\(bad.text)")
            let script = try await admin.get("/assets/callbacks.js")
            #expect(script.status == 200 && script.text.contains("/v1/callbacks"), "\(script.text.prefix(200))")
            let gone = try await callbacks("remove", id)
            #expect(gone.status == 0 && gone.output.contains("removed"), "\(gone)")
            let missing = try await callbacks("test", id)
            #expect(missing.status != 0 && missing.output.contains("There is no such callback"), "\(missing)")
            await server.stop()
        }
    }

    /// The id of the only delivery, once it is in this state.
    private static func only(_ state: String, _ admin: TestClient) async throws -> String {
        let deadline = ContinuousClock.now + .seconds(30)
        while true {
            let answer = try await admin.get("/v1/callbacks/deliveries?state=\(state)")
            let all = answer.body["deliveries"]?.array ?? []
            if all.count == 1, let id = all[0]["id"]?.string { return id }
            guard ContinuousClock.now < deadline else {
                let known = try await admin.get("/v1/callbacks/deliveries")
                Issue.record("nothing is \(state): \(known.text.prefix(1000))")
                return ""
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}
