internal import AurumCore
internal import Foundation

/// What the database does, as its API shows it.
extension CheckList {
    static let database: [Check] = [
        Check(
            id: "D01", title: "statements are counted by name, and no parameter is shown", phase: "integration",
            suites: ["database"], threshold: "20 exports: their statement is listed; their values are nowhere",
            source: "query tracking", body: statements)
    ]

    /// Judges everything that the checks before it asked for; those that end the server come after it.
    static let repeatedStatements = [
        Check(
            id: "D02", title: "no request asks the database the same thing again and again", phase: "integration",
            suites: ["database"], threshold: "no statement more than 20 times in one request, whatever ran before",
            source: "query tracking", body: repeated)
    ]

    @Sendable private static func repeated(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("d02")
        let keeper = context.client(try await context.key(org.name, ["system:read"]))
        let report = try await context.call { try await keeper.get("/v1/database?limit=1&slow=0") }
        guard let rows = report.json["n_plus_one"]?.array else {
            findings.expect(false, "the report is answered \(report.status) without n_plus_one")
            return
        }
        for row in rows {
            findings.expect(
                false,
                "\(row["route"]?.string ?? "") ran \(row["statement"]?.string ?? "") up to "
                    + "\(row["runs_max"]?.integer ?? 0) times: \((row["sql"]?.string ?? "").prefix(200))")
        }
        findings.expect(rows.isEmpty, "\(rows.count) statements were asked again and again")
    }

    @Sendable private static func statements(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("d01")
        let keeper = context.client(try await context.key(org.name, ["system:read", "events:read"]))
        let count = 20
        for _ in 0..<count {
            let answer = try await context.call { try await keeper.post("/v1/exports", ["format": "ndjson"]) }
            findings.expect(answer.status == 201, "an export is answered \(answer.status) \(answer.code)")
        }
        let report = try await context.call { try await keeper.get("/v1/database?sort=calls&limit=2000&slow=1000") }
        let rows = report.json["statements"]?.array ?? []
        findings.expect(report.status == 200 && !rows.isEmpty, "the report is answered \(report.status)")
        findings.expect(
            rows.contains { ($0["calls"]?.integer ?? 0) >= Int64(count) && $0["kind"] == "write" },
            "no write was called \(count) times: \(report.text.prefix(300))")
        findings.expect(
            rows.allSatisfy { ($0["p50_ms"]?.double ?? -1) >= 0 && ($0["p95_ms"]?.double ?? -1) >= 0 },
            "a statement has no percentiles")
        findings.expect((report.json["pool"]?["max"]?.integer ?? 0) > 0, "the pool has no size")
        findings.expect(!report.text.contains(org.name), "the report shows the name of an organisation")
        let unasked = try await context.call { try await org.read.get("/v1/database") }
        findings.expect(unasked.status == 403, "without the scope the report is answered \(unasked.status)")
        let wrong = try await context.call { try await keeper.get("/v1/database?sort=luck") }
        findings.expect(wrong.status == 400, "an unknown order is answered \(wrong.status)")
    }
}
