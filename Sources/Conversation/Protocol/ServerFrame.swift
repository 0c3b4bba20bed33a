package import AurumCore

/// Who answers a visitor.
package enum ConversationOwner: String, Sendable, Codable { case bot, human, unattended, closed }

/// A visitor's own message, for a page that was reloaded.
package struct VisitorLine: Sendable, Equatable {
    package var messageID: UID
    package var clientMessageID: UID?
    package var text: String
    package var at: Timestamp
    package var afterSeq: Int
}

/// A frame that is stored and numbered, so that a reconnect can be answered exactly.
package enum StoredFrameBody: Sendable, Equatable {
    case message(id: UID, role: String, BotMessage)
    case progress(done: Int, total: Int)
    case result(ResultCard)
    case owner(ConversationOwner, displayName: String?)

    package var type: String {
        switch self {
        case .message: "message"
        case .progress: "progress"
        case .result: "result"
        case .owner: "owner"
        }
    }

    /// The frame as JSON text.
    package func text(seq: Int, at: Timestamp) -> String {
        var members: [String: JSONValue] = ["seq": .integer(Int64(seq))]
        switch self {
        case .message(let id, let role, let message):
            members["messageID"] = .string(id.hex)
            members["role"] = .string(role)
            members["text"] = .string(message.text)
            if !message.quickReplies.isEmpty {
                members["quickReplies"] = .array(
                    message.quickReplies.map { ["id": .string($0.id), "label": .string($0.label)] })
            }
            if let slot = message.slotAsked { members["slotAsked"] = .string(slot) }
        case .progress(let done, let total):
            members["done"] = .integer(Int64(done))
            members["total"] = .integer(Int64(total))
        case .result(let card):
            members["kind"] = .string(card.kind)
            members["title"] = .string(card.title)
            members["figures"] = .array(card.figures.map(\.json))
            members["notes"] = .array(card.notes.map(JSONValue.string))
        case .owner(let owner, let displayName):
            members["owner"] = .string(owner.rawValue)
            if let displayName { members["displayName"] = .string(displayName) }
        }
        return ServerFrame.encode(type, at, members)
    }
}

extension ResultCard.Figure {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name), "label": .string(label), "display": .string(display),
        ]
        for (key, value) in [("low", low), ("likely", likely), ("high", high)] {
            if let value { members[key] = .number(value) }
        }
        for (key, value) in [("unit", unit), ("why", why), ("source", source)] {
            if let value { members[key] = .string(value) }
        }
        return .object(members)
    }
}

/// A stored frame as it was sent.
package struct StoredFrame: Sendable, Equatable {
    package var seq: Int
    package var text: String
}

/// Codes of error frames.
package enum FrameErrorCode: String, Sendable {
    case badFrame = "bad_frame"
    case tooLarge = "too_large"
    case rateLimited = "rate_limited"
    case unknownConversation = "unknown_conversation"
    case tokenExpired = "token_expired"
    case closed
    case unavailable
}

/// Frames that are sent once and never stored.
package enum ServerFrame: Sendable {
    package struct Welcome: Sendable {
        package var conversationID: UID
        package var traceID: UID
        package var resumeToken: String
        package var resumed: Bool
        package var owner: ConversationOwner
        package var language: Language
        package var disclosure: String
        package var replayFrom: Int
        package var visitorMessages: [VisitorLine]
    }

    case welcome(Welcome, ConversationLimits)
    case accepted(sentID: String, messageID: UID)
    case pong(nonce: String?)
    case error(
        FrameErrorCode, message: String, retryAfterMilliseconds: Int? = nil, fatal: Bool = false, sentID: String? = nil)

    /// The frame as JSON text.
    package func text(at: Timestamp) -> String {
        switch self {
        case .welcome(let welcome, let limits): return ServerFrame.encode("welcome", at, Self.members(welcome, limits))
        case .accepted(let sentID, let messageID):
            return ServerFrame.encode(
                "accepted", at, ["clientMessageID": .string(sentID), "messageID": .string(messageID.hex)])
        case .pong(let nonce): return ServerFrame.encode("pong", at, nonce.map { ["nonce": .string($0)] } ?? [:])
        case .error(let code, let message, let retry, let fatal, let sentID):
            var members: [String: JSONValue] = [
                "code": .string(code.rawValue), "message": .string(message), "fatal": .bool(fatal),
            ]
            if let retry { members["retryAfterMs"] = .integer(Int64(retry)) }
            if let sentID { members["clientMessageID"] = .string(sentID) }
            return ServerFrame.encode("error", at, members)
        }
    }

    private static func members(_ welcome: Welcome, _ limits: ConversationLimits) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "conversationID": .string(welcome.conversationID.hex), "traceID": .string(welcome.traceID.hex),
            "resumeToken": .string(welcome.resumeToken), "resumed": .bool(welcome.resumed),
            "owner": .string(welcome.owner.rawValue), "language": .string(welcome.language.rawValue),
            "disclosure": .string(welcome.disclosure), "replayFrom": .integer(Int64(welcome.replayFrom)),
            "limits": [
                "messageCharactersMax": .integer(Int64(limits.messageCharactersMax)),
                "messagesPer10Seconds": .integer(Int64(limits.messagesPer10Seconds)),
            ],
        ]
        if welcome.resumed { members["visitorMessages"] = .array(welcome.visitorMessages.map(line)) }
        return members
    }

    private static func line(_ line: VisitorLine) -> JSONValue {
        var members: [String: JSONValue] = [
            "messageID": .string(line.messageID.hex), "text": .string(line.text), "at": .string(line.at.rfc3339),
            "afterSeq": .integer(Int64(line.afterSeq)),
        ]
        if let id = line.clientMessageID { members["clientMessageID"] = .string(id.hex) }
        return .object(members)
    }

    static func encode(_ type: String, _ at: Timestamp, _ members: [String: JSONValue]) -> String {
        var all = members
        all["v"] = 1
        all["type"] = .string(type)
        all["at"] = .string(at.rfc3339)
        return JSONValue.object(all).canonical
    }
}
