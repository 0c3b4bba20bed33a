internal import AurumCore
internal import Database
internal import Events
internal import Synchronization

/// The days of one campaign in one currency as stop rules see them.
struct StopLedger: Sendable {
    let place: CampaignPlace
    let timezone: String
    /// The campaign's day that is not over, as days since 1970-01-01.
    let today: Int
    /// The day of the newest sold leg that was not returned, in whatever currency.
    let lastConversion: Int?
    /// Oldest first, one a day, from `StopLedgers.days` before today to today.
    let days: [SpendDay]
}

/// Spend of an organisation as stop rules see it.
struct StopLedgers: Sendable {
    /// Days before today that spend is looked at.
    static let days = 90

    /// The import that was the newest when it was read; nil before the first.
    let head: Int64?
    let names: StopNames
    /// Whether any lead was sold in these days, whatever became of it.
    let sellsLeads: Bool
    let ledgers: [StopLedger]
}

/// What stop rules call campaigns: as reports do, and campaigns that nobody ever came from as their spend does.
struct StopNames: Sendable {
    private let book: CampaignBook
    private var unmatched: [String: String] = [:]

    init(_ book: CampaignBook, _ campaigns: [SpendCampaign]) {
        self.book = book
        for campaign in campaigns where book.name(of: campaign) == nil {
            let label = Self.label(campaign)
            if unmatched[label.lowercased()] == nil { unmatched[label.lowercased()] = label }
        }
    }

    private static func label(_ campaign: SpendCampaign) -> String {
        campaign.name.isEmpty ? campaign.id : campaign.name
    }

    func name(of campaign: SpendCampaign) -> String {
        if let name = book.name(of: campaign) { return name }
        let label = Self.label(campaign)
        return unmatched[label.lowercased()] ?? label
    }

    func name(ofLabel label: String) -> String {
        book.name(ofLabel: label) ?? unmatched[label.lowercased()] ?? label
    }
}

/// Which campaigns are in the log, for some minutes: stop rules ask every half a minute.
final class SightingMemory: Sendable {
    private struct Kept {
        var at: Timestamp
        var sightings: [CampaignBook.Sighting]
    }

    private static let lasts: Duration = .seconds(300)
    /// Up to 10,000 sightings each.
    private static let orgsMax = 16
    private let kept = Mutex<[String: Kept]>([:])

    func sightings(_ org: String, now: Timestamp) -> [CampaignBook.Sighting]? {
        kept.withLock { kept in
            guard let one = kept[org], one.at <= now, now - one.at < Self.lasts else { return nil }
            return one.sightings
        }
    }

    func keep(_ sightings: [CampaignBook.Sighting], _ org: String, now: Timestamp) {
        kept.withLock { kept in
            if kept.count >= Self.orgsMax, kept[org] == nil,
                let oldest = kept.min(by: { $0.value.at < $1.value.at })?.key
            {
                kept[oldest] = nil
            }
            kept[org] = Kept(at: now, sightings: sightings)
        }
    }
}

extension GrowthReports {
    /// - Throws: `QueryError`; database errors.
    func stopLedgers(org: String, _ memory: SightingMemory) async throws -> StopLedgers {
        let now = clock.now
        let utcDay = now.utcDate.daysSince1970
        let head = try await campaigns.spend.head(org: org)
        // Every zone's today is at most a day from that of UTC.
        let rows = try await campaigns.spend.zoneDays(org: org, from: utcDay - StopLedgers.days - 1, to: utcDay + 2)
        guard !rows.isEmpty else {
            return StopLedgers(
                head: head, names: StopNames(CampaignBook([], .campaign, credited: []), []), sellsLeads: false,
                ledgers: [])
        }
        let names = StopNames(try await stopBook(org: org, memory, now: now), rows.map(\.campaign))
        let from = now - .seconds((StopLedgers.days + 2) * 86_400)
        var sold: [String: Timestamp] = [:]
        for one in try await lastSales(org: org, since: from) {
            let name = names.name(ofLabel: one.campaign)
            sold[name] = max(sold[name] ?? one.at, one.at)
        }
        // What was sold and not returned is known by now.
        let sellsLeads = sold.isEmpty ? try await self.sellsLeads(org: org, since: from) : true
        return StopLedgers(
            head: head, names: names, sellsLeads: sellsLeads, ledgers: Self.stopLedgers(rows, names, sold, now: now))
    }

    private static func stopLedgers(
        _ rows: [ZoneSpend], _ names: StopNames, _ sold: [String: Timestamp], now: Timestamp
    ) -> [StopLedger] {
        var spent: [CampaignPlace: [Int: Int64]] = [:]
        var zones: [String: Set<String>] = [:]
        for row in rows {
            let name = names.name(of: row.campaign)
            zones[name, default: []].insert(row.timezone)
            let (sum, isTooLarge) = spent[CampaignPlace(name, row.currency), default: [:]][row.day, default: 0]
                .addingReportingOverflow(row.spendMinor)
            // A sum that no number holds is above every bound.
            spent[CampaignPlace(name, row.currency), default: [:]][row.day] = isTooLarge ? .max : sum
        }
        var clocks: [String: ZoneClock] = [:]
        func clock(_ campaign: String) -> (name: String, zone: ZoneClock)? {
            let wanted = zones[campaign] ?? []
            let name = wanted.count == 1 ? wanted.first ?? "UTC" : "UTC"
            if let known = clocks[name] { return (name, known) }
            if let zone = ZoneClock(name) {
                clocks[name] = zone
                return (name, zone)
            }
            return ZoneClock("UTC").map { ("UTC", $0) }
        }
        return spent.compactMap { place, days in
            guard let (timezone, zone) = clock(place.campaign) else { return nil }
            let today = Int(zone.key(.day, at: now.microseconds))
            let inside = days.filter { $0.key <= today && $0.key >= today - StopLedgers.days }
            return StopLedger(
                place: place, timezone: timezone, today: today,
                lastConversion: sold[place.campaign].map { Int(zone.key(.day, at: $0.microseconds)) },
                days: inside.sorted { $0.key < $1.key }.map {
                    SpendDay(day: $0.key, spendMinor: $0.value, results: 0)
                })
        }
    }

    private func stopBook(org: String, _ memory: SightingMemory, now: Timestamp) async throws -> CampaignBook {
        var sightings = memory.sightings(org, now: now)
        if sightings == nil {
            let fresh = try await campaigns.touches.sightings(org: org, .campaign)
            memory.keep(fresh, org, now: now)
            sightings = fresh
        }
        return CampaignBook(sightings ?? [], .campaign, credited: try await campaigns.credited(org: org))
    }

    private struct LastSale: RowDecodable {
        let campaign: String
        let at: Timestamp

        init(row: Row) throws { (campaign, at) = (try row.get("campaign"), try row.get("last_at")) }
    }

    /// Whether the organisation sold any lead since then, whatever became of it.
    func sellsLeads(org: String, since: Timestamp) async throws -> Bool {
        let model = AdviceQuestion().model
        return try await database.read("growth.sellsLeads", limit: .report) { transaction in
            try transaction.value(
                Int.self,
                """
                SELECT 1 WHERE EXISTS (
                    SELECT 1 FROM attribution_credits
                    WHERE org = \(org) AND model = \(model.rawValue) AND sold_at >= \(since)
                ) OR EXISTS (
                    SELECT 1 FROM attribution_returns
                    WHERE org = \(org) AND model = \(model.rawValue) AND sold_at >= \(since)
                )
                """) != nil
        }
    }

    /// Under the model that advice is asked by unless told.
    private func lastSales(org: String, since: Timestamp) async throws -> [LastSale] {
        let model = AdviceQuestion().model
        return try await database.read("growth.lastSales", limit: .report) { transaction in
            try transaction.all(
                LastSale.self,
                """
                SELECT campaign, MAX(sold_at) AS last_at FROM attribution_credits
                WHERE org = \(org) AND model = \(model.rawValue) AND sold_at >= \(since) AND share_ppm > 0
                GROUP BY campaign
                """)
        }
    }
}

/// Spend of one campaign in one currency on one day, in accounts of one calendar.
struct ZoneSpend: Sendable {
    let campaign: SpendCampaign
    let currency: Currency
    let timezone: String
    let day: Int
    /// `Int64.max` where it is more.
    let spendMinor: Int64
}

extension ZoneSpend: RowDecodable {
    init(row: Row) throws {
        campaign = SpendCampaign(id: try row.get("campaign_id"), name: try row.get("campaign"))
        (currency, timezone, day) = (try row.get("currency"), try row.get("timezone"), try row.get("day"))
        let (high, low): (Int64, Int64) = (try row.get("spend_high"), try row.get("spend_low"))
        do throws(SpendError) { spendMinor = try Figures.joined(high: high, low: low) ?? 0 } catch {
            spendMinor = .max
        }
    }
}

extension SpendStore {
    /// The newest whole import; nil before the first.
    func head(org: String) async throws -> Int64? {
        try await database.read("spend.head") { try Self.head(org: org, in: $0) }
    }

    static func head(org: String, in transaction: Transaction) throws -> Int64? {
        try transaction.value(Int64.self, "SELECT head FROM spend_heads WHERE org = \(org)")
    }

    /// Organisations that ever imported spend.
    func organisations() async throws -> [String] {
        try await database.read("spend.organisations") { transaction in
            try transaction.values(String.self, "SELECT org FROM spend_heads ORDER BY org")
        }
    }

    /// Days with spend, `from` ≤ day < `to`, by campaign, currency and the calendar of the account.
    func zoneDays(org: String, from: Int, to: Int) async throws -> [ZoneSpend] {
        try await database.read("spend.zoneDays", limit: .report) { transaction in
            try transaction.all(
                ZoneSpend.self,
                """
                SELECT lines.campaign_id, lines.campaign, lines.currency,
                    COALESCE(accounts.timezone, 'UTC') AS timezone, sums.day,
                    SUM(spend_high) AS spend_high, SUM(spend_low) AS spend_low
                FROM (
                    SELECT line, day, SUM(spend_minor / 1000000) AS spend_high, SUM(spend_minor % 1000000) AS spend_low
                    FROM spend_rows JOIN spend_heads ON spend_heads.org = spend_rows.org
                    WHERE spend_rows.org = \(org) AND day >= \(from) AND day < \(to) AND from_import <= head
                        AND until_import > head AND spend_minor > 0
                    GROUP BY line, day
                ) AS sums JOIN spend_lines AS lines ON lines.org = \(org) AND lines.line = sums.line
                LEFT JOIN spend_accounts AS accounts ON accounts.org = \(org)
                    AND accounts.network = lines.network AND accounts.account_id = lines.account_id
                GROUP BY lines.campaign_id, lines.campaign, lines.currency, accounts.timezone, sums.day
                ORDER BY lines.campaign_id, lines.campaign, lines.currency, accounts.timezone, sums.day
                """)
        }
    }
}
