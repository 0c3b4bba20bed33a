internal import AurumCore

/// Stop rules over the network: the job of a running server, alerts, and a pause that somebody carries out.
extension CheckList {
    @Sendable static func stops(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a07")
        let writer = context.client(try await context.key(org.name, ["campaigns:write"]))
        let today = SystemWallClock().now.rfc3339.prefix(10)
        func spend(_ campaign: String, _ amount: String) async throws {
            let file = "date,network,campaign,currency,spend\n\(today),google,\(campaign),USD,\(amount)\n"
            let answer = try await context.call {
                try await writer.send("POST", "/v1/spend", body: Array(file.utf8), contentType: "text/csv")
            }
            findings.expect(answer.status == 200, "spend is answered \(answer.status) \(answer.text.prefix(200))")
        }
        for campaign in ["validate-over", "validate-at"] {
            let budget: JSONValue = [
                "campaign": .string(campaign), "currency": "USD", "cap_minor": 10_000, "may_pause": true,
                "dry_run": false,
            ]
            let set = try await context.call { try await writer.put("/v1/attribution/budgets", budget) }
            findings.expect(set.status == 200, "a budget is answered \(set.status) \(set.text.prefix(200))")
        }
        try await spend("validate-at", "110.00")
        try await spend("validate-over", "110.01")
        func alerts(_ done: ([JSONValue]) -> Bool) async throws -> [JSONValue] {
            let answer = try await context.poll(within: .seconds(60), every: .milliseconds(500)) {
                try await org.read.get("/v1/attribution/stops")
            } until: {
                done($0.json["alerts"]?.array ?? [])
            }
            return answer.json["alerts"]?.array ?? []
        }
        let raised = try await alerts { !$0.isEmpty }
        findings.expect(
            raised.count == 1 && raised.first?["campaign"] == "validate-over" && raised.first?["rule"] == "over_cap"
                && raised.first?["limit_minor"] == 11_000,
            "the alerts are \(JSONValue.array(raised).canonical.prefix(400))")
        let open = try await context.call { try await org.read.get("/v1/attribution/advice/decisions?state=open") }
        let pauses = open.json["decisions"]?.array ?? []
        findings.expect(
            pauses.count == 1 && pauses.first?["action"] == "pause" && pauses.first?["actor"] == "auto",
            "what waits to be carried out is \(open.text.prefix(400))")
        let path = "/v1/attribution/advice/decisions/\(pauses.first?["id"]?.string ?? "")/acknowledge"
        let other = context.client(try await context.key(org.name + "-other", ["campaigns:write"]))
        let foreign = try await context.call { try await other.post(path, .object([:])) }
        findings.expect(foreign.status == 404, "another organisation's pause is answered \(foreign.status)")
        let done = try await context.call { try await writer.post(path, .object([:])) }
        findings.expect(
            done.status == 200 && done.json["acknowledged_at"]?.string != nil,
            "the acknowledgement is answered \(done.status) \(done.text.prefix(200))")
        try await spend("validate-over", "110.00")
        let left = try await alerts { $0.isEmpty }
        findings.expect(
            left.isEmpty, "what was put right is still open: \(JSONValue.array(left).canonical.prefix(300))")
    }
}
