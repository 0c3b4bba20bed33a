/// Sums of imported and credited figures. Files may hold anything, so no sum may end the process: one that 64 bits do
/// not hold is `SpendError.figuresTooLarge`.
enum Figures {
    /// Parts that tables are added up in, so that no sum of a table goes beyond 64 bits: `high` × this + `low`.
    private static let part: Int64 = 1_000_000

    static func add(_ value: Int64, to sum: inout Int64) throws(SpendError) {
        let (total, isTooLarge) = sum.addingReportingOverflow(value)
        if isTooLarge { throw .figuresTooLarge }
        sum = total
    }

    /// The sum of what is known; nil when nothing is.
    static func addKnown(_ value: Int64?, to sum: inout Int64?) throws(SpendError) {
        guard let value else { return }
        var total = sum ?? 0
        try add(value, to: &total)
        sum = total
    }

    static func sum(_ values: some Sequence<Int64>) throws(SpendError) -> Int64 {
        var total: Int64 = 0
        for value in values { try add(value, to: &total) }
        return total
    }

    /// What a table's two sums of one column stand for; nil when it held nothing but NULL.
    static func joined(high: Int64?, low: Int64?) throws(SpendError) -> Int64? {
        guard let high, let low else { return nil }
        let (whole, isTooLarge) = high.multipliedReportingOverflow(by: part)
        if isTooLarge { throw .figuresTooLarge }
        var total = whole
        try add(low, to: &total)
        return total
    }
}
