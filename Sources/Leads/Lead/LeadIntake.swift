package import AurumCore
package import Database
internal import Foundation
package import Telemetry

/// The answer to a draft; a repeat of the same own id gets the same one.
package struct LeadReceipt: Sendable, Codable, Equatable {
    package var id: UID
    package var state: LeadState
    package var score: Int
    package var tier: String
    package var gates: [String]
    package var certificateID: UID?
    package var duplicateOf: UID?
    /// True when this answer was given before.
    package var repeated: Bool

    /// Body of the `201` answer. The same for a repeat.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "state": .string(state.rawValue), "score": .integer(Int64(score)),
            "tier": .string(tier), "gates": .array(gates.map(JSONValue.string)),
        ]
        members["certificate"] = certificateID.map { .string($0.hex) }
        members["duplicate_of"] = duplicateOf.map { .string($0.hex) }
        return .object(members)
    }
}

/// Turns a draft into a lead, whole or not at all: row, score, consent certificate, gates, duplicate check and events
/// are one transaction of the caller's. It decides whether the lead may be sold, never to whom.
package struct LeadIntake: Sendable {
    private let policies: ScorePolicies
    private let issuer: CertificateIssuer
    private let clock: any WallClock
    private let registry: MetricRegistry
    private let jobs: LeadJobs

    package init(
        policies: ScorePolicies, issuer: CertificateIssuer, jobs: LeadJobs, clock: any WallClock,
        registry: MetricRegistry
    ) {
        self.policies = policies
        self.issuer = issuer
        self.clock = clock
        self.registry = registry
        self.jobs = jobs
    }

    /// Accepts a draft in the caller's transaction. Acknowledge it only after that has committed.
    /// - Throws: `LeadIntakeError`, a `SQLError` of the store, or `JobError.queueFull`.
    package func accept(_ draft: LeadDraft, in tx: Transaction) throws -> LeadReceipt {
        if let answer = try firstAnswer(to: draft, in: tx) { return answer }
        guard let policy = policies[draft.type] else { throw LeadIntakeError.unknownType(draft.type) }
        let score = score(draft, policy)
        let id = UID(now: clock.now)
        try insert(draft, id: id, score: score, in: tx)
        let journal = LeadJournal(org: draft.org, lead: id, traceID: draft.traceID, in: tx)
        try journalCreation(draft, score, journal)
        let certificate = try seal(draft, journal)
        let holder = try LeadKeys.claim(
            LeadKeys.hashes(of: draft.contact), for: id, org: draft.org, sellable: score.gates.isEmpty, now: tx.now,
            in: tx)
        let state = try decide(score, holder: holder, journal)
        let receipt = LeadReceipt(
            id: id, state: state, score: score.score, tier: score.tier, gates: score.gates.map(\.code),
            certificateID: certificate, duplicateOf: holder, repeated: false)
        try tx.run(
            """
            UPDATE leads SET certificate_id = \(certificate), duplicate_of = \(holder),
                answer = \(try jsonText(receipt))
            WHERE org = \(draft.org) AND id = \(id)
            """)
        if state == .qualified { try jobs.route(id, org: draft.org, traceID: draft.traceID, in: tx) }
        registry.counter(.leadsCreated, state.rawValue).increment()
        return receipt
    }

    private func firstAnswer(to draft: LeadDraft, in tx: Transaction) throws -> LeadReceipt? {
        guard let externalID = draft.externalID else { return nil }
        let first = try tx.one(
            FirstAnswer.self,
            "SELECT answer, fingerprint FROM leads WHERE org = \(draft.org) AND external_id = \(externalID)")
        guard let first else { return nil }
        if let given = draft.fingerprint, let kept = first.fingerprint, given != kept {
            throw LeadIntakeError.keyReused
        }
        var receipt = first.receipt
        receipt.repeated = true
        return receipt
    }

    private func score(_ draft: LeadDraft, _ policy: ScorePolicy) -> ScoreExplanation {
        var closed = draft.gates
        if draft.consent?.isUsable != true { closed.append("consentMissing") }
        if draft.contact.phone == nil, draft.contact.email == nil { closed.append("contactInvalid") }
        if draft.contact.zip == nil { closed.append("zipMissing") }
        var seen: Set<String> = []
        let gates = closed.filter { seen.insert($0).inserted }
            .map { ScoreExplanation.Gate(code: $0, label: Self.labels[$0] ?? $0) }
        var attributes = draft.attributes
        attributes["phoneUsable"] = Self.usable(draft.contact.phoneStatus)
        attributes["emailUsable"] = Self.usable(draft.contact.emailStatus)
        return policy.score(attributes, closed: gates)
    }

    private static func usable(_ status: ContactStatus) -> LeadAttribute? {
        status == .missing
            ? nil : LeadAttribute(.bool(status == .valid), evidence: "form checked, not confirmed by a message")
    }

    private static let labels = [
        "consentMissing": "no consent to be contacted", "contactInvalid": "no phone or email that can be used",
        "zipMissing": "no ZIP code", "testLead": "a test, never sold", "outsideArea": "outside the served area",
        "roofAuthority": "no authority over the roof", "optedOut": "opted out",
    ]

    private func insert(_ draft: LeadDraft, id: UID, score: ScoreExplanation, in tx: Transaction) throws {
        let contact = draft.contact
        var raw: [String: JSONValue] = [:]
        raw["phone"] = contact.rawPhone.map(JSONValue.string)
        raw["email"] = contact.rawEmail.map(JSONValue.string)
        let rawContact: JSONValue? = raw.isEmpty ? nil : .object(raw)
        let gates = JSONValue.array(score.gates.map { .string($0.code) })
        try tx.run(
            """
            INSERT INTO leads (org, id, external_id, fingerprint, type, trace_id, conversation_id, from_state, state,
                score, tier, probability_ppm, gates, explanation, name, phone, email, zip, phone_status, email_status,
                raw_contact, attributes, source, created_at, updated_at)
            VALUES (\(draft.org), \(id), \(draft.externalID), \(draft.fingerprint), \(draft.type), \(draft.traceID),
                \(draft.conversationID), '', \(LeadState.collecting.rawValue), \(score.score), \(score.tier),
                \(score.probabilityMillionths), \(gates), \(try jsonText(score)), \(contact.name?.exposed),
                \(contact.phone?.exposed), \(contact.email?.exposed), \(contact.zip), \(contact.phoneStatus.rawValue),
                \(contact.emailStatus.rawValue), \(rawContact), \(LeadRow.json(draft.attributes)),
                \(try jsonText(draft.source)), \(tx.now), \(tx.now))
            """)
    }

    private func journalCreation(_ draft: LeadDraft, _ score: ScoreExplanation, _ journal: LeadJournal) throws {
        let prefix = JSONValue.string(String(draft.contact.zip?.prefix(3) ?? ""))
        try journal.note(.lead, to: LeadState.collecting.rawValue)
        var created: [String: JSONValue] = ["type": .string(draft.type), "zip_prefix": prefix]
        created["conversation"] = draft.conversationID.map { .string($0.hex) }
        // Who it is in the log, so that what led to the lead is found by the person and not by the trace alone.
        created["anonymous_id"] = draft.source.visitorID.flatMap { $0.isEmpty ? nil : .string($0) }
        try journal.emit("lead.created", created)
        let facts: [String: JSONValue] = [
            "score": .integer(Int64(score.score)), "tier": .string(score.tier), "policy": .string(score.policy),
        ]
        try journal.note(.score, to: score.tier, detail: facts)
        try journal.tx.run(
            """
            INSERT INTO score_history (org, lead_id, old_score, new_score, cause, policy, created_at)
            VALUES (\(draft.org), \(journal.lead), \(Int64?.none), \(score.score), 'created', \(score.policy),
                \(journal.tx.now))
            """)
        try journal.emit(
            "lead.scored", facts.merging(["type": .string(draft.type), "zip_prefix": prefix], uniquingKeysWith: { $1 }))
    }

    private func seal(_ draft: LeadDraft, _ journal: LeadJournal) throws -> UID? {
        guard let consent = draft.consent, consent.isUsable else { return nil }
        let (tx, org) = (journal.tx, draft.org)
        let certificate = try issuer.seal(consent, lead: journal.lead, contact: draft.contact)
        try tx.run(
            """
            INSERT INTO certificates (org, id, lead_id, key_id, file, salt, expires_at, created_at)
            VALUES (\(org), \(certificate.id), \(journal.lead), \(certificate.keyID), \(certificate.file),
                \(certificate.salt), \(certificate.expires), \(tx.now))
            """)
        var scopes = Set(consent.sellers.map { "seller:\($0.code)" })
        if scopes.isEmpty, let scope = consent.scope { scopes.insert("product:\(scope)") }
        for scope in scopes.sorted() {
            try tx.run(
                """
                INSERT INTO certificate_scopes (org, lead_id, certificate_id, scope, created_at)
                VALUES (\(org), \(journal.lead), \(certificate.id), \(scope), \(tx.now))
                """)
        }
        let facts: [String: JSONValue] = [
            "certificate": .string(certificate.id.hex), "disclosure_version": .string(consent.version),
            "scopes": .array(scopes.sorted().map(JSONValue.string)),
        ]
        try journal.note(.consent, to: "sealed", detail: facts)
        try journal.emit("consent.sealed", facts)
        return certificate.id
    }

    private func decide(_ score: ScoreExplanation, holder: UID?, _ journal: LeadJournal) throws -> LeadState {
        let facts: [String: JSONValue] = [
            "score": .integer(Int64(score.score)), "tier": .string(score.tier),
            "gates": .array(score.gates.map { .string($0.code) }),
        ]
        guard score.gates.isEmpty else {
            try journal.move(.disqualify, detail: facts)
            return .disqualified
        }
        try journal.move(.qualify, detail: facts)
        guard let holder else { return .qualified }
        try journal.move(.markDuplicate, detail: ["first": .string(holder.hex)])
        return .duplicate
    }
}

private struct FirstAnswer: RowDecodable {
    let receipt: LeadReceipt
    let fingerprint: String?

    init(row: Row) throws {
        receipt = try row.decoded("answer")
        fingerprint = try row.optional("fingerprint")
    }
}
