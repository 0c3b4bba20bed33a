internal import AurumCore
internal import Foundation
internal import Telemetry

/// Bounds of a pool of connections.
package struct PostgresPoolSettings: Sendable, Equatable {
    /// Connections a server may be asked for.
    package static let connectionsRange = 1...300

    /// Connections that stay open.
    package var connectionsMin = 2
    package var connectionsMax = 20
    /// Longest wait for a connection.
    package var acquireTimeout: Duration = .seconds(2)
    /// Calls that may wait for a connection; one more is refused with `busy`.
    package var waitersMax = 1000
    /// A connection is replaced at this age, give or take a tenth.
    package var maxLife: Duration = .seconds(1800)
    /// A connection beyond the least that has had nothing to do for so long is closed.
    package var idleClose: Duration = .seconds(300)
    /// One that has had nothing to do for so long is asked before it is used.
    package var testAfterIdle: Duration = .seconds(30)

    package init() {}
}

/// One call that waits for a connection.
final class PostgresCall: Sendable {
    let name: StaticString
    let deadline: ContinuousClock.Instant
    let ticket: WriteTicket
    let run: @Sendable (PostgresWorker) -> Void
    let fail: @Sendable (any Error) -> Void

    init(
        _ name: StaticString, deadline: ContinuousClock.Instant, ticket: WriteTicket,
        run: @Sendable @escaping (PostgresWorker) -> Void, fail: @Sendable @escaping (any Error) -> Void
    ) {
        (self.name, self.deadline, self.ticket, self.run, self.fail) = (name, deadline, ticket, run, fail)
    }
}

/// Connections to one server, each with a thread of its own. Calls wait in order of arrival; whichever thread is free
/// takes the first. A thread that waits for the server never is one of the cooperative pool.
final class PostgresPool: @unchecked Sendable {  // `state` is guarded by `condition`, `mayWait` by `sweeper`
    private struct State {
        var queue: [PostgresCall] = []
        var workers = 0
        var idle = 0
        var isClosed = false
        var acquireTimeouts = 0
        /// Until then nobody tries to connect again: a server that is away must not be asked by every call.
        var awayUntil: ContinuousClock.Instant?
    }

    /// How often waiting calls are looked over for those that waited too long.
    private static let sweepInterval: Duration = .milliseconds(20)
    /// How long calls are refused at once after a server could not be reached.
    private static let awayPause: Duration = .milliseconds(100)

    let address: PostgresAddress
    let settings: PostgresPoolSettings
    private let condition = NSCondition()
    /// Wakes the thread that ends calls which waited too long; guards `mayWait`.
    private let sweeper = NSCondition()
    /// Whether a call may wait that the sweeping thread does not know of.
    private var mayWait = false
    private var state = State()
    private let opened: Counter
    private let closedByReason: @Sendable (String) -> Void

    init(address: PostgresAddress, settings: PostgresPoolSettings, registry: MetricRegistry) {
        self.address = address
        self.settings = settings
        opened = registry.counter(.databaseConnectionsOpened)
        closedByReason = { registry.counter(.databaseConnectionsClosed, $0).increment() }
        OwnThread.start("aurum-pg-sweep") { [weak self] in while self?.sweep() == true {} }
    }

    var figures: EngineFigures {
        condition.withLock {
            EngineFigures(
                connections: state.workers, connectionsMax: settings.connectionsMax, busy: state.workers - state.idle,
                waiting: state.queue.count, acquireTimeouts: state.acquireTimeouts)
        }
    }

    /// Hands `call` to a connection, or refuses it.
    func submit(_ call: PostgresCall) {
        // Before it can run: its worker takes this place then.
        call.ticket.onCancel { [weak self] in self?.abandon(call) }
        var isTaken = false
        let refusal: SQLError? = condition.withLock {
            if state.isClosed { return .closed }
            if state.queue.count >= settings.waitersMax { return .busy }
            state.queue.append(call)
            if state.idle >= state.queue.count {
                isTaken = true
                condition.signal()
            } else if state.workers < settings.connectionsMax {
                state.workers += 1
                OwnThread.start("aurum-pg") { [self] in work() }
            }
            return nil
        }
        if let refusal { return call.fail(refusal) }
        if !isTaken { wakeSweeper() }
    }

    private func wakeSweeper() {
        sweeper.withLock {
            if !mayWait { sweeper.signal() }
            mayWait = true
        }
    }

    /// Ends a call that still waits. One that runs is stopped by its worker.
    private func abandon(_ call: PostgresCall) {
        let waited = condition.withLock {
            guard let index = state.queue.firstIndex(where: { $0 === call }) else { return false }
            state.queue.remove(at: index)
            return true
        }
        if waited { call.fail(CancellationError()) }
    }

    /// Ends calls that waited too long. False when the pool is closed.
    private func sweep() -> Bool {
        sweeper.withLock { mayWait = false }
        let (late, waiting, isClosed) = condition.withLock { () -> ([PostgresCall], Bool, Bool) in
            let now = ContinuousClock.now
            let late = state.queue.filter { $0.deadline <= now }
            if !late.isEmpty {
                state.queue.removeAll { $0.deadline <= now }
                state.acquireTimeouts += late.count
            }
            return (late, !state.queue.isEmpty, state.isClosed)
        }
        for call in late { call.fail(SQLError.timeout(.acquire)) }
        if isClosed { return false }
        if waiting {
            OwnThread.pause(Self.sweepInterval)
        } else {
            sweeper.withLock { if !mayWait { _ = sweeper.wait(until: Date(timeIntervalSinceNow: 1)) } }
        }
        return true
    }

    // MARK: Threads

    private func work() {
        let worker = PostgresWorker(self)
        while let call = next(worker) { call.run(worker) }
        worker.close("end")
    }

    /// The next call for this worker; nil when it should end.
    private func next(_ worker: PostgresWorker) -> PostgresCall? {
        condition.lock()
        defer { condition.unlock() }
        var idleUntil = Date(timeIntervalSinceNow: settings.idleClose.seconds)
        while true {
            if !state.queue.isEmpty { return state.queue.removeFirst() }
            if state.isClosed { break }
            state.idle += 1
            let inTime = condition.wait(until: idleUntil)
            state.idle -= 1
            if !inTime, state.queue.isEmpty, state.workers > settings.connectionsMin { break }
            if !inTime { idleUntil = Date(timeIntervalSinceNow: settings.idleClose.seconds) }
        }
        state.workers -= 1
        condition.broadcast()
        return nil
    }

    /// Connects, unless the server was away a moment ago.
    func connect() throws -> PostgresConnection {
        let isAway = condition.withLock { state.awayUntil.map { ContinuousClock.now < $0 } ?? false }
        if isAway { throw SQLError.unavailable }
        do {
            let connection = try PostgresConnection(address)
            try connection.readIncarnation()
            opened.increment()
            return connection
        } catch {
            condition.withLock { state.awayUntil = ContinuousClock.now + Self.awayPause }
            throw error is PostgresConnectionLost ? SQLError.unavailable : error
        }
    }

    func countClosed(_ reason: String) { closedByReason(reason) }

    /// Refuses further calls, runs those that wait, and returns when every connection is closed.
    func close() {
        end()
        condition.lock()
        while state.workers > 0 { condition.wait() }
        condition.unlock()
    }

    /// The same without waiting.
    func end() {
        condition.withLock {
            state.isClosed = true
            condition.broadcast()
        }
        wakeSweeper()
    }
}

/// A thread of the pool with its connection. Never used by two threads.
final class PostgresWorker {
    private let pool: PostgresPool
    private var open: PostgresConnection?
    private var usedAt = ContinuousClock.now
    private var life: Duration

    init(_ pool: PostgresPool) {
        self.pool = pool
        life = pool.settings.maxLife * Double.random(in: 0.9...1.1)
    }

    /// The connection, new where there is none, it is too old, or it does not answer after a rest.
    func connection() throws -> PostgresConnection {
        let now = ContinuousClock.now
        defer { usedAt = now }
        if let open {
            if open.isBroken {
                close("broken")
            } else if now - open.openedAt > life {
                close("age")
            } else if now - usedAt > pool.settings.testAfterIdle, !open.isAlive() {
                close("silent")
            } else {
                return open
            }
        }
        let made = try pool.connect()
        life = pool.settings.maxLife * Double.random(in: 0.9...1.1)
        open = made
        return made
    }

    /// Runs `body` so that the cancellation of `call` stops what the connection does.
    func serving<Value>(
        _ call: PostgresCall, _ connection: PostgresConnection, _ body: () throws -> Value
    ) rethrows -> Value {
        let id = ObjectIdentifier(call)
        let canceller = connection.canceller
        canceller.begin(id)
        call.ticket.onCancel { canceller.stop(id) }
        defer {
            // The request to stop may arrive at the server late: one round trip takes it, and the next call is safe.
            let asked = canceller.end()
            if connection.isBroken {
                close("broken")
            } else if asked == .unanswered || asked == .heard && !connection.isAlive() {
                close("cancelled")
            }
        }
        return try body()
    }

    func close(_ reason: String) {
        guard open != nil else { return }
        open = nil
        pool.countClosed(reason)
    }
}
