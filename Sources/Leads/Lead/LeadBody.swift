package import AurumCore
internal import Crypto
internal import Foundation

/// One thing that is wrong with a body.
package struct LeadProblem: Sendable, Equatable, Codable {
    /// Dot path, for example `contact.zip`.
    package var field: String
    /// Stable code: `missing`, `type`, `range`, `choice`, `unknown`, `length`, `format`.
    package var code: String
    package var detail: String
}

/// Why intake refused a draft.
package enum LeadIntakeError: Error, Equatable, Sendable {
    case unknownType(String)
    /// The same own id or idempotency key came with another body.
    case keyReused
    /// Every problem of the body.
    case invalid([LeadProblem])
}

/// Reads the body of `POST /v1/leads` into a draft, collecting every problem before it refuses.
package struct LeadBody {
    static let textMax = 1000

    private var problems: [LeadProblem] = []

    private init() {}

    /// - Throws: `LeadIntakeError.invalid` with all problems.
    package static func draft(
        from body: JSONValue, org: String, idempotencyKey: String?, policies: ScorePolicies, now: Timestamp
    ) throws(LeadIntakeError) -> LeadDraft {
        var reader = LeadBody()
        let draft = reader.read(body, org: org, key: idempotencyKey, policies: policies, now: now)
        guard let draft, reader.problems.isEmpty else { throw .invalid(reader.problems) }
        return draft
    }

    private mutating func read(
        _ body: JSONValue, org: String, key: String?, policies: ScorePolicies, now: Timestamp
    ) -> LeadDraft? {
        guard let members = body.object else {
            report("", "type", "the body must be a JSON object")
            return nil
        }
        let known: Set = ["id", "type", "trace_id", "contact", "attributes", "source", "consent", "test"]
        refuseUnknown(members, known, at: "")
        let type = text(body, "type", at: "", required: true) ?? ""
        if !type.isEmpty, policies[type] == nil {
            report("type", "choice", "must be one of \(policies.types.joined(separator: ", "))")
        }
        let ownID = text(body, "id", at: "", max: 200)
        var traceID = UID(now: now)
        if let given = text(body, "trace_id", at: "") {
            if let parsed = UID(given) {
                traceID = parsed
            } else {
                report("trace_id", "format", "must be 32 hex digits")
            }
        }
        let contact = contact(body["contact"])
        let attributes = attributes(body["attributes"], policy: policies[type])
        let source = source(body["source"])
        let consent = consent(body["consent"], type: type, now: now)
        let isTest = flag(body, "test")
        let digest = SHA256.hash(data: Data(body.canonical.utf8))
        return LeadDraft(
            org: org, type: type, traceID: traceID, contact: contact,
            externalID: ownID.map { "id:\($0)" } ?? key.map { "key:\($0)" },
            attributes: attributes, source: source, consent: consent, gates: isTest ? ["testLead"] : [],
            fingerprint: Hex.encode(digest))
    }

    private mutating func contact(_ value: JSONValue?) -> LeadContact {
        var contact = LeadContact()
        guard let members = object(value, "contact", required: true), let value else { return contact }
        refuseUnknown(members, ["name", "phone", "email", "zip"], at: "contact")
        if let name = text(value, "name", at: "contact") {
            contact.name = PersonName(name)
            if contact.name == nil { report("contact.name", "length", "must be 1 to 100 characters") }
        }
        if let phone = text(value, "phone", at: "contact") {
            contact.phone = PhoneNumber(phone)
            if contact.phone == nil { contact.rawPhone = phone }
        }
        if let email = text(value, "email", at: "contact") {
            contact.email = EmailAddress(email)
            if contact.email == nil { contact.rawEmail = email }
        }
        if let zip = text(value, "zip", at: "contact", required: true) {
            if zip.utf8.count == 5, zip.utf8.allSatisfy({ (48...57).contains($0) }) {
                contact.zip = zip
            } else {
                report("contact.zip", "format", "must be five digits")
            }
        }
        return contact
    }

    private mutating func attributes(_ value: JSONValue?, policy: ScorePolicy?) -> [String: LeadAttribute] {
        guard let members = object(value, "attributes", required: false), let policy else { return [:] }
        var attributes: [String: LeadAttribute] = [:]
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            let field = "attributes.\(name.prefix(80))"
            guard let schema = policy.attributes.first(where: { $0.name == name }) else {
                report(field, "unknown", "not an attribute of \(policy.type)")
                continue
            }
            if let (code, detail) = schema.problem(with: value) {
                report(field, code, detail)
            } else {
                attributes[name] = LeadAttribute(value, evidence: "api")
            }
        }
        return attributes
    }

    private mutating func source(_ value: JSONValue?) -> LeadSource {
        guard let members = object(value, "source", required: false), let value else { return LeadSource() }
        let names: Set = ["visitor_id", "campaign", "utm_source", "utm_medium", "click_id", "referrer", "landing"]
        refuseUnknown(members, names, at: "source")
        return LeadSource(
            visitorID: text(value, "visitor_id", at: "source"), campaign: text(value, "campaign", at: "source"),
            utmSource: text(value, "utm_source", at: "source"), utmMedium: text(value, "utm_medium", at: "source"),
            clickID: text(value, "click_id", at: "source"), referrer: text(value, "referrer", at: "source", max: 2000),
            landing: text(value, "landing", at: "source", max: 2000))
    }

    private mutating func consent(_ value: JSONValue?, type: String, now: Timestamp) -> ConsentGiven? {
        guard let members = object(value, "consent", required: false), let value else { return nil }
        let names: Set = [
            "text", "version", "language", "control", "sellers", "scope", "channels", "purposes", "at", "page_url",
            "page_title", "session_id", "session_start", "ip_prefix", "user_agent_family", "events",
        ]
        refuseUnknown(members, names, at: "consent")
        let at = moment(value, "at") ?? now
        if at > now + .seconds(300) { report("consent.at", "range", "lies in the future") }
        let scope = text(value, "scope", at: "consent")
        let sellers = sellers(value["sellers"])
        if let scope, scope != type { report("consent.scope", "choice", "must be the lead's type, \(type)") }
        if scope == nil, sellers.isEmpty { report("consent.scope", "missing", "name the sellers or a scope") }
        let events = value["events"]?.array ?? []
        if events.count > ConsentGiven.eventsMax {
            report("consent.events", "length", "at most \(ConsentGiven.eventsMax) events")
        }
        let channels = list(value, "channels", required: true)
        let purposes = value["purposes"] == nil ? ["sales"] : list(value, "purposes", required: true)
        return ConsentGiven(
            text: text(value, "text", at: "consent", required: true, max: 20_000) ?? "",
            version: text(value, "version", at: "consent", required: true) ?? "",
            language: text(value, "language", at: "consent", required: true) ?? "",
            control: text(value, "control", at: "consent", required: true) ?? "", sellers: sellers, scope: scope,
            channels: channels, purposes: purposes, at: at, sessionID: text(value, "session_id", at: "consent") ?? "",
            sessionStart: moment(value, "session_start") ?? at,
            pageURL: text(value, "page_url", at: "consent", max: 2000),
            pageTitle: text(value, "page_title", at: "consent"),
            ipPrefix: text(value, "ip_prefix", at: "consent"),
            userAgentFamily: text(value, "user_agent_family", at: "consent"), events: events)
    }

    private mutating func sellers(_ value: JSONValue?) -> [NamedSeller] {
        guard let value, value != .null else { return [] }
        guard let rows = value.array, rows.count <= 50 else {
            report("consent.sellers", "type", "must be a list of at most 50 sellers")
            return []
        }
        var sellers: [NamedSeller] = []
        for (index, row) in rows.enumerated() {
            if let code = row["code"]?.string, let name = row["name"]?.string, !code.isEmpty, !name.isEmpty {
                sellers.append(NamedSeller(code: code, name: name))
            } else {
                report("consent.sellers.\(index)", "missing", "needs code and name")
            }
        }
        return sellers
    }

    // MARK: Reading one member

    private mutating func report(_ field: String, _ code: String, _ detail: String) {
        problems.append(LeadProblem(field: field, code: code, detail: detail))
    }

    private mutating func refuseUnknown(_ members: [String: JSONValue], _ known: Set<String>, at path: String) {
        for name in members.keys.sorted() where !known.contains(name) {
            report(joined(path, String(name.prefix(80))), "unknown", "there is no such member")
        }
    }

    private func joined(_ path: String, _ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    private mutating func object(_ value: JSONValue?, _ field: String, required: Bool) -> [String: JSONValue]? {
        guard let value, value != .null else {
            if required { report(field, "missing", "is required") }
            return nil
        }
        guard let members = value.object else {
            report(field, "type", "must be an object")
            return nil
        }
        return members
    }

    private mutating func text(
        _ value: JSONValue, _ name: String, at path: String, required: Bool = false, max: Int = LeadBody.textMax
    ) -> String? {
        let field = joined(path, name)
        guard let member = value[name], member != .null else {
            if required { report(field, "missing", "is required") }
            return nil
        }
        guard let text = member.string else {
            report(field, "type", "must be text")
            return nil
        }
        guard text.count <= max, !text.contains("\u{0}") else {
            report(field, "length", "must be at most \(max) characters, without NUL")
            return nil
        }
        if required, text.isEmpty { report(field, "missing", "is empty") }
        return text.isEmpty ? nil : text
    }

    private mutating func flag(_ value: JSONValue, _ name: String) -> Bool {
        guard let member = value[name], member != .null else { return false }
        guard let flag = member.bool else {
            report(name, "type", "must be true or false")
            return false
        }
        return flag
    }

    private mutating func moment(_ value: JSONValue, _ name: String) -> Timestamp? {
        guard let text = text(value, name, at: "consent") else { return nil }
        let moment = Timestamp(rfc3339: text)
        if moment == nil { report("consent.\(name)", "format", "must be RFC 3339") }
        return moment
    }

    private mutating func list(_ value: JSONValue, _ name: String, required: Bool) -> [String] {
        let texts = value[name]?.array?.compactMap(\.string) ?? []
        if texts.isEmpty || texts.count != value[name]?.array?.count || texts.count > 20 {
            report("consent.\(name)", "type", "must be a list of 1 to 20 texts")
        }
        return texts
    }
}

extension ScorePolicy.Attribute {
    /// Code and detail of what is wrong with `value`; nil when it may be kept.
    func problem(with value: JSONValue) -> (code: String, detail: String)? {
        switch kind {
        case .integer:
            guard let number = value.integer else { return ("type", "must be an integer") }
            let range = (minimum ?? .min)...(maximum ?? .max)
            return range.contains(number) ? nil : ("range", "must lie in \(range.lowerBound)…\(range.upperBound)")
        case .choice:
            let choices = values ?? []
            guard let text = value.string, choices.contains(text) else {
                return ("choice", "must be one of \(choices.joined(separator: ", "))")
            }
            return nil
        case .text:
            guard let text = value.string else { return ("type", "must be text") }
            return text.count <= 200 && !text.contains("\u{0}") ? nil : ("length", "must be at most 200 characters")
        case .bool:
            return value.bool == nil ? ("type", "must be true or false") : nil
        }
    }
}
