import Attribution
import AurumCore
import Database
import Dispatch
import Events
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Re-engagements where several servers, each with a log of its own, share one database.
struct ReEngagementNodeTests {
    private typealias World = InstallFollowTests.World
    private static let opened = 35 * InstallFollowTests.day

    /// Another server beside that of a world.
    private struct Node {
        let log: EventLog
        let clock: ManualWallClock
        let installs: InstallAttribution

        init(beside world: World) throws {
            clock = world.open.clock
            let registry = MetricRegistry()
            let database = try Database.forTest(
                at: world.open.folder.file("aurum.db"), on: .postgres, registry: registry, clock: clock)
            log = try EventLog.open(
                directory: world.open.folder.file("other"), registry: registry,
                health: HealthRegistry(clock: clock), clock: clock, logger: world.quiet)
            installs = InstallAttribution(
                database: database, source: log.store, log: log.store.logIdentity, clock: clock, registry: registry,
                logger: world.quiet)
        }

        func send(_ events: [JSONValue]) async throws {
            let receipt = try await log.capture.submit(
                Array(events.map(\.canonical).joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: "o", app: "shop"), receivedAt: clock.now)
            #expect(receipt.quarantined == 0)
        }
    }

    private static func event(
        _ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue] = [:], device: String = "d"
    ) -> JSONValue {
        let own: [String: JSONValue] = ["device_id": .string(device), "anonymous_id": .string(device)]
        return InstallFollowTests.event(type, id, at, own.merging(members) { $1 })
    }

    private final class Holder: Sendable {
        let pid = Mutex(0)
        let release = DispatchSemaphore(value: 0)
    }

    /// Holds the row that says how far a log was read until it is released, so that whoever moves it on stands still
    /// with everything written and nothing committed.
    private static func hold(_ log: Int64, in database: Database, _ holder: Holder) async throws {
        try await database.write("test.hold", isolation: .readCommitted) { tx in
            _ = try tx.value(Int64.self, "SELECT log FROM install_positions WHERE log = \(log) FOR UPDATE")
            let own = try tx.value(Int.self, "SELECT pg_backend_pid()") ?? 0
            holder.pid.withLock { $0 = own }
            holder.release.wait()
        }
    }

    /// Whether somebody waits for the holder.
    private static func isInTheWay(_ holder: Holder, _ database: Database) async throws -> Bool {
        let pid = holder.pid.withLock { $0 }
        guard pid != 0 else { return false }
        return try await database.read("test.blocked") { tx in
            try tx.value(
                Int.self,
                """
                SELECT COUNT(*) FROM pg_stat_activity
                WHERE CAST(\(pid) AS INTEGER) = ANY (pg_blocking_pids(pg_stat_activity.pid))
                """) ?? 0
        } > 0
    }

    private static func attempt(_ work: () async throws -> Void) async -> Bool {
        do { try await work() } catch { return false }
        return true
    }

    @Test func `a click that another server is just writing is in the decision, or has it made anew`() async throws {
        let world = try World(on: .postgres)
        let other = try Node(beside: world)
        try await world.send([Self.event("install", "i", 0)])
        try await world.follow()
        try await other.send([Self.event("install", "j", 0, device: "e")])
        try await InstallFollower(other.installs).catchUp()
        let third = try Database.forTest(
            at: world.open.folder.file("aurum.db"), on: .postgres, registry: MetricRegistry(),
            clock: world.open.clock)
        try await world.send([
            InstallFollowTests.event(
                "click", "c", Self.opened - 60_000,
                ["click_id": "of-c", "campaign": InstallFollowTests.campaign("back")])
        ])
        let holder = Holder()
        async let held = Self.attempt { try await Self.hold(world.log.store.logIdentity, in: third, holder) }
        defer { holder.release.signal() }
        for _ in 0..<2000 where holder.pid.withLock({ $0 }) == 0 { try await Task.sleep(for: .milliseconds(5)) }
        async let written = Self.attempt { try await world.follow() }
        defer { holder.release.signal() }
        // As long as it may stand still at most.
        for _ in 0..<400 {
            if try await Self.isInTheWay(holder, third) { break }
            try await Task.sleep(for: .milliseconds(5))
        }
        try await other.send([Self.event("open", "o", Self.opened, ["click_id": "of-c"])])
        try await InstallFollower(other.installs).catchUp()
        holder.release.signal()
        _ = await (held, written)
        // Where it stood still for too long it is done now.
        try await world.follow()
        try await InstallFollower(other.installs).catchUp()
        let found = try await world.installs().reEngagement(org: "o", id: "o") ?? .null
        #expect(found["outcome"] == "re_engagement" && found["campaign"] == "back", "\(found.canonical)")
        await world.log.close()
        await other.log.close()
    }
}
