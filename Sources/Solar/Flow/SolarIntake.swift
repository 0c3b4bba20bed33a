internal import AurumCore
package import Conversation
package import Database
package import Leads

/// Turns an ended solar conversation into a lead, in the transaction of its last turn.
package struct SolarIntake: Sendable {
    private let intake: LeadIntake
    private let territory: Territory

    package init(intake: LeadIntake, territory: Territory) {
        self.intake = intake
        self.territory = territory
    }

    /// Accepts the lead of `ended`, where it makes one: a product and a way to reach somebody.
    package func accept(_ ended: EndedConversation, in tx: Transaction) throws {
        guard let draft = draft(of: ended) else { return }
        _ = try intake.accept(draft, in: tx)
    }

    /// The lead that `ended` makes, or nil: no product was reached, or nobody can be reached.
    package func draft(of ended: EndedConversation) -> LeadDraft? {
        guard let type = ended.end.product, Self.leadTypes.contains(type) else { return nil }
        let contact = contact(ended)
        guard contact.phone != nil || contact.email != nil else { return nil }
        let consent = consent(ended, scope: type)
        return LeadDraft(
            org: ended.org, type: type, traceID: ended.traceID, contact: contact, conversationID: ended.id,
            externalID: "conversation-\(ended.id.hex)", attributes: attributes(ended),
            source: LeadSource(
                visitorID: ended.visitorID, campaign: ended.source.utm["campaign"],
                utmSource: ended.source.utm["source"],
                utmMedium: ended.source.utm["medium"], clickID: ended.source.clickID, referrer: ended.source.referrer,
                landing: ended.source.page),
            consent: consent, gates: gates(ended, type))
    }

    private static let leadTypes: Set<String> = ["rooftop", "communitySolar", "building", "commercial"]

    /// Gates that close every product; the others are why a rooftop lead became something else.
    private static let generalGates: Set<String> = ["outsideArea", "noConsent", "optedOut"]

    private func gates(_ ended: EndedConversation, _ type: String) -> [String] {
        type == "rooftop" ? ended.end.gates : ended.end.gates.filter(Self.generalGates.contains)
    }

    /// The visitor; where only the owner may decide, the owner whom the visitor named.
    private func contact(_ ended: EndedConversation) -> LeadContact {
        let isAuthority = ended.end.gates.contains("roofAuthority")
        func text(_ slot: String) -> String? { ended.value(slot)?.string }
        return LeadContact(
            name: text(isAuthority ? "ownerName" : "name").flatMap { PersonName($0) },
            phone: text(isAuthority ? "ownerPhone" : "phone").flatMap { PhoneNumber($0) },
            email: isAuthority ? nil : text("email").flatMap { EmailAddress($0) }, zip: text("zip"))
    }

    private func attributes(_ ended: EndedConversation) -> [String: LeadAttribute] {
        var attributes: [String: LeadAttribute] = [
            "firstTimeAnswers": LeadAttribute(.integer(Int64(ended.firstTimeAnswers)), evidence: "conversation"),
            "ownQuestion": LeadAttribute(.bool(ended.ownQuestion), evidence: "conversation"),
        ]
        for name in ["bill", "ownership", "homeType", "zip", "timeline", "payment", "decision", "roofType", "shade"] {
            guard let slot = ended.slots[name], slot.status == .confirmed, let value = slot.value else { continue }
            attributes[name] = LeadAttribute(value.plain, evidence: slot.evidence)
        }
        if let zip = ended.value("zip")?.string,
            let place = SolarFlow.place(
                territory.lookup(zip), borough: ended.value("statedBorough")?.string,
                utility: ended.value("statedUtility")?.string)
        {
            let evidence = ended.slots["zip"]?.evidence
            attributes["borough"] = LeadAttribute(.string(place.borough.rawValue), evidence: evidence)
            attributes["utility"] = LeadAttribute(.string(place.utility.rawValue), evidence: evidence)
        }
        guard ended.facts["estimateOutcome"] == .text("shown") else { return attributes }
        for name in ["roofCoverage", "systemWatts", "annualKilowattHours"] {
            if let value = ended.facts[name] {
                attributes[name] = LeadAttribute(value.plain, evidence: "solar.estimate")
            }
        }
        return attributes
    }

    private func consent(_ ended: EndedConversation, scope: String) -> ConsentGiven? {
        guard let record = ended.consents.last(where: { $0.given && $0.version.hasPrefix("solar.\(scope).") }) else {
            return nil
        }
        return ConsentGiven(
            text: record.text, version: record.version, language: record.language.rawValue, control: record.control,
            scope: scope, channels: ["phone", "sms", "email"], at: record.at, sessionID: ended.id.hex,
            sessionStart: ended.startedAt, sessionEnd: ended.endedAt, pageURL: ended.source.page,
            ipPrefix: ended.source.ipPrefix, userAgentFamily: ended.source.userAgentFamily, events: ended.evidence)
    }
}
