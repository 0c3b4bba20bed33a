package import AurumCore
package import Database
internal import Foundation

/// An attempt to sell a lead to a buyer, as it is stored. Holds no contact data.
package struct LegRow: RowDecodable, Sendable {
    package let org: String
    package let id: UID
    package let lead: UID
    package let leadType: String
    package let traceID: UID
    package let buyer: String
    package let exclusive: Bool
    package let state: LegState
    package let certificateID: UID
    package let priceMinor: Int64
    package let feeMinor: Int64
    package let currency: Currency
    /// Token, score, ZIP and attributes as the buyer saw them at ping, as JSON text: only a post reads it.
    private let offerText: String
    package let caps: [CapBucket]
    package let attempts: Int
    package let reason: String
    package let externalID: String?
    package let returnWindow: Duration
    package let acceptedAt: Timestamp?
    package let recogniseAt: Timestamp?
    package let createdAt: Timestamp

    package init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        lead = try row.get("lead_id")
        leadType = try row.get("lead_type")
        traceID = try row.get("trace_id")
        buyer = try row.get("buyer")
        exclusive = try row.get("exclusive")
        state = try row.choice("state")
        certificateID = try row.get("certificate_id")
        priceMinor = try row.get("price_minor")
        feeMinor = try row.get("fee_minor")
        currency = try row.get("currency")
        offerText = try row.get("offer")
        caps = try row.decoded("caps")
        attempts = try row.get("attempts")
        reason = try row.get("reason")
        externalID = try row.optional("external_id")
        returnWindow = .microseconds(try row.get("return_window_micros", as: Int64.self))
        acceptedAt = try row.optional("accepted_at")
        recogniseAt = try row.optional("recognise_at")
        createdAt = try row.get("created_at")
    }

    /// What the buyer saw at ping.
    var offer: JSONValue {
        get throws { try JSONDecoder().decode(JSONValue.self, from: Data(offerText.utf8)) }
    }

    var amounts: SoldAmounts {
        SoldAmounts(leg: id, buyer: buyer, priceMinor: priceMinor, feeMinor: feeMinor, currency: currency)
    }

    static func find(_ org: String, _ id: UID, in tx: Transaction) throws -> LegRow? {
        try tx.one(LegRow.self, "SELECT * FROM legs WHERE org = \(org) AND id = \(id)")
    }
}
