/// A model over many journeys, as the command line and its answers name it.
package enum ModelChoice: Sendable, Hashable {
    case credit(CreditModel)
    case custom
    case markov(Int)
    case shapley
    case shapleyRate

    /// Key in answers.
    package var key: String {
        switch self {
        case .credit(.first): "first"
        case .credit(.last): "last"
        case .credit(.lastNonDirect): "lastNonDirect"
        case .credit(.linear): "linear"
        case .credit(.timeDecay): "timeDecay"
        case .credit(.position): "position"
        case .credit(.wShaped): "wShaped"
        case .credit(.wShaped30303010): "wShaped30303010"
        case .custom: "custom"
        case .markov(let order): "markov\(order)"
        case .shapley: "shapley"
        case .shapleyRate: "shapleyRate"
        }
    }

    /// What a person reads.
    package var title: String {
        switch self {
        case .credit(.first): "First touch"
        case .credit(.last): "Last touch"
        case .credit(.lastNonDirect): "Last non-direct"
        case .credit(.linear): "Linear"
        case .credit(.timeDecay): "Time decay"
        case .credit(.position): "Position (40/20/40)"
        case .credit(.wShaped): "W-shaped (30/30/40)"
        case .credit(.wShaped30303010): "W-shaped (30/30/30/10)"
        case .custom: "Custom weights"
        case .markov(let order): "Markov, order \(order)"
        case .shapley: "Shapley"
        case .shapleyRate: "Shapley, conversion rate"
        }
    }

    /// What `all` means: everything that needs no setting of its own and gives money.
    package static func all(orders: [Int]) -> [ModelChoice] {
        [CreditModel.first, .last, .lastNonDirect, .linear, .timeDecay, .position, .wShaped].map { .credit($0) }
            + orders.map { .markov($0) } + [.shapley]
    }

    /// A list such as `first,linear,markov1`, or `all`; `markov` alone means every one of `orders`.
    /// - Throws: the name that is no model; an empty one when none is named.
    package static func list(_ text: String, orders: [Int]) throws(UnknownModel) -> [ModelChoice] {
        var chosen: [ModelChoice] = []
        for name in text.split(separator: ",") {
            let bare = bare(name)
            switch bare {
            case "all": chosen += all(orders: orders)
            case "markov": chosen += orders.map { .markov($0) }
            default:
                guard let found = named.first(where: { $0.key.lowercased() == bare }) else {
                    throw UnknownModel(name: name.filter { $0 != " " }.lowercased())
                }
                chosen.append(found)
            }
        }
        guard !chosen.isEmpty else { throw UnknownModel(name: "") }
        var seen: Set<ModelChoice> = []
        return chosen.filter { seen.insert($0).inserted }
    }

    /// Whether `all` stands in a list.
    package static func namesAll(_ text: String) -> Bool { text.split(separator: ",").contains { bare($0) == "all" } }

    private static func bare(_ name: Substring) -> String {
        name.lowercased().filter { $0 != "_" && $0 != "-" && $0 != " " }
    }

    package static let named: [ModelChoice] =
        CreditModel.allCases.map { .credit($0) } + [
            .custom, .markov(1), .markov(2), .markov(3), .shapley, .shapleyRate,
        ]

    package struct UnknownModel: Error, Sendable, Equatable {
        package let name: String
        package var sentence: String {
            (name.isEmpty ? "No model is named" : "There is no model \(name)")
                + "; models are all, \(ModelChoice.named.map(\.key).joined(separator: ", "))."
        }
    }
}
