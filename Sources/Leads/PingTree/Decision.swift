package import AurumCore

/// The record of one routing round: every buyer's verdict, every bid and every figure, enough to decide again and get
/// the same answer. Holds no contact data.
package struct Decision: Sendable, Codable, Equatable {
    /// What happened to an offer after it was chosen.
    package enum Delivery: String, Sendable, Codable { case accepted, rejected, unknown, notSent, refused, capFull }

    package struct Verdict: Sendable, Codable, Equatable {
        package var buyer: String
        package var name: String
        /// nil: the buyer bid, and the bid was good enough to rank.
        package var refusal: Refusal?
        /// Detail of the refusal or of the delivery, a code.
        package var reason: String
        package var candidate: Candidate?
        /// How long the buyer took to answer the ping.
        package var pingMilliseconds: Int?
        package var delivery: Delivery?

        package init(buyer: String, name: String, refusal: Refusal? = nil, reason: String = "") {
            self.buyer = buyer
            self.name = name
            self.refusal = refusal
            self.reason = reason
        }
    }

    package var lead: OfferedLead
    /// `price`: highest expected net first.
    package var selection: String
    package var at: Timestamp
    package var verdicts: [Verdict]
    /// Buyer codes in the order in which they were chosen.
    package var chosen: [String]

    package init(lead: OfferedLead, at: Timestamp, verdicts: [Verdict]) {
        self.lead = lead
        selection = "price"
        self.at = at
        self.verdicts = verdicts
        chosen = []
    }

    /// Buyers that could be chosen, best first.
    package var ranked: [Candidate] {
        Ranking.ordered(verdicts.filter { $0.refusal == nil }.compactMap(\.candidate))
    }

    /// Decides again from the record: deliveries are taken as they happened, everything else is computed.
    /// The answer equals `chosen`.
    package func recomputed() -> [String] {
        var open = ranked
        var again: [String] = []
        var sharing: [Int] = []
        while again.count < chosen.count {
            let group = Ranking.choose(open, sharing: sharing)
            if group.isEmpty { break }
            for one in group {
                open.removeAll { $0.buyer == one.buyer }
                again.append(one.buyer)
                let delivery = verdicts.first { $0.buyer == one.buyer }?.delivery
                if !one.exclusive, delivery == .accepted { sharing.append(one.maxLegs) }
            }
        }
        return again
    }

    package mutating func record(_ delivery: Delivery, reason: String, buyer: String) {
        guard let index = verdicts.firstIndex(where: { $0.buyer == buyer }) else { return }
        verdicts[index].delivery = delivery
        verdicts[index].reason = reason
    }

    /// One sentence for people, for example: Sold to B at $182, expected net 160.80 (accepts 0.93, returns 0.05);
    /// A bid $190 but expected 141.78 (0.82, 0.09).
    package var sentence: String {
        let byRank = ranked.compactMap { one in verdicts.first { $0.buyer == one.buyer } }
        let sold = byRank.filter { $0.delivery == .accepted }
        let open = byRank.filter { $0.delivery == .unknown }
        var parts: [String] = []
        if !sold.isEmpty { parts.append("Sold to " + sold.map(offer).joined(separator: " and to ")) }
        if !open.isEmpty {
            parts.append("posted to " + open.map(offer).joined(separator: " and to ") + ", whose answer is not known")
        }
        if sold.isEmpty, open.isEmpty { parts.append("Not sold: " + whyNot) }
        for failed in byRank where [.rejected, .notSent, .refused, .capFull].contains(failed.delivery) {
            parts.append("\(failed.name) was chosen first but \(words(failed))")
        }
        if let next = byRank.first(where: { $0.delivery == nil }), let bid = next.candidate {
            let verb = "\(next.name) bid \(price(bid.bidMinor, bid.currency)) but expected \(net(bid))"
            parts.append("\(verb) (\(rate(bid.acceptMillionths)), \(rate(bid.returnMillionths)))")
        }
        let text = parts.joined(separator: "; ")
        return text.prefix(1).uppercased() + text.dropFirst()
    }

    private var whyNot: String {
        if verdicts.isEmpty { return "no buyer is configured" }
        let asked = verdicts.filter { $0.refusal != nil }
        if asked.isEmpty { return "no offer held" }
        return asked.prefix(5).map { "\($0.name) \($0.refusal?.words ?? "")" }.joined(separator: ", ")
    }

    private func offer(_ verdict: Verdict) -> String {
        guard let bid = verdict.candidate else { return verdict.name }
        return "\(verdict.name) at \(price(bid.bidMinor, bid.currency)), expected net \(net(bid))"
            + " (accepts \(rate(bid.acceptMillionths)), returns \(rate(bid.returnMillionths)))"
    }

    private func words(_ verdict: Verdict) -> String {
        switch verdict.delivery {
        case .rejected: "rejected it (\(verdict.reason))"
        case .notSent: "could not be reached"
        case .refused: "refused our credentials"
        case .capFull: "had reached its cap"
        case .accepted, .unknown, nil: ""
        }
    }

    /// `$182`, `$182.50`, `182.00 EUR`.
    private func price(_ minor: Int64, _ currency: Currency) -> String {
        let money = Money(minorUnits: minor, currency: currency)
        guard currency == .usd else { return money.description }
        return minor.isMultiple(of: 100) ? "$\(minor / 100)" : "$\(money.decimal)"
    }

    /// Expected net in major units, rounded half up.
    private func net(_ bid: Candidate) -> String {
        let minor = (bid.expectedNetMicros + 500_000).quotientRoundingDown(1_000_000)
        return Money(minorUnits: minor, currency: bid.currency).decimal
    }

    private func rate(_ millionths: Int64) -> String {
        let hundredths = (millionths + 5000) / 10_000
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    }

    /// Rows of the explain page, best first, then the refused.
    package var bidsJSON: JSONValue {
        let order = ranked.map(\.buyer)
        let sorted = verdicts.sorted {
            (order.firstIndex(of: $0.buyer) ?? .max, $0.buyer) < (order.firstIndex(of: $1.buyer) ?? .max, $1.buyer)
        }
        return .array(
            sorted.map { verdict in
                var row: [String: JSONValue] = [
                    "buyer": .string(verdict.buyer), "name": .string(verdict.name),
                    "verdict": .string(verdict.delivery?.rawValue ?? verdict.refusal?.rawValue ?? "bid"),
                    "reason": .string(verdict.reason),
                ]
                row["bid_minor"] = verdict.candidate.map { .integer($0.bidMinor) }
                row["currency"] = verdict.candidate.map { .string($0.currency.code) }
                row["fee_minor"] = verdict.candidate.map { .integer($0.feeMinor) }
                row["accepts_ppm"] = verdict.candidate.map { .integer($0.acceptMillionths) }
                row["returns_ppm"] = verdict.candidate.map { .integer($0.returnMillionths) }
                row["expected_net_minor"] = verdict.candidate.map {
                    .integer(($0.expectedNetMicros + 500_000).quotientRoundingDown(1_000_000))
                }
                row["ping_ms"] = verdict.pingMilliseconds.map { .integer(Int64($0)) }
                return .object(row)
            })
    }
}

extension Refusal {
    /// For the decision's sentence.
    var words: String {
        switch self {
        case .notActive: "is not active"
        case .leadType: "does not buy this type"
        case .tierNotOffered: "was not asked, the score is too low to offer"
        case .minScore: "wants a higher score"
        case .zip: "does not serve the ZIP code"
        case .minBill: "wants a higher bill"
        case .noCertificate: "was not asked, consent is missing"
        case .certificateExpired: "was not asked, consent has expired"
        case .consentScope: "is not covered by the consent"
        case .capFull: "has reached its cap"
        case .alreadyOffered: "was offered it before"
        case .fanOutFull: "was not asked, too many buyers"
        case .belowReserve: "bid below the reserve price"
        case .declined: "declined"
        case .late: "did not answer in time"
        case .unreadable: "gave an answer that nobody can read"
        case .unreachable: "could not be reached"
        case .currency: "bids in another currency"
        }
    }
}
