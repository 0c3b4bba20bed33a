package import AurumCore
package import Database

/// A lead, or a sale of it, as advertising networks are told of it. Holds contact data: never logged.
package struct LeadConversion: RowDecodable, Sendable {
    /// The sold leg, or the lead.
    package let subject: UID
    package let traceID: UID
    package let email: EmailAddress?
    package let phone: PhoneNumber?
    package let source: LeadSource
    /// The person asked that nothing more is done with the lead.
    package let isWithdrawn: Bool

    package init(row: Row) throws {
        subject = try row.get("subject")
        traceID = try row.get("trace_id")
        email = try row.optional("email", as: String.self).flatMap { EmailAddress($0) }
        phone = try row.optional("phone", as: String.self).flatMap { PhoneNumber($0) }
        source = try row.decoded("source")
        let state: LeadState = try row.choice("state")
        isWithdrawn = state == .withdrawn || state == .erased
    }
}

/// A sale as the ledger counts it.
package struct LeadSale: RowDecodable, Sendable, Equatable {
    package let traceID: UID
    package let price: Money
    package let soldAt: Timestamp

    package init(row: Row) throws {
        traceID = try row.get("trace_id")
        price = Money(minorUnits: try row.get("price_minor"), currency: try row.get("currency"))
        soldAt = try row.get("accepted_at")
    }
}

extension LeadReads {
    /// Whose these sold legs and leads are; unknown ones are left out.
    package func conversions(org: String, legs: [UID], leads: [UID]) async throws -> [LeadConversion] {
        try await database.read("leads.conversions") { tx in
            let sold = try tx.all(
                LeadConversion.self,
                """
                SELECT legs.id AS subject, leads.trace_id, leads.email, leads.phone, leads.source, leads.state
                FROM legs JOIN leads ON leads.org = legs.org AND leads.id = legs.lead_id
                WHERE legs.org = \(org) AND legs.id IN (\(list: legs))
                """)
            let qualified = try tx.all(
                LeadConversion.self,
                """
                SELECT id AS subject, trace_id, email, phone, source, state FROM leads
                WHERE org = \(org) AND id IN (\(list: leads))
                """)
            return sold + qualified
        }
    }

    /// nil for a leg that nobody bought.
    package func sale(org: String, leg: UID) async throws -> LeadSale? {
        try await database.read("leads.sale") { tx in
            try tx.one(
                LeadSale.self,
                """
                SELECT trace_id, price_minor, currency, accepted_at FROM legs
                WHERE org = \(org) AND id = \(leg) AND accepted_at IS NOT NULL
                """)
        }
    }
}
