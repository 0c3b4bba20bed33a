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

/// Saturation, cohorts, retention, advice and claims over the real routes, a real log and a real database.
struct GrowthRouteTests {
    private struct Gateway {
        let open: OpenDatabase
        let harness: CaptureHarness
        let writer: String
        let reader: String
        let watch: BudgetWatch

        init() async throws {
            let open = try OpenDatabase()
            var made: BudgetWatch?
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            harness = try await CaptureHarness(register: { book, access, log in
                let attribution = AttributionService(database: open.database, events: log.store)
                let engine = QueryEngine(
                    source: log.store, registry: open.registry, clock: open.clock, logger: quiet)
                let campaigns = CampaignReports(
                    attribution: attribution,
                    spend: SpendStore(database: open.database, clock: open.clock, registry: open.registry),
                    engine: engine, clock: open.clock, registry: open.registry)
                let growth = GrowthReports(campaigns: campaigns)
                made = BudgetWatch(reports: growth, logger: quiet)
                GrowthRoutes(
                    access: access, reports: growth,
                    behaviour: BehaviourService(engine: engine, clock: open.clock), clock: open.clock, logger: quiet
                ).register(in: book)
                SpendRoutes(access: access, reports: campaigns, clock: open.clock, logger: quiet).register(in: book)
            })
            self.open = open
            watch = try #require(made)
            writer = try await harness.key(scopes: [.campaignsWrite])
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        func get(_ path: String) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/attribution/" + path, key: reader)
        }

        func send(_ method: HTTPRequest.Method, _ path: String, _ body: String) async throws -> CaptureHarness.Answer {
            try await harness.call(
                method, "/v1/attribution/" + path, Array(body.utf8), ["content-type": "application/json"], key: writer)
        }
    }

    @Test func `each question has an answer on an empty server, and needs its scope`() async throws {
        let gateway = try await Gateway()
        for path in [
            "cohorts", "claims", "claims/shared", "advice", "budgets", "advice/decisions", "stops",
            "retention?campaign=x",
        ] {
            let answer = try await gateway.get(path)
            #expect(answer.status == 200, "\(path): \(answer.text)")
            #expect(try await gateway.harness.call(.get, "/v1/attribution/" + path).status == 401, "\(path)")
            let other = try await gateway.harness.call(.get, "/v1/attribution/" + path, key: gateway.writer)
            #expect(other.status == 403, "\(path)")
        }
        let unknown = try await gateway.get("saturation?campaign=ghost")
        #expect(unknown.status == 404 && unknown.code == "campaign_unknown", "\(unknown.text)")
        let body = #"{"campaign":"c","currency":"USD"}"#
        let refused = try await gateway.harness.call(
            .put, "/v1/attribution/budgets", Array(body.utf8), ["content-type": "application/json"],
            key: gateway.reader)
        #expect(refused.status == 403)
        await gateway.harness.log.close()
    }

    @Test(arguments: [
        "saturation", "saturation?campaign=a&on=clicks", "saturation?campaign=a&currency=dollars",
        "saturation?campaign=%00", "cohorts?by=hour", "cohorts?group_by=day", "cohorts?model=linear",
        "cohorts?days=0", "cohorts?days=9&from=2026-01-01", "cohorts?from=2026-02-01&to=2026-01-01",
        "cohorts?timezone=Mars/Base", "retention?mode=odd", "retention?first=click", "retention?timezone=Mars/Base",
        "claims?days=401", "claims?against=clicks", "claims?timezone=Mars/Base", "advice?maturity_days=366",
        "claims?days=x", "claims?model=none", "claims/shared?limit=0", "claims/shared?limit=201",
        "claims/shared?after=next", "claims/shared?after=1-2", "claims/shared?days=0",
        "claims/shared?against=clicks", "claims/shared?model=none", "claims/shared?timezone=Mars/Base",
        "cohorts?to=2026-01-01&from=2026-01-01",
        "cohorts?from=2020-01-01&to=2026-01-01", "cohorts?from=2199-01-01",
        "advice?model=none", "advice/decisions?state=old", "stops?state=closed",
    ])
    func `a wrong question is refused with its reason`(path: String) async throws {
        let gateway = try await Gateway()
        let answer = try await gateway.get(path)
        #expect(answer.status == 400, "\(answer.text)")
        await gateway.harness.log.close()
    }

    @Test func `budgets are set and read, and decisions without advice are refused`() async throws {
        let gateway = try await Gateway()
        let set = try await gateway.send(
            .put, "budgets",
            #"{"campaign":"spring","currency":"usd","target_roas":1.5,"cap_minor":900,"floor_minor":5}"#)
        #expect(set.status == 200, "\(set.text)")
        let young = try await gateway.get("advice?maturity_days=13")
        #expect(young.status == 422 && young.text.contains("at least 14"), "\(young.text)")
        #expect(try await gateway.get("advice?maturity_days=14").status == 200)
        let budgets = try await gateway.get("budgets").json["budgets"]?.array ?? []
        #expect(budgets.count == 1 && budgets[0]["target_roas"]?.double == 1.5 && budgets[0]["cap_minor"] == 900)
        for body in [
            "{}", #"{"campaign":"c","currency":"U"}"#, #"{"campaign":"c","currency":"USD","target_roas":"x"}"#,
            #"{"campaign":"c","currency":"USD","target_roas":0}"#,
            #"{"campaign":"c","currency":"USD","cap_minor":1,"floor_minor":2}"#,
            #"{"campaign":"c","currency":"USD","cap_minor":1.5}"#, #"{"campaign":"c","currency":"USD","auto":"yes"}"#,
            #"{"campaign":"c","currency":"USD","may_pause":1}"#, #"{"campaign":"c","currency":"USD","dry_run":"no"}"#,
        ] {
            let answer = try await gateway.send(.put, "budgets", body)
            #expect(answer.status == 422, "\(body): \(answer.text)")
        }
        for (body, field, detail) in [
            (#""target_roas":0"#, "target_roas", "must be from 0.01 to 1000"),
            (#""cap_minor":1,"floor_minor":2"#, "cap_minor", "must not be below floor_minor"),
            (#""cap_minor":-1"#, "cap_minor", "must be from 0 to 1000000000000 minor units"),
            (#""floor_minor":1000000000001"#, "floor_minor", "must be from 0 to 1000000000000 minor units"),
        ] {
            let answer = try await gateway.send(.put, "budgets", #"{"campaign":"c","currency":"USD",\#(body)}"#)
            let problem = answer.json["problems"]?.array?.first
            #expect(problem?["field"] == .string(field) && problem?["detail"] == .string(detail), "\(answer.text)")
        }
        #expect(try await gateway.send(.put, "budgets", "{").status == 400)
        let dry = try await gateway.send(
            .post, "advice/decisions",
            #"{"campaign":"spring","currency":"USD","action":"pause","to_minor":0,"decision":"dry_run"}"#)
        #expect(dry.status == 422 && dry.json["problems"]?.array?.count == 2, "\(dry.text)")
        let wrong = try await gateway.send(.post, "advice/decisions", #"{"action":"hold","decision":"perhaps"}"#)
        #expect(wrong.status == 422 && wrong.json["problems"]?.array?.count == 5, "\(wrong.text)")
        let early = try await gateway.send(
            .post, "advice/decisions",
            #"{"campaign":"spring","currency":"USD","action":"raise","to_minor":7,"decision":"approved"}"#)
        #expect(early.status == 404 && early.code == "campaign_unknown", "\(early.text)")
        await gateway.harness.log.close()
    }

    @Test func `shared claims are told a page at a time, to the organisation whose they are`() async throws {
        let gateway = try await Gateway()
        let now = gateway.open.clock.now
        var lines = ""
        for query in ["gclid=g&utm_campaign=spring", "fbclid=f&utm_campaign=video"] {
            lines += #"{"id":"\#(UID(now: now).hex)","type":"page","anonymous_id":"ann","session_id":"s","#
            lines += #""url":"https://a.example/?\#(query)"}"# + "\n"
        }
        let receipt = try await gateway.harness.log.capture.submit(
            Array(lines.utf8), format: .ndjson, source: CaptureSource(org: "acme", app: "shop"), receivedAt: now)
        #expect(receipt.stored == 2)
        let attribution = AttributionService(database: gateway.open.database, events: gateway.harness.log.store)
        for number in 1...3 {
            try await attribution.credit(
                Sale(
                    org: "acme", leg: UID(high: 9, low: UInt64(number)), traceID: nil, visitorID: "ann",
                    price: .usd(cents: 100), at: now + .seconds(number)))
        }
        let file = """
            date,network,campaign,currency,spend,conversions
            2026-11-21,google,spring,USD,1.00,2
            2026-11-21,meta,video,USD,1.00,3

            """
        let sent = try await gateway.harness.call(
            .post, "/v1/spend", Array(file.utf8), ["content-type": "text/csv"], key: gateway.writer)
        #expect(sent.status == 200, "\(sent.text)")

        func ids(_ page: JSONValue) -> [String] {
            (page["conversions"]?.array ?? []).compactMap { $0["id"]?.string }
        }
        let legs = (1...3).reversed().map { UID(high: 9, low: UInt64($0)).hex }
        let first = try await gateway.get("claims/shared?limit=2").json
        let next = try #require(first["next"]?.string)
        let rest = try await gateway.get("claims/shared?limit=2&after=\(next)").json
        #expect(ids(first) + ids(rest) == legs && rest["next"] == .null)
        let claims = try await gateway.get("claims").json
        #expect(claims["totals"]?.array?.compactMap { $0["evidence"]?["click"]?.integer } == [3, 3])

        let rival = try await gateway.harness.keys.create(
            KeyRequest(
                org: "rival", app: "shop", kind: .server, scopes: [.analyticsRead], origins: [], historical: false))
        for path in ["claims/shared", "claims/shared?after=\(next)"] {
            let other = try await gateway.harness.call(.get, "/v1/attribution/" + path, key: rival.text.exposed)
            #expect(other.status == 200 && ids(other.json).isEmpty, "\(other.text)")
        }
        await gateway.harness.log.close()
    }

    @Test func `an alert and its pause are read, and the pause is acknowledged by its organisation alone`() async throws
    {
        let gateway = try await Gateway()
        let set = try await gateway.send(
            .put, "budgets",
            #"{"campaign":"spring","currency":"USD","cap_minor":10000,"may_pause":true,"dry_run":false}"#)
        #expect(set.json["may_pause"] == true && set.json["dry_run"] == false && set.json["auto"] == false)
        let spend = try await gateway.harness.call(
            .post, "/v1/spend",
            Array(#"[{"date":"2026-11-21","network":"g","campaign":"spring","currency":"USD","spend":900}]"#.utf8),
            ["content-type": "application/json"], key: gateway.writer)
        #expect(spend.status < 300, "\(spend.text)")
        try await gateway.watch.lookAtAll()
        let alerts = try await gateway.get("stops").json["alerts"]?.array ?? []
        #expect(alerts.count == 1 && alerts[0]["rule"] == "over_cap" && alerts[0]["open"] == true)
        #expect(alerts[0]["day"] == "2026-11-21" && alerts[0]["limit_minor"] == 11_000)
        let open = try await gateway.get("advice/decisions?state=open").json["decisions"]?.array ?? []
        #expect(open.count == 1 && open[0]["action"] == "pause" && open[0]["actor"] == "auto")
        let path = "advice/decisions/\(open[0]["id"]?.string ?? "")/acknowledge"
        let nobodys = UID(high: 1, low: 1).hex
        let unknown = try await gateway.send(.post, "advice/decisions/\(nobodys)/acknowledge", "")
        #expect(unknown.status == 404 && unknown.code == "decision_unknown", "\(unknown.text)")
        for id in ["none", nobodys + "0", String(nobodys.dropLast())] {
            let malformed = try await gateway.send(.post, "advice/decisions/\(id)/acknowledge", "")
            #expect(malformed.status == 400 && malformed.code == "malformed_id", "\(id): \(malformed.text)")
            #expect(malformed.text.contains("The id is malformed"), "\(malformed.text)")
        }
        let refused = try await gateway.harness.call(.post, "/v1/attribution/" + path, key: gateway.reader)
        #expect(refused.status == 403)
        for _ in 0..<2 {
            let done = try await gateway.send(.post, path, "")
            #expect(done.status == 200 && done.json["acknowledged_at"]?.string != nil, "\(done.text)")
        }
        #expect(try await gateway.get("advice/decisions?state=open").json["decisions"]?.array?.isEmpty == true)
        await gateway.harness.log.close()
    }

    @Test func `figures that add up to too much are a refusal with a sentence`() async throws {
        let gateway = try await Gateway()
        // Imported by a release that took twelve digits.
        for day in 10...19 {
            let answer = try await gateway.harness.call(
                .post, "/v1/spend",
                Array(#"[{"date":"2026-11-\#(day)","network":"g","campaign":"c","currency":"USD","spend":1}]"#.utf8),
                ["content-type": "application/json"], key: gateway.writer)
            #expect(answer.status < 300, "\(answer.text)")
        }
        try await gateway.open.database.write("test.hostile") { transaction in
            _ = try transaction.run("UPDATE spend_rows SET spend_minor = 1000000000000000000")
        }
        for path in ["cohorts", "cohorts?by=month&group_by=network", "claims"] {
            let answer = try await gateway.get(path)
            #expect(answer.status == 200 || answer.code == "figures_too_large", "\(path): \(answer.text)")
        }
        let month = try await gateway.get("cohorts?by=month")
        #expect(month.status == 422 && month.code == "figures_too_large", "\(month.text)")
        await gateway.harness.log.close()
    }
}
