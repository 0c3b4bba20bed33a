package import AurumCore
internal import Synchronization

/// What a sink throws when it will never take some of the events it was given, whatever changes: the relay puts those
/// aside, so that they keep no other from the log.
package struct OutboxRefused: Error, Sendable, Equatable {
    /// A short reason for each event, by its id; nothing that somebody wrote.
    package let reasons: [UID: String]

    package init(reasons: [UID: String]) { self.reasons = reasons }
}

/// An event that the log refused.
package struct RejectedEvent: RowDecodable, Sendable {
    package let id: UID
    package let key: String
    package let name: String
    package let at: Timestamp
    package let reason: String
    package let rejectedAt: Timestamp

    package init(row: Row) throws {
        (id, key, name) = (try row.get("id"), try row.get("key"), try row.get("name"))
        (at, reason, rejectedAt) = (try row.get("at"), try row.get("reason"), try row.get("rejected_at"))
    }

    package var json: JSONValue {
        [
            "id": .string(id.hex), "key": .string(key), "name": .string(name), "at": .string(at.rfc3339),
            "reason": .string(reason), "rejected_at": .string(rejectedAt.rfc3339),
        ]
    }
}

extension Database {
    /// Events of one answer, and of one retry.
    package static let rejectedMax = 500
    /// Bytes of a reason that are kept.
    static let rejectedReasonMax = 400

    /// Refused events of an organisation, newest first.
    package func rejectedEvents(org: String, limit: Int = Database.rejectedMax) async throws -> [RejectedEvent] {
        try await read("outbox.rejected") { transaction in
            try transaction.all(
                RejectedEvent.self,
                """
                SELECT id, key, name, at, reason, rejected_at FROM outbox_rejected WHERE org = \(org)
                ORDER BY rejected_at DESC, id DESC LIMIT \(limit)
                """)
        }
    }

    /// Gives refused events of an organisation to the relay again, oldest first, and answers how many; more may be left
    /// when it is `rejectedMax`. They come after what was written since.
    package func retryRejected(org: String) async throws -> Int {
        try await write("outbox.retryRejected") { transaction in
            let ids = try transaction.values(
                UID.self,
                """
                SELECT id FROM outbox_rejected WHERE org = \(org) ORDER BY rejected_at, id LIMIT \(Self.rejectedMax)
                """)
            if ids.isEmpty { return 0 }
            try transaction.run(
                """
                INSERT INTO outbox (id, org, key, name, trace_id, at, props, created_at)
                SELECT id, org, key, name, trace_id, at, props, created_at FROM outbox_rejected
                WHERE org = \(org) AND id IN (\(list: ids)) ORDER BY created_at, id
                """)
            return try transaction.run("DELETE FROM outbox_rejected WHERE org = \(org) AND id IN (\(list: ids))")
        }
    }

    /// Removes a refused event for good. False when there is none.
    package func discardRejected(org: String, id: UID) async throws -> Bool {
        try await write("outbox.discardRejected") { transaction in
            try transaction.run("DELETE FROM outbox_rejected WHERE org = \(org) AND id = \(id)") == 1
        }
    }

    /// Of all organisations, at most `rejectedMax`.
    func rejectedCount() async throws -> Int {
        try await read("outbox.countRejected") { transaction in
            try transaction.value(
                Int.self, "SELECT COUNT(*) FROM (SELECT 1 AS one FROM outbox_rejected LIMIT \(Self.rejectedMax)) AS few"
            )
                ?? 0
        }
    }
}

/// How many refused events there are, asked for now and then.
final class RejectedCount: Sendable {
    private static let interval: Duration = .seconds(5)
    private let state = Mutex<(at: ContinuousClock.Instant, count: Int)?>(nil)

    /// Asks again the next time.
    func forget() { state.withLock { $0 = nil } }

    func value(_ database: Database) async throws -> Int {
        let now = ContinuousClock.now
        if let known = state.withLock({ $0 }), now - known.at < Self.interval { return known.count }
        let count = try await database.rejectedCount()
        state.withLock { $0 = (now, count) }
        return count
    }
}
