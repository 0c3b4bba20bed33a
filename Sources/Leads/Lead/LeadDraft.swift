package import AurumCore

/// What intake is handed: everything known about a person's wish, from a conversation or from the API.
package struct LeadDraft: Sendable {
    package var org: String
    /// Lead type of a score policy: `rooftop`, `communitySolar`, `commercial`, `building`.
    package var type: String
    package var traceID: UID
    package var contact: LeadContact
    package var conversationID: UID?
    /// The sender's own id or idempotency key: a repeat gets the first answer.
    package var externalID: String?
    package var attributes: [String: LeadAttribute]
    package var source: LeadSource
    package var consent: ConsentGiven?
    /// Codes of closed gates, for example `outsideArea`.
    package var gates: [String]
    /// Hash of the request body; a repeat of `externalID` with another one is refused. nil: repeats are not compared.
    package var fingerprint: String?

    package init(
        org: String, type: String, traceID: UID, contact: LeadContact, conversationID: UID? = nil,
        externalID: String? = nil, attributes: [String: LeadAttribute] = [:], source: LeadSource = LeadSource(),
        consent: ConsentGiven? = nil, gates: [String] = [], fingerprint: String? = nil
    ) {
        self.org = org
        self.type = type
        self.traceID = traceID
        self.contact = contact
        self.conversationID = conversationID
        self.externalID = externalID
        self.attributes = attributes
        self.source = source
        self.consent = consent
        self.gates = gates
        self.fingerprint = fingerprint
    }
}

/// How to reach the person. Personal data: it is stored with the lead and sent to the buyer, never logged or evented.
package struct LeadContact: Sendable {
    package var name: PersonName?
    package var phone: PhoneNumber?
    package var email: EmailAddress?
    /// Five digits.
    package var zip: String?
    /// What was typed when it was no phone number; keeps the lead with `phoneStatus` invalid.
    package var rawPhone: String?
    package var rawEmail: String?

    package init(
        name: PersonName? = nil, phone: PhoneNumber? = nil, email: EmailAddress? = nil, zip: String? = nil,
        rawPhone: String? = nil, rawEmail: String? = nil
    ) {
        self.name = name
        self.phone = phone
        self.email = email
        self.zip = zip
        self.rawPhone = rawPhone
        self.rawEmail = rawEmail
    }

    package var phoneStatus: ContactStatus { phone != nil ? .valid : rawPhone != nil ? .invalid : .missing }
    package var emailStatus: ContactStatus { email != nil ? .valid : rawEmail != nil ? .invalid : .missing }
}

/// Whether a phone number or address is well formed. `valid` says nothing about who answers it.
package enum ContactStatus: String, Sendable, Codable { case valid, invalid, missing }

/// One fact about the lead and where it came from.
package struct LeadAttribute: Sendable, Equatable {
    package var value: JSONValue
    /// Message id and span of the conversation, or `api`.
    package var evidence: String?

    package init(_ value: JSONValue, evidence: String? = nil) {
        self.value = value
        self.evidence = evidence
    }
}

/// The touch that brought the person, as the tracker reported it.
package struct LeadSource: Sendable, Codable, Equatable {
    package var visitorID: String?
    package var campaign: String?
    package var utmSource: String?
    package var utmMedium: String?
    package var clickID: String?
    package var referrer: String?
    package var landing: String?

    package init(
        visitorID: String? = nil, campaign: String? = nil, utmSource: String? = nil, utmMedium: String? = nil,
        clickID: String? = nil, referrer: String? = nil, landing: String? = nil
    ) {
        self.visitorID = visitorID
        self.campaign = campaign
        self.utmSource = utmSource
        self.utmMedium = utmMedium
        self.clickID = clickID
        self.referrer = referrer
        self.landing = landing
    }
}

/// A seller whom the person was shown by name.
package struct NamedSeller: Sendable, Equatable {
    /// Code of the buyer.
    package var code: String
    /// The name as it was shown.
    package var name: String

    package init(code: String, name: String) {
        self.code = code
        self.name = name
    }
}

/// What a person agreed to, word for word.
package struct ConsentGiven: Sendable {
    /// Chained events a certificate may hold.
    package static let eventsMax = 500

    package var text: String
    package var version: String
    package var language: String
    /// The words typed or the label of the button.
    package var control: String
    package var sellers: [NamedSeller]
    /// Product scope: the lead type that any buyer may serve. Used where no seller is named.
    package var scope: String?
    package var channels: [String]
    package var purposes: [String]
    package var at: Timestamp
    package var sessionID: String
    package var sessionStart: Timestamp
    package var sessionEnd: Timestamp?
    package var pageURL: String?
    package var pageTitle: String?
    /// Network part of the address (/24), never the whole.
    package var ipPrefix: String?
    package var userAgentFamily: String?
    /// Shown texts, redacted inputs, disclosure and consent, in order.
    package var events: [JSONValue]

    package init(
        text: String, version: String, language: String, control: String, sellers: [NamedSeller] = [],
        scope: String? = nil, channels: [String], purposes: [String] = ["sales"], at: Timestamp, sessionID: String,
        sessionStart: Timestamp, sessionEnd: Timestamp? = nil, pageURL: String? = nil, pageTitle: String? = nil,
        ipPrefix: String? = nil, userAgentFamily: String? = nil, events: [JSONValue] = []
    ) {
        self.text = text
        self.version = version
        self.language = language
        self.control = control
        self.sellers = sellers
        self.scope = scope
        self.channels = channels
        self.purposes = purposes
        self.at = at
        self.sessionID = sessionID
        self.sessionStart = sessionStart
        self.sessionEnd = sessionEnd
        self.pageURL = pageURL
        self.pageTitle = pageTitle
        self.ipPrefix = ipPrefix
        self.userAgentFamily = userAgentFamily
        self.events = events
    }

    /// True when somebody may act on it: words were shown, a control was used, and a seller or a scope is named.
    var isUsable: Bool {
        !text.isEmpty && !control.isEmpty && !channels.isEmpty && (!sellers.isEmpty || scope?.isEmpty == false)
    }
}
