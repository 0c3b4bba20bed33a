package import AurumCore

/// Spend as CSV in the columns that an import takes, and answers of imports as JSON.
package enum SpendText {
    package static let header = SpendColumn.allCases.map(\.rawValue).joined(separator: ",") + "\r\n"

    package static func csv(_ rows: [StoredSpend]) -> String { header + lines(rows) }

    /// Rows without the header.
    package static func lines(_ rows: [StoredSpend]) -> String { rows.map { line($0) + "\r\n" }.joined() }

    private static func line(_ row: StoredSpend) -> String {
        func number(_ value: Int64?) -> String { value.map { String($0) } ?? "" }
        let (line, figures) = (row.line, row.figures)
        return [
            row.date.description, CSVCell.text(line.network), CSVCell.text(line.accountID),
            CSVCell.text(line.campaignID), CSVCell.text(line.campaign), CSVCell.text(line.adGroupID),
            CSVCell.text(line.creativeID), line.country, line.currency.code,
            Money(minorUnits: figures.spendMinor, currency: line.currency).decimal, number(figures.impressions),
            number(figures.clicks), figures.conversionsMillionths.map { Millionths(value: $0).decimal } ?? "",
            figures.valueMinor.map { Money(minorUnits: $0, currency: line.currency).decimal } ?? "",
        ].joined(separator: ",")
    }

    /// A file to fill in: a row a campaign, its spend left empty, which an import refuses.
    package static func template(_ campaigns: [(campaign: String, network: String)], date: CivilDate) -> String {
        let rows = campaigns.isEmpty ? [(campaign: "example-campaign", network: "google")] : campaigns
        return header
            + rows.map { row in
                "\(date),\(CSVCell.text(row.network)),,,\(CSVCell.text(row.campaign)),,,,USD,,,,,\r\n"
            }.joined()
    }
}

extension StoredSpend {
    package var json: JSONValue {
        func whole(_ value: Int64?) -> JSONValue { value.map { .integer($0) } ?? .null }
        return [
            "date": .string(date.description), "network": .string(line.network), "account_id": .string(line.accountID),
            "campaign_id": .string(line.campaignID), "campaign": .string(line.campaign),
            "ad_group_id": .string(line.adGroupID), "creative_id": .string(line.creativeID),
            "country": .string(line.country), "currency": .string(line.currency.code),
            "spend_minor": .integer(figures.spendMinor), "impressions": whole(figures.impressions),
            "clicks": whole(figures.clicks),
            "conversions": figures.conversionsMillionths.map { .number(Double($0) / 1_000_000) } ?? .null,
            "value_minor": whole(figures.valueMinor),
        ]
    }
}

extension BadRow {
    package var json: JSONValue {
        ["line": .integer(Int64(line)), "column": .string(column), "reason": .string(reason)]
    }
}

extension SpendReceipt {
    package var json: JSONValue {
        [
            "rows": .integer(Int64(inserted + replaced + unchanged)), "inserted": .integer(Int64(inserted)),
            "replaced": .integer(Int64(replaced)), "unchanged": .integer(Int64(unchanged)),
            "refused": .integer(Int64(refused)), "problems": .array(problems.map(\.json)),
            "ignored_columns": .array(ignoredColumns.map { .string($0) }),
            "totals": .array(
                totals.sorted { $0.key.code < $1.key.code }.map {
                    ["currency": .string($0.key.code), "spend_minor": .integer($0.value)]
                }),
        ]
    }
}
