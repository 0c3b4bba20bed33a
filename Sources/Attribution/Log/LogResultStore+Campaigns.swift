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
    private let returnedHigh: Int64
    private let returnedLow: Int64

    init(row: Row) throws {
        (model, label, day) = (try row.get("model"), try row.get("label"), try row.get("civil_day"))
        isOrganic = try row.get("is_organic", as: Int64.self) == 1
        isBaseline = false
        (currency, creditPPM) = (try row.get("currency"), try row.get("credit"))
        (high, low) = (try row.get("high"), try row.get("low"))
        (returnedHigh, returnedLow) = (try row.get("returned_high"), try row.get("returned_low"))
    }

    /// What a factor keeps of a sum.
    private init(_ sum: RunCredit, kept row: Row) throws {
        (model, label, day) = (LogModel.dataDriven.name, sum.label, sum.day)
        (isOrganic, isBaseline, currency) = (sum.isOrganic, false, sum.currency)
        creditPPM = try row.get("kept_credit")
        (high, low) = (try row.get("kept_high"), try row.get("kept_low"))
        (returnedHigh, returnedLow) = (try row.get("kept_returned_high"), try row.get("kept_returned_low"))
    }

    /// What is left of a sum beside a part of it.
    private init(_ sum: RunCredit, without kept: RunCredit) {
        (model, label, day) = (kept.model, Credit.baseline, sum.day)
        (isOrganic, isBaseline, currency) = (sum.isOrganic, true, sum.currency)
        creditPPM = sum.creditPPM - kept.creditPPM
        (high, low) = (sum.high - kept.high, sum.low - kept.low)
        (returnedHigh, returnedLow) = (sum.returnedHigh - kept.returnedHigh, sum.returnedLow - kept.returnedLow)
    }

    /// A row that holds a sum and what a factor keeps of it: the kept part, and the rest as the baseline.
    static func parts(_ row: Row) throws -> [RunCredit] {
        let sum = try RunCredit(row: row)
        let kept = try RunCredit(sum, kept: row)
        return [kept, RunCredit(sum, without: kept)].filter { !$0.isNothing }
    }

    private var isNothing: Bool { (creditPPM, high, low, returnedHigh, returnedLow) == (0, 0, 0, 0, 0) }

    /// What there was before refunds.
    /// - Throws: `SpendError.figuresTooLarge`.
    func grossMinor() throws(SpendError) -> Int64 { try Figures.joined(high: high, low: low) ?? 0 }

    /// What refunds left.
    /// - Throws: `SpendError.figuresTooLarge`.
    func netMinor() throws(SpendError) -> Int64 {
        // No more is returned than there was.
        try grossMinor() &- returnedMinor()
    }

    /// What refunds took.
    /// - Throws: `SpendError.figuresTooLarge`.
    func returnedMinor() throws(SpendError) -> Int64 {
        try Figures.joined(high: returnedHigh, low: returnedLow) ?? 0
    }
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
                    CAST(SUM(amount_minor % 1000000) AS BIGINT) AS low,
                    CAST(SUM(returned_minor / 1000000) AS BIGINT) AS returned_high,
                    CAST(SUM(returned_minor % 1000000) AS BIGINT) AS returned_low
                FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model IN (\(list: models))
                    AND day >= \(from) AND day < \(to)
                GROUP BY model, label, civil_day, is_organic, currency
                """)
        }
    }
}
