internal import AurumCore
internal import Events

/// What the event log counts of one key, and how many installs were decided for it.
struct TouchCounts: Sendable, Equatable {
    var clicks: Int64 = 0
    var impressions: Int64 = 0
    var installs: Int64 = 0
    /// Sessions that came with a campaign, a source or a click id.
    var visits: Int64 = 0

    static func += (one: inout TouchCounts, other: TouchCounts) {
        one.clicks += other.clicks
        one.impressions += other.impressions
        one.installs += other.installs
        one.visits += other.visits
    }
}

/// Questions to the event log that a campaign report asks.
struct CampaignTouches: Sendable {
    let engine: QueryEngine

    private static let rowsMax = 10_000
    private static let name = ColumnName("campaign.name")
    private static let id = ColumnName("campaign.id")
    private static let type = ColumnName("type")

    private static func types(_ names: EventType...) -> EventCondition {
        .isIn(type, names.map { .text($0.name) })
    }

    private static let cameFromSomewhere = EventCondition.or(
        ["campaign.name", "campaign.id", "campaign.source", "click_id"].map { .exists(ColumnName($0)) })

    /// Every campaign that ever was in an event, those with most events first.
    func sightings(
        org: String, _ dimension: CreditQuestion.Dimension, asOf: Timestamp? = nil
    ) async throws(QueryError) -> [CampaignBook.Sighting] {
        var query = EventQuery()
        query.receivedUntil = asOf
        query.filter = .or([.exists(Self.name), .exists(Self.id)])
        query.groupBy = [Self.name, Self.id]
        let column = Self.column(of: dimension)
        if let column { query.groupBy.append(column) }
        query.limit = Self.rowsMax
        return try await engine.answer(query, org: org).rows.map { row in
            CampaignBook.Sighting(
                name: row[0].text, id: row[1].text, value: column == nil ? nil : row[2].text,
                events: row.last?.whole ?? 0)
        }
    }

    /// Clicks, impressions and visits by key, and whether the log has more keys than were counted.
    func counts(
        org: String, _ dimension: CreditQuestion.Dimension, from: Timestamp?, to: Timestamp?, timezone: String,
        _ book: CampaignBook, asOf: Timestamp? = nil
    ) async throws(QueryError) -> (byKey: [String: TouchCounts], isCut: Bool) {
        if dimension.isOfSalesOnly { return ([:], false) }
        var query = EventQuery()
        query.receivedUntil = asOf
        (query.from, query.to, query.timezone, query.limit) = (from, to, timezone, Self.rowsMax)
        switch dimension {
        case .campaign, .network: query.groupBy = [Self.name, Self.id]
        case .day, .week, .month: query.bucket = dimension.bucket
        case .source, .medium, .channel, .buyer: query.groupBy = Self.column(of: dimension).map { [$0] } ?? []
        case .adGroup, .creative, .keyword, .publisher: query.groupBy = Self.adColumns(of: dimension)
        }
        var visits = query
        query.groupBy.append(Self.type)
        query.filter = Self.types(.click, .impression)
        visits.filter = .and([Self.types(.page, .screen, .open), Self.cameFromSomewhere])
        visits.measures = [QueryMeasure(.unique(.session))]
        var answer: [String: TouchCounts] = [:]
        let touches = try await engine.answer(query, org: org)
        for row in touches.rows {
            let key = Self.key(row, dimension, book)
            let count = row.last?.whole ?? 0
            switch row.dropLast().last?.text.flatMap({ EventType(name: $0) }) {
            case .click: answer[key, default: TouchCounts()].clicks += count
            case .impression: answer[key, default: TouchCounts()].impressions += count
            default: continue
            }
        }
        let sessions = try await engine.answer(visits, org: org)
        for row in sessions.rows {
            answer[Self.key(row, dimension, book), default: TouchCounts()].visits += row.last?.whole ?? 0
        }
        return (answer, touches.isTruncated || sessions.isTruncated)
    }

    private static func key(
        _ row: [QueryValue], _ dimension: CreditQuestion.Dimension, _ book: CampaignBook
    ) -> String {
        switch dimension {
        case .campaign: (row[0].text ?? row[1].text).map { book.key(ofLabel: $0) } ?? Credit.none
        case .network:
            (row[0].text ?? row[1].text).flatMap { book.value(of: book.key(ofLabel: $0), .network) } ?? Credit.none
        case .source, .medium, .channel, .day, .week, .month, .buyer: row[0].text ?? Credit.none
        case .adGroup, .publisher: AdNames.label(row[0].text)
        case .creative, .keyword: AdNames.label(row[0].text ?? row[1].text)
        }
    }

    private static func column(of dimension: CreditQuestion.Dimension) -> ColumnName? {
        switch dimension {
        case .campaign, .adGroup, .creative, .keyword, .publisher, .day, .week, .month, .buyer: nil
        case .channel: .channel
        case .source, .medium, .network: ColumnName("campaign.\(dimension.rawValue)")
        }
    }

    /// Where events say what `Campaign.ad` says, what counts first first.
    private static func adColumns(of dimension: CreditQuestion.Dimension) -> [ColumnName] {
        let names: [String] =
            switch dimension {
            case .adGroup: ["ad_group_id"]
            case .creative: ["creative_id", "content"]
            case .keyword: ["keyword", "term"]
            case .publisher: ["publisher_id"]
            case .campaign, .source, .medium, .channel, .network, .day, .week, .month, .buyer: []
            }
        return names.map { ColumnName("campaign.\($0)") }
    }
}

extension QueryValue {
    var text: String? { if case .text(let text) = self { text } else { nil } }

    var whole: Int64 {
        switch self {
        case .integer(let value): value
        case .number(let value): value.magnitude < 9e18 ? Int64(value) : 0
        case .null, .text, .money: 0
        }
    }
}
