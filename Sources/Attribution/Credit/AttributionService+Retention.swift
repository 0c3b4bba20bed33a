internal import AurumCore
internal import Database
internal import Telemetry

/// How long credit that other credit took the place of is kept.
extension AttributionService {
    /// As long as what imports of spend replace: a report of an earlier moment has both or neither.
    package static let restatedKept: Duration = .seconds(400 * 86_400)
    /// Rows of one transaction.
    private static let purgedEach = 500

    /// Removes versions that were restated too long ago, a few rows at a time.
    /// - Returns: how many rows went.
    /// - Throws: `CancellationError`; database errors. What was removed until then stays removed.
    @discardableResult
    package func purgeRestated() async throws -> Int {
        let orgs = try await database.read("attribution.restatedOrgs", limit: .report) { transaction in
            try transaction.values(
                String.self,
                """
                SELECT DISTINCT org FROM attribution_restated WHERE at < \(transaction.now - Self.restatedKept)
                ORDER BY org
                """)
        }
        var removed = 0
        for org in orgs {
            for model in CreditModel.allCases {
                var last = Self.purgedEach
                while last == Self.purgedEach {
                    try Task.checkCancellation()
                    last = try await purgeRestated(org, model)
                    removed += last
                }
            }
        }
        registry.counter(.attributionRestatedPurged).increment(by: removed)
        return removed
    }

    private func purgeRestated(_ org: String, _ model: CreditModel) async throws -> Int {
        try await database.write("attribution.purgeRestated") { transaction in
            let bound = transaction.now - Self.restatedKept
            // Nothing is restated before it is sold: the index by that time finds what is old enough.
            return try transaction.run(
                """
                DELETE FROM attribution_restated WHERE (org, kind, item, version, model, position) IN (
                    SELECT org, kind, item, version, model, position FROM attribution_restated
                    WHERE org = \(org) AND model = \(model.rawValue) AND at < \(bound) AND restated_at < \(bound)
                    ORDER BY at LIMIT \(Self.purgedEach))
                """)
        }
    }
}
