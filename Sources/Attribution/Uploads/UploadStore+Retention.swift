internal import AurumCore
internal import Database
internal import Synchronization

/// How long uploads are kept.
extension UploadStore {
    /// Conversions with their attempts, from when they were taken up. Longer than any network takes corrections.
    package static let itemsKept: Duration = .seconds(400 * 86_400)
    /// What dry runs would have sent: hashed, and personal data all the same.
    package static let payloadsKept: Duration = .seconds(30 * 86_400)
    /// Rows of one transaction.
    private static let purged = 500

    /// Removes what is old, a few rows at a time. What is under way stays, however old it is.
    /// - Returns: how many conversions went.
    @discardableResult
    package func purge() async throws -> Int {
        while try await forgetPayloads() == Self.purged { try Task.checkCancellation() }
        var (all, last) = (0, Self.purged)
        while last == Self.purged {
            try Task.checkCancellation()
            last = try await purgeItems()
            all += last
        }
        return all
    }

    private func forgetPayloads() async throws -> Int {
        try await database.write("uploads.forgetPayloads", isolation: .readCommitted) { tx in
            try tx.run(
                """
                UPDATE upload_attempts SET payload = NULL WHERE (org, item, number) IN (
                    SELECT org, item, number FROM upload_attempts
                    WHERE payload IS NOT NULL AND started_at < \(tx.now - Self.payloadsKept)
                    ORDER BY started_at LIMIT \(Self.purged))
                """)
        }
    }

    private func purgeItems() async throws -> Int {
        try await database.write("uploads.purge") { tx in
            let old = try tx.all(
                OldUpload.self,
                """
                SELECT org, id FROM upload_items
                WHERE created_at < \(tx.now - Self.itemsKept) AND due_at IS NULL AND state <> 'sent'
                ORDER BY created_at LIMIT \(Self.purged)
                """)
            for (org, items) in Dictionary(grouping: old, by: \.org) {
                let ids = items.map(\.id)
                try tx.run("DELETE FROM upload_attempts WHERE org = \(org) AND item IN (\(list: ids))")
                try tx.run("DELETE FROM upload_items WHERE org = \(org) AND id IN (\(list: ids))")
            }
            return old.count
        }
    }
}

private struct OldUpload: RowDecodable, Sendable {
    let org: String
    let id: UID
    init(row: Row) throws { (org, id) = (try row.get("org"), try row.get("id")) }
}

/// What was counted of each organisation's conversions, so that pages that are looked at do not count all the time.
final class UploadCounts: Sendable {
    private struct Kept {
        var counts: [UploadCount]
        var until: ContinuousClock.Instant
    }

    private static let organisationsMax = 1000
    private let keptFor: Duration
    private let kept = Mutex<[String: Kept]>([:])

    init(keptFor: Duration) { self.keptFor = keptFor }

    /// What is known, or what `count` finds. What took long to count is kept for longer: twenty times as long.
    func get(_ org: String, _ count: () async throws -> [UploadCount]) async throws -> [UploadCount] {
        let began = ContinuousClock.now
        if let known = kept.withLock({ $0[org] }), known.until > began { return known.counts }
        let counts = try await count()
        guard keptFor > .zero else { return counts }
        let now = ContinuousClock.now
        let until = now + max(keptFor, (now - began) * 20)
        kept.withLock { kept in
            if kept.count >= Self.organisationsMax { kept = [:] }
            kept[org] = Kept(counts: counts, until: until)
        }
        return counts
    }
}
