internal import AurumCore
internal import Database

/// A transcript line to write.
struct NewMessage: Sendable {
    var id: UID
    var role: String
    var discloses = false
    var clientMessageID: UID?
    var text: String
    var quickReply: String?
    var slotAsked: String?
    var afterFrame: Int
    var at: Timestamp
}

/// A revision of an answer to write.
struct NewSlotRevision: Sendable {
    var slot: String
    var state: SlotState
    var reason: String
}

/// Everything that one turn changes, written in one transaction or not at all.
struct TurnWrite: Sendable {
    var record: ConversationRecord
    /// What must still be true of the stored row.
    var expectedOwner: ConversationOwner
    var expectedFence: Int
    var expectedVersion: Int
    var messages: [NewMessage] = []
    var frames: [(seq: Int, type: String, text: String)] = []
    var slots: [NewSlotRevision] = []
    var events: [OutboxEvent] = []
    var at: Timestamp
}

/// Statements of the conversation tables. Every write names the owner and fence that it believes in.
enum ConversationStore {
    /// Writes a new conversation with its opening turn.
    static func insert(_ write: TurnWrite, _ tx: Transaction) throws {
        let record = write.record
        try tx.run(
            """
            INSERT INTO conversation (org, id, visitor_id, trace_id, flow_id, flow_hash, operator_name, language, owner,
                owner_person, fence, version, last_sequence, last_frame, source, state, created_at, updated_at)
            VALUES (\(record.org), \(record.id), \(record.visitorID), \(record.traceID), \(record.flowID),
                \(record.flowHash), \(record.operatorName), \(record.state.language.rawValue), \(record.owner.rawValue),
                \(record.ownerPerson), \(record.fence), \(record.version), \(record.lastSequence), \(record.lastFrame),
                \(try StoredJSON.encode(record.source)), \(try StoredJSON.encode(record.state)), \(record.createdAt),
                \(write.at))
            """)
        try append(write, tx)
    }

    /// Writes a turn.
    /// - Throws: `SQLError.staleFence` when somebody else owns the conversation by now, or wrote first.
    static func update(_ write: TurnWrite, _ tx: Transaction) throws {
        let record = write.record
        let changed = try tx.run(
            """
            UPDATE conversation SET language = \(record.state.language.rawValue), owner = \(record.owner.rawValue),
                owner_person = \(record.ownerPerson), fence = \(record.fence), version = \(record.version),
                last_sequence = \(record.lastSequence), last_frame = \(record.lastFrame),
                outcome = \(record.outcome?.rawValue), product = \(record.product),
                state = \(try StoredJSON.encode(record.state)), updated_at = \(write.at), ended_at = \(record.endedAt)
            WHERE org = \(record.org) AND id = \(record.id) AND owner = \(write.expectedOwner.rawValue)
                AND fence = \(write.expectedFence) AND version = \(write.expectedVersion)
            """)
        guard changed == 1 else { throw SQLError.staleFence }
        try append(write, tx)
    }

    private static func append(_ write: TurnWrite, _ tx: Transaction) throws {
        let record = write.record
        let first = record.lastSequence - write.messages.count
        for (index, message) in write.messages.enumerated() {
            try tx.run(
                """
                INSERT INTO conversation_message (org, conversation_id, sequence, id, role, discloses,
                    client_message_id,
                    text, quick_reply, slot_asked, after_frame, created_at)
                VALUES (\(record.org), \(record.id), \(first + index + 1), \(message.id), \(message.role),
                    \(message.discloses), \(message.clientMessageID), \(message.text), \(message.quickReply),
                    \(message.slotAsked), \(message.afterFrame), \(message.at))
                """)
        }
        for frame in write.frames {
            try tx.run(
                """
                INSERT INTO conversation_frame (org, conversation_id, seq, type, body, created_at)
                VALUES (\(record.org), \(record.id), \(frame.seq), \(frame.type), \(frame.text), \(write.at))
                """)
        }
        for slot in write.slots { try insert(slot, record, tx) }
        for event in write.events { try tx.emit(event) }
    }

    private static func insert(_ slot: NewSlotRevision, _ record: ConversationRecord, _ tx: Transaction) throws {
        let state = slot.state
        try tx.run(
            """
            INSERT INTO conversation_slot (org, conversation_id, slot, revision, status, value, raw, message_id,
                span_start, span_end, extractor, extractor_version, confidence_bp, reason, created_at)
            VALUES (\(record.org), \(record.id), \(slot.slot),
                (SELECT COALESCE(MAX(revision), 0) + 1 FROM conversation_slot
                    WHERE org = \(record.org) AND conversation_id = \(record.id) AND slot = \(slot.slot)),
                \(state.status.rawValue), \(state.value?.json), \(state.raw), \(state.messageID), \(state.start),
                \(state.end), \(state.extractor.rawValue), \(state.version), \(state.confidence), \(slot.reason),
                \(state.at))
            """)
    }

    static func record(org: String, id: UID, _ tx: Transaction) throws -> ConversationRecord? {
        try tx.one(ConversationRecord.self, "SELECT * FROM conversation WHERE org = \(org) AND id = \(id)")
    }

    static func frames(org: String, id: UID, after seq: Int, _ tx: Transaction) throws -> [StoredFrame] {
        try tx.all(
            FrameRow.self,
            """
            SELECT seq, body FROM conversation_frame
            WHERE org = \(org) AND conversation_id = \(id) AND seq > \(seq) ORDER BY seq
            """
        ).map(\.frame)
    }

    static func transcript(org: String, id: UID, _ tx: Transaction) throws -> [TranscriptRow] {
        try tx.all(
            TranscriptRow.self,
            """
            SELECT * FROM conversation_message WHERE org = \(org) AND conversation_id = \(id) ORDER BY sequence
            """)
    }

    static func slots(org: String, id: UID, _ tx: Transaction) throws -> [SlotRow] {
        try tx.all(
            SlotRow.self,
            """
            SELECT s.* FROM conversation_slot s WHERE s.org = \(org) AND s.conversation_id = \(id) AND s.revision =
                (SELECT MAX(n.revision) FROM conversation_slot n
                    WHERE n.org = s.org AND n.conversation_id = s.conversation_id AND n.slot = s.slot)
            ORDER BY s.created_at, s.slot
            """)
    }

    static func visitorLines(org: String, id: UID, _ tx: Transaction) throws -> [VisitorLine] {
        try transcript(org: org, id: id, tx).filter { $0.role == "visitor" }.map {
            VisitorLine(
                messageID: $0.id, clientMessageID: $0.clientMessageID, text: $0.text.exposed, at: $0.at,
                afterSeq: $0.afterFrame)
        }
    }

    // Resume tokens.

    static func insertToken(
        org: String, hash: [UInt8], id: UID, at: Timestamp, expires: Timestamp, _ tx: Transaction
    ) throws {
        try tx.run(
            """
            INSERT INTO conversation_token (org, hash, conversation_id, created_at, expires_at)
            VALUES (\(org), \(hash), \(id), \(at), \(expires))
            """)
    }

    static func token(org: String, hash: [UInt8], _ tx: Transaction) throws -> TokenRow? {
        try tx.one(
            TokenRow.self,
            """
            SELECT conversation_id, expires_at, replaced_at FROM conversation_token
            WHERE org = \(org) AND hash = \(hash)
            """)
    }

    static func replaceToken(org: String, hash: [UInt8], at: Timestamp, _ tx: Transaction) throws {
        try tx.run(
            """
            UPDATE conversation_token SET replaced_at = \(at)
            WHERE org = \(org) AND hash = \(hash) AND replaced_at IS NULL
            """)
    }
}

struct TokenRow: RowDecodable, Sendable {
    let conversationID: UID
    let expiresAt: Timestamp
    let replacedAt: Timestamp?

    init(row: Row) throws {
        conversationID = try row.get("conversation_id")
        expiresAt = try row.get("expires_at")
        replacedAt = try row.optional("replaced_at")
    }
}

private struct FrameRow: RowDecodable {
    let frame: StoredFrame
    init(row: Row) throws { frame = StoredFrame(seq: try row.get("seq"), text: try row.get("body")) }
}
