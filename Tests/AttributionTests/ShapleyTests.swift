import Attribution
import AurumCore
import TestSupport
import Testing

struct ShapleyTests {
    /// The definition: every order in which the channels can join.
    private static func bruteForce(_ n: Int, _ game: (Int) -> Double) -> [Double] {
        var factorial = [1.0]
        for number in 1...max(1, n) { factorial.append(factorial[number - 1] * Double(number)) }
        let values = (0..<(1 << n)).map(game)
        return (0..<n).map { channel in
            (0..<(1 << n)).filter { $0 & 1 << channel == 0 }.reduce(0) { sum, set in
                let size = set.nonzeroBitCount
                let weight = factorial[size] * factorial[n - size - 1] / factorial[n]
                return sum + weight * (values[set | 1 << channel] - values[set])
            }
        }
    }

    @Test func `the set-sum game equals the golden file in conversions and value`() throws {
        let table = try AttributionFixtures.input("channelattribution_paths.csv").table
        let golden = try AttributionFixtures.json("shapley_setsum_pathdata.json")
        let credits = ShapleyModel.credits(table)
        for (index, name) in table.channels.enumerated() {
            let (c, v) = (
                golden["shapley_setsum_conversions"]?[name]?.double, golden["shapley_setsum_value"]?[name]?.double
            )
            #expect((credits.conversions[index] - (c ?? 0)).magnitude < 1e-6)
            #expect((credits.values[index] - (v ?? 0)).magnitude < 1e-6)
        }
        #expect(apart(credits.conversions.reduce(0, +), 19_785) < 1e-12)
    }

    @Test func `both games equal the sum over all subsets on 100 random inputs`() throws {
        let seed: UInt64 = 44
        print("shapley seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<100 {
            let table = AttributionFixtures.randomTable(&random, channelsMax: 10)
            let n = table.channels.count
            let sets = (0..<table.count).map { row in
                table.range(row).reduce(0) { $0 | 1 << Int(table.tokens[$1]) }
            }
            func sum(_ set: Int, _ figures: [Double]) -> Double {
                zip(sets, figures).reduce(0) { $1.0 & ~set == 0 ? $0 + $1.1 : $0 }
            }
            let conversions = Self.bruteForce(n) { sum($0, table.conversions) }
            let rates = Self.bruteForce(n) { set in
                let all = sum(set, table.conversions) + sum(set, table.nulls)
                return all > 0 ? sum(set, table.conversions) / all : 0
            }
            let credits = ShapleyModel.credits(table).conversions
            let effects = try ShapleyModel.rateEffects(table)
            for channel in 0..<n {
                #expect((credits[channel] - conversions[channel]).magnitude < 1e-9)
                #expect((effects[channel] - rates[channel]).magnitude < 1e-9)
            }
        }
    }

    @Test func `the rate game refuses more than 20 channels and input without nulls`() throws {
        var table = PathTable(channels: (0..<21).map { "\($0)" })
        table.append([0], conversions: 1, value: 0, nulls: 1)
        #expect(throws: ShapleyModel.RateError.tooManyChannels(21)) { try ShapleyModel.rateEffects(table) }
        let bare = try AttributionFixtures.read("path,conversions\na,1\n").table
        #expect(throws: ShapleyModel.RateError.needsNullColumn) { try ShapleyModel.rateEffects(bare) }
    }
}
