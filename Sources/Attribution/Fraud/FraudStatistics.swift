internal import Foundation

/// Exact tests of counts.
package enum FraudStatistics {
    /// P(X = k) of a binomial distribution: the saddle-point form, in which nothing large cancels.
    /// Source: C. Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.
    static func binomialMass(_ k: Int, of n: Int, _ p: Double) -> Double {
        guard n >= 0, k >= 0, k <= n else { return 0 }
        if p <= 0 { return k == 0 ? 1 : 0 }
        if p >= 1 { return k == n ? 1 : 0 }
        let (count, all) = (Double(k), Double(n))
        if k == 0 { return exp(all * log1p(-p)) }
        if k == n { return exp(all * log(p)) }
        let rest = all - count
        let exponent =
            stirlingError(all) - stirlingError(count) - stirlingError(rest) - deviance(count, all * p)
            - deviance(rest, all * (1 - p))
        return exp(exponent) * (all / (2 * .pi * count * rest)).squareRoot()
    }

    /// P(X ≥ k), one-sided, exact to rounding also far out and for n of ten millions.
    package static func binomialUpperTail(_ k: Int, of n: Int, _ p: Double) -> Double {
        if k <= 0 { return 1 }
        guard k <= n else { return 0 }
        if p <= 0 { return 0 }
        if p >= 1 { return 1 }
        // Terms fall from the first on only beyond the middle.
        guard Double(k) > Double(n) * p else { return max(0, 1 - binomialLowerTail(k - 1, of: n, p)) }
        let odds = p / (1 - p)
        var (term, sum, value) = (1.0, 1.0, k)
        while value < n {
            term *= Double(n - value) / Double(value + 1) * odds
            sum += term
            value += 1
            if term < sum * 1e-17 { break }
        }
        return min(1, binomialMass(k, of: n, p) * sum)
    }

    /// P(X ≤ k).
    package static func binomialLowerTail(_ k: Int, of n: Int, _ p: Double) -> Double {
        if k < 0 { return 0 }
        if k >= n { return 1 }
        if p <= 0 { return 1 }
        if p >= 1 { return 0 }
        guard Double(k) <= Double(n) * p else { return max(0, 1 - binomialUpperTail(k + 1, of: n, p)) }
        let odds = (1 - p) / p
        var (term, sum, value) = (1.0, 1.0, k)
        while value > 0 {
            term *= Double(value) / Double(n - value + 1) * odds
            sum += term
            value -= 1
            if term < sum * 1e-17 { break }
        }
        return min(1, binomialMass(k, of: n, p) * sum)
    }

    /// log(n!) − log of Stirling's formula.
    private static func stirlingError(_ n: Double) -> Double {
        if n <= 15 {
            var product = 1.0
            for factor in stride(from: 2, through: n, by: 1) { product *= factor }
            return log(product) - (n + 0.5) * log(n) + n - 0.5 * log(2 * .pi)
        }
        let square = n * n
        return (1 / 12.0 - (1 / 360.0 - (1 / 1260.0 - (1 / 1680.0 - 1 / 1188.0 / square) / square) / square) / square)
            / n
    }

    /// x·log(x/m) + m − x without cancellation where both are near.
    private static func deviance(_ x: Double, _ m: Double) -> Double {
        guard abs(x - m) < 0.1 * (x + m) else { return x * log(x / m) + m - x }
        let ratio = (x - m) / (x + m)
        var sum = (x - m) * ratio
        var term = 2 * x * ratio
        for step in 1...1000 {
            term *= ratio * ratio
            let next = sum + term / Double(2 * step + 1)
            if next == sum { break }
            sum = next
        }
        return sum
    }

    // MARK: χ²

    /// P(χ² ≥ statistic) with so many degrees of freedom: the regularised upper incomplete gamma function, by its
    /// series near zero and by its continued fraction elsewhere.
    /// Source: W. H. Press et al., Numerical Recipes, section 6.2.
    package static func chiSquareTail(_ statistic: Double, freedom: Int) -> Double {
        guard freedom > 0, statistic > 0, statistic.isFinite else { return statistic == .infinity ? 0 : 1 }
        let (a, x) = (Double(freedom) / 2, statistic / 2)
        let scale = exp(a * log(x) - x - lgamma(a))
        if x < a + 1 {
            var (term, sum, divisor) = (1 / a, 1 / a, a)
            for _ in 0..<100_000 {
                divisor += 1
                term *= x / divisor
                sum += term
                if term < sum * 1e-16 { break }
            }
            return max(0, min(1, 1 - sum * scale))
        }
        let tiny = 1e-300
        var b = x + 1 - a
        var c = 1 / tiny
        var d = 1 / b
        var fraction = d
        for step in 1..<100_000 {
            let factor = -Double(step) * (Double(step) - a)
            b += 2
            d = factor * d + b
            if abs(d) < tiny { d = tiny }
            c = b + factor / c
            if abs(c) < tiny { c = tiny }
            d = 1 / d
            fraction *= d * c
            if abs(d * c - 1) < 1e-15 { break }
        }
        return max(0, min(1, scale * fraction))
    }

    /// Whether two histograms differ.
    package struct Comparison: Sendable, Equatable {
        package var statistic = 0.0
        package var freedom = 0
        package var p = 1.0
        /// Cramér's V, 0…1.
        package var strength = 0.0
        package var count = 0
    }

    /// χ² of a table of two rows; bins that both leave empty say nothing.
    /// - Parameters:
    ///   - left: counts by bin, as many as `right`.
    package static func compare(_ left: [Int], _ right: [Int]) -> Comparison {
        let (leftSum, rightSum) = (left.reduce(0, +), right.reduce(0, +))
        let all = Double(leftSum + rightSum)
        var found = Comparison()
        found.count = leftSum + rightSum
        guard leftSum > 0, rightSum > 0 else { return found }
        var bins = 0
        for (one, other) in zip(left, right) where one + other > 0 {
            bins += 1
            let column = Double(one + other)
            let (expectedLeft, expectedRight) = (column * Double(leftSum) / all, column * Double(rightSum) / all)
            found.statistic += (Double(one) - expectedLeft) * (Double(one) - expectedLeft) / expectedLeft
            found.statistic += (Double(other) - expectedRight) * (Double(other) - expectedRight) / expectedRight
        }
        found.freedom = max(0, bins - 1)
        guard found.freedom > 0 else { return found }
        found.p = chiSquareTail(found.statistic, freedom: found.freedom)
        found.strength = min(1, (found.statistic / all).squareRoot())
        return found
    }
}
