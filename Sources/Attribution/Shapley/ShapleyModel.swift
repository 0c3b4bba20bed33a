/// Shapley values of channels.
package enum ShapleyModel {
    /// The game v(S) = conversions of paths whose channels all lie in S. A path adds a unanimity game on its channels,
    /// so each of them earns C/|channels| of it; value likewise. Repeats and order do not matter, nulls do not enter.
    /// Source: L. S. Shapley, "A value for n-person games", 1953; the closed form is the dividend of Harsanyi, 1963.
    package static func credits(_ table: PathTable) -> (conversions: [Double], values: [Double]) {
        let channels = table.channels.count
        var (conversions, values) = ([Double](repeating: 0, count: channels), [Double](repeating: 0, count: channels))
        var lastSeen = [Int](repeating: -1, count: channels)
        var distinct: [Int] = []
        for row in 0..<table.count where table.conversions[row] > 0 {
            distinct.removeAll(keepingCapacity: true)
            for index in table.range(row) {
                let channel = Int(table.tokens[index])
                if lastSeen[channel] != row {
                    lastSeen[channel] = row
                    distinct.append(channel)
                }
            }
            let share = 1 / Double(distinct.count)
            for channel in distinct {
                conversions[channel] += table.conversions[row] * share
                values[channel] += table.values[row] * share
            }
        }
        return (conversions, values)
    }

    package static let rateChannelsMax = 20

    /// Why conversion-rate effects cannot be computed.
    package enum RateError: Error, Sendable, Equatable {
        case tooManyChannels(Int)
        case needsNullColumn

        package var sentence: String {
            switch self {
            case .tooManyChannels(let count):
                "too_many_channels: shapley_rate looks at every set of channels and takes \(rateChannelsMax) at most; "
                    + "there are \(count)."
            case .needsNullColumn: "needs_null_column: shapley_rate needs the paths that led to nothing."
            }
        }
    }

    /// The game v(S) = conversions/(conversions + nulls) of paths whose channels all lie in S, 0 where there are none.
    /// Effects add up to the rate of all paths; single ones may be negative, and none is money.
    package static func rateEffects(_ table: PathTable) throws(RateError) -> [Double] {
        let n = table.channels.count
        guard n <= rateChannelsMax else { throw .tooManyChannels(n) }
        guard table.hasNulls else { throw .needsNullColumn }
        var converted = [Double](repeating: 0, count: 1 << n)
        var all = converted
        for row in 0..<table.count {
            let set = table.range(row).reduce(0) { $0 | 1 << Int(table.tokens[$1]) }
            converted[set] += table.conversions[row]
            all[set] += table.conversions[row] + table.nulls[row]
        }
        // Sums over all subsets, one channel at a time.
        for channel in 0..<n {
            for set in 0..<(1 << n) where set & 1 << channel != 0 {
                converted[set] += converted[set ^ 1 << channel]
                all[set] += all[set ^ 1 << channel]
            }
        }
        // |S|!·(n − |S| − 1)!/n! = 1/(n·C(n − 1, |S|)).
        var weights: [Double] = []
        var binomial = 1.0
        for size in 0..<n {
            weights.append(1 / (Double(n) * binomial))
            binomial = binomial * Double(n - 1 - size) / Double(size + 1)
        }
        func rate(_ set: Int) -> Double { all[set] > 0 ? converted[set] / all[set] : 0 }
        return (0..<n).map { channel in
            var effect = 0.0
            for set in 0..<(1 << n) where set & 1 << channel == 0 {
                effect += weights[set.nonzeroBitCount] * (rate(set | 1 << channel) - rate(set))
            }
            return effect
        }
    }
}
