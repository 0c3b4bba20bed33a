internal import ArgumentParser
internal import AurumCore
internal import Foundation

extension AttributionCommand {
    struct PostbackList: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Postbacks that came in, newest first, with what their values mean.",
            discussion: """
                Example: aurum attribution postback list --state counted --app-id 525463029
                """)

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "counted, duplicate, conflict or refused.")
        var state: String?
        @Option(name: .long, help: "valid, invalid or unverifiable.")
        var verdict: String?
        @Option(name: .long, help: "The advertised app, as the App Store numbers it.")
        var appID: String?
        @Option(name: .long, help: "The ad network, as the postback calls it.")
        var network: String?
        @Option(name: .long, help: "1 to 1000.")
        var limit = 100
        @Option(name: .long, help: "What the page before ended with.")
        var after: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = ServerClient.query([
                ("state", state), ("verdict", verdict), ("app_id", appID), ("network", network),
                ("limit", "\(limit)"), ("after", after),
            ])
            let answer = try await target.client().call("GET", "/v1/attribution/postbacks" + query)
            if json { return try Output.json(answer) }
            var rows = [["received", "app", "network", "campaign", "window", "won", "state", "value", "means"]]
            for one in answer["postbacks"]?.array ?? [] {
                rows.append([
                    TextTable.cell(one["received_at"]), TextTable.cell(one["app_id"]),
                    TextTable.cell(one["ad_network"]), TextTable.cell(one["campaign"]),
                    TextTable.cell(one["sequence_index"]), one["did_win"] == false ? "no" : "yes",
                    TextTable.cell(one["state"]), TextTable.cell(one["value"]?["claimed"]), Self.meaning(one["value"]),
                ])
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            if let next = answer["next"]?.string { Output.line("more: --after \(next)") }
        }

        /// Events and the range of revenue, or why there are none.
        private static func meaning(_ value: JSONValue?) -> String {
            guard let revenue = value?["revenue"] else { return value?["reason"]?.string ?? "" }
            let events = (value?["events"]?.array ?? []).compactMap(\.string).joined(separator: "+")
            let amounts = [revenue["min_minor"], revenue["max_minor"]].map {
                AttributionCommand.amount($0, revenue["currency"])
            }
            return "\(events.isEmpty ? "" : events + " ")\(amounts[0])–\(amounts[1])"
        }
    }

    struct PostbackSummary: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "summary", abstract: "Counted postbacks with the events and revenue that their values mean.",
            discussion: """
                Values are not signed: a network or a device can forge them on a valid postback.
                Example: aurum attribution postback summary --group-by window --days 60
                """)

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "campaign, network, app, window or day.")
        var groupBy: String?
        @Option(name: .long, help: "The advertised app, as the App Store numbers it.")
        var appID: String?
        @Option(name: .long, help: "Postbacks that came in on this date of UTC or later.")
        var from: String?
        @Option(name: .long, help: "Postbacks that came in before this date.")
        var to: String?
        @Option(name: .long, help: "So many days before --to, in place of --from.")
        var days: Int?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = ServerClient.query([
                ("group_by", groupBy), ("app_id", appID), ("from", from), ("to", to), ("days", days.map { "\($0)" }),
            ])
            let answer = try await target.client().call("GET", "/v1/attribution/postbacks/summary" + query)
            if json { return try Output.json(answer) }
            let names = ["postbacks", "won", "lost", "conversions", "fine", "coarse", "decoded"]
            var rows = [[answer["group_by"]?.string ?? ""] + names + ["no value", "events", "revenue"]]
            for line in answer["lines"]?.array ?? [] { rows.append([Self.key(line)] + Self.cells(line, names)) }
            rows.append(["all"] + Self.cells(answer["totals"] ?? .null, names))
            for line in TextTable.lines(rows) { Output.line(line) }
            if answer["is_cut"] == true { Output.line("There are more lines than these.") }
            if let unread = answer["unread"]?.integer, unread > 0 {
                Output.line("\(unread) postbacks of an older release are not in it yet; ask again.")
            }
        }

        private static func key(_ line: JSONValue) -> String {
            let parts = ["network", "campaign", "app_id", "window", "day"].compactMap { name in
                line[name].map { TextTable.cell($0) }
            }
            return parts.joined(separator: " ")
        }

        private static func cells(_ line: JSONValue, _ names: [String]) -> [String] {
            let events = (line["events"]?.object ?? [:]).sorted { $0.key < $1.key }.map {
                "\($0.key) \(TextTable.cell($0.value))"
            }
            let revenue = (line["revenue"]?.array ?? []).map { sum in
                ["low_minor", "mid_minor", "high_minor"].map { AttributionCommand.amount(sum[$0], sum["currency"]) }
                    .joined(separator: " / ")
            }
            return names.map { TextTable.cell(line[$0]) } + [
                TextTable.cell(line["not_decoded"]?["no_value"]), events.joined(separator: ", "),
                revenue.joined(separator: "; "),
            ]
        }
    }

    struct PostbackSchema: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "schema", abstract: "What the conversion values of an app mean: show it, or save a version.",
            discussion: """
                A file holds {"starts_at": "2026-11-01", "currency": "USD", "fine": [{"from": 1, "to": 31, "events": \
                ["signup"], "revenue_min_minor": 0, "revenue_max_minor": 500}], "coarse": [{"value": "low", \
                "window": 1, …}]}; a coarse entry without a window is for all that have none of their own.
                Example: aurum attribution postback schema 525463029 --set schema.json
                """)

        @OptionGroup var target: ServerTarget
        @Argument(help: "The app, as the App Store numbers it; all unless told.")
        var appID: String?
        @Option(name: .long, help: "A file with a schema, or - for standard input.")
        var set: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func validate() throws {
            if set != nil, appID == nil { throw ValidationError("--set needs an app.") }
        }

        func run() async throws {
            let path = "/v1/attribution/postbacks/schemas" + (appID.map { "/" + $0.percentEncoded } ?? "")
            let client = try await target.client()
            if let set {
                let saved = try await client.call("PUT", path, body: try Self.document(set))
                if json { return try Output.json(saved) }
                return Output.line(
                    "version \(TextTable.cell(saved["version"])) holds from \(TextTable.cell(saved["starts_at"]))")
            }
            let answer = try await client.call("GET", path)
            if json { return try Output.json(answer) }
            for schema in (answer["schemas"] ?? answer["versions"])?.array ?? [] { Self.show(schema) }
        }

        private static func show(_ schema: JSONValue) {
            Output.line(
                "app \(TextTable.cell(schema["app_id"])), version \(TextTable.cell(schema["version"])) "
                    + "from \(TextTable.cell(schema["starts_at"]))")
            var rows = [["value", "window", "events", "revenue"]]
            for entry in (schema["fine"]?.array ?? []) + (schema["coarse"]?.array ?? []) {
                let range = [entry["from"], entry["to"]].map { TextTable.cell($0) }
                let value = entry["value"]?.string ?? (range[0] == range[1] ? range[0] : "\(range[0])–\(range[1])")
                let amounts = ["revenue_min_minor", "revenue_max_minor"].map {
                    AttributionCommand.amount(entry[$0], schema["currency"])
                }
                let window = entry["window"].map { TextTable.cell($0) } ?? (entry["value"] == nil ? "0" : "others")
                rows.append([
                    value, window, (entry["events"]?.array ?? []).compactMap(\.string).joined(separator: ", "),
                    "\(amounts[0])–\(amounts[1])",
                ])
            }
            for line in TextTable.lines(rows) { Output.line("  " + line) }
        }

        private static func document(_ file: String) throws -> JSONValue {
            let data = try InputFile.content(file, bytesMax: 65_536)
            guard let value = try? JSONDecoder().decode(JSONValue.self, from: data) else {
                throw CommandFailure("\(file) is not JSON, or longer than 64 KB")
            }
            return value
        }
    }

    private static func amount(_ minor: JSONValue?, _ currency: JSONValue?) -> String {
        guard let minor = minor?.integer, let currency = currency?.string.flatMap({ Currency($0) }) else { return "—" }
        return Money(minorUnits: minor, currency: currency).description
    }
}
