/// Where a lead is in its life.
package enum LeadState: String, Sendable, Codable, CaseIterable {
    case collecting, qualified, disqualified, duplicate, routing, sold, unsold, returned, nurturing, withdrawn, erased
}

/// One attempt to sell a lead to one buyer.
package enum LegState: String, Sendable, Codable, CaseIterable {
    case reserved, posting, accepted, rejected, unknown, expired, returnRequested, returned, returnDenied, recognised
    case clawedBack

    /// Nobody else may have an exclusive lead while one of its legs is in such a state.
    package var holdsLead: Bool {
        switch self {
        case .reserved, .posting, .accepted, .unknown, .expired, .returnRequested, .returnDenied, .recognised: true
        case .rejected, .returned, .clawedBack: false
        }
    }

    /// The buyer owes the price.
    package var isSold: Bool {
        switch self {
        case .accepted, .returnRequested, .returnDenied, .recognised: true
        case .reserved, .posting, .rejected, .unknown, .expired, .returned, .clawedBack: false
        }
    }
}

/// A legal step of a lead. Only the steps of this file exist, so no caller can ask for another; the table
/// `lead_edges` holds the same list and refuses the rest.
package struct LeadTransition: Sendable, Hashable {
    package let from: LeadState
    package let to: LeadState

    private init(_ from: LeadState, _ to: LeadState) {
        self.from = from
        self.to = to
    }

    package static let qualify = LeadTransition(.collecting, .qualified)
    package static let disqualify = LeadTransition(.collecting, .disqualified)
    package static let abandon = LeadTransition(.collecting, .nurturing)
    package static let route = LeadTransition(.qualified, .routing)
    package static let nurtureQualified = LeadTransition(.qualified, .nurturing)
    package static let markDuplicate = LeadTransition(.qualified, .duplicate)
    package static let reopen = LeadTransition(.disqualified, .collecting)
    package static let sell = LeadTransition(.routing, .sold)
    package static let leaveUnsold = LeadTransition(.routing, .unsold)
    package static let takeBack = LeadTransition(.sold, .returned)
    package static let offerAgain = LeadTransition(.unsold, .routing)
    package static let nurtureUnsold = LeadTransition(.unsold, .nurturing)
    package static let offerReturned = LeadTransition(.returned, .routing)
    package static let nurtureReturned = LeadTransition(.returned, .nurturing)
    package static let requalify = LeadTransition(.nurturing, .qualified)

    /// Consent revoked or opt-out; nil where the lead already is, or can no longer be, withdrawn.
    package static func withdraw(from state: LeadState) -> LeadTransition? {
        state == .withdrawn || state == .erased ? nil : LeadTransition(state, .withdrawn)
    }

    /// Privacy request done; nil where it already was.
    package static func erase(from state: LeadState) -> LeadTransition? {
        state == .erased ? nil : LeadTransition(state, .erased)
    }

    /// Every legal step.
    package static let all: [LeadTransition] =
        [
            qualify, disqualify, abandon, route, nurtureQualified, markDuplicate, reopen, sell, leaveUnsold, takeBack,
            offerAgain, nurtureUnsold, offerReturned, nurtureReturned, requalify,
        ]
        + LeadState.allCases.compactMap(withdraw) + LeadState.allCases.compactMap(erase)
}

/// A legal step of a leg; `leg_edges` holds the same list.
package struct LegTransition: Sendable, Hashable {
    package let from: LegState
    package let to: LegState

    private init(_ from: LegState, _ to: LegState) {
        self.from = from
        self.to = to
    }

    package static let post = LegTransition(.reserved, .posting)
    package static let accept = LegTransition(.posting, .accepted)
    package static let reject = LegTransition(.posting, .rejected)
    package static let loseSight = LegTransition(.posting, .unknown)
    package static let acceptLate = LegTransition(.unknown, .accepted)
    package static let rejectLate = LegTransition(.unknown, .rejected)
    package static let expire = LegTransition(.unknown, .expired)
    package static let requestReturn = LegTransition(.accepted, .returnRequested)
    package static let approveReturn = LegTransition(.returnRequested, .returned)
    package static let denyReturn = LegTransition(.returnRequested, .returnDenied)
    package static let recognise = LegTransition(.accepted, .recognised)
    package static let clawBack = LegTransition(.recognised, .clawedBack)

    /// Every legal step.
    package static let all: [LegTransition] = [
        post, accept, reject, loseSight, acceptLate, rejectLate, expire, requestReturn, approveReturn, denyReturn,
        recognise, clawBack,
    ]
}
