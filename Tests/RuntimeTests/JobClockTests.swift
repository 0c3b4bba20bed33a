import AurumCore
import Database
import Runtime
import Telemetry
import TestSupport
import Testing

/// Nodes of one PostgreSQL whose clocks are wrong: leases and due times go by the clock of the server.
struct JobClockTests {
    private static let kind = JobKind("test.work", attemptsMax: 3)

    /// One process on the database, with a clock of its own.
    private struct Node {
        let clock: ManualWallClock
        let registry = MetricRegistry()
        let database: Database
        let store: SQLJobStore
        let worker: UID

        /// - Parameter ahead: how far its clock is before the true one.
        init(_ folder: TemporaryFolder, ahead: Duration) throws {
            clock = ManualWallClock(SystemWallClock().now + ahead)
            database = try Database.forTest(
                at: folder.file("clocks.db"), on: .postgres, registry: registry, clock: clock)
            store = SQLJobStore(
                database: database, fences: SQLFences(database: database), registry: registry,
                time: DatabaseClock(registry: registry))
            worker = UID(now: clock.now)
        }

        func claim(lease: Duration = JobLimits.lease) async throws -> [JobRecord] {
            try await store.turn(JobTurn(worker: worker, limit: 10, lease: lease)).claimed
        }

        func end(_ job: JobRecord) async throws -> JobRecord? {
            try await store.turn(JobTurn(worker: worker, ends: [JobEnd(job.claim, .done, job: job)], limit: 0)).ended[0]
        }
    }

    /// What this machine and the server on it may differ by while a test runs on a busy machine.
    private static let slack: Duration = .seconds(20)

    @Test(arguments: [Duration.seconds(600), .seconds(-600)])
    func `a node whose clock is ten minutes wrong takes no live lease away and gives none that others take`(
        ahead: Duration
    ) async throws {
        let folder = TemporaryFolder()
        let (right, wrong) = (try Node(folder, ahead: .zero), try Node(folder, ahead: ahead))
        _ = try await right.store.enqueue([NewJob(Self.kind, org: "acme")])
        let mine = try #require(try await right.claim().first)
        #expect(try await wrong.store.tend().rescued == 0)
        #expect(try await wrong.claim().isEmpty)
        #expect(try await right.end(mine)?.state == .done)

        // What it enqueues is due at once everywhere, and its leases are of the right length.
        _ = try await wrong.store.enqueue([NewJob(Self.kind, org: "acme")])
        try await eventually("the job's time") { try await right.store.hasDue() }
        let its = try #require(try await wrong.claim().first)
        #expect(try await right.store.tend().rescued == 0)
        let held = try await wrong.store.renew([its.claim], worker: wrong.worker, lease: JobLimits.lease)
        #expect(held.map(\.claim) == [its.claim])
        let stored = try #require(try await right.store.job(its.id, org: "acme")?.leaseUntil)
        let left = stored - SystemWallClock().now
        #expect(left > JobLimits.lease - Self.slack && left <= JobLimits.lease + Self.slack, "\(left)")
        #expect(try await right.store.tend().rescued == 0)
        #expect(try await wrong.end(its)?.state == .done)
    }

    @Test func `a node whose clock stands ten minutes behind takes over what a dead one left`() async throws {
        let folder = TemporaryFolder()
        let (dead, behind) = (try Node(folder, ahead: .zero), try Node(folder, ahead: .seconds(-600)))
        _ = try await dead.store.enqueue([NewJob(Self.kind, org: "acme")])
        let lost = try #require(try await dead.claim(lease: .milliseconds(1)).first)
        try await eventually("the end of a lease of a millisecond") { try await behind.store.tend().rescued == 1 }
        #expect(try await dead.end(lost) == nil)
        #expect(try await behind.store.job(lost.id, org: "acme")?.losses == 1)
    }

    @Test func `jobs that wait are counted by the server's clock, and how far ours is off is shown`() async throws {
        let folder = TemporaryFolder()
        let node = try Node(folder, ahead: .seconds(600))
        _ = try await node.store.enqueue([NewJob(Self.kind, org: "acme")])
        let count = try #require(try await node.store.reads.counts(org: "acme").first)
        let (first, counted) = (try #require(count.firstDue), try #require(count.countedAt))
        #expect(count.due == 1 && counted - first < Self.slack, "\(counted - first)")
        #expect(try await node.store.reads.list(org: "acme", state: "due", type: nil, before: nil, limit: 5).count == 1)
        let lines = node.registry.prometheusText().split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix("aurum_database_clock_offset_seconds ") })
        let offset = try #require(line.split(separator: " ").last.flatMap { Double($0) })
        #expect(offset > 600 - Self.slack.seconds && offset < 600 + Self.slack.seconds)
    }

    @Test func `on SQLite, and where a test moves the clock, time is that of the product`() async throws {
        let clock = ManualWallClock()
        let open = try OpenDatabase(clock: clock, on: .sqlite)
        let time = DatabaseClock(registry: open.registry)
        #expect(try await open.database.read("test.time") { try time.now(in: $0) } == clock.now)
        clock.advance(by: .seconds(3600))
        #expect(try await open.database.read("test.timeLater") { try time.now(in: $0) } == clock.now)
    }
}
