internal import Foundation

/// Quantiles within 1 % of the true value, from counts of values by the power they lie under.
///
/// Exact for 0, and for magnitudes from 1e-15 to 1e18; smaller ones count as 0, larger ones as 1e18. Source: Masson,
/// Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", 2019.
struct QuantileSketch: Sendable {
    static let relativeError = 0.01
    private static let smallest = 1e-15
    private static let largest = 1e18
    private static let gamma = (1 + relativeError) / (1 - relativeError)
    private static let scale = 1 / log(gamma)

    /// Counts from `first` on, by power of gamma.
    private struct Counts: Sendable {
        var first = 0
        var counts: [UInt32] = []
        var total = 0

        mutating func add(_ power: Int, _ count: UInt32 = 1) {
            if counts.isEmpty { first = power }
            if power < first {
                counts.insert(contentsOf: repeatElement(0, count: first - power), at: 0)
                first = power
            } else if power - first >= counts.count {
                counts.append(contentsOf: repeatElement(0, count: power - first + 1 - counts.count))
            }
            let (sum, isTooMuch) = counts[power - first].addingReportingOverflow(count)
            counts[power - first] = isTooMuch ? .max : sum
            total += Int(count)
        }

        mutating func formUnion(_ other: Counts) {
            if counts.isEmpty {
                self = other
                return
            }
            for (index, count) in other.counts.enumerated() where count > 0 { add(other.first + index, count) }
        }

        /// The power at a rank, in rising order.
        func power(at rank: Int) -> Int {
            var seen = 0
            for (index, count) in counts.enumerated() {
                seen += Int(count)
                if seen > rank { return first + index }
            }
            return first + max(0, counts.count - 1)
        }
    }

    private var positive = Counts()
    private var negative = Counts()
    private var zeros = 0

    var count: Int { positive.total + negative.total + zeros }
    var byteCount: Int { 112 + (positive.counts.count + negative.counts.count) * 4 }

    mutating func add(_ value: Double) {
        let magnitude = value.magnitude
        if magnitude < Self.smallest {
            zeros += 1
            return
        }
        let power = Int((log(min(magnitude, Self.largest)) * Self.scale).rounded(.up))
        if value > 0 { positive.add(power) } else { negative.add(power) }
    }

    mutating func formUnion(_ other: QuantileSketch) {
        positive.formUnion(other.positive)
        negative.formUnion(other.negative)
        zeros += other.zeros
    }

    /// The value at rank ⌊share × (count − 1)⌋; nil when there is none.
    func value(_ share: Double) -> Double? {
        guard count > 0 else { return nil }
        let rank = Int((share * Double(count - 1)).rounded(.down))
        if rank < negative.total { return -Self.middle(negative.power(at: negative.total - 1 - rank)) }
        if rank < negative.total + zeros { return 0 }
        return Self.middle(positive.power(at: rank - negative.total - zeros))
    }

    /// What no value under a power is further from than 1 %.
    private static func middle(_ power: Int) -> Double { 2 * exp(Double(power) / scale) / (gamma + 1) }
}
