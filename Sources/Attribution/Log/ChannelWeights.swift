internal import AurumCore

/// Custom weights with the factor of every channel by its number, so that nothing is looked up by name for a touch.
package final class ChannelWeights: Sendable {
    let weights: CustomWeights
    /// Of 32 channels; 1 for numbers that no channel has.
    let factors: [Double]

    package init(_ weights: CustomWeights) {
        self.weights = weights
        let rest = weights.channelFactors[CustomWeights.otherChannels] ?? 1
        let named = TouchChannel.names.map { weights.channelFactors[$0] ?? rest }
        factors = named + [Double](repeating: 1, count: 32 - named.count)
    }
}

extension CustomWeights {
    /// The factor of every channel that is not named.
    static let otherChannels = "*"
    private static let parts = ["first", "middle", "milestone", "last"]

    /// Reads what `json` writes, or the name of the example. Parts that are left out weigh 0; where all are, `channels`
    /// stands alone and first, middle and last weigh 1 each, as on the command line.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    init(_ body: JSONValue) throws(LogAttributionError) {
        if body.string == CreditModel.wShaped30303010.rawValue {
            self = .example
            return
        }
        guard let members = body.object else {
            throw .invalid("custom", "must be an object with weights, or \(CreditModel.wShaped30303010.rawValue).")
        }
        let known = Self.parts + ["channels"]
        guard Set(known).isSuperset(of: members.keys), !members.isEmpty else {
            throw .invalid("custom", "must have \(known.joined(separator: ", ")), some of them, and nothing else.")
        }
        func number(_ name: String, _ json: JSONValue) throws(LogAttributionError) -> Double {
            guard let number = json.double else { throw .invalid("custom.\(name)", "must be a number.") }
            return number
        }
        var weights: [String: Double] = [:]
        for name in Self.parts {
            if let member = members[name] { weights[name] = try number(name, member) }
        }
        if weights.isEmpty { weights = ["first": 1, "middle": 1, "last": 1] }
        var factors: [String: Double] = [:]
        if let channels = members["channels"] {
            guard let channels = channels.object else {
                throw .invalid("custom.channels", "must be an object of channels and factors.")
            }
            for (name, factor) in channels.sorted(by: { $0.key < $1.key }) {
                guard name == Self.otherChannels || TouchChannel.names.contains(name) else {
                    throw .invalid(
                        "custom.channels",
                        "must name \(TouchChannel.names.joined(separator: ", ")), or * for every other.")
                }
                factors[name] = try number("channels.\(name)", factor)
            }
        }
        do throws(Refusal) {
            try self.init(
                first: weights["first"] ?? 0, middle: weights["middle"] ?? 0, milestone: weights["milestone"] ?? 0,
                last: weights["last"] ?? 0, channelFactors: factors)
            let rest = factors[Self.otherChannels] ?? 1
            if TouchChannel.names.allSatisfy({ factors[$0] ?? rest == 0 }) { throw .allZero }
        } catch { throw .invalid("custom", "is refused. \(error.sentence)") }
    }

    var json: JSONValue {
        var members: [String: JSONValue] = [
            "first": .number(first), "middle": .number(middle), "milestone": .number(milestone), "last": .number(last),
        ]
        if !channelFactors.isEmpty { members["channels"] = .object(channelFactors.mapValues { .number($0) }) }
        return .object(members)
    }
}
