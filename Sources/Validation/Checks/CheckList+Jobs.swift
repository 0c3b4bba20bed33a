internal import AurumCore
internal import Foundation

/// Work in the background as its API shows it.
extension CheckList {
    static let jobs: [Check] = [
        Check(
            id: "J01", title: "work in the background is done once, shown, and nobody else's business",
            phase: "integration", suites: ["jobs"], threshold: "20 exports, 20 jobs done, none seen by others",
            source: "job queue", body: jobsOfExports),
        Check(
            id: "J02", title: "jobs that do nothing are all done, once, wherever they live", phase: "integration",
            suites: ["jobs"], threshold: "200 jobs done in one attempt each; 0 and 10,001 refused",
            source: "job queue", body: trialJobs),
    ]

    @Sendable private static func trialJobs(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("j02")
        let keeper = context.client(try await context.key(org.name, ["system:read", "policies:write"]))
        for bad: JSONValue in [["count": 0], ["count": 10_001], ["count": 1.5], ["counts": 1]] {
            let refused = try await context.call { try await keeper.post("/v1/jobs/trial", bad) }
            findings.expect(refused.status == 422 || refused.status == 400, "\(bad) is answered \(refused.status)")
        }
        let count = 200
        let made = try await context.call { try await keeper.post("/v1/jobs/trial", ["count": .integer(Int64(count))]) }
        findings.expect(made.json["enqueued"] == .integer(Int64(count)), "it says \(made.text.prefix(200))")
        let done = try await context.poll(within: .seconds(60)) {
            try await keeper.get("/v1/jobs?type=jobs.trial&state=done&limit=200")
        } until: {
            ($0.json["jobs"]?.array?.count ?? 0) >= count
        }
        let jobs = done.json["jobs"]?.array ?? []
        findings.expect(jobs.count == count, "\(jobs.count) jobs are done: \(done.text.prefix(300))")
        findings.expect(
            jobs.allSatisfy { $0["attempt"] == 1 && $0["home"] == made.json["home"] }, "a job was done again, or moved")
        let unasked = try await context.call { try await org.read.post("/v1/jobs/trial", [:]) }
        findings.expect(unasked.status == 403, "trials without the scope are answered \(unasked.status)")
    }

    @Sendable private static func jobsOfExports(_ context: CheckContext, _ findings: Findings) async throws {
        let (org, other) = (try await context.organisation("j01"), try await context.organisation("j01-other"))
        let operatorKey = try await context.key(org.name, ["system:read", "policies:write", "events:read"])
        let keeper = context.client(operatorKey)
        let stranger = context.client(try await context.key(other.name, ["system:read", "policies:write"]))
        let count = 20
        for _ in 0..<count {
            let answer = try await context.call { try await keeper.post("/v1/exports", ["format": "ndjson"]) }
            findings.expect(answer.status == 201, "an export is answered \(answer.status) \(answer.code)")
        }
        let done = try await context.poll(within: .seconds(60)) {
            try await keeper.get("/v1/jobs?type=events.export&state=done&limit=200")
        } until: {
            ($0.json["jobs"]?.array?.count ?? 0) >= count
        }
        let jobs = done.json["jobs"]?.array ?? []
        findings.expect(jobs.count == count, "\(jobs.count) jobs are done: \(done.text.prefix(300))")
        findings.expect(
            jobs.allSatisfy { $0["attempt"] == 1 && ($0["fence"]?.integer ?? 0) > 0 }, "a job was done again")
        let fences = Set(jobs.compactMap { $0["fence"]?.integer })
        findings.expect(fences.count == jobs.count, "two claims have one fence")
        let id = jobs.first?["id"]?.string ?? ""
        let shown = try await context.call { try await keeper.get("/v1/jobs/\(id)") }
        findings.expect(shown.json["state"] == "done", "a job is shown \(shown.text.prefix(200))")
        for path in ["redrive", "cancel"] {
            let refused = try await context.call { try await keeper.post("/v1/jobs/\(id)/\(path)", [:]) }
            findings.expect(refused.status == 409, "\(path) of a job that is done is answered \(refused.status)")
            let foreign = try await context.call { try await stranger.post("/v1/jobs/\(id)/\(path)", [:]) }
            findings.expect(foreign.status == 404, "\(path) of another's job is answered \(foreign.status)")
        }
        let hidden = try await context.call { try await stranger.get("/v1/jobs/\(id)") }
        findings.expect(hidden.status == 404, "another's job is answered \(hidden.status)")
        let unasked = try await context.call { try await org.read.get("/v1/jobs") }
        findings.expect(unasked.status == 403, "jobs without the scope are answered \(unasked.status)")
        let all = try await context.call { try await keeper.post("/v1/jobs/redrive", ["rate": 10]) }
        findings.expect(all.json["redriven"] == 0, "there were dead jobs: \(all.text.prefix(200))")
        let overview = try await context.call { try await keeper.get("/v1/jobs/overview") }
        findings.expect(
            overview.json["queues"] == .array([]) && overview.json["schedules"]?.array != nil,
            "the overview says \(overview.text.prefix(300))")
    }
}
