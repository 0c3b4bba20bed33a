package import AurumCore

/// Why an entry was written. A leg has at most one of each.
package enum EntryKind: String, Sendable, CaseIterable, Codable {
    case legAccepted, networkFee, recognised, returned, clawedBack, feeReversed
}

/// An account of the book. Balances are debit minus credit: what a buyer owes is positive, revenue is negative.
package enum Account: Sendable, Hashable {
    case receivable(buyer: String)
    case deferredRevenue
    case revenue
    case revenueReturns
    case feeExpense
    case payableNetwork

    package var name: String {
        switch self {
        case .receivable(let buyer): "receivable:\(buyer)"
        case .deferredRevenue: "deferredRevenue"
        case .revenue: "revenue"
        case .revenueReturns: "revenueReturns"
        case .feeExpense: "feeExpense"
        case .payableNetwork: "payable:network"
        }
    }
}

/// Why the book refused something.
package enum LedgerError: Error, Equatable, Sendable {
    case unbalanced
    case notPositive
    /// The leg already has an entry of this kind.
    case alreadyPosted(EntryKind)
    case unknownLeg
    /// The leg was never sold, or its money was already given back.
    case notReturnable(LegState)
}

/// A balanced entry in one currency: made of moves from one account to another, so that it cannot be lopsided.
package struct JournalEntry: Sendable, Equatable {
    package struct Line: Sendable, Equatable {
        package let account: String
        package let debitMinor: Int64
        package let creditMinor: Int64
    }

    package let leg: UID
    package let kind: EntryKind
    package let currency: Currency
    /// When it takes effect; the exact end of the return window for a recognition.
    package let at: Timestamp
    package let lines: [Line]

    /// - Throws: `notPositive` unless `amount` is above zero.
    package init(
        leg: UID, kind: EntryKind, debit: Account, credit: Account, amount: Money, at: Timestamp
    ) throws(LedgerError) {
        guard amount.minorUnits > 0 else { throw .notPositive }
        self.leg = leg
        self.kind = kind
        self.currency = amount.currency
        self.at = at
        lines = [
            Line(account: debit.name, debitMinor: amount.minorUnits, creditMinor: 0),
            Line(account: credit.name, debitMinor: 0, creditMinor: amount.minorUnits),
        ]
    }

    /// Debit minus credit over all lines; zero.
    package var sum: Int64 { lines.reduce(0) { $0 + $1.debitMinor - $1.creditMinor } }
    package var amountMinor: Int64 { lines.reduce(0) { $0 + $1.debitMinor } }
}

/// Which entry each event in the life of a sold leg makes. Source: specification of leads, §8.
package enum LedgerRules {
    /// Network fee on a price, rounded half up: 1,500 basis points of 250.00 are 37.50.
    package static func feeMinor(priceMinor: Int64, basisPoints: Int) -> Int64 {
        Int64((Int128(priceMinor) * Int128(basisPoints) + 5000) / 10_000)
    }

    static func accepted(_ leg: SoldAmounts, at: Timestamp) throws(LedgerError) -> [JournalEntry] {
        var entries: [JournalEntry] = []
        if leg.priceMinor > 0 {
            entries.append(
                try JournalEntry(
                    leg: leg.leg, kind: .legAccepted, debit: .receivable(buyer: leg.buyer), credit: .deferredRevenue,
                    amount: leg.price, at: at))
        }
        if leg.feeMinor > 0 {
            entries.append(
                try JournalEntry(
                    leg: leg.leg, kind: .networkFee, debit: .feeExpense, credit: .payableNetwork, amount: leg.fee,
                    at: at))
        }
        return entries
    }

    static func recognised(_ leg: SoldAmounts, at: Timestamp) throws(LedgerError) -> [JournalEntry] {
        guard leg.priceMinor > 0 else { return [] }
        return [
            try JournalEntry(
                leg: leg.leg, kind: .recognised, debit: .deferredRevenue, credit: .revenue, amount: leg.price, at: at)
        ]
    }

    /// A return before recognition takes back what was deferred; one after it claws back revenue.
    static func givenBack(_ leg: SoldAmounts, recognised: Bool, at: Timestamp) throws(LedgerError) -> [JournalEntry] {
        var entries: [JournalEntry] = []
        if leg.priceMinor > 0 {
            entries.append(
                try JournalEntry(
                    leg: leg.leg, kind: recognised ? .clawedBack : .returned,
                    debit: recognised ? .revenueReturns : .deferredRevenue, credit: .receivable(buyer: leg.buyer),
                    amount: leg.price, at: at))
        }
        if leg.feeMinor > 0 {
            entries.append(
                try JournalEntry(
                    leg: leg.leg, kind: .feeReversed, debit: .payableNetwork, credit: .feeExpense, amount: leg.fee,
                    at: at))
        }
        return entries
    }
}

/// The money of one leg.
struct SoldAmounts: Sendable {
    let leg: UID
    let buyer: String
    let priceMinor: Int64
    let feeMinor: Int64
    let currency: Currency

    var price: Money { Money(minorUnits: priceMinor, currency: currency) }
    var fee: Money { Money(minorUnits: feeMinor, currency: currency) }
}
