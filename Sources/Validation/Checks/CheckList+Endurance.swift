internal import AurumCore

/// Half the sustained rate for a long time: memory and latency stay where they are.
extension CheckList {
    static let endurance: [Check] = [
        Check(
            id: "T03", title: "event load for a long time", phase: "endurance", suites: ["events"],
            threshold: "half the sustained rate (full: 15 min): p95 < 85 ms, last third within 10 % of the first, "
                + "errors < 0.08 %, the 95 % interval of the memory's slope includes 0 or lies below",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), seconds: 1200, body: endurance)
    ]

    /// Fewer samples give no slope worth a verdict.
    private static let samplesToJudge = 60

    @Sendable private static func endurance(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("t03")
        let scenario = context.scenario
        let account = EventAccount(context: context, findings: findings)
        let rate = try await context.sustainedRate(org) / 2
        let before = try await account.rows(org, atLeast: 0).rows
        var plan = context.eventPlan(
            org, seconds: scenario.enduranceSeconds, warmUp: scenario.enduranceWarmUpSeconds)
        plan.eventsPerSecond = rate
        guard try await context.canOffer(rate * 2, plan) else { return }
        let (report, tally) = try await EventLoad(plan, logger: context.logger).measure()
        findings.sent(report.requests)
        findings.keep(tally.judged, as: "events")
        findings.keep(json: report.json, as: "load")
        account.hold(report)
        findings.expect(report.acknowledged > 0, "nothing was acknowledged")
        try await account.scan(
            org, acknowledged: before + report.outcomes.total, uncertain: report.unanswered * plan.batch)
        let judge = SpeedJudge(report, scenario, findings)
        findings.measure(Measure("offered", rate, "events/s", n: Int(report.latency.n)))
        judge.measure("p95", report.latency.p95, below: 85, n: report.latency.n)
        judge.measure("errors", report.errorShare * 100, "%", .below, bar: 0.08, n: Int(report.latency.n))
        thirds(tally.seconds, from: Int(plan.lengthSeconds - plan.judgedSeconds), to: Int(plan.lengthSeconds), judge)
        memory(report, context, judge)
        judge.costs(report)
    }

    private static func thirds(_ seconds: SecondLatencies, from: Int, to: Int, _ judge: SpeedJudge) {
        let third = max(1, (to - from) / 3)
        guard let first = seconds.percentile(0.95, in: from..<from + third),
            let last = seconds.percentile(0.95, in: to - third..<to), first > 0, last.isFinite
        else { return }
        judge.measure(
            "p95 of the last third by that of the first", last / first, "", .atMost, bar: 1.1,
            n: seconds.samples(to - third..<to))
    }

    private static func memory(_ report: LoadReport, _ context: CheckContext, _ judge: SpeedJudge) {
        let samples = report.target.residentPerSecond.map { $0 / 1_048_576 }
        guard let trend = MemoryTrend(samples, seed: context.seed) else { return }
        let findings = context.findings
        findings.measure(Measure("memory's slope", trend.slope * 60, "MB/min", n: trend.samples))
        if samples.count >= samplesToJudge {
            judge.measure(
                "lower end of its 95 % interval", trend.lower * 60, "MB/min", .atMost, bar: 0, n: trend.samples)
        } else {
            findings.measure(
                Measure(
                    "lower end of its 95 % interval", trend.lower * 60, "MB/min", n: trend.samples,
                    note: "not judged: \(samples.count) samples"))
        }
        findings.measure(Measure("upper end of its 95 % interval", trend.upper * 60, "MB/min", n: trend.samples))
    }
}
