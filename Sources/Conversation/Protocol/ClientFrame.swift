package import AurumCore
internal import Foundation

/// Why a frame from a client cannot be used.
package enum FrameError: Error, Equatable, Sendable {
    case tooLarge
    /// What is wrong, in words for the client's developer; never the client's own text.
    case malformed(String)
}

/// Where a visitor came from, as the page reports it.
package struct Hello: Sendable, Equatable {
    package var visitorID: String?
    package var traceID: UID?
    package var page: String?
    package var referrer: String?
    package var clickID: String?
    package var utm: [String: String] = [:]
    package var language: Language?
    package var consentState: String?
    package var resumeToken: String?
    package var lastSeq = 0

    package init() {}
}

/// One frame of a client, checked.
package enum ClientFrame: Sendable, Equatable {
    case hello(Hello)
    case message(clientMessageID: UID, sentID: String, text: String, quickReply: String?)
    case rating(Int)
    case read
    case typing
    case bye
    case ping(nonce: String?)

    /// Nesting a frame may have.
    private static let depthMax = 4

    /// Reads one frame. Unknown members are ignored; wrong types are not.
    package static func parse(
        _ text: String, limits: ConversationLimits = .standard
    ) throws(FrameError) -> ClientFrame {
        guard text.utf8.count <= limits.frameBytesMax else { throw .tooLarge }
        guard depth(of: text) <= depthMax else { throw .malformed("nested too deeply") }
        guard let frame = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)), frame.object != nil else {
            throw .malformed("not a JSON object")
        }
        let fields = FrameFields(frame: frame)
        switch frame["type"]?.string {
        case "hello": return .hello(try hello(fields))
        case "message": return try message(fields, limits)
        case "rating":
            guard let score = frame["score"]?.integer, (1...5).contains(score) else {
                throw .malformed("score is 1 to 5")
            }
            return .rating(Int(score))
        case "read": return .read
        case "typing": return .typing
        case "bye": return .bye
        case "ping": return .ping(nonce: try fields.string("nonce", 64))
        case nil: throw .malformed("type is missing")
        default: throw .malformed("unknown type")
        }
    }

    private static func depth(of text: String) -> Int {
        var depth = 0
        var deepest = 0
        var inString = false
        var escaped = false
        for byte in text.utf8 {
            if inString {
                if escaped {
                    escaped = false
                } else if byte == 92 {
                    escaped = true
                } else if byte == 34 {
                    inString = false
                }
            } else if byte == 34 {
                inString = true
            } else if byte == 123 || byte == 91 {
                depth += 1
                deepest = max(deepest, depth)
            } else if byte == 125 || byte == 93 {
                depth -= 1
            }
        }
        return deepest
    }

    private static func hello(_ fields: FrameFields) throws(FrameError) -> Hello {
        var hello = Hello()
        hello.visitorID = try fields.string("visitorID", 128)
        hello.traceID = try fields.string("traceID", 64).flatMap { UID($0) }
        hello.page = try fields.string("page", 2048)
        hello.referrer = try fields.string("referrer", 2048)
        hello.clickID = try fields.string("clickID", 512)
        hello.language = try fields.string("language", 35).flatMap {
            Language(rawValue: String($0.lowercased().prefix(2)))
        }
        hello.consentState = try fields.string("consentState", 64)
        hello.resumeToken = try fields.string("resumeToken", 128)
        if let node = fields.frame["lastSeq"], node != .null {
            guard let seq = node.integer, seq >= 0, seq < 1_000_000_000 else {
                throw .malformed("lastSeq is a whole number")
            }
            hello.lastSeq = Int(seq)
        }
        guard let utm = fields.frame["utm"], utm != .null else { return hello }
        guard utm.object != nil else { throw .malformed("utm is an object") }
        for name in ["source", "medium", "campaign", "term", "content"] {
            hello.utm[name] = try FrameFields(frame: utm).string(name, 256)
        }
        return hello
    }

    private static func message(_ fields: FrameFields, _ limits: ConversationLimits) throws(FrameError) -> ClientFrame {
        guard let sent = try fields.string("clientMessageID", 64), let id = UID(sent) else {
            throw .malformed("clientMessageID is a UUID")
        }
        let quickReply = try fields.string("quickReplyID", 64)
        var text = ""
        if let node = fields.frame["text"], node != .null {
            guard let words = node.string else { throw .malformed("text is a string") }
            guard words.count <= limits.messageCharactersMax else { throw .tooLarge }
            text = words
        }
        guard quickReply != nil || text.contains(where: { !$0.isWhitespace }) else { throw .malformed("text is empty") }
        return .message(clientMessageID: id, sentID: sent, text: text, quickReply: quickReply)
    }
}

/// Optional members of a frame. Longer strings than the protocol has use for are cut.
private struct FrameFields {
    let frame: JSONValue

    func string(_ name: String, _ charactersMax: Int) throws(FrameError) -> String? {
        guard let node = frame[name], node != .null else { return nil }
        guard let text = node.string else { throw .malformed("\(name) is a string") }
        // No database keeps a NUL in a text, and nobody types one.
        return String(text.prefix(charactersMax)).replacing("\0", with: "")
    }
}
