internal import AurumCore

/// The server dies under a load of events: what it acknowledged is there, and nothing is there twice.
extension CheckList {
    static let eventResilience: [Check] = [
        Check(
            id: "R10", title: "SIGKILL under a load of events", phase: "resilience", suites: ["events"],
            threshold: "0 acknowledged events lost, 0 stored twice after a retry, first write acknowledged < 3 s after "
                + "the start",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), needsOwnServer: true, seconds: 900,
            body: killedUnderEvents),
        Check(
            id: "R09", title: "slow and deaf clients", phase: "resilience", suites: ["events"],
            threshold: "thousands of clients that trickle a body, and some that read no answer: memory bounded, "
                + "everybody else served",
            source: "event throughput", profiles: Set(ValidationProfile.allCases), seconds: 300, body: slowClients),
    ]

    private static let recoverySecondsMax = 3.0
    /// Seconds of load before the kill, at least and at most; and after the restart.
    private static let killAfter = 0.5...1.5

    @Sendable private static func killedUnderEvents(_ context: CheckContext, _ findings: Findings) async throws {
        guard let server = context.server else { return }
        let org = try await context.organisation("r10")
        let account = EventAccount(context: context, findings: findings)
        var random = SeededRandom(seed: context.seed)
        var recoveries: [Double] = []
        var acknowledged = 0
        var sent = 0
        var duplicates = 0
        for round in 0..<context.scenario.kills {
            let pause = Double.random(in: killAfter, using: &random)
            var plan = context.eventPlan(org, seconds: killAfter.upperBound + 1, warmUp: 0)
            plan.eventsPerSecond = context.scenario.killRate
            plan.keepsAcknowledged = true
            plan.metricsURL = nil
            plan.targetPID = nil
            plan.salt = context.seed &+ UInt64(round) &* 0x9E37_79B9_7F4A_7C15
            let load = EventLoad(plan, logger: context.logger)
            async let measured = load.measure()
            try await Task.sleep(for: .seconds(pause))
            await server.kill()
            let clock = ContinuousClock()
            let start = clock.now
            _ = try await server.restart()
            try await firstWrite(context, org, round: round)
            recoveries.append((clock.now - start).seconds)
            let (report, tally) = try await measured
            findings.sent(report.requests)
            findings.keep(json: report.json, as: "load-\(round)")
            account.hold(report)
            findings.expect(tally.connectionsLost > 0, "round \(round): the kill broke no connection")
            acknowledged += report.outcomes.total
            sent += report.requests * plan.batch
            duplicates += try await sendAgain(findings, plan, report, tally)
        }
        // One row a body's event, and one of `firstWrite` a round.
        try await account.scan(org, acknowledged: sent + recoveries.count, uncertain: 0, duplicates: duplicates)
        findings.expect(acknowledged > 0, "nothing was acknowledged before a kill")
        findings.measure(Measure("kills", Double(recoveries.count), "", n: recoveries.count))
        findings.measure(Measure("acknowledged events", Double(acknowledged), "", n: recoveries.count))
        findings.measure(
            Measure(
                "start to first acknowledged write, longest", recoveries.max() ?? 0, "s", .below,
                bar: recoverySecondsMax, n: recoveries.count))
    }

    /// One event, answered: the log takes writes again.
    private static func firstWrite(_ context: CheckContext, _ org: Organisation, round: Int) async throws {
        let event: JSONValue = [
            "id": .string("r10-\(context.runID)-\(round)"), "type": "track", "name": "r10", "anonymous_id": "r10",
        ]
        let answer = try await context.call { try await org.write.events([event]) }
        context.findings.expect(
            answer.status == 202 && answer.json["stored"]?.integer == 1,
            "the first write after the restart is answered \(answer.status) \(answer.text.prefix(200))")
    }

    /// What was acknowledged must be known, every event of it; then everything else is sent again, as senders do.
    /// Answers how many were known.
    private static func sendAgain(
        _ findings: Findings, _ plan: LoadPlan, _ report: LoadReport, _ tally: LoadTally
    ) async throws -> Int {
        let kept = Set(tally.acknowledged)
        let first = try await resend(Array(kept).sorted(), plan, report.salt)
        findings.sent(first.requestsSent)
        let known = kept.count * plan.batch
        findings.measure(
            Measure("acknowledged events lost", Double(known - first.outcomes.duplicate), "", .equals, bar: 0, n: known)
        )
        let rest = (0..<UInt64(report.requests)).filter { !kept.contains($0) }
        guard !rest.isEmpty else { return first.outcomes.duplicate }
        let second = try await resend(rest, plan, report.salt)
        findings.sent(second.requestsSent)
        findings.expect(
            second.outcomes.stored + second.outcomes.duplicate == rest.count * plan.batch,
            "of \(rest.count * plan.batch) events sent again \(second.outcomes.stored) were stored and "
                + "\(second.outcomes.duplicate) known")
        return first.outcomes.duplicate + second.outcomes.duplicate
    }

    private static func resend(_ sequences: [UInt64], _ plan: LoadPlan, _ salt: UInt64) async throws -> LoadTally {
        guard !sequences.isEmpty else { return LoadTally() }
        let endpoint = try HTTPEndpoint(plan.target)
        var bodies = EventBodies(
            profile: plan.profile, batch: plan.batch, count: 16,
            heads: EventLoad.heads(plan, endpoint), seed: plan.seed, salt: salt)
        bodies.repeatOnly(sequences)
        return try await LoadRunner.run(
            executor: .sharedIterations(count: sequences.count, virtualUsers: 8, secondsMax: 300), endpoint: endpoint,
            settings: LoadSettings(readsReceipts: true), sources: [bodies])
    }
}
