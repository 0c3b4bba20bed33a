internal import ArgumentParser
internal import AurumCore

/// Which days, and whose conversions, a campaign report is of.
struct CampaignOptions: ParsableArguments {
    @Option(
        name: .long,
        help: """
            A conversion of aurum attribution conversions: what its newest run over the event log credits, in place \
            of leads and sold legs.
            """)
    var definition: String?
    @Option(name: .long, help: "Today and the days before it; everything unless told.")
    var days: Int?
    @Option(name: .long, help: "This date or RFC 3339 time and later.")
    var from: String?
    @Option(name: .long, help: "Before this date or RFC 3339 time.")
    var to: String?

    func validate() throws {
        if days != nil, from != nil || to != nil { throw ValidationError("--days excludes --from and --to") }
    }

    var query: [(String, String?)] {
        [("definition", definition), ("days", days.map { "\($0)" }), ("from", from), ("to", to)]
    }
}

extension AttributionCommand {
    struct Compare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What campaigns cost and earned under every credit model, side by side.",
            discussion: """
                With --definition Markov and Shapley stand among the models.
                Example: aurum attribution compare --definition purchase --by channel --figure roas --days 30
                """)

        enum Figure: String, ExpressibleByArgument, CaseIterable { case revenue, difference, conversions, roas, cpa }

        @OptionGroup var target: ServerTarget
        @OptionGroup var campaigns: CampaignOptions
        @Option(name: .long, help: "The model that others differ from.")
        var compareTo = "last"
        @Option(name: .long, help: "campaign, channel, network, day, week or month; of leads and sold legs more.")
        var by = "campaign"
        @Option(name: .long, help: "revenue, difference, conversions, roas or cpa.")
        var figure = Figure.revenue
        @Flag(name: .long, help: "Print the whole answer as JSON.")
        var json = false

        func run() async throws {
            let query = campaigns.query + [("compare_to", compareTo), ("group_by", by)]
            try await GrowthAnswer(target: target, json: json).print("models/compare", query) { text($0) }
        }

        private func text(_ answer: JSONValue) -> [String] {
            let models = (answer["models"]?.array ?? []).compactMap(\.string)
            func cells(_ row: JSONValue, _ title: String) -> [String] {
                let currency = row["currency"]
                let figures = models.map { model in
                    let found = row["models"]?[model]
                    return switch figure {
                    case .revenue: GrowthAnswer.money(found?["revenue_minor"], currency)
                    case .difference: GrowthAnswer.money(found?["difference_minor"], currency)
                    case .cpa: GrowthAnswer.money(found?["cpa_minor"], currency)
                    case .conversions, .roas: TextTable.cell(found?[figure.rawValue])
                    }
                }
                return [title, TextTable.cell(currency), GrowthAnswer.money(row["spend_minor"], currency)] + figures
            }
            var table = [[by, "currency", "spend"] + models]
            for row in answer["rows"]?.array ?? [] { table.append(cells(row, TextTable.cell(row["key"]))) }
            for row in answer["totals"]?.array ?? [] { table.append(cells(row, "all")) }
            return TextTable.lines(table) + Self.source(answer)
        }

        /// Which run an answer shows, and what it credits to nobody; nothing for leads and sold legs.
        private static func source(_ answer: JSONValue) -> [String] {
            guard let result = answer["result"], let definition = answer["definition"] else { return [] }
            let left = answer["unattributed"]
            let revenue = (left?["revenue_minor"]?.object ?? [:]).sorted { $0.key < $1.key }.map { code, minor in
                "\(GrowthAnswer.money(minor, .string(code))) \(code)"
            }
            var lines = [
                "\(TextTable.cell(definition)), version \(TextTable.cell(result["version"])) of "
                    + "\(TextTable.cell(result["finished_at"])), log position \(TextTable.cell(result["position"]))",
                "unattributed: \(TextTable.cell(left?["conversions"])) conversions"
                    + (revenue.isEmpty ? "" : ", ") + revenue.joined(separator: ", "),
            ]
            if answer["beyond_run"]?.bool == true {
                lines.append("the run does not cover all of these days; aurum attribution run computes anew")
            }
            return lines
        }
    }
}
