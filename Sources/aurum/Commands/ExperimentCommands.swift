internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Foundation

extension AttributionCommand {
    struct Experiments: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Imported incrementality experiments, which the model data_driven goes by.",
            subcommands: [ExperimentList.self, ExperimentAdd.self, ExperimentShow.self, ExperimentRemove.self],
            defaultSubcommand: ExperimentList.self)

        fileprivate static let path = "/v1/attribution/experiments"

        /// A number and the ends of its interval; a dash for an end that nothing bounds.
        fileprivate static func text(_ estimate: JSONValue?, scale: Double = 1, unit: String = "") -> String {
            func number(_ name: String) -> String {
                (estimate?[name]?.double).map { String(format: "%.1f", $0 * scale) + unit } ?? "–"
            }
            return "\(number("value")) (\(number("low")) to \(number("high")))"
        }

        /// What an experiment leaves of a channel's credit.
        static func factor(_ factor: JSONValue) -> String {
            func word(_ name: String) -> String { TextTable.cell(factor[name]) }
            guard factor["state"] == "calibrated" else {
                return "\(word("channel")) keeps all of its credit: \(word("reason"))"
            }
            return "\(word("channel")) keeps \(word("factor")) of its credit (\(word("low")) to \(word("high"))) by "
                + TextTable.cell(factor["experiment"]?["name"])
        }

        fileprivate static func lines(_ experiment: JSONValue) -> [String] {
            func word(_ name: String) -> String { TextTable.cell(experiment[name]) }
            let measured = experiment["measured"]
            var lines = [
                "\(word("name")): \(word("channel")), \(word("conversion")), \(word("from")) to before \(word("to"))",
                "lift \(text(measured?["lift"], scale: 100, unit: " %")), 95 % interval",
                "incremental conversions \(text(measured?["incremental_conversions"])), each for "
                    + GrowthAnswer.money(measured?["cost_per_incremental_minor"], experiment["currency"]),
            ]
            if let factor = experiment["calibration"], factor != .null {
                lines.append(Self.factor(factor))
            } else if experiment.object?.keys.contains("calibration") == true {
                lines.append("there is no run of its conversion, or a newer experiment of the channel counts")
            }
            return lines
        }
    }

    struct ExperimentList: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List experiments, the newest days first.")

        @OptionGroup var place: Place
        @Option(name: .long, help: "Only those that counted this conversion.")
        var conversion: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let (org, conversion) = (place.org, conversion)
            let path = Experiments.path + ServerClient.query([("conversion", conversion)])
            let answer = try await place.ask("GET", path) { attribution in
                let all = try await attribution.experiments.all(org: org, conversion: conversion)
                return ["experiments": .array(all.map(\.json))]
            }
            if json { return try Output.json(answer) }
            let head = ["name", "channel", "conversion", "from", "before", "lift", "incremental"]
            let rows = (answer["experiments"]?.array ?? []).map { one in
                ["name", "channel", "conversion", "from", "to"].map { TextTable.cell(one[$0]) } + [
                    Experiments.text(one["measured"]?["lift"], scale: 100, unit: " %"),
                    Experiments.text(one["measured"]?["incremental_conversions"]),
                ]
            }
            for line in TextTable.lines([head] + rows) { Output.line(line) }
        }
    }

    struct ExperimentAdd: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Import an experiment: JSON when the file's name ends in .json, else CSV.",
            discussion: """
                A JSON file holds all that POST /v1/attribution/experiments takes. A CSV file holds the regions, with \
                the columns region, side (treated or control), conversions and, where known, spend and size; the rest \
                is told by options.
                Example: aurum attribution experiments add search.csv --name search-october --channel paid_search \
                --from 2026-10-01 --to 2026-10-29
                """)

        @OptionGroup var place: Place
        @Argument(help: "The file, or - for standard input.")
        var file: String
        @Option(name: .long, help: "What the experiment is called.")
        var name: String?
        @Option(name: .long, help: "The channel that was held back, such as paid_search.")
        var channel: String?
        @Option(name: .long, help: "geo_holdout or ghost_ads; geo_holdout unless told.")
        var method: String?
        @Option(name: .long, help: "The conversion that was counted; purchase unless told.")
        var conversion: String?
        @Option(name: .long, help: "The first day.")
        var from: String?
        @Option(name: .long, help: "The day after the last one.")
        var to: String?
        @Option(name: .long, help: "The currency of spend; USD unless told.")
        var currency: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        private static let bytesMax = 1 << 20

        func run() async throws {
            let (org, body) = (place.org, try body())
            let answer = try await place.ask("POST", Experiments.path, body) { attribution in
                try await attribution.experiments.add(body, org: org).json
            }
            if json { return try Output.json(answer) }
            for line in Experiments.lines(answer) { Output.line(line) }
        }

        private func body() throws -> JSONValue {
            let data = try InputFile.content(file, bytesMax: Self.bytesMax + 1)
            guard data.count <= Self.bytesMax else {
                throw CommandFailure("\(file) is larger than \(Self.bytesMax) bytes")
            }
            let told = [
                ("name", name), ("channel", channel), ("method", method), ("conversion", conversion), ("from", from),
                ("to", to), ("currency", currency),
            ]
            var members: [String: JSONValue] = [:]
            if file.hasSuffix(".json") {
                guard let value = try? JSONDecoder().decode(JSONValue.self, from: data), let object = value.object
                else { throw CommandFailure("\(file) is no file with one JSON object") }
                members = object
            } else {
                guard let money = Currency(currency ?? Currency.usd.code) else {
                    throw ValidationError("--currency is three letters, like USD")
                }
                do throws(InputError) {
                    members["regions"] = try ExperimentFile.regions(Array(data), currency: money)
                } catch { throw CommandFailure("\(file): \(error.sentence)") }
            }
            for (name, value) in told { if let value { members[name] = .string(value) } }
            return .object(members)
        }
    }

    struct ExperimentShow: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "One experiment, and what it leaves of its channel's credit.")

        @OptionGroup var place: Place
        @Argument(help: "The experiment's name.")
        var name: String
        @Flag(name: .long, help: "Print the whole answer as JSON, the regions with it.")
        var json = false

        func run() async throws {
            let (org, name) = (place.org, name)
            let answer = try await place.ask("GET", Experiments.path + "/\(name.percentEncoded)") { attribution in
                try await attribution.experiment(name, org: org)
            }
            if json { return try Output.json(answer) }
            for line in Experiments.lines(answer) { Output.line(line) }
        }
    }

    struct ExperimentRemove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Remove an experiment: reports from now on go without it.")

        @OptionGroup var place: Place
        @Argument(help: "The experiment's name.")
        var name: String

        func run() async throws {
            let (org, name) = (place.org, name)
            _ = try await place.ask("DELETE", Experiments.path + "/\(name.percentEncoded)") { attribution in
                try await attribution.experiments.remove(name, org: org)
                return .null
            }
            Output.line("\(name) is removed")
        }
    }
}
