internal import CPostgres
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// The connection is gone: what it did not commit never happened.
struct PostgresConnectionLost: Error {
    /// The statement that was under way might have been `COMMIT`.
    var duringCommit = false
}

/// One connection, used by one thread. Statements go through the extended protocol, prepared once and kept; every wait
/// has a deadline, after which the server is asked to stop.
///
/// Statements are sent in libpq's pipeline mode: what begins a write travels with its first statement. A read is an
/// implicit transaction that ends with a synchronisation; where one statement is all that is expected it travels with
/// it, else after the last, and in both cases nobody waits for the server's word on it.
final class PostgresConnection {
    /// Prepared statements kept; the one that was used longest ago makes room.
    static let preparedMax = 256
    /// How long the server may take to stop a statement before the connection is given up.
    static let cancelGrace: Duration = .seconds(2)
    /// Longest statement, however long its transaction may be: the server's own limit too.
    static let statementMax: Duration = .seconds(60)

    private struct StatementKey: Hashable {
        let text: String
        let types: [Oid]
    }

    private final class Prepared {
        let name: String
        var used: UInt64
        var columns: PostgresColumns?

        init(name: String, used: UInt64) {
            self.name = name
            self.used = used
        }
    }

    private struct Reading {
        /// One statement is expected: it ends the transaction.
        var expectsOne = false
        var statements = 0
        var hasFailed = false
    }

    /// Another statement of a read whose transaction ended with the first, since no other was expected.
    struct AnotherStatement: Error {}

    /// Statements that begin and end transactions, prepared once.
    private enum Control: String, CaseIterable {
        case beginSerializable = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"
        case beginReadCommitted = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
        case transactionID = "SELECT pg_current_xact_id()"
        case commit = "COMMIT"

        /// Those of other statements are numbered.
        var name: String {
            switch self {
            case .beginSerializable: "begin_serializable"
            case .beginReadCommitted: "begin_read_committed"
            case .transactionID: "transaction_id"
            case .commit: "commit"
            }
        }
    }

    let raw: OpaquePointer
    /// Lets another thread stop what runs here.
    let canceller: PostgresCanceller
    let openedAt = ContinuousClock.now
    /// The transaction's limit; statements have their own beside it.
    private var transactionDeadline: ContinuousClock.Instant?
    private var statementLimit: Duration = .seconds(5)
    private var prepared: [StatementKey: Prepared] = [:]
    private var counter: UInt64 = 0
    private var inPipeline = false
    /// Synchronisations whose answers were not read yet.
    private var pendingSyncs = 0
    /// What became of the read under way.
    private var reading = Reading()
    /// `DEALLOCATE`s whose answers were not read yet.
    private var deallocations = 0
    private(set) var isBroken = false
    /// See `readIncarnation`.
    private(set) var incarnation: String?
    /// `pg_current_xact_id()` of the open write.
    private(set) var transactionID: String?
    private var beginAwaited = false
    /// From the beginning of a write to its end.
    private var isWriting = false

    /// Connects and prepares the session. Blocks at most a few seconds.
    init(_ address: PostgresAddress) throws {
        let pairs = address.parameters.sorted { $0.key < $1.key }
        let words = pairs.map { strdup($0.key) } + [nil]
        let values = pairs.map { strdup($0.value) } + [nil]
        defer { for pointer in words + values { free(pointer) } }
        let made = PQconnectdbParams(words.map { UnsafePointer($0) }, values.map { UnsafePointer($0) }, 0)
        guard let made else { throw SQLError.unavailable }
        guard PQstatus(made) == CONNECTION_OK, let cancel = PQgetCancel(made) else {
            PQfinish(made)
            throw SQLError.unavailable
        }
        raw = made
        canceller = PostgresCanceller(cancel)
        aurum_pg_quiet(made)
        PQsetnonblocking(made, 1)
        // A read is an implicit transaction: it takes its isolation from these. Keepalives free what a machine that
        // vanished held, the idle limit what a stopped process holds. Compiling a statement takes seconds, and the
        // price of a plan that avoids sequential scans makes the server think that it pays.
        try command(
            """
            SET statement_timeout = 60000; SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 10000;
            SET timezone = 'UTC'; SET default_transaction_isolation = 'repeatable read';
            SET default_transaction_read_only = on; SET random_page_cost = 1.1; SET jit = off;
            SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
            """)
        try prepareControls()
    }

    deinit { PQfinish(raw) }

    // MARK: Transactions

    private func prepareControls() throws {
        try enterPipeline()
        for control in Control.allCases {
            try send { PQsendPrepare(raw, control.name, control.rawValue, 0, nil) }
        }
        try synchronise()
        for _ in Control.allCases { PQclear(try one()) }
        try leavePipeline(within: Self.cancelGrace + statementLimit)
    }

    private func send(_ control: Control) throws {
        try send { PQsendQueryPrepared(raw, control.name, 0, nil, nil, nil, 0) }
    }

    /// Begins a read: its statements see one snapshot.
    /// - Parameter expectsOne: one statement is all that is expected; another is refused with `AnotherStatement`.
    func beginRead(limit: StatementLimit, expectsOne: Bool) throws {
        try enterPipeline()
        reading = Reading(expectsOne: expectsOne)
        statementLimit = min(limit.duration, Self.statementMax)
        transactionDeadline = ContinuousClock.now + limit.transaction
    }

    /// Begins a write. Nothing waits for the server yet: what is sent here is answered with the first statement.
    func beginWrite(_ isolation: Isolation, limit: StatementLimit) throws {
        try enterPipeline()
        reading = Reading()
        statementLimit = min(limit.duration, Self.statementMax)
        transactionDeadline = ContinuousClock.now + limit.transaction
        try send(isolation == .serializable ? .beginSerializable : .beginReadCommitted)
        try send(.transactionID)
        transactionID = nil
        (isWriting, beginAwaited) = (true, true)
    }

    /// Ends a read, or undoes a write. Afterwards the connection is idle, or broken.
    func end() {
        // Nobody answers any more; whoever owns the connection closes it.
        guard !isBroken else { return }
        do {
            if inPipeline, !isWriting, !reading.hasFailed {
                transactionDeadline = nil
                return try endRead()
            }
            if inPipeline {
                // What was sent behind the last synchronisation has one, too.
                try synchronise()
                try leavePipeline(within: Self.cancelGrace + statementLimit)
            }
            if isWriting, PQtransactionStatus(raw) != PQTRANS_IDLE { try command("ROLLBACK") }
        } catch { isBroken = true }
        transactionID = nil
        (isWriting, beginAwaited) = (false, false)
        transactionDeadline = nil
        if PQtransactionStatus(raw) != PQTRANS_IDLE { isBroken = true }
    }

    /// The server ends the transaction by itself; its word on it is read before the next answer. What was sent behind
    /// the one statement of a read must not become part of the next transaction.
    private func endRead() throws {
        let isOpen = reading.statements > 0 && !reading.expectsOne
        if isOpen || deallocations > 0 { try synchronise() }
    }

    /// How many statements the read under way asked for, with the one that was refused.
    var statementsRead: Int { reading.statements }

    /// Commits the open write.
    /// - Throws: `PostgresConnectionLost(duringCommit: true)` when nobody knows what became of it.
    func commit() throws {
        // Nothing was done.
        if beginAwaited { return end() }
        do {
            try send(.commit)
            try synchronise()
            try readDeallocations()
            let answer = try one()
            defer { PQclear(answer) }
            let words = PQcmdStatus(answer).map { String(cString: $0) }
            // A transaction that had failed answers COMMIT with a rollback and without an error.
            guard words == "COMMIT" else { throw SQLError.statement("the transaction had failed") }
            // What happens now changes nothing about what is committed.
            do { try leavePipeline(within: Self.cancelGrace + statementLimit) } catch { isBroken = true }
        } catch is PostgresConnectionLost {
            throw PostgresConnectionLost(duringCommit: true)
        }
        transactionID = nil
        isWriting = false
        transactionDeadline = nil
    }

    private func enterPipeline() throws {
        guard !inPipeline else { return }
        guard PQenterPipelineMode(raw) == 1 else { throw lost() }
        inPipeline = true
    }

    /// Reads what is left up to the last synchronisation and leaves the pipeline.
    private func leavePipeline(within limit: Duration) throws {
        try awaitSynchronised(within: limit)
        guard PQexitPipelineMode(raw) == 1 else { throw lost() }
        inPipeline = false
        deallocations = 0
    }

    /// Reads, and throws away, what is left up to the last synchronisation point.
    /// - Throws: `PostgresConnectionLost`, also when the server does not say a word.
    private func awaitSynchronised(within limit: Duration) throws {
        let deadline = ContinuousClock.now + limit
        while pendingSyncs > 0 {
            let answer: OpaquePointer?
            do { answer = try next(until: deadline) } catch is DeadlinePassed { throw lost() }
            if let answer {
                if PQresultStatus(answer) == PGRES_PIPELINE_SYNC { pendingSyncs -= 1 }
                PQclear(answer)
            } else if PQstatus(raw) == CONNECTION_BAD {
                throw lost()
            }
        }
    }

    private func synchronise() throws {
        try send { PQpipelineSync(raw) }
        pendingSyncs += 1
    }

    // MARK: Statements

    /// Runs a statement in the open transaction.
    func execute(_ statement: SQLStatement) throws -> PostgresResult {
        let statement = statement.resolved(for: .postgres)
        try statement.checkValues()
        // A write is told each time that the server waits for us: so its limit on idle transactions frees what a
        // stopped process holds. A read is an implicit transaction, which such a word ends.
        if !isWriting {
            reading.statements += 1
            if reading.expectsOne, reading.statements > 1 { throw AnotherStatement() }
        }
        let key = StatementKey(text: statement.text, types: statement.values.map(\.postgresType))
        counter += 1
        let known = prepared[key]
        let entry = known ?? Prepared(name: "s\(counter)", used: counter)
        entry.used = counter
        if known == nil {
            let text = PostgresText.placeholders(statement.text)
            try send { PQsendPrepare(raw, entry.name, text, Int32(key.types.count), key.types) }
        }
        try send(entry.name, statement.values)
        if isWriting || reading.expectsOne { try synchronise() } else { try send { PQsendFlushRequest(raw) } }
        // They were sent before what begins a write.
        try readDeallocations()
        if beginAwaited { try awaitBegin() }
        if known == nil {
            PQclear(try one())
            remember(entry, key)
        }
        let answer = try one()
        if isWriting {
            do { try awaitSynchronised(within: Self.cancelGrace + statementLimit) } catch {
                PQclear(answer)
                throw error
            }
        }
        let columns = entry.columns ?? PostgresColumns(answer)
        entry.columns = columns
        return PostgresResult(answer, columns: columns)
    }

    private func awaitBegin() throws {
        beginAwaited = false
        // Set before it is known, so that the end of a failed beginning rolls back.
        transactionID = ""
        PQclear(try one())
        let answer = try one()
        defer { PQclear(answer) }
        guard PQntuples(answer) == 1, let id = PQgetvalue(answer, 0, 0) else { throw lost() }
        transactionID = String(cString: id)
    }

    private func remember(_ entry: Prepared, _ key: StatementKey) {
        prepared[key] = entry
        guard prepared.count > Self.preparedMax, let oldest = prepared.min(by: { $0.value.used < $1.value.used })
        else { return }
        prepared[oldest.key] = nil
        // Its answer is read before that of the next statement; a failure to forget costs memory of the server only.
        guard PQsendQueryParams(raw, "DEALLOCATE \(oldest.value.name)", 0, nil, nil, nil, nil, 1) == 1 else { return }
        deallocations += 1
    }

    private func send(_ name: String, _ values: [SQLValue]) throws {
        var bytes: [UInt8] = []
        var places: [Int] = []
        for value in values {
            places.append(bytes.count)
            value.append(to: &bytes)
        }
        let lengths = values.indices.map { Int32(($0 + 1 < places.count ? places[$0 + 1] : bytes.count) - places[$0]) }
        let formats = [Int32](repeating: 1, count: values.count)
        // An empty value still needs an address: without one it would be NULL.
        bytes.append(0)
        try bytes.withUnsafeBufferPointer { buffer in
            let base = UnsafeRawPointer(buffer.baseAddress)?.assumingMemoryBound(to: CChar.self)
            let pointers = values.indices.map { index in
                values[index] == .null ? nil : base.map { $0 + places[index] }
            }
            try send {
                PQsendQueryPrepared(raw, name, Int32(values.count), pointers, lengths, formats, 1)
            }
        }
    }

    /// Runs statements without parameters outside a transaction, for the session and for migrations.
    /// - Throws: `timeout(.statement)` after `limit`; the connection is then of no further use.
    @discardableResult
    func command(_ text: String, limit: Duration = .seconds(5)) throws -> [[String?]] {
        do { return try simple(text, limit: limit) } catch is DeadlinePassed {
            isBroken = true
            throw SQLError.timeout(.statement)
        }
    }

    private func simple(_ text: String, limit: Duration) throws -> [[String?]] {
        let deadline = ContinuousClock.now + limit
        if inPipeline { try leavePipeline(within: limit) }
        try send { PQsendQuery(raw, text) }
        var rows: [[String?]] = []
        var failure: (any Error)?
        while let answer = try next(until: deadline) {
            defer { PQclear(answer) }
            if failure == nil { failure = error(of: answer) }
            let columns = PQnfields(answer)
            for row in 0..<PQntuples(answer) {
                rows.append(
                    (0..<columns).map { column in
                        PQgetisnull(answer, row, column) == 1 ? nil : String(cString: PQgetvalue(answer, row, column))
                    })
            }
        }
        if let failure { throw failure }
        return rows
    }

    /// Which life of the server this is: another one after each crash, the same after an orderly restart. Makes the
    /// mark where the server has none.
    func readIncarnation() throws {
        let ask = "SELECT id FROM database_incarnation"
        if let known = try command(ask).first?.first { return incarnation = known }
        incarnation =
            try command(
                """
                BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
                INSERT INTO database_incarnation (one, id) VALUES (1, gen_random_uuid()) ON CONFLICT DO NOTHING;
                COMMIT; \(ask)
                """
            ).first?.first ?? nil
    }

    /// One empty round trip: true when the server still answers.
    func isAlive() -> Bool { (try? command("SELECT 1", limit: .seconds(2))) != nil }

    // MARK: Waiting

    private func send(_ call: () -> Int32) throws {
        guard call() == 1 else { throw lost() }
    }

    private func lost() -> any Error {
        isBroken = true
        return PostgresConnectionLost()
    }

    private func readDeallocations() throws {
        while deallocations > 0 {
            deallocations -= 1
            PQclear(try one())
        }
    }

    /// The result of the oldest statement that was not read, or its error.
    private func one() throws -> OpaquePointer {
        let now = ContinuousClock.now
        var deadline = now + statementLimit
        var which = SQLError.Timeout.statement
        if let transactionDeadline, transactionDeadline < deadline {
            (deadline, which) = (transactionDeadline, .transaction)
        }
        // Unless it ends with the answer.
        let failedBefore = reading.hasFailed
        reading.hasFailed = true
        var stopped = false
        var answer: OpaquePointer?
        while answer == nil {
            do {
                answer = try nextBehindSyncs(until: deadline)
                if answer == nil, PQstatus(raw) == CONNECTION_BAD { throw lost() }
            } catch is DeadlinePassed {
                guard !stopped else { throw lost() }
                stopped = true
                canceller.stopNow()
                deadline = ContinuousClock.now + Self.cancelGrace
            }
        }
        guard let answer else { throw lost() }
        guard let error = error(of: answer) else {
            reading.hasFailed = failedBefore
            return answer
        }
        PQclear(answer)
        if stopped { throw SQLError.timeout(which) }
        throw error
    }

    private struct DeadlinePassed: Error {}

    /// The next result that is none of a synchronisation: those were of reads before, for which nobody waited.
    private func nextBehindSyncs(until deadline: ContinuousClock.Instant) throws -> OpaquePointer? {
        while let answer = try next(until: deadline) {
            guard PQresultStatus(answer) == PGRES_PIPELINE_SYNC else { return answer }
            pendingSyncs -= 1
            PQclear(answer)
        }
        return nil
    }

    /// The next result; nil at the end of one statement's results.
    private func next(until deadline: ContinuousClock.Instant) throws -> OpaquePointer? {
        while true {
            let unsent = PQflush(raw)
            if unsent < 0 { throw lost() }
            if unsent == 0, PQisBusy(raw) == 0 { return PQgetResult(raw) }
            let left = (deadline - ContinuousClock.now).milliseconds
            guard left > 0 else { throw DeadlinePassed() }
            let wanted = Int16(unsent == 1 ? POLLIN | POLLOUT : POLLIN)
            var wish = pollfd(fd: PQsocket(raw), events: wanted, revents: 0)
            guard wish.fd >= 0 else { throw lost() }
            let ready = poll(&wish, 1, Int32(clamping: left))
            if ready < 0, errno != EINTR { throw lost() }
            if ready > 0, wish.revents & Int16(POLLIN | POLLHUP | POLLERR) != 0, PQconsumeInput(raw) == 0 {
                throw lost()
            }
        }
    }

    /// The error that a result carries, or nil.
    private func error(of answer: OpaquePointer) -> (any Error)? {
        switch PQresultStatus(answer) {
        case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR:
            let failure = PostgresFailure(answer)
            if PQstatus(raw) == CONNECTION_BAD || failure.endsConnection {
                isBroken = true
                return failure.isIdleTimeout ? SQLError.timeout(.idle) : PostgresConnectionLost()
            }
            if failure.isStalePlan { isBroken = true }
            return failure.error
        case PGRES_PIPELINE_ABORTED: return SQLError.statement("an earlier statement failed")
        default: return nil
        }
    }
}

/// The error report of a server. Codes: PostgreSQL's documentation, appendix A.
struct PostgresFailure {
    let code: String
    let message: String
    private let place: String

    init(_ result: OpaquePointer) {
        func text(_ field: UnsafePointer<CChar>?) -> String? { field.map { String(cString: $0) } }
        code = text(aurum_pg_sqlstate(result)) ?? ""
        message = text(aurum_pg_message(result)) ?? "no message"
        place = text(aurum_pg_constraint(result)) ?? text(aurum_pg_column(result)) ?? "constraint"
    }

    /// The server ended the connection: shutdown, crash, or by an administrator.
    var endsConnection: Bool {
        code.isEmpty || code.hasPrefix("57P0") || code.hasPrefix("08") || isIdleTimeout
    }
    var isIdleTimeout: Bool { code == "25P03" }
    /// Another node changed a table under a prepared statement.
    var isStalePlan: Bool { code == "0A000" && message.contains("cached plan") }

    var error: SQLError {
        if isStalePlan { return .serialization }
        switch code {
        case "40001", "40P01": return .serialization
        case "55P03": return .timeout(.lock)
        case "57014": return .timeout(.statement)
        case "25006": return .readOnly
        case "53100": return .diskFull
        case "53300": return .busy
        case "XX001", "XX002": return .corrupt
        default:
            if code.hasPrefix("23") { return .constraint(place) }
            return code.hasPrefix("53") || code.hasPrefix("58") ? .unavailable : .statement("\(code) \(message)")
        }
    }
}

/// The statements of one transaction on a PostgreSQL connection.
final class PostgresSession: SQLSession {
    let dialect = Dialect.postgres
    private let connection: PostgresConnection

    init(_ connection: PostgresConnection) { self.connection = connection }

    func run(_ statement: SQLStatement) throws -> Int {
        let result = try connection.execute(statement)
        return PQcmdTuples(result.raw).flatMap { Int(String(cString: $0)) } ?? 0
    }

    func query(_ statement: SQLStatement, _ visit: (Row) throws -> Bool) throws {
        let result = try connection.execute(statement)
        for index in 0..<result.count {
            guard try visit(Row(.postgres(PostgresRow(result: result, row: index)))) else { return }
        }
    }
}
