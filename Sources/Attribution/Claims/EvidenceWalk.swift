internal import AurumCore
internal import Database
internal import Events

/// A place among conversions in order of time: where a page of them ended.
package struct ClaimMark: Sendable, Hashable, Comparable {
    var at: Timestamp
    var item: UID

    init(at: Timestamp, item: UID) { (self.at, self.item) = (at, item) }

    /// Before the first conversion of a moment.
    init(before moment: Timestamp) { self.init(at: moment, item: UID(high: 0, low: 0)) }

    /// Reads what `text` writes; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let time = Int64(parts[0]), let item = UID(parts[1]) else { return nil }
        self.init(at: Timestamp(microseconds: time), item: item)
        guard self.text == text else { return nil }
    }

    package var text: String { "\(at.microseconds)-\(item.hex)" }

    package static func < (left: ClaimMark, right: ClaimMark) -> Bool {
        (left.at, left.item) < (right.at, right.item)
    }
}

/// A conversion that stayed, with what its path holds.
struct PathOfConversion: Sendable {
    var mark: ClaimMark
    /// nil for a lead.
    var value: Money?
    /// Strongest first; nil when an earlier release credited it and kept no evidence.
    var evidence: [EvidenceMark]?
}

/// What claims are held against: imported sums, and which network campaigns and touches belong to.
struct ClaimGround: Sendable {
    var calendar: GrowthReports.Calendar
    /// `from` ≤ day < `to`, days since 1970-01-01.
    var from: Int
    var to: Int
    var sums: [SpendSum]
    private let book: CampaignBook
    /// By campaign, as reports write it.
    private let networks: [String: String]
    /// Networks that spend was imported of; only of these evidence is looked for.
    let imported: Set<String>

    /// - Throws: `SpendError.figuresTooLarge`.
    init(
        _ calendar: GrowthReports.Calendar, from: Int, to: Int, _ sums: [SpendSum], _ book: CampaignBook
    ) throws(SpendError) {
        (self.calendar, self.from, self.to, self.sums, self.book) = (calendar, from, to, sums, book)
        networks = try CampaignReports.networks(sums, book).names
        imported = Set(sums.map(\.network))
    }

    /// The network of a campaign as credits write it.
    func network(ofCampaign label: String) -> String? { networks[book.name(ofLabel: label) ?? label] }

    /// The network that a touch names, if spend of it was imported: one campaign may run at several. Else that of its
    /// campaign, as for credits. nil for a network without imports, which claims nothing.
    func network(of mark: EvidenceMark) -> String? {
        if imported.contains(mark.network) { return mark.network }
        return network(ofCampaign: mark.campaign).flatMap { imported.contains($0) ? $0 : nil }
    }

    /// The strongest evidence of each network with imports.
    func strongest(_ marks: [EvidenceMark]) -> [String: EvidenceMark] {
        var found: [String: EvidenceMark] = [:]
        for mark in marks {
            guard let network = network(of: mark) else { continue }
            if let known = found[network], (known.evidence.rank, mark.at) <= (mark.evidence.rank, known.at) { continue }
            found[network] = mark
        }
        return found
    }

    func day(of moment: Timestamp) -> Int { Int(calendar.zone.key(.day, at: moment.microseconds)) }

    func start(ofDay day: Int) -> Timestamp { calendar.zone.start(ofDay: CivilDate(daysSince1970: day)) }
}

/// How many conversions' paths are read. An answer holds no more of them at a time than one statement reads.
package struct PathBudget: Sendable, Hashable {
    /// By one statement.
    package var atOnce = 1000
    /// For one answer.
    package var most: Int

    package init(most: Int) { self.most = most }
}

extension GrowthReports {
    /// - Throws: `SpendError.unknownTimeZone`, `SpendError.figuresTooLarge`; `QueryError`; database errors.
    func claimGround(org: String, days: Int, timezone: String?) async throws -> ClaimGround {
        let calendar = try await calendar(org: org, timezone: timezone)
        let (from, to) = (calendar.today - days + 1, calendar.today + 1)
        let book = try await campaigns.book(org: org, .network)
        let sums = try await campaigns.spend.sums(org: org, from: from, to: to, byDay: true)
        return try ClaimGround(calendar, from: from, to: to, sums, book)
    }

    /// The newest conversions from `from` on that come before `mark`, newest first, at most `limit`.
    func paths(
        org: String, _ ours: ClaimQuestion.Ours, from: Timestamp, before mark: ClaimMark, limit: Int
    ) async throws -> [PathOfConversion] {
        let rows =
            switch ours {
            case .conversions: try await salePaths(org: org, from: from, before: mark, limit: limit)
            case .leads: try await leadPaths(org: org, from: from, before: mark, limit: limit)
            }
        var paths: [PathOfConversion] = []
        for row in rows {
            if paths.last?.mark != row.mark {
                let value = Currency(row.currency).map { Money(minorUnits: row.amount, currency: $0) }
                paths.append(PathOfConversion(mark: row.mark, value: value, evidence: row.isKnown ? [] : nil))
            }
            if let evidence = row.evidence { paths[paths.count - 1].evidence?.append(evidence) }
        }
        return paths
    }

    // The model `last` has one credit a conversion, which is all of it, and every release has stored it.

    private func salePaths(
        org: String, from: Timestamp, before mark: ClaimMark, limit: Int
    ) async throws -> [EvidenceRow] {
        try await database.read("growth.salePaths", limit: .report) { transaction in
            try transaction.all(
                EvidenceRow.self,
                """
                SELECT page.item, page.happened_at, page.amount_minor, page.currency, known.evidence, known.campaign,
                    known.network, known.event_id, known.touched_at
                FROM (
                    SELECT leg AS item, sold_at AS happened_at, amount_minor, currency FROM attribution_credits
                    WHERE org = \(org) AND model = 'last' AND sold_at >= \(from) AND sold_at <= \(mark.at)
                        AND (sold_at < \(mark.at) OR leg < \(mark.item))
                    ORDER BY sold_at DESC, leg DESC LIMIT \(limit)
                ) AS page
                LEFT JOIN attribution_evidence AS known
                    ON known.org = \(org) AND known.kind = 'sale' AND known.item = page.item
                ORDER BY page.happened_at DESC, page.item DESC, known.position
                """)
        }
    }

    private func leadPaths(
        org: String, from: Timestamp, before mark: ClaimMark, limit: Int
    ) async throws -> [EvidenceRow] {
        try await database.read("growth.leadPaths", limit: .report) { transaction in
            try transaction.all(
                EvidenceRow.self,
                """
                SELECT page.item, page.happened_at, 0 AS amount_minor, '' AS currency, known.evidence, known.campaign,
                    known.network, known.event_id, known.touched_at
                FROM (
                    SELECT lead AS item, lead_at AS happened_at FROM attribution_leads
                    WHERE org = \(org) AND model = 'last' AND lead_at >= \(from) AND lead_at <= \(mark.at)
                        AND (lead_at < \(mark.at) OR lead < \(mark.item))
                    ORDER BY lead_at DESC, lead DESC LIMIT \(limit)
                ) AS page
                LEFT JOIN attribution_evidence AS known
                    ON known.org = \(org) AND known.kind = 'lead' AND known.item = page.item
                ORDER BY page.happened_at DESC, page.item DESC, known.position
                """)
        }
    }
}

private struct EvidenceRow: RowDecodable {
    let mark: ClaimMark
    let amount: Int64
    /// Empty for a lead.
    let currency: String
    /// Whether the path was looked at.
    let isKnown: Bool
    let evidence: EvidenceMark?

    init(row: Row) throws {
        mark = ClaimMark(at: try row.get("happened_at"), item: try row.get("item"))
        (amount, currency) = (try row.get("amount_minor"), try row.get("currency"))
        isKnown = try row.optional("evidence", as: String.self) != nil
        evidence = try EvidenceMark(row: row)
    }
}
