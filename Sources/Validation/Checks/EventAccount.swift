internal import AurumCore

/// Whether every event that was offered has exactly one end, by the sender's log and by the target's own rows.
struct EventAccount: Sendable {
    let context: CheckContext
    let findings: Findings

    /// Offered = acknowledged + refused + failed; acknowledged = sum of outcomes; nothing fresh is called a duplicate.
    func hold(_ report: LoadReport) {
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
        let strange = report.statuses.keys.filter { !$0.hasPrefix("2") && $0 != "429" && $0 != "503" }
        findings.expect(strange.isEmpty, "answers \(report.statuses)")
        findings.expect(
            report.refusedWithoutRetryAfter == 0,
            "\(report.refusedWithoutRetryAfter) of \(report.refused) refusals do not say when to try again")
    }

    /// The target's rows of this organisation must be those acknowledged; where answers were lost on the way it may
    /// hold up to so many more.
    ///
    /// - Parameter duplicates: what was answered `duplicate`: no rows of the views, but part of the running totals.
    func scan(_ org: Organisation, acknowledged: Int, uncertain: Int, duplicates: Int = 0) async throws {
        let (rows, method) = try await rows(org, atLeast: acknowledged, duplicates: duplicates)
        findings.expect(
            rows >= acknowledged && rows <= acknowledged + uncertain,
            "\(method) finds \(rows) rows; acknowledged were \(acknowledged), without answer \(uncertain)")
        findings.measure(Measure("rows found by \(method)", Double(rows), "", n: rows))
    }

    /// Rows that count in the views: a scan of the log by a query, or the running totals where there is no query.
    func rows(
        _ org: Organisation, atLeast: Int, duplicates: Int = 0
    ) async throws -> (rows: Int, method: String) {
        let question: JSONValue = ["measures": ["count"], "bots": "include"]
        let answer = try await context.call { try await org.read.post("/v1/query", question) }
        if answer.status == 200, let rows = answer.json["rows"]?.array {
            return (Int(rows.first?["count"]?.integer ?? 0), "a scan")
        }
        guard [404, 405].contains(answer.status) else {
            throw CheckError.unexpected("POST /v1/query answered \(answer.status): \(answer.text.prefix(200))")
        }
        let overview = try await context.poll(within: .seconds(3)) {
            try await org.read.get("/v1/overview")
        } until: {
            ($0.json.at("events", "total")?.integer ?? 0) >= Int64(atLeast + duplicates)
        }
        return (Int(overview.json.at("events", "total")?.integer ?? -1) - duplicates, "the running totals")
    }
}

/// Which figures of a load may be held to their bars.
struct SpeedJudge: Sendable {
    private let findings: Findings
    /// Why not, in words.
    private let reason: String?

    /// Cores that others may take before a figure says more about them.
    private static let otherCoresMax = 0.2

    init(_ report: LoadReport, _ scenario: EventScenario, _ findings: Findings) {
        self.findings = findings
        var reasons = report.generator.voidReasons
        if let others = report.target.otherCores, others > Self.otherCoresMax {
            reasons.append("other processes took \(decimal(others, 2)) cores, over \(decimal(Self.otherCoresMax, 1))")
        }
        if scenario.disturbanceVoids {
            findings.isVoid(reasons)
            reason = nil
        } else {
            reason = reasons.isEmpty ? (scenario.judgesSpeed ? nil : "too short") : reasons.joined(separator: "; ")
        }
    }

    /// A figure with its bar, or without it where the run cannot be judged.
    func measure(
        _ name: String, _ value: Double, _ unit: String, _ comparison: Measure.Comparison, bar: Double, n: Int
    ) {
        guard let reason else { return findings.measure(Measure(name, value, unit, comparison, bar: bar, n: n)) }
        findings.measure(Measure(name, value, unit, n: n, note: "not judged: \(reason)"))
    }

    func measure(_ name: String, _ percentile: Percentile, below bar: Double, n: UInt64) {
        guard let reason else { return findings.measure(Measure(name, percentile, below: bar, n: n)) }
        findings.measure(Measure(name, percentile.milliseconds, "ms", n: Int(n), note: "not judged: \(reason)"))
    }

    /// What both sides used.
    func costs(_ report: LoadReport) {
        let n = Int(report.latency.n)
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
}

extension CheckContext {
    /// A load on one organisation with what every event scenario shares.
    func eventPlan(_ org: Organisation, seconds: Double, warmUp: Double) -> LoadPlan {
        var plan = LoadPlan(target: target.url, keys: [org.writer])
        plan.seconds = seconds
        plan.warmUpSeconds = warmUp
        plan.batch = scenario.batch
        plan.connections = scenario.connections
        plan.metricsURL = target.metricsURL
        plan.targetPID = target.pid
        plan.seed = seed
        return plan
    }

    /// The sustained rate of this run; found by a short closed loop where it is to be calibrated.
    func sustainedRate(_ org: Organisation) async throws -> Double {
        switch scenario.rate {
        case .perSecond(let rate): return rate
        case .calibrated:
            let plan = eventPlan(org, seconds: min(5, scenario.seconds), warmUp: 1)
            let report = try await EventLoad(plan, logger: logger).run()
            findings.sent(report.requests)
            findings.measure(Measure("closed loop", report.acknowledgedPerSecond, "events/s", n: report.requests))
            guard report.acknowledgedPerSecond > 0 else {
                throw CheckError.unexpected("no event was stored in the closed loop")
            }
            return report.acknowledgedPerSecond * 0.8
        }
    }

    /// False when this machine's generator cannot offer the rate even to a server that does nothing; the check then
    /// says so and is over.
    func canOffer(_ rate: Double, _ plan: LoadPlan) async throws -> Bool {
        let calibration = try await LoadCalibration.measure(plan: plan, eventsPerSecond: rate)
        findings.measure(
            Measure(
                "null server took", calibration.acknowledgedPerSecond, "events/s", n: Int(calibration.offeredPerSecond))
        )
        guard !calibration.kept, scenario.judgesSpeed else { return true }
        findings.machineTooSmall("the null server took only \(calibration.sentence)")
        return false
    }
}
