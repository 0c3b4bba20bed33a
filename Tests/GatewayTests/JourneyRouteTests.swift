internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// Single conversions of runs over the log, over the real routes.
struct JourneyRouteTests {
    private struct Gateway {
        let harness: CaptureHarness
        let open: OpenDatabase
        let attribution: LogAttribution
        let reader: String
        let writer: String

        init() async throws {
            let made = try Made()
            harness = try await CaptureHarness(register: { book, access, log in
                let store = log.store
                let open = made.open
                let attribution = LogAttribution(
                    database: open.database, source: store, persons: { store.persons(org: $0) },
                    folder: open.folder.file("runs"), clock: open.clock, registry: open.registry,
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                made.attribution = attribution
                LogAttributionRoutes(
                    access: access, parts: LogAttributionParts(attribution) { _, _ in nil }, clock: open.clock
                ).register(in: book)
            })
            (open, attribution) = (made.open, try #require(made.attribution))
            reader = try await harness.key(scopes: [.analyticsRead])
            writer = try await harness.key(scopes: [.eventsWrite])
        }

        /// What the registration leaves behind; one thread.
        private final class Made {
            let open: OpenDatabase
            var attribution: LogAttribution?

            init() throws { open = try OpenDatabase() }
        }

        func get(_ path: String, key: String? = nil) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/attribution/log-conversions" + path, key: key ?? reader)
        }

        func send(_ events: [JSONValue], key: String? = nil) async throws {
            let body = events.map(\.canonical).joined(separator: "\n")
            let sent = try await harness.post(
                "/v1/events", body, ["content-type": "application/x-ndjson"], key: key ?? writer)
            #expect(sent.status == 202 && sent.json["quarantined"] == 0, "\(sent.text)")
        }

        func run(org: String = "acme") async throws {
            _ = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase"), org: org, id: UID(now: harness.clock.now))
        }

        func sale(_ id: String) -> [JSONValue] {
            let at = harness.clock.now.milliseconds
            return [
                [
                    "id": .string("click of " + id), "type": "click", "ts": .integer(at - 60_000),
                    "anonymous_id": .string(id),
                    "campaign": ["name": "spring", "source": "google", "medium": "cpc"],
                ],
                [
                    "id": .string(id), "type": "conversion", "name": "purchase", "ts": .integer(at - 1000),
                    "anonymous_id": .string(id), "value": 12.5, "currency": "USD",
                ],
            ]
        }
    }

    @Test func `a conversion is listed and explained once a run has credited it`() async throws {
        let gateway = try await Gateway()
        try await gateway.send(gateway.sale("a/1 é"))
        let early = try await gateway.get("")
        #expect(early.status == 404 && early.code == "attribution_not_computed", "\(early.text)")
        try await gateway.run()
        let page = try await gateway.get("?limit=10")
        #expect(page.status == 200, "\(page.text)")
        let listed = page.json["conversions"]?.array ?? []
        #expect(listed.count == 1 && listed[0]["event"] == "a/1 é" && listed[0]["amount_minor"] == 1250)
        #expect(page.json["next"] == .null && page.json["result"]?["version"] == 1)
        let path = "/" + "a/1 é".percentEncoded + "/why"
        let why = try await gateway.get(path + "?model=linear&app=shop")
        #expect(why.status == 200, "\(why.text)")
        #expect(why.json["journey"]?.array?.first?["campaign"] == "spring")
        let credit = why.json["models"]?.array?.first?["credits"]?.array?.first
        #expect(credit?["credit_ppm"] == 1_000_000 && credit?["amount_minor"] == 1250)
        try await gateway.send(gateway.sale("b"))
        let notYet = try await gateway.get("/b/why")
        #expect(notYet.status == 409 && notYet.code == "not_yet_run", "\(notYet.text)")
        let click = try await gateway.get("/" + "click of a/1 é".percentEncoded + "/why")
        #expect(click.status == 409 && click.code == "not_credited", "\(click.text)")
        _ = try await gateway.harness.log.upkeep.erase(
            org: "acme", [PersonIdentifier(.anonymous, "a/1 é")], actor: "test")
        let erased = try await gateway.get(path)
        #expect(erased.status == 410 && erased.code == "event_erased", "\(erased.text)")
        await gateway.harness.log.close()
    }

    @Test func `a schedule is set, listed beside the conversions and taken back`() async throws {
        let gateway = try await Gateway()
        let manager = try await gateway.harness.key(scopes: [.campaignsWrite])
        func send(_ method: HTTPRequest.Method, _ name: String, _ body: String = "") async throws
            -> CaptureHarness.Answer
        {
            try await gateway.harness.call(
                method, "/v1/attribution/conversions/\(name)/schedule", Array(body.utf8),
                ["content-type": "application/json"], key: manager)
        }
        let set = try await send(.put, "purchase", #"{"every_hours":6}"#)
        #expect(set.status == 200 && set.json["every_hours"] == 6 && set.json["last"] == .null, "\(set.text)")
        for path in ["schedules", "conversions"] {
            let listed = try await gateway.harness.call(.get, "/v1/attribution/" + path, key: gateway.reader)
            #expect(listed.json["schedules"]?.array?.map { $0["conversion"] } == ["purchase"], "\(listed.text)")
        }
        let wrong = try await send(.put, "purchase", #"{"every_hours":0}"#)
        #expect(wrong.status == 422 && wrong.text.contains("every_hours"), "\(wrong.text)")
        let unknown = try await send(.put, "nothing", #"{"every_hours":6}"#)
        #expect(unknown.status == 404 && unknown.code == "conversion_unknown", "\(unknown.text)")
        let refused = try await gateway.harness.call(
            .delete, "/v1/attribution/conversions/purchase/schedule", key: gateway.reader)
        #expect(refused.status == 403)
        #expect(try await send(.delete, "purchase").status == 204)
        let gone = try await send(.delete, "purchase")
        #expect(gone.status == 404 && gone.code == "schedule_unknown", "\(gone.text)")
        await gateway.harness.log.close()
    }

    @Test func `custom weights are saved, and a report before the next run says what is missing`() async throws {
        let gateway = try await Gateway()
        let manager = try await gateway.harness.key(scopes: [.campaignsWrite])
        func save(_ custom: String) async throws -> CaptureHarness.Answer {
            let body = #"{"where":"name = purchase","starts_at":"2020-01-01","custom":\#(custom)}"#
            return try await gateway.harness.call(
                .put, "/v1/attribution/conversions/purchase", Array(body.utf8), ["content-type": "application/json"],
                key: manager)
        }
        func report() async throws -> CaptureHarness.Answer {
            try await gateway.harness.call(
                .get, "/v1/attribution/log-report?conversion=purchase&model=custom", key: gateway.reader)
        }
        try await gateway.send(gateway.sale("a"))
        try await gateway.run()
        let early = try await report()
        #expect(early.status == 409 && early.code == "no_custom_weights", "\(early.text)")
        let wrong = try await save(#"{"first":-1,"last":2}"#)
        #expect(wrong.status == 422 && wrong.text.contains("The weight of first is negative."), "\(wrong.text)")
        let saved = try await save(#"{"first":1,"last":3}"#)
        #expect(saved.status == 200 && saved.json["custom"]?["last"]?.double == 3, "\(saved.text)")
        try await gateway.run()
        let found = try await report()
        #expect(found.status == 200 && found.json["totals"]?["conversions"]?.double == 1, "\(found.text)")
        await gateway.harness.log.close()
    }

    @Test func `windows of a campaign are set, obeyed by the next run, listed and ended`() async throws {
        let gateway = try await Gateway()
        let manager = try await gateway.harness.key(scopes: [.campaignsWrite])
        func call(_ method: HTTPRequest.Method, _ query: String = "", _ body: String = "", key: String) async throws
            -> CaptureHarness.Answer
        {
            try await gateway.harness.call(
                method, "/v1/attribution/windows" + query, Array(body.utf8), ["content-type": "application/json"],
                key: key)
        }
        // The click of each sale is 59 seconds before it, far inside an hour.
        try await gateway.send(gateway.sale("a"))
        let body = #"{"scope":"campaign","name":"Big Spring","click_hours":2,"starts_at":"2020-01-01"}"#
        let set = try await call(.put, "", body, key: manager)
        #expect(set.status == 200 && set.json["version"] == 1 && set.json["name"] == "big spring", "\(set.text)")
        #expect(set.json["click_hours"]?.double == 2 && set.json["view_hours"] == .null && set.json["ended"] == false)
        try await gateway.run()
        let runs = try await gateway.harness.call(.get, "/v1/attribution/runs", key: gateway.reader)
        let head = try #require(runs.json["runs"]?.array?.first)
        #expect(head["facts"]?["conversions"] == 1 && head["facts"]?["windows"] == nil, "\(runs.text)")
        func one(_ run: String, key: String) async throws -> CaptureHarness.Answer {
            try await gateway.harness.call(.get, "/v1/attribution/runs/\(run)", key: key)
        }
        let run = head["run"]?.string ?? ""
        let whole = try await one(run, key: gateway.reader)
        let windows = whole.json["results"]?.array?.first?["facts"]?["windows"]?.array
        #expect(whole.status == 200 && windows?.map { $0["name"] } == ["big spring"], "\(whole.text)")
        for bad in ["no-id", UID(high: 1, low: 1).hex] {
            let none = try await one(bad, key: gateway.reader)
            #expect(none.status == 404 && none.code == "run_unknown", "\(none.text)")
        }
        #expect(try await one(run, key: manager).status == 403)
        let report = try await gateway.harness.call(
            .get, "/v1/attribution/log-report?conversion=purchase&model=last", key: gateway.reader)
        #expect(report.json["result"]?["run"] == head["run"], "\(report.text)")
        #expect(report.json["result"]?["facts"]?["windows"] == nil, "\(report.text)")
        let early = try await call(.put, "", #"{"scope":"campaign","name":"x","click_hours":0}"#, key: manager)
        #expect(early.status == 422 && early.text.contains("click_hours"), "\(early.text)")
        let empty = try await call(.put, "", #"{"scope":"campaign","name":"x","ended":true}"#, key: manager)
        #expect(empty.status == 422, "\(empty.text)")
        let unknown = try await call(.delete, "?scope=network&name=x", key: manager)
        #expect(unknown.status == 404 && unknown.code == "window_unknown", "\(unknown.text)")
        let ended = try await call(.delete, "?scope=campaign&name=Big%20Spring", key: manager)
        #expect(ended.status == 200 && ended.json["ended"] == true && ended.json["version"] == 2, "\(ended.text)")
        let listed = try await call(.get, key: gateway.reader)
        #expect(listed.json["windows"]?.array?.map { $0["version"] } == [1, 2], "\(listed.text)")
        #expect(try await call(.put, "", body, key: gateway.reader).status == 403)
        #expect(try await call(.get, key: gateway.writer).status == 403)
        await gateway.harness.log.close()
    }

    @Test func `nobody sees the conversions of another organisation`() async throws {
        let gateway = try await Gateway()
        let theirs = try await gateway.harness.keys.create(
            KeyRequest(
                org: "other", app: "shop", kind: .server, scopes: [.eventsWrite], origins: [], historical: false)
        ).text.exposed
        try await gateway.send(gateway.sale("mine"))
        try await gateway.send(gateway.sale("hidden"), key: theirs)
        try await gateway.run()
        try await gateway.run(org: "other")
        let found = try await gateway.get("/hidden/why")
        #expect(found.status == 404 && found.code == "event_unknown", "\(found.text)")
        let listed = try await gateway.get("").json["conversions"]?.array ?? []
        #expect(listed.map { $0["event"]?.string } == ["mine"])
        for path in ["", "/mine/why"] {
            #expect(try await gateway.get(path, key: gateway.writer).status == 403, "\(path)")
            let open = try await gateway.harness.call(.get, "/v1/attribution/log-conversions" + path)
            #expect(open.status == 401, "\(path)")
        }
        await gateway.harness.log.close()
    }

    @Test(arguments: [
        "?limit=0", "?limit=201", "?from=soon", "?from=2026-01-02&to=2026-01-01", "?after=1-2", "?after=x-y-z",
        "?after=1-0a-0", "?conversion=No%20Name", "?version=0", "/x/why?model=odd", "/x/why?version=x",
        "/x/why?conversion=%00", "/x/why?app=%00",
    ])
    func `a wrong question is refused with its reason`(path: String) async throws {
        let gateway = try await Gateway()
        let answer = try await gateway.get(path)
        #expect(answer.status == 400 && answer.code == "bad_query", "\(answer.text)")
        await gateway.harness.log.close()
    }

    @Test func `what no run counted is not known`() async throws {
        let gateway = try await Gateway()
        try await gateway.send(gateway.sale("a"))
        try await gateway.run()
        for (path, code) in [
            ("/nothing/why", "event_unknown"), ("/a%00/why", "event_unknown"),
            ("/a/why?conversion=signup", "attribution_not_computed"),
            ("/a/why?version=7", "attribution_not_computed"), ("?conversion=never", "attribution_not_computed"),
        ] {
            let answer = try await gateway.get(path)
            #expect(answer.status == 404 && answer.code == code, "\(path): \(answer.text)")
        }
        await gateway.harness.log.close()
    }
}
