package import AurumCore
package import Database
internal import Events

/// What sums of spend are divided by below the campaign: columns of `spend_lines`.
package enum SpendPart: String, Sendable {
    case adGroup = "ad_group_id"
    case creative = "creative_id"
}

/// Sums of imported spend of one campaign.
package struct SpendSum: Sendable, Equatable {
    package var campaign: SpendCampaign
    package var network: String
    /// The ad group or creative, as the file writes it; empty where it does not, and unless asked for.
    package var part: String
    package var currency: Currency
    /// Days since 1970-01-01; nil unless asked for by day.
    package var day: Int?
    package var figures: SpendFigures
}

/// One imported row.
package struct StoredSpend: Sendable, Equatable {
    package var date: CivilDate
    package var line: SpendLine
    package var figures: SpendFigures
}

/// Which rows a list of spend is about.
package struct SpendFilter: Sendable {
    package var from: CivilDate?
    /// Not included.
    package var to: CivilDate?
    package var network: String?
    package var limit = 1000
    /// As an answer's `next` said.
    package var after: SpendPageMark?

    package init() {}
}

/// The last row of a page, and the import that was the newest on the first one: all pages are of the same rows.
package struct SpendPageMark: Sendable, Equatable {
    var head: Int64
    var day: Int
    var line: String

    init(head: Int64, day: Int, line: String) { (self.head, self.day, self.line) = (head, day, line) }

    /// nil for a text that no answer gave.
    package init?(_ text: String) {
        guard let parts = JSONValue(sqlValue: .text(text))?.array, parts.count == 3, let head = parts[0].integer,
            let day = parts[1].integer.flatMap({ Int32(exactly: $0) }), let line = parts[2].string,
            !text.utf8.contains(0)
        else { return nil }
        self.init(head: head, day: Int(day), line: line.storable)
    }

    package var text: String { JSONValue.array([.integer(head), .integer(Int64(day)), .string(line)]).canonical }
}

/// Rows of a list of spend.
package struct SpendPage: Sendable {
    package var rows: [StoredSpend]
    /// nil at the end.
    package var next: SpendPageMark?
}

extension SpendStore {
    package static let listMax = 100_000

    // Sums are made of millions and of what is below a million: the sum of a column as it stands may be more than 64
    // bits hold, which one engine answers with an error and the other with another number.

    /// Sums by campaign, network, currency and `part`, for days with `from` ≤ day < `to`.
    /// - Throws: `SpendError.figuresTooLarge`; database errors.
    package func sums(
        org: String, from: Int, to: Int, byDay: Bool, part: SpendPart? = nil
    ) async throws -> [SpendSum] {
        let flag = byDay ? 1 : 0
        let part = part?.rawValue ?? ""
        return try await database.read("spend.sums", limit: .report) { transaction in
            try transaction.all(
                SpendSum.self,
                """
                SELECT lines.campaign_id, lines.campaign, lines.network, lines.currency, lines.part, sums.bucket,
                    SUM(spend_high) AS spend_high, SUM(spend_low) AS spend_low,
                    SUM(impressions_high) AS impressions_high, SUM(impressions_low) AS impressions_low,
                    SUM(clicks_high) AS clicks_high, SUM(clicks_low) AS clicks_low,
                    SUM(conversions_high) AS conversions_high, SUM(conversions_low) AS conversions_low,
                    SUM(value_high) AS value_high, SUM(value_low) AS value_low
                FROM (
                    SELECT line, CASE WHEN \(flag) = 1 THEN day ELSE NULL END AS bucket,
                        SUM(spend_minor / 1000000) AS spend_high, SUM(spend_minor % 1000000) AS spend_low,
                        SUM(impressions / 1000000) AS impressions_high, SUM(impressions % 1000000) AS impressions_low,
                        SUM(clicks / 1000000) AS clicks_high, SUM(clicks % 1000000) AS clicks_low,
                        SUM(conversions_millionths / 1000000) AS conversions_high,
                        SUM(conversions_millionths % 1000000) AS conversions_low,
                        SUM(value_minor / 1000000) AS value_high, SUM(value_minor % 1000000) AS value_low
                    FROM spend_rows JOIN spend_heads ON spend_heads.org = spend_rows.org
                    WHERE spend_rows.org = \(org) AND day >= \(from) AND day < \(to) AND from_import <= head
                        AND until_import > head
                    GROUP BY line, bucket
                ) AS sums JOIN (
                    SELECT line, campaign_id, campaign, network, currency,
                        CASE \(part) WHEN 'ad_group_id' THEN ad_group_id WHEN 'creative_id' THEN creative_id
                            ELSE '' END AS part
                    FROM spend_lines WHERE org = \(org)
                ) AS lines ON lines.line = sums.line
                GROUP BY lines.campaign_id, lines.campaign, lines.network, lines.currency, lines.part, sums.bucket
                ORDER BY lines.campaign_id, lines.campaign, lines.network, lines.currency, lines.part, sums.bucket
                """)
        }
    }

    /// Every campaign that an import ever named.
    func campaigns(org: String) async throws -> [SpendCampaign] {
        try await database.read("spend.campaigns", limit: .report) { transaction in
            try transaction.all(
                SpendCampaign.self, "SELECT DISTINCT campaign_id, campaign FROM spend_lines WHERE org = \(org)")
        }
    }

    /// Sums of these campaigns by day, network and currency, for days with `from` ≤ day < `to`. A line that has the id
    /// of one campaign and the name of another may be among them: look at the campaign of each sum.
    func days(org: String, from: Int, to: Int, _ campaigns: [SpendCampaign]) async throws -> [SpendSum] {
        let (names, ids) = (Set(campaigns.map(\.name)), Set(campaigns.map(\.id)))
        return try await database.read("spend.days", limit: .report) { transaction in
            try transaction.all(
                SpendSum.self,
                """
                SELECT lines.campaign_id, lines.campaign, lines.network, lines.currency, '' AS part, day AS bucket,
                    SUM(spend_minor / 1000000) AS spend_high, SUM(spend_minor % 1000000) AS spend_low,
                    SUM(impressions / 1000000) AS impressions_high, SUM(impressions % 1000000) AS impressions_low,
                    SUM(clicks / 1000000) AS clicks_high, SUM(clicks % 1000000) AS clicks_low,
                    SUM(conversions_millionths / 1000000) AS conversions_high,
                    SUM(conversions_millionths % 1000000) AS conversions_low,
                    SUM(value_minor / 1000000) AS value_high, SUM(value_minor % 1000000) AS value_low
                FROM spend_rows JOIN spend_heads ON spend_heads.org = spend_rows.org
                JOIN spend_lines AS lines ON lines.org = spend_rows.org AND lines.line = spend_rows.line
                WHERE spend_rows.org = \(org) AND day >= \(from) AND day < \(to) AND from_import <= head
                    AND until_import > head AND lines.campaign IN (\(list: names.sorted()))
                    AND lines.campaign_id IN (\(list: ids.sorted()))
                GROUP BY lines.campaign_id, lines.campaign, lines.network, lines.currency, day
                """)
        }
    }

    /// The rows of one table for a page, in its order.
    private static func part(org: String, _ filter: SpendFilter, head: Int64) -> SQLStatement {
        let from = filter.from?.daysSince1970 ?? Int(Int32.min)
        let to = filter.to?.daysSince1970 ?? Int(Int32.max)
        let network = filter.network?.lowercased() ?? ""
        let (isFirst, last) = (filter.after == nil ? 1 : 0, filter.after?.day ?? Int(Int32.max))
        return """
            JOIN spend_lines AS names ON names.org = shown.org AND names.line = shown.line
            WHERE shown.org = \(org) AND day >= \(from) AND day < \(to) AND day <= \(last) AND from_import <= \(head)
                AND until_import > \(head) AND (\(network) = '' OR names.network = \(network))
                AND (\(isFirst) = 1 OR day < \(last) OR shown.line > \(filter.after?.line ?? ""))
            ORDER BY day DESC, shown.line LIMIT \(filter.limit + 1)
            """
    }

    /// Imported rows, newest days first, a page at a time. What is imported meanwhile is on no later page, and what it
    /// replaces still is.
    package func page(org: String, _ filter: SpendFilter) async throws -> SpendPage {
        try await database.read("spend.rows", limit: .report) { transaction in
            guard let newest = try Self.head(org: org, in: transaction) else { return SpendPage(rows: []) }
            // Nothing of an import that is not whole yet is ever shown.
            let head = min(filter.after?.head ?? newest, newest)
            let part = Self.part(org: org, filter, head: head)
            let found = try transaction.all(
                MarkedSpend.self,
                """
                SELECT found.day AS day, found.line AS line, lines.network, lines.account_id, lines.campaign_id,
                    lines.campaign, lines.ad_group_id, lines.creative_id, lines.country, lines.currency, spend_minor,
                    impressions, clicks, conversions_millionths, value_minor
                FROM (
                    SELECT * FROM (
                        SELECT day, shown.line AS line, spend_minor, impressions, clicks, conversions_millionths,
                            value_minor
                        FROM spend_rows AS shown \(part: part)
                    ) AS present
                    UNION ALL SELECT * FROM (
                        SELECT day, shown.line AS line, spend_minor, impressions, clicks, conversions_millionths,
                            value_minor
                        FROM spend_replaced AS shown \(part: part)
                    ) AS former
                ) AS found
                JOIN spend_lines AS lines ON lines.org = \(org) AND lines.line = found.line
                ORDER BY day DESC, found.line LIMIT \(filter.limit + 1)
                """)
            let rows = found.prefix(filter.limit)
            let next = found.count > rows.count ? rows.last : nil
            return SpendPage(
                rows: rows.map(\.row),
                next: next.map { SpendPageMark(head: head, day: $0.row.date.daysSince1970, line: $0.line) })
        }
    }

    /// The calendar that all accounts share; UTC where they have none or differ.
    package func timezone(org: String) async throws -> (name: String, isMixed: Bool) {
        let names = try await database.read("spend.timezones") { transaction in
            try transaction.values(
                String.self, "SELECT DISTINCT timezone FROM spend_accounts WHERE org = \(org) ORDER BY timezone LIMIT 2"
            )
        }
        return names.count == 1 ? (names[0], false) : ("UTC", names.count > 1)
    }
}

extension SpendFigures {
    fileprivate init(sums row: Row) throws {
        func sum(_ name: String) throws -> Int64? {
            try Figures.joined(high: try row.optional("\(name)_high"), low: try row.optional("\(name)_low"))
        }
        self.init(
            spendMinor: try sum("spend") ?? 0, impressions: try sum("impressions"), clicks: try sum("clicks"),
            conversionsMillionths: try sum("conversions"), valueMinor: try sum("value"))
    }

    fileprivate init(row: Row) throws {
        self.init(
            spendMinor: try row.get("spend_minor"), impressions: try row.optional("impressions"),
            clicks: try row.optional("clicks"), conversionsMillionths: try row.optional("conversions_millionths"),
            valueMinor: try row.optional("value_minor"))
    }
}

extension SpendCampaign: RowDecodable {
    package init(row: Row) throws {
        self.init(id: try row.get("campaign_id"), name: try row.get("campaign"))
    }
}

extension SpendSum: RowDecodable {
    package init(row: Row) throws {
        self.init(
            campaign: SpendCampaign(id: try row.get("campaign_id"), name: try row.get("campaign")),
            network: try row.get("network"), part: try row.get("part"), currency: try row.get("currency"),
            day: try row.optional("bucket"), figures: try SpendFigures(sums: row))
    }
}

private struct MarkedSpend: RowDecodable {
    let line: String
    let row: StoredSpend

    init(row: Row) throws { (line, self.row) = (try row.get("line"), try StoredSpend(row: row)) }
}

extension StoredSpend: RowDecodable {
    package init(row: Row) throws {
        self.init(
            date: CivilDate(daysSince1970: try row.get("day")),
            line: SpendLine(
                network: try row.get("network"), accountID: try row.get("account_id"),
                campaignID: try row.get("campaign_id"), campaign: try row.get("campaign"),
                adGroupID: try row.get("ad_group_id"), creativeID: try row.get("creative_id"),
                country: try row.get("country"), currency: try row.get("currency")),
            figures: try SpendFigures(row: row))
    }
}
