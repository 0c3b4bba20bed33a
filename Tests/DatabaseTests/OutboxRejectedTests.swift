import AurumCore
import Database
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

/// An event that the log will never take keeps no other from it, and is not lost.
@Suite struct OutboxRejectedTests {
    private struct Site {
        let open: OpenDatabase
        let health: HealthRegistry
        let relay: OutboxRelay
        let log: Delivered

        init(_ engine: Dialect, refusing bad: Set<UID>) throws {
            let (open, log) = (try OpenDatabase(on: engine), Delivered())
            let health = HealthRegistry(clock: open.clock)
            (self.open, self.log, self.health) = (open, log, health)
            relay = OutboxRelay(
                database: open.database, health: health, registry: open.registry,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { batch in
                let refused = batch.filter { bad.contains($0.id) && !log.takesAll.withLock { $0 } }
                // Those before it may be in the log already when it is refused.
                for event in batch.prefix(while: { !bad.contains($0.id) }) { log.add(event.id) }
                guard refused.isEmpty else {
                    throw OutboxRefused(
                        reasons: Dictionary(uniqueKeysWithValues: refused.map { ($0.id, "too_large of props") }))
                }
                for event in batch { log.add(event.id) }
            }
        }

        /// Until nothing waits: on PostgreSQL transactions of others may hold rows back for a while.
        func drain() async throws {
            let deadline = ContinuousClock.now + .seconds(60)
            while true {
                await relay.drain()
                let left = try await open.database.read("test.waiting") { tx in
                    try tx.value(Int.self, "SELECT COUNT(*) FROM outbox")
                }
                if left == 0 || ContinuousClock.now > deadline { return }
            }
        }

        func emit(_ id: UID, org: String = "acme") async throws {
            try await open.database.write("test.emit") { tx in
                try tx.emit(
                    OutboxEvent(
                        id: id, org: org, key: "lead", name: "lead.created", traceID: id, at: tx.now,
                        props: ["n": 1]))
            }
        }
    }

    /// The log: each event once, by its id.
    private final class Delivered: Sendable {
        private let ids = Mutex<[UID]>([])
        let takesAll = Mutex(false)

        func add(_ id: UID) { ids.withLock { if !$0.contains(id) { $0.append(id) } } }
        var all: [UID] { ids.withLock { $0 } }
    }

    private func ids(_ count: UInt64) -> [UID] { (1...count).map { UID(high: 7, low: $0) } }

    @Test(arguments: Dialect.allCases) func `what is refused is put aside with its reason, and the rest is delivered`(
        _ engine: Dialect
    ) async throws {
        let ids = ids(9)
        let bad: Set<UID> = [ids[3], ids[7]]
        let site = try Site(engine, refusing: bad)
        for id in ids { try await site.emit(id, org: id == ids[7] ? "other" : "acme") }
        try await site.drain()
        #expect(site.log.all == ids.filter { !bad.contains($0) })
        let database = site.open.database
        let rejected = try await database.rejectedEvents(org: "acme")
        #expect(rejected.map(\.id) == [ids[3]] && rejected.first?.reason == "too_large of props")
        #expect(rejected.first?.name == "lead.created" && rejected.first?.key == "lead")
        #expect(try await database.rejectedEvents(org: "other").map(\.id) == [ids[7]])
        #expect(try await database.rejectedEvents(org: "third").isEmpty)
        let shown = site.health.snapshot["outbox"]
        #expect(shown?.state == .degraded && shown?.reason == "outbox_rejected" && shown?.numbers["rejected"] == 2)
        #expect(
            site.open.registry.prometheusText().contains("aurum_outbox_rejected_total{name=\"lead.created\"} 2"))
        let left = try await database.read("test.left") { try $0.value(Int.self, "SELECT COUNT(*) FROM outbox") }
        #expect(left == 0)
    }

    @Test(arguments: Dialect.allCases) func `what was put aside is tried again or removed when somebody says so`(
        _ engine: Dialect
    ) async throws {
        let ids = ids(4)
        let site = try Site(engine, refusing: Set(ids.prefix(3)))
        for id in ids { try await site.emit(id, org: id == ids[2] ? "other" : "acme") }
        try await site.drain()
        let database = site.open.database
        #expect(try await !database.discardRejected(org: "other", id: ids[0]), "it is another organisation's")
        #expect(try await database.discardRejected(org: "acme", id: ids[0]))
        #expect(try await !database.discardRejected(org: "acme", id: ids[0]))
        // Tried again in vain it is put aside again.
        #expect(try await database.retryRejected(org: "acme") == 1)
        try await site.drain()
        #expect(try await database.rejectedEvents(org: "acme").map(\.id) == [ids[1]])
        site.log.takesAll.withLock { $0 = true }
        #expect(try await database.retryRejected(org: "acme") == 1)
        try await site.drain()
        #expect(site.log.all == [ids[3], ids[1]])
        #expect(try await database.rejectedEvents(org: "acme").isEmpty)
        #expect(try await database.retryRejected(org: "acme") == 0)
        #expect(try await database.rejectedEvents(org: "other").map(\.id) == [ids[2]], "nobody asked for that one")
    }
}
