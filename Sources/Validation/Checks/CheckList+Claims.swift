internal import AurumCore

/// What two networks claim of one sale, and what its path holds of each.
extension CheckList {
    private static let (clicked, seen) = ("validate-claims", "validate-claims-video")

    @Sendable static func claims(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a06")
        let (id, price) = try await claimedSale(context, findings, org)
        let before = try await context.poll(within: .seconds(10)) {
            try await org.read.get("/v1/attribution/report?model=linear&days=3")
        } until: {
            earned($0).values.reduce(0, +) == price
        }
        // An odd cent goes to the later touch, the click.
        findings.expect(
            earned(before) == [clicked: price - price / 2, seen: price / 2],
            "before the claims the credit is \(earned(before)) of \(price)")
        try await importClaims(context, findings, org)
        try await evidenceAgrees(context, findings, org, price: price)
        try await sharedAgrees(context, findings, org, lead: id, price: price)
        let after = try await context.call { try await org.read.get("/v1/attribution/report?model=linear&days=3") }
        findings.expect(earned(after) == earned(before), "claims changed the credit to \(earned(after))")
        try await refusals(context, findings)
    }

    /// Revenue by campaign, where there is any.
    private static func earned(_ report: APIAnswer) -> [String: Int64] {
        var earned: [String: Int64] = [:]
        for row in report.json["rows"]?.array ?? [] {
            guard let key = row["key"]?.string, let minor = row["revenue_minor"]?.integer, minor != 0 else { continue }
            earned[key] = minor
        }
        return earned
    }

    /// A view of one network two minutes ago and a click of another one minute ago, then a lead that is sold.
    /// - Returns: the lead and its price.
    private static func claimedSale(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws -> (id: String, price: Int64) {
        try await context.addBuyer("alpha", to: org)
        let number = context.number(6)
        let now = SystemWallClock().now
        let traceID = UID(now: now).hex
        let visitor: JSONValue = .string("validate-visitor-\(number)")
        let view: JSONValue = [
            "id": .string("a06-view-\(context.runID)"), "type": "impression",
            "ts": .string((now - .seconds(120)).rfc3339), "anonymous_id": visitor, "trace_id": .string(traceID),
            "campaign": ["name": .string(seen), "network": "meta"],
        ]
        let click: JSONValue = [
            "id": .string("a06-click-\(context.runID)"), "type": "page",
            "ts": .string((now - .seconds(60)).rfc3339), "anonymous_id": visitor, "trace_id": .string(traceID),
            "url": .string("https://example.com/?gclid=a06-\(context.runID)&utm_campaign=\(clicked)"),
        ]
        let sent = try await context.call { try await org.write.events([view, click]) }
        findings.expect(sent.status == 202, "the touches are answered \(sent.status) \(sent.code)")
        let lead = try await context.sellLead(
            LeadBodies.rooftop(number: number, traceID: traceID, campaign: clicked), in: org)
        findings.expect(lead.row["state"] == "sold", "the lead is not sold: \(lead.row.canonical.prefix(200))")
        return (lead.id, lead.row["price_minor"]?.integer ?? -1)
    }

    /// Both networks claim today and yesterday, on whichever of which the sale was made.
    private static func importClaims(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        let importer = context.client(try await context.key(org.name, ["campaigns:write"]))
        let now = SystemWallClock().now
        var file = "date,network,campaign,currency,spend,conversions,value\n"
        for date in [now.utcDate, (now - .seconds(86_400)).utcDate] {
            file += "\(date),google,\(clicked),USD,1.00,2,300.00\n\(date),meta,\(seen),USD,1.00,1,\n"
        }
        let rows = file
        let sent = try await context.call {
            try await importer.send("POST", "/v1/spend", body: Array(rows.utf8), contentType: "text/csv")
        }
        findings.expect(
            sent.status == 200 && sent.json["inserted"]?.integer == 4,
            "the import is answered \(sent.status) \(sent.text.prefix(300))")
    }

    private static func evidenceAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, price: Int64
    ) async throws {
        let answer = try await context.call { try await org.read.get("/v1/attribution/claims?days=3&timezone=UTC") }
        func line(_ network: String) -> JSONValue {
            (answer.json["totals"]?.array ?? []).first { $0["network"]?.string == network } ?? .null
        }
        func expect(_ network: String, _ member: String, _ found: JSONValue?, _ wanted: JSONValue) {
            findings.expect(
                found == wanted,
                "\(network)'s \(member) is \(found?.canonical ?? "missing"), not \(wanted.canonical)")
        }
        func kinds(_ kind: String, _ count: Int64) -> JSONValue {
            var kinds: [String: JSONValue] = ["click": 0, "view": 0, "visit": 0, "none": 0, "unknown": 0]
            kinds[kind] = .integer(count)
            return .object(kinds)
        }
        // Two days' claims: 4 and 2. The last touch is google's click.
        let (google, meta) = (line("google"), line("meta"))
        expect("google", "claims", google["claimed"], 4)
        expect("google", "credit", google["credited"], 1)
        expect("google", "inflation", google["inflation"], 4)
        expect("google", "evidence", google["evidence"], kinds("click", 1))
        expect("google", "value", google["values"]?.array?.first?["evidence_minor"], kinds("click", price))
        expect("meta", "claims", meta["claimed"], 2)
        expect("meta", "credit", meta["credited"], 0)
        expect("meta", "inflation without credit", meta["inflation"], .null)
        expect("meta", "evidence", meta["evidence"], kinds("view", 1))
    }

    private static func sharedAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, lead: String, price: Int64
    ) async throws {
        let path = "/v1/attribution/claims/shared?days=3&timezone=UTC"
        for (query, id) in [("", nil), ("&against=leads", lead)] {
            let answer = try await context.call { try await org.read.get(path + query) }
            let rows = answer.json["conversions"]?.array ?? []
            let networks = (rows.first?["networks"]?.array ?? []).map {
                "\($0["network"]?.string ?? "") \($0["evidence"]?.string ?? "")"
            }
            findings.expect(
                rows.count == 1 && networks == ["google click", "meta view"] && answer.json["next"] == .null,
                "shared claims\(query) are \(answer.text.prefix(400))")
            if let id {
                findings.expect(rows.first?["id"]?.string == id, "the shared lead is \(answer.text.prefix(200))")
            } else {
                findings.expect(
                    rows.first?["value_minor"]?.integer == price,
                    "its value is not \(price): \(answer.text.prefix(300))")
            }
        }
    }

    private static func refusals(_ context: CheckContext, _ findings: Findings) async throws {
        let other = try await context.organisation("a06-other")
        let empty = try await context.call { try await other.read.get("/v1/attribution/claims/shared?days=3") }
        findings.expect(
            empty.status == 200 && empty.json["conversions"]?.array?.isEmpty == true,
            "another organisation is answered \(empty.status) \(empty.text.prefix(200))")
        for query in ["limit=0", "days=401", "after=x", "against=clicks"] {
            let answer = try await context.call {
                try await other.read.get("/v1/attribution/claims/shared?\(query)")
            }
            findings.expect(answer.status == 400, "\(query) is answered \(answer.status)")
        }
    }
}
