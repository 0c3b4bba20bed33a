package import AurumCore
internal import Crypto
package import Database
internal import Foundation
package import Telemetry

/// What became of one postback that came in.
package struct PostbackReceipt: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable {
        /// Valid, and the first of its claim.
        case counted
        /// Valid, and its claim is counted already with the same signed fields.
        case duplicate
        /// Valid, and its claim is counted already with other signed fields.
        case conflict
        /// Invalid or unverifiable: kept, never in reports, and no claim is taken.
        case refused
    }

    package let id: UID
    package let state: State
    package let postback: Postback
}

/// Keeps postbacks. A valid one claims its identifier and sequence index for `claimsKept`; a forgery claims nothing.
package struct PostbackStore: Sendable {
    /// How long a claim is remembered: devices of one conversion are done after 35 + 6 + 9 days.
    package static let claimsKept: Duration = .seconds(400 * 86_400)
    /// Refused bodies that are kept; the oldest go first.
    package static let refusedMax = 100_000
    /// Unreadable bodies that are kept.
    package static let quarantineMax = 10_000
    /// Rows of duplicates that one claim gets, and as many of conflicts: anybody can vary what is not signed. Further
    /// ones are only counted.
    package static let duplicatesOfClaimMax = 16
    /// Rows that one write takes out at most, so that none takes long.
    private static let prunedAtOnce = 64
    /// Of so many refusals one looks whether there are too many.
    private static let refusalsLookedAt: UInt64 = 512

    let database: Database
    let clock: any WallClock
    /// Whose postbacks a receiver without a key takes.
    private let org: String
    let keys: PostbackKeys
    package let schemas: ConversionSchemaStore
    private let registry: MetricRegistry

    package init(
        database: Database, clock: any WallClock, org: String = "default", keys: PostbackKeys = .apple,
        registry: MetricRegistry = MetricRegistry()
    ) {
        self.keys = keys
        self.registry = registry
        schemas = ConversionSchemaStore(database: database, clock: clock)
        self.database = database
        self.clock = clock
        self.org = org
    }

    /// Verifies and stores a body; durable when it returns.
    /// - Throws: `PostbackError` for a body that is no postback, after it was put into quarantine; `SQLError` when
    ///   nothing could be stored.
    package func receive(_ body: [UInt8]) async throws -> PostbackReceipt {
        let postback: Postback
        do { postback = try PostbackVerifier.read(body, keys: keys) } catch {
            try await quarantine(body, error)
            registry.counter(.postbacksReceived, "unknown", "unreadable").increment()
            throw error
        }
        let (id, org, keys) = (UID(now: clock.now), org, keys)
        let bodyHash = Hex.encode(SHA256.hash(data: Data(body)))
        let text = String(decoding: body, as: UTF8.self).storable
        let (kept, state) = try await database.write("postbacks.receive") {
            transaction -> (UID, PostbackReceipt.State) in
            let known = try Self.known(bodyHash, org, in: transaction)
            if let known, !known.isJudgedAgain(postback) {
                try Self.count(known.id, org, in: transaction)
                return (known.id, known.state == .counted ? .duplicate : known.state)
            }
            if let known {
                _ = try transaction.run("DELETE FROM postbacks WHERE org = \(org) AND id = \(known.id)")
            }
            let (state, differs) = try Self.settle(postback, org, keys, in: transaction)
            if let full = try Self.full(postback, state, org, in: transaction) {
                try Self.count(full, org, in: transaction)
                return (full, state)
            }
            try Self.insert(
                postback, Entry(id: id, org: org, hash: bodyHash, body: text, state: state, differs: differs),
                again: known, in: transaction)
            if state != .refused { try transaction.emit(Self.event(postback, id, state, org, transaction.now)) }
            try Self.prune(org, transaction.now, in: transaction)
            if state == .refused, id.low % Self.refusalsLookedAt == 0 { try Self.pruneRefused(org, in: transaction) }
            return (id, state)
        }
        registry.counter(.postbacksReceived, postback.kind.rawValue, postback.verdict.rawValue).increment()
        if state == .duplicate { registry.counter(.postbackDuplicates, postback.kind.rawValue).increment() }
        return PostbackReceipt(id: kept, state: state, postback: postback)
    }

    private static func known(_ hash: String, _ org: String, in transaction: Transaction) throws -> KnownBody? {
        try transaction.one(
            KnownBody.self,
            """
            SELECT id, state, verdict, copies, received_at FROM postbacks
            WHERE org = \(org) AND body_hash = \(hash)
            """)
    }

    /// One more reception under a row that stands.
    private static func count(_ id: UID, _ org: String, in transaction: Transaction) throws {
        _ = try transaction.run(
            """
            UPDATE postbacks SET copies = copies + 1, last_received_at = \(transaction.now)
            WHERE org = \(org) AND id = \(id)
            """)
    }

    /// The row that counts further bodies of a claim which has all the rows it gets, nil while there is room: what
    /// counts for duplicates, the first of its kind for conflicts.
    private static func full(
        _ postback: Postback, _ state: PostbackReceipt.State, _ org: String, in transaction: Transaction
    ) throws -> UID? {
        guard state == .duplicate || state == .conflict, let claim = postback.claim?.storable else { return nil }
        let rows =
            try transaction.value(
                Int.self,
                """
                SELECT COUNT(*) FROM postbacks WHERE org = \(org) AND claim = \(claim)
                    AND state IN ('duplicate', 'conflict') AND state = \(state.rawValue)
                """) ?? 0
        guard rows >= duplicatesOfClaimMax else { return nil }
        if state == .duplicate {
            return try transaction.value(
                UID.self,
                "SELECT id FROM postbacks WHERE org = \(org) AND claim = \(claim) AND state = 'counted'")
        }
        return try transaction.value(
            UID.self,
            """
            SELECT id FROM postbacks WHERE org = \(org) AND claim = \(claim)
                AND state IN ('duplicate', 'conflict') AND state = \(state.rawValue)
            ORDER BY received_at, id LIMIT 1
            """)
    }

    /// What a row holds beside the postback.
    private struct Entry {
        let id: UID
        let org: String
        let hash: String
        let body: String
        let state: PostbackReceipt.State
        let differs: [String]
    }

    /// - Parameter again: the row of the same body that is judged anew; its receptions go on.
    private static func insert(
        _ postback: Postback, _ entry: Entry, again: KnownBody?, in transaction: Transaction
    ) throws {
        let now = transaction.now
        _ = try transaction.run(
            """
            INSERT INTO postbacks
                (org, id, body_hash, body, kind, version, verdict, reason, environment, state, claim, signed_hash,
                 ad_network, app_id, sequence_index, differs, copies, received_at, last_received_at, source,
                 did_win, claimed_value)
            VALUES (\(entry.org), \(entry.id), \(entry.hash), \(entry.body), \(postback.kind.rawValue),
                    \(postback.version.storable), \(postback.verdict.rawValue), \(postback.reason.storable),
                    \(postback.environment.rawValue), \(entry.state.rawValue), \(postback.claim?.storable),
                    \(signedHash(postback)), \((postback.adNetwork ?? "").storable), \(postback.appID),
                    \(postback.sequenceIndex), \(entry.differs.joined(separator: ",").storable),
                    \((again?.copies ?? 0) + 1), \(again?.receivedAt ?? now), \(now),
                    \(postback.source.storable), \(postback.didWin), \(postback.claimedValue.stored))
            """)
    }

    /// The state of a body that is new, and the unsigned fields in which a duplicate differs from what counts.
    private static func settle(
        _ postback: Postback, _ org: String, _ keys: PostbackKeys, in transaction: Transaction
    ) throws -> (PostbackReceipt.State, [String]) {
        guard postback.verdict == .valid, let claim = postback.claim?.storable else { return (.refused, []) }
        let known = try transaction.one(
            ClaimRow.self,
            "SELECT signed_hash, body FROM postbacks WHERE org = \(org) AND claim = \(claim) AND state = 'counted'")
        guard let known else { return (.counted, []) }
        guard known.signedHash == signedHash(postback) else { return (.conflict, []) }
        let counted = (try? PostbackVerifier.read(Array(known.body.utf8), keys: keys))?.unsigned ?? [:]
        let names = Set(counted.keys).union(postback.unsigned.keys)
        return (.duplicate, names.filter { counted[$0] != postback.unsigned[$0] }.sorted())
    }

    private static func signedHash(_ postback: Postback) -> String {
        let text = postback.signed.map { "\($0.name)=\($0.value.canonical)" }.joined(separator: "\n")
        return Hex.encode(SHA256.hash(data: Data(text.utf8)))
    }

    private static func event(
        _ postback: Postback, _ id: UID, _ state: PostbackReceipt.State, _ org: String, _ now: Timestamp
    ) -> OutboxEvent {
        OutboxEvent(
            id: id, org: org, key: postback.claim?.storable ?? id.hex, name: "postback.received", traceID: nil,
            at: now,
            props: [
                "kind": .string(postback.kind.rawValue), "version": .string(postback.version),
                "state": .string(state.rawValue), "environment": .string(postback.environment.rawValue),
                "ad_network": .string(postback.adNetwork ?? ""),
                "app_id": postback.appID.map(JSONValue.integer) ?? .null,
                "did_win": postback.didWin.map(JSONValue.bool) ?? .null,
                "sequence_index": .integer(Int64(postback.sequenceIndex)),
            ])
    }

    /// Lets old claims go, and the oldest of too many refusals.
    private static func prune(_ org: String, _ now: Timestamp, in transaction: Transaction) throws {
        let oldest = now - claimsKept
        _ = try transaction.run(
            """
            DELETE FROM postbacks WHERE org = \(org) AND id IN (
                SELECT id FROM postbacks WHERE org = \(org) AND received_at < \(oldest)
                ORDER BY received_at LIMIT \(prunedAtOnce))
            """)
    }

    /// Takes out refusals past their bound.
    private static func pruneRefused(_ org: String, in transaction: Transaction) throws {
        let count =
            try transaction.value(
                Int.self, "SELECT COUNT(*) FROM postbacks WHERE org = \(org) AND state = 'refused'") ?? 0
        guard count > refusedMax else { return }
        _ = try transaction.run(
            """
            DELETE FROM postbacks WHERE org = \(org) AND id IN (
                SELECT id FROM postbacks WHERE org = \(org) AND state = 'refused'
                ORDER BY received_at LIMIT \(count - refusedMax))
            """)
    }

    private func quarantine(_ body: [UInt8], _ error: PostbackError) async throws {
        let (id, org, kept) = (UID(now: clock.now), org, Array(body.prefix(PostbackVerifier.bodyBytesMax)))
        try await database.write("postbacks.quarantine") { transaction in
            _ = try transaction.run(
                """
                INSERT INTO postback_quarantine (org, id, body, reason, received_at)
                VALUES (\(org), \(id), \(kept), \(error.code), \(transaction.now))
                """)
            let count =
                try transaction.value(Int.self, "SELECT COUNT(*) FROM postback_quarantine WHERE org = \(org)") ?? 0
            guard count > Self.quarantineMax else { return }
            _ = try transaction.run(
                """
                DELETE FROM postback_quarantine WHERE org = \(org) AND id IN (
                    SELECT id FROM postback_quarantine WHERE org = \(org) ORDER BY received_at
                    LIMIT \(count - Self.quarantineMax))
                """)
        }
    }
}

private struct ClaimRow: RowDecodable {
    let signedHash: String
    let body: String

    init(row: Row) throws {
        signedHash = try row.get("signed_hash")
        body = try row.get("body")
    }
}

private struct KnownBody: RowDecodable {
    let id: UID
    let state: PostbackReceipt.State
    let wasUnverifiable: Bool
    let copies: Int64
    let receivedAt: Timestamp

    init(row: Row) throws {
        id = try row.get("id")
        state = try PostbackReceipt.State(rawValue: row.get("state")) ?? .refused
        wasUnverifiable = try row.get("verdict", as: String.self) == Postback.Verdict.unverifiable.rawValue
        copies = try row.get("copies")
        receivedAt = try row.get("received_at")
    }

    /// Whether a key or version that nobody knew when the row was written is known by now.
    func isJudgedAgain(_ postback: Postback) -> Bool { wasUnverifiable && postback.verdict != .unverifiable }
}
