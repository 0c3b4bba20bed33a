import AurumCore
import Leads
import Testing

@Suite struct RankingTests {
    private func candidate(
        _ buyer: String, cents: Int64, accept: Int64 = 850_000, returns: Int64 = 100_000, exclusive: Bool = true,
        maxLegs: Int = 1, fee: Int64 = 0
    ) -> Candidate {
        Candidate(
            buyer: buyer, exclusive: exclusive, maxLegs: maxLegs, bidMinor: cents, feeMinor: fee, currency: .usd,
            acceptMillionths: accept, returnMillionths: returns)
    }

    private var lead: OfferedLead {
        OfferedLead(
            id: UID(high: 1, low: 1), type: "rooftop", zip: "11215", score: 89, tier: "premium",
            probabilityMillionths: 826_667, reserveMinor: 25_000, reserveCurrency: .usd, attributes: [:])
    }

    private func decision(_ rows: [(Candidate, Decision.Delivery?)]) -> Decision {
        var decision = Decision(
            lead: lead, at: Timestamp(milliseconds: 0),
            verdicts: rows.map { row in
                var verdict = Decision.Verdict(buyer: row.0.buyer, name: row.0.buyer.uppercased())
                verdict.candidate = row.0
                return verdict
            })
        for (candidate, delivery) in rows {
            if let delivery { decision.record(delivery, reason: "full", buyer: candidate.buyer) }
        }
        return decision
    }

    @Test func `the highest expected net wins, not the highest bid`() {
        let b = candidate("b", cents: 18_200, accept: 930_000, returns: 50_000)
        let a = candidate("a", cents: 19_000, accept: 820_000, returns: 90_000)
        #expect(b.expectedNetMicros == 16_079_700_000)
        #expect(Ranking.choose([a, b]).map(\.buyer) == ["b"])
        var decision = decision([(a, nil), (b, .accepted)])
        decision.chosen = ["b"]
        #expect(
            decision.sentence
                == "Sold to B at $182, expected net 160.80 (accepts 0.93, returns 0.05); A bid $190 but expected 141.78 (0.82, 0.09)"
        )
        #expect(decision.recomputed() == ["b"])
    }

    @Test func `sharing wins when the group is worth more than the best exclusive buyer`() {
        let alone = candidate("x", cents: 20_000)
        let shared = ["a", "b", "c"].map { candidate($0, cents: 9000, exclusive: false, maxLegs: 3) }
        #expect(Ranking.choose(shared + [alone]).map(\.buyer) == ["a", "b", "c"])
        #expect(Ranking.choose(Array(shared.prefix(2)) + [alone]).map(\.buyer) == ["x"])
        #expect(Ranking.choose(shared, sharing: [2]).map(\.buyer) == ["a"])
        #expect(Ranking.choose(shared, sharing: [3, 3, 3]).isEmpty)
        let pair = candidate("d", cents: 9500, exclusive: false, maxLegs: 2)
        #expect(Ranking.choose(shared + [pair]).map(\.buyer) == ["d", "a"])
    }

    @Test func `rates are trusted from fifty outcomes and clamped`() {
        let few = BuyerRecord(decided: 49, accepted: 49, probabilitySumMillionths: 49 * 800_000)
        #expect(Ranking.acceptMillionths(few, leadProbabilityMillionths: 800_000) == 850_000)
        let many = BuyerRecord(decided: 50, accepted: 25, probabilitySumMillionths: 50 * 800_000)
        #expect(Ranking.acceptMillionths(many, leadProbabilityMillionths: 800_000) == 500_000)
        #expect(Ranking.acceptMillionths(many, leadProbabilityMillionths: 400_000) == 250_000)
        let never = BuyerRecord(decided: 50, accepted: 0, probabilitySumMillionths: 50 * 800_000)
        #expect(Ranking.acceptMillionths(never, leadProbabilityMillionths: 800_000) == 50_000)
        #expect(Ranking.returnMillionths(BuyerRecord(settled: 49, returned: 20)) == 100_000)
        #expect(Ranking.returnMillionths(BuyerRecord(settled: 50, returned: 10)) == 200_000)
    }

    @Test func `ties go to the least recently sold, then to the code`() {
        var a = candidate("a", cents: 100_00)
        var b = candidate("b", cents: 100_00)
        #expect(Ranking.ordered([b, a]).map(\.buyer) == ["a", "b"])
        a.lastSold = Timestamp(milliseconds: 5)
        b.lastSold = Timestamp(milliseconds: 4)
        #expect(Ranking.ordered([a, b]).map(\.buyer) == ["b", "a"])
    }

    @Test func `an offer that loses money is not taken`() {
        #expect(Ranking.choose([candidate("a", cents: 1000, fee: 900)]).isEmpty)
    }

    @Test func `random decisions are the same when computed from their record`() throws {
        var random = SeededRandom(seed: 11)
        for round in 0..<500 {
            let all = (0..<Int.random(in: 1...12, using: &random)).map { index in
                let exclusive = Bool.random(using: &random)
                return candidate(
                    "b\(index)", cents: Int64.random(in: 100...40_000, using: &random),
                    accept: Int64.random(in: 50_000...990_000, using: &random),
                    returns: Int64.random(in: 0...400_000, using: &random), exclusive: exclusive,
                    maxLegs: exclusive ? 1 : Int.random(in: 1...5, using: &random))
            }
            let outcomes: [Decision.Delivery] = [.accepted, .rejected, .notSent, .unknown, .capFull]
            var decision = decision(all.map { ($0, nil) })
            var open = decision.ranked
            var sharing: [Int] = []
            rounds: while true {
                let group = Ranking.choose(open, sharing: sharing)
                if group.isEmpty { break }
                open.removeAll { one in group.contains { $0.buyer == one.buyer } }
                var stop = false
                for one in group {
                    let outcome = try #require(outcomes.randomElement(using: &random))
                    decision.chosen.append(one.buyer)
                    decision.record(outcome, reason: "", buyer: one.buyer)
                    if outcome == .unknown || (outcome == .accepted && one.exclusive) { stop = true }
                    if outcome == .accepted, !one.exclusive { sharing.append(one.maxLegs) }
                }
                if stop { break rounds }
            }
            #expect(decision.recomputed() == decision.chosen, "round \(round), seed 11")
        }
    }

    @Test func `a buyer that may not be asked has a reason`() async throws {
        let desk = try LeadDesk()
        let cases: [(String, [String: JSONValue], Refusal?)] = [
            ("paused", ["state": "paused"], .notActive), ("type", ["leadTypes": ["commercial"]], .leadType),
            ("score", ["minScore": 95], .minScore), ("zip", ["zips": ["10001"]], .zip),
            ("bill", ["minBill": 50_000], .minBill),
            ("fine", ["zips": ["11215"], "minBill": 100, "minScore": 80], nil),
        ]
        var lead = lead
        lead.attributes = ["bill": 30_000]
        let cover = CertificateCover(
            id: lead.id, scopes: ["product:rooftop"], expires: Timestamp(milliseconds: 10), isRevoked: false)
        for (code, extra, expected) in cases {
            var body: [String: JSONValue] = [
                "name": "B", "post": "https://b.example/post", "price": "9.00", "leadTypes": ["rooftop"],
            ]
            body.merge(extra) { $1 }
            let buyer = try BuyerBody(
                .object(body), code: code, leadTypes: desk.policies.types, allowLoopback: false
            ).buyer
            func refusal(_ cover: CertificateCover?, capFull: Bool = false, offered: Bool = false, at: Int64 = 0)
                -> Refusal?
            {
                Eligibility.refusal(
                    of: buyer, for: lead, certificate: cover, now: Timestamp(milliseconds: at), capFull: capFull,
                    alreadyOffered: offered)
            }
            #expect(refusal(cover) == expected, "\(code)")
            guard expected == nil else { continue }
            #expect(refusal(nil) == .noCertificate)
            #expect(refusal(cover, at: 10) == .certificateExpired)
            #expect(refusal(cover, capFull: true) == .capFull)
            #expect(refusal(cover, offered: true) == .alreadyOffered)
            var other = cover
            other.scopes = ["seller:somebody"]
            #expect(refusal(other) == .consentScope)
            other = cover
            other.isRevoked = true
            #expect(refusal(other) == .consentScope)
        }
    }
}
