package import AurumCore
internal import Database
internal import Events

/// A lead or a sold leg that credit may have been stored of, and whose it is.
package struct LiveCredit: Sendable, Equatable {
    package enum Kind: String, Sendable { case lead, sale }

    package var kind: Kind
    package var org: String
    /// The lead or the sold leg.
    package var item: UID
    package var traceID: UID?
    package var visitorID: String?
    package var at: Timestamp
    /// When the person became a lead.
    package var leadAt: Timestamp

    package init(
        _ kind: Kind, _ item: UID, org: String, traceID: UID?, visitorID: String?, at: Timestamp, leadAt: Timestamp
    ) {
        (self.kind, self.item, self.org, self.traceID) = (kind, item, org, traceID)
        (self.visitorID, self.at, self.leadAt) = (visitorID, at, leadAt)
    }
}

/// Why credit is looked at again.
package enum RestatementCause: String, Sendable {
    /// A touch came in after the credit.
    case late
    /// The person was found to be another one as well.
    case merge
}

/// What came of looking at credit again.
package enum Restatement: Sendable {
    case restated
    /// It is as it was, or stays so.
    case same
    /// None is stored: it is being credited now, or was returned.
    case uncredited
}

extension AttributionService {
    /// Times that the credit of one lead or sale is restated; later touches change nothing.
    package static let restatementsMax = 50

    /// Credits a lead or a sale anew when the log knows more touches of its person than it did. What was stored before
    /// is kept as an older version, which reports of an earlier moment show. Repeating it changes nothing.
    ///
    /// Touches are only added: where one that earns is gone (it has expired, was erased or rejected, or stands in the
    /// log of another server), the credit stays as it is.
    /// - Throws: `CreditError` when a split does not add up; database errors, and what the log throws.
    @discardableResult
    package func restate(_ live: LiveCredit, cause: RestatementCause) async throws -> Restatement {
        let stored = try await database.read("attribution.stored") { try Self.stored(live, in: $0) }
        guard let known = stored else { return .uncredited }
        let journey = try await journey(
            org: live.org, traceID: live.traceID, visitorID: live.visitorID, until: known.at)
        guard known.isHeld(by: journey) else { return .same }
        let milestone = live.kind == .lead ? known.at : live.leadAt
        let price = known.price
        let models = try CreditModel.allCases.map { model in
            let credits = split(price, over: journey, model: model, milestoneAt: milestone, at: known.at)
            try Credit.check(credits, of: price, leg: live.item, model: model)
            return (model, credits)
        }
        guard known.isOther(than: models) else { return .same }
        let marks = PathEvidence.marks(journey)
        let changed = try await database.write("attribution.restate") { transaction in
            // Returned or restated meanwhile: what was compared is not there any more.
            guard try Self.stored(live, in: transaction) == known else { return false }
            guard try Self.keepVersion(live, cause, in: transaction) else { return false }
            try noteChange(at: known.parts.map(\.at), org: live.org, in: transaction)
            try Self.note(models.first { $0.0 == .linear }?.1 ?? [], org: live.org, in: transaction)
            let ads = CreditedAds.keys(of: models.lazy.flatMap(\.1))
            try CreditedAds.note(ads, org: live.org, in: transaction)
            try transaction.run(
                """
                DELETE FROM attribution_evidence
                WHERE org = \(live.org) AND kind = \(live.kind.rawValue) AND item = \(live.item)
                """)
            let kind: CohortPeople.Kind = live.kind == .lead ? .lead : .sale
            try PathEvidence.note(kind, live.item, org: live.org, marks, in: transaction)
            let parts = CreditPart.all(models)
            switch live.kind {
            case .sale:
                try Self.insert(parts, of: live.item, org: live.org, soldAt: known.at, ads, in: transaction)
            case .lead:
                try Self.insert(parts, ofLead: live.item, org: live.org, at: known.at, ads, in: transaction)
            }
            return true
        }
        guard changed else { return .same }
        count(restatement: cause.rawValue)
        revision.advance()
        return .restated
    }

    /// Moves what is stored among the older versions.
    /// - Returns: false, and nothing is moved, when there are too many.
    private static func keepVersion(
        _ live: LiveCredit, _ cause: RestatementCause, in transaction: Transaction
    ) throws -> Bool {
        let (org, item) = (live.org, live.item)
        let last = try transaction.value(
            Int.self,
            """
            SELECT MAX(version) FROM attribution_restated
            WHERE org = \(org) AND kind = \(live.kind.rawValue) AND item = \(item)
            """)
        let version = (last ?? 0) + 1
        guard version <= restatementsMax else { return false }
        switch live.kind {
        case .sale:
            try transaction.run(
                """
                INSERT INTO attribution_restated
                    (org, kind, item, version, model, position, campaign, source, medium, channel, ad, share_ppm,
                     amount_minor, currency, at, credited_at, restated_at, cause)
                SELECT org, 'sale', leg, \(version), model, position, campaign, source, medium, channel, ad, share_ppm,
                    amount_minor, currency, sold_at, created_at, \(transaction.now), \(cause.rawValue)
                FROM attribution_credits WHERE org = \(org) AND leg = \(item)
                """)
            try transaction.run("DELETE FROM attribution_credits WHERE org = \(org) AND leg = \(item)")
        case .lead:
            try transaction.run(
                """
                INSERT INTO attribution_restated
                    (org, kind, item, version, model, position, campaign, source, medium, channel, ad, share_ppm,
                     amount_minor, currency, at, credited_at, restated_at, cause)
                SELECT org, 'lead', lead, \(version), model, position, campaign, source, medium, channel, ad, share_ppm,
                    0, '', lead_at, created_at, \(transaction.now), \(cause.rawValue)
                FROM attribution_leads WHERE org = \(org) AND lead = \(item)
                """)
            try transaction.run("DELETE FROM attribution_leads WHERE org = \(org) AND lead = \(item)")
        }
        return true
    }

    /// What a report of an earlier moment counts of credit that was restated after it.
    static func olderFacts(
        _ org: String, _ models: [String], from: Timestamp, to: Timestamp, asOf: Timestamp
    ) -> SQLStatement {
        """
        SELECT kind, model, item, campaign, source, medium, channel, currency, amount_minor, share_ppm, at,
            CASE WHEN EXISTS (
                SELECT 1 FROM attribution_recognised AS done
                WHERE done.org = \(org) AND done.leg = older.item AND done.created_at <= \(asOf)
            ) OR EXISTS (
                SELECT 1 FROM attribution_returns AS back
                WHERE back.org = \(org) AND back.leg = older.item AND back.recognised_at <= \(asOf)
            ) THEN amount_minor ELSE 0 END, 0, ad
        FROM attribution_restated AS older
        WHERE org = \(org) AND model IN (\(list: models)) AND at >= \(from) AND at < \(to)
            AND credited_at <= \(asOf) AND restated_at > \(asOf)
        """
    }

    /// When credit of leads and sales of a time was last restated, by touches that came in late or merges.
    /// - Parameter asOf: what was restated later is not looked at.
    func restatedAt(
        org: String, _ models: [CreditModel], from: Timestamp?, to: Timestamp?, asOf: Timestamp
    ) async throws -> Timestamp? {
        let (names, first) = (models.map(\.rawValue), from ?? Timestamp(microseconds: 0))
        let end = to ?? Timestamp(microseconds: .max)
        return try await database.read("attribution.restatedAt", limit: .report) { transaction in
            try transaction.value(
                Timestamp.self,
                """
                SELECT MAX(restated_at) FROM attribution_restated
                WHERE org = \(org) AND model IN (\(list: names)) AND at >= \(first) AND at < \(end)
                    AND restated_at <= \(asOf)
                """)
        }
    }

    /// nil where nothing is stored, or not under every model.
    private static func stored(_ live: LiveCredit, in transaction: Transaction) throws -> StoredCredit? {
        let rows: [StoredCredit.Part]
        switch live.kind {
        case .sale:
            rows = try transaction.all(
                StoredCredit.Part.self,
                """
                SELECT model, event_id, campaign, source, medium, channel, share_ppm, amount_minor, currency,
                    sold_at AS at, ad
                FROM attribution_credits WHERE org = \(live.org) AND leg = \(live.item) ORDER BY model, position
                """)
        case .lead:
            rows = try transaction.all(
                StoredCredit.Part.self,
                """
                SELECT model, NULL AS event_id, campaign, source, medium, channel, share_ppm, 0 AS amount_minor,
                    'USD' AS currency, lead_at AS at, ad
                FROM attribution_leads WHERE org = \(live.org) AND lead = \(live.item) ORDER BY model, position
                """)
        }
        return StoredCredit(rows)
    }
}

/// The credit of one lead or sale as the tables have it.
struct StoredCredit: Sendable, Equatable {
    struct Part: Sendable, Equatable, RowDecodable {
        var model: String
        /// nil where nothing led to it, and of leads.
        var eventID: String?
        var labels: [String]
        var sharePPM: Int64
        var amount: Money
        var at: Timestamp
        var ad: String?

        init(row: Row) throws {
            (model, eventID) = (try row.get("model"), try row.optional("event_id"))
            labels = [
                try row.get("campaign"), try row.get("source"), try row.get("medium"), try row.get("channel"),
            ]
            (sharePPM, at, ad) = (try row.get("share_ppm"), try row.get("at"), try row.optional("ad"))
            amount = Money(minorUnits: try row.get("amount_minor"), currency: try row.get("currency"))
        }
    }

    let parts: [Part]
    let at: Timestamp
    let price: Money

    init?(_ parts: [Part]) {
        guard let first = parts.first, Set(parts.map(\.model)) == Set(CreditModel.allCases.map(\.rawValue)) else {
            return nil
        }
        self.parts = parts
        at = first.at
        let minor = parts.lazy.filter { $0.model == first.model }.reduce(Int64(0)) { $0 &+ $1.amount.minorUnits }
        price = Money(minorUnits: minor, currency: first.amount.currency)
    }

    /// Whether every touch that earns is still one of the journey: by its event, of leads by what it says of itself.
    func isHeld(by journey: Journey) -> Bool {
        let events = Set(journey.eligible.map(\.eventID.storable))
        let labels = Set(journey.eligible.map { Credit.labels(of: $0) })
        return parts.allSatisfy { part in
            if let event = part.eventID { return events.contains(event) }
            return part.labels.first == Credit.organic || labels.contains(part.labels)
        }
    }

    /// Whether the models say something else now.
    func isOther(than models: [(CreditModel, [Credit])]) -> Bool {
        let ads = CreditedAds.keys(of: models.lazy.flatMap(\.1))
        let byModel = Dictionary(grouping: parts, by: \.model)
        return models.contains { model, credits in
            let known = byModel[model.rawValue] ?? []
            return known.count != credits.count
                || zip(known, credits).contains { part, credit in
                    part.sharePPM != credit.sharePPM || part.amount != credit.amount
                        || part.labels != [credit.campaign, credit.source, credit.medium, credit.channel]
                        || part.eventID != nil && part.eventID != credit.eventID
                        || part.ad != nil && part.ad != ads[credit.ad]
                }
        }
    }
}
