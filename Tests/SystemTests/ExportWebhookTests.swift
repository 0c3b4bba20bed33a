import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing
import Validation

/// Exports to a webhook over the real command and server.
@Suite(.serialized) struct ExportWebhookTests {
    private static func job(
        _ id: String, _ client: TestClient, until isMeant: (JSONValue) -> Bool
    ) async throws -> JSONValue {
        let deadline = ContinuousClock.now + .seconds(90)
        while true {
            let job = try await client.get("/v1/exports/\(id)").body
            if isMeant(job) { return job }
            guard ContinuousClock.now < deadline else {
                Issue.record("it does not come so far: \(job.canonical)")
                return job
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    @Test func `a file reaches its webhook once it answers, also when the server is killed in between`() async throws {
        try await FakesServer.withRunning(buyers: []) { fakes, url in
            let folder = TemporaryFolder()
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: ["AURUM_LOG_LEVEL": "error", "AURUM_EGRESS_ALLOW_LOOPBACK": "true"],
                dataDirectory: folder.file("data"))
            let target = try await server.start()
            let client = try await TestClient(url: target.url, key: target.adminToken)
                .makeKey(["events:write", "events:read"])
            let line = #"{"id":"e1","type":"track","name":"order","user_id":"u1"}"#
            _ = try await client.call(
                "POST", "/v1/events", Array(line.utf8), ["content-type": "application/x-ndjson"])
            let wish: JSONValue = [
                "compression": "none", "target": "webhook", "url": .string(url + "/callbacks/exports"),
                "secret": .string(FakeReceiver.secret),
            ]
            // Half a minute in which it is seen waiting.
            fakes.receiver.plan(Array(repeating: FakeReceiver.Answer(503), count: 3))
            let id = try #require(try await client.post("/v1/exports", wish).body["id"]?.string)
            let failing = try await Self.job(id, client) { ($0["attempts"]?.array?.count ?? 0) > 0 }
            #expect(failing["state"] == "done" && failing["delivery"] == "waiting", "\(failing.canonical)")
            await server.kill()
            _ = try await server.restart()
            let told = try await Self.job(id, client) { $0["delivery"] != "waiting" }
            #expect(told["delivery"] == "delivered", "\(told.canonical)")
            let got = fakes.receiver.callbacks
            #expect(got.count >= 3 && got.allSatisfy { $0.isSigned && $0.delivery == id && $0.body == got[0].body })
            #expect(got.last?.body.contains("order") == true)

            fakes.receiver.plan([FakeReceiver.Answer(410)])
            let other = try #require(try await client.post("/v1/exports", wish).body["id"]?.string)
            _ = try await Self.job(other, client) { $0["delivery"] == "refused" }
            let again = try await AurumBinary.run(
                ["exports", "deliver", other], environment: ["AURUM_DATA_DIR": folder.file("data")])
            #expect(again.status == 0, "\(again.output)")
            _ = try await Self.job(other, client) { $0["delivery"] == "delivered" }
            let late = try await AurumBinary.run(
                ["exports", "deliver", other], environment: ["AURUM_DATA_DIR": folder.file("data")])
            #expect(late.status != 0 && late.output.contains("was delivered"), "\(late.output)")
            await server.stop()
        }
    }

    @Test func `a killed server makes up the periods of a schedule that passed, each once, and posts them`()
        async throws
    {
        try await FakesServer.withRunning(buyers: []) { fakes, url in
            let folder = TemporaryFolder()
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: ["AURUM_LOG_LEVEL": "error", "AURUM_EGRESS_ALLOW_LOOPBACK": "true"],
                dataDirectory: folder.file("data"))
            let target = try await server.start()
            let client = try await TestClient(url: target.url, key: target.adminToken).makeKey(["events:read"])
            let plan: JSONValue = [
                "every_hours": 1, "delay_minutes": 0,
                "export": [
                    "target": "webhook", "url": .string(url + "/callbacks/exports"),
                    "secret": .string(FakeReceiver.secret),
                ],
            ]
            let set = try await client.call(
                "PUT", "/v1/export-schedules/hourly", Array(plan.canonical.utf8), ["content-type": "application/json"])
            #expect(set.status == 200, "\(set.text)")
            await server.kill()
            // As if the last two hours had passed without a server.
            let database = try Database.openSQLite(
                at: folder.file("data/aurum.db"), registry: MetricRegistry(), clock: SystemWallClock())
            try await database.write("test.pastSchedule") { tx in
                try tx.run(
                    """
                    UPDATE export_schedules SET period_from = period_from - 7200000000,
                        period_to = period_to - 7200000000, due_at = due_at - 7200000000
                    """)
            }
            try database.close()
            _ = try await server.restart()
            var made: [JSONValue] = []
            let deadline = ContinuousClock.now + .seconds(150)
            while made.count < 2 || made.contains(where: { $0["delivery"] != "delivered" }) {
                guard ContinuousClock.now < deadline else { break }
                made = try await client.get("/v1/exports").body["exports"]?.array ?? []
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(made.count >= 2 && made.allSatisfy { $0["schedule"] == "hourly" && $0["delivery"] == "delivered" })
            #expect(Set(made.compactMap { $0["from"]?.string }).count == made.count)
            #expect(Set(fakes.receiver.callbacks.map(\.delivery)) == Set(made.compactMap { $0["id"]?.string }))
            await server.stop()
        }
    }
}
