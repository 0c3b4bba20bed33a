internal import AurumCore

/// Cohorts of leads whose members, spend and revenue the check made itself.
extension CheckList {
    private static let brand = "validate-cohort-brand"
    private static let late = "validate-cohort-late"
    private static let daysAgo: Int64 = 40

    @Sendable static func cohorts(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a10")
        try await context.addBuyer("alpha", to: org)
        let visitors = ["first", "second", "third"].map { "a10-\(context.runID)-\($0)" }
        // The first person comes again by another campaign: it stays in the cohort of its first lead.
        let leads = [(visitors[0], brand), (visitors[1], brand), (visitors[0], late), (visitors[2], late)]
        var prices: [Int64] = []
        for (number, (visitor, campaign)) in leads.enumerated() {
            prices.append(try await sell(context, findings, org, number, visitor, campaign))
        }
        let moment = SystemWallClock().now
        let (today, past) = ("\(moment.utcDate)", "\((moment - .seconds(daysAgo * 86_400)).utcDate)")
        let importer = context.client(try await context.key(org.name, ["campaigns:write"]))
        let file =
            "date,network,campaign,currency,spend\n\(today),google,\(brand),USD,400.00\n"
            + "\(today),google,\(late),USD,90.00\n\(past),google,\(brand),USD,7.00\n"
        let sent = try await context.call {
            try await importer.send("POST", "/v1/spend", body: Array(file.utf8), contentType: "text/csv")
        }
        findings.expect(
            sent.status == 200 && sent.json["inserted"]?.integer == 3,
            "the import is answered \(sent.status) \(sent.text.prefix(300))")
        let revenue = (brand: prices[0] + prices[1] + prices[2], late: prices[3])
        for entry in ["leads", "conversions"] {
            try await cellsAgree(context, findings, org, entry, today: today, past: past, revenue)
        }
        try await cohortRefusals(context, findings, org)
    }

    /// A visit from the campaign, then a lead that is sold; its price.
    private static func sell(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ index: Int, _ visitor: String,
        _ campaign: String
    ) async throws -> Int64 {
        let now = SystemWallClock().now
        let traceID = UID(now: now).hex
        let visit: JSONValue = [
            "id": .string("a10-\(context.runID)-\(index)"), "type": "page", "ts": .string(now.rfc3339),
            "url": .string("https://example.com/?utm_source=google&utm_medium=cpc&utm_campaign=\(campaign)"),
            "anonymous_id": .string(visitor), "trace_id": .string(traceID),
        ]
        let sent = try await context.call { try await org.write.events([visit]) }
        findings.expect(sent.status == 202, "a visit is answered \(sent.status) \(sent.code)")
        let number = context.number(index)
        var body = LeadBodies.rooftop(number: number, traceID: traceID, campaign: campaign).object ?? [:]
        var source = body["source"]?.object ?? [:]
        source["visitor_id"] = .string(visitor)
        body["source"] = .object(source)
        let lead = try await context.sellLead(.object(body), in: org)
        findings.expect(lead.row["state"] == "sold", "a lead is not sold: \(lead.row.canonical.prefix(200))")
        return lead.row["price_minor"]?.integer ?? -1
    }

    private static func cellsAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ entry: String, today: String,
        past: String, _ revenue: (brand: Int64, late: Int64)
    ) async throws {
        let path = "/v1/attribution/cohorts?on=\(entry)&by=day&group_by=campaign&days=60&timezone=UTC"
        func row(_ answer: APIAnswer, _ key: String, _ start: String) -> JSONValue {
            (answer.json["rows"]?.array ?? []).first { $0["key"]?.string == key && $0["start"]?.string == start }
                ?? .null
        }
        let answer = try await context.poll(within: .seconds(15), every: .milliseconds(200)) {
            try await org.read.get(path)
        } until: {
            row($0, brand, today)["lifetime_revenue_minor"]?.integer == revenue.brand
                && row($0, late, today)["lifetime_revenue_minor"]?.integer == revenue.late
        }
        let known: [(key: String, start: String, size: Int64, spend: Int64, earned: Int64)] = [
            (brand, today, 2, 40_000, revenue.brand), (late, today, 1, 9000, revenue.late), (brand, past, 0, 700, 0),
        ]
        findings.expect(
            answer.json["rows"]?.array?.count == known.count, "the cohorts of \(entry) are \(answer.text.prefix(600))")
        for (key, start, size, spend, earned) in known {
            let cohort = row(answer, key, start)
            let name = "the cohort of \(entry) \(key) \(start)"
            findings.expect(
                cohort["size"]?.integer == size && cohort["spend_minor"]?.integer == spend,
                "\(name) should have \(size) persons for \(spend): \(cohort.canonical.prefix(300))")
            for horizon in cohort["horizons"]?.array ?? [] {
                // Half a unit rounds away from zero.
                let worth: JSONValue = size > 0 ? .integer((2 * earned + size) / (2 * size)) : .null
                let roas = horizon["roas"]?.double ?? .nan
                findings.expect(
                    horizon["revenue_minor"]?.integer == earned && horizon["ltv_minor"] == worth
                        && (roas - Double(earned) / Double(spend)).magnitude < 1e-6
                        && horizon["mature"] == .bool(start == past),
                    "\(name) should have \(earned) and \(worth.canonical) a person: \(horizon.canonical)")
            }
            findings.expect(cohort["horizons"]?.array?.count == 3, "\(name) has not three horizons")
        }
    }

    private static func cohortRefusals(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        for query in ["model=linear", "by=year", "from=2026-01-02&to=2026-01-01", "group_by=day"] {
            let answer = try await context.call { try await org.read.get("/v1/attribution/cohorts?\(query)") }
            findings.expect(
                answer.status == 400 && answer.code == "bad_query",
                "\(query) is answered \(answer.status) \(answer.code)")
        }
        let other = try await context.organisation("a10-other")
        let empty = try await context.call { try await other.read.get("/v1/attribution/cohorts?days=60") }
        findings.expect(
            empty.status == 200 && empty.json["rows"]?.array?.isEmpty == true,
            "another organisation is answered \(empty.status) \(empty.text.prefix(200))")
    }
}
