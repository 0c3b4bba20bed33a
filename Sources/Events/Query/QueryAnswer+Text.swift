internal import AurumCore

/// An answer as JSON, CSV, lines of JSON, or a table for people.
extension QueryAnswer {
    package var json: String {
        let columns = columns.map { "{\"name\":\(JSONValue.quoted($0.name)),\"kind\":\"\($0.kind.rawValue)\"}" }
        return "{\"columns\":[" + columns.joined(separator: ",") + "],\"rows\":["
            + rows.map { object($0) }.joined(separator: ",") + "]," + facts.joined(separator: ",") + "}"
    }

    /// One object a row.
    package var lines: String { rows.map { object($0) + "\n" }.joined() }

    /// What is said of the answer beside its rows, as one JSON object.
    package var factsObject: String { "{" + facts.joined(separator: ",") + "}" }

    private var facts: [String] {
        var facts = [
            "\"row_count\":\(rows.count)", "\"group_count\":\(groupCount)", "\"truncated\":\(isTruncated)",
            "\"from\":\(Self.moment(query.from))", "\"to\":\(Self.moment(query.to))",
            "\"timezone\":\(JSONValue.quoted(query.timezone))", "\"as_of\":\(Self.moment(asOf))",
            "\"position\":\(position.map { "\"\($0)\"" } ?? "null")", "\"rows_scanned\":\(rowsScanned)",
            "\"rows_kept\":\(rowsKept)", "\"elapsed_ms\":\(JSONValue.number(elapsedMilliseconds).canonical)",
            "\"approximate\":\(isApproximate)",
        ]
        if query.measures.contains(where: { if case .quantile = $0.kind { true } else { false } }) {
            facts.append("\"quantile_relative_error\":\(QuantileSketch.relativeError)")
        }
        if damagedBlocks > 0 { facts.append("\"damaged_blocks\":\(damagedBlocks)") }
        return facts
    }

    private var elapsedMilliseconds: Double { (elapsed.seconds * 100_000).rounded() / 100 }

    private static func moment(_ moment: Timestamp?) -> String { moment.map { "\"\($0.rfc3339)\"" } ?? "null" }

    private func object(_ row: [QueryValue]) -> String {
        "{"
            + zip(columns, row).map { "\(JSONValue.quoted($0.name)):\(Self.json($1))" }.joined(separator: ",") + "}"
    }

    private static func json(_ value: QueryValue) -> String {
        switch value {
        case .null: "null"
        case .text(let text): JSONValue.quoted(text)
        case .integer(let value): String(value)
        case .number(let value): value.isFinite ? JSONValue.number(value).canonical : "null"
        case .money(let amounts):
            "{"
                + amounts.map { "\(JSONValue.quoted($0.currency)):\"\(MoneyText.decimal($0.millionths))\"" }
                .joined(separator: ",") + "}"
        }
    }

    // MARK: cells

    /// Names and cells, money in one column a currency.
    private var cells: (names: [String], rows: [[Cell]]) {
        var names: [String] = []
        var currencies: [[String]] = []
        for (index, column) in columns.enumerated() {
            let found = column.kind == .money ? Set(rows.flatMap { $0[index].currencies }).sorted() : []
            currencies.append(found)
            names += found.isEmpty ? [column.name] : found.map { "\(column.name) \($0)" }
        }
        let cells = rows.map { row in
            zip(row, currencies).flatMap { value, currencies -> [Cell] in
                guard case .money(let amounts) = value else { return [Cell(value)] }
                guard !currencies.isEmpty else { return [Cell(text: "", isText: false)] }
                return currencies.map { currency in
                    let amount = amounts.first { $0.currency == currency }
                    return Cell(text: amount.map { MoneyText.decimal($0.millionths) } ?? "", isText: false)
                }
            }
        }
        return (names, cells)
    }

    private struct Cell {
        var text: String
        /// Written by somebody outside: it may look like a formula.
        var isText: Bool

        init(text: String, isText: Bool) { (self.text, self.isText) = (text, isText) }

        init(_ value: QueryValue) {
            switch value {
            case .text(let text): self.init(text: text, isText: true)
            case .null: self.init(text: "", isText: false)
            case .integer, .number, .money: self.init(text: QueryAnswer.json(value), isText: false)
            }
        }

        /// As exports of events have it: the same value is the same cell everywhere.
        var csv: String { isText ? ExportLines.cell(text) : text }
    }

    package var csv: String {
        let (names, rows) = cells
        let head = names.map { Cell(text: $0, isText: true).csv }.joined(separator: ",") + "\r\n"
        return head + rows.map { $0.map(\.csv).joined(separator: ",") + "\r\n" }.joined()
    }
}

extension QueryValue {
    fileprivate var currencies: [String] {
        if case .money(let amounts) = self { amounts.map(\.currency) } else { [] }
    }
}
