internal import AurumCore
internal import Database

/// Some rows of a file on their way into the tables. They travel as one JSON text a statement, which costs a server one
/// round trip where a row each would cost thousands.
struct SpendChunk: Sendable {
    struct Item: Sendable {
        let row: SpendRow
        let line: String
    }

    let items: [Item]
    /// Lines that no chunk before this one had.
    let lines: [(id: String, line: SpendLine)]

    init(_ file: SpendFile, _ range: Range<Int>, _ writtenLines: inout Set<Int32>) {
        var lines: [(String, SpendLine)] = []
        items = file.rows[range].map { row in
            let id = file.lineIDs[Int(row.line)]
            if writtenLines.insert(row.line).inserted { lines.append((id, file.lines[Int(row.line)])) }
            return Item(row: row, line: id)
        }
        self.lines = lines
    }

    /// `[[n, day, line, spend, impressions, clicks, conversions, value], …]` of the rows at `places`.
    func json(_ places: some Sequence<Int>) -> String {
        func number(_ value: Int64?) -> String { value.map { String($0) } ?? "null" }
        let rows = places.map { place -> String in
            let (row, figures) = (items[place].row, items[place].row.figures)
            // A line is 32 hex digits: nothing to escape.
            return "[\(place),\(row.day),\"\(items[place].line)\",\(figures.spendMinor),\(number(figures.impressions)),"
                + "\(number(figures.clicks)),\(number(figures.conversionsMillionths)),\(number(figures.valueMinor))]"
        }
        return "[" + rows.joined(separator: ",") + "]"
    }

    var linesJSON: String {
        let rows = lines.map { id, line in
            let parts = [
                id, line.network, line.accountID, line.campaignID, line.campaign, line.adGroupID, line.creativeID,
                line.country, line.currency.code,
            ]
            return "[" + parts.map { JSONValue.quoted($0) }.joined(separator: ",") + "]"
        }
        return "[" + rows.joined(separator: ",") + "]"
    }
}

extension SpendStore {
    struct Counts: Sendable {
        var inserted = 0
        var replaced = 0
        var unchanged = 0
    }

    func write(_ chunk: SpendChunk, _ org: String, _ number: Int64, mayReplace: Bool) async throws -> Counts {
        try await database.write("spend.chunk") { transaction in
            try hold(org, number, in: transaction)
            var counts = Counts()
            var known: [Int: SpendFigures] = [:]
            if mayReplace {
                for row in try transaction.all(KnownRow.self, Self.find(chunk, org)) { known[row.place] = row.figures }
            }
            var (changed, replaced): ([Int], [Int]) = ([], [])
            for (place, item) in chunk.items.enumerated() {
                guard let before = known[place] else {
                    changed.append(place)
                    continue
                }
                guard before != item.row.figures else {
                    counts.unchanged += 1
                    continue
                }
                changed.append(place)
                replaced.append(place)
            }
            (counts.replaced, counts.inserted) = (replaced.count, changed.count - replaced.count)
            if changed.isEmpty { return counts }
            if !chunk.lines.isEmpty { try transaction.run(Self.insertLines(chunk, org, transaction.now)) }
            if !replaced.isEmpty { try transaction.run(Self.end(chunk, replaced, org, number)) }
            try transaction.run(Self.insert(chunk, changed, org, number, transaction.now))
            return counts
        }
    }

    // Left to themselves, both engines may read a whole table for each row that is given: SQLite goes through the left
    // side of a CROSS JOIN first, PostgreSQL through what stands before LATERAL.

    private static func find(_ chunk: SpendChunk, _ org: String) -> SQLStatement {
        let json = chunk.json(chunk.items.indices)
        return .dialect(
            sqlite: """
                SELECT json_extract(value, '$[0]') AS n, spend_minor, impressions, clicks, conversions_millionths,
                    value_minor
                FROM json_each(\(json)) CROSS JOIN spend_rows
                    ON org = \(org) AND day = CAST(json_extract(value, '$[1]') AS INTEGER)
                    AND line = CAST(json_extract(value, '$[2]') AS TEXT) AND until_import = \(unreplaced)
                """,
            postgres: """
                SELECT CAST(value->>0 AS BIGINT) AS n, spend_minor, impressions, clicks, conversions_millionths,
                    value_minor
                FROM jsonb_array_elements(CAST(\(json) AS JSONB)) CROSS JOIN LATERAL (
                    SELECT * FROM spend_rows
                    WHERE org = \(org) AND day = CAST(value->>1 AS BIGINT) AND line = value->>2
                        AND until_import = \(unreplaced) LIMIT 1
                ) AS known
                """)
    }

    private static func end(_ chunk: SpendChunk, _ places: [Int], _ org: String, _ number: Int64) -> SQLStatement {
        let json = chunk.json(places)
        return .dialect(
            sqlite: """
                INSERT INTO spend_rows (org, day, line, from_import, until_import, spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at)
                SELECT org, day, line, from_import, \(number), spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at
                FROM json_each(\(json)) CROSS JOIN spend_rows
                    ON org = \(org) AND day = CAST(json_extract(value, '$[1]') AS INTEGER)
                    AND line = CAST(json_extract(value, '$[2]') AS TEXT) AND until_import = \(unreplaced)
                WHERE true
                ON CONFLICT (org, day, line, from_import) DO UPDATE SET until_import = excluded.until_import
                """,
            postgres: """
                INSERT INTO spend_rows (org, day, line, from_import, until_import, spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at)
                SELECT org, day, line, from_import, \(number), spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at
                FROM jsonb_array_elements(CAST(\(json) AS JSONB)) CROSS JOIN LATERAL (
                    SELECT * FROM spend_rows
                    WHERE org = \(org) AND day = CAST(value->>1 AS BIGINT) AND line = value->>2
                        AND until_import = \(unreplaced) LIMIT 1
                ) AS known
                ON CONFLICT (org, day, line, from_import) DO UPDATE SET until_import = excluded.until_import
                """)
    }

    private static func insert(
        _ chunk: SpendChunk, _ places: [Int], _ org: String, _ number: Int64, _ now: Timestamp
    ) -> SQLStatement {
        let json = chunk.json(places)
        return .dialect(
            sqlite: """
                INSERT INTO spend_rows (org, day, line, from_import, until_import, spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at)
                SELECT \(org), json_extract(value, '$[1]'), json_extract(value, '$[2]'), \(number), \(unreplaced),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
                    json_extract(value, '$[6]'), json_extract(value, '$[7]'), \(now)
                FROM json_each(\(json))
                """,
            postgres: """
                INSERT INTO spend_rows (org, day, line, from_import, until_import, spend_minor, impressions, clicks,
                    conversions_millionths, value_minor, created_at)
                SELECT \(org), CAST(value->>1 AS BIGINT), value->>2, \(number), \(unreplaced),
                    CAST(value->>3 AS BIGINT), CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT),
                    CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT), \(now)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                """)
    }

    private static func insertLines(_ chunk: SpendChunk, _ org: String, _ now: Timestamp) -> SQLStatement {
        let json = chunk.linesJSON
        return .dialect(
            sqlite: """
                INSERT INTO spend_lines (org, line, network, account_id, campaign_id, campaign, ad_group_id,
                    creative_id, country, currency, created_at)
                SELECT \(org), json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
                    json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'), \(now)
                FROM json_each(\(json)) WHERE true ON CONFLICT (org, line) DO NOTHING
                """,
            postgres: """
                INSERT INTO spend_lines (org, line, network, account_id, campaign_id, campaign, ad_group_id,
                    creative_id, country, currency, created_at)
                SELECT \(org), value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
                    value->>8, \(now)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB)) ON CONFLICT (org, line) DO NOTHING
                """)
    }
}

private struct KnownRow: RowDecodable {
    let place: Int
    let figures: SpendFigures

    init(row: Row) throws {
        place = try row.get("n")
        figures = SpendFigures(
            spendMinor: try row.get("spend_minor"), impressions: try row.optional("impressions"),
            clicks: try row.optional("clicks"), conversionsMillionths: try row.optional("conversions_millionths"),
            valueMinor: try row.optional("value_minor"))
    }
}
