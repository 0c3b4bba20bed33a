package import AurumCore
package import Runtime

/// What a buyer is told before it bids: no contact data.
package struct BuyerPing: Sendable, Equatable {
    package let id: UID
    package let leadType: String
    package let zip: String
    package let score: Int
    package let attributes: [String: JSONValue]

    package init(id: UID, leadType: String, zip: String, score: Int, attributes: [String: JSONValue]) {
        self.id = id
        self.leadType = leadType
        self.zip = zip
        self.score = score
        self.attributes = attributes
    }

    /// Body of the request.
    package var json: JSONValue {
        [
            "leadType": .string(leadType), "zip": .string(zip), "score": .integer(Int64(score)),
            "attributes": .object(attributes), "pingId": .string(id.hex),
        ]
    }
}

/// The lead itself, for the buyer that won it. Holds contact data: never logged.
package struct BuyerPost: Sendable {
    package let leg: UID
    package let lead: UID
    package let token: String?
    package let contact: LeadContact
    package let attributes: [String: JSONValue]
    package let certificate: JSONValue
    /// Hex.
    package let certificateSalt: String
    /// 1 for the first attempt; the idempotency key, the leg's id, stays the same.
    package let attempt: Int
    /// Of the claim under which it is sent; larger than that of every earlier one.
    package let fence: Fence

    package init(
        leg: UID, lead: UID, token: String?, contact: LeadContact, attributes: [String: JSONValue],
        certificate: JSONValue, certificateSalt: String, attempt: Int, fence: Fence
    ) {
        self.leg = leg
        self.lead = lead
        self.token = token
        self.contact = contact
        self.attributes = attributes
        self.certificate = certificate
        self.certificateSalt = certificateSalt
        self.attempt = attempt
        self.fence = fence
    }

    /// What the request carries besides its body.
    package var headers: [(String, String)] {
        [("Idempotency-Key", leg.hex), ("Aurum-Attempt", String(attempt)), (Fence.header, fence.description)]
    }

    /// Body of the request.
    package var json: JSONValue {
        var person: [String: JSONValue] = [:]
        person["name"] = contact.name.map { .string($0.exposed) }
        person["phone"] = contact.phone.map { .string($0.exposed) }
        person["email"] = contact.email.map { .string($0.exposed) }
        person["zip"] = contact.zip.map(JSONValue.string)
        var members: [String: JSONValue] = [
            "leadId": .string(lead.hex), "legId": .string(leg.hex), "contact": .object(person),
            "attributes": .object(attributes), "certificate": certificate, "certificateSalt": .string(certificateSalt),
        ]
        members["token"] = token.map(JSONValue.string)
        return .object(members)
    }
}

/// What came of a ping. Reasons are codes, never a buyer's free text.
package enum PingAnswer: Sendable, Equatable {
    case bid(Money, token: String?)
    case declined(String)
    /// No answer before the deadline.
    case late
    /// The answer cannot be understood.
    case unreadable(String)
    /// The buyer asks to be asked again later, and takes nothing now.
    case busy(String, retryAfter: Duration)
    /// No connection could be opened.
    case unreachable(String)
}

/// What is known after a post.
package enum PostAnswer: Sendable, Equatable {
    case accepted(id: String?)
    case rejected(String)
    /// The buyer refuses our credentials: nothing was taken, and nothing will be until somebody looks.
    case refused(String)
    /// The request never began, or the buyer asked to come back later: nothing was taken.
    case notSent(String)
    /// The request began and nobody can say what came of it.
    case unknown(String)
}

/// A way to speak with a buyer. Implementations never throw: everything that can happen is an answer. They return
/// soon after their task is cancelled, and within `timeout` in any case.
package protocol LeadBuyer: Sendable {
    func ping(_ ping: BuyerPing, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration) async -> PingAnswer
    func post(_ post: BuyerPost, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration) async -> PostAnswer
}
