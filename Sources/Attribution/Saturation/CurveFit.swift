internal import Foundation

/// A logistic curve fitted by least squares: Levenberg–Marquardt with the parameters (L, k, x₀) held inside bounds.
///
/// A parameter that stands at a bound and would leave it stays there while the others move. It never does more than
/// `evaluationsMax` evaluations of the curve over all points, and what it answers is never worse than where it began.
/// Source: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963; bounds as projected
/// steps over the free parameters (Kanzow, Yamashita, Fukushima, 2004).
struct CurveFit: Sendable {
    /// L, k, x₀ in the units of the points.
    private(set) var values: SIMD3<Double>
    /// Σ (cost − curve)².
    private(set) var squares: Double
    private(set) var evaluations = 1

    private static let firstDamping = 1e-3
    private static let dampingMax = 1e14
    /// A step that gains or moves less than this part ends the search.
    private static let tolerance = 1e-9

    /// - Parameters:
    ///   - spends, costs: as many of one as of the other.
    ///   - upper: the largest values; the smallest are 0.
    init(
        _ spends: [Double], _ costs: [Double], from start: SIMD3<Double>, upper: SIMD3<Double>, evaluationsMax: Int
    ) {
        values = start.clamped(lowerBound: .zero, upperBound: upper)
        squares = Self.squares(spends, costs, values)
        var damping = Self.firstDamping
        var equations = NormalEquations(spends, costs, values)
        while evaluations < evaluationsMax, damping < Self.dampingMax {
            let step = equations.step(damping: damping, at: values, upper: upper)
            let next = (values + step).clamped(lowerBound: .zero, upperBound: upper)
            let found = Self.squares(spends, costs, next)
            evaluations += 1
            guard found < squares else {
                let moved = Self.largest(next - values, relativeTo: values)
                if !(moved >= Self.tolerance) { break }
                damping *= 4
                continue
            }
            let gain = (squares - found) / squares
            (values, squares) = (next, found)
            if gain < Self.tolerance || squares < .leastNormalMagnitude { break }
            damping = max(damping / 10, 1e-12)
            equations = NormalEquations(spends, costs, values)
        }
    }

    private static func largest(_ move: SIMD3<Double>, relativeTo values: SIMD3<Double>) -> Double {
        (0..<3).reduce(0) { max($0, move[$1].magnitude / (values[$1].magnitude + 1e-8)) }
    }

    private static func squares(_ spends: [Double], _ costs: [Double], _ values: SIMD3<Double>) -> Double {
        var sum = 0.0
        for index in spends.indices {
            let left = costs[index] - values[0] / (1 + exp(-values[1] * (spends[index] - values[2])))
            sum += left * left
        }
        return sum
    }
}

/// JᵀJ and Jᵀr of the curve at one set of parameters.
private struct NormalEquations {
    /// The lower triangle of JᵀJ: rows 0, 1, 2.
    private var (a00, a10, a11, a20, a21, a22) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    private var gradient = SIMD3<Double>.zero

    init(_ spends: [Double], _ costs: [Double], _ values: SIMD3<Double>) {
        for index in spends.indices {
            let distance = spends[index] - values[2]
            let share = 1 / (1 + exp(-values[1] * distance))
            let slope = values[0] * share * (1 - share)
            let row = SIMD3(share, slope * distance, -slope * values[1])
            gradient += row * (costs[index] - values[0] * share)
            a00 += row[0] * row[0]
            a10 += row[1] * row[0]
            a11 += row[1] * row[1]
            a20 += row[2] * row[0]
            a21 += row[2] * row[1]
            a22 += row[2] * row[2]
        }
    }

    /// Solves (JᵀJ + damping · diag) step = Jᵀr over the parameters that may move, by LDLᵀ.
    func step(damping: Double, at values: SIMD3<Double>, upper: SIMD3<Double>) -> SIMD3<Double> {
        func isFree(_ index: Int) -> Bool {
            !(values[index] <= 0 && gradient[index] < 0) && !(values[index] >= upper[index] && gradient[index] > 0)
        }
        let free = (isFree(0), isFree(1), isFree(2))
        func diagonal(_ value: Double, _ isFree: Bool) -> Double { isFree ? value * (1 + damping) + 1e-12 : 1 }
        let m10 = free.0 && free.1 ? a10 : 0
        let m20 = free.0 && free.2 ? a20 : 0
        let m21 = free.1 && free.2 ? a21 : 0
        let d0 = diagonal(a00, free.0)
        let (l10, l20) = (m10 / d0, m20 / d0)
        let d1 = diagonal(a11, free.1) - l10 * m10
        let rest = m21 - l20 * m10
        let l21 = rest / d1
        let d2 = diagonal(a22, free.2) - l20 * m20 - l21 * rest
        let y0 = free.0 ? gradient[0] : 0
        let y1 = (free.1 ? gradient[1] : 0) - l10 * y0
        let y2 = (free.2 ? gradient[2] : 0) - l20 * y0 - l21 * y1
        let x2 = y2 / d2
        let x1 = y1 / d1 - l21 * x2
        let x0 = y0 / d0 - l10 * x1 - l20 * x2
        return SIMD3(x0, x1, x2)
    }
}
