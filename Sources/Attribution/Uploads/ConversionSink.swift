package import AurumCore

/// What is asked of a network about one conversion.
package enum UploadAction: String, Sendable, CaseIterable {
    /// Takes it in.
    case send
    /// Holds another value of it from now on.
    case restate
    /// Does not count it any more: it was given back.
    case retract
}

/// What is known of one conversion after a call. Reasons are codes, never a network's own words.
package enum UploadOutcome: Sendable, Equatable {
    case accepted
    /// Looked at and refused: another try would end the same way.
    case rejected(String)
    /// The request began and nobody can say what came of it.
    case unknown(String)
    /// Nothing was taken, and the conversion is not why: may be tried again.
    case notSent(String)

    package var word: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "rejected"
        case .unknown: "unknown"
        case .notSent: "not_sent"
        }
    }

    package var reason: String {
        switch self {
        case .accepted: ""
        case .rejected(let reason), .unknown(let reason), .notSent(let reason): reason
        }
    }
}

/// Why a person's conversions are never sent.
package enum UploadRefusal: String, Sendable {
    /// Advertising was denied, or the lead was withdrawn.
    case noConsent = "no_consent"
    /// The browser sent Global Privacy Control.
    case globalPrivacyControl = "gpc"
}

/// A click on an advertisement that came before a conversion.
package struct NetworkClick: Sendable, Equatable {
    package enum Kind: String, Sendable { case gclid, gbraid, wbraid, fbclid }

    package var kind: Kind
    package var value: String
    package var at: Timestamp

    package init(_ kind: Kind, _ value: String, at: Timestamp) { (self.kind, self.value, self.at) = (kind, value, at) }
}

/// A touch by which a network knows a person.
package struct NetworkTouch: Sendable, Equatable {
    /// In small letters.
    package var network: String
    package var clickID: String
    package var campaign: String?

    package init(network: String, clickID: String, campaign: String?) {
        (self.network, self.clickID, self.campaign) = (network.lowercased(), clickID, campaign)
    }
}

/// Whose a conversion is, as far as it helps a network to find the click. Looked up when it is sent, never stored.
package struct UploadPerson: Sendable, Equatable {
    package var email: EmailAddress?
    package var phone: PhoneNumber?
    /// The visitor's id on our pages.
    package var externalID: String?
    /// Newest first.
    package var clicks: [NetworkClick] = []
    /// Those of any network that have a click id, newest first.
    package var touches: [NetworkTouch] = []
    /// The cookie `_fbp` of Meta's pixel.
    package var browserID: String?
    package var userAgent: String?
    /// nil where nobody refused.
    package var refusal: UploadRefusal?
    /// Advertising was allowed in words.
    package var isConsentGiven = false

    package init() {}

    /// The newest one of a network.
    func touch(of network: String) -> NetworkTouch? { touches.first { $0.network == network } }

    package func click(_ kind: NetworkClick.Kind) -> NetworkClick? { clicks.first { $0.kind == kind } }
}

/// One conversion as a network is told of it. Holds personal data: never logged.
package struct UploadConversion: Sendable {
    /// The same in every attempt: networks know a conversion by it and count it once.
    package var id: UID
    package var kind: UploadKind
    /// What the network calls it: an event's name or a conversion action's id. It never changes for one conversion.
    package var event: String
    package var at: Timestamp
    /// What the network is to hold.
    package var value: Money
    package var person: UploadPerson

    package init(id: UID, kind: UploadKind, event: String, at: Timestamp, value: Money, person: UploadPerson) {
        (self.id, self.kind, self.event) = (id, kind, event)
        (self.at, self.value, self.person) = (at, value, person)
    }
}

/// Bounds that a network sets.
package struct SinkRules: Sendable, Equatable {
    /// Conversions of one request.
    package var batchMax: Int
    /// Conversions that are older are refused.
    package var ageMax: Duration
    /// How old a conversion may be that is restated or retracted.
    package var correctionAgeMax: Duration
    /// A repeat of one id later than this after the first may count again; nil where it never does.
    package var repeatsWithin: Duration?

    package init(batchMax: Int, ageMax: Duration, correctionAgeMax: Duration, repeatsWithin: Duration? = nil) {
        (self.batchMax, self.ageMax) = (batchMax, ageMax)
        (self.correctionAgeMax, self.repeatsWithin) = (correctionAgeMax, repeatsWithin)
    }
}

/// An advertising network that takes conversions. Implementations never throw: everything that can happen is an
/// outcome. They answer one for every conversion, in order, soon after their task is cancelled in any case.
package protocol ConversionSink: Sendable {
    var rules: SinkRules { get }
    func send(_ batch: [UploadConversion], to target: UploadTarget) async -> [UploadOutcome]
    func restate(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome]
    func retract(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome]
    /// What `action` would say of a conversion, with hashed identifiers and without credentials.
    func preview(_ action: UploadAction, _ conversion: UploadConversion, at target: UploadTarget) -> JSONValue
    /// Whether the network takes our credentials and knows the destination. No conversion is counted by it.
    func check(_ target: UploadTarget) async -> UploadOutcome
}

extension ConversionSink {
    package func perform(
        _ action: UploadAction, _ batch: [UploadConversion], at target: UploadTarget
    ) async -> [UploadOutcome] {
        switch action {
        case .send: await send(batch, to: target)
        case .restate: await restate(batch, at: target)
        case .retract: await retract(batch, at: target)
        }
    }
}
