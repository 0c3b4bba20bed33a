internal import AurumCore
internal import Database
internal import Events

extension GrowthReports {
    /// Members, spend and what members earned, by the period of their first lead or sale and where it came from.
    /// - Throws: `GrowthError.badRange`; `SpendError.unknownTimeZone`, `SpendError.figuresTooLarge`; `QueryError`;
    ///   database errors.
    package func cohorts(org: String, _ question: CohortQuestion) async throws -> CohortReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let days = try Self.days(question, calendar)
            let book = try await campaigns.book(org: org, question.dimension)
            let sums = try await campaigns.spend.sums(org: org, from: days.from, to: days.to, byDay: true)
            let networks = try CampaignReports.networks(sums, book)
            var desk = CohortDesk(question, calendar) { label in
                switch question.dimension {
                case .campaign: book.name(ofLabel: label) ?? label
                case .network: networks.names[book.name(ofLabel: label) ?? label] ?? Credit.none
                case .source, .medium, .channel, .adGroup, .creative, .keyword, .publisher, .day, .week, .month, .buyer:
                    label
                }
            }
            for sum in sums { try desk.add(sum, Pieces.key(sum, question.dimension, networks.book)) }
            for row in try await cohortRows(org: org, question, calendar, days) { try desk.add(row) }
            let averages = try desk.averages()
            return CohortReport(
                question: question, lines: try desk.lines(), averages: averages.averages,
                isAveragesCut: averages.isCut, from: CivilDate(daysSince1970: days.from),
                to: CivilDate(daysSince1970: days.to), timezone: calendar.timezone,
                isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
        }
    }

    /// Whole periods: a cohort that was cut would look small.
    private static func days(
        _ question: CohortQuestion, _ calendar: Calendar
    ) throws(GrowthError) -> (from: Int, to: Int) {
        let period = question.period
        func start(_ day: Int) -> Int {
            let moment = calendar.zone.start(ofDay: CivilDate(daysSince1970: day))
            return Int(calendar.zone.key(period.bucket, at: moment.microseconds))
        }
        let to = question.to?.daysSince1970 ?? calendar.today + 1
        let from = question.from?.daysSince1970 ?? to - question.days
        guard from < to else { throw .badRange(name: "to", detail: "must be after from.") }
        guard to - from <= CampaignQuestion.daysMax else {
            throw .badRange(name: "to", detail: "must be at most \(CampaignQuestion.daysMax) days after from.")
        }
        return (start(from), period.next(after: start(to - 1)))
    }

    private func cohortRows(
        org: String, _ question: CohortQuestion, _ calendar: Calendar, _ days: (from: Int, to: Int)
    ) async throws -> [CohortRow] {
        let span = ResultSpan(
            model: question.model, labels: nil, from: days.from, to: days.to, zone: calendar.zone,
            timezone: calendar.timezone)
        let (kind, model, dimension) = (question.on.kind.rawValue, question.model.rawValue, question.dimension.rawValue)
        let day: Int64 = 86_400_000_000
        return try await database.read("growth.cohorts", limit: .report) { transaction in
            try transaction.all(
                CohortRow.self,
                """
                WITH firsts AS (
                    SELECT item, person, at AS entered FROM attribution_people AS known
                    WHERE known.org = \(org) AND known.kind = \(kind) AND known.at >= \(span.start)
                        AND known.at < \(span.end) AND NOT EXISTS (
                            SELECT 1 FROM attribution_people AS earlier
                            WHERE earlier.org = \(org) AND earlier.kind = \(kind) AND earlier.person = known.person
                                AND (earlier.at, earlier.item) < (known.at, known.item))
                ), placed AS (
                    SELECT person, entered, entered / \(span.stretch) AS stretch,
                        CASE \(dimension)
                            WHEN 'source' THEN COALESCE(leads.source, sold.source, back.source, '(none)')
                            WHEN 'medium' THEN COALESCE(leads.medium, sold.medium, back.medium, '(none)')
                            WHEN 'channel' THEN COALESCE(leads.channel, sold.channel, back.channel, 'organic')
                            ELSE COALESCE(leads.campaign, sold.campaign, back.campaign, '(organic)') END AS label
                    FROM firsts
                    LEFT JOIN attribution_leads AS leads
                        ON leads.org = \(org) AND leads.lead = item AND leads.model = \(model)
                    LEFT JOIN attribution_credits AS sold
                        ON sold.org = \(org) AND sold.leg = item AND sold.model = \(model)
                    LEFT JOIN attribution_returns AS back
                        ON back.org = \(org) AND back.leg = item AND back.model = \(model)
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
    /// The key of what credits call `label`.
    private let key: (String) -> String
    private var found: [Place: CohortLine] = [:]
    private var sizes: [Group: Int64] = [:]
    private var uses: [Currency: Int] = [:]

    init(_ question: CohortQuestion, _ calendar: GrowthReports.Calendar, key: @escaping (String) -> String) {
        (self.question, self.calendar, self.key) = (question, calendar, key)
    }

    private func isMature(_ start: Int) -> [Bool] {
        let end = calendar.zone.start(ofDay: CivilDate(daysSince1970: question.period.next(after: start)))
        return CohortReport.horizons.map { end + .seconds($0 * 86_400) <= calendar.now }
    }

    private func line(_ place: Place) -> CohortLine {
        CohortLine(
            start: CivilDate(daysSince1970: place.start), key: place.key, currency: place.currency,
            revenueMinor: CohortReport.horizons.map { _ in 0 }, isMature: isMature(place.start))
    }

    private func start(of moment: Int64) -> Int { Int(calendar.zone.key(question.period.bucket, at: moment)) }

    mutating func add(_ sum: SpendSum, _ key: String) throws(SpendError) {
        let day = calendar.zone.start(ofDay: CivilDate(daysSince1970: sum.day ?? 0))
        let place = Place(start: start(of: day.microseconds), key: key, currency: sum.currency)
        let empty = line(place)
        try Figures.add(sum.figures.spendMinor, to: &found[place, default: empty].spendMinor)
        uses[sum.currency, default: 0] += 1
    }

    mutating func add(_ row: CohortRow) throws(SpendError) {
        let start = start(of: row.stretch * ResultSpan.stretch(calendar.timezone))
        let key = key(row.label)
        guard let currency = Currency(row.currency) else {
            return try Figures.add(row.size, to: &sizes[Group(start: start, key: key), default: 0])
        }
        let place = Place(start: start, key: key, currency: currency)
        var line = found[place] ?? line(place)
        for (index, revenue) in row.revenue.enumerated() { try Figures.add(revenue, to: &line.revenueMinor[index]) }
        try Figures.add(row.lifetime, to: &line.lifetimeMinor)
        found[place] = line
        uses[currency, default: 0] += 1
    }

    /// The currency of keys that have none: that of most rows.
    private var main: Currency { uses.max { ($0.value, $1.key.code) < ($1.value, $0.key.code) }?.key ?? .usd }

    /// Newest first; members stand on every currency of their period and key, and where it has none on one line of the
    /// key's first currency.
    func lines() throws(SpendError) -> [CohortLine] {
        var lines = found
        let main = main
        let known = Dictionary(grouping: found.keys) { Group(start: $0.start, key: $0.key) }
        let firsts = Dictionary(found.keys.map { ($0.key, $0.currency) }) { $0.code < $1.code ? $0 : $1 }
        for (group, size) in sizes {
            for currency in known[group]?.map(\.currency) ?? [firsts[group.key] ?? main] {
                let place = Place(start: group.start, key: group.key, currency: currency)
                let empty = line(place)
                try Figures.add(size, to: &lines[place, default: empty].size)
            }
        }
        return lines.values.sorted { one, other in
            if one.start != other.start { return other.start < one.start }
            return (other.size, other.spendMinor, one.key, one.currency.code)
                < (one.size, one.spendMinor, other.key, other.currency.code)
        }
    }

    /// Sums over mature cohorts, of the keys with most members and of all.
    func averages() throws(SpendError) -> (averages: [CohortReport.AverageKey: [CohortAverage]], isCut: Bool) {
        let none = CohortReport.horizons.map { _ in CohortAverage() }
        var members: [String: Int64] = [:]
        // What an average of any currency begins with: cohorts and members, the nil key for all.
        var bases: [String?: [CohortAverage]] = [nil: none]
        for group in Set(sizes.keys).union(found.keys.map { Group(start: $0.start, key: $0.key) }) {
            let (size, isMature) = (sizes[group] ?? 0, isMature(group.start))
            try Figures.add(size, to: &members[group.key, default: 0])
            for key in [nil, group.key] {
                var base = bases[key] ?? none
                for place in none.indices where isMature[place] {
                    base[place].cohorts += 1
                    try Figures.add(size, to: &base[place].size)
                }
                bases[key] = base
            }
        }
        let largest = members.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(CohortReport.averagedKeysMax)
        let kept = Set(largest.map(\.key))
        var answer: [CohortReport.AverageKey: [CohortAverage]] = [:]
        for (place, line) in found {
            for key in [nil, place.key] where key.map({ kept.contains($0) }) ?? true {
                let name = CohortReport.AverageKey(key: key, currency: place.currency)
                var averages = answer[name] ?? bases[key] ?? none
                for horizon in none.indices where line.isMature[horizon] {
                    try averages[horizon].add(spendMinor: line.spendMinor, revenueMinor: line.revenueMinor[horizon])
                }
                answer[name] = averages
            }
        }
        let paid = Set(found.keys.map(\.key))
        for key in kept where !paid.contains(key) {
            answer[CohortReport.AverageKey(key: key, currency: main)] = bases[key] ?? none
        }
        if found.isEmpty, !members.isEmpty {
            answer[CohortReport.AverageKey(key: nil, currency: main)] = bases[nil] ?? none
        }
        return (answer, members.count > kept.count)
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
