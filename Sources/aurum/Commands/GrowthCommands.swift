internal import ArgumentParser
internal import AurumCore

/// What the commands about growth have in common: one question to a running server, a table or JSON.
struct GrowthAnswer {
    let target: ServerTarget
    let json: Bool

    /// - Parameters:
    ///   - query: parameters in order; those without a value are left out.
    ///   - text: the answer for people.
    func print(_ path: String, _ query: [(String, String?)], _ text: (JSONValue) -> [String]) async throws {
        let answer = try await target.client().call(
            "GET", "/v1/attribution/\(path)" + ServerClient.query(query))
        if json { return try Output.json(answer) }
        for line in text(answer) { Output.line(line) }
    }

    static func money(_ minor: JSONValue?, _ currency: JSONValue?) -> String {
        guard let value = minor?.double, let currency = currency?.string.flatMap({ Currency($0) }),
            let whole = Int64(exactly: value.rounded())
        else { return "–" }
        return Money(minorUnits: whole, currency: currency).decimal
    }

    static func percent(_ value: JSONValue?) -> String { TextTable.cell(value, percent: true) }
}

extension AttributionCommand {
    struct Saturation: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What a result of a campaign costs at which daily spend, and how near it is to its ceiling.",
            discussion: "Example: aurum attribution saturation nyc-solar-brand --on installs")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The campaign's name or id.")
        var campaign: String
        @Option(name: .long, help: "installs, conversions or leads.")
        var on = "conversions"
        @Option(name: .long, help: "Credit model.")
        var model = "last"
        @Option(name: .long, help: "Unless told, the one with most spend.")
        var currency: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [("campaign", campaign), ("on", on), ("model", model), ("currency", currency)]
            try await GrowthAnswer(target: target, json: json).print("saturation", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            let (name, currency) = (answer["campaign"]?.string ?? "", answer["currency"])
            let code = currency?.string ?? ""
            var lines = [
                "\(name), \(answer["on"]?.string ?? ""): \(answer["state"]?.string ?? ""), "
                    + "\(answer["days"]?.integer ?? 0) days of the last \(answer["window_days"]?.integer ?? 0)"
            ]
            let missing = (answer["missing"]?.array ?? []).compactMap(\.string)
            if !missing.isEmpty { lines.append("missing: \(missing.joined(separator: ", "))") }
            if answer["unbounded"]?.bool == true { lines.append("the days do not show where the ceiling is") }
            if answer["r_squared"]?.double != nil {
                lines.append(
                    "R² \(TextTable.cell(answer["r_squared"])), mean error \(GrowthAnswer.percent(answer["mape"]))")
            }
            if let parameters = answer["parameters"], parameters != .null {
                let band = answer["saturation_band"]?.array ?? []
                lines.append(
                    "saturation \(GrowthAnswer.percent(answer["saturation"])) "
                        + "(95 %: \(GrowthAnswer.percent(band.first)) to \(GrowthAnswer.percent(band.last))) at "
                        + "\(GrowthAnswer.money(answer["usual_spend_minor"], currency)) \(code) a day")
                lines.append(
                    "a result costs at most \(GrowthAnswer.money(parameters["ceiling_minor"], currency)) \(code), half "
                        + "of it at \(GrowthAnswer.money(parameters["midpoint_minor"], currency)) \(code) a day")
            }
            let curve = answer["curve"]?.array ?? []
            var table = [["spend a day", "cost", "95 % from", "to"]]
            for index in stride(from: 0, to: curve.count, by: 5) {
                let point = curve[index]
                table.append(
                    ["spend_minor", "cost_minor", "low_minor", "high_minor"].map {
                        GrowthAnswer.money(point[$0], currency)
                    })
            }
            return lines + (curve.isEmpty ? [] : TextTable.lines(table))
        }
    }

    struct Cohorts: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "People by the period of their first lead or sale: what they cost and earned.",
            discussion: "Example: aurum attribution cohorts --by month --group-by channel --days 365")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "leads or conversions.")
        var on = "leads"
        @Option(name: .long, help: "day, week or month.")
        var by = "week"
        @Option(name: .long, help: "campaign, source, medium, channel or network.")
        var groupBy = "campaign"
        @Option(name: .long, help: "first, last or last_non_direct.")
        var model = "last"
        @Option(name: .long, help: "Today and the days before it.")
        var days = 90
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [("on", on), ("by", by), ("group_by", groupBy), ("model", model), ("days", "\(days)")]
            try await GrowthAnswer(target: target, json: json).print("cohorts", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            let horizons = (answer["horizon_days"]?.array ?? []).compactMap(\.integer)
            func figures(_ row: JSONValue) -> [String] {
                (row["horizons"]?.array ?? []).flatMap { figure in
                    let mark = figure["mature"]?.bool == false ? "*" : ""
                    return [
                        GrowthAnswer.money(figure["ltv_minor"], row["currency"]) + mark,
                        TextTable.cell(figure["roas"]) + mark,
                    ]
                }
            }
            let titles = horizons.flatMap { ["LTV \($0) d", "ROAS \($0) d"] }
            var table = [["from", "key", "currency", "people", "spend"] + titles]
            for row in answer["rows"]?.array ?? [] {
                table.append(
                    [
                        TextTable.cell(row["start"]), TextTable.cell(row["key"]), TextTable.cell(row["currency"]),
                        TextTable.cell(row["size"]), GrowthAnswer.money(row["spend_minor"], row["currency"]),
                    ] + figures(row))
            }
            for row in answer["averages"]?.array ?? [] where row["key"] == .null {
                table.append(["mature", "all", TextTable.cell(row["currency"]), "", ""] + figures(row))
            }
            return TextTable.lines(table) + ["* not everybody is that old yet; left out of averages"]
        }
    }

    struct Retention: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "How many of those who came from a campaign come back.",
            discussion: "Example: aurum attribution retention nyc-solar-brand --by week")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The campaign's name; all unless told.")
        var campaign: String?
        @Option(name: .long, help: "What they began with: visit, install or conversion.")
        var first = "visit"
        @Option(name: .long, help: "classic, rolling or unbounded.")
        var mode = "classic"
        @Option(name: .long, help: "day, week or month.")
        var by = "week"
        @Option(name: .long, help: "Today and the days before it.")
        var days = 90
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [
                ("campaign", campaign), ("first", first), ("mode", mode), ("by", by), ("days", "\(days)"),
            ]
            try await GrowthAnswer(target: target, json: json).print("retention", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            func cells(_ row: JSONValue) -> [String] {
                (row["days"]?.array ?? []).map { day in
                    GrowthAnswer.percent(day["rate"]) + (day["mature"]?.bool == false ? "*" : "")
                }
            }
            let titles = (answer["days"]?.array ?? []).map { "day \($0["day"]?.integer ?? 0)" }
            var table = [["from", "people"] + titles]
            for cohort in answer["cohorts"]?.array ?? [] {
                table.append([TextTable.cell(cohort["start"]), TextTable.cell(cohort["persons"])] + cells(cohort))
            }
            table.append(["all", TextTable.cell(answer["persons"])] + cells(answer))
            return TextTable.lines(table) + ["* of those who are that old"]
        }
    }

    struct Claims: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What networks claim beside what is credited to them.",
            discussion: "Example: aurum attribution claims --days 30 --against leads")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "conversions or leads.")
        var against = "conversions"
        @Option(name: .long, help: "Credit model.")
        var model = "last"
        @Option(name: .long, help: "Today and the days before it.")
        var days = 30
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [("against", against), ("model", model), ("days", "\(days)")]
            try await GrowthAnswer(target: target, json: json).print("claims", query, Self.text)
        }

        private static let kinds = ["click", "view", "visit", "none", "unknown"]

        private static func text(_ answer: JSONValue) -> [String] {
            var table = [
                ["date", "network", "claimed", "credited", "inflation"] + kinds
                    + ["currency", "value", "credited value"]
            ]
            let totals = (answer["totals"]?.array ?? []).map { ("all", $0) }
            let days = (answer["rows"]?.array ?? []).map { (TextTable.cell($0["date"]), $0) }
            for (date, row) in totals + days {
                let counts = [date] + ["network", "claimed", "credited", "inflation"].map { TextTable.cell(row[$0]) }
                let evidence = kinds.map { TextTable.cell(row["evidence"]?[$0]) }
                let values = (row["values"]?.array ?? []).map { value in
                    [TextTable.cell(value["currency"])]
                        + ["claimed_value_minor", "credited_value_minor"].map {
                            GrowthAnswer.money(value[$0], value["currency"])
                        }
                }
                // Counts are over all currencies: they stand on the first line alone.
                table.append(counts + evidence + (values.first ?? ["", "", ""]))
                for value in values.dropFirst() {
                    table.append([date, counts[1], "", "", ""] + kinds.map { _ in "" } + value)
                }
            }
            let impossible = (answer["overlaps"]?.array ?? []).filter { ($0["impossible"]?.double ?? 0) > 0 }
            var notes = impossible.map {
                "\(TextTable.cell($0["date"])): \(TextTable.cell($0["impossible"])) claimed beyond everything that "
                    + "happened"
            }
            if let from = answer["evidence_from"]?.string {
                notes.append("evidence from \(from) on: there are more conversions than one answer looks at")
            }
            return TextTable.lines(table) + notes
        }
    }

    struct SharedClaims: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "shared-claims",
            abstract: "Our conversions that two or more networks may have claimed.",
            discussion: """
                Networks tell sums, never single conversions: listed is what holds evidence of two or more networks \
                that claim conversions of that day.
                Example: aurum attribution shared-claims --days 7
                """)

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "conversions or leads.")
        var against = "conversions"
        @Option(name: .long, help: "Whose credit stands beside them.")
        var model = "last"
        @Option(name: .long, help: "Today and the days before it.")
        var days = 30
        @Option(name: .long, help: "At most so many, 1 to 200.")
        var limit = 50
        @Option(name: .long, help: "What the page before said to go on after.")
        var after: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [
                ("against", against), ("model", model), ("days", "\(days)"), ("limit", "\(limit)"), ("after", after),
            ]
            try await GrowthAnswer(target: target, json: json).print("claims/shared", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            var table = [["at", "conversion", "value", "currency", "evidence", "credited"]]
            for row in answer["conversions"]?.array ?? [] {
                let evidence = (row["networks"]?.array ?? []).map {
                    "\(TextTable.cell($0["network"])) \(TextTable.cell($0["evidence"]))"
                }
                let credits = (row["credits"]?.array ?? []).map {
                    "\(TextTable.cell($0["campaign"])) \(GrowthAnswer.percent($0["credited"]))"
                }
                table.append([
                    TextTable.cell(row["at"]), TextTable.cell(row["id"]),
                    GrowthAnswer.money(row["value_minor"], row["currency"]), TextTable.cell(row["currency"]),
                    evidence.joined(separator: ", "), credits.joined(separator: ", "),
                ])
            }
            let next = answer["next"]?.string.map { ["more: --after \($0)"] } ?? []
            return TextTable.lines(table) + next
        }
    }
}
