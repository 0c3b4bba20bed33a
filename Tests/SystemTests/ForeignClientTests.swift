import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// RudderStack's and PostHog's own Python clients against a running server.
struct ForeignClientTests {
    private func run(_ script: String) async throws {
        let client = try ChildProcess(AurumBinary.root + "/.venv/bin/python", ["-c", script])
        let status = try await client.exit()
        #expect(status == 0 && client.output.contains("errors 0"), "\(client.output)")
    }

    /// Stored events of an app, as the API answers them.
    private func events(_ key: TestClient, app: String) async throws -> [JSONValue] {
        let list = try await key.get("/v1/events?app=\(app)&limit=1000")
        return list.body["events"]?.array ?? []
    }

    private func server() async throws -> (SpawnedServer, TestClient) {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        return (server, TestClient(url: target.url, key: target.adminToken))
    }

    @Test(arguments: [true, false]) func `RudderStack's real client reports no error`(gzip: Bool) async throws {
        let (server, admin) = try await server()
        let key = try await admin.makeKey(["events:write", "events:read"], app: "rudder")
        try await run(
            """
            import rudderstack.analytics as rudder
            from rudderstack.analytics.client import Client
            errors = []
            client = Client("\(key.key)", host="\(key.url)", gzip=\(gzip ? "True" : "False"),
                            on_error=lambda error, items: errors.append(error))
            client.identify("user-1", {"plan": "pro"})
            for n in range(50):
                client.track("user-1", "Signed Up", {"n": n, "revenue": 9.5, "currency": "EUR"},
                             {"campaign": {"source": "google", "medium": "cpc", "name": "c1"}})
            client.page("user-1", "Docs", "Home", {"url": "https://ex.com/?gclid=abc"})
            client.group("user-1", "g1", {"name": "Acme"})
            client.alias("anon-1", "user-1")
            client.screen("user-1", "App", "Start")
            client.shutdown()
            print("errors", len(errors), errors[:1])
            """)
        let stored = try await events(key, app: "rudder")
        let types = Dictionary(grouping: stored) { $0["type"]?.string ?? "" }.mapValues(\.count)
        #expect(types == ["identify": 1, "track": 50, "page": 1, "group": 1, "alias": 1, "screen": 1])
        #expect(stored.allSatisfy { $0["source_format"] == "rudder" && $0["extra"]?["channel"] == "server" })
        let track = try #require(stored.first { $0["type"] == "track" })
        #expect(track["value"] == "9.5" && track["currency"] == "EUR" && track["campaign"]?["name"] == "c1")
        #expect(stored.first { $0["type"] == "page" }?["click_id"] == "abc")
        #expect(stored.first { $0["type"] == "identify" }?["traits"] == ["plan": "pro"])
        await server.stop()
    }

    @Test(arguments: [true, false]) func `PostHog's real client reports no error`(gzip: Bool) async throws {
        let (server, admin) = try await server()
        let key = try await admin.makeKey(["events:write", "events:read"], app: "posthog")
        try await run(
            """
            import logging, posthog
            from datetime import datetime, timezone
            from posthog import Posthog
            errors = []
            class Keep(logging.Handler):
                def emit(self, record): errors.append(record.getMessage())
            log = logging.getLogger("posthog"); log.addHandler(Keep(level=logging.WARNING))
            client = Posthog("\(key.key)", host="\(key.url)", gzip=\(gzip ? "True" : "False"),
                             on_error=lambda error, items: errors.append(error))
            for n in range(50):
                client.capture("user signed up", distinct_id="user-1", properties={"n": n, "plan": "pro"})
            client.capture("$pageview", distinct_id="user-1",
                           properties={"$current_url": "https://ex.com/?utm_source=google"})
            client.capture("$identify", distinct_id="user-1",
                           properties={"$anon_distinct_id": "anon-1", "$set": {"plan": "pro"}})
            client.set(distinct_id="user-1", properties={"email": "x@example.com"})
            client.set_once(distinct_id="user-1", properties={"first": "google"})
            client.alias("anon-2", "user-1")
            client.group_identify("company", "acct-9", {"name": "Acme"})
            try: raise ValueError("boom")
            except Exception as error: client.capture_exception(error, distinct_id="user-1")
            print("flag", client.feature_enabled("x", "user-1"))
            client.shutdown()
            old = Posthog("\(key.key)", host="\(key.url)", historical_migration=True,
                          on_error=lambda error, items: errors.append(error))
            old.capture("old event", distinct_id="user-2", timestamp=datetime(2021, 2, 3, tzinfo=timezone.utc))
            old.shutdown()
            print("errors", len(errors), errors[:3])
            """)
        let stored = try await events(key, app: "posthog")
        let names = Dictionary(grouping: stored) { "\($0["type"]?.string ?? "") \($0["name"]?.string ?? "")" }
            .mapValues(\.count)
        #expect(
            names == [
                "track user signed up": 50, "page page": 1, "identify identify": 3, "alias alias": 1, "group group": 1,
                "track $exception": 1, "track $feature_flag_called": 1, "track old event": 1,
            ], "\(names)")
        #expect(stored.allSatisfy { $0["source_format"] == "posthog" && $0["context"]?["library"] == "posthog-python" })
        let identify = try #require(stored.first { $0["user_id"] == "user-1" && $0["type"] == "identify" })
        #expect(identify["anonymous_id"] == "anon-1" && identify["traits_set"] == ["plan": "pro"])
        let alias = try #require(stored.first { $0["type"] == "alias" })
        #expect(alias["previous_id"] == "anon-2" && alias["user_id"] == "user-1")
        #expect(stored.first { $0["type"] == "page" }?["campaign"]?["source"] == "google")
        #expect(stored.first { $0["name"] == "old event" }?["ts"] == "2021-02-03T00:00:00.000Z")
        await server.stop()
    }

    /// Bombs of every packing on every kind of route, against the memory of the real process.
    @Test func `a bomb costs less than 100 ms and 8 MB of memory`() async throws {
        let (server, admin) = try await server()
        let key = try await admin.makeKey(["events:write"])
        let pid = try #require(await server.pid)
        let gibibyte = zstdBomb(bytes: 1 << 30)
        let bombs = [("zstd", gibibyte), ("gzip", gzip([UInt8](repeating: 0x20, count: 16 << 20)))]
        let routes = [
            "/v1/events", "/v1/batch", "/beacon/v1/batch?writeKey=\(key.key)", "/batch/",
            "/mp/collect?api_secret=\(key.key)", "/v1/installs",
        ]
        func send(_ path: String, _ encoding: String, _ bomb: [UInt8]) async throws -> TestClient.Answer {
            try await key.call(
                "POST", path, bomb, ["content-encoding": encoding, "content-type": "application/json"])
        }
        _ = try await key.call("POST", "/v1/events", Array("[]".utf8), ["content-type": "application/json"])
        for path in routes { _ = try await send(path, "identity", Array("{}".utf8)) }
        for path in routes {
            for (encoding, bomb) in bombs {
                var best = Duration.seconds(9)
                for _ in 0..<5 {
                    // The peak since now.
                    try "5".write(toFile: "/proc/\(pid)/clear_refs", atomically: false, encoding: .utf8)
                    let before = try memory(pid, "VmRSS")
                    let started = ContinuousClock.now
                    let answer = try await send(path, encoding, bomb)
                    best = min(best, ContinuousClock.now - started)
                    #expect(answer.status == 413 && answer.body["code"] == "inflate_ratio", "\(path): \(answer.text)")
                    let grown = try memory(pid, "VmHWM") - before
                    #expect(grown < 8 << 10, "\(path) \(encoding): \(grown) KB")
                }
                #expect(best < .milliseconds(100), "\(path) \(encoding)")
            }
        }
        await server.stop()
    }

    /// A figure of `/proc/PID/status` in KB.
    private func memory(_ pid: Int32, _ name: String) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix(name) })
        return try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
    }
}
