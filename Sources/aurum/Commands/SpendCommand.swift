internal import ArgumentParser
internal import AurumCore
internal import Foundation
internal import NIOCore

/// What campaigns cost: into a running server and out of it.
struct SpendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spend", abstract: "Import what campaigns cost, and see what they earned.",
        subcommands: [Import.self, Template.self, Report.self])

    /// A running server: the one of the data folder, or another with a key.
    struct Target: ParsableArguments {
        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Server to ask, with a key in AURUM_KEY.")
        var url: String?

        func client() async throws -> ServerClient {
            if let url {
                guard let key = ProcessInfo.processInfo.environment["AURUM_KEY"], !key.isEmpty else {
                    throw ValidationError("--url needs a key in AURUM_KEY")
                }
                return ServerClient(
                    contact: ServerContact(url: url, token: key, pid: 0), timeout: SpendCommand.timeout)
            }
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure("no server runs on \(configuration.dataDirectory); start one with aurum serve")
            }
            return ServerClient(contact: contact, timeout: SpendCommand.timeout)
        }
    }

    /// A million rows on a busy machine.
    private static let timeout = TimeAmount.minutes(10)
    /// What the server takes.
    private static let bytesMax = 64 << 20

    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import a file of spend: CSV, or JSON when its name ends in .json.",
            discussion: """
                Columns: date, network, account_id, campaign_id, campaign, ad_group_id, creative_id, country, currency,
                spend, impressions, clicks, conversions, value. A row replaces the one of the same date and dimensions;
                the same file twice changes nothing. One bad row stores nothing, unless --on-error skip is given.
                Example: aurum spend import google.csv --timezone America/New_York
                """)

        enum OnError: String, ExpressibleByArgument, CaseIterable { case stop, skip }

        @OptionGroup var target: Target
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
            var path = "/v1/spend?on_error=\(onError.rawValue)"
            if let timezone { path += "&timezone=\(ServerClient.escaped(timezone))" }
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

        @OptionGroup var target: Target

        func run() async throws {
            Output.line(try await target.client().text("/v1/spend/template.csv").trimmingCharacters(in: .newlines))
        }
    }

    struct Report: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print spend, revenue and ROAS as CSV.",
            discussion: "Example: aurum spend report --model linear --by channel --days 30")

        @OptionGroup var target: Target
        @Option(name: .long, help: "Credit model.")
        var model = "last"
        @Option(name: .long, help: "campaign, source, medium, channel, network or day.")
        var by = "campaign"
        @Option(name: .long, help: "Today and the days before it; everything unless told.")
        var days: Int?

        func run() async throws {
            var path = "/v1/attribution/report?format=csv&model=\(ServerClient.escaped(model))"
            path += "&group_by=\(ServerClient.escaped(by))"
            if let days { path += "&days=\(days)" }
            Output.line(try await target.client().text(path).trimmingCharacters(in: .newlines))
        }
    }
}
