package import AurumCore

/// What an `install` event says that a match and a fraud rule look at. Texts are as the event gave them; nil where it
/// gave none.
package struct InstallFacts: Sendable, Equatable {
    package var org: String
    package var app: String
    /// The event's id.
    package var id: UID
    /// The id as the event gave it, where that is no UUID: what the log knows it by.
    package var event: String?
    /// When the app was opened first.
    package var at: Timestamp
    /// `install_began_at` of Play's referrer library: when the store began to install.
    package var installBeganAt: Timestamp?
    package var deviceID: String?
    package var advertisingID: String?
    package var vendorID: String?
    package var userID: String?
    package var clickID: String?
    package var installReferrer: String?
    /// Click id in the address that opened the app.
    package var deepLinkClickID: String?
    /// Keyed hash of the address, as the log keeps it.
    package var addressHash: String?
    /// The network that the address is in, as the log keeps it: `203.0.113.0`, `2001:db8:1::`.
    package var addressNetwork: String?
    package var userAgent: String?
    /// Operating system, lower case, for example `ios`.
    package var system: String?
    package var isEmulator = false
    package var isFromDataCentre = false
    /// What the event says against advertising; nil where it says nothing against it.
    package var refusal: UploadRefusal?

    package init(org: String, app: String, id: UID, at: Timestamp) {
        (self.org, self.app, self.id, self.at) = (org, app, id, at)
    }
}

/// A click or a view that may have led to an install.
package struct CandidateTouch: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable { case click, view }

    package var id: UID
    /// The id as the event gave it, where that is no UUID: what the log knows it by.
    package var event: String?
    package var at: Timestamp
    package var kind: Kind
    package var network: String?
    package var campaign: String?
    package var publisher: String?
    package var clickID: String?
    package var deviceID: String?
    package var addressHash: String?
    /// The network that the address is in, as the log keeps it.
    package var addressNetwork: String?
    package var userAgent: String?
    /// Operating system, lower case, for example `ios`.
    package var system: String?

    package init(id: UID, at: Timestamp, kind: Kind) { (self.id, self.at, self.kind) = (id, at, kind) }
}

/// What the fraud rules say of one touch or of an install itself.
package struct FraudVerdict: Sendable, Equatable {
    package enum Outcome: String, Sendable, CaseIterable { case clean, suspect, rejected }

    package var outcome: Outcome
    /// Codes of the rules that spoke, for example `ctit_fast`, in the order of their names.
    package var codes: [String]

    package static let clean = FraudVerdict(outcome: .clean, codes: [])

    package init(outcome: Outcome, codes: [String]) { (self.outcome, self.codes) = (outcome, codes) }
}

/// Decides before credit whether an install and the touches that may have led to it are to be believed.
package protocol TouchJudge: Sendable {
    /// - Returns: the verdict of the install, and one for each candidate in its order.
    func verdicts(
        of install: InstallFacts, _ candidates: [CandidateTouch]
    ) async throws -> (install: FraudVerdict, touches: [FraudVerdict])
}

/// Believes everything: what stands where no fraud rules are switched on.
package struct TrustingJudge: TouchJudge {
    package init() {}

    package func verdicts(
        of install: InstallFacts, _ candidates: [CandidateTouch]
    ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
        (.clean, candidates.map { _ in .clean })
    }
}
