#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Probabilistic early expiration: a value is made anew before its time with a probability that rises towards it, so
/// that many readers do not find it gone in the same moment.
/// Source: Vattani, Chierichetti and Lowenstein, "Optimal probabilistic cache stampede prevention", VLDB 2015.
package enum EarlyRefresh {
    /// Beyond so many times `beta · cost`, the chance is below 10^-26 and no number is drawn.
    private static let certain = 60.0

    /// Whether a value that is fresh for `remaining` seconds more is made anew now.
    /// - Parameters:
    ///   - cost: seconds the factory took last time.
    ///   - uniform: a random number in (0, 1].
    package static func isDue(remaining: Double, cost: Double, beta: Double, uniform: Double) -> Bool {
        -beta * cost * log(uniform) >= remaining
    }

    /// Whether there is time left, and so much that no draw is needed.
    static func isFar(remaining: Double, cost: Double, beta: Double) -> Bool {
        remaining > 0 && remaining >= beta * cost * certain
    }

    static func isDue(
        remaining: Double, cost: Double, beta: Double, random: inout some RandomNumberGenerator
    ) -> Bool {
        if isFar(remaining: remaining, cost: cost, beta: beta) { return false }
        return isDue(
            remaining: remaining, cost: cost, beta: beta, uniform: 1 - Double.random(in: 0..<1, using: &random))
    }
}
