package import AurumCore
package import Database
package import Events
internal import Telemetry

/// A sold lead as the outbox tells it.
package struct Sale: Sendable, Equatable {
    package var org: String
    package var leg: UID
    package var traceID: UID?
    package var visitorID: String?
    package var price: Money
    package var at: Timestamp

    package init(org: String, leg: UID, traceID: UID?, visitorID: String?, price: Money, at: Timestamp) {
        self.org = org
        self.leg = leg
        self.traceID = traceID
        self.visitorID = visitorID
        self.price = price
        self.at = at
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
    private let database: Database
    private let events: any EventStore
    private let window: LookbackWindow

    package init(database: Database, events: any EventStore, window: LookbackWindow = .leadSale) {
        self.database = database
        self.events = events
        self.window = window
    }

    /// Stores the credit of a sale under every model. Repeating it changes nothing.
    package func credit(_ sale: Sale) async throws {
        let journey = try await journey(of: sale)
        let models = CreditModel.allCases.map { model in
            (model, Credit.split(sale.price, over: journey, model: model, at: sale.at))
        }
        try await database.write("attribution.credit") { transaction in
            for (model, credits) in models {
                for (position, credit) in credits.enumerated() {
                    _ = try transaction.run(
                        """
                        INSERT INTO attribution_credits
                            (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                             share_ppm, amount_minor, currency, sold_at, created_at)
                        VALUES (\(sale.org), \(sale.leg), \(model.rawValue), \(position), \(credit.eventID),
                                \(credit.campaign), \(credit.source), \(credit.medium), \(credit.channel), \(credit.at),
                                \(credit.sharePPM), \(credit.amount.minorUnits), \(credit.amount.currency),
                                \(sale.at), \(transaction.now))
                        ON CONFLICT (org, leg, model, position) DO NOTHING
                        """)
                }
            }
        }
    }

    /// Takes the credit of a returned lead back; reports restate at once.
    package func reverse(org: String, leg: UID) async throws {
        try await database.write("attribution.reverse") { transaction in
            _ = try transaction.run("DELETE FROM attribution_credits WHERE org = \(org) AND leg = \(leg)")
        }
    }

    /// The touchpoints that led to a sale, as the models see them.
    package func journey(of sale: Sale) async throws -> Journey {
        let identifiers = sale.visitorID.map { [PersonIdentifier(.anonymous, $0)] } ?? []
        let touches = try await events.journey(
            JourneyQuery(
                org: sale.org, traceID: sale.traceID, identifiers: identifiers, until: sale.at, lookback: window.click))
        return Journey(touches, conversionAt: sale.at, window: window)
    }

    /// Revenue by campaign under `model`, largest first.
    package func revenue(org: String, model: CreditModel) async throws -> [CampaignRevenue] {
        try await database.read("attribution.revenue") { transaction in
            try transaction.all(
                CampaignRevenue.self,
                """
                SELECT campaign, source, medium, channel, currency, COUNT(DISTINCT leg) AS sales,
                       SUM(amount_minor) AS revenue
                FROM attribution_credits WHERE org = \(org) AND model = \(model.rawValue)
                GROUP BY campaign, source, medium, channel, currency
                ORDER BY revenue DESC, campaign, source, medium, channel
                LIMIT 200
                """)
        }
    }

    /// The credits of one sale under `model`, oldest touch first.
    package func credits(org: String, leg: UID, model: CreditModel) async throws -> [Credit] {
        try await database.read("attribution.credits") { transaction in
            try transaction.all(
                Credit.self,
                """
                SELECT event_id, campaign, source, medium, channel, touched_at, share_ppm, amount_minor, currency
                FROM attribution_credits WHERE org = \(org) AND leg = \(leg) AND model = \(model.rawValue)
                ORDER BY position
                """)
        }
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
            medium: try row.get("medium"), channel: try row.get("channel"), at: try row.get("touched_at"),
            sharePPM: try row.get("share_ppm"),
            amount: Money(minorUnits: try row.get("amount_minor"), currency: try row.get("currency")))
    }
}
