internal import Foundation

/// What a result costs at a daily spend: CPI(s) = L ÷ (1 + e^(−k(s − x₀))) with L, k, x₀ ≥ 0.
///
/// Money is in minor units of the campaign's currency, spend in minor units a day. A result is an install, a conversion
/// or a lead, whichever the curve was fitted on.
package struct LogisticCurve: Sendable, Hashable {
    /// L: the cost of a result that no spend exceeds.
    package var ceiling: Double
    /// k: how fast the cost grows, per minor unit of daily spend.
    package var steepness: Double
    /// x₀: the daily spend at which a result costs half of the ceiling.
    package var midpoint: Double

    package init(ceiling: Double, steepness: Double, midpoint: Double) {
        (self.ceiling, self.steepness, self.midpoint) = (ceiling, steepness, midpoint)
    }

    package func cost(at spend: Double) -> Double { ceiling * saturation(at: spend) }

    /// CPI ÷ L, from 0 to 1.
    package func saturation(at spend: Double) -> Double { 1 / (1 + exp(-steepness * (spend - midpoint))) }
}
