internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Hummingbird

/// Incrementality experiments: what each measured, and which of them the model `data_driven` goes by.
extension AttributionPages {
    private static let experiments = "experiments"

    func registerExperiments(in book: RouteBook) {
        let page = Page(
            name: Self.experiments,
            summary: "Imported experiments with lift and interval, and the factors that data_driven takes from them.",
            show: { try await showExperiments($0) }, change: { try await changeExperiments($0, $1) })
        register(page, in: book)
    }

    private func showExperiments(_ visit: Visit) async throws -> [String: JSONValue] {
        let org = visit.principal.org
        let all = try await parts.attribution.experiments.all(org: org)
        var factors: [String: [ChannelFactor]] = [:]
        for conversion in Set(all.map(\.conversion)) {
            factors[conversion] = try await parts.attribution.factors(org: org, conversion: conversion)
        }
        let names = try await conversions(org: org).map(\.name)
        return [
            "experiments": .array(all.map { Self.row($0, factors[$0.conversion]) }),
            "no-experiments": .bool(all.isEmpty), "import-form": visit.form(Self.importForm(names)),
        ]
    }

    /// Why another experiment of the channel counts: of two that the newest run serves the newer does.
    private static func instead(_ factors: [ChannelFactor], of experiment: SavedExperiment) -> String {
        let used = factors.first { $0.experiment?.channel == experiment.channel }?.experiment
        return used.map { $0.to < experiment.to } == true
            ? "The newest run does not serve its days; an older one counts." : "A newer one of the channel counts."
    }

    /// - Parameter factors: of its conversion; nil where no run has ended.
    private static func row(_ experiment: SavedExperiment, _ factors: [ChannelFactor]?) -> JSONValue {
        let json = experiment.json
        let lift = json["measured"]?["lift"]
        let mine = factors?.first { $0.experiment?.name == experiment.name }
        let reason: String? =
            switch mine {
            case let mine? where mine.gap == nil: nil
            case let mine? where mine.gap == .runMissesDays: "The newest run does not cover its days."
            case .some: "Nothing was credited to the channel in its days."
            case nil: factors.map { instead($0, of: experiment) } ?? "No run has ended yet."
            }
        return [
            "experiment": .string(experiment.name), "method": .string(PageText.words(json["method"]?.string ?? "")),
            "channel": .string(PageText.words(experiment.channel)), "conversion": .string(experiment.conversion),
            "days": .string("\(json["from"]?.string ?? "") to before \(json["to"]?.string ?? "")"),
            "lift": .string(PageText.percent(lift?["value"]?.double)), "interval": .string(interval(lift)),
            "incremental": .string(PageText.number(experiment.incremental.value, decimals: 1)),
            "factor": .string(reason == nil ? factor(mine?.factorPPM) : "—"),
            "factor-interval": reason == nil
                ? .string("\(factor(mine?.lowPPM)) to \(factor(mine?.highPPM))") : false,
            "state": .string(reason == nil ? "in use" : "not used"), "reason": reason.map { .string($0) } ?? false,
        ]
    }

    private static func interval(_ lift: JSONValue?) -> String {
        let ends = ["low", "high"].map { lift?[$0]?.double }
        if ends == [nil, nil] { return "not bounded" }
        return ends.map { $0.map { PageText.percent($0) } ?? "not bounded" }.joined(separator: " to ")
    }

    private static func factor(_ millionths: Int64?) -> String {
        PageText.number(Double(millionths ?? 0) / 1_000_000, decimals: 3)
    }

    private static func importForm(_ conversions: [String]) -> PageForm {
        PageForm(
            name: "import", action: path(experiments), submit: "Import the experiment",
            fields: [
                PageForm.Field(name: "name", label: "Name", kind: .input("text", "search-october")),
                PageForm.Field(
                    name: "method", label: "Method", kind: choices(Experiment.Method.allCases.map(\.rawValue))),
                PageForm.Field(
                    name: "channel", label: "Channel", kind: choices(Channel.allCases.map(\.rawValue))),
                PageForm.Field(
                    name: "conversion", label: "Conversion", kind: .choice(conversions.map { ($0, $0) }),
                    standard: "purchase"),
                PageForm.Field(name: "from", label: "First day", kind: .input("date", "2026-10-01")),
                PageForm.Field(name: "to", label: "Day after the last", kind: .input("date", "2026-10-29")),
                PageForm.Field(
                    name: "currency", label: "Currency of spend", kind: .input("text", "USD"), standard: "USD"),
                PageForm.Field(
                    name: "csv", label: "Regions as CSV", kind: .area(10),
                    hint: "region,side,conversions and, where known, spend and size; side is treated or control."),
            ])
    }

    private func changeExperiments(_ principal: Principal, _ input: FormInput) async throws -> String {
        switch input.form {
        case "import": try await importExperiment(input, org: principal.org)
        case "remove-experiment":
            try await parts.attribution.experiments.remove(input["name"] ?? "", org: principal.org)
        default: throw FormRefusal("", "The page has no such form.")
        }
        return input.form
    }

    private func importExperiment(_ input: FormInput, org: String) async throws {
        guard let currency = Currency(input["currency"] ?? "USD") else {
            throw FormRefusal("currency", "must be three letters, like USD.")
        }
        var body: [String: JSONValue] = ["currency": .string(currency.code)]
        for name in ["name", "method", "channel", "conversion", "from", "to"] { body[name] = input.json(name) }
        do throws(InputError) {
            body["regions"] = try ExperimentFile.regions(Array((input.values["csv"] ?? "").utf8), currency: currency)
        } catch { throw FormRefusal("csv", error.sentence) }
        do { _ = try await parts.attribution.experiments.add(.object(body), org: org) } catch {
            guard let refusal = FormRefusal(error), refusal.field.hasPrefix("regions") else { throw error }
            throw FormRefusal("csv", refusal.sentence)
        }
    }
}
