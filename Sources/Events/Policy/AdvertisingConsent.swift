/// What a person's events and decisions say of advertising.
package struct AdvertisingConsent: Sendable, Equatable {
    /// A browser sent Global Privacy Control.
    package var hasGPC = false
    package var isDenied = false
    package var isGranted = false

    package init() {}

    package mutating func formUnion(_ other: AdvertisingConsent) {
        hasGPC = hasGPC || other.hasGPC
        isDenied = isDenied || other.isDenied
        isGranted = isGranted || other.isGranted
    }

    /// Adds what an event says, in the words of the contract.
    package mutating func add(ads: String?, gpc: String?) {
        hasGPC = hasGPC || gpc == "true"
        isDenied = isDenied || ads == "denied" || ads == "false"
        isGranted = isGranted || ads == "granted"
    }

    mutating func add(_ state: ConsentState) {
        hasGPC = hasGPC || state.gpc
        isDenied = isDenied || state.ads == .denied
        isGranted = isGranted || state.ads == .granted
    }
}

extension EventLog {
    /// The last decision of a person, whoever of its linked identifiers took it.
    package func consent(
        org: String, of identifiers: [PersonIdentifier], _ policies: EventPolicies
    ) -> AdvertisingConsent {
        var consent = AdvertisingConsent()
        guard let state = policies.consents.state(org: org, persons: identity.keys(org: org, of: identifiers, policies))
        else { return consent }
        consent.add(state)
        return consent
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
