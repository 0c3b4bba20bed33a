import Attribution
import AurumCore
import Foundation
import TestSupport
import Testing

/// Each model against arithmetic done by hand, and the promises that hold for all.
struct CreditTests {
    private static let day = 86_400.0

    private func weights(_ model: CreditModel, _ facts: JourneyFacts, halfLife: Double = 7 * day) -> [Double] {
        var weights: [Double] = []
        JourneyCredit.weights(model, facts, halfLife: halfLife, into: &weights)
        return weights
    }

    private func facts(
        _ count: Int, ages: [Double]? = nil, direct: [Bool] = [], milestone: Int? = nil
    ) -> JourneyFacts {
        var facts = JourneyFacts()
        facts.count = count
        facts.ages = ages ?? (0..<count).map { Double(count - 1 - $0) * Self.day }
        facts.isDirect = direct
        facts.milestone = milestone
        return facts
    }

    private func near(_ found: [Double], _ expected: [Double]) -> Bool {
        found.count == expected.count && zip(found, expected).allSatisfy { ($0 - $1).magnitude < 1e-12 }
    }

    @Test func `one touch gets everything under every model`() {
        for model in CreditModel.allCases {
            #expect(near(weights(model, facts(1)), [1]), "\(model)")
            #expect(near(weights(model, facts(1, direct: [true], milestone: 0)), [1]), "\(model)")
            #expect(weights(model, facts(0)).isEmpty)
        }
    }

    @Test func `two, three and seven touches, by hand`() {
        #expect(weights(.first, facts(3)) == [1, 0, 0] && weights(.last, facts(3)) == [0, 0, 1])
        #expect(near(weights(.linear, facts(7)), [Double](repeating: 1.0 / 7, count: 7)))
        #expect(weights(.position, facts(2)) == [0.5, 0.5])
        #expect(near(weights(.position, facts(3)), [0.4, 0.2, 0.4]))
        #expect(near(weights(.position, facts(7)), [0.4, 0.04, 0.04, 0.04, 0.04, 0.04, 0.4]))
        #expect(near(weights(.wShaped, facts(2)), [3.0 / 7, 4.0 / 7]))
        #expect(near(weights(.wShaped, facts(3)), [3.0 / 7, 0, 4.0 / 7]))
        #expect(near(weights(.wShaped, facts(4, milestone: 1)), [0.3, 0.3, 0, 0.4]))
        #expect(near(weights(.wShaped, facts(4, milestone: 0)), [0.6, 0, 0, 0.4]))
        #expect(near(weights(.wShaped, facts(4, milestone: 3)), [0.3, 0, 0, 0.7]))
        #expect(near(weights(.wShaped30303010, facts(5, milestone: 2)), [0.3, 0.05, 0.3, 0.05, 0.3]))
        #expect(near(weights(.wShaped30303010, facts(2)), [0.5, 0.5]))
    }

    @Test func `time decay halves with each half-life and survives a gap of ten years`() {
        #expect(near(weights(.timeDecay, facts(2, ages: [7 * Self.day, 0])), [1.0 / 3, 2.0 / 3]))
        #expect(near(weights(.timeDecay, facts(3, ages: [2, 1, 0]), halfLife: 1), [1.0 / 7, 2.0 / 7, 4.0 / 7]))
        #expect(near(weights(.timeDecay, facts(3, ages: [0, 0, 0])), [1.0 / 3, 1.0 / 3, 1.0 / 3]))
        let old = weights(.timeDecay, facts(3, ages: [3650 * Self.day, 3650 * Self.day, 0]), halfLife: 3600)
        #expect(old.allSatisfy { $0.isFinite } && near(old, [0, 0, 1]))
    }

    @Test func `last non-direct passes over direct visits unless there is nothing else`() {
        #expect(weights(.lastNonDirect, facts(4, direct: [false, false, true, true])) == [0, 1, 0, 0])
        #expect(weights(.lastNonDirect, facts(3, direct: [true, true, true])) == [0, 0, 1])
        #expect(weights(.lastNonDirect, facts(2)) == [0, 1])
    }

    @Test func `custom weights are shared, added up, scaled by channel and refused when they mean nothing`() throws {
        let custom = try CustomWeights(first: 2, middle: 4, milestone: 0, last: 2)
        var found: [Double] = []
        JourneyCredit.weights(custom, facts(4), into: &found)
        #expect(near(found, [0.25, 0.25, 0.25, 0.25]))
        var scaled = facts(3)
        scaled.factors = [1, 0, 1]
        JourneyCredit.weights(custom, scaled, into: &found)
        #expect(near(found, [0.5, 0, 0.5]))
        scaled.factors = [0, 0, 0]
        JourneyCredit.weights(custom, scaled, into: &found)
        #expect(near(found, [1.0 / 3, 1.0 / 3, 1.0 / 3]), "nobody weighs anything: shared equally")
        #expect(throws: CustomWeights.Refusal.negative("last")) {
            try CustomWeights(first: 1, middle: 0, milestone: 0, last: -0.1)
        }
        #expect(throws: CustomWeights.Refusal.allZero) {
            try CustomWeights(first: 0, middle: 0, milestone: 0, last: 0)
        }
        #expect(throws: CustomWeights.Refusal.notANumber("first")) {
            try CustomWeights(first: .nan, middle: 0, milestone: 0, last: 1)
        }
        #expect(throws: CustomWeights.Refusal.negative("email")) {
            try CustomWeights(first: 1, middle: 1, milestone: 1, last: 1, channelFactors: ["email": -1])
        }
    }

    @Test func `generated journeys: weights add up to one, money to the last cent, one pass equals single runs`() throws
    {
        let soak = ProcessInfo.processInfo.environment["TEST_SOAK"] != nil
        let seed: UInt64 = 7
        print("journeys seed \(seed)")
        var random = SeededRandom(seed: seed)
        var worst = 0.0
        var broken = 0
        for _ in 0..<(soak ? 1_000_000 : 40_000) {
            let count = Int.random(in: 1...20, using: &random)
            var facts = JourneyFacts()
            facts.count = count
            facts.ages = (0..<count).map { _ in Double(Int.random(in: 0...40_000_000, using: &random)) / 7 }
                .sorted(by: >)
            let newest = facts.ages[count - 1]
            facts.ages = facts.ages.map { $0 - newest }
            facts.isDirect = (0..<count).map { _ in Bool.random(using: &random) }
            facts.milestone = Bool.random(using: &random) ? Int.random(in: 0..<count, using: &random) : nil
            let money = Int64.random(in: -1_000_000_000...1_000_000_000, using: &random)
            for model in CreditModel.allCases {
                let weights = weights(model, facts)
                worst = max(worst, (weights.reduce(0, +) - 1).magnitude)
                let parts = Apportionment.divide(money, weights: weights)
                if parts.reduce(0, +) != money || weights.contains(where: { $0 < 0 }) { broken += 1 }
            }
        }
        #expect(worst <= 1e-9 && broken == 0, "worst sum \(worst), \(broken) broken")

        var generator = PathGenerator(seed: seed)
        var table = PathTable(channels: PathGenerator.channels)
        for _ in 0..<5000 {
            let row = generator.next()
            table.append(
                row.path, conversions: Double(row.conversions), value: Double(row.cents) / 100, nulls: Double(row.nulls)
            )
        }
        var request = AttributionRequest(models: ModelChoice.all(orders: [1, 2]))
        request.halfLifeSteps = 2
        let together = try AttributionRun(table, request)
        for result in together.results {
            request.models = [result.model]
            let alone = try AttributionRun(table, request).results[0]
            #expect(alone.conversions == result.conversions && alone.values == result.values, "\(result.model)")
            #expect(apart(result.conversions.reduce(0, +), table.totalConversions) < 1e-9)
            #expect(apart(result.values.reduce(0, +), table.totalValue) < 1e-9)
        }
    }

    @Test func `parts of money add up exactly, ties to the later touchpoint`() {
        #expect(Apportionment.divide(100, shares: [333_333, 333_333, 333_334]) == [33, 33, 34])
        #expect(Apportionment.divide(1, shares: [500_000, 500_000]) == [0, 1])
        #expect(Apportionment.divide(-1, shares: [500_000, 500_000]) == [0, -1])
        #expect(Apportionment.divide(.max, shares: [1_000_000]) == [.max])
        #expect(Apportionment.divide(100, weights: [1.0 / 3, 1.0 / 3, 1.0 / 3]) == [33, 33, 34])
        #expect(Apportionment.divide(101, weights: [0.25, 0.25, 0.25, 0.25]) == [25, 25, 25, 26])
        #expect(Apportionment.divide(-101, weights: [0.25, 0.25, 0.25, 0.25]) == [-25, -25, -25, -26])
        #expect(Apportionment.divide(.min + 1, weights: [0.5, 0.5]).reduce(0, +) == .min + 1)
        #expect(Apportionment.divide(.min, weights: [1, 0]) == [.min, 0])
        #expect(Apportionment.divide(7, shares: [0, 0]) == [0, 0])
    }
}
