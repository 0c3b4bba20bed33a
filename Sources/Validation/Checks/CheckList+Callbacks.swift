internal import AurumCore
internal import Foundation

/// Callbacks: a network of the run is told of an install, a purchase and a sale, and of nobody who refuses.
extension CheckList {
    @Sendable static func callbacks(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a08")
        try await context.addBuyer("alpha", to: org)
        let manager = context.client(try await context.key(org.name, ["campaigns:write", "analytics:read"]))
        let path = "/callbacks/a08-\(context.runID.prefix(8))"
        func body(_ event: String) -> JSONValue {
            [
                "network": "a08net", "event": .string(event), "secret": .string(FakeReceiver.secret),
                "url": .string(context.fakesURL + path + "?c={click_id}&e={event}&v={value}&x={conversion_id}"),
            ]
        }
        let refused = try await context.call { try await org.read.post("/v1/callbacks", body("install")) }
        findings.expect(refused.status == 403, "a key without campaigns:write is answered \(refused.status)")
        var wrong = body("install").object ?? [:]
        wrong["url"] = "https://n.example/?c={clik_id}"
        let typo = JSONValue.object(wrong)
        let unknown = try await context.call { try await manager.post("/v1/callbacks", typo) }
        findings.expect(
            unknown.status == 422 && unknown.text.contains("{clik_id}"),
            "an unknown macro is answered \(unknown.status) \(unknown.text.prefix(300))")
        for event in ["install", "purchase", "sale"] {
            let made = try await context.call { try await manager.post("/v1/callbacks", body(event)) }
            findings.expect(
                made.status == 201 && !made.text.contains(FakeReceiver.secret),
                "a callback is answered \(made.status) \(made.text.prefix(300))")
        }
        let run = String(context.runID.prefix(8))
        try await sendInstalls(run, context, findings, org)
        let visitor = try await visit(run, context, findings, org)
        let lead = try await context.sellLead(
            LeadBodies.rooftop(number: context.number(80), traceID: visitor, campaign: "a08"), in: org)
        let leg = lead.row["leg"]?.string ?? ""
        let price = lead.row["price_minor"]?.integer ?? -1
        let answer = try await context.poll(within: .seconds(15)) {
            try await manager.get("/v1/callbacks/deliveries")
        } until: { answer in
            let all = answer.json["deliveries"]?.array ?? []
            return all.count == 4
                && all.allSatisfy { ["delivered", "suppressed"].contains($0["state"]?.string ?? "") }
        }
        var found: [String: String] = [:]
        for one in answer.json["deliveries"]?.array ?? [] {
            found[one["conversion_id"]?.string ?? ""] = "\(one["state"]?.string ?? "") \(one["reason"]?.string ?? "")"
        }
        findings.expect(
            found == [
                "\(run)-i": "delivered ", "\(run)-p": "delivered ", leg: "delivered ",
                "\(run)-denied": "suppressed no_consent",
            ], "deliveries are \(found)")
        var told: [String: String] = [:]
        for one in context.fakes.receiver.callbacks where one.path == path {
            findings.expect(one.isSigned, "a callback of \(one.query["e"] ?? "") is not signed as it should be")
            let fields = ["c", "v", "x"].map { one.query[$0] ?? "" }.joined(separator: " ")
            findings.expect(told[one.query["e"] ?? ""] == nil, "\(one.query["e"] ?? "") was told twice")
            told[one.query["e"] ?? ""] = fields
        }
        let sold = Money(minorUnits: price, currency: .usd).decimal
        findings.expect(
            told == [
                "install": "click & \(run)  \(run)-i", "purchase": "click & \(run) 12.50 \(run)-p",
                "sale": "lead-\(run) \(sold) \(leg)",
            ], "the network was told \(told)")
    }

    /// Two installs with their clicks, one of a person who refuses advertising, and a purchase after each.
    private static func sendInstalls(
        _ run: String, _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        let now = SystemWallClock().now
        func event(_ type: String, _ id: String, _ age: Int64, _ more: [String: JSONValue]) -> JSONValue {
            var all: [String: JSONValue] = [
                "type": .string(type), "id": .string("\(run)-\(id)"), "ts": .string((now - .seconds(age)).rfc3339),
            ]
            all.merge(more) { $1 }
            return .object(all)
        }
        let campaign: JSONValue = ["name": "a08", "network": "A08Net"]
        let (device, other) = (JSONValue.string("dev-\(run)"), JSONValue.string("other-\(run)"))
        let events = [
            event(
                "click", "t1", 7200,
                ["device_id": device, "click_id": .string("click & \(run)"), "campaign": campaign]),
            event("click", "t2", 7200, ["device_id": other, "click_id": "c2", "campaign": campaign]),
            event("install", "i", 3600, ["device_id": device]),
            event("install", "denied", 3600, ["device_id": other, "consent": ["ads": "denied"]]),
            event(
                "conversion", "p", 1800,
                [
                    "device_id": device, "name": "purchase", "order_id": .string("o-\(run)"), "value": 12.5,
                    "currency": "USD",
                ]),
        ]
        let sent = try await context.call { try await org.write.events(events) }
        findings.expect(sent.status == 202, "events are answered \(sent.status) \(sent.text.prefix(200))")
    }

    /// A visit with a click of the network; answers its trace.
    private static func visit(
        _ run: String, _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws -> String {
        let traceID = UID(now: SystemWallClock().now).hex
        let click: JSONValue = [
            "id": .string("\(run)-visit"), "type": "click", "anonymous_id": .string("lead-visitor-\(run)"),
            "trace_id": .string(traceID), "click_id": .string("lead-\(run)"),
            "campaign": ["name": "a08", "network": "a08net"],
        ]
        let sent = try await context.call { try await org.write.events([click]) }
        findings.expect(sent.status == 202, "the click is answered \(sent.status) \(sent.text.prefix(200))")
        return traceID
    }
}
