internal import AurumCore
internal import Foundation

/// Buyers over a network that delays, doubles and loses, by a seeded plan of the server itself.
extension CheckList {
    static let faults: [Check] = [
        Check(
            id: "R04", title: "Buyers over a bad network", phase: "resilience", suites: ["leads", "runtime"],
            threshold: "every lead ends sold or unsold, the buyer holds exactly the sold ones, each once; "
                + "ledger zero, no job dead; faults struck, and end at a word",
            source: "runtime", profiles: [.standard, .full], needsOwnServer: true, seconds: 400, body: badNetwork)
    ]

    private static let settings = ["AURUM_PROFILE": "test", "AURUM_FAULTS_ENABLED": "true"]
    /// An answer that was lost is asked for again after a minute.
    private static let endedWithin: Duration = .seconds(180)
    /// How long faults strike at most after the last lead was taken.
    private static let strikingFor: Duration = .seconds(20)

    @Sendable private static func badNetwork(_ context: CheckContext, _ findings: Findings) async throws {
        guard let own = context.server else { return }
        let server = await own.sibling(settings: settings)
        do {
            let context = context.on(try await server.start(), server)
            try await sellOverFaults(context, findings)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    private static func sellOverFaults(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("r04")
        try await context.addBuyer("scattered", to: org)
        // A lost answer of a post freezes its lead for a minute; the others are only slower.
        let plan =
            "seed=\(context.seed); buyer:* drop 0.1; buyer:* duplicate 0.2; buyer:* error 0.05; buyer:* latency 0.3 200"
        let set = try await context.call { try await context.admin.put("/v1/faults", ["plan": .string(plan)]) }
        guard set.status == 200 else {
            throw CheckError.unexpected("PUT /v1/faults answered \(set.status) \(set.text.prefix(300))")
        }
        let health = try await context.call { try await context.admin.get("/health") }
        findings.expect(
            health.json["components"]?["faults"]?["reason"] == "active", "health does not say that faults are active")
        let count = [.standard, .full].contains(context.profile) ? 100 : 40
        var ids: [String] = []
        for number in 0..<count {
            let body = LeadBodies.rooftop(number: context.number(number))
            let answer = try await context.call { try await org.manage.post("/v1/leads", body) }
            findings.expect(answer.status == 201, "a lead was answered \(answer.status) \(answer.code)")
            if let id = answer.json["id"]?.string { ids.append(id) }
        }
        // What is lost twice would be asked for after five minutes only: the second asking meets no faults.
        _ = try await ends(context, org, ids, within: strikingFor)
        let end = try await context.call {
            try await context.admin.send("DELETE", "/v1/faults", body: nil, timeout: .seconds(10))
        }
        findings.expect(end.status == 204, "DELETE /v1/faults answered \(end.status)")
        let states = try await ends(context, org, ids, within: endedWithin)
        try await judge(context, findings, org, states)
        let metrics = try await MetricsText.fetch(context.target.metricsURL ?? "")
        for kind in ["drop", "duplicate", "latency"] {
            let struck = metrics.sum("aurum_faults_injected_total", where: "kind=\"\(kind)\"") ?? 0
            findings.measure(Measure("faults of kind \(kind)", struck, "", .atLeast, bar: 1, n: Int(struck)))
        }
    }

    /// The state in which each lead ended, or the one it is in when time is over.
    private static func ends(
        _ context: CheckContext, _ org: Organisation, _ ids: [String], within limit: Duration
    ) async throws -> [String: String] {
        let deadline = ContinuousClock.now + limit
        var states: [String: String] = [:]
        for id in ids {
            let left = max(.milliseconds(100), deadline - ContinuousClock.now)
            let answer = try await context.poll(within: left, every: .milliseconds(200)) {
                try await org.read.get("/v1/leads/\(id)")
            } until: {
                ["sold", "unsold"].contains($0.json["state"]?.string ?? "")
            }
            states[id] = answer.json["state"]?.string ?? "\(answer.status)"
        }
        return states
    }

    private static func judge(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ states: [String: String]
    ) async throws {
        let book = context.fakes.buyer("scattered")?.book ?? []
        var sold = 0
        for (id, state) in states {
            findings.expect(["sold", "unsold"].contains(state), "lead \(id) is still \(state)")
            let held = book.count { UID($0.leadID) == UID(id) }
            findings.expect(
                held == (state == "sold" ? 1 : 0), "lead \(id) is \(state), the buyer holds it \(held) times")
            if state == "sold" { sold += 1 }
        }
        findings.measure(
            Measure("leads sold", Double(sold), "", .atLeast, bar: Double(states.count / 2), n: states.count))
        let ledger = try await context.call { try await org.read.get("/v1/ledger") }
        let sum = ledger.json["accounts"]?.array?.compactMap { $0["balance_minor"]?.integer }.reduce(0, +)
        findings.expect(sum == 0, "the ledger sums to \(sum.map { "\($0)" } ?? ledger.text)")
        let keeper = context.client(try await context.key(org.name, ["system:read"]))
        let dead = try await context.call { try await keeper.get("/v1/jobs?state=dead") }
        findings.expect(dead.json["jobs"] == .array([]), "jobs are dead: \(dead.text.prefix(300))")
    }
}
