internal import AurumCore
internal import Database
internal import Events

extension GrowthReports {
    /// Members, spend and what members earned, by the period of their first lead or sale and where it came from.
    /// - Throws: `SpendError.unknownTimeZone`; `QueryError`; database errors.
    package func cohorts(org: String, _ question: CohortQuestion) async throws -> CohortReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let days = Self.days(question, calendar)
            let book = try await campaigns.book(org: org, question.dimension)
            let sums = try await campaigns.spend.sums(org: org, from: days.from, to: days.to, byDay: true)
            let networks = CampaignReports.networks(sums, book)
            var desk = CohortDesk(question, calendar, networks.names)
            for sum in sums { desk.add(sum, Pieces.key(sum, question.dimension, networks.book)) }
            for row in try await cohortRows(org: org, question, calendar, days) { desk.add(row) }
            return CohortReport(
                question: question, lines: desk.lines, from: CivilDate(daysSince1970: days.from),
                to: CivilDate(daysSince1970: days.to), timezone: calendar.timezone,
                isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
        }
    }

    /// Whole periods: a cohort that was cut would look small.
    private static func days(_ question: CohortQuestion, _ calendar: Calendar) -> (from: Int, to: Int) {
        let period = question.period
        func start(_ day: Int) -> Int {
            let moment = calendar.zone.start(ofDay: CivilDate(daysSince1970: day))
            return Int(calendar.zone.key(period.bucket, at: moment.microseconds))
        }
        let from = start(question.from?.daysSince1970 ?? calendar.today - question.days + 1)
        let last = max(from, (question.to?.daysSince1970 ?? calendar.today + 1) - 1)
        return (from, period.next(after: start(last)))
    }

    private func cohortRows(
        org: String, _ question: CohortQuestion, _ calendar: Calendar, _ days: (from: Int, to: Int)
    ) async throws -> [CohortRow] {
        let span = ResultSpan(
            model: question.model, campaign: nil, from: days.from, to: days.to, zone: calendar.zone,
            timezone: calendar.timezone)
        let (kind, model, dimension) = (question.on.kind.rawValue, question.model.rawValue, question.dimension.rawValue)
        let day: Int64 = 86_400_000_000
        return try await database.read("growth.cohorts", limit: .report) { transaction in
            try transaction.all(
                CohortRow.self,
                """
                WITH ranked AS (
                    SELECT item, person, at AS entered,
                        ROW_NUMBER() OVER (PARTITION BY person ORDER BY at, item) AS place
                    FROM attribution_people WHERE org = \(org) AND kind = \(kind)
                ), placed AS (
                    SELECT person, entered, entered / \(span.stretch) AS stretch,
                        CASE \(dimension)
                            WHEN 'source' THEN COALESCE(leads.source, sold.source, back.source, '(none)')
                            WHEN 'medium' THEN COALESCE(leads.medium, sold.medium, back.medium, '(none)')
                            WHEN 'channel' THEN COALESCE(leads.channel, sold.channel, back.channel, 'organic')
                            ELSE COALESCE(leads.campaign, sold.campaign, back.campaign, '(organic)') END AS label
                    FROM ranked
                    LEFT JOIN attribution_leads AS leads
                        ON leads.org = \(org) AND leads.lead = item AND leads.model = \(model)
                    LEFT JOIN attribution_credits AS sold
                        ON sold.org = \(org) AND sold.leg = item AND sold.model = \(model)
                    LEFT JOIN attribution_returns AS back
                        ON back.org = \(org) AND back.leg = item AND back.model = \(model)
                    WHERE place = 1 AND entered >= \(span.start) AND entered < \(span.end)
                )
                SELECT label, stretch, '' AS currency, COUNT(*) AS size, 0 AS day1, 0 AS day7, 0 AS day30,
                    0 AS lifetime
                FROM placed GROUP BY label, stretch
                UNION ALL
                SELECT label, stretch, paid.currency, 0,
                    SUM(CASE WHEN paid.sold_at - entered < \(day) THEN paid.amount_minor ELSE 0 END),
                    SUM(CASE WHEN paid.sold_at - entered < \(7 * day) THEN paid.amount_minor ELSE 0 END),
                    SUM(CASE WHEN paid.sold_at - entered < \(30 * day) THEN paid.amount_minor ELSE 0 END),
                    SUM(paid.amount_minor)
                FROM placed
                JOIN attribution_people AS sales
                    ON sales.org = \(org) AND sales.kind = 'sale' AND sales.person = placed.person
                JOIN attribution_credits AS paid
                    ON paid.org = \(org) AND paid.leg = sales.item AND paid.model = \(model)
                WHERE paid.sold_at >= entered
                GROUP BY label, stretch, paid.currency
                """)
        }
    }
}

/// Puts rows of spend and members together by period, key and currency.
private struct CohortDesk {
    private struct Place: Hashable {
        let start: Int
        let key: String
        let currency: Currency
    }

    private struct Group: Hashable {
        let start: Int
        let key: String
    }

    private let question: CohortQuestion
    private let calendar: GrowthReports.Calendar
    private let networks: [String: String]
    private var found: [Place: CohortLine] = [:]
    private var sizes: [Group: Int64] = [:]
    private var uses: [Currency: Int] = [:]

    init(_ question: CohortQuestion, _ calendar: GrowthReports.Calendar, _ networks: [String: String]) {
        (self.question, self.calendar, self.networks) = (question, calendar, networks)
    }

    private func line(_ place: Place) -> CohortLine {
        let end = calendar.zone.start(ofDay: CivilDate(daysSince1970: question.period.next(after: place.start)))
        return CohortLine(
            start: CivilDate(daysSince1970: place.start), key: place.key, currency: place.currency,
            revenueMinor: CohortReport.horizons.map { _ in 0 },
            isMature: CohortReport.horizons.map { end + .seconds($0 * 86_400) <= calendar.now })
    }

    private func start(of moment: Int64) -> Int { Int(calendar.zone.key(question.period.bucket, at: moment)) }

    mutating func add(_ sum: SpendSum, _ key: String) {
        let day = calendar.zone.start(ofDay: CivilDate(daysSince1970: sum.day ?? 0))
        let place = Place(start: start(of: day.microseconds), key: key, currency: sum.currency)
        let empty = line(place)
        found[place, default: empty].spendMinor += sum.figures.spendMinor
        uses[sum.currency, default: 0] += 1
    }

    mutating func add(_ row: CohortRow) {
        let start = start(of: row.stretch * ResultSpan.stretch(calendar.timezone))
        let key = question.dimension == .network ? networks[row.label] ?? Credit.none : row.label
        guard let currency = Currency(row.currency) else {
            sizes[Group(start: start, key: key), default: 0] += row.size
            return
        }
        let place = Place(start: start, key: key, currency: currency)
        var line = found[place] ?? line(place)
        for (index, revenue) in row.revenue.enumerated() { line.revenueMinor[index] += revenue }
        line.lifetimeMinor += row.lifetime
        found[place] = line
        uses[currency, default: 0] += 1
    }

    /// Newest first; members stand on every currency of their key, and on one line where it has none.
    var lines: [CohortLine] {
        var lines = found
        let main = uses.max { ($0.value, $1.key.code) < ($1.value, $0.key.code) }?.key ?? .usd
        let known = Dictionary(grouping: found.keys) { Group(start: $0.start, key: $0.key) }
        for (group, size) in sizes {
            for currency in known[group]?.map(\.currency) ?? [main] {
                let place = Place(start: group.start, key: group.key, currency: currency)
                let empty = line(place)
                lines[place, default: empty].size += size
            }
        }
        return lines.values.sorted { one, other in
            if one.start != other.start { return other.start < one.start }
            return (other.size, other.spendMinor, one.key, one.currency.code)
                < (one.size, one.spendMinor, other.key, other.currency.code)
        }
    }
}

private struct CohortRow: RowDecodable {
    let label: String
    let stretch: Int64
    /// Empty for a count of members.
    let currency: String
    let size: Int64
    /// By the place of the horizon.
    let revenue: [Int64]
    let lifetime: Int64

    init(row: Row) throws {
        label = try row.get("label")
        stretch = try row.get("stretch")
        currency = try row.get("currency")
        size = try row.get("size")
        revenue = [try row.get("day1"), try row.get("day7"), try row.get("day30")]
        lifetime = try row.get("lifetime")
    }
}
