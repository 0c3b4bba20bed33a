internal import AurumCore

extension Round {
    mutating func refuse(_ buyer: String, _ refusal: Refusal, reason: String = "") {
        guard let index = decision.verdicts.firstIndex(where: { $0.buyer == buyer }) else { return }
        decision.verdicts[index].refusal = refusal
        decision.verdicts[index].reason = reason
    }

    /// Completes a buyer's verdict with its answer to the ping.
    mutating func take(_ answer: PingAnswer, from buyer: Buyer, record: BuyerRecord, took: Duration) {
        guard let index = decision.verdicts.firstIndex(where: { $0.buyer == buyer.code }) else { return }
        if buyer.ping != nil { decision.verdicts[index].pingMilliseconds = Int(took.microseconds / 1000) }
        switch answer {
        case .declined(let reason): refuse(buyer.code, .declined, reason: reason)
        case .late: refuse(buyer.code, .late)
        case .unreadable(let reason), .busy(let reason, _): refuse(buyer.code, .unreadable, reason: reason)
        case .unreachable(let reason): refuse(buyer.code, .unreachable, reason: reason)
        case .bid(let price, let token):
            let candidate = Candidate(
                buyer: buyer.code, exclusive: buyer.exclusive, maxLegs: buyer.maxLegs, bidMinor: price.minorUnits,
                feeMinor: LedgerRules.feeMinor(priceMinor: price.minorUnits, basisPoints: buyer.networkFeeBasisPoints),
                currency: price.currency,
                acceptMillionths: Ranking.acceptMillionths(
                    record, leadProbabilityMillionths: decision.lead.probabilityMillionths),
                returnMillionths: Ranking.returnMillionths(record), lastSold: record.lastSold)
            decision.verdicts[index].candidate = candidate
            newBids.append(candidate)
            tokens[buyer.code] = token
            guard let reserve = Eligibility.reserve(buyer, decision.lead) else { return refuse(buyer.code, .currency) }
            if price.minorUnits < reserve { refuse(buyer.code, .belowReserve) }
        }
    }

    /// Records in the decision what came of a post.
    mutating func note(_ answer: PostAnswer, _ buyer: String) {
        switch answer {
        case .accepted: decision.record(.accepted, reason: "", buyer: buyer)
        case .rejected(let reason): decision.record(.rejected, reason: reason, buyer: buyer)
        case .refused(let reason): decision.record(.refused, reason: reason, buyer: buyer)
        case .notSent(let reason): decision.record(.notSent, reason: reason, buyer: buyer)
        case .unknown(let reason): decision.record(.unknown, reason: reason, buyer: buyer)
        }
    }
}

extension PostAnswer {
    var isUnknown: Bool { if case .unknown = self { true } else { false } }
    var isAccepted: Bool { if case .accepted = self { true } else { false } }

    /// Metric label.
    var label: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "rejected"
        case .refused: "refused"
        case .notSent: "notSent"
        case .unknown: "unknown"
        }
    }
}

extension PingAnswer {
    /// Metric label.
    var label: String {
        switch self {
        case .bid: "bid"
        case .declined: "declined"
        case .late: "late"
        case .unreadable: "unreadable"
        case .busy: "busy"
        case .unreachable: "unreachable"
        }
    }
}
