internal import AurumCore
internal import Database
internal import Events

/// What the results of a campaign are.
package enum ResultKind: String, Sendable, CaseIterable {
    /// Installs as they were decided: neither rejected as fraud nor on a device that had the app before.
    case installs
    /// Shares of sold legs that were not returned.
    case conversions
    /// Shares of leads.
    case leads
}

/// Results of one campaign on one day.
struct ResultDay: Sendable, Equatable {
    var campaign: String
    /// nil for what has no currency.
    var currency: Currency?
    /// Days since 1970-01-01 by the calendar that was asked for.
    var day: Int
    /// Millionths of results.
    var millionths: Int64
    /// Net of returns.
    var revenueMinor: Int64
}

/// Which results are counted.
struct ResultSpan: Sendable {
    var model: CreditModel
    /// As touches and credits write one campaign; nil for all.
    var labels: [String]?
    /// `from` ≤ day < `to`, days since 1970-01-01.
    var from: Int
    var to: Int
    var zone: ZoneClock
    var timezone: String

    var start: Timestamp { zone.start(ofDay: CivilDate(daysSince1970: from)) }
    /// Labels that one statement or query is asked for; of more, rows of all campaigns are read and chosen from.
    static let labelsMax = 100

    var asked: [String] { labels.flatMap { $0.count <= Self.labelsMax ? $0 : nil } ?? [] }

    var end: Timestamp { zone.start(ofDay: CivilDate(daysSince1970: to)) }

    /// How long the stretches are that rows are added up by before they are put into days: a day in UTC, else a quarter
    /// of an hour, which the days of all time zones are made of.
    var stretch: Int64 { Self.stretch(timezone) }

    static func stretch(_ timezone: String) -> Int64 { timezone == "UTC" ? 86_400_000_000 : 900_000_000 }

    func day(ofStretch number: Int64) -> Int { Int(zone.key(.day, at: number * stretch)) }
}

extension AttributionService {
    /// Sold legs that were not returned, by campaign, currency and day.
    func soldDays(org: String, _ span: ResultSpan) async throws -> [ResultDay] {
        let (any, labels) = (span.asked.isEmpty ? 1 : 0, span.asked)
        let rows = try await database.read("attribution.soldDays", limit: .report) { transaction in
            try transaction.all(
                StretchRow.self,
                """
                SELECT campaign, currency, sold_at / \(span.stretch) AS stretch, SUM(share_ppm) AS share,
                    SUM(amount_minor) AS amount
                FROM attribution_credits
                WHERE org = \(org) AND model = \(span.model.rawValue) AND sold_at >= \(span.start)
                    AND sold_at < \(span.end) AND (\(any) = 1 OR campaign IN (\(list: labels)))
                GROUP BY campaign, currency, stretch
                """)
        }
        return try Self.days(rows, span)
    }

    /// Leads by campaign and day.
    func leadDays(org: String, _ span: ResultSpan) async throws -> [ResultDay] {
        let (any, labels) = (span.asked.isEmpty ? 1 : 0, span.asked)
        let rows = try await database.read("attribution.leadDays", limit: .report) { transaction in
            try transaction.all(
                StretchRow.self,
                """
                SELECT campaign, '' AS currency, lead_at / \(span.stretch) AS stretch, SUM(share_ppm) AS share,
                    0 AS amount
                FROM attribution_leads
                WHERE org = \(org) AND model = \(span.model.rawValue) AND lead_at >= \(span.start)
                    AND lead_at < \(span.end) AND (\(any) = 1 OR campaign IN (\(list: labels)))
                GROUP BY campaign, stretch
                """)
        }
        return try Self.days(rows, span)
    }

    /// Installs that reports count (`CampaignInstalls`), by the campaign of their decision and day.
    func installDays(org: String, _ span: ResultSpan) async throws -> [ResultDay] {
        let (any, labels) = (span.asked.isEmpty ? 1 : 0, span.asked)
        let rows = try await database.read("attribution.installDays", limit: .report) { transaction in
            try transaction.all(
                StretchRow.self,
                """
                SELECT found.campaign AS campaign, '' AS currency, installs.at / \(span.stretch) AS stretch,
                    COUNT(*) * 1000000 AS share, 0 AS amount
                FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                    AND found.event_id = installs.event_id AND found.version = installs.version
                WHERE installs.org = \(org) AND installs.at >= \(span.start) AND installs.at < \(span.end)
                    AND found.verdict <> 'rejected' AND found.is_reinstall = 0 AND found.campaign <> ''
                    AND (\(any) = 1 OR found.campaign IN (\(list: labels)))
                GROUP BY found.campaign, stretch
                """)
        }
        return try Self.days(rows, span)
    }

    private static func days(_ rows: [StretchRow], _ span: ResultSpan) throws(SpendError) -> [ResultDay] {
        struct Place: Hashable {
            let campaign: String
            let currency: String
            let day: Int
        }
        var sums: [Place: (share: Int64, amount: Int64)] = [:]
        let wanted = span.labels.map { Set($0) }
        for row in rows where wanted?.contains(row.campaign) ?? true {
            let place = Place(campaign: row.campaign, currency: row.currency, day: span.day(ofStretch: row.stretch))
            try Figures.add(row.share, to: &sums[place, default: (0, 0)].share)
            try Figures.add(row.amount, to: &sums[place, default: (0, 0)].amount)
        }
        return sums.map { place, sum in
            ResultDay(
                campaign: place.campaign, currency: Currency(place.currency), day: place.day, millionths: sum.share,
                revenueMinor: sum.amount)
        }
    }
}

private struct StretchRow: RowDecodable {
    let campaign: String
    let currency: String
    let stretch: Int64
    let share: Int64
    let amount: Int64

    init(row: Row) throws {
        campaign = try row.get("campaign")
        currency = try row.get("currency")
        stretch = try row.get("stretch")
        share = try row.get("share")
        amount = try row.get("amount")
    }
}
