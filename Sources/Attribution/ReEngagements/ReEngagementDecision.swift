internal import AurumCore
internal import Events

/// What an open itself says of the link that led to it.
struct OpenLink: Sendable, Equatable {
    var network: String?
    var campaign: String?
    var publisher: String?
    var creative: String?
    var adGroup: String?
    var channel: String
    var place: JourneyPlace

    /// The open as a touch of its own time, which its link found.
    func touch(_ facts: InstallFacts, eventID: String) -> InstallTouch {
        var bare = CandidateTouch(id: facts.id, at: facts.at, kind: .click)
        (bare.event, bare.network, bare.campaign) = (facts.event, network, campaign)
        (bare.publisher, bare.deviceID) = (publisher, facts.device)
        bare.clickID = facts.clickID ?? facts.deepLinkClickID
        var touch = InstallTouch(bare, eventID: eventID, app: facts.app)
        (touch.creative, touch.adGroup, touch.channel) = (creative, adGroup, channel)
        (touch.place, touch.methods) = (place, [.deepLink])
        return touch
    }

    init(
        network: String?, campaign: String?, publisher: String?, creative: String?, adGroup: String?, channel: String,
        place: JourneyPlace
    ) {
        (self.network, self.campaign, self.publisher) = (network, campaign, publisher)
        (self.creative, self.adGroup, self.channel, self.place) = (creative, adGroup, channel, place)
    }

    init?(_ body: JSONValue) {
        guard let channel = body["channel"]?.string else { return nil }
        func word(_ name: String) -> UInt64 { UInt64(bitPattern: body[name]?.integer ?? 0) }
        var place = JourneyPlace()
        (place.person, place.order, place.click) = (word("person"), word("sort_id"), word("click_hash"))
        place.tail = UInt16(truncatingIfNeeded: body["sort_tail"]?.integer ?? 0)
        self.init(
            network: body["network"]?.string, campaign: body["campaign"]?.string,
            publisher: body["publisher"]?.string, creative: body["creative"]?.string,
            adGroup: body["ad_group"]?.string, channel: channel, place: place)
    }

    var json: JSONValue {
        func word(_ value: UInt64) -> JSONValue { .integer(Int64(bitPattern: value)) }
        var members: [String: JSONValue] = [
            "channel": .string(channel), "person": word(place.person), "sort_id": word(place.order),
            "sort_tail": .integer(Int64(place.tail)), "click_hash": word(place.click),
        ]
        let texts = [
            ("network", network), ("campaign", campaign), ("publisher", publisher), ("creative", creative),
            ("ad_group", adGroup),
        ]
        for (name, text) in texts { if let text { members[name] = .string(text.storable) } }
        return .object(members)
    }
}

/// What is known of a device before an open.
struct DeviceHistory: Sendable, Equatable {
    /// Event id of its newest install of the app before the open; nil for a device without one.
    var install: String?
    /// Its newest use of the app before the session that the open began.
    var lastSession: Timestamp?
    /// Whether that lies in the days in which there may be none.
    var hasSession = false
    /// Whether everything of those days is known that any log holds.
    var isKnown = true
    /// From when on uses are known; nil where always.
    var knownFrom: Timestamp?
}

/// Whether an open is a re-engagement, and what led to it.
struct ReEngagementDecision: Sendable, Equatable {
    package enum Outcome: String, Sendable, CaseIterable {
        case reEngagement = "re_engagement"
        /// The device has no install of the app that was before the open.
        case noInstall = "no_install"
        /// The device used the app in the days in which there may be no session.
        case sessionBefore = "session_before"
        /// Whether the device used the app in those days is not known: some of them lie before uses were kept.
        case historyUnknown = "history_unknown"
        /// Neither a click or view nor the link itself says who brought the person back.
        case noTouch = "no_touch"
    }

    /// Uses of the app so shortly before the open belong to the session that it began: microseconds.
    static let sameSession: Int64 = 10_000_000

    var outcome: Outcome
    var history: DeviceHistory
    var rule: ReEngagementRule
    var match: InstallDecision
    let at: Timestamp

    /// Decides by values alone.
    /// - Parameters:
    ///   - touches: what the identifiers of the open found, each once.
    ///   - barred: ids of events that get no credit.
    static func decide(
        _ facts: InstallFacts, eventID: String, link: OpenLink?, _ touches: [InstallTouch], barred: Set<String>,
        _ history: DeviceHistory, _ rule: ReEngagementRule
    ) -> ReEngagementDecision {
        let window = InstallWindow(rule.window, version: rule.version)
        // What a device or an account saw before its last session led to that one, and before sessions are known nobody
        // can tell. A click id says which click it was.
        let candidates = touches.compactMap { touch -> InstallTouch? in
            guard let last = [history.lastSession, history.knownFrom].compactMap({ $0 }).max(), touch.touch.at <= last
            else { return touch }
            var named = touch
            named.methods.subtract([.deviceID, .userID])
            return named.methods.isEmpty ? nil : named
        }
        func match(_ touches: [InstallTouch]) -> InstallDecision {
            let rejected = FraudVerdict(outcome: .rejected, codes: ["barred"])
            return InstallMatcher.decide(
                facts, touches, window: window,
                verdicts: (.clean, touches.map { barred.contains($0.eventID) ? rejected : .clean }))
        }
        var found = match(candidates)
        // The link speaks for itself where its click is not known, and is a click before any view; not where that
        // click is barred.
        let isBarred = candidates.contains {
            barred.contains($0.eventID) && !$0.methods.isDisjoint(with: [.clickID, .deepLink])
        }
        if found.touch?.touch.kind != .click, !isBarred, let link {
            found = match(candidates + [link.touch(facts, eventID: eventID)])
        }
        let outcome: Outcome =
            if history.install == nil {
                .noInstall
            } else if history.hasSession {
                .sessionBefore
            } else if !history.isKnown {
                .historyUnknown
            } else {
                found.touch == nil ? .noTouch : .reEngagement
            }
        return ReEngagementDecision(outcome: outcome, history: history, rule: rule, match: found, at: facts.at)
    }

    /// The last moment at which conversions are its own.
    static func until(_ at: Timestamp) -> Timestamp { at + .microseconds(ReEngagementRule.holdsFor) }

    /// Everything but the open itself and the version: two decisions that say the same have the same text.
    var json: JSONValue {
        var members = match.json.object ?? [:]
        members["is_reinstall"] = nil
        members["outcome"] = .string(outcome.rawValue)
        members["install"] = history.install.map { .string($0) } ?? .null
        members["last_session_at"] = history.lastSession.map { .string($0.rfc3339) } ?? .null
        members["inactive_days"] = .integer(Int64(rule.inactiveDays))
        members["until"] = outcome == .reEngagement ? .string(Self.until(at).rfc3339) : .null
        return .object(members)
    }
}
