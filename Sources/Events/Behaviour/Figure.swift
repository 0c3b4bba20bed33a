internal import AurumCore

/// Figures as answers write them.
enum Figure {
    /// Rounded to six digits; null of nothing.
    static func share(_ part: Int, of whole: Int) -> JSONValue {
        whole == 0 ? .null : rounded(Double(part) / Double(whole))
    }

    static func rounded(_ number: Double) -> JSONValue { .number((number * 1e6).rounded() / 1e6) }

    /// The median of microseconds, in seconds; null of none.
    static func medianSeconds(_ times: [Int64]) -> JSONValue {
        guard !times.isEmpty else { return .null }
        let sorted = times.sorted()
        let (low, high) = (sorted[(sorted.count - 1) / 2], sorted[sorted.count / 2])
        return rounded((Double(low) + Double(high)) / 2e6)
    }

    /// Exact sums of millionths by currency, as decimal text.
    static func money(_ values: [UInt32: Int128], _ currencies: LabelTable) -> JSONValue {
        var sums: [String: JSONValue] = [:]
        for (code, value) in values { sums[currencies.text(code) ?? ""] = .string(decimal(value)) }
        return .object(sums)
    }

    /// Without zeros at the end.
    static func decimal(_ millionths: Int128) -> String {
        let (whole, rest) = millionths.magnitude.quotientAndRemainder(dividingBy: 1_000_000)
        let sign = millionths < 0 ? "-" : ""
        guard rest > 0 else { return "\(sign)\(whole)" }
        let digits = String(rest)
        var fraction = String(repeating: "0", count: 6 - digits.utf8.count) + digits
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return "\(sign)\(whole).\(fraction)"
    }
}
