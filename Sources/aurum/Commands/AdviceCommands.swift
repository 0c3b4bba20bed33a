internal import ArgumentParser
internal import AurumCore

extension AttributionCommand {
    /// Advice on daily budgets, what was decided on it, and stop rules.
    struct Advice: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What could be changed about daily budgets, what was decided, and stop rules that hold.",
            subcommands: [
                Show.self, Budgets.self, Budget.self, Decisions.self, Acknowledge.self, Stops.self,
            ], defaultSubcommand: Show.self)
    }
}

extension AttributionCommand.Advice {
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What could be changed about daily budgets. It changes nothing.",
            discussion: "Example: aurum attribution advice --maturity-days 14")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "Credit model.")
        var model = "last"
        @Option(name: .long, help: "Days after which earnings are final; the longest return window unless told.")
        var maturityDays: Int?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = [("model", model), ("maturity_days", maturityDays.map { "\($0)" })]
            try await GrowthAnswer(target: target, json: json).print("advice", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            var table = [["campaign", "advice", "reason", "from", "to", "currency", "ROAS", "target", "alerts"]]
            for row in answer["rows"]?.array ?? [] {
                table.append([
                    TextTable.cell(row["campaign"]), TextTable.cell(row["action"]), TextTable.cell(row["reason"]),
                    GrowthAnswer.money(row["from_minor"], row["currency"]),
                    GrowthAnswer.money(row["to_minor"], row["currency"]), TextTable.cell(row["currency"]),
                    TextTable.cell(row["roas"]), TextTable.cell(row["target_roas"]),
                    (row["alerts"]?.array ?? []).compactMap(\.string).joined(separator: ", "),
                ])
            }
            return TextTable.lines(table) + [
                "mature days from \(answer["mature_from"]?.string ?? "") to before "
                    + "\(answer["mature_to"]?.string ?? ""); expires \(answer["expires_at"]?.string ?? "")"
            ]
        }
    }

    struct Budgets: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Targets, caps and floors of campaigns, and what is decided without a person.")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            try await GrowthAnswer(target: target, json: json).print("budgets", []) { answer in
                TextTable.lines([Self.titles] + (answer["budgets"]?.array ?? []).map(Self.row))
            }
        }

        static let titles = ["campaign", "currency", "target", "cap", "floor", "auto", "may pause", "dry run"]

        static func row(_ budget: JSONValue) -> [String] {
            func word(_ name: String) -> String { budget[name]?.bool == true ? "yes" : "no" }
            return [
                TextTable.cell(budget["campaign"]), TextTable.cell(budget["currency"]),
                TextTable.cell(budget["target_roas"]), GrowthAnswer.money(budget["cap_minor"], budget["currency"]),
                GrowthAnswer.money(budget["floor_minor"], budget["currency"]), word("auto"), word("may_pause"),
                word("dry_run"),
            ]
        }
    }

    struct Budget: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set what a campaign's budget may do; what is left out goes back to its default.",
            discussion: """
                Amounts are a day's, as 500 or 182.40. Without --for-real, --auto and --may-pause only note what would \
                have been decided. Aurum changes no campaign at a network: carry decisions out and acknowledge them.
                Example: aurum attribution advice budget nyc-solar-brand --cap 500 --auto --for-real
                """)

        @OptionGroup var target: ServerTarget
        @Argument(help: "The campaign's name or id.")
        var campaign: String
        @Option(name: .long, help: "Of the campaign's spend.")
        var currency = "USD"
        @Option(name: .long, help: "Revenue over spend that is aimed at.")
        var targetRoas: Double?
        @Option(name: .long, help: "More is never advised, and 1.1 times as much raises an alert.")
        var cap: String?
        @Option(name: .long, help: "Less is never advised.")
        var floor: String?
        @Flag(name: .long, help: "Decide advice within all guard rails without a person.")
        var auto = false
        @Flag(name: .long, help: "Let stop rules decide that the campaign is to be paused.")
        var mayPause = false
        @Flag(name: .long, help: "Keep what is decided without a person as decisions, no longer as a dry run.")
        var forReal = false
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            guard let known = Currency(currency) else {
                throw CommandFailure("\(currency) is no currency; give three letters such as USD")
            }
            func minor(_ name: String, _ text: String?) throws -> JSONValue {
                guard let text else { return .null }
                guard let money = Money(decimal: text, currency: known) else {
                    throw CommandFailure("--\(name) \(text) is no amount of \(known); give one such as 182.40")
                }
                return .integer(money.minorUnits)
            }
            let body: JSONValue = [
                "campaign": .string(campaign), "currency": .string(known.code),
                "target_roas": targetRoas.map { .number($0) } ?? .null, "cap_minor": try minor("cap", cap),
                "floor_minor": try minor("floor", floor), "auto": .bool(auto), "may_pause": .bool(mayPause),
                "dry_run": .bool(!forReal),
            ]
            let answer = try await target.client().call("PUT", "/v1/attribution/budgets", body: body)
            if json { return try Output.json(answer) }
            for line in TextTable.lines([Budgets.titles, Budgets.row(answer)]) { Output.line(line) }
        }
    }

    struct Decisions: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What was decided about budgets, by people and without them, newest first.",
            discussion: "Example: aurum attribution advice decisions --open")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Only what has still to be carried out.")
        var open = false
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query: [(String, String?)] = [("state", open ? "open" : "all")]
            try await GrowthAnswer(target: target, json: json).print("advice/decisions", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            let titles = ["id", "campaign", "action", "from", "to", "currency", "decision", "by", "at", "state"]
            return TextTable.lines(
                [titles]
                    + (answer["decisions"]?.array ?? []).map { row in
                        ["id", "campaign", "action"].map { TextTable.cell(row[$0]) }
                            + ["from_minor", "to_minor"].map { GrowthAnswer.money(row[$0], row["currency"]) }
                            + ["currency", "decision", "actor", "decided_at"].map { TextTable.cell(row[$0]) }
                            + [state(row)]
                    })
        }

        private static func state(_ row: JSONValue) -> String {
            if row["acknowledged_at"]?.string != nil { return "acknowledged" }
            return row["withdrawn_at"]?.string == nil ? "" : "withdrawn"
        }
    }

    struct Acknowledge: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say that an approved decision was carried out at the network.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The decision's id.")
        var id: String
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let path = "/v1/attribution/advice/decisions/\(id.percentEncoded)/acknowledge"
            let answer = try await target.client().call("POST", path)
            if json { return try Output.json(answer) }
            Output.line("acknowledged: \(answer["action"]?.string ?? "") of \(answer["campaign"]?.string ?? "")")
        }
    }

    struct Stops: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Alerts of stop rules: a day above 1.1 caps, or 1,000 units spent without a conversion.",
            discussion: "Example: aurum attribution advice stops --all")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Those too whose rule no longer holds.")
        var all = false
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query: [(String, String?)] = [("state", all ? "all" : "open")]
            try await GrowthAnswer(target: target, json: json).print("stops", query, Self.text)
        }

        private static func text(_ answer: JSONValue) -> [String] {
            let titles = ["campaign", "rule", "day", "calendar", "spend", "limit", "currency", "raised", "cleared"]
            return TextTable.lines(
                [titles]
                    + (answer["alerts"]?.array ?? []).map { row in
                        ["campaign", "rule", "day", "timezone"].map { TextTable.cell(row[$0]) }
                            + ["spend_minor", "limit_minor"].map { GrowthAnswer.money(row[$0], row["currency"]) }
                            + ["currency", "raised_at", "cleared_at"].map { TextTable.cell(row[$0]) }
                    })
        }
    }
}
