internal import AurumCore

/// Results as text for people, spreadsheets and programs.
package struct AttributionReport: Sendable {
    package let input: PathInput
    package let run: AttributionRun
    package let explanation: ChannelExplanation?

    package init(_ input: PathInput, _ run: AttributionRun, explanation: ChannelExplanation? = nil) {
        (self.input, self.run, self.explanation) = (input, run, explanation)
    }

    var table: PathTable { input.table }

    /// `{"models":{KEY:{"channels":{NAME:{"conversions","value","removalEffect"}}}}}` and what was read. `value` is
    /// left out when the input has none, `removalEffect` outside Markov models.
    package var json: String {
        var models: [String: JSONValue] = [:]
        for result in run.results { models[result.model.key] = Self.document(result, table) }
        var members: [String: JSONValue] = [
            "models": .object(models),
            "input": [
                "rows": .integer(Int64(input.rows)), "badRows": .integer(Int64(input.badCount)),
                "paths": .integer(Int64(table.count)), "channels": .integer(Int64(table.channels.count)),
                "conversions": .number(table.totalConversions), "value": .number(table.totalValue),
                "nulls": .number(table.totalNulls),
            ],
            "notes": .array(run.notes.map(JSONValue.string)),
            "badRows": .array(
                input.bad.map {
                    ["line": .integer(Int64($0.line)), "column": .string($0.column), "reason": .string($0.reason)]
                }),
        ]
        members["explanation"] = explanation?.json
        return JSONValue.object(members).canonical
    }

    private static func document(_ result: ModelResult, _ table: PathTable) -> JSONValue {
        var channels: [String: JSONValue] = [:]
        for (index, name) in table.channels.enumerated() {
            var facts: [String: JSONValue] = [:]
            if let effects = result.rateEffects {
                facts["rateEffect"] = .number(effects[index])
            } else {
                facts["conversions"] = .number(result.conversions[index])
                if table.hasValues { facts["value"] = .number(result.values[index]) }
                if let effects = result.removalEffects { facts["removalEffect"] = .number(effects[index]) }
            }
            channels[name] = .object(facts)
        }
        var members: [String: JSONValue] = ["channels": .object(channels)]
        members["conversionProbability"] = result.conversionProbability.map(JSONValue.number)
        members["states"] = result.states.map { .integer(Int64($0)) }
        return .object(members)
    }

    /// One line a model and channel: `model,channel,conversions,value,removal_effect,rate_effect`. Texts that a
    /// spreadsheet would run as a formula begin with an apostrophe.
    package var csv: String {
        var lines = ["model,channel,conversions,value,removal_effect,rate_effect"]
        for result in run.results {
            for (index, name) in table.channels.enumerated() {
                let fields = [
                    result.model.key, Self.field(name), result.rateEffects == nil ? "\(result.conversions[index])" : "",
                    result.rateEffects == nil && table.hasValues ? "\(result.values[index])" : "",
                    result.removalEffects.map { "\($0[index])" } ?? "", result.rateEffects.map { "\($0[index])" } ?? "",
                ]
                lines.append(fields.joined(separator: ","))
            }
        }
        return lines.joined(separator: "\r\n") + "\r\n"
    }

    static func field(_ text: String) -> String { CSVCell.text(text) }

    /// Channels down, models across: conversions, then value, then removal effects.
    package var text: String {
        var parts = [heading]
        let money = run.results.filter { $0.rateEffects == nil }
        parts.append(block("Conversions", money, total: table.totalConversions, digits: 2) { $0.conversions })
        if table.hasValues { parts.append(block("Value", money, total: table.totalValue, digits: 2) { $0.values }) }
        let markov = money.filter { $0.removalEffects != nil }
        if !markov.isEmpty {
            parts.append(block("Removal effect", markov, total: nil, digits: 6) { $0.removalEffects ?? [] })
        }
        let rates = run.results.filter { $0.rateEffects != nil }
        if !rates.isEmpty {
            parts.append(block("Effect on the rate", rates, total: nil, digits: 6) { $0.rateEffects ?? [] })
        }
        parts += run.notes.map { "Note: \($0)\n" }
        if let explanation { parts.append(explanation.text) }
        return parts.filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private var heading: String {
        "\(table.count) paths, \(table.channels.count) channels, \(table.totalConversions.formattedShort) conversions, "
            + (table.hasValues ? "value \(Self.decimal(table.totalValue, 2)), " : "")
            + "\(table.totalNulls.formattedShort) nulls\(input.badCount > 0 ? ", \(input.badCount) bad rows" : "")\n"
    }

    private func block(
        _ title: String, _ results: [ModelResult], total: Double?, digits: Int, _ figures: (ModelResult) -> [Double]
    ) -> String {
        guard !results.isEmpty else { return "" }
        let columns = results.map { result in figures(result).map { Self.decimal($0, digits) } }
        let sums = results.map { Self.decimal(figures($0).reduce(0, +), digits) }
        var names = table.channels
        if total != nil { names.append("all") }
        let wide = max(title.count, names.map(\.count).max() ?? 0)
        var lines = [title.padded(wide)]
        for (place, result) in results.enumerated() {
            let cells = columns[place] + (total == nil ? [] : [sums[place]])
            let width = max(result.model.key.count, cells.map(\.count).max() ?? 0)
            lines[0] += "  " + result.model.key.leftPadded(width)
            for (index, cell) in cells.enumerated() {
                if lines.count <= index + 1 { lines.append(names[index].padded(wide)) }
                lines[index + 1] += "  " + cell.leftPadded(width)
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    static func decimal(_ value: Double, _ digits: Int) -> String {
        let scale = (0..<digits).reduce(1.0) { power, _ in power * 10 }
        guard value.magnitude * scale < 9e15 else { return "\(value)" }
        let units = Int64((value * scale).rounded())
        let fraction = String(units.magnitude % UInt64(scale))
        let padding = String(repeating: "0", count: digits - fraction.count)
        return "\(units < 0 ? "-" : "")\(units.magnitude / UInt64(scale)).\(padding)\(fraction)"
    }
}

extension String {
    func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
    func leftPadded(_ width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
