import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Segment's own Python client against a running server.
struct SegmentClientTests {
    @Test func `the real client's events are stored and appear on the dashboard`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(["events:write", "events:read"], app: "site")
        let script = """
            import segment.analytics as analytics
            analytics.write_key = "\(key.key)"
            analytics.host = "\(target.url)"
            errors = []
            analytics.on_error = lambda error, items: errors.append(error)
            analytics.identify("user-1", {"plan": "pro"})
            for n in range(50):
                analytics.track("user-1", "Signed Up", {"n": n, "revenue": 9.5}, {"campaign": {"source": "google", "medium": "cpc", "name": "c1"}})
            analytics.page("user-1", "Docs", "Home", {"url": "https://ex.com/?gclid=abc"})
            analytics.group("user-1", "g1", {"name": "Acme"})
            analytics.alias("anon-1", "user-1")
            analytics.screen("user-1", "App", "Start")
            analytics.shutdown()
            print("errors", len(errors), errors[:1])
            """
        let client = try ChildProcess(AurumBinary.root + "/.venv/bin/python", ["-c", script])
        let status = try await client.exit()
        #expect(status == 0 && client.output.contains("errors 0"), "\(client.output)")

        let list = try await key.get("/v1/events?user_id=user-1&limit=1000")
        let events = list.body["events"]?.array ?? []
        let types = Dictionary(grouping: events) { $0["type"]?.string ?? "" }.mapValues(\.count)
        #expect(types["track"] == 50 && types["identify"] == 1 && types["page"] == 1, "\(types)")
        #expect(types["group"] == 1 && types["screen"] == 1, "\(types)")
        let track = try #require(events.first { $0["type"] == "track" })
        #expect(track["name"] == "Signed Up" && track["campaign"]?["name"] == "c1", "\(track.canonical)")

        let overview = try await admin.get("/v1/overview")
        #expect((overview.body["events"]?["total"]?.integer ?? 0) >= 55, "\(overview.text)")
        await server.stop()
    }
}
