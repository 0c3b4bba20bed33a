package import AurumCore
package import Logging
internal import ServiceLifecycle
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
    /// Facts without personal data.
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
    static let pollInterval: Duration = .seconds(1)

    private let database: Database
    private let sink: @Sendable ([OutboxEvent]) async throws -> Void
    private let health: HealthRegistry
    private let logger: Logger

    /// - Parameter sink: appends events durably; it may see an event again and must keep one.
    package init(
        database: Database, health: HealthRegistry, logger: Logger,
        sink: @escaping @Sendable ([OutboxEvent]) async throws -> Void
    ) {
        self.database = database
        self.sink = sink
        self.health = health
        self.logger = logger
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
            for await _ in wakes.cancelOnGracefulShutdown() { await drain() }
            group.cancelAll()
        }
        await drain()
    }

    /// Delivers everything that is waiting; a refusal ends the round and shows in health.
    package func drain() async {
        do {
            while try await runOnce() > 0 {}
            health.report("outbox", .ok)
        } catch {
            logger.error("outbox relay failed", metadata: ["code": "outbox_failed", "error": "\(error)"])
            health.report("outbox", .degraded, reason: "outbox_failed")
        }
    }

    /// Delivers one batch and answers how many rows it held.
    package func runOnce() async throws -> Int {
        let rows = try await database.read("outbox.next") { transaction in
            try transaction.all(
                OutboxRow.self,
                """
                SELECT seq, id, org, key, name, trace_id, at, props FROM outbox ORDER BY seq LIMIT \(Self.batchMax)
                """)
        }
        guard let last = rows.last else { return 0 }
        try await sink(rows.map(\.event))
        let seq = last.seq
        try await database.write("outbox.delivered") { transaction in
            _ = try transaction.run("DELETE FROM outbox WHERE seq <= \(seq)")
        }
        return rows.count
    }
}

private struct OutboxRow: RowDecodable {
    let seq: Int64
    let event: OutboxEvent

    init(row: Row) throws {
        seq = try row.get("seq")
        event = OutboxEvent(
            id: try row.get("id"), org: try row.get("org"), key: try row.get("key"), name: try row.get("name"),
            traceID: try row.optional("trace_id"), at: try row.get("at"), props: try row.get("props"))
    }
}
