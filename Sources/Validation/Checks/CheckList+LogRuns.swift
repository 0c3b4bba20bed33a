internal import AurumCore
internal import Foundation

/// A run over the event log on journeys whose credit was worked out by hand.
extension CheckList {
    /// `email > paid_search > paid_social` buys for 90.00 and `paid_search` for 10.01; `email` and
    /// `email > paid_search` buy nothing.
    private static let journeys: [(person: String, touches: [(touch: Touch, hours: Int64)], price: Double?)] = [
        ("one", [(.news, 20), (.brand, 10), (.feed, 2)], 90), ("two", [(.brand, 5)], 10.01),
        ("three", [(.news, 12)], nil), ("four", [(.news, 15), (.brand, 4)], nil),
    ]

    private enum Touch: String {
        case news, brand, feed

        var campaign: JSONValue {
            switch self {
            case .news: ["name": "news", "source": "list", "medium": "email"]
            case .brand: ["name": "brand", "source": "google", "medium": "cpc"]
            case .feed: ["name": "feed", "source": "facebook", "medium": "cpc"]
            }
        }
    }

    /// Conversions and minor units of each channel, by model. Each of the two conversions is divided by itself, in
    /// whole millionths and cents of which the last touch has the rest.
    ///
    /// Markov of order 1: from the start 3/4 email, 1/4 search; from email 2/3 search, 1/3 nothing; from search a
    /// third each of social, purchase and nothing; from social purchase. P = 1/2; without email 1/6, without search
    /// 0, without social 1/4. Effects 2/3, 1 and 1/2, so that the first purchase is divided 4 : 6 : 3.
    private static let credits: [(model: String, channels: [String: (conversions: Double, minor: Int64)])] = [
        ("first", ["email": (1, 9000), "paid_search": (1, 1001)]),
        ("last", ["paid_search": (1, 1001), "paid_social": (1, 9000)]),
        ("linear", ["email": (1 / 3, 3000), "paid_search": (4 / 3, 4001), "paid_social": (1 / 3, 3000)]),
        ("markov1", ["email": (4 / 13, 2769), "paid_search": (19 / 13, 5155), "paid_social": (3 / 13, 2077)]),
        ("shapley", ["email": (1 / 3, 3000), "paid_search": (4 / 3, 4001), "paid_social": (1 / 3, 3000)]),
    ]

    @Sendable static func logRuns(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a09")
        let starter = context.client(try await context.key(org.name, ["campaigns:write"]))
        let sent = try await context.call { try await org.write.events(events(SystemWallClock().now, context.runID)) }
        findings.expect(
            sent.status == 202 && sent.json["stored"]?.integer ?? 0 > 0,
            "the journeys are answered \(sent.status) \(sent.text.prefix(300))")
        let early = try await context.call { try await org.read.get("/v1/attribution/log-report?conversion=purchase") }
        findings.expect(
            early.status == 404 && early.code == "attribution_not_computed",
            "a report before the first run is answered \(early.status) \(early.code)")
        let refused = try await context.call {
            try await org.read.post("/v1/attribution/recompute", ["conversion": "purchase"])
        }
        findings.expect(refused.status == 403, "a key without campaigns:write starts a run: \(refused.status)")
        let asked = try await context.call {
            try await starter.post("/v1/attribution/recompute", ["conversion": "purchase"])
        }
        findings.expect(asked.status == 202, "the run is answered \(asked.status) \(asked.text.prefix(200))")
        let runs = try await context.poll(within: .seconds(100), every: .milliseconds(200)) {
            try await org.read.get("/v1/attribution/runs?conversion=purchase")
        } until: {
            $0.json["runs"]?.array?.isEmpty == false
        }
        let facts = runs.json["runs"]?.array?.first?["facts"] ?? .null
        findings.expect(
            facts["conversions"] == 2 && facts["journeys_without_conversion"] == 2 && facts["touches"] == 4,
            "the run found \(facts.canonical.prefix(300))")
        try await creditsAgree(context, findings, org)
        try await decayAgrees(context, findings, org)
        try await journeysAgree(context, findings, org)
    }

    private static func events(_ now: Timestamp, _ run: String) -> [JSONValue] {
        var events: [JSONValue] = []
        func add(_ type: String, _ person: String, _ name: String, _ hours: Int64, _ members: [String: JSONValue]) {
            let own: [String: JSONValue] = [
                "id": .string("a09-\(run)-\(person)-\(name)"), "type": .string(type),
                "ts": .string((now - .seconds(hours * 3600)).rfc3339), "anonymous_id": .string("a09-\(run)-\(person)"),
            ]
            events.append(.object(own.merging(members) { $1 }))
        }
        for journey in journeys {
            for (touch, hours) in journey.touches {
                add("click", journey.person, touch.rawValue, hours, ["campaign": touch.campaign])
            }
            guard let price = journey.price else { continue }
            add(
                "conversion", journey.person, "sale", 1,
                ["name": "purchase", "value": .number(price), "currency": "USD"])
        }
        return events
    }

    private static func report(
        _ context: CheckContext, _ org: Organisation, _ model: String
    ) async throws -> (lines: [String: JSONValue], totals: JSONValue?) {
        let answer = try await context.call {
            try await org.read.get("/v1/attribution/log-report?conversion=purchase&model=\(model)")
        }
        guard answer.status == 200 else {
            throw CheckError.unexpected("the report of \(model) is answered \(answer.status) \(answer.code)")
        }
        let lines = (answer.json["lines"]?.array ?? []).map { ($0["key"]?.string ?? "", $0) }
        return (Dictionary(lines) { $1 }, answer.json["totals"])
    }

    private static func creditsAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        for (model, channels) in credits {
            let (lines, totals) = try await report(context, org, model)
            findings.expect(
                Set(lines.keys) == Set(channels.keys), "\(model) credits \(lines.keys.sorted()), not these channels")
            for (channel, credit) in channels {
                let found = lines[channel]?["conversions"]?.double ?? .nan
                // The rest of two divisions into millionths.
                findings.expect(
                    (found - credit.conversions).magnitude <= 2e-6,
                    "\(model) credits \(channel) with \(found) conversions, not \(credit.conversions)")
                let minor = lines[channel]?["amount_minor"]?.integer
                findings.expect(
                    minor == credit.minor, "\(model) credits \(channel) with \(minor ?? -1) cents, not \(credit.minor)")
            }
            findings.expect(
                totals?["conversions"]?.double == 2 && totals?.at("amount_minor", "USD") == 10_001,
                "\(model)'s totals are \(totals?.canonical ?? "missing"), not 2 and 10001")
        }
    }

    /// Time decay with the standard half-life of seven days; ages at the purchase an hour ago.
    private static func decayAgrees(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        let (lines, totals) = try await report(context, org, "time_decay")
        let weights = [19.0, 9, 1].map { exp2(-$0 / 168) }
        let sum = weights.reduce(0, +)
        // The second purchase has a touch of paid_search alone.
        let shares = [
            "email": weights[0] / sum, "paid_search": weights[1] / sum + 1, "paid_social": weights[2] / sum,
        ]
        for (channel, share) in shares {
            let found = lines[channel]?["conversions"]?.double ?? .nan
            findings.expect(
                (found - share).magnitude <= 3e-6, "time decay credits \(channel) with \(found), not \(share)")
        }
        findings.expect(
            totals?.at("amount_minor", "USD") == 10_001, "time decay's total is \(totals?.canonical ?? "missing")")
    }

    private static func journeysAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        let answer = try await context.call { try await org.read.get("/v1/attribution/journeys?conversion=purchase") }
        let found = (answer.json["journeys"]?.array ?? []).map {
            "\($0["path"]?.string ?? "") \($0["conversions"]?.integer ?? 0)"
        }
        findings.expect(
            found.sorted() == ["email > paid_search > paid_social 1", "paid_search 1"], "journeys are \(found)")
        let other = try await context.organisation("a09-other")
        let strange = try await context.call {
            try await other.read.get("/v1/attribution/log-report?conversion=purchase")
        }
        findings.expect(strange.status == 404, "another organisation is answered \(strange.status)")
    }
}
