internal import AurumCore
internal import Crypto
internal import Database
internal import Foundation

/// Keeps whose a lead or a sale is. Two belong to one person when they have a visitor or a trace in common; a visitor's
/// id is kept as a hash.
enum CohortPeople {
    enum Kind: String { case lead, sale }

    /// Repeating it changes nothing.
    /// - Parameter item: the lead or the sold leg.
    static func note(
        _ kind: Kind, _ item: UID, org: String, traceID: UID?, visitorID: String?, at: Timestamp,
        in transaction: Transaction
    ) throws {
        let visitor = visitorID.flatMap { $0.isEmpty ? nil : hash(org, $0) }
        let person =
            try known(visitor: visitor, org, in: transaction)
            ?? known(trace: traceID, org, in: transaction)
        try transaction.run(
            """
            INSERT INTO attribution_people (org, kind, item, person, trace_id, visitor, at, created_at)
            VALUES (\(org), \(kind.rawValue), \(item), \(person ?? traceID ?? visitor ?? item), \(traceID),
                    \(visitor), \(at), \(transaction.now))
            ON CONFLICT (org, kind, item) DO NOTHING
            """)
    }

    private static func known(visitor: UID?, _ org: String, in transaction: Transaction) throws -> UID? {
        guard let visitor else { return nil }
        return try transaction.values(
            UID.self,
            """
            SELECT person FROM attribution_people WHERE org = \(org) AND visitor = \(visitor)
            ORDER BY at, item LIMIT 1
            """
        ).first
    }

    private static func known(trace: UID?, _ org: String, in transaction: Transaction) throws -> UID? {
        guard let trace else { return nil }
        return try transaction.values(
            UID.self,
            """
            SELECT person FROM attribution_people WHERE org = \(org) AND trace_id = \(trace)
            ORDER BY at, item LIMIT 1
            """
        ).first
    }

    private static func hash(_ org: String, _ visitor: String) -> UID? {
        var hash = SHA256()
        hash.update(data: Data(org.utf8))
        hash.update(data: Data([0]))
        hash.update(data: Data(visitor.utf8))
        return UID(bytes: Array(hash.finalize().prefix(16)))
    }
}
