package import AurumCore
internal import Dispatch
internal import Synchronization
package import Telemetry

/// The tables of record, on SQLite or on PostgreSQL: the same calls, the same tables, the same answers.
///
/// A closure is synchronous, sees only its own `Transaction`, and must be pure but for it: it may run again, and
/// effects belong to the outbox. A statement that fails undoes its transaction, also where the closure goes on.
package final class Database: Sendable {
    package var dialect: Dialect { engine.dialect }
    /// How busy the engine is.
    package var figures: EngineFigures { engine.figures }
    /// Weaker encryption than the standard asks for, to be shown in health; nil when all is as it should be.
    package let weakness: String?
    /// A value arrives whenever a commit wrote outbox rows.
    package let outboxSignal: AsyncStream<Void>

    /// Counts and times every call.
    package let queries: QueryTracker

    let engine: any SQLEngine
    private let outboxWake: AsyncStream<Void>.Continuation

    init(engine: any SQLEngine, registry: MetricRegistry, clock: any WallClock, weakness: String? = nil) {
        self.engine = engine
        queries = QueryTracker(registry: registry, clock: clock)
        self.weakness = weakness
        (outboxSignal, outboxWake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Opens or creates the file at `path` and brings its schema up to date.
    /// - Throws: `SQLError.schema` when the file was made by a newer or edited schema or a restore into it did not
    ///   finish, `unavailable` when it cannot be opened, `corrupt` when it is no database.
    package static func openSQLite(
        at path: String, registry: MetricRegistry, clock: any WallClock
    ) throws -> Database {
        let engine = try SQLiteEngine(path: path, registry: registry, clock: clock)
        return Database(engine: engine, registry: registry, clock: clock)
    }

    /// Connects to a PostgreSQL server and brings the schema up to date; blocks its thread until that is done, at most
    /// ten minutes while another node migrates.
    /// - Throws: `SQLError.unavailable` when nobody answers, `schema` as for a file.
    package static func openPostgres(
        _ address: PostgresAddress, pool: PostgresPoolSettings = PostgresPoolSettings(), registry: MetricRegistry,
        clock: any WallClock
    ) throws -> Database {
        try PostgresMigration.alone(address) { target in
            guard try !target.isHalfRestored() else { throw SQLError.schema(RestoreMark.sentence) }
            try Migrator.embedded(for: .postgres).migrate(target, clock: clock)
        }
        let engine = PostgresEngine(address: address, settings: pool, registry: registry, clock: clock)
        return Database(engine: engine, registry: registry, clock: clock, weakness: address.weakness)
    }

    /// The same for any place, without holding a thread of the caller.
    package static func open(
        _ location: DatabaseLocation, pool: PostgresPoolSettings = PostgresPoolSettings(), registry: MetricRegistry,
        clock: any WallClock
    ) async throws -> Database {
        switch location {
        case .sqlite(let path): return try openSQLite(at: path, registry: registry, clock: clock)
        case .postgres(let address):
            return try await OwnThread.run { try openPostgres(address, pool: pool, registry: registry, clock: clock) }
        }
    }

    /// Opens a place as it is, whatever its schema.
    static func openAsIs(
        _ location: DatabaseLocation, registry: MetricRegistry, clock: any WallClock
    ) async throws -> Database {
        let engine: any SQLEngine
        switch location {
        case .sqlite(let path):
            engine = try SQLiteEngine(path: path, migrates: false, registry: registry, clock: clock)
        case .postgres(let address):
            engine = PostgresEngine(
                address: address, settings: PostgresPoolSettings(), registry: registry, clock: clock)
        }
        return Database(engine: engine, registry: registry, clock: clock)
    }

    /// Runs `body` on a snapshot that no write changes. `name` is the metric label and is unique in the code.
    package func read<Value: Sendable>(
        _ name: StaticString, limit: StatementLimit = .standard,
        _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let track = queries.begin(name, .read, limit: limit)
        do {
            let value = try await engine.read(SQLRequest(name: name, limit: limit, track: track), body)
            queries.finish(track, nil)
            return value
        } catch {
            queries.finish(track, error)
            throw error
        }
    }

    /// Runs `body` in a transaction and returns after it is durable. A thrown error undoes this body alone, also when
    /// its commit was shared with others.
    /// - Throws: what `body` throws; `busy` when too many writes wait; `timeout` when a statement or all of it takes
    ///   longer than `limit`; `closed` after `close()`; `commitUnknown` when nobody can say whether it was committed.
    @discardableResult
    package func write<Value: Sendable>(
        _ name: StaticString, isolation: Isolation = .serializable, limit: StatementLimit = .standard,
        _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let result = Mutex<Value?>(nil)
        let ticket = WriteTicket()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                submit(SQLRequest(name: name, isolation: isolation, limit: limit), ticket) { transaction in
                    let value = try body(transaction)
                    result.withLock { $0 = value }
                } finish: { error in
                    if let error { continuation.resume(throwing: error) } else { continuation.resume() }
                }
            }
        } onCancel: {
            ticket.cancel()
        }
        guard let value = result.withLock({ $0 }) else { throw SQLError.closed }
        return value
    }

    /// The same for callers that cannot wait: `finish` is called once, on any thread, after the commit or with its
    /// error.
    package func enqueue(
        _ name: StaticString, isolation: Isolation = .serializable,
        _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @escaping @Sendable ((any Error)?) -> Void
    ) {
        submit(SQLRequest(name: name, isolation: isolation), WriteTicket(), body, finish: finish)
    }

    private func submit(
        _ request: SQLRequest, _ ticket: WriteTicket, _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @escaping @Sendable ((any Error)?) -> Void
    ) {
        let wake = outboxWake
        let queries = self.queries
        let track = queries.begin(request.name, .write, limit: request.limit)
        var request = request
        request.track = track
        let actions = Mutex<[@Sendable () -> Void]>([])
        engine.write(request, ticket: ticket) { transaction in
            try body(transaction)
            let wanted = transaction.commitActions
            // A body that is run again replaces what its first run asked for.
            actions.withLock { $0 = wanted }
        } finish: { error, emitted in
            queries.finish(track, error)
            if error == nil { for action in actions.withLock({ $0 }) { action() } }
            if emitted { wake.yield() }
            finish(error)
        }
    }

    /// Tells other processes on this database, soon after, that there may be something new; on SQLite there are none.
    /// To be called after the commit. A hint that a crash may lose.
    package func announce(_ topic: DatabaseTopic) { engine.bell?.announce(topic) }

    /// A value whenever another process announced the topic, and whenever it may have while nobody could hear it. Ends
    /// at once on SQLite, and when the database is closed.
    package func announcements(_ topic: DatabaseTopic) -> AsyncStream<Void> {
        engine.bell?.listen(topic) ?? AsyncStream { $0.finish() }
    }

    /// Refuses further writes, waits for those under way, and closes.
    package func close() throws {
        outboxWake.finish()
        try engine.close()
    }
}
