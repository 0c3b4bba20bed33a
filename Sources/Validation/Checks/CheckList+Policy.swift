internal import AurumCore
internal import Foundation

/// What an organisation decides about its events, seen from outside.
extension CheckList {
    static let policy: [Check] = [
        Check(
            id: "P20", title: "a broken plan, mended, and its events replayed", phase: "integration",
            suites: ["events"], threshold: "1,000 stored once, under their first receipt; a second replay adds 0",
            source: "events specification", body: planReplay),
        Check(
            id: "P21", title: "consent and personal fields before the log", phase: "integration",
            suites: ["events", "security"],
            threshold: "denied analytics: nothing names the person; sealed fields shown to the admin key only",
            source: "events specification", body: consent),
    ]

    private static let count = 1000

    @Sendable private static func planReplay(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p20")
        let key = try await context.key(org.name, ["events:read", "policies:write", "privacy:manage"])
        let client = context.client(key)
        func put(_ plan: JSONValue) async throws {
            let answer = try await context.call { try await client.put("/v1/apps/default/plan", plan) }
            findings.expect(answer.status == 200, "the plan is answered \(answer.status): \(answer.text.prefix(200))")
        }
        try await put([
            "mode": "enforce",
            "names": ["order": ["required": ["total"], "properties": ["total": ["type": "number"]]]],
        ])
        let time = (SystemWallClock().now - .seconds(3600)).rfc3339
        let events = (0..<count).map { number -> JSONValue in
            [
                "id": .string("p20-\(number)"), "type": "track", "name": "order", "user_id": "p20", "ts": .string(time),
                "props": ["amount": .integer(Int64(number))],
            ]
        }
        let sent = try await context.call { try await org.write.events(events) }
        findings.expect(
            sent.json["quarantined"]?.integer == Int64(count),
            "quarantined \(sent.json["quarantined"]?.canonical ?? "-")")
        let problem = sent.json["problems"]?.array?.first?["reason"]?.string
        findings.expect(problem == "plan:required", "the reason is \(problem ?? "none")")
        try await put(["names": ["order": ["required": ["amount"]]]])
        let filter: JSONValue = ["filter": ["reason": "plan:required"]]
        for (round, expected) in [count, 0].enumerated() {
            let answer = try await context.call { try await client.post("/v1/quarantine/replay", filter) }
            findings.expect(
                answer.json["stored"]?.integer == Int64(expected),
                "replay \(round + 1) stored \(answer.json["stored"]?.canonical ?? answer.text), expected \(expected)")
        }
        let receipt = sent.json["receipt"]?.string ?? ""
        let now = try await context.call { try await org.read.get("/v1/receipts/\(receipt)") }
        findings.expect(
            now.json["stored"]?.integer == Int64(count) && now.json["quarantined"]?.integer == 0,
            "the receipt says \(now.text.prefix(200))")
        let one = try await context.call { try await org.read.get("/v1/events/p20-7/outcome?app=default") }
        findings.expect(
            one.json["outcome"]?.string == "stored" && one.json["receipt"]?.string == receipt,
            "the outcome of one event is \(one.text.prefix(200))")
        let list = try await context.call { try await org.read.get("/v1/events?user_id=p20&limit=1000") }
        let times = Set((list.json["events"]?.array ?? []).compactMap { $0["ts"]?.string })
        findings.expect(
            list.json["events"]?.array?.count == count, "\(list.json["events"]?.array?.count ?? 0) read back")
        findings.expect(times.count == 1, "the events stand at \(times.count) times")
    }

    @Sendable private static func consent(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p21")
        func send(_ event: JSONValue, gpc: Bool = false) async throws {
            let headers = gpc ? [("sec-gpc", "1")] : []
            let answer = try await context.call { try await org.write.events([event], headers: headers) }
            findings.expect(answer.json["stored"]?.integer == 1, "the event is answered \(answer.text.prefix(200))")
        }
        let person = "p21-needle-\(context.runID)"
        func track(_ id: String) -> JSONValue {
            ["id": .string(id), "type": "track", "name": "x", "user_id": .string(person)]
        }
        try await send(track("p21-a"), gpc: true)
        try await send([
            "id": "p21-b", "type": "consent", "user_id": .string(person), "consent": ["analytics": "denied"],
        ])
        try await send(track("p21-c"))
        try await send([
            "id": "p21-d", "type": "identify", "user_id": "p21@mail.example", "traits": ["email": "p21@mail.example"],
            "context": ["ip": "203.0.113.21"],
        ])
        let list = try await context.call { try await org.read.get("/v1/events") }
        let events = Dictionary(
            (list.json["events"]?.array ?? []).map { ($0["id"]?.string ?? "", $0) }, uniquingKeysWith: { $1 })
        findings.expect(events.count == 4, "\(events.count) events read back, expected 4")
        let first = events["p21-a"] ?? .null
        findings.expect(
            first.at("consent", "gpc")?.bool == true && first.at("consent", "ads")?.string == "denied",
            "Sec-GPC leaves consent as \(first["consent"]?.canonical ?? "nothing")")
        for id in ["p21-b", "p21-c"] {
            findings.expect(!(events[id]?.canonical.contains("needle") ?? true), "\(id) names the person")
            findings.expect(
                events[id]?.at("consent", "analytics")?.string == "denied", "\(id) does not carry the denial")
        }
        let sealed = events["p21-d"]?.canonical ?? ""
        findings.expect(
            !sealed.contains("p21@mail.example") && !sealed.contains("203.0.113.21"), "p21-d is stored in the open")
        let found = try await context.call { try await org.read.get("/v1/events?user_id=P21%40mail.example") }
        findings.expect(found.json["events"]?.array?.count == 1, "the look-up by e-mail address finds nothing")
        let refused = try await context.call { try await org.read.get("/v1/events?unseal=true") }
        findings.expect(refused.status == 403, "unsealing without an admin key is answered \(refused.status)")
    }
}
