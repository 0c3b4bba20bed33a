internal import AurumCore
internal import Database
internal import Events

/// What campaign reports count of installs: those that were decided, under the campaign of the decision that holds.
/// Installs that were rejected as fraud, and those on a device that had the app before, bring nobody anything. One that
/// waits for its decision counts once it has one, so that the table of installs and the report say the same.
struct CampaignInstalls: Sendable {
    let database: Database

    /// Keys that are counted, those of most installs.
    private static let keysMax = 10_000
    private static let quarterMicroseconds: Int64 = 900_000_000

    /// Installs by key, and whether there are more keys than were counted.
    /// - Parameter asOf: decisions that held then; nil: now.
    func counts(
        org: String, _ dimension: CreditQuestion.Dimension, _ range: CampaignReports.Range, _ book: CampaignBook,
        asOf: Timestamp? = nil
    ) async throws -> (byKey: [String: Int64], isCut: Bool) {
        if dimension.isOfSalesOnly { return ([:], false) }
        let isOfTime = dimension.bucket != nil
        let statement = Self.statement(
            org: org, dimension, from: range.from ?? Timestamp(microseconds: .min),
            to: range.to ?? Timestamp(microseconds: .max), asOf: asOf,
            // Stretches of time are as many as there are, and become few days.
            most: isOfTime ? .max : Self.keysMax + 1)
        let rows = try await database.read("attribution.installCounts", limit: .report) { transaction in
            try transaction.all(InstallCount.self, statement)
        }
        let isCut = !isOfTime && rows.count > Self.keysMax
        var counts: [String: Int64] = [:]
        for row in isCut ? rows.prefix(Self.keysMax) : rows[...] {
            counts[Self.key(row, dimension, book, range.zone), default: 0] += row.count
        }
        return (counts, isCut)
    }

    private static func key(
        _ row: InstallCount, _ dimension: CreditQuestion.Dimension, _ book: CampaignBook, _ zone: ZoneClock
    ) -> String {
        let label = row.label.isEmpty ? nil : row.label
        switch dimension {
        case .day, .week, .month:
            let day = zone.key(dimension.bucket ?? .day, at: row.quarter * quarterMicroseconds)
            return CivilDate(daysSince1970: Int(day)).description
        case .campaign: return row.isOrganic ? Credit.organic : label.map { book.key(ofLabel: $0) } ?? Credit.none
        // A decision keeps neither: an install goes where most events of its campaign belong, as spend does.
        case .source, .medium, .network:
            return label.flatMap { book.value(of: book.key(ofLabel: $0), dimension) } ?? Credit.none
        case .channel: return row.isOrganic ? "organic" : label ?? Credit.none
        case .adGroup, .creative, .keyword, .publisher:
            return row.isOrganic ? Credit.organic : AdNames.label(label)
        case .buyer: return Credit.none
        }
    }

    /// Which part of a decision is the label: a column, or a member of its text.
    private static func part(_ dimension: CreditQuestion.Dimension) -> (column: String, member: String) {
        switch dimension {
        case .campaign, .source, .medium, .network: ("campaign", "")
        case .channel: ("channel", "")
        case .adGroup, .creative, .publisher: ("", dimension.rawValue)
        case .day, .week, .month, .keyword, .buyer: ("", "")
        }
    }

    private static func statement(
        org: String, _ dimension: CreditQuestion.Dimension, from: Timestamp, to: Timestamp, asOf: Timestamp?,
        most: Int
    ) -> SQLStatement {
        let (column, member) = part(dimension)
        let (isOfTime, isNow) = (dimension.bucket == nil ? 0 : 1, asOf == nil ? 1 : 0)
        let asOf = asOf ?? Timestamp(microseconds: .max)
        let label: SQLStatement = """
            SELECT CASE WHEN found.method = 'organic' THEN 1 ELSE 0 END AS is_organic,
                CASE \(column) WHEN 'campaign' THEN found.campaign WHEN 'channel' THEN found.channel
                    ELSE CASE WHEN \(member) = '' THEN '' ELSE COALESCE(
            """
        let rest: SQLStatement = """
            , '') END END AS label,
                CASE WHEN \(isOfTime) = 1 THEN installs.at / 900000000 ELSE 0 END AS quarter, COUNT(*) AS counted
            FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                AND found.event_id = installs.event_id AND found.version = CASE WHEN \(isNow) = 1
                    THEN installs.version
                    ELSE (SELECT MAX(held.version) FROM install_decisions AS held WHERE held.org = installs.org
                        AND held.app = installs.app AND held.event_id = installs.event_id
                        AND held.decided_at <= \(asOf)) END
            WHERE installs.org = \(org) AND installs.at >= \(from) AND installs.at < \(to)
                AND found.verdict <> 'rejected' AND found.is_reinstall = 0
            GROUP BY is_organic, label, quarter ORDER BY counted DESC, label LIMIT \(most)
            """
        return .dialect(
            sqlite: "\(part: label) json_extract(found.body, '$.' || \(member)) \(part: rest)",
            postgres: "\(part: label) CAST(found.body AS JSONB) ->> CAST(\(member) AS TEXT) \(part: rest)")
    }
}

private struct InstallCount: RowDecodable, Sendable {
    let isOrganic: Bool
    /// Empty where the decision says nothing.
    let label: String
    let quarter: Int64
    let count: Int64

    init(row: Row) throws {
        isOrganic = try row.get("is_organic", as: Int64.self) == 1
        label = try row.get("label")
        quarter = try row.get("quarter")
        count = try row.get("counted")
    }
}
