package import AurumCore
internal import Foundation
internal import NIOCore

/// Who comes to the chat and from where: the members of the `hello` frame.
package struct ChatHello: Sendable, Hashable {
    package var visitorID: String
    package var traceID: String
    package var page: String
    package var referrer: String?
    package var clickID: String?
    /// `source`, `medium`, `campaign`, `term`, `content`.
    package var utm: [String: String]
    package var resumeToken: String?
    package var lastSeq: Int?

    package init(
        visitorID: String, traceID: String, page: String, referrer: String? = nil, clickID: String? = nil,
        utm: [String: String] = [:], resumeToken: String? = nil, lastSeq: Int? = nil
    ) {
        self.visitorID = visitorID
        self.traceID = traceID
        self.page = page
        self.referrer = referrer
        self.clickID = clickID
        self.utm = utm
        self.resumeToken = resumeToken
        self.lastSeq = lastSeq
    }

    var frame: JSONValue {
        var members: [String: JSONValue] = [
            "v": 1, "type": "hello", "visitorID": .string(visitorID), "traceID": .string(traceID),
            "page": .string(page), "language": "en", "consentState": "granted",
        ]
        members["referrer"] = referrer.map { .string($0) }
        members["clickID"] = clickID.map { .string($0) }
        members["resumeToken"] = resumeToken.map { .string($0) }
        members["lastSeq"] = lastSeq.map { .integer(Int64($0)) }
        if !utm.isEmpty { members["utm"] = .object(utm.mapValues { .string($0) }) }
        return .object(members)
    }
}

/// What one visitor message led to.
package struct ChatTurn: Sendable {
    /// Frames in order, the `accepted` one included.
    package var frames: [JSONValue] = []
    /// From just before the message was sent to the first bot message; nil when none came.
    package var latency: Duration?
    package var slotAsked: String?
    package var quickReplies: [String] = []
    package var closed = false
    /// `code` of an error frame.
    package var error: String?
    package var retryAfter: Duration?

    /// Texts of the bot's messages.
    package var texts: [String] {
        frames.filter { $0["type"] == "message" }.compactMap { $0["text"]?.string }
    }
}

package enum ChatError: Error, Equatable {
    case refused(String)
    case noWelcome
    case silent(after: String)
    case lost(code: UInt16)
}

/// One visitor's conversation over a WebSocket. Used by one task.
package struct ChatTalk {
    package let welcome: JSONValue
    package private(set) var turn = ChatTurn()
    /// Every stored frame received, in order.
    package private(set) var frames: [JSONValue] = []
    private let socket: WebSocketConnection

    package var conversationID: String { welcome["conversationID"]?.string ?? "" }
    package var traceID: String { welcome["traceID"]?.string ?? "" }
    package var resumeToken: String { welcome["resumeToken"]?.string ?? "" }
    package var lastSeq: Int { frames.compactMap { $0["seq"]?.integer }.max().map(Int.init) ?? 0 }

    /// Connects, says hello and reads up to the first question.
    package static func open(
        base: String, siteKey: String, hello: ChatHello, within: Duration = .seconds(5)
    ) async throws -> ChatTalk {
        let url = "ws" + base.dropFirst(4) + "/v1/chat?site=\(siteKey)"
        let socket = try await WebSocketConnection.connect(to: url, headers: [("Origin", base)], within: within)
        try await socket.send(text: hello.frame.canonical)
        guard let first = try await frame(from: socket, within: within) else { throw ChatError.noWelcome }
        if first.json["type"] == "error" { throw ChatError.refused(first.json["code"]?.string ?? "") }
        guard first.json["type"] == "welcome" else { throw ChatError.noWelcome }
        var talk = ChatTalk(welcome: first.json, socket: socket)
        if hello.resumeToken == nil { try await talk.read(since: 0, answerTo: nil, within: within) }
        return talk
    }

    private init(welcome: JSONValue, socket: WebSocketConnection) {
        self.welcome = welcome
        self.socket = socket
    }

    /// Sends words and reads until the bot asks again, the talk ends, or an error frame comes.
    package mutating func say(
        _ text: String, id: String = ChatTalk.newID(), within: Duration = .seconds(10)
    ) async throws -> ChatTurn {
        let message: JSONValue = ["v": 1, "type": "message", "clientMessageID": .string(id), "text": .string(text)]
        let sent = NIODeadline.now().uptimeNanoseconds
        try await socket.send(text: message.canonical)
        try await read(since: sent, answerTo: id, within: within)
        return turn
    }

    /// Sends any frame as it is.
    package func send(frame text: String) async throws { try await socket.send(text: text) }

    /// The next frame of any type; nil when nothing came in time.
    package mutating func nextFrame(within: Duration) async throws -> JSONValue? {
        guard let frame = try await ChatTalk.frame(from: socket, within: within) else { return nil }
        if frame.json["seq"] != nil { frames.append(frame.json) }
        return frame.json
    }

    package func bye() async {
        try? await socket.send(text: #"{"v":1,"type":"bye"}"#)
        await socket.close()
    }

    /// Cuts the line.
    package func abort() async { await socket.abort() }

    package static func newID() -> String { UUID().uuidString.lowercased() }

    /// - Parameter answerTo: id of the message sent; what comes before it is accepted belongs to the turn before.
    private mutating func read(since sent: UInt64, answerTo id: String?, within: Duration) async throws {
        turn = ChatTurn()
        var mine = id == nil
        let clock = ContinuousClock()
        let deadline = clock.now + within
        while !isComplete {
            let left = deadline - clock.now
            // A bot message that asks nothing may be the last word: wait only a little for more.
            let patience = turn.latency == nil ? left : min(left, .milliseconds(700))
            guard left > .zero, let frame = try await ChatTalk.frame(from: socket, within: patience) else {
                if turn.latency == nil { throw ChatError.silent(after: "no bot message within \(within)") }
                return
            }
            if !mine, let id { mine = ChatTalk.answers(frame.json, id) }
            if mine {
                take(frame.json, at: frame.at, since: sent)
            } else if frame.json["seq"] != nil {
                frames.append(frame.json)
            }
        }
    }

    private static func answers(_ frame: JSONValue, _ id: String) -> Bool {
        guard frame["type"] == "accepted" || frame["type"] == "error" else { return false }
        guard let named = frame["clientMessageID"]?.string else { return frame["type"] == "error" }
        return named == id || UID(named) == UID(id)
    }

    private var isComplete: Bool { turn.slotAsked != nil || turn.closed || turn.error != nil }

    private mutating func take(_ frame: JSONValue, at: UInt64, since sent: UInt64) {
        let type = frame["type"]?.string
        if type == "typing" || type == "pong" { return }
        turn.frames.append(frame)
        if frame["seq"] != nil { frames.append(frame) }
        switch type {
        case "message":
            if turn.latency == nil { turn.latency = .nanoseconds(Int64(at &- sent)) }
            turn.slotAsked = frame["slotAsked"]?.string
            turn.quickReplies = frame["quickReplies"]?.array?.compactMap { $0["id"]?.string } ?? []
        case "owner": turn.closed = frame["owner"] == "closed"
        case "error":
            turn.error = frame["code"]?.string ?? "error"
            turn.retryAfter = frame["retryAfterMs"]?.integer.map { .milliseconds($0) }
        default: break
        }
    }

    private static func frame(
        from socket: WebSocketConnection, within: Duration
    ) async throws -> (json: JSONValue, at: UInt64)? {
        while true {
            let event: WebSocketEvent
            do { event = try await socket.next(within: within) } catch WebSocketError.timedOut { return nil }
            switch event {
            case .text(let text, let at):
                guard let json = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)) else { continue }
                return (json, at)
            case .closed(let code): throw ChatError.lost(code: code)
            case .binary, .pong: continue
            }
        }
    }
}
