internal import Foundation

/// What the models see of a journey: how many touches, how long before the last one each was, which are direct, and
/// where the milestone stands. Filled anew for each journey, so that its storage is reused.
package struct JourneyFacts: Sendable {
    /// Touches, oldest first.
    package var count = 0
    /// From each touch to the last, in the unit of the half-life (seconds or steps); empty when nobody knows.
    package var ages: [Double] = []
    /// Whether a touch is a direct visit; empty when none is.
    package var isDirect: [Bool] = []
    /// What the touch's channel counts under custom weights; empty when every channel counts 1.
    package var factors: [Double] = []
    /// The last touch at or before the first milestone event; nil without one.
    package var milestone: Int?

    package init() {}
}

/// The credit of every touch of one journey under every model: the one place where those formulas live. The running
/// server's sales and `aurum attribute` both come here.
package enum JourneyCredit {
    /// Half of a touch's credit is gone after this long, unless an app says otherwise: seconds.
    package static let halfLifeSeconds = 7.0 * 86_400

    /// Weights of `facts.count` touches under `model`: each 0 or more, together 1. Empty for no touches.
    ///
    /// The sum of the weights is 1 within the rounding of `count` additions. A journey's weights depend on this
    /// journey and model alone.
    package static func weights(
        _ model: CreditModel, _ facts: JourneyFacts, halfLife: Double = halfLifeSeconds, into weights: inout [Double]
    ) {
        let n = facts.count
        weights.removeAll(keepingCapacity: true)
        guard n > 0 else { return }
        weights.append(contentsOf: repeatElement(0, count: n))
        switch model {
        case .first: weights[0] = 1
        case .last: weights[n - 1] = 1
        case .lastNonDirect: weights[lastNonDirect(facts)] = 1
        case .linear: for index in 0..<n { weights[index] = 1 / Double(n) }
        case .timeDecay: decay(facts, halfLife, &weights)
        case .position: position(n, &weights)
        case .wShaped:
            if let milestone = facts.milestone {
                anchors((0.3, 0, 0.3, 0.4), milestone, &weights)
            } else if n == 1 {
                weights[0] = 1
            } else {
                (weights[0], weights[n - 1]) = (3.0 / 7, 4.0 / 7)
            }
        case .wShaped30303010: custom(.example, facts, &weights)
        }
    }

    /// The same under custom weights. A journey whose touches all weigh nothing is shared equally.
    package static func weights(_ custom: CustomWeights, _ facts: JourneyFacts, into weights: inout [Double]) {
        weights.removeAll(keepingCapacity: true)
        guard facts.count > 0 else { return }
        weights.append(contentsOf: repeatElement(0, count: facts.count))
        self.custom(custom, facts, &weights)
    }

    private static func lastNonDirect(_ facts: JourneyFacts) -> Int {
        guard !facts.isDirect.isEmpty else { return facts.count - 1 }
        return (0..<facts.count).last { !facts.isDirect[$0] } ?? facts.count - 1
    }

    /// 0.5^(age / half-life), ages counted from the last touch, which therefore weighs 1 and keeps the sum from
    /// underflowing.
    private static func decay(_ facts: JourneyFacts, _ halfLife: Double, _ weights: inout [Double]) {
        guard !facts.ages.isEmpty, halfLife > 0 else {
            for index in weights.indices { weights[index] = 1 / Double(facts.count) }
            return
        }
        for index in weights.indices { weights[index] = exp2(-facts.ages[index] / halfLife) }
        normalise(&weights)
    }

    private static func position(_ n: Int, _ weights: inout [Double]) {
        if n == 1 {
            weights[0] = 1
        } else if n == 2 {
            (weights[0], weights[1]) = (0.5, 0.5)
        } else {
            for index in 1..<(n - 1) { weights[index] = 0.2 / Double(n - 2) }
            (weights[0], weights[n - 1]) = (0.4, 0.4)
        }
    }

    private static func custom(_ custom: CustomWeights, _ facts: JourneyFacts, _ weights: inout [Double]) {
        anchors((custom.first, custom.middle, custom.milestone, custom.last), facts.milestone, &weights)
        if !facts.factors.isEmpty { for index in weights.indices { weights[index] *= facts.factors[index] } }
        normalise(&weights)
    }

    /// Puts the weights of first, middle, milestone and last on the touches that play these parts.
    private static func anchors(
        _ parts: (first: Double, middle: Double, milestone: Double, last: Double), _ milestone: Int?,
        _ weights: inout [Double]
    ) {
        let n = weights.count
        weights[0] += parts.first
        if let milestone { weights[milestone] += parts.milestone }
        weights[n - 1] += parts.last
        let others = (0..<n).filter { $0 > 0 && $0 < n - 1 && $0 != milestone }
        for index in others { weights[index] += parts.middle / Double(others.count) }
    }

    private static func normalise(_ weights: inout [Double]) {
        let sum = weights.reduce(0, +)
        let count = Double(weights.count)
        for index in weights.indices { weights[index] = sum > 0 ? weights[index] / sum : 1 / count }
    }
}

/// Division of whole units, exact to the last one.
package enum Apportionment {
    /// Weights become whole units of 2⁻⁴⁰ before money is divided, so that equal weights stay equal to the last
    /// digit.
    private static let unitsOfOne = 1_099_511_627_776.0

    /// `total` divided in proportion to `weights` (each 0 or more, not all 0), parts rounded by largest remainder, ties
    /// to the later touch. The parts add up to `total` exactly.
    package static func divide(_ total: Int64, weights: [Double]) -> [Int64] {
        divide(total, shares: weights.map { Int64(($0 * unitsOfOne).rounded()) })
    }

    /// The same for whole-number shares of any positive sum.
    package static func divide(_ total: Int64, shares: [Int64]) -> [Int64] {
        let whole = UInt64(shares.reduce(0, +))
        guard whole > 0 else { return shares.map { _ in 0 } }
        var parts: [UInt64] = []
        var remainders: [(remainder: UInt64, index: Int)] = []
        for (index, share) in shares.enumerated() {
            let product = total.magnitude.multipliedFullWidth(by: UInt64(share))
            let (quotient, remainder) = whole.dividingFullWidth(product)
            parts.append(quotient)
            remainders.append((remainder, index))
        }
        var missing = total.magnitude - parts.reduce(0, +)
        for candidate in remainders.sorted(by: { ($0.remainder, $0.index) > ($1.remainder, $1.index) })
        where missing > 0 {
            parts[candidate.index] += 1
            missing -= 1
        }
        return parts.map { Int64(truncatingIfNeeded: total < 0 ? 0 &- $0 : $0) }
    }
}
