/// What a campaign spent on a day and what came of it.
package struct SpendDay: Sendable, Hashable {
    /// Days since 1970-01-01 by the calendar of the report.
    package var day: Int
    package var spendMinor: Int64
    /// Installs, conversions or leads; credit models give parts of them.
    package var results: Double

    package init(day: Int, spendMinor: Int64, results: Double) {
        (self.day, self.spendMinor, self.results) = (day, spendMinor, results)
    }

    /// Minor units a result; nil on a day without one.
    package var cost: Double? { results > 0 ? Double(spendMinor) / results : nil }
}

/// How near a campaign is to the spend beyond which a result costs no more than ever, or why nobody can say.
package enum SaturationState: String, Sendable, CaseIterable {
    /// Too little is known for any curve; the answer names what is missing.
    case insufficientData = "insufficient_data"
    /// The curve explains the days too badly to be shown or used.
    case poorFit = "poor_fit"
    case low, efficient, moderate, saturated

    /// - Parameter saturation: CPI ÷ L.
    package init(saturation: Double) {
        switch saturation {
        case ..<0.3: self = .low
        case ..<0.6: self = .efficient
        case ..<0.8: self = .moderate
        default: self = .saturated
        }
    }
}

/// What is missing for a curve.
package enum SaturationLack: String, Sendable, CaseIterable {
    /// Fewer than `SaturationModel.daysMin` days with spend and results.
    case days = "days_with_spend"
    /// The largest daily spend is less than `SaturationModel.spendRangeMin` times the smallest.
    case spendRange = "spend_range"
    /// Fewer than `SaturationModel.resultsMin` results.
    case results
    /// More than a fifth of the days with spend had no result: a cost of those days cannot be said, and leaving them
    /// out would make the others look cheap.
    case resultDays = "days_with_results"
    /// The campaign spends in more than one currency, or sells in one that it does not spend in: results cannot be told
    /// apart by what was spent on them, and currencies are never added to each other.
    case mixedCurrencies = "mixed_currencies"
}

/// A curve with the band in which it lies.
package struct SaturationFit: Sendable {
    package let curve: LogisticCurve
    /// Fits of resampled days, in the order they were drawn.
    package let draws: [LogisticCurve]
    package let evaluations: Int

    package init(curve: LogisticCurve, draws: [LogisticCurve], evaluations: Int) {
        (self.curve, self.draws, self.evaluations) = (curve, draws, evaluations)
    }

    /// The middle 95 % of the draws' costs at a daily spend in minor units, widened to hold the curve itself.
    package func costBand(at spend: Double) -> ClosedRange<Double> {
        band(around: curve.cost(at: spend)) { $0.cost(at: spend) }
    }

    /// The same of CPI ÷ L.
    package func saturationBand(at spend: Double) -> ClosedRange<Double> {
        band(around: curve.saturation(at: spend)) { $0.saturation(at: spend) }
    }

    private func band(around value: Double, _ figure: (LogisticCurve) -> Double) -> ClosedRange<Double> {
        let sorted = draws.map(figure).sorted()
        guard !sorted.isEmpty else { return value...value }
        let cut = sorted.count * 25 / 1000
        return min(value, sorted[cut])...max(value, sorted[sorted.count - 1 - cut])
    }
}

/// What is known of the saturation of one campaign.
package struct SaturationAnswer: Sendable {
    package var state: SaturationState
    package var missing: [SaturationLack] = []
    /// Length of the window in days; the longest when there is no curve.
    package var windowDays: Int
    /// Days of the window with spend and results, oldest first.
    package var points: [SpendDay]
    /// Days of the window with spend and without any result; no point of the curve.
    package var daysWithoutResults: Int
    /// Share of the costs' variance that the curve explains; nil when none was fitted.
    package var rSquared: Double?
    /// Mean of |cost − curve| ÷ cost; nil when none was fitted.
    package var meanAbsoluteError: Double?
    /// The curve, or more than 5 % of its draws, ends at the largest L, k or x₀ that is looked for: the days do not say
    /// where its ceiling is.
    package var isUnbounded = false
    /// nil unless the curve may be shown.
    package var fit: SaturationFit?
    /// Mean daily spend of the newest `SaturationModel.usualDays` points, in minor units: where saturation is read.
    package var usualSpend: Double?

    /// CPI ÷ L at the usual spend.
    package var saturation: Double? {
        guard let fit, let usualSpend else { return nil }
        return fit.curve.saturation(at: usualSpend)
    }
}
