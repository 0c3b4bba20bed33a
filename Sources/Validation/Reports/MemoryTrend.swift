internal import AurumCore

/// The slope of a measured series and how sure it is.
///
/// Ordinary least squares over samples at equal distances; the 95 % interval comes from a moving-block bootstrap of
/// the residuals, which keeps what neighbouring samples have in common. Source: Künsch, "The jackknife and the
/// bootstrap for general stationary observations", 1989.
package struct MemoryTrend: Sendable, Codable, Hashable {
    /// Units a sample.
    package var slope: Double
    package var lower: Double
    package var upper: Double
    package var samples: Int
    package var block: Int

    /// Nothing says that it grows.
    package var isFlatOrFalling: Bool { lower <= 0 }

    /// nil for fewer than ten samples.
    package init?(_ values: [Double], resamples: Int = 1000, seed: UInt64 = 7) {
        let count = values.count
        guard count >= 10 else { return nil }
        let line = Self.fit(values)
        let residuals = values.enumerated().map { $1 - line.start - line.slope * Double($0) }
        // Long enough for what repeats itself, short enough for many of them.
        let length = max(2, min(count / 4, max(Int(Double(count).squareRoot()), 5)))
        var random = SeededRandom(seed: seed)
        var slopes: [Double] = []
        slopes.reserveCapacity(resamples)
        for _ in 0..<max(100, resamples) {
            var drawn: [Double] = []
            drawn.reserveCapacity(count + length)
            while drawn.count < count {
                let from = Int(random.next() % UInt64(count - length + 1))
                drawn.append(contentsOf: residuals[from..<from + length])
            }
            slopes.append(line.slope + Self.fit(Array(drawn.prefix(count))).slope)
        }
        slopes.sort()
        slope = line.slope
        lower = slopes[Int(Double(slopes.count) * 0.025)]
        upper = slopes[min(slopes.count - 1, Int(Double(slopes.count) * 0.975))]
        samples = count
        block = length
    }

    private static func fit(_ values: [Double]) -> (start: Double, slope: Double) {
        let count = Double(values.count)
        let middle = (count - 1) / 2
        let mean = values.reduce(0, +) / count
        var product = 0.0
        var square = 0.0
        for (index, value) in values.enumerated() {
            let distance = Double(index) - middle
            product += distance * (value - mean)
            square += distance * distance
        }
        let slope = square > 0 ? product / square : 0
        return (mean - slope * middle, slope)
    }
}
