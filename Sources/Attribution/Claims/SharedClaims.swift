package import AurumCore
internal import Database

/// Which conversions two networks or more may have claimed.
package struct SharedClaimQuestion: Sendable, Hashable {
    package var ours = ClaimQuestion.Ours.conversions
    /// Whose credit stands beside them.
    package var model = CreditModel.last
    /// The days before today, and today.
    package var days = 30
    /// nil: that of the accounts.
    package var timezone: String?
    package var limit = 50
    package var after: ClaimMark?
    /// What one page looks at before it answers with what it has.
    package var paths = PathBudget(most: 20_000)
    package static let limitMax = 200

    package init() {}
}

/// One conversion whose path speaks for two networks or more that claim conversions of its day.
package struct SharedClaim: Sendable, Equatable {
    /// A network that claims, and what the path holds of it.
    package struct Claimant: Sendable, Equatable {
        package var network: String
        package var evidence: ClaimEvidence
        package var eventID: String
        package var touchedAt: Timestamp
        /// Everything that it claims of the day.
        package var claimedMillionths: Int64
    }

    /// What the model gives a campaign.
    package struct Credited: Sendable, Equatable {
        package var campaign: String
        package var network: String?
        package var millionths: Int64
        package var minor: Int64
    }

    /// The sold leg or the lead.
    package var id: UID
    package var at: Timestamp
    /// Days since 1970-01-01.
    package var day: Int
    /// nil for a lead.
    package var value: Money?
    /// By name.
    package var claimants: [Claimant]
    /// Largest first.
    package var credits: [Credited] = []
}

/// A page of conversions that two networks or more may have claimed, newest first. Networks tell sums of a day and
/// campaign, never single conversions: these are the ones of which both have evidence.
package struct SharedClaims: Sendable {
    package var question: SharedClaimQuestion
    package var conversions: [SharedClaim]
    /// What the next page comes after; nil at the end.
    package var next: ClaimMark?
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp
}

extension GrowthReports {
    /// A page may be short, also empty: `next` says whether there are more.
    /// - Throws: `SpendError.unknownTimeZone`, `SpendError.figuresTooLarge`; `QueryError`; database errors.
    package func sharedClaims(org: String, _ question: SharedClaimQuestion) async throws -> SharedClaims {
        try await time {
            let ground = try await claimGround(org: org, days: question.days, timezone: question.timezone)
            var search = SharedSearch(ground, try Self.claimed(ground.sums), limit: question.limit)
            var mark = search.first(question.after)
            var read = 0
            while let before = mark, search.isWanting, read < question.paths.most {
                try Task.checkCancellation()
                let page = try await paths(
                    org: org, question.ours, from: search.from, before: before, limit: question.paths.atOnce)
                read += page.count
                mark = search.add(page, isLast: page.count < question.paths.atOnce)
            }
            var found = search.found
            try await credit(&found, org: org, question, ground)
            return SharedClaims(
                question: question, conversions: found, next: mark, timezone: ground.calendar.timezone,
                isTimezoneMixed: ground.calendar.isMixed, asOf: ground.calendar.now)
        }
    }

    /// What networks claim of days on which two or more claim anything.
    private static func claimed(_ sums: [SpendSum]) throws(SpendError) -> [Int: [String: Int64]] {
        var claims: [Int: [String: Int64]] = [:]
        for sum in sums {
            guard let day = sum.day, let claimed = sum.figures.conversionsMillionths, claimed > 0 else { continue }
            try Figures.add(claimed, to: &claims[day, default: [:]][sum.network, default: 0])
        }
        return claims.filter { $0.value.count > 1 }
    }

    private func credit(
        _ found: inout [SharedClaim], org: String, _ question: SharedClaimQuestion, _ ground: ClaimGround
    ) async throws {
        guard !found.isEmpty else { return }
        let (items, model) = (found.map(\.id), question.model.rawValue)
        let rows =
            switch question.ours {
            case .conversions:
                try await database.read("growth.sharedSales", limit: .report) { transaction in
                    try transaction.all(
                        CreditedRow.self,
                        """
                        SELECT leg AS item, campaign, SUM(share_ppm) AS share, SUM(amount_minor) AS amount
                        FROM attribution_credits
                        WHERE org = \(org) AND model = \(model) AND leg IN (\(list: items)) GROUP BY leg, campaign
                        """)
                }
            case .leads:
                try await database.read("growth.sharedLeads", limit: .report) { transaction in
                    try transaction.all(
                        CreditedRow.self,
                        """
                        SELECT lead AS item, campaign, SUM(share_ppm) AS share, 0 AS amount
                        FROM attribution_leads
                        WHERE org = \(org) AND model = \(model) AND lead IN (\(list: items)) GROUP BY lead, campaign
                        """)
                }
            }
        let byItem = Dictionary(grouping: rows, by: \.item)
        for place in found.indices {
            found[place].credits = (byItem[found[place].id] ?? []).map { row in
                SharedClaim.Credited(
                    campaign: row.campaign, network: ground.network(ofCampaign: row.campaign), millionths: row.share,
                    minor: row.amount)
            }
            .sorted { ($1.millionths, $0.campaign) < ($0.millionths, $1.campaign) }
        }
    }
}

/// Finds shared conversions in pages of them: which, and where to read on.
private struct SharedSearch {
    private let ground: ClaimGround
    private let claims: [Int: [String: Int64]]
    /// Days on which two networks or more claim, newest first.
    private let days: [Int]
    private let limit: Int
    private(set) var found: [SharedClaim] = []

    init(_ ground: ClaimGround, _ claims: [Int: [String: Int64]], limit: Int) {
        (self.ground, self.claims, self.limit) = (ground, claims, limit)
        days = claims.keys.sorted(by: >)
    }

    var isWanting: Bool { found.count < limit }

    /// Nothing is read of days before the oldest of them.
    var from: Timestamp { ground.start(ofDay: days.last ?? ground.to) }

    /// Where to begin; nil when there is nothing to read.
    func first(_ after: ClaimMark?) -> ClaimMark? {
        guard let newest = days.first else { return nil }
        let start = ClaimMark(before: ground.start(ofDay: newest + 1))
        return after.map { min($0, start) } ?? start
    }

    /// Answers where to read on; nil at the end.
    mutating func add(_ page: [PathOfConversion], isLast: Bool) -> ClaimMark? {
        for path in page {
            if let shared = shared(path) { found.append(shared) }
            if found.count == limit { return path.mark }
        }
        guard !isLast, let mark = page.last?.mark else { return nil }
        let day = ground.day(of: mark.at)
        if claims[day] != nil { return mark }
        // Days without such claims are passed over.
        return days.first { $0 < day }.map { ClaimMark(before: ground.start(ofDay: $0 + 1)) }
    }

    private func shared(_ path: PathOfConversion) -> SharedClaim? {
        let day = ground.day(of: path.mark.at)
        guard let claims = claims[day], let evidence = path.evidence, evidence.count > 1 else { return nil }
        let claimants = ground.strongest(evidence).compactMap { network, mark in
            claims[network].map { claimed in
                SharedClaim.Claimant(
                    network: network, evidence: mark.evidence, eventID: mark.eventID, touchedAt: mark.at,
                    claimedMillionths: claimed)
            }
        }
        guard claimants.count > 1 else { return nil }
        return SharedClaim(
            id: path.mark.item, at: path.mark.at, day: day, value: path.value,
            claimants: claimants.sorted { $0.network < $1.network })
    }
}

private struct CreditedRow: RowDecodable {
    let item: UID
    let campaign: String
    let share: Int64
    let amount: Int64

    init(row: Row) throws {
        (item, campaign) = (try row.get("item"), try row.get("campaign"))
        (share, amount) = (try row.get("share"), try row.get("amount"))
    }
}

extension SharedClaims {
    package var json: JSONValue {
        [
            "against": .string(question.ours.rawValue), "model": .string(question.model.rawValue),
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "conversions": .array(conversions.map(\.json)), "next": next.map { .string($0.text) } ?? .null,
        ]
    }
}

extension SharedClaim {
    package var json: JSONValue {
        [
            "id": .string(id.hex), "at": .string(at.rfc3339),
            "date": .string(CivilDate(daysSince1970: day).description),
            "value_minor": .whole(value?.minorUnits),
            "currency": value.map { .string($0.currency.code) } ?? .null,
            "networks": .array(
                claimants.map {
                    [
                        "network": .string($0.network), "evidence": .string($0.evidence.rawValue),
                        "event": .string($0.eventID), "touched_at": .string($0.touchedAt.rfc3339),
                        "claimed": .millionths($0.claimedMillionths),
                    ]
                }),
            "credits": .array(
                credits.map { one in
                    [
                        "campaign": .string(one.campaign), "network": one.network.map { .string($0) } ?? .null,
                        "credited": .millionths(one.millionths),
                        "credited_value_minor": .whole(value == nil ? nil : one.minor),
                    ]
                }),
        ]
    }
}
