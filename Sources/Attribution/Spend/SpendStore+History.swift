package import AurumCore
internal import Database

/// Spend as it stood: imports write down when they became visible, and what they replace is kept aside.
extension SpendStore {
    /// How long replaced rows are kept.
    package static let historyKept: Duration = .seconds(400 * 86_400)

    /// The moment from which on spend can be told as it stood; nil when that is so for every moment.
    package func knownSince(org: String) async throws -> Timestamp? {
        try await database.read("spend.knownSince") { transaction in try Self.knownSince(org, transaction) }
    }

    private static func knownSince(_ org: String, _ transaction: Transaction) throws -> Timestamp? {
        let since = try transaction.value(
            Timestamp.self, "SELECT history_since FROM spend_heads WHERE org = \(org)")
        return since.flatMap { $0.microseconds > 0 ? $0 : nil }
    }

    /// Sums as `sums(org:from:to:byDay:part:)` gave them at a moment; nil when what was replaced since is not known.
    /// - Throws: `SpendError.figuresTooLarge`; database errors.
    package func sums(
        org: String, from: Int, to: Int, byDay: Bool, part: SpendPart? = nil, asOf: Timestamp
    ) async throws -> [SpendSum]? {
        let flag = byDay ? 1 : 0
        let part = part?.rawValue ?? ""
        return try await database.read("spend.sumsAsOf", limit: .report) { transaction in
            let head =
                try transaction.value(
                    Int64.self,
                    """
                    SELECT COALESCE(MAX(import_number), 0) FROM spend_imports
                    WHERE org = \(org) AND created_at <= \(asOf)
                    """) ?? 0
            let sums = try transaction.all(
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
                    FROM (
                        SELECT day, line, spend_minor, impressions, clicks, conversions_millionths, value_minor
                        FROM spend_rows
                        WHERE org = \(org) AND day >= \(from) AND day < \(to) AND from_import <= \(head)
                            AND until_import > \(head)
                        UNION ALL
                        SELECT day, line, spend_minor, impressions, clicks, conversions_millionths, value_minor
                        FROM spend_replaced
                        WHERE org = \(org) AND day >= \(from) AND day < \(to) AND from_import <= \(head)
                            AND until_import > \(head)
                    ) AS held
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
            // Looked at last: whoever forgets rows says so first.
            if let since = try Self.knownSince(org, transaction), asOf < since { return nil }
            return sums
        }
    }

    /// Puts rows aside that nobody sees any more, a day at a time, and forgets what was put aside long ago.
    func moveReplaced(_ org: String, head: Int64) async throws {
        let days = try await database.read("spend.replacedDays", limit: .report) { transaction in
            try transaction.values(
                Int64.self,
                """
                SELECT DISTINCT day FROM spend_rows
                WHERE org = \(org) AND until_import <= \(head) AND until_import < 9223372036854775807
                """)
        }
        for day in days {
            try await database.write("spend.moveReplaced") { transaction in
                try transaction.run(
                    """
                    INSERT INTO spend_replaced (org, day, line, from_import, until_import, spend_minor, impressions,
                        clicks, conversions_millionths, value_minor, created_at, replaced_at)
                    SELECT org, day, line, from_import, until_import, spend_minor, impressions, clicks,
                        conversions_millionths, value_minor, created_at, \(transaction.now)
                    FROM spend_rows WHERE org = \(org) AND day = \(day) AND until_import <= \(head)
                    ON CONFLICT (org, day, line, from_import) DO NOTHING
                    """)
                try transaction.run(
                    "DELETE FROM spend_rows WHERE org = \(org) AND day = \(day) AND until_import <= \(head)")
            }
        }
        try await forgetReplaced(org, before: clock.now - Self.historyKept)
    }

    private func forgetReplaced(_ org: String, before bound: Timestamp) async throws {
        let days = try await database.read("spend.forgettableDays", limit: .report) { transaction in
            try transaction.values(
                Int64.self,
                "SELECT DISTINCT day FROM spend_replaced WHERE org = \(org) AND replaced_at < \(bound)")
        }
        guard !days.isEmpty else { return }
        // First, so that no report takes what is left for all there was.
        try await database.write("spend.forget") { transaction in
            try transaction.run(
                """
                UPDATE spend_heads SET history_since = \(bound) WHERE org = \(org) AND history_since < \(bound)
                """)
            try transaction.run(
                """
                DELETE FROM spend_imports WHERE org = \(org) AND import_number < (
                    SELECT MAX(import_number) FROM spend_imports WHERE org = \(org) AND created_at <= \(bound))
                """)
        }
        for day in days {
            try await database.write("spend.forgetReplaced") { transaction in
                try transaction.run(
                    "DELETE FROM spend_replaced WHERE org = \(org) AND day = \(day) AND replaced_at < \(bound)")
            }
        }
    }
}
