package import AurumCore
package import Database
package import Events
package import Telemetry

/// A sold lead as the outbox tells it.
package struct Sale: Sendable, Equatable {
    package var org: String
    package var leg: UID
    package var traceID: UID?
    package var visitorID: String?
    package var price: Money
    package var at: Timestamp
    /// When the person became a lead: the milestone of the w-shaped models; nil when nobody knows.
    package var milestoneAt: Timestamp?

    package init(
        org: String, leg: UID, traceID: UID?, visitorID: String?, price: Money, at: Timestamp,
        milestoneAt: Timestamp? = nil
    ) {
        self.org = org
        self.leg = leg
        self.traceID = traceID
        self.visitorID = visitorID
        self.price = price
        self.at = at
        self.milestoneAt = milestoneAt
    }
}

/// Revenue and sales of one campaign under one model.
package struct CampaignRevenue: Sendable, Equatable, Codable {
    package var campaign: String
    package var source: String
    package var medium: String
    package var channel: String
    package var sales: Int
    package var revenueMinor: Int64
    package var currency: String
}

/// Credits every sold lead to the touchpoints that led to it, once, and takes the credit back when the lead returns.
package struct AttributionService: Sendable {
    let database: Database
    let events: any EventStore
    let window: LookbackWindow
    let registry: MetricRegistry
    /// Grows with every change of a credit.
    package let revision: ReportRevision
    let sums: KeptSums
    let tally = CreditChangeTally()
    /// Rows of one model in a report by campaign.
    package static let campaignsMax = 200

    package init(
        database: Database, events: any EventStore, window: LookbackWindow = .leadSale,
        registry: MetricRegistry = MetricRegistry(), revision: ReportRevision = ReportRevision(),
        sums: CreditSumLimits = CreditSumLimits()
    ) {
        (self.database, self.events, self.window) = (database, events, window)
        (self.registry, self.revision) = (registry, revision)
        self.sums = KeptSums(sums, registry: registry)
    }

    /// Stores the credit of a sale under every model that it lacks. Repeating it changes nothing, also when earlier
    /// touches have come in since: a stored model keeps its split.
    /// - Throws: `CreditError` when a split does not add up to the sale; then nothing is stored.
    package func credit(_ sale: Sale) async throws { try await store(sale, onlyIfCredited: false) }

    func store(_ sale: Sale, onlyIfCredited: Bool) async throws {
        let journey = try await journey(of: sale)
        let models = try CreditModel.allCases.map { model in
            let credits = split(sale.price, over: journey, model: model, milestoneAt: sale.milestoneAt, at: sale.at)
            try Credit.check(credits, of: sale.price, leg: sale.leg, model: model)
            return (model, credits)
        }
        let marks = PathEvidence.marks(journey)
        registry.histogram(.attributionJourneyTouches).observe(Double(journey.touches.count))
        // Serializable: what is stored decides what is written, and a return at the same time takes all of it.
        try await database.write("attribution.credit") { transaction in
            registry.gauge(.attributionFreshness).set((transaction.now - sale.at).seconds)
            let stored = Set(
                try transaction.values(
                    String.self,
                    "SELECT DISTINCT model FROM attribution_credits WHERE org = \(sale.org) AND leg = \(sale.leg)"))
            if onlyIfCredited, stored.isEmpty { return }
            try Self.look(forRecognitionOf: sale.leg, org: sale.org, in: transaction)
            try Self.note(models.first { $0.0 == .linear }?.1 ?? [], org: sale.org, in: transaction)
            let ads = CreditedAds.keys(of: models.lazy.flatMap(\.1))
            try CreditedAds.note(ads, org: sale.org, in: transaction)
            try CohortPeople.note(
                .sale, sale.leg, org: sale.org, traceID: sale.traceID, visitorID: sale.visitorID, at: sale.at,
                in: transaction)
            try PathEvidence.note(.sale, sale.leg, org: sale.org, marks, in: transaction)
            try Self.insert(
                CreditPart.all(models.filter { !stored.contains($0.0.rawValue) }), of: sale.leg, org: sale.org,
                soldAt: sale.at, ads, in: transaction)
            if models.contains(where: { !stored.contains($0.0.rawValue) }) {
                try noteChange(at: [sale.at], org: sale.org, in: transaction)
            }
        }
        revision.advance()
    }

    /// Stores parts of a sale's credit, but for those that it has.
    static func insert(
        _ parts: [CreditPart], of leg: UID, org: String, soldAt: Timestamp, _ ads: [AdNames: String],
        in transaction: Transaction
    ) throws {
        for some in CreditPart.byStatement(parts) {
            let rows: [SQLStatement] = some.map { part in
                let credit = part.credit
                return """
                    (\(org), \(leg), \(part.model.rawValue), \(part.position), \(credit.eventID),
                     \(credit.campaign), \(credit.source), \(credit.medium), \(credit.channel), \(credit.at),
                     \(credit.sharePPM), \(credit.amount.minorUnits), \(credit.amount.currency),
                     \(soldAt), \(transaction.now), \(ads[credit.ad]))
                    """
            }
            try transaction.run(
                """
                INSERT INTO attribution_credits
                    (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                     share_ppm, amount_minor, currency, sold_at, created_at, ad)
                VALUES \(rows: rows)
                ON CONFLICT (org, leg, model, position) DO NOTHING
                """)
        }
    }

    /// Stores which campaigns there are, with what the first credited touch of each said.
    static func note(_ credits: [Credit], org: String, in transaction: Transaction) throws {
        for credit in credits where credit.eventID != nil && credit.campaign != Credit.none {
            try transaction.run(
                """
                INSERT INTO attribution_campaigns (org, campaign, source, medium, channel, created_at)
                VALUES (\(org), \(credit.campaign), \(credit.source), \(credit.medium), \(credit.channel),
                        \(transaction.now))
                ON CONFLICT (org, campaign) DO NOTHING
                """)
        }
    }

    /// The touchpoints that led to a sale, as the models see them.
    package func journey(of sale: Sale) async throws -> Journey {
        try await journey(org: sale.org, traceID: sale.traceID, visitorID: sale.visitorID, until: sale.at)
    }

    func journey(org: String, traceID: UID?, visitorID: String?, until: Timestamp) async throws -> Journey {
        let identifiers = visitorID.map { [PersonIdentifier(.anonymous, $0)] } ?? []
        let touches = try await events.journey(
            JourneyQuery(
                org: org, traceID: traceID, identifiers: identifiers, until: until, lookback: window.click,
                viewLookback: window.view, limit: Journey.eventsMax))
        let barred = try await FraudStore(database: database).barred(among: touches.map(\.eventID), org: org)
        return Journey(touches.filter { !barred.contains($0.eventID) }, conversionAt: until, window: window)
    }

    /// Divides a price as `Credit.split` does, and measures how long that takes.
    func split(
        _ price: Money, over journey: Journey, model: CreditModel, milestoneAt: Timestamp?, at: Timestamp
    ) -> [Credit] {
        let began = ContinuousClock.now
        defer {
            registry.histogram(.attributionComputeSeconds, model.rawValue).observe(ContinuousClock.now - began)
        }
        return Credit.split(price, over: journey, model: model, milestoneAt: milestoneAt, at: at)
    }

    func count(restatement cause: String) {
        registry.counter(.attributionRestatements, cause).increment()
    }

    /// Revenue by campaign under every model, largest first, `campaignsMax` a model.
    package func revenue(org: String) async throws -> [CreditModel: [CampaignRevenue]] {
        var answer: [CreditModel: [CampaignRevenue]] = [:]
        let rows = try await database.read("attribution.revenue", limit: .report) { transaction in
            try transaction.all(
                ModelRevenue.self,
                """
                SELECT model, campaign, source, medium, channel, currency, COUNT(DISTINCT leg) AS sales,
                       SUM(amount_minor) AS revenue
                FROM attribution_credits WHERE org = \(org)
                GROUP BY model, campaign, source, medium, channel, currency
                ORDER BY revenue DESC, campaign, source, medium, channel
                """)
        }
        for row in rows {
            guard let model = CreditModel(rawValue: row.model), answer[model, default: []].count < Self.campaignsMax
            else { continue }
            answer[model, default: []].append(row.revenue)
        }
        return answer
    }

    /// The credits of one sale under every model, oldest touch first.
    package func credits(org: String, leg: UID) async throws -> [CreditModel: [Credit]] {
        let rows = try await database.read("attribution.credits") { transaction in
            try transaction.all(
                ModelCredit.self,
                """
                SELECT model, event_id, campaign, source, medium, channel, touched_at, share_ppm, amount_minor,
                    currency, ad_group, creative, keyword, publisher
                FROM attribution_credits AS known LEFT JOIN attribution_ads AS ads
                    ON ads.org = \(org) AND ads.ad = known.ad
                WHERE known.org = \(org) AND leg = \(leg)
                ORDER BY model, position
                """)
        }
        return Dictionary(grouping: rows.filter { CreditModel(rawValue: $0.model) != nil }) {
            CreditModel(rawValue: $0.model) ?? .first
        }
        .mapValues { $0.map(\.credit) }
    }

    /// The campaign of the first touch of each leg, for lists.
    package func firstCampaigns(org: String, legs: [UID]) async throws -> [UID: String] {
        let rows = try await database.read("attribution.campaigns") { transaction in
            try transaction.all(
                LegCampaign.self,
                """
                SELECT leg, campaign FROM attribution_credits
                WHERE org = \(org) AND model = 'first' AND leg IN (\(list: legs))
                """)
        }
        return Dictionary(rows.map { ($0.leg, $0.campaign) }, uniquingKeysWith: { first, _ in first })
    }
}

private struct LegCampaign: RowDecodable {
    let leg: UID
    let campaign: String

    init(row: Row) throws {
        leg = try row.get("leg")
        campaign = try row.get("campaign")
    }
}

private struct ModelRevenue: RowDecodable {
    let model: String
    let revenue: CampaignRevenue

    init(row: Row) throws {
        model = try row.get("model")
        revenue = try CampaignRevenue(row: row)
    }
}

private struct ModelCredit: RowDecodable {
    let model: String
    let credit: Credit

    init(row: Row) throws {
        model = try row.get("model")
        credit = try Credit(row: row)
    }
}

extension CampaignRevenue: RowDecodable {
    package init(row: Row) throws {
        self.init(
            campaign: try row.get("campaign"), source: try row.get("source"), medium: try row.get("medium"),
            channel: try row.get("channel"), sales: try row.get("sales"), revenueMinor: try row.get("revenue"),
            currency: try row.get("currency"))
    }
}

extension Credit: RowDecodable {
    package init(row: Row) throws {
        self.init(
            eventID: try row.optional("event_id"), campaign: try row.get("campaign"), source: try row.get("source"),
            medium: try row.get("medium"), channel: try row.get("channel"), ad: try AdNames(row: row),
            at: try row.get("touched_at"), sharePPM: try row.get("share_ppm"),
            amount: Money(minorUnits: try row.get("amount_minor"), currency: try row.get("currency")))
    }
}
