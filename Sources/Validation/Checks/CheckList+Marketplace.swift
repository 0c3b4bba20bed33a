internal import AurumCore

/// Selling: who gets the lead, what each kind of answer means, and whether all views tell one story.
extension CheckList {
    static let marketplace: [Check] = [
        Check(
            id: "P05", title: "the best permitted bid wins", phase: "integration", suites: ["leads"],
            threshold:
                "of four buyers the best permitted one gets the lead, of five the best that accepts; "
                + "the explanation lists the losers; ≤ 1 s",
            source: "platform validation", body: bestBidWins),
        Check(
            id: "P06", title: "overview equals the oracle", phase: "integration", suites: ["leads", "attribution"],
            threshold:
                "leads, sales, revenue, first and last touch of 20 leads equal the buyers' own books within 1.5 s",
            source: "platform validation", body: overviewEqualsOracle),
        Check(
            id: "P08", title: "all views agree on one lead", phase: "integration", suites: ["leads", "attribution"],
            threshold: "lead, overview, ledger, explanation and book carry one price, score and buyer",
            source: "platform validation", body: viewsAgree),
        Check(
            id: "G01", title: "delivery outcomes of faulty buyers", phase: "integration", suites: ["leads"],
            threshold: "each behaviour of the fake buyers ends in the outcome it must; none is sold twice",
            source: "architecture review", body: behavioursClassified),
    ]

    @Sendable private static func bestBidWins(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p05")
        try await context.addBuyer("alpha", to: org)
        try await context.addBuyer("bravo", to: org)
        try await context.addBuyer("outbid", to: org)
        try await context.addBuyer("excluded", to: org, extra: ["minScore": 100, "zips": ["10001"]])
        let (id, row, took) = try await context.sellLead(LeadBodies.rooftop(number: context.number(1)), in: org)
        guard findings.expect(row["state"] == "sold", "lead \(id) is not sold: \(row.canonical.prefix(200))") else {
            return
        }
        findings.expect(
            row["buyer"]?.string == "bravo", "sold to \(row["buyer"]?.string ?? "nobody"), not to bravo who bid most")
        findings.expect(
            row["price_minor"]?.integer == 21_000, "sold for \(row["price_minor"]?.integer ?? -1), not 21000")
        findings.measure(Measure("post to sold", took.seconds * 1000, "ms", .below, bar: 1000, n: 1))
        let leg = row["leg"]?.string ?? ""
        let answer = try await context.call { try await org.read.get("/v1/explain/\(leg)") }
        let bids = answer.json["bids"]?.array ?? []
        for code in ["alpha", "bravo", "outbid", "excluded"] {
            findings.expect(bids.contains { $0["buyer"]?.string == code }, "the explanation does not name \(code)")
        }
        let refused = bids.first { $0["buyer"]?.string == "excluded" }
        let why = refused?["verdict"]?.string ?? ""
        findings.expect(!["", "accepted", "outbid"].contains(why), "why `excluded` was not asked is given as `\(why)`")
        findings.expect(
            answer.json["decision"]?.string?.contains("ravo") ?? false, "the decision sentence does not name the winner"
        )
        let pinged = context.fakes.buyer("excluded")?.log.count ?? 0
        findings.expect(pinged == 0, "`excluded` was asked \(pinged) times although its filter refuses")
        try await context.addBuyer("lying", to: org)
        let second = try await context.sellLead(LeadBodies.rooftop(number: context.number(2)), in: org)
        findings.expect(
            second.row["buyer"]?.string == "bravo",
            "after the lying buyer's refusal the lead went to \(second.row["buyer"]?.string ?? "nobody")")
    }

    @Sendable private static func overviewEqualsOracle(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p06")
        try await context.addBuyer("scattered", to: org)
        let count = 20
        var ids: Set<String> = []
        for index in 0..<count {
            let trace = UID(now: SystemWallClock().now).hex
            let campaign = index.isMultiple(of: 2) ? "validate-even" : "validate-odd"
            let visit: JSONValue = [
                "id": .string("p06-\(context.runID)-\(index)"), "type": "page", "anonymous_id": .string("p06-\(index)"),
                "trace_id": .string(trace), "url": .string("https://example.com/?utm_campaign=\(campaign)"),
                "campaign": ["source": "google", "medium": "cpc", "name": .string(campaign)],
            ]
            let landed = try await context.call { try await org.write.events([visit]) }
            findings.expect(landed.status == 202, "a visit is answered \(landed.status)")
            let body = LeadBodies.rooftop(number: context.number(index), traceID: trace, campaign: campaign)
            let posted = try await context.call { try await org.manage.post("/v1/leads", body) }
            if findings.expect(posted.status == 201, "a lead is answered \(posted.status): \(posted.text.prefix(300))"),
                let id = posted.json["id"]?.string
            {
                ids.insert(id)
            }
        }
        let clock = ContinuousClock()
        func book() -> [BookEntry] {
            let known = Set(ids.compactMap { UID($0) })
            return (context.fakes.buyer("scattered")?.book ?? []).filter { UID($0.leadID).map(known.contains) ?? false }
        }
        let deadline = clock.now + .seconds(15)
        while book().count < count, clock.now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        let sales = book()
        let total = sales.map(\.priceCents).reduce(0, +)
        let bookFull = clock.now
        let answer = try await context.poll(within: .seconds(3), every: .milliseconds(20)) {
            try await org.read.get("/v1/overview")
        } until: { answer in
            answer.json.at("revenue", "booked_minor")?.integer == total
                && credited(answer.json, "first") == total && credited(answer.json, "last") == total
        }
        findings.measure(
            Measure(
                "book to overview", (clock.now - bookFull).seconds * 1000, "ms", .atMost, bar: 1500, n: sales.count))
        let json = answer.json
        findings.expect(sales.count == count, "the buyer holds \(sales.count) of \(count) leads")
        findings.expect(
            json.at("leads", "total")?.integer == Int64(count),
            "overview counts \(json.at("leads", "total")?.integer ?? -1) leads")
        findings.expect(
            json.at("leads", "sold")?.integer == Int64(sales.count),
            "overview counts \(json.at("leads", "sold")?.integer ?? -1) sold")
        findings.expect(
            json.at("revenue", "booked_minor")?.integer == total,
            "overview books \(json.at("revenue", "booked_minor")?.integer ?? -1), the buyer \(total)")
        for view in ["first", "last"] {
            let rows = json.at("attribution", view)?.array ?? []
            let sum = credited(json, view)
            findings.expect(sum == total, "\(view) touch revenue adds up to \(sum), not \(total)")
            findings.expect(
                rows.count { $0["campaign"]?.string?.hasPrefix("validate-") ?? false } == 2,
                "\(view) touch does not show both campaigns")
        }
        findings.measure(Measure("revenue", Double(total) / 100, "USD", n: sales.count))
    }

    private static func credited(_ overview: JSONValue, _ view: String) -> Int64 {
        (overview.at("attribution", view)?.array ?? []).compactMap { $0["revenue_minor"]?.integer }.reduce(0, +)
    }

    @Sendable private static func viewsAgree(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p08")
        try await context.addBuyer("scattered", to: org)
        let (id, row, _) = try await context.sellLead(LeadBodies.rooftop(number: context.number(1)), in: org)
        guard findings.expect(row["state"] == "sold", "lead \(id) is not sold: \(row.canonical.prefix(200))") else {
            return
        }
        let price = row["price_minor"]?.integer ?? -1
        let leg = row["leg"]?.string ?? ""
        let entry = context.fakes.buyer("scattered")?.book.first { UID($0.legID) == UID(leg) }
        findings.expect(entry?.priceCents == price, "book \(entry?.priceCents ?? -1), overview \(price)")
        let lead = try await context.call { try await org.read.get("/v1/leads/\(id)") }
        findings.expect(lead.status == 200, "GET /v1/leads/{id} answered \(lead.status) \(lead.code)")
        findings.expect(
            lead.json["state"] == "sold", "the lead itself is \(lead.json["state"]?.string ?? "without state")")
        findings.expect(
            lead.json["score"]?.integer == row["score"]?.integer,
            "score \(lead.json["score"]?.integer ?? -1) there, \(row["score"]?.integer ?? -1) in the overview")
        let list = try await context.call { try await org.read.get("/v1/leads") }
        findings.expect(
            list.json["leads"]?.array?.count == 1, "the list holds \(list.json["leads"]?.array?.count ?? -1) leads")
        let explained = try await context.call { try await org.read.get("/v1/explain/\(leg)") }
        findings.expect(
            explained.json.at("leg", "price_minor")?.integer == price, "explanation and overview disagree on the price")
        findings.expect(
            explained.json.at("lead", "score")?.integer == row["score"]?.integer,
            "explanation and overview disagree on the score")
        findings.expect(
            explained.json.at("leg", "buyer")?.string == row["buyer"]?.string,
            "explanation and overview disagree on the buyer")
        try await ledgerAgrees(context, findings, org, price: price)
        let other = try await context.organisation("p08b")
        let foreign = try await context.call { try await other.read.get("/v1/leads/\(id)") }
        findings.expect(foreign.status == 404, "another organisation reads the lead: \(foreign.status)")
        let again = try await context.call {
            try await org.manage.post("/v1/leads", LeadBodies.rooftop(number: context.number(1)))
        }
        findings.expect(
            again.status == 409 || again.json["id"]?.string == id,
            "the same own id again made another lead: \(again.status)")
    }

    @Sendable private static func behavioursClassified(_ context: CheckContext, _ findings: Findings) async throws {
        let cases: [(buyer: String, state: String)] = [
            ("alpha", "sold"), ("declining", "unsold"), ("slow", "unsold"), ("created", "unsold"),
            ("duplicates", "unsold"), ("malformed", "unsold"), ("lying", "unsold"), ("limited", "sold"),
            ("vanishing", "routing"),
        ]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, expected) in cases.enumerated() {
                group.addTask {
                    let org = try await context.organisation("g01-\(expected.buyer)")
                    try await context.addBuyer(expected.buyer, to: org, extra: ["idempotent": false])
                    let body = LeadBodies.rooftop(number: context.number(index))
                    let wait = Duration.seconds(expected.state == "routing" ? 5 : 12)
                    let (_, row, _) = try await context.sellLead(body, in: org, within: wait)
                    let state = row["state"]?.string ?? "not shown"
                    findings.expect(
                        state == expected.state, "\(expected.buyer): the lead is \(state), expected \(expected.state)")
                    if expected.buyer == "vanishing" {
                        let overview = try await context.call { try await org.read.get("/v1/overview") }
                        findings.expect(
                            overview.json.at("leads", "unknown")?.integer == 1,
                            "a post without an answer is not counted as unknown")
                    }
                }
            }
            try await group.waitForAll()
        }
        for buyer in context.fakes.buyers {
            let leads = buyer.book.map(\.leadID)
            findings.expect(Set(leads).count == leads.count, "\(buyer.code) was sold one lead twice")
        }
    }
}
