internal import AurumCore
internal import Crypto
internal import Database
internal import Foundation

/// Finds a person who is already a lead. A key is a hash of a normalised phone number or address; a contact without
/// either has no key and matches nobody.
enum LeadKeys {
    /// How long a person counts as the same lead.
    static let days = 90
    static let scope = "organisation"

    /// SHA-256 over kind and value; the kind keeps a number from ever equalling an address.
    static func hashes(of contact: LeadContact) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        if let phone = contact.phone { keys.append(hash("phone", phone.exposed)) }
        if let email = contact.email { keys.append(hash("email", email.normalized)) }
        return keys
    }

    private static func hash(_ kind: String, _ value: String) -> [UInt8] {
        Array(SHA256.hash(data: Data("\(kind):\(value)".utf8)))
    }

    /// Claims every key for `lead` and answers the lead that already holds one, or nil when all were free.
    /// Insert first, never query first: two people at once cannot both win. A key may be taken over when it has
    /// expired, or, by a lead that can be sold, from one that was disqualified.
    static func claim(
        _ keys: [[UInt8]], for lead: UID, org: String, sellable: Bool, now: Timestamp, in tx: Transaction
    ) throws -> UID? {
        let expires = now + .seconds(days * 86_400)
        var holder: UID?
        var won: [[UInt8]] = []
        for key in keys {
            let changed = try tx.run(
                """
                INSERT INTO lead_keys (org, scope, key_hash, lead_id, expires_at, created_at)
                VALUES (\(org), \(scope), \(key), \(lead), \(expires), \(now))
                ON CONFLICT (org, scope, key_hash) DO UPDATE
                SET lead_id = excluded.lead_id, expires_at = excluded.expires_at, created_at = excluded.created_at
                WHERE lead_keys.expires_at <= \(now) OR (\(sellable) = 1 AND EXISTS (
                    SELECT 1 FROM leads WHERE leads.org = lead_keys.org AND leads.id = lead_keys.lead_id
                    AND leads.state = 'disqualified'))
                """)
            if changed > 0 {
                won.append(key)
            } else if holder == nil {
                holder = try tx.value(
                    UID.self,
                    "SELECT lead_id FROM lead_keys WHERE org = \(org) AND scope = \(scope) AND key_hash = \(key)")
            }
        }
        guard let holder, holder != lead else { return nil }
        for key in won {
            try tx.run(
                """
                UPDATE lead_keys SET lead_id = \(holder)
                WHERE org = \(org) AND scope = \(scope) AND key_hash = \(key)
                """)
        }
        return holder
    }
}
