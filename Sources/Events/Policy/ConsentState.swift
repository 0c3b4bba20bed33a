package import AurumCore

/// What a person said about one purpose. Raw values are stored and never change; the larger is the more restrictive.
///
/// `unknown` says nothing and so never outweighs what somebody did say.
package enum ConsentChoice: UInt8, Sendable, CaseIterable {
    case unknown = 0
    case granted = 1
    case denied = 2

    package var word: String { "\(self)" }

    package init?(word: String) {
        guard let choice = ConsentChoice.allCases.first(where: { $0.word == word }) else { return nil }
        self = choice
    }
}

/// The purposes of the contract's `consent` object.
package enum ConsentPurpose: String, Sendable, CaseIterable { case analytics, ads, personalisation }

/// Consent for each purpose, and whether the browser sent Global Privacy Control.
package struct ConsentState: Sendable, Equatable {
    package var analytics = ConsentChoice.unknown
    package var ads = ConsentChoice.unknown
    package var personalisation = ConsentChoice.unknown
    package var gpc = false

    package init() {}

    package init(analytics: ConsentChoice, ads: ConsentChoice = .unknown, personalisation: ConsentChoice = .unknown) {
        (self.analytics, self.ads, self.personalisation) = (analytics, ads, personalisation)
    }

    package subscript(purpose: ConsentPurpose) -> ConsentChoice {
        get {
            switch purpose {
            case .analytics: analytics
            case .ads: ads
            case .personalisation: personalisation
            }
        }
        set {
            switch purpose {
            case .analytics: analytics = newValue
            case .ads: ads = newValue
            case .personalisation: personalisation = newValue
            }
        }
    }

    /// Whether nobody said anything.
    var isSilent: Bool { self == ConsentState() }

    /// The most restrictive of both. Global Privacy Control denies advertising.
    package func mostRestrictive(with other: ConsentState) -> ConsentState {
        var result = self
        for purpose in ConsentPurpose.allCases where other[purpose].rawValue > self[purpose].rawValue {
            result[purpose] = other[purpose]
        }
        result.gpc = gpc || other.gpc
        if result.gpc { result.ads = .denied }
        return result
    }

    package var json: JSONValue {
        [
            "analytics": .string(analytics.word), "ads": .string(ads.word),
            "personalisation": .string(personalisation.word),
        ]
    }
}

extension EventParser {
    /// What the event itself says.
    mutating func ownConsent() -> ConsentState {
        var state = ConsentState()
        guard has(.consent) else { return state }
        state.analytics = choice(.analytics)
        state.ads = choice(.ads)
        state.personalisation = choice(.personalisation)
        state.gpc = has(.gpc) && base[slice(.gpc).start] == 0x74
        return state
    }

    /// The first letters of the three words differ.
    private func choice(_ field: EventField) -> ConsentChoice {
        guard has(field) else { return .unknown }
        switch decoded(slice(field)).0.pointee {
        case 0x67: return .granted
        case 0x64: return .denied
        default: return .unknown
        }
    }
}
