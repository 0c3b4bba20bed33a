package import AurumCore
package import Events

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
    /// Everything that may earn credit within its window, oldest first, before what is one touchpoint was folded.
    let eligible: [Touch]

    /// Newest touchpoints that a journey keeps.
    package static let touchesMax = 200
    /// Newest events that are looked at for them, as in runs over the log.
    static let eventsMax = TouchFold.eventsMax
    static let sameTouchWithin: Duration = .seconds(10)

    /// Orders by time and event id, drops what refuses advertising or lies outside the window, and folds what is one
    /// touchpoint: events of one click id (earliest time, strongest kind), and events of one campaign and kind within
    /// ten seconds.
    package init(_ candidates: [Touch], conversionAt: Timestamp, window: LookbackWindow) {
        eligible = candidates.filter { touch in
            let age = conversionAt - touch.at
            let reach = touch.kind == .impression ? window.view : window.click
            return !touch.refusesAdvertising && age >= .zero && age <= reach
        }
        .sorted { ($0.at, $0.eventID) < ($1.at, $1.eventID) }
        var kept: [Touch] = []
        // The touchpoint of every click id, those of events that were folded for another reason among them.
        var places: [String: Int] = [:]
        for touch in eligible {
            if let click = touch.clickID, let place = places[click] {
                Self.strengthen(&kept[place], by: touch)
                continue
            }
            let place = kept.lastIndex { Self.isSame($0, touch) } ?? kept.count
            if place == kept.count { kept.append(touch) }
            if let click = touch.clickID { places[click] = place }
        }
        touches = Array(kept.suffix(Self.touchesMax))
    }

    /// What the models see: ages in seconds, and the milestone's touch when there was a milestone.
    package func facts(milestoneAt: Timestamp?) -> JourneyFacts {
        var facts = JourneyFacts()
        facts.count = touches.count
        guard let newest = touches.last else { return facts }
        facts.ages = touches.map { (newest.at - $0.at).seconds }
        facts.isDirect = touches.map { $0.channel == .direct }
        facts.milestone = milestoneAt.flatMap { at in touches.lastIndex { $0.at <= at } }
        return facts
    }

    /// Time and event stay the earlier one's; a click says more than a view, and a view more than a visit. What the
    /// stronger does not say of its ad, the weaker may: one click id is one ad.
    private static func strengthen(_ earlier: inout Touch, by later: Touch) {
        guard later.kind.rawValue < earlier.kind.rawValue else {
            earlier.ad.fill(from: later.ad)
            return
        }
        var ad = later.ad
        ad.fill(from: earlier.ad)
        earlier.ad = ad
        (earlier.kind, earlier.channel, earlier.network) = (later.kind, later.channel, later.network)
        (earlier.campaign, earlier.campaignID) = (later.campaign, later.campaignID)
        (earlier.source, earlier.medium) = (later.source, later.medium)
    }

    private static func isSame(_ earlier: Touch, _ later: Touch) -> Bool {
        earlier.kind == later.kind && earlier.campaign == later.campaign && earlier.source == later.source
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
    /// Says nothing where an earlier release stored the credit.
    package var ad = AdNames()
    package var at: Timestamp
    /// Millionths of the conversion.
    package var sharePPM: Int64
    package var amount: Money

    /// The label of a conversion that no touchpoint led to.
    package static let organic = "(organic)"
    /// Its channel.
    static let organicChannel = "organic"
    /// The label of what experiments say that no advertising brought.
    package static let baseline = "(baseline)"
    /// The label of a touch without the fact in question.
    package static let none = "(none)"
    /// The label of a touch whose ad does not say what a report is about.
    package static let notSet = "(not set)"

    /// Campaign, source, medium and channel of a touch, as credit of it says them.
    static func labels(of touch: Touch) -> [String] {
        [
            (touch.campaign ?? touch.campaignID)?.storable ?? none, touch.source?.storable ?? none,
            touch.medium?.storable ?? none, touch.channel.rawValue,
        ]
    }

    /// Divides `value` under `model`: amounts and millionths by largest remainder, ties to the later touchpoint, so
    /// that both add up exactly. Touches that earn nothing are left out.
    package static func split(
        _ value: Money, over journey: Journey, model: CreditModel, milestoneAt: Timestamp? = nil, at: Timestamp
    ) -> [Credit] {
        var weights: [Double] = []
        JourneyCredit.weights(model, journey.facts(milestoneAt: milestoneAt), into: &weights)
        guard !weights.isEmpty else {
            return [
                Credit(
                    eventID: nil, campaign: organic, source: none, medium: none, channel: organicChannel,
                    at: at, sharePPM: 1_000_000, amount: value)
            ]
        }
        let shares = Apportionment.divide(1_000_000, weights: weights)
        let amounts = Apportionment.divide(value.minorUnits, weights: weights)
        return journey.touches.indices.compactMap { index in
            guard shares[index] > 0 || amounts[index] != 0 else { return nil }
            let touch = journey.touches[index]
            let labels = labels(of: touch)
            return Credit(
                eventID: touch.eventID.storable, campaign: labels[0], source: labels[1], medium: labels[2],
                channel: labels[3], ad: touch.ad.storable, at: touch.at, sharePPM: shares[index],
                amount: Money(minorUnits: amounts[index], currency: value.currency))
        }
    }
}
