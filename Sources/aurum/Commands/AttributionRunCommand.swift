internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

extension AttributionCommand {
    /// Where attribution is asked: the server that runs, or the stopped server's folder.
    struct Place: ParsableArguments {
        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        /// Calls the server where one runs, `offline` otherwise.
        func ask(
            _ method: String, _ path: String, _ body: JSONValue? = nil,
            offline: @escaping (LogAttribution) async throws -> JSONValue
        ) async throws -> JSONValue {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                return try await ServerClient(contact: contact).call(method, path, body: body)
            }
            var answer = JSONValue.null
            try await EventsCommand.withGovernedLog(configuration, logLevel: .warning) { log, policies, database in
                let attribution = AttributionWiring.attribution(
                    configuration.dataDirectory, log, database, policies.apps, registry: MetricRegistry(),
                    logLevel: .warning)
                attribution.clean()
                do { answer = try await offline(attribution) } catch let error as LogAttributionError {
                    throw CommandFailure(error.sentence)
                } catch let error as ExperimentError { throw CommandFailure(error.sentence) }
            }
            return answer
        }
    }

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Credit every conversion of the event log under all models.",
            discussion: """
                With a running server the run is a job, see aurum jobs; without one it runs here and prints what it \
                found. The result before it answers until all is done.
                Example: aurum attribution run --conversion purchase --from 2026-10-01
                """)

        @OptionGroup var place: Place
        @Option(name: .long, help: "Only this conversion.")
        var conversion: String?
        @Option(name: .long, help: "Conversions at or after this date or RFC 3339 time.")
        var from: String?
        @Option(name: .long, help: "Conversions before this date or RFC 3339 time.")
        var to: String?
        @Option(name: .long, help: "Why; it stands in the result.")
        var reason = "asked on the command line"
        @Flag(name: .long, help: "Only if the log, the conversion or its settings changed since the last run.")
        var ifChanged = false

        func run() async throws {
            var members: [String: JSONValue] = ["reason": .string(reason)]
            if ifChanged { members["only_if_changed"] = true }
            for (name, value) in [("conversion", conversion), ("from", from), ("to", to)] {
                if let value { members[name] = .string(value) }
            }
            let wish: LogAttribution.Wish
            do { wish = try LogAttribution.Wish(.object(members)) } catch { throw CommandFailure(error.sentence) }
            let org = place.org
            let answer = try await place.ask("POST", "/v1/attribution/recompute", .object(members)) { attribution in
                try await attribution.run(wish, org: org, id: UID(now: SystemWallClock().now)).json
            }
            try Output.json(answer)
        }
    }

    struct Report: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Who earned the conversions of the event log, from the newest run.",
            discussion: """
                What campaigns cost stands beside it in aurum spend report --definition.
                Example: aurum attribution report --conversion purchase --model markov1 --by campaign --from 2026-11-01
                """)

        @OptionGroup var place: Place
        @Option(name: .long, help: "The conversion's name.")
        var conversion = "purchase"
        @Option(name: .long, help: "One of the credit models.")
        var model = CreditModel.last.rawValue
        @Option(name: .long, help: "channel, campaign or day.")
        var by = LogDimension.channel.rawValue
        @Option(name: .long, help: "An older result.")
        var version: Int?
        @Option(name: .long, help: "Conversions of this day, UTC, or later: a date or RFC 3339 time.")
        var from: String?
        @Option(name: .long, help: "Conversions of days before this one.")
        var to: String?
        @Flag(name: .long, help: "Print the whole answer as JSON.")
        var json = false

        func run() async throws {
            guard let wanted = LogModel(name: model) else {
                let all = LogModel.allCases.map(\.name).joined(separator: ", ")
                throw ValidationError("--model is one of \(all)")
            }
            guard let dimension = LogDimension(rawValue: by) else {
                throw ValidationError("--by is channel, campaign or day")
            }
            let (first, end) = (try Self.moment("from", from), try Self.moment("to", to))
            let path =
                "/v1/attribution/log-report"
                + ServerClient.query([
                    ("conversion", conversion), ("model", wanted.name), ("group_by", dimension.rawValue),
                    ("version", version.map { "\($0)" }), ("from", from), ("to", to),
                ])
            let (org, conversion, version) = (place.org, conversion, version)
            let answer = try await place.ask("GET", path) { attribution in
                try await attribution.report(
                    org: org, conversion: conversion, model: wanted, by: dimension, version: version, from: first,
                    to: end)
            }
            if json { return try Output.json(answer) }
            var rows = [[by, "conversions", "value", "returned", "net"]]
            for line in answer["lines"]?.array ?? [] {
                let currency = line["currency"]?.string.flatMap { Currency($0) }
                let money = ["amount_minor", "returned_minor", "net_minor"].map { name in
                    currency.map { Money(minorUnits: line[name]?.integer ?? 0, currency: $0).description } ?? "-"
                }
                let conversions = String(format: "%.3f", line["conversions"]?.double ?? 0)
                rows.append([line["key"]?.string ?? "", conversions] + money)
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            for factor in answer["data_driven"]?["channels"]?.array ?? [] { Output.line(Experiments.factor(factor)) }
            let result = answer["result"]
            if let unmatched = result?["facts"]?["unmatched_refunds"]?.integer, unmatched > 0 {
                Output.line("\(unmatched) refunds are of no known order")
            }
            Output.line(
                "version \(result?["version"]?.integer ?? 0) of \(result?["finished_at"]?.string ?? ""), log position "
                    + (result?["position"]?.string ?? "-"))
        }

        private static func moment(_ name: String, _ text: String?) throws -> Timestamp? {
            do throws(LogAttributionError) { return try LogAttribution.Wish.moment(name, text) } catch {
                throw ValidationError("--\(error.sentence)")
            }
        }
    }

    struct Conversions: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What counts as a conversion: list, or save a new version from a JSON file.",
            discussion: """
                Example: aurum attribution conversions
                Example: aurum attribution conversions --save demo_booked --file demo.json
                Example: aurum attribution conversions --remove demo_booked
                """)

        @OptionGroup var place: Place
        @Option(name: .long, help: "Name of the conversion to save; needs --file.")
        var save: String?
        @Option(name: .long, help: "A file with the definition as JSON.")
        var file: String?
        @Option(name: .long, help: "Name of the conversion to end.")
        var remove: String?

        func validate() throws {
            if (save == nil) != (file == nil) { throw ValidationError("--save and --file belong together") }
            if save != nil, remove != nil { throw ValidationError("--save and --remove exclude each other") }
        }

        func run() async throws {
            let org = place.org
            if let save, let file {
                guard let data = FileManager.default.contents(atPath: file),
                    let body = try? JSONDecoder().decode(JSONValue.self, from: data), body.object != nil
                else { throw CommandFailure("\(file) is no file with one JSON object") }
                let path = "/v1/attribution/conversions/\(save.percentEncoded)"
                let answer = try await place.ask("PUT", path, body) { attribution in
                    try await attribution.definitions.save(body, name: save, org: org, now: SystemWallClock().now).json
                        ?? .null
                }
                return try Output.json(answer)
            }
            if let remove {
                let path = "/v1/attribution/conversions/\(remove.percentEncoded)"
                _ = try await place.ask("DELETE", path) { attribution in
                    try await attribution.definitions.remove(name: remove, org: org)
                    return .null
                }
                return Output.line("\(remove) is no conversion any more")
            }
            let answer = try await place.ask("GET", "/v1/attribution/conversions") { attribution in
                try await attribution.conversionList(org: org)
            }
            try Output.json(answer)
        }
    }
}
