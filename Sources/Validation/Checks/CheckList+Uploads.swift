internal import AurumCore

/// Conversions out: two networks of the run, told of sold leads, and persons who refuse advertising.
extension CheckList {
    /// A visitor of the check and what its events say of advertising.
    private enum Wish: CaseIterable {
        /// `allowedLater`: an event denies, and a decision after it allows.
        case nothing, globalPrivacyControl, denied, allowedLater

        var isSent: Bool { self == .nothing || self == .allowedLater }
    }

    @Sendable static func uploads(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a04")
        try await context.addBuyer("alpha", to: org)
        let manager = context.client(try await context.key(org.name, ["campaigns:write", "analytics:read"]))
        let refused = try await context.call {
            try await org.read.post("/v1/uploads/destinations", Self.destination("meta", context))
        }
        findings.expect(refused.status == 403, "a key without campaigns:write is answered \(refused.status)")
        let wrong = try await context.call {
            try await manager.post("/v1/uploads/destinations", ["network": "meta", "name": "x"])
        }
        findings.expect(
            wrong.status == 422 && wrong.text.contains("credentials"),
            "a destination without credentials is answered \(wrong.status) \(wrong.text.prefix(300))")
        var ids: [String: String] = [:]
        for network in ["meta", "google"] {
            let made = try await context.call {
                try await manager.post("/v1/uploads/destinations", Self.destination(network, context))
            }
            findings.expect(
                made.status == 201 && !made.text.contains(FakeNetwork.token),
                "a destination is answered \(made.status) \(made.text.prefix(300))")
            let id = made.json["id"]?.string ?? ""
            ids[network] = id
            let test = try await context.call { try await manager.post("/v1/uploads/destinations/\(id)/test", [:]) }
            findings.expect(test.json["works"] == true, "the test is answered \(test.text.prefix(200))")
        }
        var legs: [Wish: (leg: String, price: Int64)] = [:]
        for (place, wish) in Wish.allCases.enumerated() {
            legs[wish] = try await sell(wish, number: context.number(40 + place), context, findings, org)
        }
        for (network, id) in ids { try await judge(network, id, legs, context, findings, manager) }
    }

    private static func destination(_ network: String, _ context: CheckContext) -> JSONValue {
        [
            "name": .string(network), "network": .string(network), "account": "1234567", "dry_run": false,
            "conversions": ["sale": network == "meta" ? "Purchase" : "987"],
            "credentials": ["access_token": .string(FakeNetwork.token)],
            "endpoint": .string(context.fakesURL + (network == "meta" ? "/meta/v21.0" : "/google")),
        ]
    }

    /// A visit, what the visitor says of advertising, and a sold lead.
    private static func sell(
        _ wish: Wish, number: UInt64, _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws -> (leg: String, price: Int64) {
        let visitor = "validate-visitor-\(number)"
        let traceID = UID(now: SystemWallClock().now).hex
        var event: [String: JSONValue] = [
            "id": .string("a04-\(context.runID)-\(number)"), "type": "page",
            "url": .string("https://example.com/?utm_campaign=a04&gclid=click-\(number)"),
            "anonymous_id": .string(visitor), "trace_id": .string(traceID),
        ]
        if wish == .allowedLater { event["consent"] = ["ads": "denied"] }
        if wish == .denied { (event["type"], event["consent"]) = ("consent", ["ads": "denied"]) }
        let headers = wish == .globalPrivacyControl ? [("sec-gpc", "1")] : []
        let sent = try await context.call { try await org.write.events([.object(event)], headers: headers) }
        findings.expect(sent.status == 202, "the visit is answered \(sent.status) \(sent.text.prefix(200))")
        if wish == .allowedLater {
            (event["id"], event["type"]) = (.string("a04-\(context.runID)-\(number)-later"), "consent")
            event["consent"] = ["ads": "granted"]
            let decision = JSONValue.object(event)
            let later = try await context.call { try await org.write.events([decision], headers: []) }
            findings.expect(later.status == 202, "the decision is answered \(later.status) \(later.text.prefix(200))")
        }
        let lead = try await context.sellLead(
            LeadBodies.rooftop(number: number, traceID: traceID, campaign: "a04"), in: org)
        findings.expect(lead.row["state"] == "sold", "the lead is not sold: \(lead.row.canonical.prefix(200))")
        return (lead.row["leg"]?.string ?? "", lead.row["price_minor"]?.integer ?? -1)
    }

    private static func judge(
        _ network: String, _ id: String, _ legs: [Wish: (leg: String, price: Int64)], _ context: CheckContext,
        _ findings: Findings, _ manager: APIClient
    ) async throws {
        let answer = try await context.poll(within: .seconds(15)) {
            try await manager.get("/v1/uploads/items?destination=\(id)")
        } until: { answer in
            let items = answer.json["items"]?.array ?? []
            return items.count == legs.count
                && items.allSatisfy { ["accepted", "suppressed"].contains($0["state"]?.string ?? "") }
        }
        var states: [String: String] = [:]
        for item in answer.json["items"]?.array ?? [] {
            states[item["subject"]?.string ?? ""] = "\(item["state"]?.string ?? "") \(item["reason"]?.string ?? "")"
        }
        let expected: [Wish: String] = [
            .nothing: "accepted ", .globalPrivacyControl: "suppressed gpc", .denied: "suppressed no_consent",
            .allowedLater: "accepted ",
        ]
        for (wish, sold) in legs {
            findings.expect(
                states[sold.leg] == expected[wish], "\(network): \(wish) is \(states[sold.leg] ?? "not there")")
        }
        let counted = context.fakes.network(network == "meta" ? .meta : .google)?.conversions ?? []
        for (wish, sold) in legs {
            let held = counted.filter { $0.id == sold.leg }
            findings.expect(
                held.map(\.valueMinor) == (wish.isSent ? [sold.price] : []),
                "\(network) holds \(held.map(\.valueMinor)) of \(wish), sold for \(sold.price)")
        }
    }
}
