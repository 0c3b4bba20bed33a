internal import Accounts
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// Decisions about installs over the real routes, from a real log.
struct InstallRouteTests {
    private struct Gateway {
        let open: OpenDatabase
        let harness: CaptureHarness
        let writer: String
        let reader: String

        init() async throws {
            let open = try OpenDatabase()
            harness = try await CaptureHarness(register: { book, access, log in
                InstallDecisionRoutes(
                    access: access,
                    parts: InstallParts(Self.installs(open, log)) { wish, _ in
                        wish.from == nil ? nil : UID(high: 1, low: 2)
                    }
                ).register(in: book)
            })
            self.open = open
            writer = try await harness.key(scopes: [.eventsWrite, .campaignsWrite])
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        static func installs(_ open: OpenDatabase, _ log: EventLog) -> InstallAttribution {
            InstallAttribution(
                database: open.database, source: log.store, log: log.store.logIdentity, clock: open.clock,
                registry: open.registry, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }

        func follow() async throws {
            try await InstallFollower(Self.installs(open, harness.log)).catchUp()
        }

        func get(_ path: String) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/attribution/installs" + path, key: reader)
        }

        func recompute(_ body: String, key: String) async throws -> CaptureHarness.Answer {
            try await harness.post(
                "/v1/attribution/installs/recompute", body, ["content-type": "application/json"], key: key)
        }
    }

    @Test func `an install that a server reports is matched with its click, listed, counted and shown`() async throws {
        let gateway = try await Gateway()
        #expect(try await gateway.get("").json == ["installs": [], "next": .null])
        let events = """
            {"type":"click","id":"t1","click_id":"c 1","campaign":{"name":"spring","network":"net"}}
            {"type":"click","id":"t2","device_id":"D"}
            """
        _ = try await gateway.harness.post(
            "/v1/events", events, ["content-type": "application/x-ndjson"], key: gateway.writer)
        gateway.harness.clock.advance(by: .seconds(30))
        for body in [
            #"{"id":"install/7 f","device_id":"E","install_referrer":"aurum_click=c%201"}"#,
            #"{"id":"second","device_id":"F"}"#,
        ] {
            let answer = try await gateway.harness.post(
                "/v1/installs", body, ["content-type": "application/json"], key: gateway.writer)
            #expect(answer.status == 202)
        }
        try await gateway.follow()
        let list = try await gateway.get("?limit=1")
        #expect(list.json["installs"]?.array?.count == 1 && list.json["next"]?.string != nil, "\(list.text)")
        let matched = try await gateway.get("?method=install_referrer&campaign=spring").json["installs"]?.array
        #expect(matched?.count == 1 && matched?.first?["id"] == "install/7 f" && matched?.first?["app"] == "shop")
        let one = try await gateway.get("/install%2F7%20f")
        #expect(one.json["touch"]?["id"] == "t1" && one.json["versions"] == [1], "\(one.text)")
        #expect(one.json["device"] == "E" && one.json["fraud"]?["verdict"] == "clean")
        let report = try await gateway.get("/campaigns")
        #expect(report.json["totals"]?["installs"] == 2 && report.json["totals"]?["organic"] == 1)
        #expect(report.json["lines"]?.array?.contains { $0["campaign"] == "spring" } == true)
        for path in ["/nobody", "/second?version=2", "/second?app=other"] {
            let missing = try await gateway.get(path)
            #expect(missing.status == 404 && missing.code == "install_unknown", "\(path)")
        }
        await gateway.harness.log.close()
    }

    @Test func `questions that cannot be are named, and each needs its scope`() async throws {
        let gateway = try await Gateway()
        for query in [
            "?method=magic", "?limit=0", "?from=yesterday", "?after=x", "?app=%00", "?campaign=%00", "/x?version=0",
        ] {
            let refused = try await gateway.get(query)
            #expect(refused.status == 400 && refused.code == "bad_query", "\(query) \(refused.text)")
        }
        for path in ["", "/campaigns", "/x"] {
            let refused = try await gateway.harness.call(.get, "/v1/attribution/installs" + path, key: gateway.writer)
            #expect(refused.status == 403 && refused.code == "scope_missing", "\(path)")
        }
        let asked = try await gateway.recompute(#"{"from":"2026-11-01"}"#, key: gateway.writer)
        #expect(asked.status == 202 && asked.json["job"]?.string == UID(high: 1, low: 2).hex)
        for body in [#"{"from":"x"}"#, #"{"colour":1}"#, #"{"from":"2026-11-02","to":"2026-11-01"}"#, "[]"] {
            #expect(try await gateway.recompute(body, key: gateway.writer).status == 422, "\(body)")
        }
        #expect(try await gateway.recompute("{}", key: gateway.reader).status == 403)
        await gateway.harness.log.close()
    }
}
