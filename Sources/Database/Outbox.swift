package import AurumCore
package import Logging
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// An event written with the change that caused it; `id` becomes the event's id, so the log holds it once.
package struct OutboxEvent: Sendable, Equatable {
    package var id: UID
    package var org: String
    /// The record that it is about; events of one key keep their order.
    package var key: String
    /// `<area>.<what>`, for example `lead.created`.
    package var name: String
    package var traceID: UID?
    package var at: Timestamp
    /// Facts without personal data. The text `anonymous_id` among them is the id of the visitor in question, which the
    /// event in the log has as its own.
    package var props: JSONValue

    package init(
        id: UID, org: String, key: String, name: String, traceID: UID?, at: Timestamp, props: JSONValue
    ) {
        self.id = id
        self.org = org
        self.key = key
        self.name = name
        self.traceID = traceID
        self.at = at
        self.props = props
    }
}

/// Moves outbox rows to the event log, in order, and deletes them only after the log has them for good.
/// A crash between the two delivers a row again; the log knows its id.
package struct OutboxRelay: Service {
    static let batchMax = 500
    /// Batches under one lease; then others may have their turn, and a server that stops is not held up.
    static let leaseBatchesMax = 200
    static let pollInterval: Duration = .seconds(1)
    /// How soon rows are looked for again that an older transaction still holds back; then twice as long each time, up
    /// to `pollInterval`, as long as none moves.
    static let overtakenInterval: Duration = .milliseconds(25)
    /// Rows of another server that are given a new transaction id together.
    private static let stampBatch = 5000

    /// Taken for every batch, from reading it to deleting it.
    package let gate = RelayGate()
    private let database: Database
    /// The first statement of what a relay writes: refuses a relay that was overtaken by another.
    package typealias Fencing = @Sendable (Transaction) throws -> Void
    /// Runs work while no other relay delivers; does not run it while another does.
    package typealias Exclusive =
        @Sendable (_ work: @escaping @Sendable (@escaping Fencing) async throws -> Void) async throws -> Void

    private let sink: @Sendable ([OutboxEvent]) async throws -> Void
    private let exclusive: Exclusive
    private let health: HealthRegistry
    private let registry: MetricRegistry?
    private let logger: Logger
    private let rejected = RejectedCount()

    /// - Parameters:
    ///   - exclusive: where several processes share the database, keeps all relays but one still.
    ///   - sink: appends events durably; it may see an event again and must keep one. Events that `OutboxRefused` of
    ///     its names are put aside; whatever else it throws is tried again.
    package init(
        database: Database, health: HealthRegistry, registry: MetricRegistry? = nil, logger: Logger,
        exclusive: @escaping Exclusive = { work in try await work { _ in } },
        sink: @escaping @Sendable ([OutboxEvent]) async throws -> Void
    ) {
        self.database = database
        self.sink = sink
        self.health = health
        self.registry = registry
        self.logger = logger
        self.exclusive = exclusive
    }

    package func run() async throws {
        let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let signal = database.outboxSignal
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in signal { wake.yield() } }
            group.addTask {
                while !Task.isCancelled {
                    wake.yield()
                    try? await Task.sleep(for: Self.pollInterval)
                }
            }
            var isStamped = database.dialect == .sqlite
            for await _ in wakes.cancelOnGracefulShutdown() {
                if !isStamped { isStamped = await stampAgain() }
                await drain(endsAtShutdown: true)
                var pause = Self.overtakenInterval
                while await isHeldBack() {
                    try? await cancelWhenGracefulShutdown { [pause] in try await Task.sleep(for: pause) }
                    let hasMoved = await drain(endsAtShutdown: true)
                    pause = hasMoved ? Self.overtakenInterval : min(pause * 2, Self.pollInterval)
                }
            }
            group.cancelAll()
        }
        await drain()
    }

    /// Delivers what is waiting, at most `leaseBatchesMax` batches; a refusal ends the round and shows in health.
    package func drain() async { await drain(endsAtShutdown: false) }

    /// - Returns: whether this process delivered anything.
    @discardableResult
    private func drain(endsAtShutdown: Bool) async -> Bool {
        let hasMoved = Mutex(false)
        do {
            if try await hasWaiting() {
                try await exclusive { fencing in
                    for _ in 0..<Self.leaseBatchesMax {
                        if endsAtShutdown, Task.isShuttingDownGracefully { return }
                        guard try await runOnce(fencing) > 0 else { return }
                        hasMoved.withLock { $0 = true }
                    }
                }
            }
            let count = try await rejected.value(database)
            health.report(
                "outbox", count > 0 ? .degraded : .ok, reason: count > 0 ? "outbox_rejected" : nil,
                numbers: count > 0 ? ["rejected": Double(count)] : [:])
        } catch {
            logger.error("outbox relay failed", metadata: ["code": "outbox_failed", "error": "\(error)"])
            health.report("outbox", .degraded, reason: "outbox_failed")
        }
        return hasMoved.withLock { $0 }
    }

    private func hasWaiting() async throws -> Bool {
        try await database.read("outbox.waiting") { try $0.value(Int64.self, "SELECT seq FROM outbox LIMIT 1") } != nil
    }

    /// Gives rows with transaction ids that this server has not reached yet, as a dump of another server brings them,
    /// the present one: they would wait until it got there. False when that has to be tried again.
    private func stampAgain() async -> Bool {
        do {
            var changed = Self.stampBatch
            while changed == Self.stampBatch, !Task.isCancelled {
                changed = try await database.write("outbox.stampAgain", isolation: .readCommitted) { transaction in
                    // A row that is visible and committed here has an id below the snapshot's end.
                    try transaction.run(
                        .dialect(
                            sqlite: "DELETE FROM outbox WHERE 0",
                            postgres: """
                                UPDATE outbox SET xid = pg_current_xact_id() WHERE seq IN (
                                    SELECT seq FROM outbox WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
                                    ORDER BY xid, seq LIMIT \(Self.stampBatch))
                                """))
                }
            }
            return true
        } catch {
            logger.error("outbox relay failed", metadata: ["code": "outbox_failed", "error": "\(error)"])
            return false
        }
    }

    /// Whether rows wait for an older transaction to end. A round that failed is none of these.
    private func isHeldBack() async -> Bool {
        guard database.dialect == .postgres, !Task.isCancelled, !Task.isShuttingDownGracefully,
            health.snapshot["outbox"]?.reason != "outbox_failed"
        else { return false }
        let count = try? await database.read("outbox.heldBack") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM (SELECT 1 FROM outbox LIMIT 1) AS one")
        }
        return count ?? 0 > 0
    }

    /// Delivers one batch and answers how many rows it held. Reads only what cannot be overtaken any more: on
    /// PostgreSQL a row of a transaction older than every open one, in the order of transactions.
    package func runOnce(_ fenced: @escaping Fencing = { _ in }) async throws -> Int {
        await gate.take()
        defer { gate.give() }
        let rows = try await database.read("outbox.next") { transaction in
            try transaction.all(
                OutboxRow.self,
                .dialect(
                    sqlite: """
                        SELECT seq, id, org, key, name, trace_id, at, props, 0 AS xid FROM outbox
                        ORDER BY seq LIMIT \(Self.batchMax)
                        """,
                    postgres: """
                        SELECT seq, id, org, key, name, trace_id, at, props, xid FROM outbox
                        WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, seq LIMIT \(Self.batchMax)
                        """))
        }
        guard let last = rows.last else { return 0 }
        do { try await sink(rows.map(\.event)) } catch let refused as OutboxRefused {
            let bad = rows.filter { refused.reasons[$0.event.id] != nil }
            guard !bad.isEmpty else { throw refused }
            try await putAside(bad, refused.reasons, fenced)
            return bad.count
        }
        let (seq, xid) = (last.seq, String(last.xid))
        try await database.write("outbox.delivered", isolation: .readCommitted) { transaction in
            try fenced(transaction)
            _ = try transaction.run(
                .dialect(
                    sqlite: "DELETE FROM outbox WHERE seq <= \(seq)",
                    postgres: "DELETE FROM outbox WHERE (xid, seq) <= (CAST(\(xid) AS xid8), \(seq))"))
        }
        return rows.count
    }
}

extension OutboxRelay {
    /// Keeps rows that will never be in the log where they keep no other from it. What was beside them comes again.
    private func putAside(_ rows: [OutboxRow], _ reasons: [UID: String], _ fenced: @escaping Fencing) async throws {
        try await database.write("outbox.reject") { transaction in
            try fenced(transaction)
            for row in rows {
                let event = row.event
                let reason = String((reasons[event.id] ?? "").prefix(Database.rejectedReasonMax))
                try transaction.run(
                    """
                    INSERT INTO outbox_rejected
                        (org, id, key, name, trace_id, at, props, reason, rejected_at, created_at)
                    SELECT org, id, key, name, trace_id, at, props, \(reason), \(transaction.now), created_at
                    FROM outbox WHERE id = \(event.id)
                    ON CONFLICT (org, id) DO NOTHING
                    """)
                try transaction.run("DELETE FROM outbox WHERE id = \(event.id)")
            }
        }
        rejected.forget()
        for row in rows {
            registry?.counter(.outboxRejected, row.event.name).increment()
            logger.error(
                "the log refused an event of ours for good",
                metadata: [
                    "code": "outbox_rejected", "event": "\(row.event.name)", "id": "\(row.event.id.hex)",
                    "org": "\(row.event.org)", "trace_id": "\(row.event.traceID?.hex ?? "")",
                    "reason": "\(reasons[row.event.id] ?? "")",
                ])
        }
    }
}

private struct OutboxRow: RowDecodable {
    let seq: Int64
    let xid: Int64
    let event: OutboxEvent

    init(row: Row) throws {
        (seq, xid) = (try row.get("seq"), try row.get("xid"))
        event = OutboxEvent(
            id: try row.get("id"), org: try row.get("org"), key: try row.get("key"), name: try row.get("name"),
            traceID: try row.optional("trace_id"), at: try row.get("at"), props: try row.get("props"))
    }
}

extension Database {
    /// How much waits for the relay, and how long it has.
    func outboxFigures() async throws -> OutboxFigures {
        try await read("outbox.figures") { transaction in
            let oldest = try transaction.value(
                Timestamp.self, "SELECT created_at FROM outbox ORDER BY seq LIMIT 1")
            let most = DatabaseJudge.outboxRowsMax
            let rows = try transaction.value(
                Int.self, "SELECT COUNT(*) FROM (SELECT 1 AS one FROM outbox LIMIT \(most)) AS counted")
            return OutboxFigures(rows: rows ?? 0, oldestAt: oldest)
        }
    }
}
