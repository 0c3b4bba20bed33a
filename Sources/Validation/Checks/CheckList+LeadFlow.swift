internal import AurumCore

/// From a click to a dollar, over the chat.
extension CheckList {
    static let leadFlow: [Check] = [
        Check(
            id: "P01", title: "whole lead flow", phase: "integration",
            suites: ["events", "conversation", "leads", "attribution"],
            threshold:
                "landing event → chat → qualified, score ≥ 80 → sold → booked; each step on one trace id; to the cent",
            source: "platform validation", body: wholeFlow),
        Check(
            id: "P02", title: "chat of five turns is kept in order", phase: "integration",
            suites: ["conversation", "solar"],
            threshold: "5 visitor messages and every answer stored once, in order, replayed after a lost line",
            source: "platform validation", body: fiveTurns),
    ]

    @Sendable private static func wholeFlow(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p01")
        try await context.addBuyer("alpha", to: org)
        try await context.addBuyer("outbid", to: org)
        let traceID = UID(now: SystemWallClock().now).hex
        let visitor = "p01-\(context.runID)"
        try await land(context, findings, org, traceID: traceID, visitor: visitor)
        let talk = try await converse(context, findings, org, traceID: traceID, visitor: visitor)
        findings.expect(talk.traceID == traceID, "the chat goes on under trace id \(talk.traceID), not \(traceID)")
        let rows = try await context.poll(within: .seconds(10)) {
            try await org.read.get("/v1/overview")
        } until: {
            $0.json.at("leads", "recent")?.array?.first?["state"] == "sold"
        }
        let row = rows.json.at("leads", "recent")?.array?.first ?? .null
        guard findings.expect(row["state"] == "sold", "the lead is not sold: \(row.canonical.prefix(300))") else {
            return
        }
        findings.measure(Measure("score", row["score"]?.double ?? 0, "", .atLeast, bar: 80, n: 1))
        let price = row["price_minor"]?.integer ?? -1
        let leg = row["leg"]?.string ?? ""
        let booked = context.fakes.buyers.flatMap(\.book).filter { UID($0.legID) == UID(leg) }
        findings.expect(booked.count == 1, "\(booked.count) entries of leg \(leg) in the buyers' books")
        findings.expect(
            booked.first?.priceCents == price,
            "the buyer booked \(booked.first?.priceCents ?? -1) cents, Aurum \(price)")
        findings.measure(Measure("price", Double(price) / 100, "USD", n: 1))
        try await ledgerAgrees(context, findings, org, price: price)
        try await explanationAgrees(context, findings, org, leg: leg, price: price, traceID: traceID)
        try await eventsAgree(context, findings, org, traceID: traceID)
    }

    private static func land(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, traceID: String, visitor: String
    ) async throws {
        let url =
            "\(context.target.url)/?utm_source=google&utm_medium=cpc&utm_campaign=validate-brand&gclid=g-\(visitor)"
        let event: JSONValue = [
            "id": .string("p01-landing-\(context.runID)"), "type": "page", "ts": .string(SystemWallClock().now.rfc3339),
            "url": .string(url), "referrer": "https://www.google.com/", "anonymous_id": .string(visitor),
            "trace_id": .string(traceID), "click_id": .string("g-\(visitor)"),
            "campaign": ["source": "google", "medium": "cpc", "name": "validate-brand", "network": "google"],
        ]
        let answer = try await context.call {
            try await org.publish.events([event], headers: [("Origin", context.target.url)])
        }
        findings.expect(answer.status == 202, "the landing event is answered \(answer.status) \(answer.code)")
        findings.expect(
            answer.json["stored"]?.integer == 1, "the landing event is not stored: \(answer.text.prefix(200))")
        findings.expect(
            answer.header("aurum-receipt") == answer.json["receipt"]?.string, "header Aurum-Receipt is not the receipt")
    }

    private static func converse(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, traceID: String, visitor: String
    ) async throws -> ChatTalk {
        let persona = Persona.ideal(number: context.number(1))
        var talk = try await ChatTalk.open(
            base: context.target.url, siteKey: org.site,
            hello: ChatHello(
                visitorID: visitor, traceID: traceID, page: context.target.url + "/", clickID: "g-\(visitor)",
                utm: ["source": "google", "medium": "cpc", "campaign": "validate-brand"]))
        findings.sent(1)
        var turns = 0
        while !talk.turn.closed, let slots = talk.turn.slotAsked, turns < 25 {
            turns += 1
            findings.sent(1)
            let turn = try await talk.sayPatiently(persona.answer(to: slots, quickReplies: talk.turn.quickReplies))
            guard findings.expect(turn.error == nil, "turn \(turns) (\(slots)) is answered error \(turn.error ?? "")")
            else { break }
        }
        findings.expect(
            talk.turn.closed,
            "the talk has not ended after \(turns) turns; it asks \(talk.turn.slotAsked ?? "nothing"): "
                + (talk.turn.texts.last ?? "")
        )
        findings.measure(Measure("visitor turns to a lead", Double(turns), "", n: 1))
        await talk.bye()
        return talk
    }

    static func ledgerAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, price: Int64
    ) async throws {
        let answer = try await context.call { try await org.read.get("/v1/ledger") }
        guard findings.expect(answer.status == 200, "GET /v1/ledger answered \(answer.status) \(answer.code)") else {
            return
        }
        let accounts = answer.json["accounts"]?.array ?? []
        let sum = accounts.compactMap { $0["balance_minor"]?.integer }.reduce(0, +)
        findings.expect(sum == 0, "the ledger sums to \(sum), not to zero")
        findings.expect(
            accounts.contains { $0["balance_minor"]?.integer?.magnitude == price.magnitude },
            "no account holds the price \(price): \(answer.text.prefix(400))")
    }

    private static func explanationAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, leg: String, price: Int64, traceID: String
    ) async throws {
        let answer = try await context.poll(within: .seconds(5)) {
            try await org.read.get("/v1/explain/\(leg)")
        } until: { answer in
            answer.json["path"]?.array?.contains { $0["kind"] == "ledger" } ?? false
        }
        guard findings.expect(answer.status == 200, "GET /v1/explain answered \(answer.status) \(answer.code)") else {
            return
        }
        let json = answer.json
        findings.expect(
            json["trace_id"]?.string == traceID, "explained under trace id \(json["trace_id"]?.string ?? "none")")
        findings.expect(json.at("leg", "price_minor")?.integer == price, "explained price differs from \(price)")
        let kinds = Set(json["path"]?.array?.compactMap { $0["kind"]?.string } ?? [])
        for kind in ["chat", "lead", "consent", "bid", "delivery", "ledger"] {
            findings.expect(kinds.contains(kind), "the path has no step of kind \(kind)")
        }
        findings.expect(!kinds.isDisjoint(with: ["touch", "page"]), "the path does not begin with a visit")
        for view in ["first", "last"] {
            let credits = json.at("credits", view)?.array ?? []
            let amount = credits.compactMap { $0["amount_minor"]?.integer }.reduce(0, +)
            findings.expect(amount == price, "\(view) touch credits add up to \(amount), not \(price)")
            findings.expect(
                credits.contains { $0["campaign"]?.string == "validate-brand" }, "\(view) touch is not the campaign")
        }
        let postings = json["ledger"]?.array ?? []
        let debits = postings.compactMap { $0["debit_minor"]?.integer }.reduce(0, +)
        let credits = postings.compactMap { $0["credit_minor"]?.integer }.reduce(0, +)
        findings.expect(
            debits == credits && debits >= price, "postings: debit \(debits), credit \(credits), price \(price)")
    }

    private static func eventsAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, traceID: String
    ) async throws {
        let wanted = [
            "lead.created", "lead.scored", "consent.sealed", "bid.received", "delivery.accepted", "ledger.posted",
        ]
        func names(_ answer: APIAnswer) -> [String] {
            answer.json["events"]?.array?.compactMap { $0["name"]?.string } ?? []
        }
        let answer = try await context.poll(within: .seconds(5)) {
            try await org.read.get("/v1/events?trace_id=\(traceID)&limit=500")
        } until: { answer in
            Set(wanted).isSubset(of: Set(names(answer)))
        }
        let found = names(answer)
        for name in wanted { findings.expect(found.contains(name), "no event \(name) under the trace id: \(found)") }
        findings.expect(
            found.contains { $0.hasPrefix("conversation.") }, "no event of the conversation under the trace id")
        findings.expect(
            answer.json["events"]?.array?.contains {
                $0["name"] == "lead.created" && $0["anonymous_id"]?.string?.isEmpty == false
            } ?? false, "lead.created names no visitor")
        findings.expect(
            answer.json["events"]?.array?.contains { $0["type"] == "page" } ?? false,
            "the landing event is not under the trace id")
    }

    @Sendable private static func fiveTurns(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p02")
        let persona = Persona.ideal(number: context.number(1))
        let hello = ChatHello(
            visitorID: "p02-\(context.runID)", traceID: UID(now: SystemWallClock().now).hex,
            page: context.target.url + "/")
        var talk = try await ChatTalk.open(base: context.target.url, siteKey: org.site, hello: hello)
        var said: [String] = []
        for _ in 0..<5 {
            guard let slots = talk.turn.slotAsked else { break }
            let words = persona.answer(to: slots, quickReplies: talk.turn.quickReplies)
            findings.sent(1)
            let turn = try await talk.sayPatiently(words)
            findings.expect(turn.error == nil, "a turn is answered error \(turn.error ?? "")")
            findings.expect(turn.frames.first?["type"] == "accepted", "the first frame of a turn is not `accepted`")
            said.append(words)
        }
        findings.expect(said.count == 5, "the talk stopped asking after \(said.count) turns")
        let live = talk.frames
        let token = talk.resumeToken
        await talk.abort()
        var resumed = try await ChatTalk.open(
            base: context.target.url, siteKey: org.site,
            hello: ChatHello(
                visitorID: hello.visitorID, traceID: hello.traceID, page: hello.page, resumeToken: token, lastSeq: 0))
        findings.sent(1)
        let lastSeq = live.compactMap { $0["seq"]?.integer }.max() ?? 0
        while resumed.lastSeq < lastSeq, try await resumed.nextFrame(within: .seconds(3)) != nil {}
        let sequence = resumed.frames.compactMap { $0["seq"]?.integer }
        findings.expect(sequence == Array(1...max(1, lastSeq)), "replayed frames are \(sequence), not 1 to \(lastSeq)")
        findings.expect(
            resumed.frames.map { $0["messageID"] } == live.map { $0["messageID"] },
            "replayed messages differ from the live ones")
        let kept = resumed.welcome["visitorMessages"]?.array?.compactMap { $0["text"]?.string } ?? []
        findings.expect(kept == said, "the visitor's words kept are \(kept), said were \(said)")
        findings.measure(
            Measure(
                "messages kept", Double(kept.count + live.count { $0["type"] == "message" }), "", .atLeast, bar: 10,
                n: 1))
        await resumed.bye()
    }
}

extension ChatTalk {
    /// Says it; waits and repeats with the same id when told to slow down.
    mutating func sayPatiently(_ words: String) async throws -> ChatTurn {
        let id = ChatTalk.newID()
        let turn = try await say(words, id: id)
        guard turn.error == "rate_limited", let wait = turn.retryAfter else { return turn }
        try await Task.sleep(for: min(wait + .milliseconds(50), .seconds(15)))
        return try await say(words, id: id)
    }
}
