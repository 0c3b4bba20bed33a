internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Events that were refused: through the server when one runs, in its folder otherwise.
struct QuarantineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quarantine", abstract: "List, count, replay and delete events that were refused.",
        subcommands: [List.self, Counts.self, Replay.self, Delete.self])

    struct Filter: ParsableArguments {
        @Option(name: .long, help: "Only this app.")
        var app: String?
        @Option(name: .long, help: "Only this reason, for example bad_ts or plan:required; plan means all of a plan.")
        var reason: String?
        @Option(name: .long, help: "Received at or after, RFC 3339.")
        var from: String?
        @Option(name: .long, help: "Received at or before, RFC 3339.")
        var to: String?
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        var document: JSONValue {
            var members: [String: JSONValue] = [:]
            for (name, text) in [("app", app), ("reason", reason), ("from", from), ("to", to)] {
                if let text { members[name] = .string(text) }
            }
            return .object(members)
        }

        var query: String {
            (document.object ?? [:]).sorted { $0.key < $1.key }.map { name, value in
                "&\(name)=\((value.string ?? "").percentEncoded)"
            }.joined()
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Refused events, newest first, one a line.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var filter: Filter
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 20

        func run() async throws {
            guard (1...1000).contains(limit) else { throw ValidationError("--limit is 1 to 1000") }
            let (document, org, limit) = (filter.document, filter.org, limit)
            let answer = try await QuarantineCommand.ask(
                options, "GET", "/v1/quarantine?limit=\(limit)\(filter.query)", nil
            ) { desk in
                let entries = try await desk.browse(try QuarantineFilter(document, org: org), limit: limit)
                return ["events": .array(entries.map { $0.json(showsRaw: true) })]
            }
            for event in answer["events"]?.array ?? [] { Output.line(event.canonical) }
        }
    }

    struct Counts: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Refused events by app and reason.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var filter: Filter

        func run() async throws {
            let (org, app) = (filter.org, filter.app)
            let path = "/v1/quarantine/counts?" + filter.query.dropFirst()
            let answer = try await QuarantineCommand.ask(options, "GET", path, nil) { desk in
                let counts = try await desk.counts(org: org, app: app)
                return [
                    "counts": .array(
                        counts.map {
                            [
                                "app": .string($0.app), "reason": .string($0.reason),
                                "count": .integer(Int64($0.count)),
                            ]
                        })
                ]
            }
            for row in answer["counts"]?.array ?? [] {
                Output.line(
                    "\(row["count"]?.integer ?? 0)  \(row["app"]?.string ?? "")  \(row["reason"]?.string ?? "")")
            }
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send refused events through capture again, under the plan in force or a named version.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var filter: Filter
        @Option(name: .long, help: "Version of the plan to hold them against.")
        var planVersion: Int?
        @Flag(name: .long, help: "Only say what would happen.")
        var dryRun = false
        @Option(name: .long, help: "Go on where a call ended that said there is more: its next.")
        var after: String?

        func run() async throws {
            let (document, org, version, isDry) = (filter.document, filter.org, planVersion, dryRun)
            let begin = after.flatMap { LogPosition($0) }
            if after != nil, begin == nil { throw ValidationError("--after is the next of an earlier answer") }
            var body: [String: JSONValue] = ["filter": document, "dry_run": .bool(isDry)]
            if let version { body["plan_version"] = .integer(Int64(version)) }
            if let after { body["after"] = .string(after) }
            let answer = try await QuarantineCommand.ask(options, "POST", "/v1/quarantine/replay", .object(body)) {
                try await $0.replay(
                    try QuarantineFilter(document, org: org), planVersion: version, dryRun: isDry, after: begin
                ).json
            }
            Output.line(answer.canonical)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete refused events for good.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var filter: Filter
        @Flag(name: .long, help: "Delete everything that was refused.")
        var all = false

        func validate() throws {
            guard all == (filter.document == [:]) else {
                throw ValidationError(
                    all ? "--all takes no filter." : "Say what to delete: --app, --reason, --from, --to, or --all.")
            }
        }

        func run() async throws {
            let (document, org) = (filter.document, filter.org)
            let answer = try await QuarantineCommand.ask(options, "DELETE", "/v1/quarantine", ["filter": document]) {
                ["deleted": .integer(Int64(try await $0.delete(try QuarantineFilter(document, org: org))))]
            }
            Output.line("deleted \(answer["deleted"]?.integer ?? 0)")
        }
    }

    /// The server's answer, or that of the folder when no server runs.
    static func ask(
        _ options: ConfigurationOptions, _ method: String, _ path: String, _ body: JSONValue?,
        here: @Sendable (QuarantineDesk) async throws -> JSONValue
    ) async throws -> JSONValue {
        let configuration = try await options.read()
        if let contact = ServerContact.read(folder: configuration.dataDirectory) {
            return try await ServerClient(contact: contact).call(method, path, body: body)
        }
        var answer = JSONValue.null
        do {
            try await EventsCommand.withDesk(configuration) { _, desk in answer = try await here(desk) }
        } catch let error as PolicyError { throw CommandFailure(error.sentence) }
        return answer
    }
}
