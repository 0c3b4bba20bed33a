internal import ArgumentParser
internal import AurumCore
internal import Foundation
internal import NIOCore

/// What campaigns cost: into a running server and out of it.
struct SpendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spend", abstract: "Import what campaigns cost, and see what they earned.",
        subcommands: [Import.self, Template.self, Report.self])

    /// What the server takes.
    private static let bytesMax = 64 << 20

    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import a file of spend: CSV, or JSON when its name ends in .json.",
            discussion: """
                Columns: date, network, account_id, campaign_id, campaign, ad_group_id, creative_id, country, \
                currency, spend, impressions, clicks, conversions, value. A row replaces the one of the same date and \
                dimensions; the same file twice changes nothing. One bad row stores nothing, unless --on-error skip is \
                given.
                Example: aurum spend import google.csv --timezone America/New_York
                """)

        enum OnError: String, ExpressibleByArgument, CaseIterable { case stop, skip }

        @OptionGroup var target: ServerTarget
        @Argument(help: "The file, or - for standard input.")
        var file: String
        @Option(name: .long, help: "stop: one bad row stores nothing. skip: the other rows are stored.")
        var onError = OnError.stop
        @Option(name: .long, help: "The calendar of the file's accounts, such as America/New_York.")
        var timezone: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let body = try body()
            let path = "/v1/spend" + ServerClient.query([("on_error", onError.rawValue), ("timezone", timezone)])
            let type = file.hasSuffix(".json") ? "application/json" : "text/csv"
            let answer = try await target.client().call("POST", path, body, type: type)
            if json { return try Output.json(answer) }
            Output.line(Self.text(answer))
        }

        private func body() throws -> ByteBuffer {
            let data = try InputFile.content(file, bytesMax: SpendCommand.bytesMax + 1)
            guard data.count <= SpendCommand.bytesMax else {
                throw CommandFailure("\(file) is larger than \(SpendCommand.bytesMax) bytes; import it in parts")
            }
            return ByteBuffer(bytes: data)
        }

        private static func text(_ answer: JSONValue) -> String {
            func count(_ name: String) -> Int64 { answer[name]?.integer ?? 0 }
            var lines = [
                "\(count("inserted")) inserted, \(count("replaced")) replaced, \(count("unchanged")) unchanged, "
                    + "\(count("refused")) refused"
            ]
            for total in answer["totals"]?.array ?? [] {
                guard let minor = total["spend_minor"]?.integer,
                    let currency = total["currency"]?.string.flatMap({ Currency($0) })
                else { continue }
                lines.append("spend of the file: \(Money(minorUnits: minor, currency: currency))")
            }
            for problem in answer["problems"]?.array ?? [] {
                lines.append(
                    "  line \(problem["line"]?.integer ?? 0), column \(problem["column"]?.string ?? ""): "
                        + (problem["reason"]?.string ?? ""))
            }
            let ignored = (answer["ignored_columns"]?.array ?? []).compactMap(\.string)
            if !ignored.isEmpty { lines.append("columns that mean nothing here: \(ignored.joined(separator: ", "))") }
            if count("unmatched_count") > 0 {
                let names = (answer["unmatched"]?.array ?? []).prefix(20).map {
                    let name = $0["campaign"]?.string ?? ""
                    return name.isEmpty ? $0["campaign_id"]?.string ?? "" : name
                }
                lines.append(
                    "\(count("unmatched_count")) campaigns that nobody ever came from: \(names.joined(separator: ", "))"
                )
            }
            return lines.joined(separator: "\n")
        }
    }

    struct Template: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a CSV file to fill in, with a row for each campaign the server knows.")

        @OptionGroup var target: ServerTarget

        func run() async throws {
            Output.line(try await target.client().text("/v1/spend/template.csv").trimmingCharacters(in: .newlines))
        }
    }

    struct Report: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print spend, revenue and ROAS as CSV.",
            discussion: """
                With --definition the conversions are those of a run over the event log, under any of its models, \
                Markov and Shapley among them; the last columns say which result of it. aurum attribution compare \
                shows all models.
                With --as-of the figures are those of that moment, and columns ending in _now say what they are today.
                Under ad_group, creative, keyword and publisher the last column says how many conversions an earlier \
                release credited, which did not keep ads; they are in the row "(not set)".
                Example: aurum spend report --model linear --by channel --days 30
                Example: aurum spend report --definition purchase --model markov1 --from 2026-11-01 --to 2026-12-01
                """)

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "Credit model.")
        var model = "last"
        @Option(
            name: [.customLong("by"), .customLong("group-by")],
            help: """
                campaign, source, medium, channel, network, ad_group, creative, keyword, publisher, day, week, month \
                or buyer.
                """)
        var by = "campaign"
        @OptionGroup var campaigns: CampaignOptions
        @Option(name: .long, help: "booked or recognised.")
        var basis: String?
        @Option(name: .long, help: "The report as it stood at this RFC 3339 time, such as 2026-11-01T12:00:00Z.")
        var asOf: String?

        func run() async throws {
            let query = ServerClient.query(
                [("format", "csv"), ("model", model), ("group_by", by), ("basis", basis), ("as_of", asOf)]
                    + campaigns.query)
            Output.line(
                try await target.client().text("/v1/attribution/report" + query).trimmingCharacters(in: .newlines))
        }
    }
}
