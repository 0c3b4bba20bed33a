internal import Attribution
internal import AurumCore
internal import Conversation
internal import Events
internal import Leads

/// "Explain this dollar": the path of one sale, put together from the log under its one trace id.
struct Explainer: Sendable {
    private let parts: GatewayParts
    /// Steps of a path that are shown.
    static let stepsMax = 500

    init(_ parts: GatewayParts) { self.parts = parts }

    /// The document of `/v1/explain/{leg}`, or nil when there is no such leg.
    func document(org: String, leg: UID) async throws -> JSONValue? {
        guard var members = try await parts.leads.explain(org: org, leg: leg)?.object else { return nil }
        let trace = members["trace_id"]?.string.flatMap { UID($0) }
        var credits: [String: JSONValue] = [:]
        let stored = try await parts.attribution.credits(org: org, leg: leg)
        for model in CreditModel.allCases {
            credits[model.rawValue] = .array((stored[model] ?? []).map(Self.credit))
        }
        members["credits"] = .object(credits)
        members["path"] = .array(try await path(org: org, trace: trace, leg: leg))
        members["visitor_id"] = nil
        return .object(members)
    }

    /// The document of `/v1/explain/{leg}/credit`, or nil when nobody bought it, or gave it back.
    func credit(org: String, leg: UID) async throws -> JSONValue? {
        let known = try await parts.leads.explain(org: org, leg: leg)
        let stored = try await parts.attribution.credits(org: org, leg: leg)
        guard let known, !stored.isEmpty, let sold = known["leg"], let minor = sold["price_minor"]?.integer,
            let currency = sold["currency"]?.string.flatMap({ Currency($0) }),
            let at = sold["at"]?.string.flatMap({ Timestamp(rfc3339: $0) })
        else { return nil }
        var members = try await parts.attribution.basis(
            of: Sale(
                org: org, leg: leg, traceID: known["trace_id"]?.string.flatMap { UID($0) },
                visitorID: known["visitor_id"]?.string, price: Money(minorUnits: minor, currency: currency), at: at,
                milestoneAt: known["lead"]?["created_at"]?.string.flatMap { Timestamp(rfc3339: $0) }))
        members["leg"] = .string(leg.hex)
        members["credits"] = .object(
            Dictionary(
                uniqueKeysWithValues: CreditModel.allCases.map { model in
                    (model.rawValue, .array((stored[model] ?? []).map(Self.credit)))
                }))
        return .object(members)
    }

    private func path(org: String, trace: UID?, leg: UID) async throws -> [JSONValue] {
        guard let trace else { return [] }
        var filter = EventFilter(org: org)
        filter.traceID = trace
        filter.limit = Self.stepsMax
        filter.newestFirst = false
        let events = try await parts.events.store.events(filter)
        return events.compactMap { PathStep($0)?.json }
    }

    private static func credit(_ credit: Credit) -> JSONValue {
        var members: [String: JSONValue] = [
            "event_id": credit.eventID.map(JSONValue.string) ?? .null, "campaign": .string(credit.campaign),
            "source": .string(credit.source), "medium": .string(credit.medium), "channel": .string(credit.channel),
            "at": .string(credit.at.rfc3339), "share_ppm": .integer(credit.sharePPM),
            "amount_minor": .integer(credit.amount.minorUnits),
        ]
        let ad = credit.ad
        for (name, text) in [
            ("ad_group", ad.adGroup), ("creative", ad.creative), ("keyword", ad.keyword), ("publisher", ad.publisher),
        ] { if let text { members[name] = .string(text) } }
        return .object(members)
    }
}

/// One event as a step that a person can read.
struct PathStep {
    let at: Timestamp
    let kind: String
    let title: String
    let detail: String
    let eventID: String

    var json: JSONValue {
        [
            "at": .string(at.rfc3339), "kind": .string(kind), "title": .string(title), "detail": .string(detail),
            "event_id": .string(eventID),
        ]
    }

    /// nil for events that say nothing to a reader of the path.
    init?(_ event: StoredEvent) {
        at = event.at
        eventID = event.id
        guard event.type == .internal else {
            (kind, title, detail) = Self.outside(event)
            return
        }
        guard let step = Self.inside(event) else { return nil }
        (kind, title, detail) = step
    }

    private static func outside(_ event: StoredEvent) -> (String, String, String) {
        let campaign = event.campaign
        let facts = [campaign.source, campaign.medium, campaign.name].compactMap { $0 }.joined(separator: " / ")
        let isTouch = event.type == .click || event.type == .impression || !facts.isEmpty || event.clickID != nil
        let place = event.url ?? event.screen ?? event.name
        if isTouch {
            let title =
                event.type == .impression ? "Saw an ad" : "Came from \(facts.isEmpty ? event.channel.rawValue : facts)"
            return ("touch", title, place)
        }
        return ("page", event.type == .page ? "Viewed \(event.title ?? "a page")" : event.name, place)
    }

    private static func inside(_ event: StoredEvent) -> (String, String, String)? {
        let props = event.props ?? .null
        func text(_ key: String) -> String { props[key]?.string ?? "" }
        let money = props["price_minor"]?.integer ?? props["amount_minor"]?.integer ?? props["bid_minor"]?.integer
        let amount = money.map { Money(minorUnits: $0, currency: Currency(text("currency")) ?? .usd).description } ?? ""
        switch event.name {
        case "conversation.started": return ("chat", "Started to chat", "")
        case "conversation.disclosed": return ("chat", "Was told that the assistant is automated", "")
        case "conversation.turn":
            let slots = (props["slots"]?.array ?? []).compactMap(\.string)
            return ("chat", slots.isEmpty ? "Wrote a message" : "Answered", slots.joined(separator: ", "))
        case "conversation.consented": return ("consent", "Gave consent", text("version"))
        case "conversation.ended": return ("chat", "Finished the conversation", text("outcome"))
        case "lead.created": return ("lead", "Became a lead", text("type"))
        case "lead.scored": return ("lead", "Scored \(props["score"]?.integer ?? 0)", text("tier"))
        case "consent.sealed": return ("consent", "Consent certificate sealed", text("certificate"))
        case "bid.received": return ("bid", "\(text("buyer")) bid \(amount)", text("reason"))
        case "delivery.accepted": return ("delivery", "\(text("buyer")) accepted for \(amount)", "")
        case "delivery.rejected": return ("delivery", "\(text("buyer")) rejected", text("reason"))
        case "delivery.unknown": return ("delivery", "No clear answer from \(text("buyer"))", text("reason"))
        case "delivery.returned": return ("delivery", "\(text("buyer")) gave the lead back", text("reason"))
        case "ledger.posted": return ("ledger", "Booked \(amount)", text("kind"))
        default: return nil
        }
    }
}
