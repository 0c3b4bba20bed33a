internal import AurumCore
internal import Foundation

/// Fits what results cost at what daily spend, and refuses where the days do not carry a curve. Pure: the same days and
/// seed give the same answer.
package enum SaturationModel {
    /// Windows in days before today; today itself is not over.
    package static let windows = [14, 30, 90]
    package static let daysMin = 14
    package static let spendRangeMin = 2.0
    package static let resultsMin = 30.0
    /// Share of days with spend that may be without a result.
    package static let emptyDaysMax = 0.2
    package static let rSquaredMin = 0.5
    package static let meanAbsoluteErrorMax = 0.4
    /// By how much AICc must speak for the curve against one cost for all days. From 10 on the other has "essentially
    /// no support" (Burnham and Anderson, "Model Selection and Multimodel Inference", 2002, section 2.6); at 14, of
    /// 20,000 series of pure noise about one passes.
    package static let evidenceMin = 14.0
    /// Share of draws that may end at an upper bound.
    package static let boundDrawsMax = 0.05
    package static let evaluationsMax = 1000
    package static let draws = 1000
    package static let blockDays = 7
    package static let usualDays = 7
    /// Evaluations of a draw, which begins at the fitted curve.
    private static let drawEvaluationsMax = 60
    /// Upper bounds: of L in largest costs, of k in 1/σ of spend, of x₀ in largest spends.
    private static let bounds = SIMD3(10.0, 100.0, 10.0)
    /// From this part of a bound on a parameter stands at it: the search may end just before.
    private static let boundPart = 0.999
    /// L, k, x₀ and the variance.
    private static let parameters = 4

    /// - Parameters:
    ///   - days: any order; one a day. Only those of the 90 days before `today` count.
    ///   - today: the day that is not over, as days since 1970-01-01.
    ///   - seed: of the resampling.
    package static func answer(_ days: [SpendDay], today: Int, draws: Int = SaturationModel.draws, seed: UInt64 = 1)
        -> SaturationAnswer
    {
        let spent = days.filter { $0.spendMinor > 0 && $0.day < today }.sorted { $0.day < $1.day }
        var best: Candidate?
        var widest: (window: Int, days: [SpendDay], missing: [SaturationLack]) = (windows.last ?? 0, [], [])
        var tried = 0
        for window in windows {
            let inside = spent.filter { $0.day >= today - window }
            let missing = lacks(inside)
            widest = (window, inside, missing)
            // A window that holds no more days than the one before is the same fit.
            guard missing.isEmpty, inside.count > tried else { continue }
            tried = inside.count
            let candidate = Candidate(window, inside)
            // A curve whose ceiling the days do not show is the last choice.
            let isBetter =
                candidate.isAtBound == best?.isAtBound
                ? candidate.criterion < best?.criterion ?? .infinity
                : !candidate.isAtBound
            if best == nil || isBetter { best = candidate }
        }
        guard let best else {
            let points = widest.days.filter { $0.results > 0 }
            return SaturationAnswer(
                state: .insufficientData, missing: widest.missing, windowDays: widest.window, points: points,
                daysWithoutResults: widest.days.count - points.count, usualSpend: usualSpend(points))
        }
        return best.answer(draws: draws, seed: seed)
    }

    /// What keeps days with spend from carrying a curve.
    static func lacks(_ days: [SpendDay]) -> [SaturationLack] {
        let points = days.filter { $0.results > 0 }
        let spends = points.map { Double($0.spendMinor) }
        var missing: [SaturationLack] = []
        if points.count < daysMin { missing.append(.days) }
        if (spends.max() ?? 0) < spendRangeMin * (spends.min() ?? 1) { missing.append(.spendRange) }
        if points.reduce(0, { $0 + $1.results }) < resultsMin { missing.append(.results) }
        if Double(days.count - points.count) > emptyDaysMax * Double(days.count) { missing.append(.resultDays) }
        return missing
    }

    static func usualSpend(_ points: [SpendDay]) -> Double? {
        let newest = points.suffix(usualDays)
        return newest.isEmpty ? nil : newest.reduce(0) { $0 + Double($1.spendMinor) } / Double(newest.count)
    }

    // MARK: one window

    private struct Candidate {
        let window: Int
        let daysWithoutResults: Int
        let points: [SpendDay]
        /// Spend in largest spends, costs in largest costs.
        let spends: [Double]
        let costs: [Double]
        let spendScale: Double
        let costScale: Double
        let upper: SIMD3<Double>
        let fit: CurveFit

        init(_ window: Int, _ days: [SpendDay]) {
            let points = days.filter { $0.results > 0 }
            let spendScale = points.reduce(0) { max($0, Double($1.spendMinor)) }
            let costScale = points.reduce(0) { max($0, $1.cost ?? 0) }
            let spends = points.map { Double($0.spendMinor) / spendScale }
            let costs = points.map { ($0.cost ?? 0) / costScale }
            let count = Double(points.count)
            let mean = spends.reduce(0, +) / count
            // The spends differ by a factor of two at least, so this is not 0.
            let deviation = (spends.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count).squareRoot()
            upper = SIMD3(bounds[0], bounds[1] / deviation, bounds[2])
            fit = CurveFit(
                spends, costs, from: SIMD3(1.5, 1 / deviation, mean), upper: upper, evaluationsMax: evaluationsMax)
            (self.window, self.points, daysWithoutResults) = (window, points, days.count - points.count)
            (self.spends, self.costs) = (spends, costs)
            (self.spendScale, self.costScale) = (spendScale, costScale)
        }

        var isAtBound: Bool { isAtBound(fit) }

        private func isAtBound(_ fit: CurveFit) -> Bool {
            (0..<3).contains { fit.values[$0] >= upper[$0] * boundPart }
        }

        private var count: Double { Double(points.count) }

        /// AICc of `squares` with `parameters` fitted, without the constant that all fits share.
        private func evidence(_ squares: Double, parameters: Int) -> Double {
            let p = Double(parameters)
            return count * log(max(squares / count, 1e-24)) + 2 * p + 2 * p * (p + 1) / (count - p - 1)
        }

        /// AICc a point, so that windows of different lengths can be compared.
        var criterion: Double {
            (evidence(fit.squares, parameters: parameters)) / count + 2 * log(costScale)
        }

        private var costSquares: Double {
            let mean = costs.reduce(0, +) / count
            return costs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        }

        private func curve(_ values: SIMD3<Double>) -> LogisticCurve {
            LogisticCurve(
                ceiling: values[0] * costScale, steepness: values[1] / spendScale, midpoint: values[2] * spendScale)
        }

        func answer(draws: Int, seed: UInt64) -> SaturationAnswer {
            let shape = LogisticCurve(ceiling: fit.values[0], steepness: fit.values[1], midpoint: fit.values[2])
            let fitted = spends.map { shape.cost(at: $0) }
            let all = costSquares
            let rSquared = all > 1e-18 * count ? 1 - fit.squares / all : 0
            let error = zip(costs, fitted).reduce(0) { $0 + ($1.0 - $1.1).magnitude / $1.0 } / count
            var answer = SaturationAnswer(
                state: .poorFit, windowDays: window, points: points, daysWithoutResults: daysWithoutResults,
                rSquared: rSquared, meanAbsoluteError: error, usualSpend: usualSpend(points))
            let speaks = evidence(all, parameters: 2) - evidence(fit.squares, parameters: parameters)
            guard rSquared >= rSquaredMin, error <= meanAbsoluteErrorMax, speaks >= evidenceMin,
                fitted.allSatisfy({ $0 > 0 })
            else { return answer }
            answer.isUnbounded = isAtBound
            if isAtBound { return answer }
            let drawn = resampled(fitted, draws: draws, seed: seed)
            answer.isUnbounded = Double(drawn.atBound) > boundDrawsMax * Double(draws)
            if answer.isUnbounded { return answer }
            answer.fit = SaturationFit(curve: curve(fit.values), draws: drawn.curves, evaluations: fit.evaluations)
            answer.state = SaturationState(saturation: answer.saturation ?? 1)
            return answer
        }

        /// Fits of the curve's own costs with blocks of seven neighbouring days' relative errors on them, taken from
        /// anywhere in the window and around its end. Errors are centred, made as large as those of a curve that was
        /// not fitted to them, √(n ÷ (n − 3)), and widened by Student's t over the normal deviate, because few days
        /// tell little about their own spread.
        /// Source: Politis and Romano, "A circular block-resampling procedure for stationary data", 1992; Davison and
        /// Hinkley, "Bootstrap Methods and their Application", 1997, section 6.
        private func resampled(
            _ fitted: [Double], draws: Int, seed: UInt64
        ) -> (curves: [LogisticCurve], atBound: Int) {
            let degrees = count - 3
            let errors = zip(costs, fitted).map { $0 / $1 - 1 }
            let mean = errors.reduce(0, +) / count
            let factor = (count / degrees).squareRoot() * SaturationModel.student(degrees) / SaturationModel.normal
            let wide = errors.map { ($0 - mean) * factor }
            var random = SeededRandom(seed: seed)
            var noisy = fitted
            var atBound = 0
            let curves = (0..<draws).map { _ in
                var index = 0
                while index < noisy.count {
                    let start = Int.random(in: 0..<noisy.count, using: &random)
                    for offset in 0..<min(blockDays, noisy.count - index) {
                        noisy[index] = max(0, fitted[index] * (1 + wide[(start + offset) % noisy.count]))
                        index += 1
                    }
                }
                let drawn = CurveFit(
                    spends, noisy, from: fit.values, upper: upper, evaluationsMax: drawEvaluationsMax)
                if isAtBound(drawn) { atBound += 1 }
                return curve(drawn.values)
            }
            return (curves, atBound)
        }
    }

    /// The deviate that 97.5 % of a normal distribution do not exceed.
    private static let normal = 1.959963985

    /// The same of Student's t, within 0.2 % from ten degrees of freedom on. Source: Abramowitz and Stegun, 26.7.5.
    static func student(_ degrees: Double) -> Double {
        let (z, z3) = (normal, normal * normal * normal)
        let z5 = z3 * normal * normal
        return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees)
    }
}
