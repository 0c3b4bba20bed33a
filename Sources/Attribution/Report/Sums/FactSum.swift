/// What a fact of credit is.
enum CreditFact: UInt8, Sendable { case sale, returned, lead }

/// What facts of one kind, key and currency come to. Every fact belongs to one moment, and one sale's to the same, so
/// that these of stretches of time that do not overlap may be added, the number of sales too.
struct FactSum: Sendable, Equatable {
    var sales: Int64 = 0
    var amount: Int64 = 0
    var share: Int64 = 0
    var recognised: Int64 = 0

    mutating func add(_ other: FactSum) throws(SpendError) {
        try Figures.add(other.sales, to: &sales)
        try Figures.add(other.amount, to: &amount)
        try Figures.add(other.share, to: &share)
        try Figures.add(other.recognised, to: &recognised)
    }
}
