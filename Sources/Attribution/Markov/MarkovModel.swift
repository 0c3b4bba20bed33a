/// A fitted Markov model: what removing each channel costs, and the credit that follows from it.
///
/// RE_c = (P − P_c)/P, with P_c the probability to convert when every state that holds c leads to nothing; credit
/// of c is ΣC·RE_c/ΣRE. Value likewise with RV_c = (E − E_c)/E; all 0 where E is 0. No simulation, no truncation,
/// no seed.
package struct MarkovModel: Sendable {
    package let order: Int
    package let states: Int
    /// Probability that a path converts.
    package let conversion: Double
    /// Expected value of a path.
    package let value: Double
    /// RE of each channel, in the order of the table's channels.
    package let removalEffects: [Double]
    package let removalEffectsValue: [Double]
    package let conversions: [Double]
    package let values: [Double]
    /// Largest violation of the equations; 0 where they were solved directly.
    package let residual: Double

    /// - Parameters:
    ///   - order: 1, 2 or 3.
    ///   - collapse: whether consecutive equal states are one; no result depends on it.
    ///   - onSweep: called with the number of the sweep while a large chain is solved.
    /// - Throws: `MarkovError`.
    package init(
        _ table: PathTable, order: Int, collapse: Bool = true, onSweep: @escaping @Sendable (Int) -> Void = { _ in }
    ) throws(MarkovError) {
        guard table.hasNulls else { throw .needsNullColumn }
        try self.init(
            try MarkovChain(table, order: order, collapse: collapse), conversions: table.totalConversions,
            value: table.totalValue, onSweep: onSweep)
    }

    /// The model of a chain, with what all its paths led to.
    init(
        _ chain: MarkovChain, conversions total: Double, value totalValue: Double,
        onSweep: @escaping @Sendable (Int) -> Void = { _ in }
    ) throws(MarkovError) {
        let solution =
            try chain.count <= DenseSolver.statesMax
            ? DenseSolver().solve(chain) : SparseSolver(onSweep: onSweep).solve(chain)
        guard solution.conversion > 0 else { throw .noConversions }
        let (p, e) = (solution.conversion, solution.value)
        removalEffects = solution.through.map { min(1, max(0, $0 / p)) }
        removalEffectsValue = solution.valueThrough.map { e == 0 ? 0 : $0 / e }
        conversions = Self.shared(total, removalEffects)
        values = Self.shared(totalValue, removalEffectsValue)
        order = chain.order
        states = chain.count
        (conversion, value) = (p, e)
        residual = solution.residual
    }

    private static func shared(_ total: Double, _ effects: [Double]) -> [Double] {
        let sum = effects.reduce(0, +)
        return effects.map { sum == 0 ? 0 : total * $0 / sum }
    }
}
