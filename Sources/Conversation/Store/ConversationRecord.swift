package import AurumCore
package import Database
internal import Foundation

/// Where the conversation came from; set once.
package struct ConversationSource: Sendable, Codable, Equatable {
    package var page: String?
    package var referrer: String?
    package var clickID: String?
    package var utm: [String: String]
    package var consentState: String?
    /// /24 of an IPv4 address, /48 of an IPv6 one.
    package var ipPrefix: String?
    package var userAgentFamily: String?
}

/// The stored state of one conversation.
struct ConversationRecord: Sendable {
    var org: String
    var id: UID
    var visitorID: String
    var traceID: UID
    var flowID: String
    var flowHash: String
    var operatorName: String
    var owner: ConversationOwner
    var ownerPerson: String?
    /// Grows with every change of ownership.
    var fence: Int
    /// Grows with every write.
    var version: Int
    var lastSequence: Int
    var lastFrame: Int
    var outcome: ConversationOutcome?
    var product: String?
    var source: ConversationSource
    var state: DialogueState
    var createdAt: Timestamp
    var endedAt: Timestamp?
}

extension ConversationRecord: RowDecodable {
    init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        visitorID = try row.get("visitor_id")
        traceID = try row.get("trace_id")
        flowID = try row.get("flow_id")
        flowHash = try row.get("flow_hash")
        operatorName = try row.get("operator_name")
        let ownerName: String = try row.get("owner")
        guard let owner = ConversationOwner(rawValue: ownerName) else { throw StoredValueError(column: "owner") }
        self.owner = owner
        ownerPerson = try row.optional("owner_person")
        fence = try row.get("fence")
        version = try row.get("version")
        lastSequence = try row.get("last_sequence")
        lastFrame = try row.get("last_frame")
        outcome = try row.optional("outcome", as: String.self).flatMap(ConversationOutcome.init(rawValue:))
        product = try row.optional("product")
        source = try StoredJSON.decode(ConversationSource.self, try row.get("source"))
        state = try StoredJSON.decode(DialogueState.self, try row.get("state"))
        createdAt = try row.get("created_at")
        endedAt = try row.optional("ended_at")
    }
}

/// A stored value that this release cannot read.
struct StoredValueError: Error, Equatable { var column: String }

/// JSON in a TEXT column.
enum StoredJSON {
    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    static func encode(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}

/// A conversation in lists.
package struct ConversationRow: Sendable, RowDecodable {
    package let id: UID
    package let visitorID: String
    package let traceID: UID
    package let flowID: String
    package let flowHash: String
    package let language: String
    package let owner: String
    package let fence: Int
    package let outcome: String?
    package let product: String?
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
    package let endedAt: Timestamp?

    package init(row: Row) throws {
        id = try row.get("id")
        visitorID = try row.get("visitor_id")
        traceID = try row.get("trace_id")
        flowID = try row.get("flow_id")
        flowHash = try row.get("flow_hash")
        language = try row.get("language")
        owner = try row.get("owner")
        fence = try row.get("fence")
        outcome = try row.optional("outcome")
        product = try row.optional("product")
        createdAt = try row.get("created_at")
        updatedAt = try row.get("updated_at")
        endedAt = try row.optional("ended_at")
    }

    package var json: JSONValue {
        [
            "id": .string(id.hex), "visitor_id": .string(visitorID), "trace_id": .string(traceID.hex),
            "flow": .string(flowID), "flow_hash": .string(flowHash), "language": .string(language),
            "owner": .string(owner), "fence": .integer(Int64(fence)),
            "state": .string(endedAt == nil ? "open" : "ended"),
            "outcome": outcome.map(JSONValue.string) ?? .null, "product": product.map(JSONValue.string) ?? .null,
            "created_at": .string(createdAt.rfc3339), "updated_at": .string(updatedAt.rfc3339),
        ]
    }
}

/// One line of a transcript.
package struct TranscriptRow: Sendable, RowDecodable {
    package let sequence: Int
    package let id: UID
    package let role: String
    package let text: MessageText
    package let quickReply: String?
    package let slotAsked: String?
    package let clientMessageID: UID?
    package let afterFrame: Int
    package let at: Timestamp

    package init(row: Row) throws {
        sequence = try row.get("sequence")
        id = try row.get("id")
        role = try row.get("role")
        text = MessageText(try row.get("text"))
        quickReply = try row.optional("quick_reply")
        slotAsked = try row.optional("slot_asked")
        clientMessageID = try row.optional("client_message_id")
        afterFrame = try row.get("after_frame")
        at = try row.get("created_at")
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "sequence": .integer(Int64(sequence)), "message_id": .string(id.hex), "role": .string(role),
            "text": .string(text.exposed), "at": .string(at.rfc3339),
        ]
        if let quickReply { members["quick_reply"] = .string(quickReply) }
        if let slotAsked { members["slot_asked"] = .string(slotAsked) }
        return .object(members)
    }
}

/// The newest revision of an answer.
package struct SlotRow: Sendable, RowDecodable {
    package let slot: String
    package let revision: Int
    package let status: String
    package let value: JSONValue?
    package let raw: MessageText
    package let messageID: UID?
    package let start: Int
    package let end: Int
    package let extractor: String
    package let extractorVersion: String
    package let confidence: Int
    package let reason: String
    package let at: Timestamp

    package init(row: Row) throws {
        slot = try row.get("slot")
        revision = try row.get("revision")
        status = try row.get("status")
        value = try row.optional("value")
        raw = MessageText(try row.get("raw"))
        messageID = try row.optional("message_id")
        start = try row.get("span_start")
        end = try row.get("span_end")
        extractor = try row.get("extractor")
        extractorVersion = try row.get("extractor_version")
        confidence = try row.get("confidence_bp")
        reason = try row.get("reason")
        at = try row.get("created_at")
    }

    package var json: JSONValue {
        [
            "slot": .string(slot), "revision": .integer(Int64(revision)), "status": .string(status),
            "value": value?["value"] ?? .null, "raw": .string(raw.exposed),
            "message_id": messageID.map { .string($0.hex) } ?? .null,
            "span": [.integer(Int64(start)), .integer(Int64(end))],
            "extractor": .string(extractor), "extractor_version": .string(extractorVersion),
            "confidence_bp": .integer(Int64(confidence)), "reason": .string(reason), "at": .string(at.rfc3339),
        ]
    }
}

/// Counts for the overview.
package struct ConversationSummary: Sendable, Equatable {
    package var open: Int
    package var started: Int
    package var qualified: Int

    package init(open: Int, started: Int, qualified: Int) {
        self.open = open
        self.started = started
        self.qualified = qualified
    }
}
