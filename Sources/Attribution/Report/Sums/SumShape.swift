internal import AurumCore
internal import Database

/// What sums are by: questions of one shape share them, whatever their range and their time zone.
struct SumShape: Hashable, Sendable {
    enum Labels: Hashable, Sendable {
        /// Quarters of an hour, which the days of every time zone are made of.
        case quarters
        case column(CreditQuestion.Dimension)
        /// Campaigns, or their networks, by a digest of what labels of touches are called: a sale counts once for
        /// each, however many of its labels it touched.
        case campaigns(String)
        case networks(String)
    }

    let org: String
    let model: CreditModel
    let labels: Labels

    init(_ org: String, _ model: CreditModel, _ labels: Labels) {
        (self.org, self.model, self.labels) = (org, model, labels)
    }

    /// Bytes that it takes, nearly.
    var bytes: Int { org.utf8.count + 64 }

    /// Whether each sale must be told apart.
    private var hasUnits: Bool {
        switch labels {
        case .quarters, .column: false
        case .campaigns, .networks: true
        }
    }

    /// Whether what was found of a kind of fact can be another tomorrow without any change of credit: a leg whose
    /// row is missing gets its buyer when it comes.
    func isPassing(_ kind: CreditFact, _ label: String?) -> Bool {
        labels == .column(.buyer) && kind != .lead && label == Credit.none
    }

    /// All facts of now from one moment to before another, added up.
    func rows(from: Int64, to: Int64) -> SQLStatement {
        let (unit, grouped): (SQLStatement, SQLStatement) = hasUnits ? ("leg", ", leg") : ("NULL", "")
        let (leg, lead): (SQLStatement, SQLStatement) = ("known.leg", "known.lead")
        let (sold, led): (SQLStatement, SQLStatement) =
            labels == .quarters ? ("sold_at / 900000000", "lead_at / 900000000") : ("0", "0")
        return """
            SELECT 0, label, currency, quarter, \(part: unit), COUNT(DISTINCT leg), SUM(amount_minor), SUM(share_ppm),
                SUM(recognised_minor), COUNT(*)
            FROM (
                SELECT \(part: label(of: leg)) AS label, currency, \(part: sold) AS quarter, known.leg AS leg,
                    amount_minor, share_ppm, CASE WHEN done.leg IS NULL THEN 0 ELSE amount_minor END AS recognised_minor
                FROM attribution_credits AS known LEFT JOIN attribution_recognised AS done
                    ON done.org = \(org) AND done.leg = known.leg
                WHERE known.org = \(org) AND model = \(model.rawValue) AND sold_at >= \(from) AND sold_at < \(to)
            ) AS sales GROUP BY label, currency, quarter\(part: grouped)
            UNION ALL
            SELECT 1, label, currency, quarter, NULL, 0, SUM(amount_minor), 0, 0, COUNT(*)
            FROM (
                SELECT \(part: label(of: leg)) AS label, currency, \(part: sold) AS quarter, amount_minor
                FROM attribution_returns AS known
                WHERE known.org = \(org) AND model = \(model.rawValue) AND sold_at >= \(from) AND sold_at < \(to)
            ) AS returns GROUP BY label, currency, quarter
            UNION ALL
            SELECT 2, label, '', quarter, NULL, 0, 0, SUM(share_ppm), 0, COUNT(*)
            FROM (
                SELECT \(part: label(of: lead)) AS label, \(part: led) AS quarter, share_ppm
                FROM attribution_leads AS known
                WHERE known.org = \(org) AND model = \(model.rawValue) AND lead_at >= \(from) AND lead_at < \(to)
            ) AS leads GROUP BY label, quarter
            """
    }

    private func label(of item: SQLStatement) -> SQLStatement {
        switch labels {
        case .quarters: "''"
        case .campaigns, .networks: "campaign"
        case .column(let dimension):
            switch dimension {
            case .campaign, .network: "campaign"
            case .source: "source"
            case .medium: "medium"
            case .channel: "channel"
            case .buyer:
                """
                COALESCE(
                    (SELECT buyer FROM legs WHERE legs.org = \(org) AND legs.id = \(part: item)), \(Credit.none))
                """
            case .adGroup: ad("ad_group")
            case .creative: ad("creative")
            case .keyword: ad("keyword")
            case .publisher: ad("publisher")
            case .day, .week, .month: "''"
            }
        }
    }

    private func ad(_ column: SQLStatement) -> SQLStatement {
        """
        CASE WHEN campaign = \(Credit.organic) THEN campaign WHEN known.ad = \(CreditedAds.noKey) THEN ''
            ELSE (SELECT \(part: column) FROM attribution_ads AS ads WHERE ads.org = \(org) AND ads.ad = known.ad) END
        """
    }

    /// How many facts there are from one moment to before another, counted no further than `limit` of each table.
    func count(from: Int64, to: Int64, limit: Int) -> SQLStatement {
        """
        SELECT (
            SELECT COUNT(*) FROM (
                SELECT 1 FROM attribution_credits
                WHERE org = \(org) AND model = \(model.rawValue) AND sold_at >= \(from) AND sold_at < \(to)
                LIMIT \(limit)) AS sales
        ) + (
            SELECT COUNT(*) FROM (
                SELECT 1 FROM attribution_returns
                WHERE org = \(org) AND model = \(model.rawValue) AND sold_at >= \(from) AND sold_at < \(to)
                LIMIT \(limit)) AS returns
        ) + (
            SELECT COUNT(*) FROM (
                SELECT 1 FROM attribution_leads
                WHERE org = \(org) AND model = \(model.rawValue) AND lead_at >= \(from) AND lead_at < \(to)
                LIMIT \(limit)) AS leads
        )
        """
    }

    /// The first and the last moment of any fact.
    var ends: SQLStatement {
        """
        SELECT MIN(sold_at) FROM attribution_credits WHERE org = \(org) AND model = \(model.rawValue)
        UNION ALL SELECT MAX(sold_at) FROM attribution_credits WHERE org = \(org) AND model = \(model.rawValue)
        UNION ALL SELECT MIN(sold_at) FROM attribution_returns WHERE org = \(org) AND model = \(model.rawValue)
        UNION ALL SELECT MAX(sold_at) FROM attribution_returns WHERE org = \(org) AND model = \(model.rawValue)
        UNION ALL SELECT MIN(lead_at) FROM attribution_leads WHERE org = \(org) AND model = \(model.rawValue)
        UNION ALL SELECT MAX(lead_at) FROM attribution_leads WHERE org = \(org) AND model = \(model.rawValue)
        """
    }
}

/// A row of `SumShape.rows`.
struct SumRow: RowDecodable {
    let kind: CreditFact
    let label: String?
    let currency: String
    let quarter: Int64
    let unit: UID?
    let sum: FactSum
    let facts: Int

    init(row: Row) throws {
        kind = CreditFact(rawValue: UInt8(truncatingIfNeeded: try row.number(at: 0))) ?? .lead
        label = String(sqlValue: try row.value(at: 1))
        currency = String(sqlValue: try row.value(at: 2)) ?? ""
        quarter = try row.number(at: 3)
        unit = UID(sqlValue: try row.value(at: 4))
        sum = FactSum(
            sales: try row.number(at: 5), amount: try row.number(at: 6), share: try row.number(at: 7),
            recognised: try row.number(at: 8))
        facts = Int(try row.number(at: 9))
    }
}
