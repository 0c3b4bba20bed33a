/// The report as one HTML file: no script, no other file, charts as inline SVG.
extension AttributionReport {
    package var html: String {
        let money = run.results.filter { $0.rateEffects == nil }
        var body = "<h1>Attribution</h1><p>\(Self.escaped(summary))</p>"
        for note in run.notes { body += "<p class=\"note\">\(Self.escaped(note))</p>" }
        for result in money {
            body += "<section><h2>\(Self.escaped(result.model.title))</h2>"
            body += Self.chart(table.channels, result.conversions, label: "Conversions under \(result.model.title)")
            body += "</section>"
        }
        body += figures("Conversions", money, 2) { $0.conversions }
        if table.hasValues { body += figures("Value", money, 2) { $0.values } }
        body += figures("Removal effect", money.filter { $0.removalEffects != nil }, 6) { $0.removalEffects ?? [] }
        let rates = run.results.filter { $0.rateEffects != nil }
        body += figures("Effect on the conversion rate", rates, 6) { $0.rateEffects ?? [] }
        if let explanation { body += "<h2>Explanation</h2><pre>\(Self.escaped(explanation.text))</pre>" }
        if !input.bad.isEmpty {
            let rows = input.bad.map { "<li>\(Self.escaped($0.sentence))</li>" }.joined()
            body += "<h2>\(input.badCount) rows left out</h2><ul>\(rows)</ul>"
        }
        return """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>Attribution</title>
            <meta name="viewport" content="width=device-width,initial-scale=1"><style>\(Self.style)</style></head>
            <body><main>\(body)</main></body></html>

            """
    }

    private static let style = """
        :root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0}
        main{max-width:72rem;margin:auto;padding:1.5rem}
        section{display:inline-block;vertical-align:top;width:34rem;max-width:100%;margin-right:1rem}
        svg{width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:currentColor}rect{fill:#b8860b}
        .scroll{overflow-x:auto}table{border-collapse:collapse}
        th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #8886}th:first-child{text-align:left}
        .note{border-left:4px solid #b8860b;padding-left:.75rem}h2{font-size:1.1rem;margin:1.25rem 0 .25rem}
        """

    private var summary: String {
        "\(table.count) paths over \(table.channels.count) channels with "
            + "\(table.totalConversions.formattedShort) conversions"
            + (table.hasValues ? ", value \(Self.decimal(table.totalValue, 2))" : "")
            + ", and \(table.totalNulls.formattedShort) that led to nothing."
    }

    /// Bars of the largest channels, the rest as one.
    private static func chart(_ channels: [String], _ figures: [Double], label: String) -> String {
        let barsMax = 20
        var bars = zip(channels, figures).sorted { ($1.1, $0.0) < ($0.1, $1.0) }
        if bars.count > barsMax {
            let rest = bars[(barsMax - 1)...]
            bars = Array(bars[..<(barsMax - 1)]) + [("\(rest.count) others", rest.reduce(0) { $0 + $1.1 })]
        }
        let largest = max(bars.map(\.1).max() ?? 0, .leastNormalMagnitude)
        let height = bars.count * 24 + 4
        var marks = ""
        for (index, bar) in bars.enumerated() {
            let width = max(0, bar.1) / largest * 260
            let y = index * 24
            marks += "<text x=\"148\" y=\"\(y + 16)\" text-anchor=\"end\">\(escaped(String(bar.0.prefix(22))))</text>"
            marks += "<rect x=\"156\" y=\"\(y + 3)\" width=\"\(decimal(width, 1))\" height=\"18\"/>"
            marks += "<text x=\"\(decimal(162 + width, 1))\" y=\"\(y + 16)\">\(decimal(bar.1, 1))</text>"
        }
        return "<svg viewBox=\"0 0 520 \(height)\" role=\"img\" aria-label=\"\(escaped(label))\">\(marks)</svg>"
    }

    private func figures(
        _ title: String, _ results: [ModelResult], _ digits: Int, _ values: (ModelResult) -> [Double]
    ) -> String {
        guard !results.isEmpty else { return "" }
        var rows = ""
        for (index, name) in table.channels.enumerated() {
            let cells = results.map { "<td>\(Self.decimal(values($0)[index], digits))</td>" }.joined()
            rows += "<tr><th scope=\"row\">\(Self.escaped(name))</th>\(cells)</tr>"
        }
        let heads = results.map { "<th scope=\"col\">\(Self.escaped($0.model.title))</th>" }.joined()
        let head = "<thead><tr><th scope=\"col\">Channel</th>\(heads)</tr></thead>"
        return "<h2>\(title)</h2><div class=\"scroll\"><table>\(head)"
            + "<tbody>\(rows)</tbody></table></div>"
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
