package import AurumCore

/// An event as it was stored, with every field of the contract.
package struct StoredEvent: Sendable {
    package var position: LogPosition
    package var receipt: String
    package var org: String
    package var app: String
    /// `native`, `segment`, `rudder`, `posthog`, `ga4`, `pixel`, `click`, `install` or `internal`.
    package var format: String
    package var outcome: EventOutcome
    package var receivedAt: Timestamp
    package var id: String
    package var type: EventType
    package var name: String
    /// When it happened, by our clock.
    package var at: Timestamp
    package var sentAt: Timestamp?
    /// What the sender said, where its clock was corrected.
    package var atSent: Timestamp?
    /// The one id that click, chat, lead, sale and ledger carry on.
    package var traceID: UID
    package var hasOwnTraceID: Bool
    package var anonymousID: String?
    package var userID: String?
    package var deviceID: String?
    package var sessionID: String?
    package var clickID: String?
    package var orderID: String?
    package var leadID: String?
    package var advertisingID: String?
    package var vendorID: String?
    package var installReferrer: String?
    package var referralClickedAt: Timestamp?
    package var installBeganAt: Timestamp?
    package var url: String?
    package var referrer: String?
    package var title: String?
    package var screen: String?
    package var groupID: String?
    package var previousID: String?
    package var campaign: Campaign
    package var channel: Channel
    package var value: Millionths?
    package var currency: String?
    package var quantity: Int64?
    package var traits: JSONValue?
    package var props: JSONValue?
    package var context: JSONValue?
    package var consent: JSONValue?
    /// Top-level members that the contract does not know.
    package var extra: [String: JSONValue]
    /// The text of the event as it came.
    package var raw: String
    /// Its time lies before the de-duplication window: it may be a second copy of a forgotten one.
    package var isUnverified = false
    /// It states no currency: that of its value is what its request says.
    package var isCurrencyImplied = false

    /// The event in answers: contract names, absent fields left out.
    package var json: JSONValue {
        var members = extra
        let texts: [(String, String?)] = [
            ("id", id), ("type", type.name), ("name", name), ("ts", at.rfc3339), ("sent_at", sentAt?.rfc3339),
            ("ts_sent", atSent?.rfc3339), ("received_at", receivedAt.rfc3339), ("org", org), ("app", app),
            ("position", position.description), ("receipt", receipt), ("outcome", outcome.name),
            ("source_format", format), ("trace_id", traceID.hex), ("channel", channel.rawValue),
            ("anonymous_id", anonymousID), ("user_id", userID), ("device_id", deviceID), ("session_id", sessionID),
            ("click_id", clickID), ("order_id", orderID), ("lead_id", leadID), ("advertising_id", advertisingID),
            ("vendor_id", vendorID), ("install_referrer", installReferrer),
            ("referral_clicked_at", referralClickedAt?.rfc3339), ("install_began_at", installBeganAt?.rfc3339),
            ("url", url), ("referrer", referrer), ("title", title), ("screen", screen), ("group_id", groupID),
            ("previous_id", previousID), ("value", value?.decimal), ("currency", currency),
        ]
        for (name, text) in texts { if let text { members[name] = .string(text) } }
        for (name, value) in [("traits", traits), ("props", props), ("context", context), ("consent", consent)] {
            if let value { members[name] = value }
        }
        if isUnverified { members["dedup_unverified"] = .bool(true) }
        if let quantity { members["quantity"] = .integer(quantity) }
        if let campaign = campaign.json { members["campaign"] = campaign }
        if let agent { members.merge(agent.members) { $1 } }
        if outcome == .bot || members["bot_reasons"] != nil {
            let reasons = (agent?.reasons ?? []).map { JSONValue.string($0.rawValue) }
            let all = reasons + (members["bot_reasons"]?.array ?? [])
            members["bot_reasons"] = .array(all)
            members["bot"] = .string(
                BotVerdict(all.compactMap { $0.string.flatMap(BotReason.init(rawValue:)) }).rawValue)
        }
        // Names of the sender's own that are ours as well, for example RudderStack's `channel`.
        let hidden = extra.filter { members[$0.key] != $0.value && $0.key != "bot_reasons" }
        if !hidden.isEmpty { members["extra"] = .object(hidden) }
        return .object(members)
    }
}

extension Campaign {
    /// Contract names; nil when nothing is known.
    var json: JSONValue? {
        let texts: [(String, String?)] = [
            ("id", id), ("name", name), ("source", source), ("medium", medium), ("term", term), ("content", content),
            ("network", network), ("ad_group_id", adGroupID), ("creative_id", creativeID),
            ("placement_id", placementID), ("keyword", keyword), ("publisher_id", publisherID),
        ]
        let members = texts.reduce(into: [String: JSONValue]()) { members, pair in
            if let text = pair.1 { members[pair.0] = .string(text) }
        }
        return members.isEmpty ? nil : .object(members)
    }
}
