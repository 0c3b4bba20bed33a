package import AurumCore
internal import Dispatch
internal import Foundation
internal import GRDB
internal import Synchronization
package import Telemetry

/// The tables of record. Reads run side by side on a pool; writes run one after another on one connection and share
/// commits, so that a hundred writers cost one `fsync` each round and not a hundred.
///
/// A closure is synchronous, sees only its own `Transaction`, and must be pure but for it: effects belong to the
/// outbox.
package final class Database: Sendable {
    /// Writes that may wait; one more is refused with `busy`.
    package static let writersWaitingMax = 2048
    /// Writes that share one commit.
    static let groupMax = 64

    private struct Job: Sendable {
        let name: StaticString
        let body: @Sendable (Transaction) throws -> Void
        let finish: @Sendable ((any Error)?) -> Void
    }

    private struct Queue: Sendable {
        var jobs: [Job] = []
        var draining = false
        var closed = false
    }

    private let pool: DatabasePool
    private let clock: any WallClock
    private let registry: MetricRegistry
    private let queue = Mutex(Queue())
    private let commits: Counter
    private let groupSize: Telemetry.Histogram
    /// A value arrives whenever a commit wrote outbox rows.
    package let outboxSignal: AsyncStream<Void>
    private let outboxWake: AsyncStream<Void>.Continuation

    private init(pool: DatabasePool, registry: MetricRegistry, clock: any WallClock) {
        self.pool = pool
        self.clock = clock
        self.registry = registry
        commits = registry.counter(.databaseCommits)
        groupSize = registry.histogram(.databaseGroup)
        (outboxSignal, outboxWake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Opens or creates the file at `path` and brings its schema up to date.
    /// - Throws: `SQLError.schema` when the file was made by a newer or edited schema, `unavailable` when it cannot be
    ///   opened, `corrupt` when it is no database.
    package static func openSQLite(
        at path: String, registry: MetricRegistry, clock: any WallClock
    ) throws -> Database {
        var configuration = GRDB.Configuration()
        configuration.busyMode = .timeout(5)
        configuration.maximumReaderCount = 8
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { connection in
            try connection.execute(sql: "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF")
        }
        do {
            let pool = try DatabasePool(path: path, configuration: configuration)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
            try pool.writeWithoutTransaction { connection in
                try Migrator.embedded.migrate(connection, clock: clock)
            }
            return Database(pool: pool, registry: registry, clock: clock)
        } catch { throw SQLError.mapped(error) }
    }

    /// Runs `body` on a snapshot that no write changes. `name` is the metric label and is unique in the code.
    package func read<Value: Sendable>(
        _ name: StaticString, _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let clock = clock
        let started = ContinuousClock.now
        defer { observe(name, started) }
        do {
            return try await pool.read { connection in
                let transaction = Transaction(connection, clock: clock)
                defer { transaction.end() }
                return try body(transaction)
            }
        } catch { throw SQLError.mapped(error) }
    }

    /// Runs `body` in a transaction and returns after it is durable. A thrown error undoes this body alone, also when
    /// its commit was shared with others.
    /// - Throws: what `body` throws; `busy` when too many writes wait; `closed` after `close()`.
    @discardableResult
    package func write<Value: Sendable>(
        _ name: StaticString, _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let started = ContinuousClock.now
        defer { observe(name, started) }
        let result = Mutex<Value?>(nil)
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            let job = Job(
                name: name,
                body: { transaction in
                    let value = try body(transaction)
                    result.withLock { $0 = value }
                },
                finish: { error in
                    if let error { continuation.resume(throwing: error) } else { continuation.resume() }
                })
            enqueue(job)
        }
        guard let value = result.withLock({ $0 }) else { throw SQLError.closed }
        return value
    }

    /// The same for callers that cannot wait: `finish` is called once, on any thread, after the commit or with its
    /// error.
    package func enqueue(
        _ name: StaticString, _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @escaping @Sendable ((any Error)?) -> Void
    ) {
        enqueue(Job(name: name, body: body, finish: finish))
    }

    private func enqueue(_ job: Job) {
        let refusal: SQLError? = queue.withLock { queue in
            if queue.closed { return .closed }
            if queue.jobs.count >= Self.writersWaitingMax { return .busy }
            queue.jobs.append(job)
            if queue.draining { return nil }
            queue.draining = true
            pool.asyncWriteWithoutTransaction { [self] connection in drain(connection) }
            return nil
        }
        if let refusal { job.finish(refusal) }
    }

    /// Commits waiting jobs in groups until none is left. Runs on the writer's own queue.
    private func drain(_ connection: GRDB.Database) {
        while true {
            let group: [Job] = queue.withLock { queue in
                let group = Array(queue.jobs.prefix(Self.groupMax))
                queue.jobs.removeFirst(group.count)
                if group.isEmpty { queue.draining = false }
                return group
            }
            if group.isEmpty { return }
            commit(group, connection)
        }
    }

    private func commit(_ group: [Job], _ connection: GRDB.Database) {
        var failures: [(any Error)?] = []
        var emitted = false
        do {
            try connection.beginTransaction(.immediate)
            for job in group {
                let transaction = Transaction(connection, clock: clock)
                defer { transaction.end() }
                do {
                    try connection.inSavepoint {
                        try job.body(transaction)
                        return .commit
                    }
                    failures.append(nil)
                    emitted = emitted || transaction.emitted
                } catch { failures.append(SQLError.mapped(error)) }
            }
            try connection.commit()
            commits.increment()
            groupSize.observe(Double(group.count))
        } catch {
            if connection.isInsideTransaction { try? connection.rollback() }
            let mapped = SQLError.mapped(error)
            failures = group.indices.map { ($0 < failures.count ? failures[$0] : nil) ?? mapped }
            emitted = false
        }
        if emitted { outboxWake.yield() }
        for (job, failure) in zip(group, failures) { job.finish(failure) }
    }

    private func observe(_ name: StaticString, _ started: ContinuousClock.Instant) {
        registry.histogram(.databaseDuration, name.description).observe(ContinuousClock.now - started)
    }

    /// Refuses further writes, waits for those under way, and closes the file.
    package func close() throws {
        queue.withLock { $0.closed = true }
        outboxWake.finish()
        pool.writeWithoutTransaction { _ in }
        try pool.close()
    }
}
