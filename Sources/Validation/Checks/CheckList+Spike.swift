internal import AurumCore

/// Twice and three times the load all at once: what cannot be taken is refused, and afterwards all is as before.
extension CheckList {
    static let spike: [Check] = [
        Check(
            id: "T02", title: "event load doubled and trebled", phase: "spike", suites: ["events"],
            threshold: "from half the sustained rate to ×2, then ×3: excess answered 429 or 503 with Retry-After, "
                + "no request hangs, nothing acknowledged lost, p95 < 85 ms again within 3 s",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), seconds: 600, body: spikes)
    ]

    private static let hangSeconds = 10.0
    private static let recoverySeconds = 3.0
    private static let calmMilliseconds = 85.0
    /// Requests a second below which a second's p95 says nothing.
    private static let secondSamplesMin = 100

    @Sendable private static func spikes(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("t02")
        let scenario = context.scenario
        let base = try await context.sustainedRate(org) / 2
        let account = EventAccount(context: context, findings: findings)
        let before = try await account.rows(org, atLeast: 0).rows
        var plan = context.eventPlan(org, seconds: 0, warmUp: scenario.spikeBaseSeconds / 2)
        plan.connections = scenario.spikeConnections
        plan.graceSeconds = hangSeconds
        let (calm, peak) = (scenario.spikeBaseSeconds, scenario.spikePeakSeconds)
        plan.steps = [(1.0, calm), (2.0, peak), (1.0, calm), (3.0, peak), (1.0, calm)].map {
            RateStep(perSecond: base * $0.0, seconds: $0.1)
        }
        guard try await context.canOffer(base * 3, plan) else { return }
        let (report, tally) = try await EventLoad(plan, logger: context.logger).measure()
        findings.sent(report.requests)
        findings.keep(tally.judged, as: "events")
        findings.keep(json: report.json, as: "load")
        account.hold(report)
        findings.expect(report.acknowledged > 0, "nothing was acknowledged")
        findings.expect(
            report.unanswered + report.neverStarted == 0,
            "\(report.unanswered) requests hung and \(report.neverStarted) were never begun")
        findings.expect(
            Double(report.latency.maxMicroseconds) / 1e6 < hangSeconds,
            "the longest wait was \(decimal(Double(report.latency.maxMicroseconds) / 1e6, 1)) s")
        try await account.scan(
            org, acknowledged: before + report.outcomes.total, uncertain: report.unanswered * plan.batch)
        let judge = SpeedJudge(report, scenario, findings)
        findings.measure(Measure("base", base, "events/s", n: Int(report.latency.n)))
        let share = Double(report.refused) / Double(max(1, report.requests))
        findings.measure(Measure("refused", share * 100, "%", n: report.requests))
        for (name, end) in [("×2", calm + peak), ("×3", calm + peak + calm + peak)] {
            recovery(after: name, from: Int(end.rounded()), to: Int((end + calm).rounded()), tally.seconds, judge)
        }
        judge.costs(report)
    }

    /// Seconds from the end of a spike to the first second from which p95 stays low.
    private static func recovery(
        after name: String, from start: Int, to end: Int, _ seconds: SecondLatencies, _ judge: SpeedJudge
    ) {
        let bad = (start..<end).last { second in
            seconds.samples(second..<second + 1) >= secondSamplesMin
                && (seconds.percentile(0.95, in: second..<second + 1) ?? 0) >= calmMilliseconds
        }
        judge.measure(
            "p95 < 85 ms again after \(name)", Double(bad.map { $0 + 1 - start } ?? 0), "s", .atMost,
            bar: recoverySeconds, n: seconds.samples(start..<end))
        if let p95 = seconds.percentile(0.95, in: max(start, end - 1)..<end), p95.isFinite {
            judge.measure(
                "p95 at the end after \(name)", p95, "ms", .below, bar: calmMilliseconds,
                n: seconds.samples(max(start, end - 1)..<end))
        }
    }
}
