internal import AurumCore

extension CheckList {
    private static let deafClients = 16
    /// Resident bytes that one slow client may cost.
    private static let bytesPerClientMax = 65_536.0

    @Sendable static func slowClients(_ context: CheckContext, _ findings: Findings) async throws {
        let scenario = context.scenario
        let org = try await context.organisation("r09")
        let other = try await context.organisation("r09-slow")
        let normal = try await healthy(context, org, seconds: scenario.slowSeconds / 2)
        let before = try await resident(context)
        let swarm = SlowClients()
        let result: Result<(LoadReport, Double), any Error>
        do {
            try await swarm.trickle(scenario.slowClients, to: context.target.url, key: other.writer)
            try await swarm.ignoreAnswers(
                deafClients, to: context.target.url, key: org.reader, path: "/openapi.json")
            let opened = swarm.count
            findings.sent(opened.open)
            findings.expect(
                opened.open + opened.closed >= scenario.slowClients,
                "only \(opened.open) of \(scenario.slowClients) slow clients got a connection")
            let report = try await healthy(context, org, seconds: scenario.slowSeconds)
            result = .success((report, try await resident(context)))
        } catch { result = .failure(error) }
        let count = swarm.count
        await swarm.stop()
        let (report, after) = try result.get()
        let account = EventAccount(context: context, findings: findings)
        account.hold(report)
        findings.expect(report.errors == 0, "\(report.errors) healthy requests failed: \(report.statuses)")
        try await account.scan(
            org, acknowledged: normal.outcomes.total + report.outcomes.total,
            uncertain: (normal.unanswered + report.unanswered) * report.plan.batch)
        let growth = max(after, report.target.residentBytesMax ?? 0) - before
        let clients = Double(max(1, scenario.slowClients))
        findings.measure(Measure("slow clients", Double(count.open + count.closed), "", n: scenario.slowClients))
        findings.measure(Measure("of them closed by the server", Double(count.closed), "", n: scenario.slowClients))
        findings.measure(Measure("memory they took", growth / 1_048_576, "MB", n: scenario.slowClients))
        let judge = SpeedJudge(report, scenario, findings)
        judge.measure(
            "memory a slow client", growth / clients, "bytes", .atMost, bar: bytesPerClientMax,
            n: scenario.slowClients)
        judge.measure(
            "p95 of others by normal",
            Double(report.latency.p95.microseconds) / Double(max(1, normal.latency.p95.microseconds)),
            "", .below, bar: 2, n: Int(report.latency.n))
        judge.measure("p95 of others", report.latency.p95, below: 85, n: report.latency.n)
    }

    /// A modest load of somebody who behaves.
    private static func healthy(
        _ context: CheckContext, _ org: Organisation, seconds: Double
    ) async throws -> LoadReport {
        var plan = context.eventPlan(org, seconds: seconds, warmUp: seconds / 4)
        plan.eventsPerSecond = min(context.scenario.killRate, 40_000)
        plan.batch = min(plan.batch, 100)
        plan.connections = 16
        let report = try await EventLoad(plan, logger: context.logger).run()
        context.findings.sent(report.requests)
        context.findings.expect(report.acknowledged > 0, "nothing of the healthy load was acknowledged")
        return report
    }

    private static func resident(_ context: CheckContext) async throws -> Double {
        if let pid = context.target.pid, let bytes = ProcFile.residentBytes(pid: pid) { return bytes }
        guard let url = context.target.metricsURL else { return 0 }
        return try await MetricsText.fetch(url).sum("aurum_process_resident_bytes") ?? 0
    }
}
