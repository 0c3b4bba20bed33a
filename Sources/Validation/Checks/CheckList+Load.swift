internal import AurumCore

/// Events at a constant rate and from a growing number of connections, and whether all of them are accounted for.
extension CheckList {
    static let load: [Check] = [
        Check(
            id: "T01", title: "sustained event load", phase: "load", suites: ["events"],
            threshold:
                "smoke: 200,000 events/s for 8 s; standard: 1,050,000 for 60 s; p95 < 85, p99 < 120 ms, "
                + "errors < 0.08 %, every event accounted for",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), seconds: 240, body: sustained),
        Check(
            id: "T07", title: "event load from 10 to 1,000 connections", phase: "load", suites: ["events"],
            threshold: "10 → 100 → 500 → 1,000 connections in a closed loop: nothing fails but by refusal with "
                + "Retry-After, every event accounted for",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), seconds: 1800, body: ramp),
    ]

    static let oracles: [Check] = [
        Check(
            id: "O1", title: "what was sent is what is there", phase: "integration", suites: ["events"],
            threshold:
                "sent = stored + duplicate + quarantined + bot + late + refused + unanswered; acknowledged ids found",
            source: "oracle", profiles: Set(ValidationProfile.allCases), body: accountedFor)
    ]

    @Sendable private static func sustained(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("t01")
        let scenario = context.scenario
        var plan = context.eventPlan(
            org, seconds: scenario.seconds + scenario.warmUpSeconds, warmUp: scenario.warmUpSeconds)
        let rate = try await context.sustainedRate(org)
        let before = try await EventAccount(context: context, findings: findings).rows(org, atLeast: 0).rows
        plan.eventsPerSecond = rate
        guard try await context.canOffer(rate * 2, plan) else { return }
        let (report, tally) = try await EventLoad(plan, logger: context.logger).measure()
        findings.sent(report.requests)
        findings.keep(tally.judged, as: "events")
        findings.keep(json: report.json, as: "load")
        let account = EventAccount(context: context, findings: findings)
        account.hold(report)
        try await account.scan(
            org, acknowledged: before + report.outcomes.total, uncertain: report.unanswered * plan.batch)
        let judge = SpeedJudge(report, scenario, findings)
        let n = Int(report.latency.n)
        findings.measure(Measure("offered", rate, "events/s", n: n))
        judge.measure("stored", report.acknowledgedPerSecond, "events/s", .atLeast, bar: rate * 0.99, n: n)
        judge.measure("p95", report.latency.p95, below: 85, n: report.latency.n)
        if report.latency.p99.enough || scenario.disturbanceVoids {
            judge.measure("p99", report.latency.p99, below: 120, n: report.latency.n)
        }
        judge.measure("errors", report.errorShare * 100, "%", .below, bar: 0.08, n: n)
        judge.costs(report)
    }

    /// A closed loop explores: its latency passes no bar. What is judged is that nothing goes missing.
    @Sendable private static func ramp(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("t07")
        let scenario = context.scenario
        var plan = context.eventPlan(org, seconds: 0, warmUp: 0)
        plan.users = scenario.ramp
        plan.batch = scenario.rampBatch
        let (report, tally) = try await EventLoad(plan, logger: context.logger).measure()
        findings.sent(report.requests)
        findings.keep(tally.judged, as: "events")
        findings.keep(json: report.json, as: "load")
        let account = EventAccount(context: context, findings: findings)
        account.hold(report)
        findings.expect(report.acknowledged > 0, "nothing was acknowledged")
        findings.expect(report.unanswered == 0, "\(report.unanswered) requests were never answered")
        findings.expect(tally.connectionsLost == 0, "\(tally.connectionsLost) connections broke")
        try await account.scan(
            org, acknowledged: report.outcomes.total, uncertain: report.unanswered * plan.batch)
        let most = plan.users.map(\.target).max() ?? 0
        findings.measure(Measure("connections, most", Double(most), "", n: report.requests))
        findings.measure(Measure("stored", report.acknowledgedPerSecond, "events/s", n: report.requests))
        findings.measure(Measure("refused", Double(report.refused), "", n: report.requests))
        findings.measure(
            Measure("p95, closed loop", report.latency.p95.milliseconds, "ms", n: Int(report.latency.n)))
        SpeedJudge(report, scenario, findings).costs(report)
    }

    @Sendable private static func accountedFor(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("o1")
        var plan = LoadPlan(target: context.target.url, keys: [org.writer])
        plan.eventsPerSecond = 20_000
        plan.seconds = 3
        plan.warmUpSeconds = 0
        plan.batch = 100
        plan.connections = 16
        plan.templates = 16
        plan.keepsAcknowledged = true
        plan.seed = context.seed
        let report = try await EventLoad(plan, logger: context.logger).run()
        findings.sent(report.requests)
        EventAccount(context: context, findings: findings).hold(report)
        findings.expect(report.acknowledged > 0, "nothing was acknowledged")
        let bodies = report.acknowledgedBodies.prefix(50)
        let endpoint = try HTTPEndpoint(context.target.url)
        var messages: [String] = []
        for sequence in bodies {
            for index in stride(from: 0, to: plan.batch, by: 10) {
                let id = EventBodies.id(salt: report.salt, sequence: sequence, batch: plan.batch, index: index)
                messages.append(
                    "GET /v1/events/\(id)/outcome HTTP/1.1\r\nHost: \(endpoint.authority)\r\n"
                        + "Authorization: Bearer \(org.reader)\r\n\r\n"
                )
            }
        }
        // A constant rate asks for each id exactly once: as many arrivals as there are ids.
        let rate = 100.0
        let tally = try await LoadRunner.run(
            executor: .constantArrivalRate(perSecond: rate, seconds: Double(messages.count) / rate, virtualUsers: 16),
            endpoint: endpoint, settings: LoadSettings(), sources: [PreparedRequests(messages)])
        findings.sent(tally.requestsSent)
        let found = tally.statuses[200] ?? 0
        findings.expect(found == messages.count, "of \(messages.count) ids asked for, answers were \(tally.statuses)")
        findings.measure(
            Measure(
                "acknowledged ids found", Double(found), "", .equals, bar: Double(messages.count), n: messages.count))
        let lookups = tally.judged.summary
        findings.measure(Measure("outcome look-up p95", lookups.p95.milliseconds, "ms", n: Int(lookups.n)))
        let sample = EventBodies.id(salt: report.salt, sequence: bodies.first ?? 0, batch: plan.batch, index: 0)
        let outcome = try await context.call { try await org.read.get("/v1/events/\(sample)/outcome") }
        findings.expect(
            outcome.json["outcome"] == "stored", "an acknowledged event's outcome is \(outcome.text.prefix(200))")
        let overview = try await context.poll(within: .seconds(3)) {
            try await org.read.get("/v1/overview")
        } until: {
            ($0.json.at("events", "total")?.integer ?? 0) >= Int64(report.acknowledged)
        }
        findings.expect(
            overview.json.at("events", "total")?.integer == Int64(report.outcomes.received),
            "the overview counts \(overview.json.at("events", "total")?.integer ?? -1) events, "
                + "the receipts \(report.outcomes.received)"
        )
    }
}
