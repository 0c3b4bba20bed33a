/// A rule that divides one conversion among the touchpoints before it, with nothing but the journey itself to go by.
package enum CreditModel: String, Sendable, CaseIterable, Codable {
    /// All credit to the first touchpoint.
    case first
    /// All credit to the last touchpoint.
    case last
    /// All credit to the last touchpoint whose channel is not `direct`; to the last when all are direct.
    case lastNonDirect = "last_non_direct"
    /// The same credit to each.
    case linear
    /// Half the credit for each half-life that a touchpoint is older.
    case timeDecay = "time_decay"
    /// 40 % first, 40 % last, 20 % shared between.
    case position
    /// 30 % first, 30 % the touch before the milestone, 40 % last.
    case wShaped = "w_shaped"
    /// 30 % first, 30 % milestone, 30 % last, 10 % shared by the others: the custom weights that ship as an example.
    case wShaped30303010 = "w_shaped_30_30_30_10"
}

/// How much the anchors of a journey earn, and how much a channel counts.
///
/// The weights of touches that play one part are shared by them; a touch that plays several parts adds them up; what
/// no touch of a journey plays is shared by the rest in proportion.
package struct CustomWeights: Sendable, Equatable {
    package let first: Double
    /// Shared by all touches that are neither first nor last nor the milestone's.
    package let middle: Double
    package let milestone: Double
    package let last: Double
    /// Multiplies the weight of every touch of a channel; 1 for channels that are not named.
    package let channelFactors: [String: Double]

    /// Why weights are refused.
    package enum Refusal: Error, Sendable, Equatable {
        case notANumber(String)
        case negative(String)
        case tooLarge(String)
        case allZero

        package var sentence: String {
            switch self {
            case .notANumber(let name): "The weight of \(name) is no number."
            case .negative(let name): "The weight of \(name) is negative."
            case .tooLarge(let name): "The weight of \(name) is more than \(CustomWeights.most)."
            case .allZero: "All weights are 0: nobody would get credit."
            }
        }
    }

    /// Of a weight and of a factor: what touches add up to stays a number.
    package static let most = 1_000_000
    package static let example = CustomWeights(known: 0.3, 0.1, 0.3, 0.3)

    private init(known first: Double, _ middle: Double, _ milestone: Double, _ last: Double) {
        (self.first, self.middle, self.milestone, self.last, channelFactors) = (first, middle, milestone, last, [:])
    }

    /// - Throws: when a weight is negative, above `most` or no number, or all are zero.
    package init(
        first: Double, middle: Double, milestone: Double, last: Double, channelFactors: [String: Double] = [:]
    ) throws(Refusal) {
        let anchors = [("first", first), ("middle", middle), ("milestone", milestone), ("last", last)]
        for (name, weight) in anchors + channelFactors.sorted(by: { $0.key < $1.key }) {
            guard weight.isFinite else { throw .notANumber(name) }
            guard weight >= 0 else { throw .negative(name) }
            guard weight <= Double(Self.most) else { throw .tooLarge(name) }
        }
        guard anchors.contains(where: { $0.1 > 0 }) else { throw .allZero }
        if !channelFactors.isEmpty, channelFactors.values.allSatisfy({ $0 == 0 }), channelFactors["*"] == 0 {
            throw .allZero
        }
        (self.first, self.middle, self.milestone, self.last) = (first, middle, milestone, last)
        self.channelFactors = channelFactors
    }
}
