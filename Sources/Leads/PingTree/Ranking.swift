package import AurumCore

/// What became of a buyer's earlier legs in the last 30 days.
package struct BuyerRecord: Sendable, Codable, Equatable {
    /// Legs that ended accepted, rejected or expired.
    package var decided = 0
    package var accepted = 0
    /// Sum of the leads' own probabilities over the decided legs, in millionths.
    package var probabilitySumMillionths: Int64 = 0
    /// Accepted legs whose return window has passed.
    package var settled = 0
    package var returned = 0
    package var lastSold: Timestamp?

    package init(
        decided: Int = 0, accepted: Int = 0, probabilitySumMillionths: Int64 = 0, settled: Int = 0, returned: Int = 0,
        lastSold: Timestamp? = nil
    ) {
        self.decided = decided
        self.accepted = accepted
        self.probabilitySumMillionths = probabilitySumMillionths
        self.settled = settled
        self.returned = returned
        self.lastSold = lastSold
    }
}

/// A buyer's offer with everything its rank depends on.
package struct Candidate: Sendable, Codable, Equatable {
    package var buyer: String
    package var exclusive: Bool
    package var maxLegs: Int
    package var bidMinor: Int64
    package var feeMinor: Int64
    package var currency: Currency
    package var acceptMillionths: Int64
    package var returnMillionths: Int64
    package var lastSold: Timestamp?

    package init(
        buyer: String, exclusive: Bool, maxLegs: Int, bidMinor: Int64, feeMinor: Int64, currency: Currency,
        acceptMillionths: Int64, returnMillionths: Int64, lastSold: Timestamp? = nil
    ) {
        self.buyer = buyer
        self.exclusive = exclusive
        self.maxLegs = maxLegs
        self.bidMinor = bidMinor
        self.feeMinor = feeMinor
        self.currency = currency
        self.acceptMillionths = acceptMillionths
        self.returnMillionths = returnMillionths
        self.lastSold = lastSold
    }

    /// bid × P(accepts) × (1 − return rate) − fee, in millionths of a minor unit, rounded down.
    package var expectedNetMicros: Int64 {
        let kept = Int128(bidMinor) * Int128(acceptMillionths) * Int128(1_000_000 - returnMillionths)
        return Int64(kept / 1_000_000) - feeMinor * 1_000_000
    }
}

/// Who should have the lead. Pure, integers only: the same inputs always give the same order.
package enum Ranking {
    static let priorAcceptMillionths: Int64 = 850_000
    static let priorReturnMillionths: Int64 = 100_000
    /// Outcomes below which a buyer's own rate is not trusted.
    static let outcomesMin = 50

    /// Chance that the buyer accepts: its rate, times how this lead compares with those it had, within 0.05…0.99.
    package static func acceptMillionths(_ record: BuyerRecord, leadProbabilityMillionths lead: Int64) -> Int64 {
        guard record.decided >= outcomesMin, record.probabilitySumMillionths > 0 else { return priorAcceptMillionths }
        let rate = Int128(record.accepted) * 1_000_000 / Int128(record.decided)
        let adjusted = rate * Int128(lead) * Int128(record.decided) / Int128(record.probabilitySumMillionths)
        return Int64(min(max(adjusted, 50_000), 990_000))
    }

    package static func returnMillionths(_ record: BuyerRecord) -> Int64 {
        guard record.settled >= outcomesMin else { return priorReturnMillionths }
        return Int64(record.returned) * 1_000_000 / Int64(record.settled)
    }

    /// Best first. Ties: least recently sold, then code.
    package static func ordered(_ candidates: [Candidate]) -> [Candidate] {
        candidates.sorted { left, right in
            let (leftSold, rightSold) = (left.lastSold?.microseconds ?? .min, right.lastSold?.microseconds ?? .min)
            return (right.expectedNetMicros, leftSold, left.buyer) < (left.expectedNetMicros, rightSold, right.buyer)
        }
    }

    /// Who gets the lead now: the best exclusive buyer, or the best group that shares it, whichever is worth more.
    /// Offers that are expected to lose money are left out.
    /// - Parameter sharing: shared legs that already hold the lead; then only room beside them is filled.
    package static func choose(_ candidates: [Candidate], sharing: [Int] = []) -> [Candidate] {
        let ordered = ordered(candidates.filter { $0.expectedNetMicros > 0 })
        var group: [Candidate] = []
        for one in ordered where !one.exclusive {
            let room = min(one.maxLegs, (sharing + group.map(\.maxLegs)).min() ?? one.maxLegs)
            if sharing.count + group.count < room { group.append(one) }
        }
        guard sharing.isEmpty, let alone = ordered.first(where: \.exclusive) else { return group }
        let together = group.reduce(Int64(0)) { $0 + $1.expectedNetMicros }
        return together > alone.expectedNetMicros ? group : [alone]
    }
}
