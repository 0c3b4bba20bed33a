internal import AurumCore
internal import Synchronization

/// What the socket has to do.
package enum ChatOutput: Sendable, Equatable {
    case text(String)
    case close(code: UInt16, reason: String)
}

/// One socket's end of the protocol. The Gateway moves text in and out and decides nothing.
///
/// Frames of a conversation leave in the order of their numbers, each once, after `welcome`.
package final class ChatSession: Sendable {
    private struct State: Sendable {
        var lane: ConversationLane?
        var helloSeen = false
        var replayed = false
        var lastSent = 0
        /// Frames that arrived before their predecessors.
        var early: [Int: String] = [:]
        var badFrames: [Timestamp] = []
        var closed = false
    }

    package let outgoing: AsyncStream<ChatOutput>
    private let output: AsyncStream<ChatOutput>.Continuation
    private let service: ConversationService
    private let site: ChatSite
    private let client: ChatClient
    private let state = Mutex(State())

    init(service: ConversationService, site: ChatSite, client: ChatClient) {
        self.service = service
        self.site = site
        self.client = client
        (outgoing, output) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(service.limits.outgoingFramesMax))
    }

    /// Takes one text frame of the client, in arrival order. Returns when everything it caused is durable and queued on
    /// `outgoing`.
    package func receive(_ text: String) async {
        do throws(FrameError) {
            switch try ClientFrame.parse(text, limits: service.limits) {
            case .hello(let hello): await open(hello)
            case .message(let clientMessageID, let sentID, let words, let quickReply):
                await message(clientMessageID, sentID, words, quickReply)
            case .rating(let score): await rate(score)
            case .read, .typing: break
            case .bye: disconnect()
            case .ping(let nonce): send(.pong(nonce: nonce))
            }
        } catch {
            refuse(error)
        }
    }

    /// The socket is gone. Safe to call more than once.
    package func disconnect() {
        let lane = state.withLock { state in
            state.closed = true
            defer { state.lane = nil }
            return state.lane
        }
        output.finish()
        if let lane {
            lane.leave(self)
            service.release(lane)
        }
    }

    /// The server goes down: asks the socket to close with 1012.
    package func shutDown() { close(1012, "server is going down") }

    private func close(_ code: UInt16, _ reason: String) {
        output.yield(.close(code: code, reason: reason))
        disconnect()
    }

    private func refuse(_ error: FrameError) {
        switch error {
        case .tooLarge: send(.error(.tooLarge, message: "The message is too long."))
        case .malformed(let why): send(.error(.badFrame, message: "The frame cannot be used: \(why)."))
        }
        let now = service.clock.now
        let tooMany = state.withLock { state in
            state.badFrames.removeAll { $0 <= now - .seconds(10) }
            state.badFrames.append(now)
            return state.badFrames.count >= service.limits.badFramesMax
        }
        if tooMany { close(1008, "too many malformed frames") }
    }

    private func send(_ frame: ServerFrame) { yield(frame.text(at: service.clock.now)) }

    private func yield(_ text: String) {
        if case .dropped = output.yield(.text(text)) {
            // The reader is too slow: it can reconnect and ask for what it missed.
            disconnect()
        }
    }
}

// Opening.
extension ChatSession {
    private func open(_ hello: Hello) async {
        let first = state.withLock { state in
            defer { state.helloSeen = true }
            return !state.helloSeen
        }
        guard first else { return send(.error(.badFrame, message: "hello was sent before.")) }
        do throws(ConversationError) {
            let opened = try await service.open(hello, site: site, client: client)
            if opened.tokenExpired {
                send(.error(.tokenExpired, message: "The earlier talk has expired; a new one was started."))
            }
            let lane = service.lane(org: site.org, id: opened.welcome.conversationID)
            let alive = state.withLock { state in
                if !state.closed { state.lane = lane }
                return !state.closed
            }
            guard alive else { return service.release(lane) }
            lane.join(self)
            let frames = try await service.storedFrames(
                org: site.org, id: opened.welcome.conversationID, after: opened.welcome.replayFrom - 1)
            begin(opened.welcome, frames)
        } catch {
            state.withLock { $0.helloSeen = false }
            send(Self.frame(for: error, sentID: nil))
        }
    }

    private func begin(_ welcome: ServerFrame.Welcome, _ frames: [StoredFrame]) {
        send(.welcome(welcome, service.limits))
        state.withLock { $0.lastSent = welcome.replayFrom - 1 }
        enqueue(frames, opening: true)
    }

    /// Takes frames of the conversation, in any order, and passes them on in the order of their numbers.
    func deliver(_ frames: [StoredFrame]) { enqueue(frames, opening: false) }

    private func enqueue(_ frames: [StoredFrame], opening: Bool) {
        var overflow = false
        state.withLock { state in
            if opening { state.replayed = true }
            for frame in frames where frame.seq > state.lastSent { state.early[frame.seq] = frame.text }
            guard state.replayed else { return }
            while let text = state.early.removeValue(forKey: state.lastSent + 1) {
                state.lastSent += 1
                if case .dropped = output.yield(.text(text)) { overflow = true }
            }
        }
        if overflow { close(1013, "too slow; reconnect") }
    }
}

// Talking.
extension ChatSession {
    private func message(_ clientMessageID: UID, _ sentID: String, _ text: String, _ quickReply: String?) async {
        let (lane, seen) = state.withLock { ($0.lane, $0.lastSent) }
        guard let lane else {
            return send(.error(.unknownConversation, message: "Send hello first.", sentID: sentID))
        }
        let now = service.clock.now
        let message = VisitorMessage(
            id: UID(now: now), text: text, quickReply: quickReply, at: now, seenFrame: seen)
        await service.submit(lane, clientMessageID, message) { [self] result in
            switch result {
            case .success(let id): send(.accepted(sentID: sentID, messageID: id))
            case .failure(let error): send(Self.frame(for: error, sentID: sentID))
            }
        }
    }

    private func rate(_ score: Int) async {
        guard let lane = state.withLock({ $0.lane }) else { return }
        do throws(ConversationError) {
            try await service.rate(org: lane.org, id: lane.id, score: score)
        } catch {
            send(Self.frame(for: error, sentID: nil))
        }
    }

    private static func frame(for error: ConversationError, sentID: String?) -> ServerFrame {
        switch error {
        case .unknownConversation:
            .error(.unknownConversation, message: "There is no such conversation.", sentID: sentID)
        case .closed: .error(.closed, message: "This conversation has ended. Start a new one.", sentID: sentID)
        case .rateLimited(let wait):
            .error(
                .rateLimited, message: "That is too fast; please wait a moment.", retryAfterMilliseconds: wait,
                sentID: sentID)
        case .tooLarge: .error(.tooLarge, message: "The message is too long.", sentID: sentID)
        case .staleFence, .unavailable:
            .error(
                .unavailable, message: "That could not be stored; please send it again.", retryAfterMilliseconds: 1000,
                sentID: sentID)
        }
    }
}
