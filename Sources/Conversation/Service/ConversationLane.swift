internal import AurumCore
internal import Synchronization

/// A message that waits for its turn.
struct QueuedMessage: Sendable {
    var clientMessageID: UID
    var message: VisitorMessage
    /// Called exactly once, before any frame of the reply is published.
    var finish: @Sendable (Result<UID, ConversationError>) -> Void
}

/// The turns of one conversation, one after another. Whoever puts the first message in runs them; nothing runs by
/// itself.
final class ConversationLane: Sendable {
    enum Admission: Equatable { case run, queued, refused(retryAfterMilliseconds: Int) }

    private struct State: Sendable {
        var record: ConversationRecord?
        /// Messages that are stored already, by the client's id.
        var known: [UID: UID] = [:]
        var queue: [QueuedMessage] = []
        var running = false
        /// Arrivals of the last day, those before a restart included.
        var day: [Timestamp] = []
        var sessions: [ObjectIdentifier: ChatSession] = [:]
        var users = 0
    }

    let org: String
    let id: UID
    private let state = Mutex(State())

    init(org: String, id: UID) {
        self.org = org
        self.id = id
    }

    /// Takes a message in, or says when to try again. `run` means that the caller must run the lane.
    func admit(_ item: QueuedMessage, limits: ConversationLimits, now: Timestamp) -> Admission {
        state.withLock { state in
            if state.known[item.clientMessageID] == nil {
                state.day.removeAll { $0 <= now - .seconds(86_400) }
                if state.day.count >= limits.messagesPerDay, let oldest = state.day.first {
                    return .refused(retryAfterMilliseconds: Self.wait(until: oldest + .seconds(86_400), now))
                }
                if state.queue.count >= limits.queuedInputsMax { return .refused(retryAfterMilliseconds: 1000) }
                state.day.append(now)
            }
            state.queue.append(item)
            if state.running { return .queued }
            state.running = true
            return .run
        }
    }

    private static func wait(until moment: Timestamp, _ now: Timestamp) -> Int {
        max(1, Int((moment - now).microseconds / 1000) + 1)
    }

    /// Everything that waits now; empty ends the run.
    func takeBatch() -> [QueuedMessage] {
        state.withLock { state in
            let batch = state.queue
            state.queue = []
            if batch.isEmpty { state.running = false }
            return batch
        }
    }

    func stored(_ clientMessageID: UID) -> UID? { state.withLock { $0.known[clientMessageID] } }

    var record: ConversationRecord? { state.withLock { $0.record } }

    /// Remembers what is stored. An older version than the one remembered is not taken.
    func remember(_ record: ConversationRecord, messages: [UID: UID]) {
        state.withLock { state in
            state.known.merge(messages) { $1 }
            if let old = state.record, old.version > record.version { return }
            state.record = record
        }
    }

    /// Also sets what counts for the daily limit; used when the lane is first loaded.
    func load(_ record: ConversationRecord, messages: [UID: UID], arrivals: [Timestamp]) {
        state.withLock { state in
            state.record = record
            state.known = messages
            let begun = state.day.count
            state.day = Array((arrivals + state.day.suffix(begun)).sorted())
        }
    }

    func forget() { state.withLock { $0.record = nil } }

    // Sockets.

    func join(_ session: ChatSession) {
        state.withLock { $0.sessions[ObjectIdentifier(session)] = session }
    }

    func leave(_ session: ChatSession) {
        state.withLock { $0.sessions[ObjectIdentifier(session)] = nil }
    }

    func publish(_ frames: [StoredFrame]) {
        let sessions = state.withLock { Array($0.sessions.values) }
        for session in sessions { session.deliver(frames) }
    }

    func retain() { state.withLock { $0.users += 1 } }

    /// True when nobody needs the lane any more.
    func release() -> Bool {
        state.withLock { state in
            state.users -= 1
            return state.users == 0
        }
    }
}

/// A value that somebody waits for, set once.
final class Promise: Sendable {
    private struct State: Sendable {
        var done = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    func fulfil() {
        let waiter = state.withLock { state in
            state.done = true
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    func wait() async {
        await withCheckedContinuation { continuation in
            let done = state.withLock { state in
                if !state.done { state.waiter = continuation }
                return state.done
            }
            if done { continuation.resume() }
        }
    }
}
