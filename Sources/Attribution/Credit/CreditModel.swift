package import AurumCore
package import Events

/// A rule that divides one conversion among the touchpoints before it.
package enum CreditModel: String, Sendable, CaseIterable, Codable {
    /// All credit to the first touchpoint.
    case first
    /// All credit to the last touchpoint.
    case last

    /// Shares in millionths, one for each touchpoint in order; they add up to 1,000,000. Empty for no touchpoints.
    package func shares(count: Int) -> [Int64] {
        guard count > 0 else { return [] }
        var shares = [Int64](repeating: 0, count: count)
        switch self {
        case .first: shares[0] = 1_000_000
        case .last: shares[count - 1] = 1_000_000
        }
        return shares
    }
}

/// How long before a conversion a touchpoint may earn credit for it; both ends belong to the window.
package struct LookbackWindow: Sendable, Equatable {
    package var click: Duration
    package var view: Duration

    package init(click: Duration, view: Duration) {
        self.click = click
        self.view = view
    }

    /// A sold lead: 30 days after a click or visit, 24 hours after a view.
    package static let leadSale = LookbackWindow(click: .seconds(30 * 86_400), view: .seconds(86_400))
}

/// The touchpoints of one person before one conversion, oldest first.
package struct Journey: Sendable {
    package let touches: [Touch]

    /// Newest touchpoints that a journey keeps.
    package static let touchesMax = 200
    static let sameTouchWithin: Duration = .seconds(10)

    /// Orders by time and event id, drops what lies outside the window, and folds what is one touchpoint: events of one
    /// click id, and events of one campaign and kind within ten seconds.
    package init(_ candidates: [Touch], conversionAt: Timestamp, window: LookbackWindow) {
        let eligible = candidates.filter { touch in
            let age = conversionAt - touch.at
            return age >= .zero && age <= (touch.kind == .impression ? window.view : window.click)
        }
        .sorted { ($0.at, $0.eventID) < ($1.at, $1.eventID) }
        var kept: [Touch] = []
        for touch in eligible where !kept.contains(where: { Self.isSame($0, touch) }) { kept.append(touch) }
        touches = Array(kept.suffix(Self.touchesMax))
    }

    private static func isSame(_ earlier: Touch, _ later: Touch) -> Bool {
        if let click = earlier.clickID, click == later.clickID { return true }
        return earlier.kind == later.kind && earlier.campaign == later.campaign && earlier.source == later.source
            && earlier.medium == later.medium && earlier.channel == later.channel
            && later.at - earlier.at <= sameTouchWithin
    }
}

/// One touchpoint's part of one conversion.
package struct Credit: Sendable, Equatable, Codable {
    /// nil for a conversion without touchpoints.
    package var eventID: String?
    package var campaign: String
    package var source: String
    package var medium: String
    package var channel: String
    package var at: Timestamp
    /// Millionths of the conversion.
    package var sharePPM: Int64
    package var amount: Money

    /// The label of a conversion that no touchpoint led to.
    package static let organic = "(organic)"
    /// The label of a touch without the fact in question.
    package static let none = "(none)"

    /// Divides `value` under `model`. Parts are rounded by largest remainder, ties to the later touchpoint, so that
    /// they add up exactly.
    package static func split(_ value: Money, over journey: Journey, model: CreditModel, at: Timestamp) -> [Credit] {
        guard !journey.touches.isEmpty else {
            return [
                Credit(
                    eventID: nil, campaign: organic, source: none, medium: none, channel: "organic", at: at,
                    sharePPM: 1_000_000, amount: value)
            ]
        }
        let shares = model.shares(count: journey.touches.count)
        let amounts = apportion(value.minorUnits, shares: shares)
        return journey.touches.indices.compactMap { index in
            guard shares[index] > 0 else { return nil }
            let touch = journey.touches[index]
            return Credit(
                eventID: touch.eventID, campaign: touch.campaign ?? none, source: touch.source ?? none,
                medium: touch.medium ?? none, channel: touch.channel.rawValue, at: touch.at, sharePPM: shares[index],
                amount: Money(minorUnits: amounts[index], currency: value.currency))
        }
    }

    /// `total` divided in proportion to `shares` (millionths that add up to 1,000,000).
    package static func apportion(_ total: Int64, shares: [Int64]) -> [Int64] {
        var parts: [Int64] = []
        var remainders: [(remainder: UInt64, index: Int)] = []
        for (index, share) in shares.enumerated() {
            let product = total.magnitude.multipliedFullWidth(by: UInt64(share))
            let (quotient, remainder) = UInt64(1_000_000).dividingFullWidth(product)
            parts.append(Int64(quotient))
            remainders.append((remainder, index))
        }
        var missing = Int64(total.magnitude) - parts.reduce(0, +)
        for candidate in remainders.sorted(by: { ($0.remainder, $0.index) > ($1.remainder, $1.index) })
        where missing > 0 {
            parts[candidate.index] += 1
            missing -= 1
        }
        return total < 0 ? parts.map { -$0 } : parts
    }
}
