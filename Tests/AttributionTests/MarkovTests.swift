import Attribution
import AurumCore
import TestSupport
import Testing

struct MarkovTests {
    /// Channel, first, last, linear, Shapley, removal effect of order 1, then conversions and value of orders 1, 2, 3.
    private static let golden: [(String, [Double])] = [
        (
            "alpha",
            [
                6308, 8447, 7574.718594, 7627.944048, 0.558399490, 5344.947682, 18799.170626, 5617.453854, 19194.515704,
                5748.098650, 19409.809824,
            ]
        ),
        (
            "beta",
            [
                2831, 989, 2083.500145, 1982.739286, 0.264038536, 2527.352167, 9687.809216, 2439.648976, 9759.590909,
                2405.534040, 9749.211539,
            ]
        ),
        (
            "delta",
            [1, 5, 1.725000, 2.292857, 0.000481996, 4.613618, 13.918384, 5.159056, 14.469892, 5.070844, 14.240488]
        ),
        (
            "epsilon",
            [
                99, 531, 272.170438, 374.677381, 0.062638582, 599.570650, 2348.653825, 614.373523, 2395.633926,
                623.432061, 2431.868863,
            ]
        ),
        (
            "eta",
            [
                3164, 4167, 3539.951157, 3613.655952, 0.349026332, 3340.847402, 12991.736667, 3391.858163, 13007.576455,
                3396.070645, 12982.208639,
            ]
        ),
        (
            "gamma",
            [
                165, 92, 121.041639, 138.185714, 0.017879974, 171.145443, 719.236746, 171.918183, 747.036066,
                178.482808, 787.060922,
            ]
        ),
        (
            "iota",
            [
                4606, 3355, 3857.096221, 3505.044048, 0.405835004, 3884.614702, 14978.437288, 3810.511044, 14851.058994,
                3791.029167, 14833.743301,
            ]
        ),
        (
            "kappa",
            [
                74, 230, 137.964078, 159.057143, 0.028663387, 274.363256, 1136.092538, 266.027054, 1132.757839,
                264.239346, 1135.045029,
            ]
        ),
        (
            "lambda",
            [
                902, 1207, 1035.257572, 987.782143, 0.134022123, 1282.847223, 5142.720297, 1189.472022, 4861.827308,
                1150.740020, 4756.692687,
            ]
        ),
        (
            "mi",
            [2, 2, 2.222222, 2.666667, 0.000179946, 1.722425, 5.444509, 2.073189, 6.191593, 2.126775, 6.262322]
        ),
        (
            "theta",
            [
                1606, 653, 1022.801394, 1190.963095, 0.206010463, 1971.912880, 7511.048475, 1902.473610, 7392.077194,
                1849.812647, 7275.253092,
            ]
        ),
        (
            "zeta",
            [
                27, 107, 136.551540, 199.991667, 0.039810518, 381.062553, 1468.703015, 374.031325, 1440.235707,
                370.362997, 1421.574882,
            ]
        ),
    ]

    @Test func `the public sample gives the golden table in every column`() throws {
        let input = try AttributionFixtures.input("channelattribution_paths.csv")
        let table = input.table
        #expect(input.badCount == 0 && table.count == 10_000 && table.channels == Self.golden.map(\.0))
        #expect(table.totalConversions == 19_785 && table.totalNulls == 68_602)
        #expect(apart(table.totalValue, 74_802.97158721073) < 1e-12)
        let run = try AttributionRun(
            table, AttributionRequest(models: ModelChoice.list("first,last,linear,shapley,markov", orders: [1, 2, 3])))
        let results = Dictionary(uniqueKeysWithValues: run.results.map { ($0.model.key, $0) })
        let markov = try [1, 2, 3].map { try #require(results["markov\($0)"]) }
        #expect(apart(markov[0].conversionProbability ?? 0, 0.2238451355968638) < 1e-12)
        for (index, (name, row)) in Self.golden.enumerated() {
            var found = ["first", "last", "linear", "shapley"].map { results[$0]?.conversions[index] ?? .nan }
            found.append(markov[0].removalEffects?[index] ?? .nan)
            for model in markov { found += [model.conversions[index], model.values[index]] }
            for (column, (value, expected)) in zip(found, row).enumerated() {
                #expect((value - expected).magnitude <= 1e-6, "\(name), column \(column): \(value), not \(expected)")
            }
        }
    }

    @Test(arguments: [("channelattribution_paths.csv", "exact_pathdata.json"), ("paths_10000.csv", "exact_10k.json")])
    func `orders 1 to 3 equal the exact results to nine digits, self-loops or not`(file: String, exact: String) throws {
        let table = try AttributionFixtures.input(file).table
        let expected = try AttributionFixtures.json(exact)
        for order in 1...3 {
            for (collapse, kind) in [(true, "infinite"), (false, "selfloops_kept")] {
                let fit = try MarkovModel(table, order: order, collapse: collapse)
                let known = try #require(expected["order\(order)_\(kind)"])
                #expect(known["states"]?.integer == Int64(fit.states))
                #expect(apart(fit.conversion, known["p_conv"]?.double ?? 0) < 1e-11)
                #expect(apart(fit.value, known["e_value"]?.double ?? 0) < 1e-11)
                for (index, name) in table.channels.enumerated() {
                    let row = try #require(known["channels"]?[name])
                    // The small effects of the reference are differences of its 1e-16, so they know fewer digits.
                    let effect = row["removal_effect"]?.double ?? .nan
                    #expect(apart(fit.removalEffects[index], effect) < max(1e-9, 1e-13 / effect), "\(name) \(order)")
                    #expect(apart(fit.conversions[index], row["conversions"]?.double ?? 0) < max(1e-9, 1e-13 / effect))
                    #expect(apart(fit.values[index], row["value"]?.double ?? 0) < max(1e-9, 1e-12 / effect))
                }
            }
        }
    }

    @Test func `200 random inputs agree with an oracle that inverts a chain for each removed channel`() throws {
        let seed: UInt64 = 20_261_121
        print("oracle seed \(seed)")
        var random = SeededRandom(seed: seed)
        var judged = 0
        while judged < 200 {
            let table = AttributionFixtures.randomTable(&random, channelsMax: 5, rowsMax: 25)
            let order = judged % 3 + 1
            guard let oracle = MarkovOracle(table, order: order) else {
                #expect(throws: MarkovError.noConversions) { try MarkovModel(table, order: order) }
                continue
            }
            judged += 1
            let fit = try MarkovModel(table, order: order)
            #expect(apart(fit.conversion, oracle.conversion) < 1e-9)
            for channel in table.channels.indices {
                let (mine, theirs) = (fit.removalEffects[channel], oracle.removalEffects[channel])
                #expect((mine - theirs).magnitude <= 1e-9 * max(1e-3, theirs.magnitude), "order \(order)")
                #expect(
                    (fit.values[channel] - oracle.values[channel]).magnitude
                        <= 1e-9 * max(1, oracle.values[channel].magnitude))
                #expect(
                    (fit.conversions[channel] - oracle.conversions[channel]).magnitude
                        <= 1e-9 * max(1e-3, oracle.conversions[channel].magnitude))
            }
        }
    }

    @Test func `a chain above the direct solver's size agrees with the oracle as well`() throws {
        let seed: UInt64 = 5
        print("large chain seed \(seed)")
        var random = SeededRandom(seed: seed)
        var table = PathTable(channels: (0..<520).map { "channel \(1000 + $0)" })
        for row in 0..<2500 {
            let length = Int.random(in: 1...6, using: &random)
            // The first 520 rows begin with a channel each, so that every channel is a state.
            let path = (0..<length).map { step in
                UInt16(step == 0 && row < 520 ? row : Int.random(in: 0..<520, using: &random))
            }
            let converts = Int.random(in: 0..<4, using: &random) == 0
            table.append(
                path, conversions: converts ? 1 : 0, value: converts ? Double(path.count) : 0, nulls: converts ? 0 : 2)
        }
        let fit = try MarkovModel(table, order: 1)
        #expect(fit.states == 520 && fit.residual <= 1e-12)
        // Each removal inverts a matrix of 520 rows: two of them have to do.
        let removed = [0, 519]
        let oracle = try #require(MarkovOracle(table, order: 1, removing: removed))
        #expect(apart(fit.conversion, oracle.conversion) < 1e-9)
        for (place, channel) in removed.enumerated() {
            #expect((fit.removalEffects[channel] - oracle.removalEffects[place]).magnitude <= 1e-9)
            #expect((fit.removalEffectsValue[channel] - oracle.removalEffectsValue[place]).magnitude <= 1e-9)
        }
        #expect(apart(fit.conversions.reduce(0, +), table.totalConversions) < 1e-12)
        #expect(apart(fit.values.reduce(0, +), table.totalValue) < 1e-12)
    }

    @Test func `removing a channel of two, by hand`() throws {
        // start → a 3/4, b 1/4; a → b 1/3, convert 1/3, null 1/3; b → convert 1/2, null 1/2.
        let table = try AttributionFixtures.read(
            "path,total_conversions,total_null\na > b,1,0\na,1,1\nb,0,1\n"
        ).table
        let fit = try MarkovModel(table, order: 1)
        // a leaves 3 times: to b once, conversion once, null once; b ends twice, one conversion.
        let p = 0.75 * (1.0 / 3 + 1.0 / 3 * 0.5) + 0.25 * 0.5
        #expect(apart(fit.conversion, p) < 1e-14)
        #expect(apart(fit.removalEffects[0], (p - 0.25 * 0.5) / p) < 1e-14)
        #expect(apart(fit.removalEffects[1], (p - 0.75 / 3) / p) < 1e-14)
        #expect(apart(fit.conversions.reduce(0, +), 2) < 1e-14)
    }

    @Test func `self-loops change the transitions and no removal effect`() throws {
        let table = try AttributionFixtures.read(
            "path,total_conversions,total_null\na > a > b,2,1\nb > b > a > a > a,1,3\na,0,2\n"
        ).table
        let (plain, kept) = (
            try MarkovChain(table, order: 1), try MarkovChain(table, order: 1, collapse: false)
        )
        #expect(plain.probabilities != kept.probabilities && plain.targets.count + 2 == kept.targets.count)
        let (one, other) = (
            try MarkovModel(table, order: 1), try MarkovModel(table, order: 1, collapse: false)
        )
        for channel in 0..<2 { #expect(apart(one.removalEffects[channel], other.removalEffects[channel]) < 1e-14) }
    }

    @Test func `a model that cannot be fitted says why`() throws {
        let without = try AttributionFixtures.read("path,total_conversions\na > b,1\n").table
        #expect(throws: MarkovError.needsNullColumn) { try MarkovModel(without, order: 1) }
        #expect(MarkovError.needsNullColumn.sentence.hasPrefix("needs_null_column"))
        let nothing = try AttributionFixtures.read("path,total_conversions,total_null\na > b,0,4\n").table
        #expect(throws: MarkovError.noConversions) { try MarkovModel(nothing, order: 2) }
        // 60,000 channels in paths of four make more than 200,000 runs of two, and 60,000 of one.
        var table = PathTable(channels: (0..<60_000).map { "\($0)" })
        var random = SeededRandom(seed: 3)
        for _ in 0..<90_000 {
            let path = (0..<4).map { _ in UInt16(Int.random(in: 0..<60_000, using: &random)) }
            table.append(path, conversions: 1, value: 0, nulls: 1)
        }
        #expect {
            try MarkovModel(table, order: 2)
        } throws: { error in
            guard case MarkovError.tooLarge(order: 2, let states, fitting: 1) = error else { return false }
            return states > 200_000
        }
    }

    @Test func `the order of rows changes no digit of a Markov model`() throws {
        let text = String(decoding: try AttributionFixtures.bytes("paths_10000.csv"), as: UTF8.self)
        var lines = text.split(separator: "\n")
        let header = lines.removeFirst()
        var random = SeededRandom(seed: 99)
        let shuffled = ([header] + lines.shuffled(using: &random)).joined(separator: "\n")
        let (one, other) = (
            try AttributionFixtures.read(text).table, try AttributionFixtures.read(shuffled).table
        )
        #expect(one.channels == other.channels)
        for order in 1...3 {
            let (a, b) = (try MarkovModel(one, order: order), try MarkovModel(other, order: order))
            #expect(a.removalEffects == b.removalEffects && a.conversions == b.conversions)
            for (x, y) in zip(a.values, b.values) { #expect(apart(x, y) < 1e-12) }
        }
        var request = AttributionRequest(models: ModelChoice.all(orders: [1]))
        request.halfLifeSteps = 3
        let (runA, runB) = (try AttributionRun(one, request), try AttributionRun(other, request))
        for (a, b) in zip(runA.results, runB.results) {
            for (x, y) in zip(a.conversions + a.values, b.conversions + b.values) { #expect(apart(x, y) < 1e-11) }
        }
    }
}
