package import AurumCore
package import Database
internal import Foundation

/// A leg that was sold, for attribution. A later return changes `state`.
package struct SoldLeg: RowDecodable, Sendable, Equatable {
    package let leg: UID
    package let lead: UID
    package let traceID: UID
    package let buyer: String
    package let price: Money
    package let soldAt: Timestamp
    package let state: LegState
    package let visitorID: String?

    package init(row: Row) throws {
        leg = try row.get("id")
        lead = try row.get("lead_id")
        traceID = try row.get("trace_id")
        buyer = try row.get("buyer")
        price = Money(minorUnits: try row.get("price_minor"), currency: try row.get("currency"))
        soldAt = try row.get("accepted_at")
        state = try row.choice("state")
        visitorID = (try row.decoded("source") as LeadSource).visitorID
    }
}

/// A lead, or a leg of one that was sold, and whose it is.
package struct CreditedLead: RowDecodable, Sendable, Equatable {
    /// Whether `id` is a sold leg's.
    package let isSold: Bool
    package let id: UID
    package let traceID: UID
    package let visitorID: String?
    package let at: Timestamp
    /// Of the lead.
    package let createdAt: Timestamp

    package init(row: Row) throws {
        isSold = try row.get("is_sold", as: Int.self) == 1
        (id, traceID) = (try row.get("id"), try row.get("trace_id"))
        visitorID = (try row.decoded("source") as LeadSource).visitorID
        (at, createdAt) = (try row.get("happened_at"), try row.get("created_at"))
    }
}

/// What the API and the pages show of leads. Contact is masked unless the caller may see it.
package struct LeadReads: Sendable {
    package static let listMax = 200

    let database: Database

    package init(database: Database) { self.database = database }

    /// Newest first.
    /// - Parameter before: only leads older than this one: the cursor of the next page.
    package func list(
        org: String, limit: Int = 50, before: UID? = nil, exposeContact: Bool = false
    ) async throws -> [JSONValue] {
        let limit = min(max(limit, 1), Self.listMax)
        let last = before ?? UID(high: .max, low: .max)
        return try await database.read("leads.list") { tx in
            try tx.all(
                LeadRow.self,
                "SELECT * FROM leads WHERE org = \(org) AND id < \(last) ORDER BY id DESC LIMIT \(limit)"
            ).map { $0.document(exposeContact: exposeContact) }
        }
    }

    package func read(org: String, id: UID, exposeContact: Bool = false) async throws -> JSONValue? {
        try await database.read("leads.read") { tx in
            guard let lead = try Self.lead(org, id, in: tx) else { return nil }
            var document = lead.document(exposeContact: exposeContact).object ?? [:]
            let legs = try tx.all(
                LegRow.self, "SELECT * FROM legs WHERE org = \(org) AND lead_id = \(id) ORDER BY created_at, id")
            document["legs"] = .array(legs.map(\.document))
            return .object(document)
        }
    }

    /// The score with its factors, evidence and what-if.
    package func score(org: String, id: UID) async throws -> JSONValue? {
        try await database.read("leads.score") { tx in try Self.explanation(org, id, in: tx)?.json }
    }

    /// Every step of the lead and of its legs, oldest first.
    package func timeline(org: String, id: UID) async throws -> [JSONValue] {
        try await database.read("leads.timeline") { tx in
            try tx.all(
                HistoryRow.self,
                """
                SELECT kind, leg_id, from_state, to_state, detail, created_at FROM lead_history
                WHERE org = \(org) AND lead_id = \(id) ORDER BY seq LIMIT 1000
                """
            ).map(\.document)
        }
    }

    /// The sealed certificate as a file: verify these exact bytes.
    package func certificate(org: String, id: UID) async throws -> String? {
        try await database.read("leads.certificate") { tx in
            try tx.value(
                String.self,
                """
                SELECT certificates.file FROM certificates JOIN leads
                ON leads.org = certificates.org AND leads.certificate_id = certificates.id
                WHERE leads.org = \(org) AND leads.id = \(id)
                """)
        }
    }

    /// The last routing decision: sentence, bids and the record that it can be computed from again.
    package func decision(org: String, id: UID) async throws -> JSONValue? {
        try await database.read("leads.decision") { tx in
            try StoredDecision.last(LeadRef(org: org, id: id), in: tx).map { try Self.document($0) }
        }
    }

    /// The same record as a value, for recomputation.
    package func decisionRecord(org: String, id: UID) async throws -> Decision? {
        try await database.read("leads.decisionRecord") { tx in
            try StoredDecision.last(LeadRef(org: org, id: id), in: tx)?.decision
        }
    }

    /// Legs sold at or after `since`, oldest first.
    package func soldLegs(org: String, since: Timestamp, limit: Int = 1000) async throws -> [SoldLeg] {
        try await database.read("leads.soldLegs") { tx in
            try tx.all(
                SoldLeg.self,
                """
                SELECT legs.id, legs.lead_id, legs.trace_id, legs.buyer, legs.price_minor, legs.currency,
                    legs.accepted_at, legs.state, leads.source
                FROM legs JOIN leads ON leads.org = legs.org AND leads.id = legs.lead_id
                WHERE legs.org = \(org) AND legs.accepted_at >= \(since)
                ORDER BY legs.accepted_at, legs.id LIMIT \(limit)
                """)
        }
    }

    /// Organisations that ever had a lead.
    package func orgs() async throws -> Set<String> {
        let orgs = try await database.read("leads.orgs") { tx in
            // From one organisation to the next, each by one step of the key.
            try tx.values(
                String.self,
                """
                WITH RECURSIVE found (org) AS (
                    SELECT MIN(org) FROM leads
                    UNION ALL
                    SELECT (SELECT MIN(org) FROM leads WHERE org > found.org) FROM found WHERE found.org IS NOT NULL
                )
                SELECT org FROM found WHERE org IS NOT NULL
                """)
        }
        return Set(orgs)
    }

    /// Leads and legs sold at or after `since`, and before `before`, newest first, those of one moment by their ids.
    /// - Parameter after: of the moment `before` those with larger ids too: what is left of one that a page ends in.
    package func credited(
        org: String, since: Timestamp, before: Timestamp = .end, after: UID? = nil, limit: Int
    ) async throws -> [CreditedLead] {
        let last = after ?? UID(high: .max, low: .max)
        return try await database.read("leads.credited", limit: .report) { tx in
            try tx.all(
                CreditedLead.self,
                """
                SELECT 0 AS is_sold, id, trace_id, source, created_at, created_at AS happened_at
                FROM leads WHERE org = \(org) AND created_at >= \(since) AND created_at <= \(before)
                    AND (created_at < \(before) OR id > \(last))
                UNION ALL
                SELECT 1, legs.id, leads.trace_id, leads.source, leads.created_at, legs.accepted_at
                FROM legs JOIN leads ON leads.org = legs.org AND leads.id = legs.lead_id
                WHERE legs.org = \(org) AND legs.accepted_at >= \(since) AND legs.accepted_at <= \(before)
                    AND (legs.accepted_at < \(before) OR legs.id > \(last))
                ORDER BY happened_at DESC, id LIMIT \(limit)
                """)
        }
    }

    /// Leg, lead, score factors, decision, bids and ledger lines of one leg; the path and the credits are others'.
    package func explain(org: String, leg id: UID) async throws -> JSONValue? {
        try await database.read("leads.explain") { tx in
            guard let leg = try LegRow.find(org, id, in: tx), let lead = try Self.lead(org, leg.lead, in: tx) else {
                return nil
            }
            let score = try Self.explanation(org, leg.lead, in: tx)
            let stored = try StoredDecision.last(LeadRef(org: org, id: leg.lead), in: tx)
            let lines = try LedgerReport.lines(org: org, leg: id, in: tx)
            return [
                "leg": leg.document,
                "lead": [
                    "id": .string(lead.id.hex), "type": .string(lead.type), "score": .integer(Int64(lead.score)),
                    "tier": .string(lead.tier), "state": .string(lead.state.rawValue),
                    "created_at": .string(lead.createdAt.rfc3339), "factors": score?.factorsJSON ?? [],
                ],
                "trace_id": .string(lead.traceID.hex),
                "visitor_id": lead.source.visitorID.map(JSONValue.string) ?? .null,
                "conversation_id": lead.conversationID.map { .string($0.hex) } ?? .null,
                "ledger": .array(lines), "decision": .string(stored?.sentence ?? ""),
                "bids": stored?.decision.bidsJSON ?? [],
            ]
        }
    }

    static func lead(_ org: String, _ id: UID, in tx: Transaction) throws -> LeadRow? {
        try tx.one(LeadRow.self, "SELECT * FROM leads WHERE org = \(org) AND id = \(id)")
    }

    private static func explanation(_ org: String, _ id: UID, in tx: Transaction) throws -> ScoreExplanation? {
        try tx.one(ExplanationRow.self, "SELECT explanation FROM leads WHERE org = \(org) AND id = \(id)")?.explanation
    }

    private static func document(_ stored: StoredDecision) throws -> JSONValue {
        let record = try JSONDecoder().decode(JSONValue.self, from: Data(try jsonText(stored.decision).utf8))
        return [
            "round": .integer(Int64(stored.round)), "sentence": .string(stored.sentence),
            "chosen": .array(stored.decision.chosen.map(JSONValue.string)), "bids": stored.decision.bidsJSON,
            "record": record,
        ]
    }
}

extension LeadRow {
    /// The lead for the API.
    func document(exposeContact: Bool) -> JSONValue {
        func shown(_ value: (any PersonalData)?) -> JSONValue? {
            value.map { .string(exposeContact ? $0.exposed : $0.masked) }
        }
        var contact: [String: JSONValue] = [
            "phone_status": .string(phoneStatus.rawValue), "email_status": .string(emailStatus.rawValue),
            "masked": .bool(!exposeContact),
        ]
        contact["name"] = shown(name)
        contact["phone"] = shown(phone)
        contact["email"] = shown(email)
        contact["zip"] = zip.map(JSONValue.string)
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "type": .string(type), "trace_id": .string(traceID.hex),
            "state": .string(state.rawValue), "score": .integer(Int64(score)), "tier": .string(tier),
            "gates": .array(gates.map(JSONValue.string)), "contact": .object(contact),
            "attributes": .object(values), "source": source.document, "created_at": .string(createdAt.rfc3339),
            "updated_at": .string(updatedAt.rfc3339),
        ]
        members["conversation_id"] = conversationID.map { .string($0.hex) }
        members["certificate_id"] = certificateID.map { .string($0.hex) }
        members["duplicate_of"] = duplicateOf.map { .string($0.hex) }
        return .object(members)
    }
}

extension LeadSource {
    var document: JSONValue {
        let pairs = [
            ("visitor_id", visitorID), ("campaign", campaign), ("utm_source", utmSource), ("utm_medium", utmMedium),
            ("click_id", clickID), ("referrer", referrer), ("landing", landing),
        ]
        return .object(
            Dictionary(
                pairs.compactMap { name, value in value.map { (name, JSONValue.string($0)) } }, uniquingKeysWith: { $1 }
            ))
    }
}

extension LegRow {
    /// The leg for the API and the explain page.
    var document: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "lead": .string(lead.hex), "buyer": .string(buyer), "state": .string(state.rawValue),
            "exclusive": .bool(exclusive), "price_minor": .integer(priceMinor), "fee_minor": .integer(feeMinor),
            "currency": .string(currency.code), "attempts": .integer(Int64(attempts)), "reason": .string(reason),
            "at": .string((acceptedAt ?? createdAt).rfc3339), "created_at": .string(createdAt.rfc3339),
        ]
        members["external_id"] = externalID.map(JSONValue.string)
        members["recognise_at"] = recogniseAt.map { .string($0.rfc3339) }
        return .object(members)
    }
}

private struct ExplanationRow: RowDecodable {
    let explanation: ScoreExplanation
    init(row: Row) throws { explanation = try row.decoded("explanation") }
}

private struct HistoryRow: RowDecodable {
    let document: JSONValue

    init(row: Row) throws {
        var members: [String: JSONValue] = [
            "kind": .string(try row.get("kind")), "from": .string(try row.get("from_state")),
            "to": .string(try row.get("to_state")), "detail": try row.get("detail"),
            "at": .string(try row.get("created_at", as: Timestamp.self).rfc3339),
        ]
        members["leg"] = try row.optional("leg_id", as: UID.self).map { .string($0.hex) }
        document = .object(members)
    }
}
