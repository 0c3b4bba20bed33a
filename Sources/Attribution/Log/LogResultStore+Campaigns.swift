internal import AurumCore
internal import Database

/// Credit of a result as campaign reports ask for it.
struct RunCredit: RowDecodable, Sendable {
    let model: String
    /// The campaign or channel; empty under stretches of time.
    let label: String
    /// Days since 1970, UTC; 0 unless the report is by time.
    let day: Int
    /// No touch led to the conversions.
    let isOrganic: Bool
    /// Experiments say that no advertising brought it.
    let isBaseline: Bool
    /// Empty where the conversions have no value.
    let currency: String
    let creditPPM: Int64
    private let high: Int64
    private let low: Int64

    init(row: Row) throws {
        (model, label, day) = (try row.get("model"), try row.get("label"), try row.get("civil_day"))
        isOrganic = try row.get("is_organic", as: Int64.self) == 1
        isBaseline = false
        (currency, creditPPM) = (try row.get("currency"), try row.get("credit"))
        (high, low) = (try row.get("high"), try row.get("low"))
    }

    /// One of two parts of a sum.
    init(_ sum: RunCredit, isBaseline: Bool, creditPPM: Int64, high: Int64, low: Int64) {
        (model, label, day) = (LogModel.dataDriven.name, isBaseline ? Credit.baseline : sum.label, sum.day)
        (isOrganic, self.isBaseline, currency) = (sum.isOrganic, isBaseline, sum.currency)
        (self.creditPPM, self.high, self.low) = (creditPPM, high, low)
    }

    /// This sum as what is kept of it, and the rest.
    func divided(creditPPM kept: Int64, high keptHigh: Int64, low keptLow: Int64) -> [RunCredit] {
        let parts = [
            RunCredit(self, isBaseline: false, creditPPM: kept, high: keptHigh, low: keptLow),
            RunCredit(
                self, isBaseline: true, creditPPM: creditPPM - kept, high: high - keptHigh, low: low - keptLow),
        ]
        return parts.filter { ($0.creditPPM, $0.high, $0.low) != (0, 0, 0) }
    }

    /// - Throws: `SpendError.figuresTooLarge`.
    func amountMinor() throws(SpendError) -> Int64 { try Figures.joined(high: high, low: low) ?? 0 }
}

extension LogResultStore {
    /// Credits by model, key and currency, those of conversions without a touch apart.
    /// - Parameters:
    ///   - dimension: one that results have; a network is asked for as its campaigns.
    ///   - from: the first day, since 1970.
    ///   - to: the day that days lie before.
    func credits(
        _ head: LogResultHead, org: String, models: [String], by dimension: CreditQuestion.Dimension, from: Int,
        to: Int
    ) async throws -> [RunCredit] {
        let (name, version, isOfTime) = (head.conversion, head.version, dimension.bucket == nil ? 0 : 1)
        let column = isOfTime == 1 ? "" : dimension == .channel ? "channel" : "campaign"
        return try await database.read("attribution.runCredits", limit: .report) { transaction in
            try transaction.all(
                RunCredit.self,
                """
                SELECT model, CASE \(column) WHEN 'campaign' THEN campaign WHEN 'channel' THEN channel ELSE '' END
                        AS label,
                    CASE WHEN \(isOfTime) = 1 THEN day ELSE 0 END AS civil_day,
                    CASE WHEN channel = 'organic' THEN 1 ELSE 0 END AS is_organic, currency,
                    CAST(SUM(credit_ppm) AS BIGINT) AS credit,
                    CAST(SUM(amount_minor / 1000000) AS BIGINT) AS high,
                    CAST(SUM(amount_minor % 1000000) AS BIGINT) AS low
                FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model IN (\(list: models))
                    AND day >= \(from) AND day < \(to)
                GROUP BY model, label, civil_day, is_organic, currency
                """)
        }
    }
}
