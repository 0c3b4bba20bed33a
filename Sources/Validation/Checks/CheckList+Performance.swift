internal import AurumCore

/// Latency of the API, open loop.
extension CheckList {
    static let performance: [Check] = [
        Check(
            id: "P14", title: "seven main routes at 200 requests/s", phase: "performance",
            suites: ["events", "leads", "attribution"],
            threshold: "mean < 100, p50 < 100, p95 < 200, p99 < 500 ms, no error, n ≥ 1,000",
            source: "platform validation",
            body: mainRoutes)
    ]

    @Sendable private static func mainRoutes(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p14")
        try await context.addBuyer("scattered", to: org)
        var last: (id: String, leg: String) = ("", "")
        for index in 0..<10 {
            let (id, row, _) = try await context.sellLead(LeadBodies.rooftop(number: context.number(index)), in: org)
            findings.expect(row["state"] == "sold", "lead \(id) is not sold")
            last = (id, row["leg"]?.string ?? "")
        }
        let paths = [
            "/v1/overview", "/v1/leads", "/v1/leads/\(last.id)", "/v1/ledger", "/v1/explain/\(last.leg)",
            "/v1/events?limit=50", "/health/ready",
        ]
        let endpoint = try HTTPEndpoint(context.target.url)
        let messages = paths.map { path in
            "GET \(path) HTTP/1.1\r\nHost: \(endpoint.authority)\r\nAuthorization: Bearer \(org.reader)\r\n\r\n"
        }
        let seconds = 7.0
        let tally = try await LoadRunner.run(
            executor: .constantArrivalRate(perSecond: 200, seconds: seconds, virtualUsers: 40), endpoint: endpoint,
            settings: LoadSettings(warmUpNanoseconds: nanoseconds(1.5)), sources: [PreparedRequests(messages)])
        findings.sent(tally.requestsSent)
        findings.keep(tally.judged, as: "routes")
        let generator = LoadReport.Generator(tally, items: tally.requestsSent, threads: 1, openLoop: true)
        findings.isVoid(generator.voidReasons)
        let summary = tally.judged.summary
        findings.expect(tally.judgedErrors == 0, "\(tally.judgedErrors) requests failed: \(tally.statuses)")
        findings.measure(Measure("samples", Double(summary.n), "", .atLeast, bar: 1000, n: Int(summary.n)))
        findings.measure(Measure("mean", summary.meanMicroseconds / 1000, "ms", .below, bar: 100, n: Int(summary.n)))
        findings.measure(Measure("p50", summary.p50, below: 100, n: summary.n))
        findings.measure(Measure("p95", summary.p95, below: 200, n: summary.n))
        findings.measure(Measure("p99", summary.p99, below: 500, n: summary.n))
    }
}
