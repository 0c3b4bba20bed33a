package import AurumCore
package import Database

/// A sale that was credited by a release with fewer models.
package struct IncompleteSale: Sendable, Equatable {
    package let org: String
    package let leg: UID
    package let price: Money
    package let at: Timestamp
}

extension AttributionService {
    /// Sales looked at in one step of completion.
    package static let completedAtOnce = 100

    /// Sales that have credit under the first touch and none under a newer model, after `leg` in the order of ids.
    package func incompleteSales(after leg: UID?) async throws -> [IncompleteSale] {
        let after = leg ?? UID(high: 0, low: 0)
        return try await database.read("attribution.incomplete") { transaction in
            try transaction.all(
                IncompleteSale.self,
                """
                SELECT org, leg, currency, sold_at, SUM(amount_minor) AS revenue FROM attribution_credits AS known
                WHERE model = 'first' AND leg > \(after) AND NOT EXISTS (
                    SELECT 1 FROM attribution_credits AS newer
                    WHERE newer.org = known.org AND newer.leg = known.leg AND newer.model = 'linear')
                GROUP BY org, leg, currency, sold_at ORDER BY leg LIMIT \(Self.completedAtOnce)
                """)
        }
    }

    /// Stores the credits that such a sale lacks, unless it was returned meanwhile. What is stored stays as it is.
    package func complete(_ sale: Sale) async throws {
        try await store(sale, onlyIfCredited: true)
    }
}

extension IncompleteSale: RowDecodable {
    package init(row: Row) throws {
        self.init(
            org: try row.get("org"), leg: try row.get("leg"),
            price: Money(minorUnits: try row.get("revenue"), currency: try row.get("currency")),
            at: try row.get("sold_at"))
    }
}
