package import AurumCore
internal import Database
package import Events

/// What a report of the running server's credits is asked.
package struct CreditQuestion: Sendable {
    /// What revenue is added up by.
    package enum Dimension: String, Sendable, CaseIterable {
        case campaign, source, medium, channel, network
        case adGroup = "ad_group"
        case creative, keyword, publisher
        case day, week, month, buyer

        /// The stretch of time that is a key, if one is.
        var bucket: TimeBucket? {
            switch self {
            case .day: .day
            case .week: .week
            case .month: .month
            case .campaign, .source, .medium, .channel, .network, .adGroup, .creative, .keyword, .publisher, .buyer:
                nil
            }
        }

        /// Whether spend, touches and leads can have a key: only sales have a buyer.
        var isOfSalesOnly: Bool { self == .buyer }

        /// Whether the ad of a touch says the key.
        var isOfAds: Bool { [.adGroup, .creative, .keyword, .publisher].contains(self) }

        /// Whether spend can have a key: files of spend name no keywords and publishers.
        var isSpentOn: Bool { ![.buyer, .keyword, .publisher].contains(self) }

        /// Whether the results of runs over the log have the key.
        package var isOfRuns: Bool { [.campaign, .channel, .network, .day, .week, .month].contains(self) }

        /// What spend is divided by below the campaign, if it is.
        var spendPart: SpendPart? { self == .adGroup ? .adGroup : self == .creative ? .creative : nil }
    }

    package var models: [CreditModel]
    package var dimension: Dimension
    /// Sales and leads at or after this moment; nil for no bound.
    package var from: Timestamp?
    /// Sales and leads before this moment; nil for no bound.
    package var to: Timestamp?
    /// Whose days are meant.
    package var zone: ZoneClock?
    /// The network of a campaign; `Credit.none` for those that are not named.
    package var networks: [String: String] = [:]
    /// The campaigns of labels that are other ways to write them.
    package var campaigns: [String: String] = [:]
    /// Only what was stored by this moment counts, and what was taken back later still counts; nil: now.
    package var asOf: Timestamp?

    package init(models: [CreditModel], dimension: Dimension, from: Timestamp? = nil, to: Timestamp? = nil) {
        (self.models, self.dimension, self.from, self.to) = (models, dimension, from, to)
    }
}

/// One line of a report: what sales and leads of one key came to under one model.
package struct CreditLine: Sendable, Equatable {
    package let model: LogModel
    /// The campaign, source, medium, channel, network, name of the ad, buyer, or first day of a stretch of time.
    package let key: String
    /// nil for what has no currency: leads, and conversions of a run over the log without a value.
    package let currency: Currency?
    /// Sales that give the line any credit.
    package var sales = 0
    /// Shares of sales, in millionths of one.
    package var salesMillionths: Int64 = 0
    /// Booked, what was returned taken out.
    package var revenueMinor: Int64 = 0
    /// The part of it whose return window has passed.
    package var recognisedMinor: Int64 = 0
    package var returnedMinor: Int64 = 0
    /// Shares of leads, in millionths of one.
    package var leadsMillionths: Int64 = 0
    /// Some of the shares were worked out from money: those of sales that an earlier release took back.
    package var isEstimated = false
    /// The part of it that an earlier release stored, which kept no ads; nothing where the report is not by these.
    package var unrecorded = UnrecordedCredit()

    init(model: LogModel, key: String, currency: Currency?) {
        (self.model, self.key, self.currency) = (model, key, currency)
    }
}

/// Credit that an earlier release stored: what its touches said of their ads was not kept.
package struct UnrecordedCredit: Sendable, Equatable {
    /// Shares of sales and of leads, in millionths of one.
    package var salesMillionths: Int64 = 0
    package var leadsMillionths: Int64 = 0
    package var returnedMinor: Int64 = 0

    package init(salesMillionths: Int64 = 0, leadsMillionths: Int64 = 0, returnedMinor: Int64 = 0) {
        (self.salesMillionths, self.leadsMillionths) = (salesMillionths, leadsMillionths)
        self.returnedMinor = returnedMinor
    }

    mutating func add(_ other: UnrecordedCredit) throws(SpendError) {
        try Figures.add(other.salesMillionths, to: &salesMillionths)
        try Figures.add(other.leadsMillionths, to: &leadsMillionths)
        try Figures.add(other.returnedMinor, to: &returnedMinor)
    }
}

extension AttributionService {
    /// Revenue and leads under the models asked for, largest revenue first within each; every model adds up to the
    /// same revenue. Of now, it reads what has changed since this process was last asked for the like.
    /// - Throws: `SpendError.figuresTooLarge`; database errors.
    package func report(org: String, _ question: CreditQuestion) async throws -> [CreditLine] {
        let sums = sums
        guard question.asOf == nil, try await sums.isTrusted(database) else {
            return try await wholeReport(org: org, question)
        }
        let found = try await database.read("attribution.sums", limit: .report) { transaction in
            try sums.sums(org, question, in: transaction)
        }
        var lines = CreditLines(question)
        for one in found {
            for (line, sum) in one.parts {
                try lines.add(
                    line.kind, sum, LogModel.rule(one.model), lines.key(line), line.currency,
                    isUnrecorded: line.label == nil)
            }
        }
        return lines.sorted
    }

    /// The same by reading every fact of the range.
    private func wholeReport(org: String, _ question: CreditQuestion) async throws -> [CreditLine] {
        var lines = CreditLines(question)
        // A sale counts once for each network, however many of its campaigns it touched, and once for each campaign, in
        // however many ways its touches write it.
        var counted = Set<[String]>()
        for row in try await reportRows(org, question) {
            guard let model = LogModel(name: row.model) else { continue }
            let label = lines.key(row.label, quarter: row.quarter)
            var sum = FactSum(
                sales: Int64(row.units), amount: row.amount, share: row.share, recognised: row.recognised)
            if row.kind == "sale", let unit = row.unit,
                !counted.insert([row.model, label, row.currency, unit.hex]).inserted
            {
                sum.sales = 0
            }
            let kind: CreditFact = row.kind == "sale" ? .sale : row.kind == "return" ? .returned : .lead
            try lines.add(
                kind, sum, model, label, row.currency, isUnrecorded: row.label == nil, isEstimated: row.estimated > 0)
        }
        return lines.sorted
    }

    private func reportRows(_ org: String, _ question: CreditQuestion) async throws -> [ReportRow] {
        let from = question.from ?? Timestamp(microseconds: 0)
        let to = question.to ?? Timestamp(microseconds: .max)
        let models = question.models.map(\.rawValue)
        let asOf = question.asOf ?? Timestamp(microseconds: .max)
        let dimension = question.dimension.rawValue
        let isOfAds = question.dimension.isOfAds ? 1 : 0
        let isJoined = question.dimension == .campaign && !question.campaigns.isEmpty
        let hasUnits = isJoined || question.dimension == .network ? 1 : 0
        return try await database.read("attribution.report", limit: .report) { transaction in
            try transaction.all(
                ReportRow.self,
                """
                WITH facts AS (
                    SELECT 'sale' AS kind, model, known.leg AS id, campaign, source, medium, channel, currency,
                        amount_minor, share_ppm, sold_at AS moment,
                        CASE WHEN done.leg IS NULL THEN 0 ELSE amount_minor END AS recognised_minor,
                        0 AS is_estimated, ad
                    FROM attribution_credits AS known LEFT JOIN attribution_recognised AS done
                        ON done.org = \(org) AND done.leg = known.leg AND done.created_at <= \(asOf)
                    WHERE known.org = \(org) AND model IN (\(list: models)) AND sold_at >= \(from)
                        AND sold_at < \(to) AND known.created_at <= \(asOf)
                    UNION ALL
                    SELECT 'sale', model, leg, campaign, source, medium, channel, currency, amount_minor, share_ppm,
                        sold_at, CASE WHEN recognised_at <= \(asOf) THEN amount_minor ELSE 0 END, is_estimated, ad
                    FROM attribution_returns
                    WHERE org = \(org) AND model IN (\(list: models)) AND sold_at >= \(from) AND sold_at < \(to)
                        AND COALESCE(credited_at, sold_at) <= \(asOf) AND returned_at > \(asOf)
                    UNION ALL
                    SELECT 'return', model, leg, campaign, source, medium, channel, currency, amount_minor, 0, sold_at,
                        0, 0, ad
                    FROM attribution_returns
                    WHERE org = \(org) AND model IN (\(list: models)) AND sold_at >= \(from) AND sold_at < \(to)
                        AND returned_at <= \(asOf)
                    UNION ALL \(part: Self.olderFacts(org, models, from: from, to: to, asOf: asOf)) UNION ALL
                    SELECT 'lead', model, lead, campaign, source, medium, channel, '', 0, share_ppm, lead_at, 0, 0,
                        ad
                    FROM attribution_leads
                    WHERE org = \(org) AND model IN (\(list: models)) AND lead_at >= \(from) AND lead_at < \(to)
                        AND created_at <= \(asOf)
                ), labelled AS (
                    SELECT kind, model, currency, id, amount_minor, share_ppm, recognised_minor, is_estimated,
                        CASE WHEN \(isOfAds) = 1 THEN
                            CASE WHEN campaign = \(Credit.organic) THEN campaign
                                WHEN ad = \(CreditedAds.noKey) THEN ''
                                ELSE (
                                    SELECT CASE \(dimension) WHEN 'ad_group' THEN ad_group
                                        WHEN 'creative' THEN creative WHEN 'keyword' THEN keyword
                                        ELSE publisher END
                                    FROM attribution_ads AS ads WHERE ads.org = \(org) AND ads.ad = facts.ad)
                            END
                        ELSE
                            CASE \(dimension) WHEN 'campaign' THEN campaign WHEN 'network' THEN campaign
                                WHEN 'source' THEN source WHEN 'medium' THEN medium WHEN 'channel' THEN channel
                                WHEN 'buyer' THEN COALESCE(
                                    (SELECT buyer FROM legs WHERE legs.org = \(org) AND legs.id = facts.id), '(none)')
                                ELSE '' END
                        END AS label,
                        CASE WHEN \(dimension) IN ('day', 'week', 'month') THEN moment / 900000000 ELSE 0 END
                            AS quarter,
                        CASE WHEN \(hasUnits) = 1 THEN id ELSE NULL END AS unit
                    FROM facts
                )
                SELECT kind, model, currency, label, quarter, unit, COUNT(DISTINCT id) AS units,
                    SUM(amount_minor) AS amount, SUM(share_ppm) AS share, SUM(recognised_minor) AS recognised,
                    SUM(is_estimated) AS estimated
                FROM labelled GROUP BY kind, model, currency, label, quarter, unit
                """)
        }
    }
}

/// The lines of a report as they come together.
struct CreditLines {
    private let question: CreditQuestion
    private let zone: ZoneClock?
    private var lines: [LineKey: CreditLine] = [:]
    /// By quarters of an hour.
    private var days: [Int64: String] = [:]
    private static let quarterMicroseconds: Int64 = 900_000_000

    init(_ question: CreditQuestion) {
        self.question = question
        zone = question.zone ?? ZoneClock("UTC")
    }

    /// The key of rows with a label, or of a quarter of an hour.
    mutating func key(_ label: String?, quarter: Int64) -> String {
        switch question.dimension {
        case .day, .week, .month: day(quarter)
        case .network: label.flatMap { question.networks[$0] } ?? Credit.none
        case .campaign: label.map { question.campaigns[$0] ?? $0 } ?? Credit.none
        case .source, .medium, .channel, .buyer: label ?? Credit.none
        case .adGroup, .creative, .keyword, .publisher: AdNames.label(label)
        }
    }

    /// The key of a kept sum, whose label is that of its campaign or network already.
    mutating func key(_ line: SumTree.Line) -> String {
        switch question.dimension {
        case .network, .campaign: line.label ?? Credit.none
        case .day, .week, .month, .source, .medium, .channel, .buyer, .adGroup, .creative, .keyword, .publisher:
            key(line.label, quarter: line.quarter)
        }
    }

    private mutating func day(_ quarter: Int64) -> String {
        if let known = days[quarter] { return known }
        // All time zones keep to quarters of an hour.
        let moment = quarter * Self.quarterMicroseconds
        let day =
            zone?.key(question.dimension.bucket ?? .day, at: moment) ?? moment / (96 * Self.quarterMicroseconds)
        let text = CivilDate(daysSince1970: Int(day)).description
        days[quarter] = text
        return text
    }

    /// - Parameter isUnrecorded: an earlier release kept no label.
    mutating func add(
        _ kind: CreditFact, _ sum: FactSum, _ model: LogModel, _ label: String, _ currency: String,
        isUnrecorded: Bool, isEstimated: Bool = false
    ) throws(SpendError) {
        let key = LineKey(model: model, label: label, currency: currency)
        var line = lines[key] ?? CreditLine(model: model, key: label, currency: Currency(currency))
        switch kind {
        case .sale:
            try Figures.add(sum.share, to: &line.salesMillionths)
            try Figures.add(sum.amount, to: &line.revenueMinor)
            try Figures.add(sum.recognised, to: &line.recognisedMinor)
            line.isEstimated = line.isEstimated || isEstimated
            line.sales += Int(sum.sales)
        case .returned: try Figures.add(sum.amount, to: &line.returnedMinor)
        case .lead: try Figures.add(sum.share, to: &line.leadsMillionths)
        }
        if question.dimension.isOfAds, isUnrecorded {
            let unrecorded =
                switch kind {
                case .sale: UnrecordedCredit(salesMillionths: sum.share)
                case .returned: UnrecordedCredit(returnedMinor: sum.amount)
                case .lead: UnrecordedCredit(leadsMillionths: sum.share)
                }
            try line.unrecorded.add(unrecorded)
        }
        lines[key] = line
    }

    /// By models as they were asked for, largest revenue first.
    var sorted: [CreditLine] {
        let order = Dictionary(
            question.models.enumerated().map { (LogModel.rule($1), $0) }, uniquingKeysWith: { first, _ in first })
        return lines.values.sorted { one, other in
            let ranks = (order[one.model] ?? 0, order[other.model] ?? 0)
            if ranks.0 != ranks.1 { return ranks.0 < ranks.1 }
            return (other.revenueMinor, one.key, one.currency?.code ?? "")
                < (one.revenueMinor, other.key, other.currency?.code ?? "")
        }
    }
}

private struct LineKey: Hashable {
    let model: LogModel
    let label: String
    let currency: String
}

private struct ReportRow: RowDecodable {
    let kind: String
    let model: String
    let currency: String
    /// nil where an earlier release did not keep it.
    let label: String?
    let quarter: Int64
    let unit: UID?
    let units: Int
    let amount: Int64
    let share: Int64
    let recognised: Int64
    let estimated: Int64

    init(row: Row) throws {
        kind = try row.get("kind")
        model = try row.get("model")
        currency = try row.get("currency")
        label = try row.optional("label")
        quarter = try row.get("quarter")
        unit = try row.optional("unit")
        units = try row.get("units")
        amount = try row.get("amount")
        share = try row.get("share")
        recognised = try row.get("recognised")
        estimated = try row.get("estimated")
    }
}
