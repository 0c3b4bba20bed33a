internal import ArgumentParser
internal import AurumCore
internal import Foundation

extension AttributionCommand {
    struct Installs: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Installs and what led to each.",
            subcommands: [List.self, Show.self, Campaigns.self, Cohorts.self, Recompute.self],
            defaultSubcommand: List.self)

        /// Which installs.
        struct Range: ParsableArguments {
            @Option(name: .long, help: "First opens at or after this date or RFC 3339 time.")
            var from: String?
            @Option(name: .long, help: "First opens before this date or RFC 3339 time.")
            var to: String?

            var pairs: [(String, String?)] { [("from", from), ("to", to)] }
        }
    }
}

extension AttributionCommand.Installs {
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Installs with what led to each, newest first.",
            discussion: "Example: aurum attribution installs list --from 2026-11-01 --method device_id")

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Option(name: .long, help: "device_id, click_id, install_referrer, deep_link, user_id or organic.")
        var method: String?
        @Option(name: .long, help: "Of the touch that led to the install.")
        var campaign: String?
        @Option(name: .long, help: "1 to 1000.")
        var limit = 100
        @Option(name: .long, help: "What the page before ended with.")
        var after: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let pairs =
                range.pairs + [
                    ("method", method), ("campaign", campaign), ("limit", "\(limit)"), ("after", after),
                ]
            let answer = try await target.client().call(
                "GET", "/v1/attribution/installs" + ServerClient.query(pairs))
            if json { return try Output.json(answer) }
            var rows = [["at", "install", "method", "campaign", "network", "fraud", "reinstall"]]
            for one in answer["installs"]?.array ?? [] {
                rows.append([
                    TextTable.cell(one["at"]), TextTable.cell(one["id"]), TextTable.cell(one["method"]),
                    TextTable.cell(one["campaign"]), TextTable.cell(one["network"]),
                    TextTable.cell(one["fraud"]?["verdict"]), one["is_reinstall"] == true ? "yes" : "",
                ])
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            if let next = answer["next"]?.string { Output.line("more: --after '\(next)'") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One install by its event id: touch, method, why others lost, what brought its device back.",
            discussion: """
                in_force says whose a conversion in the app is: the install's, or that of a re-engagement.
                Example: aurum attribution installs show install-7f3a --version 1
                Example: aurum attribution installs show install-7f3a --at 2026-11-20T12:00:00Z
                """)

        @OptionGroup var target: ServerTarget
        @Argument(help: "The event id of the install.")
        var id: String
        @Option(name: .long, help: "Where several apps have one of this id.")
        var app: String?
        @Option(name: .long, help: "An older decision.")
        var version: Int?
        @Option(name: .long, help: "Whose a conversion is at this date or RFC 3339 time; now unless told.")
        var at: String?

        func run() async throws {
            let pairs = [("app", app), ("version", version.map { "\($0)" }), ("at", at)]
            let path = "/v1/attribution/installs/\(id.percentEncoded)"
            try Output.json(
                try await target.client().call("GET", path + ServerClient.query(pairs)))
        }
    }

    struct Campaigns: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Installs by campaign: all, organic, reinstalls, rejected and suspect ones.",
            discussion: "Example: aurum attribution installs campaigns --from 2026-11-01")

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call(
                "GET", "/v1/attribution/installs/campaigns" + ServerClient.query(range.pairs))
            if json { return try Output.json(answer) }
            let names = ["installs", "organic", "reinstalls", "rejected", "suspect", "by_view"]
            var rows = [["campaign"] + names]
            for line in answer["lines"]?.array ?? [] {
                rows.append([line["campaign"]?.string ?? "(organic)"] + names.map { TextTable.cell(line[$0]) })
            }
            rows.append(["all"] + names.map { TextTable.cell(answer["totals"]?[$0]) })
            for line in TextTable.lines(rows) { Output.line(line) }
        }
    }

    struct Cohorts: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Installs, or re-engagements, by period and campaign: who came back, and what they brought.",
            discussion: """
                A share or an amount of a cohort that is not old enough yet has a star.
                Example: aurum attribution installs cohorts --by week --days 60
                Example: aurum attribution installs cohorts --of re_engagement
                """)

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Option(name: .long, help: "install or re_engagement; install unless told.")
        var of: String?
        @Option(name: .long, help: "day, week or month.")
        var by: String?
        @Option(name: .long, help: "campaign or channel.")
        var groupBy: String?
        @Option(name: .long, help: "Whose values are revenue; purchase unless told.")
        var conversion: String?
        @Option(name: .long, help: "Only of this app.")
        var app: String?
        @Option(name: .long, help: "So many days before --to, in place of --from.")
        var days: Int?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let pairs =
                range.pairs + [
                    ("of", of), ("by", by), ("group_by", groupBy), ("conversion", conversion), ("app", app),
                    ("days", days.map { "\($0)" }),
                ]
            let answer = try await target.client().call(
                "GET", "/v1/attribution/installs/cohorts" + ServerClient.query(pairs))
            if json { return try Output.json(answer) }
            let key = answer["group_by"]?.string ?? "campaign"
            let count = answer["of"]?.string == "re_engagement" ? "re_engagements" : "installs"
            var rows = [["start", key, count, "day 0", "day 1", "day 7", "day 30", "LTV 1/7/30"]]
            for line in answer["lines"]?.array ?? [] {
                let shares = (line["retention"]?.array ?? []).map {
                    TextTable.cell($0["share"], percent: true) + Self.star($0)
                }
                let cells = [line["start"], line[key], line[count]].map { TextTable.cell($0) }
                rows.append(cells + shares + [Self.amounts(line["revenue"]?.array ?? [])])
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            if answer["is_cut"] == true { Output.line("There are more lines than these.") }
        }

        private static func star(_ figure: JSONValue) -> String { figure["mature"] == true ? "" : "*" }

        /// What an install brought, of each currency at each horizon.
        private static func amounts(_ figures: [JSONValue]) -> String {
            figures.map { figure in
                guard let minor = figure["ltv_minor"]?.integer,
                    let currency = figure["currency"]?.string.flatMap({ Currency($0) })
                else { return "–" }
                return Money(minorUnits: minor, currency: currency).description + star(figure)
            }.joined(separator: " / ")
        }
    }

    struct Recompute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read the log again and decide installs anew, as a job of the server.",
            discussion: """
                Touches that came after their install are found, and a window that was changed counts. What changes is \
                a new version; the old one stays.
                Example: aurum attribution installs recompute --from 2026-11-01
                """)

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Flag(name: .long, help: "Credit the log anew when it is done.")
        var credit = false

        func run() async throws {
            var members: [String: JSONValue] = credit ? ["credit": true] : [:]
            for (name, value) in range.pairs { if let value { members[name] = .string(value) } }
            try Output.json(
                try await target.client().call(
                    "POST", "/v1/attribution/installs/recompute", body: .object(members)))
        }
    }
}
