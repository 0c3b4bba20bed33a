/// A sum of doubles that keeps what rounding loses, so that the order of adding does not show.
/// Source: Dekker 1971 and Knuth 4.2.2, the two-sum.
struct ExactSum: Sendable {
    private var high = 0.0
    private var low = 0.0

    @inline(__always)
    mutating func add(_ value: Double) {
        let sum = high + value
        let part = sum - high
        low += (high - (sum - part)) + (value - part)
        high = sum
    }

    mutating func add(_ other: ExactSum) {
        add(other.high)
        low += other.low
    }

    var value: Double {
        let value = high + low
        return value.isNaN ? high : value
    }
}

/// Decimal text of exact amounts in millionths that may be larger than one event's.
enum MoneyText {
    static func decimal(_ millionths: Int128) -> String {
        let magnitude = millionths.magnitude
        var fraction = String(magnitude % 1_000_000)
        fraction = String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
        while fraction.hasSuffix("0") { fraction.removeLast() }
        let whole = "\(millionths < 0 ? "-" : "")\(magnitude / 1_000_000)"
        return fraction.isEmpty ? whole : "\(whole).\(fraction)"
    }

    /// The mean in millionths, halves to even.
    static func mean(_ sum: Int128, _ count: Int64) -> Int128 {
        let divisor = Int128(count)
        let (quotient, rest) = sum.quotientAndRemainder(dividingBy: divisor)
        let twice = rest.magnitude * 2
        let isUp = twice > divisor.magnitude || (twice == divisor.magnitude && !quotient.isMultiple(of: 2))
        return isUp ? quotient + (sum < 0 ? -1 : 1) : quotient
    }
}
