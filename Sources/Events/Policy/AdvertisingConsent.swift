package import AurumCore

/// What a person's events and decisions say of advertising.
package struct AdvertisingConsent: Sendable, Equatable {
    /// A browser sent Global Privacy Control.
    package var hasGPC = false
    package var isDenied = false
    package var isGranted = false
    /// When the newest of it was said, where that is known.
    package var at: Timestamp?

    package init() {}

    package var isRefused: Bool { hasGPC || isDenied }

    package mutating func formUnion(_ other: AdvertisingConsent) {
        hasGPC = hasGPC || other.hasGPC
        isDenied = isDenied || other.isDenied
        isGranted = isGranted || other.isGranted
        if let time = other.at { at = max(at ?? time, time) }
    }

    /// What counts of a person's decision and the newest event that says anything: a refusal in either, unless it is an
    /// event's and the decision allowed advertising after it. The capture stamps decisions on the events that follow,
    /// so that a refusal in an older event is over when the newest one no longer has it.
    package func settled(with newest: AdvertisingConsent) -> AdvertisingConsent {
        guard isGranted, !isRefused, let at, let said = newest.at, said < at else {
            var all = self
            all.formUnion(newest)
            return all
        }
        return self
    }

    /// Adds what an event says, in the words of the contract.
    package mutating func add(ads: String?, gpc: String?) {
        hasGPC = hasGPC || gpc.map(Self.isControl) ?? false
        isDenied = isDenied || ads.map(Self.isDenial) ?? false
        isGranted = isGranted || ads == "granted"
    }

    /// Whether an event with this `consent.ads` refuses advertising.
    package static func isDenial(ads: String) -> Bool { ads == "denied" || ads == "false" }

    /// Whether an event with this `consent.gpc` refuses advertising.
    package static func isControl(gpc: String) -> Bool { gpc == "true" }

    mutating func add(_ state: ConsentState) {
        hasGPC = hasGPC || state.gpc
        isDenied = isDenied || state.ads == .denied
        isGranted = isGranted || state.ads == .granted
    }
}

extension EventCondition {
    /// The event does not refuse advertising; the same that `AdvertisingConsent` says of one.
    static let allowsAdvertising = EventCondition.not(
        .or([
            .isIn(ColumnName("consent.ads"), [.text("denied"), .text("false")]),
            .compare(ColumnName("consent.gpc"), .equal, .text("true")),
        ]))
}

extension ColumnName {
    private static let ofMany: Set<String> = [
        "type", "name", "outcome", "quarantine_reason", "org", "app", "source_format", "channel", "network", "currency",
        "browser", "browser_major", "os_name", "device_class",
    ]

    /// Its values may single persons out: those of every column that is not known to be of many.
    var tellsPersons: Bool {
        !ColumnName.ofMany.contains(path) && !path.hasPrefix("campaign.") && !path.hasPrefix("consent.")
    }
}

extension StoredEvent {
    /// What the event says of advertising.
    package var advertisingConsent: AdvertisingConsent {
        func word(_ name: String) -> String? {
            consent?[name].flatMap { $0.string ?? $0.bool.map { $0 ? "true" : "false" } }
        }
        var said = AdvertisingConsent()
        said.add(ads: word("ads"), gpc: word("gpc"))
        return said
    }
}

extension EventLog {
    /// The last decision of a person, whoever of its linked identifiers took it.
    package func consent(
        org: String, of identifiers: [PersonIdentifier], _ policies: EventPolicies
    ) -> AdvertisingConsent {
        var consent = AdvertisingConsent()
        let persons = identity.keys(org: org, of: identifiers, policies)
        guard let decision = policies.consents.decision(org: org, persons: persons) else { return consent }
        consent.add(decision.state)
        consent.at = Timestamp(microseconds: decision.at)
        return consent
    }

    /// Events of one person that are looked through for the newest that says anything of advertising.
    private static let eventsMax = 500

    /// What the newest event of a person says of advertising, of those since `from` that say anything; nil where none
    /// of the newest 500 does.
    package func newestConsent(
        org: String, of identifiers: [PersonIdentifier], from: Timestamp, _ policies: EventPolicies
    ) async throws -> AdvertisingConsent? {
        guard !identifiers.isEmpty else { return nil }
        var filter = EventFilter(org: org)
        filter.identifiers = identifiers.map { policies.storedForm($0, org: org) }
        (filter.from, filter.limit) = (from, Self.eventsMax)
        var newest: AdvertisingConsent?
        for event in try await store.events(filter) {
            guard event.at > newest?.at ?? Timestamp(microseconds: .min) else { continue }
            var consent = event.advertisingConsent
            guard consent != AdvertisingConsent() else { continue }
            consent.at = event.at
            newest = consent
        }
        return newest
    }
}

extension IdentityService {
    /// Keyed hashes of everything that is linked to these identifiers, in the forms in which they came and are kept.
    func keys(org: String, of identifiers: [PersonIdentifier], _ policies: EventPolicies) -> [UInt64] {
        let keys = secret.keys(org: org, app: "")
        let kept = identifiers.map { keys.person(policies.storedForm($0, org: org)).high }
        let linked = persons.identifiers(org: org, of: kept)
        return Array(linked.union(kept).union(identifiers.map { keys.person($0).high }))
    }
}
