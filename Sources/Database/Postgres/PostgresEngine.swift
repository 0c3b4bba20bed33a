internal import AurumCore
internal import Foundation
internal import Synchronization
internal import Telemetry

/// PostgreSQL as the home of the tables of record.
///
/// Writes run side by side, each as if it were alone (`SERIALIZABLE`); one that got in another's way runs again, and
/// from its second time on while no other write of this process runs. What is unclear after a lost connection is asked
/// of the server before anybody is told.
final class PostgresEngine: SQLEngine {
    /// How often a closure runs again after others got in its way.
    static let rerunsMax = 5
    /// From this run on nothing else writes meanwhile.
    private static let runsAloneFrom = 2
    /// Longest wait before a closure runs again that was in the way of another process although it ran alone: 5 ms
    /// doubled each time, at most this, at random in between.
    private static let rerunPauseMax: Duration = .milliseconds(200)
    /// How long the fate of a transaction is asked for.
    private static let fateLimit: Duration = .seconds(5)

    let dialect = Dialect.postgres
    private let pool: PostgresPool
    private let clock: any WallClock
    let bell: PostgresBell?
    private let gate = WriteGate()
    private let habits = ReadHabits()
    private let commits: Counter
    private let reruns: Counter

    init(address: PostgresAddress, settings: PostgresPoolSettings, registry: MetricRegistry, clock: any WallClock) {
        pool = PostgresPool(address: address, settings: settings, registry: registry)
        bell = PostgresBell(address)
        self.clock = clock
        commits = registry.counter(.databaseCommits)
        reruns = registry.counter(.databaseReruns)
    }

    var figures: EngineFigures {
        var figures = pool.figures
        figures.isListening = bell?.isListening
        return figures
    }

    func close() {
        bell?.close()
        pool.close()
    }

    /// Its threads end with the last call under way; this may be one of them.
    deinit { pool.end() }

    // MARK: Reads

    func read<Value: Sendable>(
        _ request: SQLRequest, _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let ticket = WriteTicket()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                let id = CallBox()
                let call = PostgresCall(
                    request.name, deadline: ContinuousClock.now + pool.settings.acquireTimeout, ticket: ticket
                ) { [self] worker in
                    guard let call = id.take() else { return }
                    read(call, request, worker, body) { continuation.resume(with: $0) }
                } fail: { error in
                    _ = id.take()
                    continuation.resume(throwing: error)
                }
                id.put(call)
                pool.submit(call)
            }
        } onCancel: {
            ticket.cancel()
        }
    }

    /// Runs a read; once more on a new connection when the first was lost, unless that was noticed so late that the
    /// caller's time is over: a server that went silent is not waited for twice.
    private func read<Value: Sendable>(
        _ call: PostgresCall, _ request: SQLRequest, _ worker: PostgresWorker,
        _ body: @Sendable (Transaction) throws -> Value, answer: (Result<Value, any Error>) -> Void
    ) {
        let started = ContinuousClock.now
        var mayReconnect = true
        while true {
            if call.ticket.isCancelled { return answer(.failure(CancellationError())) }
            do {
                let connection = try worker.connection()
                let isDone = try worker.serving(call, connection) {
                    try attemptRead(connection, request, body) { answer(.success($0)) }
                }
                if isDone { return }
            } catch is PostgresConnectionLost {
                guard mayReconnect, ContinuousClock.now - started < request.limit.duration else {
                    return answer(.failure(SQLError.unavailable))
                }
                mayReconnect = false
            } catch {
                return answer(.failure(told(error, call)))
            }
        }
    }

    /// Runs a read once; false when it has to run again, because it asked for more than the one statement that it
    /// always asked for so far.
    private func attemptRead<Value: Sendable>(
        _ connection: PostgresConnection, _ request: SQLRequest, _ body: (Transaction) throws -> Value,
        answer: (Value) -> Void
    ) throws -> Bool {
        let expectsOne = habits.isOneStatement(request.name)
        defer { connection.end() }
        try connection.beginRead(limit: request.limit, expectsOne: expectsOne)
        let transaction = Transaction(PostgresSession(connection), clock: clock, track: request.track)
        defer { transaction.end() }
        let result = Result {
            let value = try body(transaction)
            try transaction.check()
            return value
        }
        let statements = connection.statementsRead
        // A closure that failed may have wanted more.
        if statements > 1 || (try? result.get()) != nil { habits.note(request.name, statements: statements) }
        // Whatever the closure made of it, it did not see one snapshot.
        if expectsOne, statements > 1 { return false }
        answer(try result.get())
        return true
    }

    /// A statement that was stopped for its task ended by cancellation, not by a limit.
    private func told(_ error: any Error, _ call: PostgresCall) -> any Error {
        guard case SQLError.timeout(.statement) = error, call.ticket.isCancelled else { return error }
        return CancellationError()
    }

    // MARK: Writes

    func write(
        _ request: SQLRequest, ticket: WriteTicket, _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @Sendable @escaping ((any Error)?, Bool) -> Void
    ) {
        let id = CallBox()
        let call = PostgresCall(
            request.name, deadline: ContinuousClock.now + pool.settings.acquireTimeout, ticket: ticket
        ) { [self] worker in
            guard let call = id.take() else { return }
            do { finish(nil, try write(call, request, worker, body)) } catch { finish(told(error, call), false) }
        } fail: { error in
            _ = id.take()
            finish(error, false)
        }
        id.put(call)
        pool.submit(call)
    }

    /// Runs a write until it is committed, and answers whether it wrote outbox rows.
    private func write(
        _ call: PostgresCall, _ request: SQLRequest, _ worker: PostgresWorker,
        _ body: @Sendable (Transaction) throws -> Void
    ) throws -> Bool {
        let started = ContinuousClock.now
        var run = 1
        var mayReconnect = true
        while true {
            if call.ticket.isCancelled { throw CancellationError() }
            do {
                let connection = try worker.connection()
                return try worker.serving(call, connection) {
                    try gate.pass(alone: run >= Self.runsAloneFrom, until: started + request.limit.transaction) {
                        try attempt(connection, worker, request, body)
                    }
                }
            } catch SQLError.serialization where run <= Self.rerunsMax {
                reruns.increment()
                if run >= Self.runsAloneFrom { OwnThread.pause(Self.pause(before: run)) }
                run += 1
            } catch is PostgresConnectionLost
                where mayReconnect && ContinuousClock.now - started < request.limit.duration
            {
                // Nothing was committed: the server undid it with the connection. One that went silent took the
                // caller's time with it.
                mayReconnect = false
            } catch is PostgresConnectionLost { throw SQLError.unavailable }
        }
    }

    private func attempt(
        _ connection: PostgresConnection, _ worker: PostgresWorker, _ request: SQLRequest,
        _ body: (Transaction) throws -> Void
    ) throws -> Bool {
        defer { connection.end() }
        try connection.beginWrite(request.isolation, limit: request.limit)
        let transaction = Transaction(PostgresSession(connection), clock: clock, track: request.track)
        defer { transaction.end() }
        try body(transaction)
        try transaction.check()
        let token = connection.transactionID ?? ""
        do { try connection.commit() } catch let lost as PostgresConnectionLost where lost.duringCommit {
            try settle(token, incarnation: connection.incarnation)
        }
        commits.increment()
        return transaction.emitted
    }

    private static func pause(before run: Int) -> Duration {
        min(rerunPauseMax, .milliseconds(5) * (1 << run)) * Double.random(in: 0...1)
    }

    /// Finds out what became of a transaction whose connection ended during COMMIT.
    ///
    /// After a crash the server gives ids out again that it had not written down: what it says about one may be about
    /// another transaction, so then nobody knows.
    /// - Throws: `PostgresConnectionLost` when it was undone, so that it runs again; `commitUnknown` when nobody knows.
    private func settle(_ token: String, incarnation: String?) throws {
        let deadline = ContinuousClock.now + Self.fateLimit
        while ContinuousClock.now < deadline {
            if UInt64(token) != nil, let connection = try? pool.connect() {
                // A crash later than this ends the connection, and the question with it.
                guard incarnation != nil, connection.incarnation == incarnation else { break }
                let fate = try? connection.command("SELECT pg_xact_status('\(token)'::xid8)", limit: .seconds(2)).first?
                    .first
                switch fate ?? nil {
                case "committed": return
                case "aborted": throw PostgresConnectionLost()
                case "in progress", nil: break
                default: throw SQLError.commitUnknown(token: token)
                }
            }
            OwnThread.pause(.milliseconds(50))
        }
        throw SQLError.commitUnknown(token: token)
    }
}

/// A call that its own closure needs to know.
private final class CallBox: Sendable {
    private let call = Mutex<PostgresCall?>(nil)
    func put(_ new: PostgresCall) { call.withLock { $0 = new } }
    func take() -> PostgresCall? {
        call.withLock { call in
            defer { call = nil }
            return call
        }
    }
}

/// Lets writes pass side by side, and one that must be alone by itself. Only threads of the pool wait here.
final class WriteGate: @unchecked Sendable {  // guarded by `condition`
    private let condition = NSCondition()
    private var inside = 0
    private var aloneWaiting = 0
    private var isTaken = false

    /// - Throws: `SQLError.timeout(.lock)` when those inside are not out by `limit`; what `body` throws.
    func pass<Value>(alone: Bool, until limit: ContinuousClock.Instant, _ body: () throws -> Value) throws -> Value {
        let deadline = Date(timeIntervalSinceNow: (limit - ContinuousClock.now).seconds)
        condition.lock()
        if alone {
            aloneWaiting += 1
            var isInTime = true
            while isInTime, isTaken || inside > 0 { isInTime = condition.wait(until: deadline) }
            aloneWaiting -= 1
            guard !isTaken, inside == 0 else { try leaveLate() }
            isTaken = true
        } else {
            var isInTime = true
            while isInTime, isTaken || aloneWaiting > 0 { isInTime = condition.wait(until: deadline) }
            guard !isTaken, aloneWaiting == 0 else { try leaveLate() }
            inside += 1
        }
        condition.unlock()
        defer {
            condition.lock()
            if alone { isTaken = false } else { inside -= 1 }
            condition.broadcast()
            condition.unlock()
        }
        return try body()
    }

    /// Gives the lock back; others may pass that waited behind this one.
    private func leaveLate() throws -> Never {
        condition.broadcast()
        condition.unlock()
        throw SQLError.timeout(.lock)
    }
}
