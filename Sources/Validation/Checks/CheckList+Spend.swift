internal import AurumCore

/// Spend over the network, and what the campaign report makes of it.
extension CheckList {
    private static let campaign = "validate-spend"

    @Sendable static func spend(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a03")
        let importer = context.client(try await context.key(org.name, ["campaigns:write"]))
        let price = try await sale(context, findings, org)
        // 73.21 + 12.34 on 40 + 10 clicks of 1,000 + 250 impressions, and 5.00 that nobody came from.
        let today = SystemWallClock().now.rfc3339.prefix(10)
        let file =
            "date,network,account_id,campaign,ad_group_id,currency,spend,impressions,clicks\n"
            + "\(today),google,a,\(campaign),one,USD,73.21,1000,40\n"
            + "\(today),google,a,\(campaign),two,USD,12.34,250,10\n"
            + "\(today),meta,b,never-seen-\(context.runID.prefix(8)),,USD,5.00,,\n"
        func send(_ text: String, _ query: String = "") async throws -> APIAnswer {
            try await context.call {
                try await importer.send("POST", "/v1/spend" + query, body: Array(text.utf8), contentType: "text/csv")
            }
        }
        // By the server's clock: what the report said before the file came.
        let before = try await context.call { try await org.read.get("/v1/attribution/report?days=2") }
        let first = try await send(file)
        findings.expect(
            first.status == 200 && first.json["inserted"]?.integer == 3 && first.json["unmatched_count"]?.integer == 1,
            "the import is answered \(first.status) \(first.text.prefix(300))")
        let again = try await send(file)
        findings.expect(
            again.json["unchanged"]?.integer == 3 && again.json["replaced"]?.integer == 0,
            "the same file again is answered \(again.text.prefix(300))")
        let bad = try await send(file + "\(today),google,a,x,,USD,nothing,,\nnever,google,a,x,,USD,1,,\n")
        findings.expect(
            bad.status == 422 && bad.json["problems"]?.array?.compactMap { $0["line"]?.integer } == [5, 6],
            "a file with two bad rows is answered \(bad.status) \(bad.text.prefix(300))")
        let refused = try await context.call {
            try await org.read.send("POST", "/v1/spend", body: Array(file.utf8), contentType: "text/csv")
        }
        findings.expect(refused.status == 403, "a key without campaigns:write is answered \(refused.status)")
        try await reportAgrees(context, findings, org, price: price)
        try await pastAgrees(context, findings, org, before.json["as_of"]?.string ?? "")
    }

    /// The report as it stood before the import has none of its spend, and says what there is now.
    private static func pastAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ moment: String
    ) async throws {
        let past = try await context.call {
            try await org.read.get("/v1/attribution/report?days=2&model=linear&as_of=\(moment)")
        }
        let row = past.json["rows"]?.array?.first { $0["key"]?.string == campaign } ?? .null
        findings.expect(
            past.status == 200 && past.json["as_of"]?.string == moment && row["spend_minor"] == 0
                && row["changed"]?["spend_minor"] == 8555,
            "the report as of \(moment) is answered \(past.status) \(row.canonical.prefix(400))")
        for wrong in ["yesterday", "2999-01-01T00:00:00Z"] {
            let refused = try await context.call {
                try await org.read.get("/v1/attribution/report?as_of=\(wrong)")
            }
            findings.expect(
                refused.status == 400 && refused.code == "bad_query",
                "as_of=\(wrong) is answered \(refused.status) \(refused.code)")
        }
    }

    /// A visit from the campaign, then a lead that is sold; its price.
    private static func sale(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws -> Int64 {
        try await context.addBuyer("alpha", to: org)
        let number = context.number(3)
        let traceID = UID(now: SystemWallClock().now).hex
        let event: JSONValue = [
            "id": .string("a03-\(context.runID)"), "type": "page", "ts": .string(SystemWallClock().now.rfc3339),
            "url": .string(
                "https://example.com/?utm_source=google&utm_medium=cpc&utm_campaign=\(campaign)&adgroupid=one"),
            "anonymous_id": .string("validate-visitor-\(number)"), "trace_id": .string(traceID),
        ]
        let sent = try await context.call { try await org.write.events([event]) }
        findings.expect(sent.status == 202, "the visit is answered \(sent.status) \(sent.code)")
        let lead = try await context.sellLead(
            LeadBodies.rooftop(number: number, traceID: traceID, campaign: campaign), in: org)
        findings.expect(lead.row["state"] == "sold", "the lead is not sold: \(lead.row.canonical.prefix(200))")
        return lead.row["price_minor"]?.integer ?? -1
    }

    private static func reportAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, price: Int64
    ) async throws {
        func line(_ answer: APIAnswer, _ key: String) -> JSONValue {
            answer.json["rows"]?.array?.first { $0["key"]?.string == key } ?? .null
        }
        let report = try await context.poll(within: .seconds(10)) {
            try await org.read.get("/v1/attribution/report?model=linear&days=2")
        } until: {
            line($0, campaign)["revenue_minor"]?.integer == price && line($0, campaign)["leads"] == 1
        }
        let row = line(report, campaign)
        let spent: Int64 = 7321 + 1234
        findings.expect(
            row["spend_minor"]?.integer == spent && row["revenue_minor"]?.integer == price,
            "the campaign's line is \(row.canonical.prefix(400))")
        // ROAS to a millionth, CPA and CPL to the minor unit, CTR = 50/1250, CVR = 1/50.
        let roas = row["roas"]?.double ?? .nan
        findings.expect(
            (roas - Double(price) / Double(spent)).magnitude < 1e-6,
            "ROAS is \(roas), not \(price)/\(spent)")
        findings.measure(Measure("ROAS", roas, "", n: 1))
        findings.expect(row["cpa_minor"]?.integer == spent, "CPA is \(row["cpa_minor"]?.canonical ?? "missing")")
        findings.expect(row["cpl_minor"]?.integer == spent, "CPL is \(row["cpl_minor"]?.canonical ?? "missing")")
        findings.expect(row["ctr"]?.double == 0.04, "CTR is \(row["ctr"]?.canonical ?? "missing")")
        findings.expect(row["cvr"]?.double == 0.02, "CVR is \(row["cvr"]?.canonical ?? "missing")")
        findings.expect(
            row["cpi_minor"] == .null, "CPI without an install is \(row["cpi_minor"]?.canonical ?? "missing")")
        findings.expect(
            line(report, "unmatched")["spend_minor"]?.integer == 500,
            "unmatched spend is \(line(report, "unmatched").canonical.prefix(200))")
        let total = report.json["totals"]?.array?.first ?? .null
        findings.expect(
            total["spend_minor"]?.integer == spent + 500 && total["revenue_minor"]?.integer == price,
            "the totals are \(total.canonical.prefix(300))")
        let models = try await context.call { try await org.read.get("/v1/attribution/models/compare?days=2") }
        let sums = models.json.at("totals")?.array?.first?["models"]?.object ?? [:]
        findings.expect(
            sums.count == 8 && sums.values.allSatisfy { $0["revenue_minor"]?.integer == price },
            "the models' totals differ: \(JSONValue.object(sums).canonical.prefix(400))")
        let buyers = try await context.call { try await org.read.get("/v1/attribution/report?days=2&group_by=buyer") }
        findings.expect(
            line(buyers, "alpha")["revenue_minor"]?.integer == price && line(buyers, "alpha")["roas"] == .null,
            "the buyer's line is \(line(buyers, "alpha").canonical.prefix(300))")
        try await adGroupsAgree(context, findings, org, price: price)
        try await ledgerAgrees(context, findings, org, price: price)
    }

    /// The ad group of the link has the sale, and each ad group the spend that the file gives it.
    private static func adGroupsAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, price: Int64
    ) async throws {
        let answer = try await context.call {
            try await org.read.get("/v1/attribution/report?model=linear&days=2&group_by=ad_group")
        }
        let found = (answer.json["rows"]?.array ?? []).map { row in
            "\(row["key"]?.string ?? "") \(row["spend_minor"]?.integer ?? -1) \(row["revenue_minor"]?.integer ?? -1)"
        }
        findings.expect(
            Set(found) == ["one 7321 \(price)", "two 1234 0", "(not set) 500 0"],
            "ad groups with spend and revenue are \(found)")
    }
}
