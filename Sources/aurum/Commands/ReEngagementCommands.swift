internal import ArgumentParser
internal import AurumCore
internal import Foundation

extension AttributionCommand {
    struct ReEngagements: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "re-engagements",
            abstract: "Who came back to an app by a click or a link, and what led to it.",
            subcommands: [List.self, Show.self, Campaigns.self, Rule.self], defaultSubcommand: List.self)

        /// Which opens.
        struct Range: ParsableArguments {
            @Option(name: .long, help: "Opens at or after this date or RFC 3339 time.")
            var from: String?
            @Option(name: .long, help: "Opens before this date or RFC 3339 time.")
            var to: String?
            @Option(name: .long, help: "Only of this app.")
            var app: String?

            var pairs: [(String, String?)] { [("from", from), ("to", to), ("app", app)] }
        }
    }
}

extension AttributionCommand.ReEngagements {
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Re-engagements with what led to each, newest first.",
            discussion: "Example: aurum attribution re-engagements list --from 2026-11-01 --outcome all")

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Option(name: .long, help: "re_engagement, no_install, session_before, history_unknown, no_touch or all.")
        var outcome: String?
        @Option(name: .long, help: "Of the touch that led to the open.")
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
                    ("outcome", outcome), ("campaign", campaign), ("limit", "\(limit)"), ("after", after),
                ]
            let answer = try await target.client().call(
                "GET", "/v1/attribution/re-engagements" + ServerClient.query(pairs))
            if json { return try Output.json(answer) }
            var rows = [["at", "open", "outcome", "method", "campaign", "network", "until"]]
            for one in answer["re_engagements"]?.array ?? [] {
                rows.append(
                    ["at", "id", "outcome", "method", "campaign", "network", "until"].map { TextTable.cell(one[$0]) })
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            if let next = answer["next"]?.string { Output.line("more: --after '\(next)'") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One open by its event id: outcome, touch, method, and why other touches lost.",
            discussion: "Example: aurum attribution re-engagements show open-7f3a --version 1")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The event id of the open.")
        var id: String
        @Option(name: .long, help: "Where several apps have one of this id.")
        var app: String?
        @Option(name: .long, help: "An older decision.")
        var version: Int?

        func run() async throws {
            let pairs = [("app", app), ("version", version.map { "\($0)" })]
            let path = "/v1/attribution/re-engagements/\(id.percentEncoded)"
            try Output.json(try await target.client().call("GET", path + ServerClient.query(pairs)))
        }
    }

    struct Campaigns: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Re-engagements by campaign, and what else opens by clicks and links were.",
            discussion: "Example: aurum attribution re-engagements campaigns --from 2026-11-01")

        @OptionGroup var target: ServerTarget
        @OptionGroup var range: Range
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call(
                "GET", "/v1/attribution/re-engagements/campaigns" + ServerClient.query(range.pairs))
            if json { return try Output.json(answer) }
            var rows = [["campaign", "re_engagements", "by_view"]]
            for line in answer["lines"]?.array ?? [] {
                let campaign = line["campaign"]?.string ?? "(none)"
                rows.append([campaign, TextTable.cell(line["re_engagements"]), TextTable.cell(line["by_view"])])
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            let others = ["session_before", "no_install", "history_unknown", "no_touch"].map { name in
                "\(name) \(TextTable.cell(answer["outcomes"]?[name]))"
            }
            Output.line("other opens by clicks and links: " + others.joined(separator: ", "))
        }
    }

    struct Rule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What makes a re-engagement: list every version, or set one of an app or of all others.",
            discussion: """
                What is left out of a version is 7 days, 720 hours and 24 hours. Opens before its time go by the older \
                one.
                Example: aurum attribution re-engagements rule
                Example: aurum attribution re-engagements rule --inactive-days 14 --app shop --starts-at 2026-11-01
                """)

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "Days without a session before the open, 0 to 30; 0 asks for none.")
        var inactiveDays: Int?
        @Option(name: .long, help: "Hours after which a click is too old, 1 to 8760.")
        var clickHours: Double?
        @Option(name: .long, help: "Hours after which a view is too old, 1 to 720.")
        var viewHours: Double?
        @Option(name: .long, help: "Of this app; without it, of every app that has none of its own.")
        var app: String?
        @Option(name: .long, help: "Opens at or after this date or RFC 3339 time; now unless told.")
        var startsAt: String?

        func validate() throws {
            let isSet = inactiveDays != nil || clickHours != nil || viewHours != nil
            if !isSet, app != nil || startsAt != nil {
                throw ValidationError("give --inactive-days, --click-hours or --view-hours")
            }
        }

        func run() async throws {
            var members: [String: JSONValue] = [:]
            if let inactiveDays { members["inactive_days"] = .integer(Int64(inactiveDays)) }
            if let clickHours { members["click_hours"] = .number(clickHours) }
            if let viewHours { members["view_hours"] = .number(viewHours) }
            if let app { members["app"] = .string(app) }
            if let startsAt { members["starts_at"] = .string(startsAt) }
            let path = "/v1/attribution/windows/re-engagement"
            let client = try await target.client()
            guard !members.isEmpty else { return try Output.json(try await client.call("GET", path)) }
            try Output.json(try await client.call("PUT", path, body: .object(members)))
        }
    }
}
