internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Foundation

extension AttributionCommand {
    struct Why: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Why a run over the event log credited one conversion as it did.",
            discussion: """
                Every touch of the person with the reason why it counts or not, and what each model gives to those \
                that count. GET /v1/attribution/log-conversions and the page Journeys list events to ask about.
                Example: aurum attribution why 7d0b7c9a-5b1e-4c11-9d0e-0c6b3f6a2f10 --model time_decay
                """)

        @OptionGroup var place: Place
        @Argument(help: "The event id of the conversion.")
        var event: String
        @Option(name: .long, help: "The conversion's name.")
        var conversion = "purchase"
        @Option(name: .long, help: "Only this credit model.")
        var model: String?
        @Option(name: .long, help: "An older result.")
        var version: Int?
        @Option(name: .long, help: "Where several apps have an event of this id.")
        var app: String?
        @Flag(name: .long, help: "Print the whole answer as JSON.")
        var json = false

        func run() async throws {
            var question = WhyQuestion(conversion: conversion, event: event)
            (question.version, question.app) = (version, app)
            if let model {
                guard let wanted = LogModel(name: model), LogModel.stored.contains(wanted) else {
                    let all = LogModel.stored.map(\.name).joined(separator: ", ")
                    throw ValidationError("--model is one of \(all)")
                }
                question.model = wanted
            }
            let path = "/v1/attribution/log-conversions/\(event.percentEncoded)/why"
            let query = ServerClient.query([
                ("conversion", conversion), ("model", model), ("version", version.map { String($0) }), ("app", app),
            ])
            let (org, asked) = (place.org, question)
            let answer = try await place.ask("GET", path + query) { attribution in
                try await attribution.why(org: org, asked)
            }
            if json { return try Output.json(answer) }
            for line in Self.text(answer) { Output.line(line) }
        }

        private static func text(_ answer: JSONValue) -> [String] {
            let (conversion, result) = (answer["conversion"], answer["result"])
            let currency = conversion?["currency"]?.string.flatMap { Currency($0) }
            var lines = TextTable.lines([
                [
                    "\(result?["conversion"]?.string ?? "") \(conversion?["event"]?.string ?? ""): "
                        + money(conversion?["amount_minor"], currency) + " at \(conversion?["at"]?.string ?? "")"
                ]
            ])
            if let returned = conversion?["returned_minor"], returned.integer ?? 0 > 0 {
                lines.append("refunds took \(money(returned, currency))")
            }
            for refund in answer["refunds"]?.array ?? [] {
                let code = refund["currency"]?.string ?? ""
                let amount =
                    refund["amount_minor"]?.integer == nil
                    ? "all" : money(refund["amount_minor"], Currency(code) ?? currency)
                lines.append(
                    "refund \(refund["event"]?.string ?? "") of \(amount) at \(refund["at"]?.string ?? ""): "
                        + (refund["reason"]?.string ?? "taken"))
            }
            if answer["organic"]?.bool == true { lines.append("organic: no touch was eligible") }
            if answer["truncated"]?.bool == true { lines.append("only the newest touches of the journey are kept") }
            var touches = [["touch", "time", "type", "channel", "campaign", "counts", "event"]]
            for touch in answer["touches"]?.array ?? [] {
                let place = touch["touchpoint"]?.integer.map { String($0 + 1) } ?? ""
                touches.append([
                    place, touch["at"]?.string ?? "", touch["type"]?.string ?? "joined",
                    touch["channel"]?.string ?? "", touch["campaign"]?.string ?? "",
                    touch["reason"]?.string ?? "yes", touch["event"]?.string ?? "",
                ])
            }
            if touches.count > 1 { lines += [""] + TextTable.lines(touches) }
            if let rest = answer["touches_left_out"]?.integer, rest > 0 { lines.append("\(rest) more touches") }
            for model in answer["models"]?.array ?? [] { lines += [""] + credits(model, currency) }
            lines.append("")
            lines.append(
                "version \(result?["version"]?.integer ?? 0) of \(result?["finished_at"]?.string ?? ""), log position "
                    + (result?["position"]?.string ?? "-"))
            return lines
        }

        private static func credits(_ model: JSONValue, _ currency: Currency?) -> [String] {
            var rows = [["touch", "formula", "weight", "credit", "value"]]
            for credit in model["credits"]?.array ?? [] {
                rows.append([
                    credit["touchpoint"]?.integer.map { String($0 + 1) } ?? "organic",
                    number(credit["raw"]), number(credit["weight"]),
                    String(format: "%.6f", (credit["credit_ppm"]?.double ?? 0) / 1_000_000),
                    money(credit["amount_minor"], currency),
                ])
            }
            let flat = model["split_equally"]?.bool == true ? "; everything weighs 0: shared equally" : ""
            return ["\(model["model"]?.string ?? ""): \(model["formula"]?.string ?? "")\(flat)"]
                + TextTable.lines(rows)
        }

        private static func number(_ value: JSONValue?) -> String { String(format: "%.6g", value?.double ?? 0) }

        private static func money(_ minor: JSONValue?, _ currency: Currency?) -> String {
            guard let minor = minor?.integer, let currency else { return "-" }
            return Money(minorUnits: minor, currency: currency).description
        }
    }
}
