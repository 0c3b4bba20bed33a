import AurumCore
import Leads
import Testing

@Suite struct ScoreTests {
    static let weights = [2500, 2000, 1500, 1500, 1000, 1000, 500]

    @Test(arguments: [
        ([85, 100, 100, 80, 80, 75, 100], 89), ([70, 70, 80, 80, 60, 40, 60], 69), ([40, 70, 60, 20, 50, 30, 60], 47),
        ([100, 100, 100, 100, 100, 100, 100], 100), ([0, 0, 0, 0, 0, 0, 0], 0),
    ])
    func `the worked examples score to the point`(points: [Int], score: Int) {
        #expect(
            ScorePolicy.total(Array(zip(points, Self.weights).map { (points: $0, weightBasisPoints: $1) })) == score)
    }

    private func rooftop() throws -> ScorePolicy { try #require(try ScorePolicies.embedded()["rooftop"]) }

    private func points(_ values: [String: JSONValue]) throws -> [Int] {
        try rooftop().score(values.mapValues { LeadAttribute($0) }).factors.map(\.points)
    }

    @Test func `attributes give the published points`() throws {
        #expect(
            try points([
                "bill": 34_000, "ownership": "owner", "decision": "alone", "timeline": "under3Months",
                "roofCoverage": 7000, "firstTimeAnswers": 4, "payment": "loan", "phoneUsable": true,
                "emailUsable": true,
            ]) == [85, 100, 100, 80, 80, 75, 100])
        #expect(
            try points([
                "bill": 20_000, "ownership": "coOwner", "decision": "other", "timeline": "3to6Months",
                "roofCoverage": 6000, "firstTimeAnswers": 2, "payment": "unsure", "phoneUsable": true,
            ]) == [70, 70, 80, 80, 60, 40, 60])
        #expect(try points([:]) == [0, 30, 20, 20, 40, 30, 0])
        #expect(
            try points(["roofCoverage": 9000, "roofCondition": "needsWork", "firstTimeAnswers": 9, "ownQuestion": true])
                == [0, 30, 20, 80, 100, 30, 0])
        #expect(try points(["ownership": "owner", "decision": "together"])[1] == 90)
    }

    @Test(arguments: [
        (39_999, 85), (40_000, 100), (29_999, 70), (30_000, 85), (19_999, 55), (20_000, 70), (14_999, 40), (15_000, 55),
        (9999, 20), (10_000, 40), (0, 20),
    ])
    func `a bill counts from its exact bound`(cents: Int, expected: Int) throws {
        #expect(try points(["bill": .integer(Int64(cents))])[0] == expected)
    }

    @Test func `tiers begin at 85, 70 and 50 and a closed gate keeps the score and takes the tier`() throws {
        let policy = try rooftop()
        let best = LeadDesk.bestAttributes.merging(
            ["phoneUsable": LeadAttribute(true), "emailUsable": LeadAttribute(true)], uniquingKeysWith: { $1 })
        let open = policy.score(best)
        #expect(open.score == 100)
        #expect(open.tier == "premium")
        var renting = best
        renting["ownership"] = LeadAttribute("renter")
        let closed = policy.score(renting)
        #expect(closed.score == 86)
        #expect(closed.tier == "unqualified")
        #expect(closed.gates.map(\.code) == ["renter"])
        var silent = best
        silent["ownership"] = nil
        #expect(policy.score(silent).gates.map(\.code) == ["ownershipUnknown"])
    }

    @Test func `each factor shows its evidence and what would raise the score`() throws {
        var attributes = LeadDesk.bestAttributes
        attributes["roofCoverage"] = nil
        let score = try rooftop().score(attributes)
        let bill = try #require(score.factors.first)
        #expect(bill.evidence == "bill: m1[0..<3]")
        #expect(bill.contribution == 250_000)
        let property = try #require(score.whatIf.first { $0.factor == "property" })
        #expect(property.from == score.score)
        #expect(property.to == score.score + 12)
    }

    @Test func `the ZIP code never changes a score, and improving an answer never lowers it`() throws {
        let policy = try rooftop()
        var random = SeededRandom(seed: 4)
        let ladders: [String: [JSONValue]] = [
            "bill": [5000, 12_000, 16_000, 22_000, 31_000, 45_000],
            "timeline": ["unknown", "over12Months", "6to12Months", "3to6Months", "under3Months"],
            "roofCoverage": [1000, 4500, 7000, 9900], "payment": ["unsure", "loan", "cash"],
            "firstTimeAnswers": [0, 1, 2, 3, 4], "ownQuestion": [false, true],
        ]
        for _ in 0..<2000 {
            var lead: [String: LeadAttribute] = ["ownership": LeadAttribute("owner")]
            for (name, values) in ladders where Bool.random(using: &random) {
                lead[name] = values.randomElement(using: &random).map { LeadAttribute($0) }
            }
            let score = policy.score(lead).score
            var moved = lead
            moved["zip"] = LeadAttribute(.string(String(Int.random(in: 10_000...99_999, using: &random))))
            #expect(policy.score(moved).score == score)
            let name = try #require(ladders.keys.sorted().randomElement(using: &random))
            let values = ladders[name] ?? []
            let step = lead[name].flatMap { values.firstIndex(of: $0.value) } ?? -1
            if step + 1 < values.count {
                moved[name] = LeadAttribute(values[step + 1])
                #expect(policy.score(moved).score >= score, "\(name) of \(lead), seed 4")
            }
        }
    }

    @Test func `a policy whose weights do not sum to one stops the start`() throws {
        let good = Asset.text("rules/score-rooftop.json")
        _ = try ScorePolicies(documents: [good])
        let bad = good.replacing("\"weight\": 2500", with: "\"weight\": 2400")
        #expect(throws: ScorePolicies.Failure.self) { try ScorePolicies(documents: [bad]) }
        do {
            _ = try ScorePolicies(documents: [bad, "{}"])
            Issue.record("accepted")
        } catch {
            guard case .invalid(let problems) = error else { return }
            #expect(problems.count == 2)
            #expect(problems.first == "rooftop-1: weights add up to 9900 basis points, not 10000")
        }
    }

    @Test(arguments: [(0, 20_000), (50, 450_000), (60, 550_000), (85, 800_000), (89, 826_667), (100, 900_000)])
    func `the prior map gives the chance of acceptance`(score: Int, millionths: Int64) throws {
        #expect(try rooftop().probabilityMillionths(score: score) == millionths)
    }
}
