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

/// Re-engagements over the real routes, from a real log.
struct ReEngagementRouteTests {
    private struct Gateway {
        let open: OpenDatabase
        let harness: CaptureHarness
        let writer: String
        let reader: String

        init() async throws {
            let open = try OpenDatabase()
            harness = try await CaptureHarness(register: { book, access, log in
                let installs = Self.installs(open, log)
                InstallDecisionRoutes(access: access, parts: InstallParts(installs) { _, _ in nil }).register(in: book)
                ReEngagementRoutes(access: access, installs: installs).register(in: book)
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

        func send(_ events: String) async throws {
            let answer = try await harness.post(
                "/v1/events", events, ["content-type": "application/x-ndjson"], key: writer)
            #expect(answer.status == 202)
        }

        func put(_ rule: String, key: String) async throws -> CaptureHarness.Answer {
            try await harness.call(
                .put, "/v1/attribution/windows/re-engagement", Array(rule.utf8),
                ["content-type": "application/json"], key: key)
        }

        func get(_ path: String, key: String? = nil) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/attribution" + path, key: key ?? reader)
        }
    }

    @Test func `who comes back by a link is listed, counted and shown, and the setting says how long was away`()
        async throws
    {
        let gateway = try await Gateway()
        #expect(try await gateway.get("/re-engagements").json == ["re_engagements": [], "next": .null])
        let saved = try await gateway.put(#"{"inactive_days":2,"app":"shop"}"#, key: gateway.writer)
        #expect(saved.status == 200 && saved.json["version"] == 1, "\(saved.text)")
        #expect(saved.json["click_hours"]?.double == 720)
        try await gateway.send(#"{"type":"install","id":"i","device_id":"D"}"#)
        gateway.harness.clock.advance(by: .seconds(2 * 86_400 + 1))
        try await gateway.send(
            #"{"type":"click","id":"t","click_id":"c","campaign":{"name":"back","network":"net"}}"#)
        gateway.harness.clock.advance(by: .seconds(30))
        try await gateway.send(#"{"type":"open","id":"o 1","device_id":"D","click_id":"c"}"#)
        try await InstallFollower(Gateway.installs(gateway.open, gateway.harness.log)).catchUp()
        let list = try await gateway.get("/re-engagements?campaign=back&app=shop&limit=1")
        #expect(list.json["re_engagements"]?.array?.map { $0["id"]?.string } == ["o 1"], "\(list.text)")
        #expect(list.json["next"]?.string != nil)
        let one = try await gateway.get("/re-engagements/o%201")
        #expect(one.json["outcome"] == "re_engagement" && one.json["touch"]?["id"] == "t", "\(one.text)")
        #expect(one.json["inactive_days"] == 2 && one.json["install"] == "i" && one.json["versions"] == [1])
        let report = try await gateway.get("/re-engagements/campaigns")
        #expect(report.json["outcomes"]?["re_engagement"] == 1 && report.json["waiting"] == 0)
        let install = try await gateway.get("/installs/i?at=2100-01-01")
        #expect(install.json["in_force"]?["source"] == "install", "\(install.text)")
        #expect(install.json["re_engagements"]?.array?.count == 1)
        for path in ["/nobody", "/o%201?version=2", "/o%201?app=other"] {
            let missing = try await gateway.get("/re-engagements" + path)
            #expect(missing.status == 404 && missing.code == "open_unknown", "\(path)")
        }
        await gateway.harness.log.close()
    }

    @Test func `questions and rules that cannot be are named, and each needs its scope`() async throws {
        let gateway = try await Gateway()
        for query in [
            "/re-engagements?outcome=magic", "/re-engagements?limit=0", "/re-engagements?from=yesterday",
            "/re-engagements?after=x", "/re-engagements?app=%00", "/re-engagements/x?version=0", "/installs/x?at=soon",
        ] {
            let refused = try await gateway.get(query)
            #expect(refused.status == 400 && refused.code == "bad_query", "\(query) \(refused.text)")
        }
        for path in ["/re-engagements", "/re-engagements/campaigns", "/re-engagements/x", "/windows/re-engagement"] {
            #expect(try await gateway.get(path, key: gateway.writer).status == 403, "\(path)")
        }
        for body in [#"{"inactive_days":31}"#, #"{"colour":1}"#, "[]"] {
            #expect(try await gateway.put(body, key: gateway.writer).status == 422, "\(body)")
        }
        #expect(try await gateway.put("{}", key: gateway.reader).status == 403)
        let rules = try await gateway.get("/windows/re-engagement")
        #expect(rules.json["rules"] == [] && rules.json["standard"]?["inactive_days"] == 7, "\(rules.text)")
        await gateway.harness.log.close()
    }
}
