internal import AurumCore
internal import CPostgres
internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// What processes on one database tell each other: that a table may hold something new. It never says what.
package enum DatabaseTopic: String, Sendable, CaseIterable {
    /// There may be jobs to claim.
    case jobs
    /// Keys were made or revoked.
    case keys
    /// A person isolated or released a breaker.
    case breakers
}

/// `LISTEN` and `NOTIFY` on one connection of its own, on one thread, which lives while somebody listens or has
/// something to say.
///
/// A notification is only a hint: whoever needs what it hints at also looks by itself now and then. Therefore it is
/// sent after the commit and not in it: inside, it would hold a lock that all committing transactions with a
/// notification share, during their write to disk. What is announced within `spacing` is sent once. A lost connection
/// is made again, and everybody is then told of every topic, for what was said meanwhile is lost.
final class PostgresBell: Sendable {
    /// Between two notifications of one process.
    static let spacing: Duration = .milliseconds(10)
    /// A connection that nobody needs is closed after so long.
    static let idleClose: Duration = .seconds(5)
    /// How often a silent connection is asked whether it still is one.
    static let testAfter: Duration = .seconds(30)
    private static let reconnects: ClosedRange<Duration> = .milliseconds(50) ... .seconds(5)
    /// A connection that lived for less was none: the next one is not tried at once.
    private static let provenAfter: Duration = .seconds(5)
    /// How long an end waits for what is still to be said.
    private static let lastWords: Duration = .milliseconds(500)

    private struct Listener {
        let id: Int
        let topic: DatabaseTopic
        let continuation: AsyncStream<Void>.Continuation
    }

    private struct State {
        var listeners: [Listener] = []
        /// To be told to others.
        var waiting: Set<DatabaseTopic> = []
        var lastID = 0
        var isRunning = false
        var isClosed = false
        /// Others are heard.
        var isListening = false
    }

    /// What bell and thread share; the bell alone keeps the thread going.
    private final class Core: Sendable {
        let address: PostgresAddress
        let state = Mutex(State())
        let wake: WakePipe
        /// Signalled when the thread has ended after a close.
        let ended = DispatchSemaphore(value: 0)

        init(_ address: PostgresAddress, _ wake: WakePipe) { (self.address, self.wake) = (address, wake) }
    }

    /// Nil where the process has no more files: then everybody looks by himself.
    private let core: Core?

    init(_ address: PostgresAddress) { core = WakePipe().map { Core(address, $0) } }

    deinit { close() }

    /// Tells other processes soon; returns at once.
    func announce(_ topic: DatabaseTopic) {
        guard let core else { return }
        let isNew = core.state.withLock { state in
            guard !state.isClosed else { return false }
            return state.waiting.insert(topic).inserted
        }
        if isNew { start(core) }
    }

    /// A value whenever another process announced the topic, or may have. Ends when the database is closed.
    func listen(_ topic: DatabaseTopic) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let id: Int? = core?.state.withLock { state in
            guard !state.isClosed else { return nil }
            state.lastID += 1
            state.listeners.append(Listener(id: state.lastID, topic: topic, continuation: continuation))
            return state.lastID
        }
        guard let core, let id else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak core] _ in
            core?.state.withLock { state in state.listeners.removeAll { $0.id == id } }
        }
        start(core)
        return stream
    }

    /// Whether others are heard; nil while nobody listens.
    var isListening: Bool? {
        core?.state.withLock { $0.listeners.isEmpty ? nil : $0.isListening }
    }

    /// Ends it. What was announced and not said yet is said before, within half a second or not at all.
    func close() {
        guard let core else { return }
        let (listeners, hasWords) = core.state.withLock { state in
            defer { (state.listeners, state.isClosed) = ([], true) }
            return (state.listeners, !state.isClosed && state.isRunning && !state.waiting.isEmpty)
        }
        for listener in listeners { listener.continuation.finish() }
        core.wake.ring()
        if hasWords { _ = core.ended.wait(timeout: .now() + Self.lastWords.seconds) }
    }

    /// The thread, where there is none, or a sign to it.
    private func start(_ core: Core) {
        let isFirst = core.state.withLock { state in
            guard !state.isRunning, !state.isClosed else { return false }
            state.isRunning = true
            return true
        }
        if isFirst { OwnThread.start("aurum-pg-bell") { Self.run(core) } } else { core.wake.ring() }
    }

    // MARK: The thread

    private static func run(_ core: Core) {
        defer { if core.state.withLock({ $0.isClosed }) { core.ended.signal() } }
        var pause = reconnects.lowerBound
        while true {
            let started = ContinuousClock.now
            do {
                let connection = try PostgresConnection(core.address)
                if try serve(connection, core) { return }
            } catch {
                if ContinuousClock.now - started >= provenAfter { pause = reconnects.lowerBound }
                let isClosed = core.state.withLock { state in
                    state.isListening = false
                    return state.isClosed
                }
                if isClosed { return }
                core.wake.wait(pause)
                pause = min(reconnects.upperBound, pause * 2)
                if core.state.withLock({ $0.isClosed && $0.waiting.isEmpty }) { return }
            }
        }
    }

    /// Listens and speaks until nobody needs it any more: true then.
    private static func serve(_ connection: PostgresConnection, _ core: Core) throws -> Bool {
        // Channels are of the whole database, tables of a schema.
        let name = try connection.command("SELECT 'aurum_' || md5(current_schema())").first?.first
        guard let channel = name ?? nil else { throw PostgresConnectionLost() }
        try connection.command("LISTEN \(channel)")
        core.state.withLock { $0.isListening = true }
        ring(core, DatabaseTopic.allCases)
        var sentAt = ContinuousClock.now - spacing
        var heardAt = ContinuousClock.now
        while true {
            let now = ContinuousClock.now
            let topics: [DatabaseTopic]? = core.state.withLock { state in
                if state.isClosed, state.waiting.isEmpty { return nil }
                guard state.isClosed || now - sentAt >= spacing else { return [] }
                defer { state.waiting = [] }
                return Array(state.waiting)
            }
            guard let topics else { return true }
            if !topics.isEmpty {
                sentAt = now
                do { try speak(connection, channel, topics) } catch {
                    core.state.withLock { $0.waiting.formUnion(topics) }
                    throw error
                }
                heardAt = ContinuousClock.now
            }
            ring(core, heard(connection))
            if try wait(connection, core, sentAt) {
                heardAt = ContinuousClock.now
            } else {
                let silence = ContinuousClock.now - heardAt
                if silence >= idleClose, isNeedless(core) { return true }
                if silence >= testAfter {
                    guard connection.isAlive() else { throw PostgresConnectionLost() }
                    heardAt = ContinuousClock.now
                }
            }
        }
    }

    private static func speak(
        _ connection: PostgresConnection, _ channel: String, _ topics: [DatabaseTopic]
    ) throws {
        for topic in topics { try connection.command("SELECT pg_notify('\(channel)', '\(topic.rawValue)')") }
    }

    /// Nobody listens and nothing waits to be said: the thread ends, and the next call starts another.
    private static func isNeedless(_ core: Core) -> Bool {
        core.state.withLock { state in
            guard state.listeners.isEmpty, state.waiting.isEmpty else { return false }
            (state.isRunning, state.isListening) = (false, false)
            return true
        }
    }

    private static func ring(_ core: Core, _ topics: [DatabaseTopic]) {
        guard !topics.isEmpty else { return }
        let listeners = core.state.withLock { $0.listeners.filter { topics.contains($0.topic) } }
        for listener in listeners { listener.continuation.yield() }
    }

    /// What others said since the last look.
    private static func heard(_ connection: PostgresConnection) -> [DatabaseTopic] {
        var topics: Set<DatabaseTopic> = []
        let own = PQbackendPID(connection.raw)
        while let notice = PQnotifies(connection.raw) {
            if notice.pointee.be_pid != own, let extra = notice.pointee.extra,
                let topic = DatabaseTopic(rawValue: String(cString: extra))
            {
                topics.insert(topic)
            }
            PQfreemem(notice)
        }
        return Array(topics)
    }

    /// Waits for the server or for a word of this process; true when the server sent something.
    private static func wait(
        _ connection: PostgresConnection, _ core: Core, _ sentAt: ContinuousClock.Instant
    ) throws -> Bool {
        let hasWaiting = core.state.withLock { !$0.waiting.isEmpty }
        let limit = hasWaiting ? max(.zero, spacing - (ContinuousClock.now - sentAt)) : idleClose
        let descriptor = PQsocket(connection.raw)
        guard descriptor >= 0 else { throw PostgresConnectionLost() }
        guard core.wake.wait(limit, or: descriptor) else { return false }
        guard PQconsumeInput(connection.raw) == 1 else { throw PostgresConnectionLost() }
        return true
    }
}

/// Wakes a thread that waits in `poll`.
final class WakePipe: Sendable {
    private let reading: Int32
    private let writing: Int32

    /// - Returns: nil where the process may open no more files.
    init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        (reading, writing) = (ends[0], ends[1])
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
    }

    deinit {
        _ = close(reading)
        _ = close(writing)
    }

    func ring() {
        var byte: UInt8 = 1
        // A full pipe wakes just as well.
        _ = write(writing, &byte, 1)
    }

    /// Returns when it was rung, when `other` can be read, or after `limit`; true when `other` can be read.
    @discardableResult
    func wait(_ limit: Duration, or other: Int32 = -1) -> Bool {
        var wishes = [
            pollfd(fd: reading, events: Int16(POLLIN), revents: 0),
            pollfd(fd: other, events: Int16(POLLIN), revents: 0),
        ]
        _ = poll(&wishes, 2, Int32(clamping: limit.milliseconds))
        if wishes[0].revents != 0 {
            var bytes = [UInt8](repeating: 0, count: 64)
            while read(reading, &bytes, 64) > 0 {}
        }
        return wishes[1].revents != 0
    }
}
