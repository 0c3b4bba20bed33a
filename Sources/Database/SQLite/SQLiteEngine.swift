internal import AurumCore
internal import Dispatch
internal import Foundation
internal import GRDB
internal import Logging
internal import Synchronization
internal import Telemetry

/// One SQLite file. Reads run side by side on connections with threads of their own; writes run one after another on
/// one connection and share commits, so that a hundred writers cost one `fsync` each round and not a hundred.
final class SQLiteEngine: SQLEngine {
    /// Writes that may wait; one more is refused with `busy`.
    static let writersWaitingMax = 2048
    /// Writes that share one commit.
    static let groupMax = 64
    /// To what the write-ahead log is cut when it begins again: a long read lets it grow, and nothing else shrinks it.
    static let walBytesKept = 64 << 20

    private struct Job: Sendable {
        let track: CallTrack?
        let limit: StatementLimit
        let body: @Sendable (Transaction) throws -> Void
        let finish: @Sendable ((any Error)?, Bool) -> Void
    }

    private struct Queue: Sendable {
        var jobs: [Job] = []
        var draining = false
        var closed = false
        /// The disk did not take a commit: nothing is written any more.
        var isReadOnly = false
    }

    let dialect = Dialect.sqlite
    private let writer: DatabasePool
    private let watch: SQLiteWriteWatch
    private let readers: SQLiteReaders
    private let path: String
    private let clock: any WallClock
    private let queue = Mutex(Queue())
    private let commits: Counter
    private let groupSize: Telemetry.Histogram

    /// Opens or creates the file at `path` and brings its schema up to date.
    init(path: String, migrates: Bool = true, registry: MetricRegistry, clock: any WallClock) throws {
        (self.path, self.clock) = (path, clock)
        commits = registry.counter(.databaseCommits)
        groupSize = registry.histogram(.databaseGroup)
        do {
            writer = try DatabasePool(path: path, configuration: Self.configuration)
            try writer.writeWithoutTransaction(Self.syncEveryCommit)
            watch = SQLiteWriteWatch(writer)
            readers = SQLiteReaders(path: path, configuration: Self.configuration)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
            if migrates {
                try writer.writeWithoutTransaction { connection in
                    if try connection.tableExists(RestoreMark.table) { throw SQLError.schema(RestoreMark.sentence) }
                    try SQLiteMigration.migrate(connection, path: path, clock: clock)
                }
            }
        } catch { throw SQLError.mapped(error) }
    }

    /// GRDB turns the write-ahead log on after the configuration has been applied, and with it `synchronous = NORMAL`:
    /// a commit would be answered before it is on the disk.
    /// - Throws: `SQLError.unavailable` where the engine does not take the setting.
    private static func syncEveryCommit(_ connection: GRDB.Database) throws {
        try connection.execute(sql: "PRAGMA synchronous = FULL")
        guard try Int.fetchOne(connection, sql: "PRAGMA synchronous") == 2 else { throw SQLError.unavailable }
    }

    static var configuration: GRDB.Configuration {
        var configuration = GRDB.Configuration()
        configuration.busyMode = .timeout(5)
        // Reads have connections of their own.
        configuration.maximumReaderCount = 1
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { connection in
            try connection.execute(sql: "PRAGMA trusted_schema = OFF")
            _ = try Int64.fetchOne(connection, sql: "PRAGMA journal_size_limit = \(walBytesKept)")
        }
        return configuration
    }

    /// One process writes here.
    var bell: PostgresBell? { nil }

    var figures: EngineFigures {
        var figures = readers.figures
        figures.connections += 1
        figures.connectionsMax += 1
        let (waiting, isWriting, isReadOnly) = queue.withLock { ($0.jobs.count, $0.draining, $0.isReadOnly) }
        figures.isReadOnly = isReadOnly
        figures.waiting += waiting
        figures.busy += isWriting ? 1 : 0
        let attributes = try? FileManager.default.attributesOfItem(atPath: path + "-wal")
        figures.walBytes = (attributes?[.size] as? NSNumber)?.intValue ?? 0
        return figures
    }

    func read<Value: Sendable>(
        _ request: SQLRequest, _ body: @Sendable @escaping (Transaction) throws -> Value
    ) async throws -> Value {
        let clock = clock
        return try await readers.read(limit: request.limit.duration) { connection, reader in
            let transaction = Transaction(SQLiteSession(connection, reader), clock: clock, track: request.track)
            defer { transaction.end() }
            let value = try body(transaction)
            try transaction.check()
            return value
        }
    }

    func write(
        _ request: SQLRequest, ticket: WriteTicket, _ body: @Sendable @escaping (Transaction) throws -> Void,
        finish: @Sendable @escaping ((any Error)?, Bool) -> Void
    ) {
        let job = Job(track: request.track, limit: request.limit, body: body, finish: finish)
        let refusal: SQLError? = queue.withLock { queue in
            if queue.closed { return .closed }
            if queue.isReadOnly { return .readOnly }
            if queue.jobs.count >= Self.writersWaitingMax { return .busy }
            queue.jobs.append(job)
            if queue.draining { return nil }
            queue.draining = true
            writer.asyncWriteWithoutTransaction { [self] connection in drain(connection) }
            return nil
        }
        if let refusal { finish(refusal, false) }
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
        var group = group
        while !group.isEmpty {
            guard !queue.withLock({ $0.isReadOnly }) else {
                for job in group { job.finish(SQLError.readOnly, false) }
                return
            }
            group = attempt(group, connection)
        }
    }

    /// Commits what is open.
    ///
    /// When the disk does not take it, nobody can say what a restart will find: SQLite undoes it here, and its pages,
    /// the commit among them, may be in the file all the same. What else the kernel dropped is not known either, so
    /// nothing is written from then on; reads go on.
    /// - Throws: `commitUnknown` in that case.
    private func commit(_ connection: GRDB.Database) throws {
        do { try connection.commit() } catch let error as DatabaseError
            where error.extendedResultCode == .SQLITE_IOERR_FSYNC
        {
            queue.withLock { $0.isReadOnly = true }
            Logger(label: "database").critical(
                "the disk did not take a commit: nothing is written any more until a restart",
                metadata: ["code": "database_read_only", "file": "\(path)"])
            throw SQLError.commitUnknown(token: "sync")
        }
    }

    /// Runs a group and answers who has to run again: those that were undone because one of them ran out of time.
    /// Whoever did is told and not among them, so that each round has fewer.
    private func attempt(_ group: [Job], _ connection: GRDB.Database) -> [Job] {
        var failures: [(any Error)?] = []
        var emitted: [Bool] = []
        do {
            try connection.beginTransaction(.immediate)
            for (index, job) in group.enumerated() {
                do {
                    emitted.append(try run(job, connection))
                    failures.append(nil)
                } catch {
                    failures.append(SQLError.mapped(error))
                    emitted.append(false)
                    if connection.isInsideTransaction { continue }
                    // SQLite undid everything: what ran now would be committed by itself.
                    guard watch.isInterrupted else { throw error }
                    job.finish(error, false)
                    var others = group
                    others.remove(at: index)
                    return others
                }
            }
            try commit(connection)
            commits.increment()
            groupSize.observe(Double(group.count))
        } catch {
            if connection.isInsideTransaction { try? connection.rollback() }
            let mapped = SQLError.mapped(error)
            failures = group.indices.map { ($0 < failures.count ? failures[$0] : nil) ?? mapped }
            emitted = group.map { _ in false }
        }
        for (index, job) in group.enumerated() { job.finish(failures[index], emitted[index]) }
        return []
    }

    /// Runs one write in its savepoint and answers whether it wrote outbox rows.
    private func run(_ job: Job, _ connection: GRDB.Database) throws -> Bool {
        let transaction = Transaction(SQLiteSession(connection, watch), clock: clock, track: job.track)
        defer { transaction.end() }
        watch.begin(job.limit)
        try connection.inSavepoint {
            try job.body(transaction)
            try transaction.check()
            try watch.check()
            return .commit
        }
        return transaction.emitted
    }

    /// Its threads end with the last read under way; this may be one of them.
    deinit {
        readers.end()
        watch.close()
    }

    func close() throws {
        queue.withLock { $0.closed = true }
        readers.close()
        writer.writeWithoutTransaction { _ in }
        watch.close()
        try writer.close()
    }
}

/// The statements of one transaction on a SQLite connection.
final class SQLiteSession: SQLSession {
    let dialect = Dialect.sqlite
    private let connection: GRDB.Database
    /// Holds statements to their limit: that of a read, or that of a write.
    private let reader: SQLiteReader?
    private let watch: SQLiteWriteWatch?

    init(_ connection: GRDB.Database, _ reader: SQLiteReader) {
        (self.connection, self.reader, watch) = (connection, reader, nil)
    }

    init(_ connection: GRDB.Database, _ watch: SQLiteWriteWatch) {
        (self.connection, reader, self.watch) = (connection, nil, watch)
    }

    func run(_ statement: SQLStatement) throws -> Int {
        try limited {
            try prepared(statement).execute()
            return connection.changesCount
        }
    }

    func query(_ statement: SQLStatement, _ visit: (Row) throws -> Bool) throws {
        try limited {
            let rows = try GRDB.Row.fetchCursor(try prepared(statement))
            while let row = try rows.next() { guard try visit(Row(.sqlite(row))) else { return } }
        }
    }

    private func limited<Value>(_ body: () throws -> Value) throws -> Value {
        if let reader { return try reader.statement(body) }
        if let watch { return try watch.statement(body) }
        return try body()
    }

    private func prepared(_ sql: SQLStatement) throws -> Statement {
        let sql = sql.resolved(for: .sqlite)
        try sql.checkValues()
        let statement = try connection.cachedStatement(sql: sql.text)
        try statement.setArguments(
            StatementArguments(sql.values.map { $0.databaseValue as (any DatabaseValueConvertible)? }))
        return statement
    }
}

extension SQLValue {
    var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .real(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .bytes(let value): Data(value).databaseValue
        }
    }

    init(_ stored: DatabaseValue) {
        self =
            switch stored.storage {
            case .null: .null
            case .int64(let value): .integer(value)
            case .double(let value): .real(value)
            case .string(let value): .text(value)
            case .blob(let value): .bytes(Array(value))
            }
    }
}
