package import AurumCore

/// Why a buyer is not asked, or not sold to. Stable codes.
package enum Refusal: String, Sendable, Codable, CaseIterable {
    case notActive, leadType, tierNotOffered, minScore, zip, minBill, noCertificate, certificateExpired, consentScope
    case capFull, alreadyOffered, fanOutFull, belowReserve, declined, late, unreadable, unreachable, currency
}

/// What deciding about a buyer needs to know of the lead.
package struct OfferedLead: Sendable, Codable, Equatable {
    package var id: UID
    package var type: String
    package var zip: String
    package var score: Int
    package var tier: String
    package var probabilityMillionths: Int64
    /// Lowest price of the tier in minor units; nil: not offered.
    package var reserveMinor: Int64?
    package var reserveCurrency: Currency
    package var attributes: [String: JSONValue]

    package init(
        id: UID, type: String, zip: String, score: Int, tier: String, probabilityMillionths: Int64,
        reserveMinor: Int64?, reserveCurrency: Currency, attributes: [String: JSONValue]
    ) {
        self.id = id
        self.type = type
        self.zip = zip
        self.score = score
        self.tier = tier
        self.probabilityMillionths = probabilityMillionths
        self.reserveMinor = reserveMinor
        self.reserveCurrency = reserveCurrency
        self.attributes = attributes
    }
}

/// What a sealed certificate permits.
package struct CertificateCover: Sendable {
    package var id: UID
    /// `seller:CODE` and `product:TYPE`.
    package var scopes: Set<String>
    package var expires: Timestamp
    package var isRevoked: Bool

    package init(id: UID, scopes: Set<String>, expires: Timestamp, isRevoked: Bool) {
        self.id = id
        self.scopes = scopes
        self.expires = expires
        self.isRevoked = isRevoked
    }

    /// The scope under which `buyer` may have a lead of `type`; nil when the person did not agree to it.
    package func scope(buyer: String, type: String) -> String? {
        if isRevoked { return nil }
        return ["seller:\(buyer)", "product:\(type)"].first(where: scopes.contains)
    }
}

/// Whether a buyer may be asked at all.
package enum Eligibility {
    /// Buyers asked at once.
    package static let fanOutMax = 50

    /// nil when the buyer may be asked.
    package static func refusal(
        of buyer: Buyer, for lead: OfferedLead, certificate: CertificateCover?, now: Timestamp, capFull: Bool,
        alreadyOffered: Bool
    ) -> Refusal? {
        guard buyer.state == .active else { return .notActive }
        guard buyer.leadTypes.contains(lead.type) else { return .leadType }
        guard lead.reserveMinor != nil else { return .tierNotOffered }
        guard lead.score >= buyer.minScore else { return .minScore }
        guard buyer.zips.isEmpty || buyer.zips.contains(lead.zip) else { return .zip }
        if buyer.minBill > 0, (lead.attributes["bill"]?.integer ?? 0) < buyer.minBill { return .minBill }
        guard let certificate else { return .noCertificate }
        guard certificate.expires > now else { return .certificateExpired }
        guard certificate.scope(buyer: buyer.code, type: lead.type) != nil else { return .consentScope }
        if alreadyOffered { return .alreadyOffered }
        if capFull { return .capFull }
        return nil
    }

    /// The lowest price for `buyer` in its currency; nil where tier and buyer speak different currencies and the
    /// buyer has no reserve price of its own.
    package static func reserve(_ buyer: Buyer, _ lead: OfferedLead) -> Int64? {
        if let own = buyer.reservePrice { return own.minorUnits }
        return buyer.currency == lead.reserveCurrency ? lead.reserveMinor : nil
    }
}
