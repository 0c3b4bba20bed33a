package import AurumCore
internal import Database
internal import Events

/// A new lead as the outbox tells it.
package struct NewLead: Sendable, Equatable {
    package var org: String
    package var lead: UID
    package var traceID: UID?
    package var visitorID: String?
    package var at: Timestamp

    package init(org: String, lead: UID, traceID: UID?, visitorID: String?, at: Timestamp) {
        (self.org, self.lead, self.traceID, self.visitorID, self.at) = (org, lead, traceID, visitorID, at)
    }
}

extension AttributionService {
    /// Credits a lead, sold or not, to the touchpoints before it under every model. Repeating it changes nothing.
    package func credit(_ lead: NewLead) async throws {
        let journey = try await journey(org: lead.org, traceID: lead.traceID, visitorID: lead.visitorID, until: lead.at)
        let models = CreditModel.allCases.map { model in
            (model, split(.usd(cents: 0), over: journey, model: model, milestoneAt: lead.at, at: lead.at))
        }
        let marks = PathEvidence.marks(journey)
        // Serializable: what is stored decides what is written.
        try await database.write("attribution.creditLead") { transaction in
            let stored = Set(
                try transaction.values(
                    String.self,
                    "SELECT DISTINCT model FROM attribution_leads WHERE org = \(lead.org) AND lead = \(lead.lead)"))
            try Self.note(models.first { $0.0 == .linear }?.1 ?? [], org: lead.org, in: transaction)
            let ads = CreditedAds.keys(of: models.lazy.flatMap(\.1))
            try CreditedAds.note(ads, org: lead.org, in: transaction)
            try CohortPeople.note(
                .lead, lead.lead, org: lead.org, traceID: lead.traceID, visitorID: lead.visitorID, at: lead.at,
                in: transaction)
            try PathEvidence.note(.lead, lead.lead, org: lead.org, marks, in: transaction)
            try Self.insert(
                CreditPart.all(models.filter { !stored.contains($0.0.rawValue) }), ofLead: lead.lead, org: lead.org,
                at: lead.at, ads, in: transaction)
            if models.contains(where: { !stored.contains($0.0.rawValue) }) {
                try noteChange(at: [lead.at], org: lead.org, in: transaction)
            }
        }
        revision.advance()
    }

    /// Stores parts of a lead's credit, but for those that it has.
    static func insert(
        _ parts: [CreditPart], ofLead lead: UID, org: String, at: Timestamp, _ ads: [AdNames: String],
        in transaction: Transaction
    ) throws {
        for some in CreditPart.byStatement(parts) {
            let rows: [SQLStatement] = some.map { part in
                let credit = part.credit
                return """
                    (\(org), \(lead), \(part.model.rawValue), \(part.position), \(credit.campaign),
                     \(credit.source), \(credit.medium), \(credit.channel), \(credit.sharePPM), \(at),
                     \(transaction.now), \(ads[credit.ad]))
                    """
            }
            try transaction.run(
                """
                INSERT INTO attribution_leads
                    (org, lead, model, position, campaign, source, medium, channel, share_ppm, lead_at, created_at, ad)
                VALUES \(rows: rows)
                ON CONFLICT (org, lead, model, position) DO NOTHING
                """)
        }
    }

    /// Takes the credit of a returned sale back; reports restate at once and show it as returned. What it was stays to
    /// be told by reports of an earlier moment.
    package func reverse(org: String, leg: UID) async throws {
        let changed = try await database.write("attribution.reverse") { transaction in
            try noteChange(at: try Self.soldAt(leg, org: org, in: transaction), org: org, in: transaction)
            try transaction.run(
                """
                INSERT INTO attribution_returns
                    (org, leg, model, position, campaign, source, medium, channel, share_ppm, is_estimated,
                     amount_minor, currency, sold_at, credited_at, recognised_at, returned_at, ad)
                SELECT org, leg, model, position, campaign, source, medium, channel, share_ppm, 0, amount_minor,
                       currency, sold_at, created_at, (
                           SELECT done.created_at FROM attribution_recognised AS done
                           WHERE done.org = \(org) AND done.leg = \(leg)),
                       \(transaction.now), ad
                FROM attribution_credits WHERE org = \(org) AND leg = \(leg)
                ON CONFLICT (org, leg, model, position) DO NOTHING
                """)
            try transaction.run("DELETE FROM attribution_recognised WHERE org = \(org) AND leg = \(leg)")
            try transaction.run(
                "DELETE FROM attribution_evidence WHERE org = \(org) AND kind = 'sale' AND item = \(leg)")
            return try transaction.run("DELETE FROM attribution_credits WHERE org = \(org) AND leg = \(leg)")
        }
        guard changed > 0 else { return }
        count(restatement: "return")
        revision.advance()
    }

    /// The return window of a sale has passed: its revenue counts as recognised. Repeating it changes nothing.
    package func recognise(org: String, leg: UID, at: Timestamp) async throws {
        try await database.write("attribution.recognise") { transaction in
            // None where the sale is credited later: its credit leaves a mark then.
            let sold = try Self.soldAt(leg, org: org, in: transaction)
            let changed = try transaction.run(
                """
                INSERT INTO attribution_recognised (org, leg, recognised_at, created_at)
                VALUES (\(org), \(leg), \(at), \(transaction.now)) ON CONFLICT (org, leg) DO NOTHING
                """)
            if changed > 0 { try noteChange(at: sold, org: org, in: transaction) }
        }
        revision.advance()
    }

    /// When a credited leg was sold; of one that several releases credited perhaps more than one moment.
    private static func soldAt(_ leg: UID, org: String, in transaction: Transaction) throws -> [Timestamp] {
        try transaction.values(
            Timestamp.self,
            "SELECT DISTINCT sold_at FROM attribution_credits WHERE org = \(org) AND leg = \(leg) ORDER BY sold_at")
    }

    /// Lets the credit of a sale and its recognition, stored at the same moment, get in each other's way: else neither
    /// would know of the other, and a report between the two could keep a sum that the second leaves no mark on.
    static func look(forRecognitionOf leg: UID, org: String, in transaction: Transaction) throws {
        guard transaction.dialect == .postgres else { return }
        _ = try transaction.value(
            Int.self, "SELECT COUNT(*) FROM attribution_recognised WHERE org = \(org) AND leg = \(leg)")
    }
}
