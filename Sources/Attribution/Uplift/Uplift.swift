package import AurumCore
internal import Foundation

/// What an experiment measured: how many more conversions there were where the channel was shown, with an interval that
/// holds the truth in 95 of 100 experiments. The same experiment and seed give the same numbers.
///
/// The interval is the studentized bootstrap of the logarithm of the ratio of both sides' rates, regions drawn anew on
/// each side: the plain percentiles of a handful of regions would be far too narrow.
/// Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2; the deviation of a ratio
/// of sums by Cochran, "Sampling Techniques", 1977, section 6.3.
package struct Uplift: Sendable, Equatable {
    package static let draws = 2000
    /// On each side.
    package static let regionsMin = 4

    /// A number and the ends of its 95 % interval.
    package struct Estimate: Sendable, Equatable {
        package var value: Double
        package var low: Double
        package var high: Double

        /// An end that nothing bounds is null.
        package var json: JSONValue {
            func number(_ value: Double) -> JSONValue { value.isFinite ? .number(value) : .null }
            return ["value": number(value), "low": number(low), "high": number(high)]
        }

        /// What `json` wrote.
        init(_ json: JSONValue?) {
            value = json?["value"]?.double ?? 0
            (low, high) = (json?["low"]?.double ?? -.infinity, json?["high"]?.double ?? .infinity)
        }

        init(value: Double, low: Double, high: Double) { (self.value, self.low, self.high) = (value, low, high) }
    }

    /// 0.2: a fifth more than without the channel.
    package let lift: Estimate
    /// Conversions of the treated regions that there would not have been.
    package let incremental: Estimate
    /// What was spent on the treated regions beyond the control's share, minor units.
    package let spendMinor: Double
    package let treatedRegions: Int
    package let controlRegions: Int
    package let seed: UInt64

    /// - Throws: `notEnoughRegions`, `notEnoughConversions`.
    package init(_ regions: [Experiment.Region], seed: UInt64 = 1) throws(ExperimentError) {
        let (treated, control) = (Side(regions.filter(\.isTreated)), Side(regions.filter { !$0.isTreated }))
        (treatedRegions, controlRegions, self.seed) = (treated.count, control.count, seed)
        guard min(treated.count, control.count) >= Self.regionsMin else {
            throw .notEnoughRegions(treated: treated.count, control: control.count)
        }
        guard let shown = treated.rate(Array(0..<treated.count)), let held = control.rate(Array(0..<control.count))
        else { throw .notEnoughConversions }
        let (logRatio, deviation) = (shown.log - held.log, (shown.variance + held.variance).squareRoot())
        let ends = try Self.interval(treated, control, logRatio, deviation, seed: seed)
        func lift(_ logRatio: Double) -> Double { exp(logRatio) - 1 }
        // The share of the treated conversions that the channel made.
        func incremental(_ logRatio: Double) -> Double { treated.conversions * (1 - exp(-logRatio)) }
        self.lift = Estimate(value: lift(logRatio), low: lift(ends.low), high: lift(ends.high))
        self.incremental = Estimate(
            value: incremental(logRatio), low: incremental(ends.low), high: incremental(ends.high))
        spendMinor = treated.spendMinor - control.spendMinor * treated.size / control.size
    }

    /// What an incremental conversion cost, minor units; nil where there was none.
    package var costMinor: Double? {
        incremental.value > 0 && spendMinor >= 0 ? spendMinor / incremental.value : nil
    }

    package var json: JSONValue {
        func whole(_ value: Double?) -> JSONValue { .whole(value.flatMap { Int64(exactly: $0.rounded()) }) }
        return [
            "lift": lift.json, "incremental_conversions": incremental.json, "spend_minor": whole(spendMinor),
            "cost_per_incremental_minor": whole(costMinor),
            "treated_regions": .integer(Int64(treatedRegions)), "control_regions": .integer(Int64(controlRegions)),
            "draws": .integer(Int64(Self.draws)), "seed": .integer(Int64(bitPattern: seed)),
            "confidence": .number(0.95),
        ]
    }

    /// The ends of the interval of the logarithm of the ratio.
    private static func interval(
        _ treated: Side, _ control: Side, _ logRatio: Double, _ deviation: Double, seed: UInt64
    ) throws(ExperimentError) -> (low: Double, high: Double) {
        // Regions that are all alike: nothing varies.
        guard deviation > Side.leastDeviation else { return (logRatio, logRatio) }
        var random = SeededRandom(seed: seed)
        var scores: [Double] = []
        scores.reserveCapacity(Self.draws)
        for _ in 0..<Self.draws {
            let (shown, held) = (treated.drawn(&random), control.drawn(&random))
            // A draw without conversions on a side, or whose regions are all alike, has no score.
            guard let shown, let held else { continue }
            let spread = (shown.variance + held.variance).squareRoot()
            guard spread > Side.leastDeviation else { continue }
            scores.append((shown.log - held.log - logRatio) / spread)
        }
        guard scores.count * 2 > Self.draws else { throw .notEnoughConversions }
        scores.sort()
        let cut = scores.count / 40
        return (logRatio - scores[scores.count - 1 - cut] * deviation, logRatio - scores[cut] * deviation)
    }

    /// The regions of one side.
    private struct Side {
        /// Below it two rates are equal but for the rounding of their logarithms.
        static let leastDeviation = 1e-12

        let made: [Double]
        let sizes: [Double]
        let spendMinor: Double

        init(_ regions: [Experiment.Region]) {
            made = regions.map { Double($0.conversions) }
            sizes = regions.map { Double($0.size) }
            spendMinor = regions.reduce(0) { $0 + Double($1.spendMinor) }
        }

        var count: Int { made.count }
        var conversions: Double { made.reduce(0, +) }
        var size: Double { sizes.reduce(0, +) }

        func drawn(_ random: inout SeededRandom) -> (log: Double, variance: Double)? {
            var places: [Int] = []
            places.reserveCapacity(count)
            for _ in 0..<count { places.append(Int.random(in: 0..<count, using: &random)) }
            return rate(places)
        }

        /// The logarithm of conversions ÷ size of some regions, and its variance; nil without conversions.
        func rate(_ places: [Int]) -> (log: Double, variance: Double)? {
            var (sum, all) = (0.0, 0.0)
            for place in places {
                sum += made[place]
                all += sizes[place]
            }
            guard sum > 0 else { return nil }
            let rate = sum / all
            var squares = 0.0
            for place in places {
                let off = made[place] - rate * sizes[place]
                squares += off * off
            }
            let count = Double(places.count)
            return (log(rate), squares * count / (count - 1) / (sum * sum))
        }
    }
}
