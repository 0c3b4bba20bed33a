internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Hummingbird

/// The model of custom weights, conversion by conversion: weights of the places in a journey and factors of channels.
extension AttributionPages {
    private static let weights = "weights"
    private static let places = ["first", "middle", "milestone", "last"]
    /// Every channel, and those without a factor of their own.
    private static let factors = Channel.allCases.map(\.rawValue) + ["*"]
    private static let channel = "channel_"

    func registerWeights(in book: RouteBook) {
        let page = Page(
            name: Self.weights, summary: "Conversions with custom weights, and a form that sets them.",
            show: { try await showWeights($0) }, change: { try await changeWeights($0, $1) })
        register(page, in: book)
    }

    private func showWeights(_ visit: Visit) async throws -> [String: JSONValue] {
        let all = try await conversions(org: visit.principal.org)
        let weighted = all.filter { $0.definition?.custom != nil }
        let asked = RequestInput.text("conversion", visit.request) ?? ""
        let chosen = all.first { $0.name == asked }
        var values: [String: JSONValue] = [
            "weighted": .array(weighted.map(Self.row)), "no-weights": .bool(weighted.isEmpty),
            "weights-form": visit.form(Self.weightsForm(all.map(\.name), chosen)),
        ]
        if !asked.isEmpty, chosen == nil {
            (values["alert"], values["wrong-link"]) = ("There is no conversion of this name.", true)
        }
        return values
    }

    private static func row(_ saved: SavedDefinition) -> JSONValue {
        let custom = saved.json?["custom"]
        let channels = (custom?["channels"]?.object ?? [:]).sorted { $0.key < $1.key }.map { name, factor in
            "\(name == "*" ? "others" : PageText.words(name)) × \(PageText.number(factor.double ?? 1, decimals: 6))"
        }
        var members: [String: JSONValue] = [
            "conversion": .string(saved.name), "version": .integer(Int64(saved.version)),
            "starts": .string(PageText.moment(saved.startsAt)),
            "channels": .string(channels.isEmpty ? "All alike" : channels.joined(separator: ", ")),
        ]
        for place in places {
            members[place] = .string(PageText.number(custom?[place]?.double ?? 0, decimals: 6))
        }
        return .object(members)
    }

    /// - Parameter chosen: whose weights stand in the fields.
    private static func weightsForm(_ names: [String], _ chosen: SavedDefinition?) -> PageForm {
        let custom = chosen?.json?["custom"]
        func text(_ value: JSONValue?) -> String { value?.double.map { PageText.number($0, decimals: 6) } ?? "" }
        let places = places.map { place in
            PageForm.Field(
                name: place, label: PageText.words(place) + " touch", kind: .input("text", "0"),
                standard: text(custom?[place]))
        }
        let factors = factors.map { name in
            PageForm.Field(
                name: channel + name, label: name == "*" ? "Factor of all others" : "Factor of \(PageText.words(name))",
                kind: .input("text", "1"), standard: text(custom?["channels"]?[name]))
        }
        return PageForm(
            name: "weights", action: path(weights), submit: "Save the weights",
            fields: [
                PageForm.Field(
                    name: "conversion", label: "Conversion", kind: .choice(names.map { ($0, $0) }),
                    standard: chosen?.name ?? "purchase"),
                PageForm.Field(
                    name: "starts_at", label: "Holds from", kind: .input("text", "2026-11-01"),
                    hint: "A date of UTC or RFC 3339; now unless told."),
            ] + places + factors)
    }

    private func changeWeights(_ principal: Principal, _ input: FormInput) async throws -> String {
        var change: [String: JSONValue] = ["custom": .null]
        switch input.form {
        case "weights":
            change["custom"] = try Self.custom(input)
            change["starts_at"] = input["starts_at"].map { .string($0) }
        case "remove-weights": break
        default: throw FormRefusal("", "The page has no such form.")
        }
        do {
            try await changeDefinition(
                input["conversion"] ?? "", change, field: "conversion", org: principal.org)
        } catch {
            guard let refusal = FormRefusal(error) else { throw error }
            throw Self.placed(refusal)
        }
        return input.form
    }

    private static func custom(_ input: FormInput) throws(FormRefusal) -> JSONValue {
        var (members, channels): ([String: JSONValue], [String: JSONValue]) = ([:], [:])
        for place in places { members[place] = try input.number(place) }
        for name in factors { channels[name] = try input.number(channel + name) }
        if !channels.isEmpty { members["channels"] = .object(channels) }
        return .object(members)
    }

    /// A refusal of a weight beside the field of that weight.
    private static func placed(_ refusal: FormRefusal) -> FormRefusal {
        guard refusal.field == "custom" else { return refusal }
        for name in places + factors where refusal.detail.contains("The weight of \(name) ") {
            let field = places.contains(name) ? name : channel + name
            return FormRefusal(field, refusal.detail)
        }
        return FormRefusal("", "This " + refusal.detail)
    }
}
