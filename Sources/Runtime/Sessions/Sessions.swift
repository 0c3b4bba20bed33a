package import AurumCore
package import Database
internal import Synchronization

/// Sign-ins of people. The database holds them, so that a restart keeps both sessions and their ends; memory answers
/// for it. Losing the database signs people out and never signs anybody in.
package final class Sessions: Sendable {
    /// Why a session ended without its owner's doing, for the audit.
    package enum End: String, Sendable { case replayed, tooMany = "too_many" }

    /// A use of a session: who it is, and the id that replaces the one presented.
    package struct Use: Sendable {
        package let record: SessionRecord
        package let replacement: SessionToken?
    }

    private struct Entry: Sendable {
        var record: SessionRecord
        /// When the row was last seen.
        var verifiedAt: Timestamp
    }

    private struct State: Sendable {
        var entries: [[UInt8]: Entry] = [:]
        /// Sessions whose id is being replaced now.
        var rotating: Set<UID> = []
    }

    private let database: Database
    private let clock: any WallClock
    private let isShared: Bool
    private let state: Mutex<State>

    /// Loads what is stored and drops what has ended meanwhile.
    /// - Parameter isShared: whether other processes write to the same database.
    package init(database: Database, clock: any WallClock, isShared: Bool = false) async throws {
        self.database = database
        self.clock = clock
        self.isShared = isShared
        let now = clock.now
        let rows = try await database.write("sessions.open") { tx in
            try Self.sweep(now, tx)
            return try tx.all(SessionRow.self, SessionRow.select)
        }
        var entries: [[UInt8]: Entry] = [:]
        for row in rows { entries[row.hash] = Entry(record: row.record, verifiedAt: now) }
        state = Mutex(State(entries: entries))
    }

    /// Begins a session, and removes what ran out unseen. The oldest of the same person beyond `perPersonMax` ends.
    package func start(org: String, person: String, device: String) async throws -> SessionToken {
        let token = SessionToken()
        let now = clock.now
        let record = SessionRecord(
            id: UID(now: now), org: org, person: person, device: String(device.prefix(100)), createdAt: now,
            issuedAt: now, seenAt: now)
        let hash = token.hash
        // Remembered first: what ends all sessions of the person meanwhile ends this one too.
        state.withLock { $0.entries[hash] = Entry(record: record, verifiedAt: now) }
        let ended: [UID]
        do { ended = try await insert(hash, record, now) } catch {
            forget { $0.id == record.id }
            throw error
        }
        state.withLock { state in
            let ended = Set(ended)
            state.entries = state.entries.filter { entry in
                !ended.contains(entry.value.record.id) && !Self.isOver(entry.value.record, at: now)
            }
        }
        return token
    }

    /// Stores a session and answers which of the person's had to end for it.
    private func insert(_ hash: [UInt8], _ record: SessionRecord, _ now: Timestamp) async throws -> [UID] {
        let (org, person) = (record.org, record.person)
        return try await database.write("sessions.start") { tx in
            try Self.sweep(now, tx)
            try SessionRow.insert(hash, record, tx)
            let live = try tx.all(
                SessionRow.self,
                """
                SELECT hash, session, org, person, device, created_at, issued_at, seen_at, replaced_at FROM sessions
                WHERE org = \(org) AND person = \(person) AND replaced_at IS NULL
                ORDER BY created_at DESC, session DESC
                """)
            let over = live.map(\.record).filter {
                SessionVerdict.of($0, at: now) == .valid(isDue: false)
                    || SessionVerdict.of($0, at: now) == .valid(isDue: true)
            }.dropFirst(SessionRules.perPersonMax)
            for record in over { try Self.delete(record, because: .tooMany, tx) }
            return over.map(\.id)
        }
    }

    /// The session of an id by what is remembered. Changes nothing.
    package func record(_ token: SessionToken) -> SessionRecord? {
        let now = clock.now
        guard let entry = state.withLock({ $0.entries[token.hash] }),
            case .valid = SessionVerdict.of(entry.record, at: now)
        else { return nil }
        return entry.record
    }

    /// Uses a session: notes when, replaces its id when that is due, and ends it when the id is one that was replaced.
    /// - Parameter mayRotate: whether the caller can hand a new id to the client.
    package func use(_ token: SessionToken, mayRotate: Bool) async throws -> Use? {
        let now = clock.now
        let hash = token.hash
        guard let record = try await known(hash, now) else { return nil }
        switch SessionVerdict.of(record, at: now) {
        case .idle, .expired:
            try await end(record)
            return nil
        case .replayed:
            try await end(record, because: .replayed)
            return nil
        case .valid(let isDue):
            if isDue, mayRotate, let token = try await rotate(hash, record, now) {
                return Use(record: record, replacement: token)
            }
            // It may have ended while its id was being replaced.
            guard state.withLock({ $0.entries[hash] != nil }) else { return nil }
            if record.replacedAt == nil, now >= record.seenAt + SessionRules.seenEvery {
                try await see(hash, record, now)
            }
            return Use(record: record, replacement: nil)
        }
    }

    /// Whether a session lives, for what goes on without presenting its id; counts as its use.
    package func keepAlive(_ id: UID) async throws -> Bool {
        let now = clock.now
        guard let (hash, record) = try await inUse(id), case .valid = SessionVerdict.of(record, at: now) else {
            return false
        }
        if now >= record.seenAt + SessionRules.seenEvery { try await see(hash, record, now) }
        return true
    }

    /// Sessions of a person that are in use, newest first, on whatever node they began.
    package func list(org: String, person: String) async throws -> [SessionRecord] {
        let now = clock.now
        return try await records(org: org, person: person)
            .filter { record in
                guard record.org == org, record.person == person, record.replacedAt == nil else { return false }
                if case .valid = SessionVerdict.of(record, at: now) { return true }
                return false
            }
            .sorted { ($0.createdAt, $0.id) > ($1.createdAt, $1.id) }
    }

    /// Ends the session of an id, as its owner wishes.
    package func end(_ token: SessionToken) async throws {
        guard let record = state.withLock({ $0.entries[token.hash]?.record }) else { return }
        try await end(record)
    }

    /// Ends one session of a person. False when there is none.
    package func revoke(_ id: UID, org: String, person: String) async throws -> Bool {
        let count = try await database.write("sessions.revoke") { tx in
            try tx.run("DELETE FROM sessions WHERE session = \(id) AND org = \(org) AND person = \(person)")
        }
        forget { $0.id == id && $0.org == org && $0.person == person }
        return count > 0
    }

    /// Ends all sessions of a person, here at once and on other nodes within `believedFor`.
    package func revokeAll(org: String, person: String) async throws {
        try await database.write("sessions.revokeAll") { tx in
            _ = try tx.run("DELETE FROM sessions WHERE org = \(org) AND person = \(person)")
        }
        forget { $0.org == org && $0.person == person }
    }

    // MARK: steps

    /// The id in use of a session, and its record. Another node may have replaced the id that this one knows.
    private func inUse(_ id: UID) async throws -> (hash: [UInt8], record: SessionRecord)? {
        guard isShared else {
            return state.withLock { state in
                state.entries.first { $0.value.record.id == id && $0.value.record.replacedAt == nil }
                    .map { ($0.key, $0.value.record) }
            }
        }
        let row = try await database.read("sessions.inUse") { tx in
            try tx.one(
                SessionRow.self,
                """
                SELECT hash, session, org, person, device, created_at, issued_at, seen_at, replaced_at FROM sessions
                WHERE session = \(id) AND replaced_at IS NULL
                """)
        }
        return row.map { ($0.hash, $0.record) }
    }

    private func records(org: String, person: String) async throws -> [SessionRecord] {
        guard isShared else { return state.withLock { $0.entries.values.map(\.record) } }
        return try await database.read("sessions.list") { tx in
            try tx.all(
                SessionRow.self,
                """
                SELECT hash, session, org, person, device, created_at, issued_at, seen_at, replaced_at FROM sessions
                WHERE org = \(org) AND person = \(person) AND replaced_at IS NULL
                """)
        }.map(\.record)
    }

    /// Removes sessions that ran out and were never presented again.
    private static func sweep(_ now: Timestamp, _ tx: Transaction) throws {
        try tx.run(
            """
            DELETE FROM sessions WHERE created_at <= \(now - SessionRules.absolute) OR session IN
                (SELECT session FROM sessions WHERE replaced_at IS NULL AND seen_at <= \(now - SessionRules.idle))
            """)
    }

    /// Whether a record is of no more use to anybody; of a session whose ids were replaced, each for itself.
    private static func isOver(_ record: SessionRecord, at now: Timestamp) -> Bool {
        if let replaced = record.replacedAt, now >= replaced + SessionRules.idle { return true }
        let verdict = SessionVerdict.of(record, at: now)
        return verdict == .idle || verdict == .expired
    }

    /// The record of an id, read again where others may have changed it.
    private func known(_ hash: [UInt8], _ now: Timestamp) async throws -> SessionRecord? {
        let entry = state.withLock { $0.entries[hash] }
        if !isShared { return entry?.record }
        if let entry, now < entry.verifiedAt + SessionRules.believedFor { return entry.record }
        let row = try await database.read("sessions.verify") { tx in
            try tx.one(
                SessionRow.self,
                """
                SELECT hash, session, org, person, device, created_at, issued_at, seen_at, replaced_at FROM sessions
                WHERE hash = \(hash)
                """)
        }
        state.withLock { $0.entries[hash] = row.map { Entry(record: $0.record, verifiedAt: now) } }
        return row?.record
    }

    private func rotate(_ hash: [UInt8], _ record: SessionRecord, _ now: Timestamp) async throws -> SessionToken? {
        guard state.withLock({ $0.rotating.insert(record.id).inserted }) else { return nil }
        defer { _ = state.withLock { $0.rotating.remove(record.id) } }
        let token = SessionToken()
        var (next, old) = (record, record)
        (next.issuedAt, next.seenAt) = (now, now)
        old.replacedAt = now
        let (fresh, freshHash, replaced) = (next, token.hash, old)
        let isOurs = try await database.write("sessions.rotate") { tx in
            // Another request, or another node, may have been first.
            let sql: SQLStatement =
                "UPDATE sessions SET replaced_at = \(now) WHERE hash = \(hash) AND replaced_at IS NULL"
            guard try tx.run(sql) == 1 else { return false }
            // Ids before the last are of no use to anybody; coming back later, they are unknown.
            try tx.run("DELETE FROM sessions WHERE session = \(fresh.id) AND replaced_at < \(now - SessionRules.idle)")
            try SessionRow.insert(freshHash, fresh, tx)
            return true
        }
        guard isOurs else { return nil }
        return state.withLock { state in
            // A session that was ended since stays ended.
            guard state.entries[hash] != nil else { return nil }
            state.entries[hash] = Entry(record: replaced, verifiedAt: now)
            state.entries[freshHash] = Entry(record: fresh, verifiedAt: now)
            return token
        }
    }

    private func see(_ hash: [UInt8], _ record: SessionRecord, _ now: Timestamp) async throws {
        state.withLock { $0.entries[hash]?.record.seenAt = now }
        try await database.write("sessions.see") { tx in
            _ = try tx.run("UPDATE sessions SET seen_at = \(now) WHERE hash = \(hash)")
        }
    }

    private func end(_ record: SessionRecord, because reason: End? = nil) async throws {
        // Here first: whatever the database says, this id is over.
        forget { $0.id == record.id }
        try await database.write("sessions.end") { tx in try Self.delete(record, because: reason, tx) }
    }

    private static func delete(_ record: SessionRecord, because reason: End?, _ tx: Transaction) throws {
        try tx.run("DELETE FROM sessions WHERE session = \(record.id)")
        guard let reason else { return }
        try tx.emit(
            OutboxEvent(
                id: UID(now: tx.now), org: record.org, key: record.id.hex, name: "session.ended", traceID: nil,
                at: tx.now,
                props: [
                    "session": .string(record.id.hex), "person": .string(record.person),
                    "reason": .string(reason.rawValue),
                ]))
    }

    private func forget(_ isGone: (SessionRecord) -> Bool) {
        state.withLock { state in state.entries = state.entries.filter { !isGone($0.value.record) } }
    }
}

private struct SessionRow: RowDecodable {
    let hash: [UInt8]
    let record: SessionRecord

    static let select: SQLStatement =
        "SELECT hash, session, org, person, device, created_at, issued_at, seen_at, replaced_at FROM sessions"

    init(row: Row) throws {
        hash = try row.get("hash")
        record = SessionRecord(
            id: try row.get("session"), org: try row.get("org"), person: try row.get("person"),
            device: try row.get("device"), createdAt: try row.get("created_at"), issuedAt: try row.get("issued_at"),
            seenAt: try row.get("seen_at"), replacedAt: try row.optional("replaced_at"))
    }

    static func insert(_ hash: [UInt8], _ record: SessionRecord, _ tx: Transaction) throws {
        try tx.run(
            """
            INSERT INTO sessions (hash, session, org, person, device, created_at, issued_at, seen_at)
            VALUES (\(hash), \(record.id), \(record.org), \(record.person), \(record.device), \(record.createdAt),
                    \(record.issuedAt), \(record.seenAt))
            """)
    }
}
