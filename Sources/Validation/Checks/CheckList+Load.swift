internal import AurumCore

/// Events at a constant rate, and whether all of them are accounted for.
extension CheckList {
    static let load: [Check] = [
        Check(
            id: "T01", title: "sustained event load", phase: "load", suites: ["events"],
            threshold:
                "smoke: 200,000 events/s for 8 s; standard: 1,050,000 for 60 s; p95 < 85, p99 < 120 ms, "
                + "errors < 0.08 %, every event accounted for",
            source: "event throughput", seconds: 120, body: sustained)
    ]

    static let oracles: [Check] = [
        Check(
            id: "O1", title: "what was sent is what is there", phase: "integration", suites: ["events"],
            threshold:
                "sent = stored + duplicate + quarantined + bot + late + refused + unanswered; acknowledged ids found",
            source: "oracle", body: accountedFor)
    ]

    @Sendable private static func sustained(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("t01")
        var plan = LoadPlan(target: context.target.url, keys: [org.writer])
        let rate = context.profile == .smoke ? 200_000.0 : 1_050_000.0
        plan.eventsPerSecond = rate
        plan.seconds = context.profile == .smoke ? 10 : 70
        plan.warmUpSeconds = context.profile == .smoke ? 2 : 10
        plan.metricsURL = context.target.metricsURL
        plan.targetPID = context.target.pid
        plan.calibrates = true
        plan.seed = context.seed
        let (report, tally) = try await EventLoad(plan, logger: context.logger).measure()
        findings.sent(report.requests)
        findings.keep(tally.judged, as: "events")
        findings.keep(json: report.json, as: "load")
        account(report, findings)
        if let calibration = report.calibration, !calibration.kept {
            findings.machineTooSmall(
                "the null server took only \(decimal(calibration.acknowledgedPerSecond, 0)) of "
                    + "\(decimal(calibration.offeredPerSecond, 0)) events/s offered"
            )
            return
        }
        findings.isVoid(report.generator.voidReasons)
        if context.profile == .standard, let others = report.target.otherCores, others > 0.2 {
            findings.isVoid(["other processes took \(decimal(others, 2)) cores, over 0.2"])
        }
        let n = Int(report.latency.n)
        findings.measure(Measure("stored", report.acknowledgedPerSecond, "events/s", .atLeast, bar: rate * 0.99, n: n))
        findings.measure(Measure("p95", report.latency.p95, below: 85, n: report.latency.n))
        if report.latency.p99.enough || context.profile != .smoke {
            findings.measure(Measure("p99", report.latency.p99, below: 120, n: report.latency.n))
        }
        findings.measure(Measure("errors", report.errorShare * 100, "%", .below, bar: 0.08, n: n))
        if let cores = report.target.cores { findings.measure(Measure("server CPU", cores, "cores", n: 1)) }
        if let micros = report.targetCPUMicrosecondsPerEvent {
            findings.measure(Measure("server CPU an event", micros, "µs", n: n))
        }
        if let bytes = report.target.residentBytesMax {
            findings.measure(Measure("server resident", bytes / 1_048_576, "MB", n: 1))
        }
        findings.measure(Measure("generator CPU an event", report.generator.cpuMicrosecondsPerItem, "µs", n: n))
        if let others = report.target.otherCores { findings.measure(Measure("other processes", others, "cores", n: 1)) }
    }

    /// O1 over one load: every event offered has exactly one end.
    static func account(_ report: LoadReport, _ findings: Findings) {
        let refused = report.statuses.filter { !$0.key.hasPrefix("2") }.values.reduce(0, +) * report.plan.batch
        let unanswered = report.unanswered * report.plan.batch + report.neverStarted * report.plan.batch
        let sum = report.outcomes.total + refused + unanswered
        findings.expect(sum == report.offered, "offered \(report.offered) events, accounted for \(sum)")
        findings.expect(
            report.outcomes.received == report.outcomes.total,
            "receipts say received \(report.outcomes.received), their outcomes add up to \(report.outcomes.total)")
        findings.expect(
            report.outcomes.duplicate == 0, "\(report.outcomes.duplicate) fresh events were called duplicates")
        findings.expect(report.outcomes.quarantined == 0, "\(report.outcomes.quarantined) good events were quarantined")
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
        account(report, findings)
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
