import AurumCore
import Database
import Telemetry
import TestSupport
import Testing

/// Every reason for which a database is degraded, with its number, and how soon it is over.
@Suite struct HealthTests {
    static let engines = Dialect.allCases

    /// A real database with figures that a test puts in.
    private struct Probed {
        let open: OpenDatabase
        let health: HealthRegistry
        let probe: DatabaseProbe
        let disk = Shared<DiskSpace?>(nil)
        let outbox = Shared<OutboxFigures?>(nil)
        let backup = Shared<BackupFigures?>(nil)
        let commit = Shared<Duration>(.milliseconds(1))
        let busy = Shared(0)
        let walBytes = Shared(0)

        init(_ engine: Dialect, realOutbox: Bool = false) throws {
            open = try OpenDatabase(on: engine)
            health = HealthRegistry(clock: open.clock)
            let (database, disk, outbox, backup) = (open.database, disk, outbox, backup)
            let (commit, busy, walBytes) = (commit, busy, walBytes)
            var inputs = DatabaseProbe.Inputs(database)
            inputs.commit = { _ in commit.withLock { $0 } }
            inputs.disk = { disk.withLock { $0 } }
            inputs.backup = { backup.withLock { $0 } }
            if !realOutbox { inputs.outbox = { outbox.withLock { $0 } } }
            inputs.engine = {
                var figures = database.figures
                (figures.busy, figures.connectionsMax) = (busy.withLock { $0 }, 10)
                if figures.walBytes != nil { figures.walBytes = walBytes.withLock { $0 } }
                return figures
            }
            probe = DatabaseProbe(
                database: database, health: health, registry: open.registry, clock: open.clock, inputs: inputs)
        }

        /// Probes, five seconds apart; one that this machine was too slow for is tried again.
        func look(times: Int = 1) async throws -> ComponentHealth {
            for _ in 0..<times {
                open.clock.advance(by: .seconds(5))
                var worked = false
                for _ in 0..<20 where !worked { worked = await probe.probe() }
                #expect(worked)
            }
            return try #require(health.snapshot["database"])
        }

        /// The reason is there with its number, and everything goes on.
        func expect(_ reason: String, _ number: String, _ component: ComponentHealth) {
            #expect(component.state == .degraded && component.reason == reason, "\(component)")
            #expect(component.details?.contains { $0.contains(number) } == true, "\(component)")
            #expect(health.isReady)
        }

        /// All is well within ten seconds.
        func expectRecovery() async throws {
            let component = try await look(times: 2)
            #expect(component.state == .ok && component.reason == nil, "\(component)")
            #expect(component.details == [open.database.dialect.rawValue])
        }
    }

    @Test(arguments: engines) func `a disk that fills is named until there is room again`(_ engine: Dialect)
        async throws
    {
        let probed = try Probed(engine)
        probed.disk.withLock { $0 = DiskSpace(freeBytes: 150, totalBytes: 1000) }
        #expect(try await probed.look().state == .ok)
        probed.disk.withLock { $0 = DiskSpace(freeBytes: 149, totalBytes: 1000) }
        let component = try await probed.look()
        probed.expect("disk_filling", "14.9 % of the disk", component)
        #expect(component.numbers["disk_free_ratio"] == 0.149)
        probed.disk.withLock { $0 = DiskSpace(freeBytes: 500, totalBytes: 1000) }
        try await probed.expectRecovery()
    }

    @Test(arguments: engines) func `slow commits are named by their percentile, and two quick ones end them`(
        _ engine: Dialect
    ) async throws {
        let probed = try Probed(engine)
        #expect(try await probed.look(times: 18).state == .ok)
        probed.commit.withLock { $0 = .milliseconds(140) }
        #expect(try await probed.look().state == .ok, "too few to tell, and one of twenty may be slow")
        let component = try await probed.look()
        probed.expect("slow_commits", "140 ms", component)
        #expect(component.numbers["commit_p95_ms"] == 140)
        probed.commit.withLock { $0 = .milliseconds(100) }
        try await probed.expectRecovery()
    }

    @Test(arguments: engines) func `a pool that is nine tenths busy is named after a minute`(_ engine: Dialect)
        async throws
    {
        let probed = try Probed(engine)
        probed.busy.withLock { $0 = 9 }
        #expect(try await probed.look(times: 12).state == .ok, "55 seconds")
        let component = try await probed.look()
        probed.expect("pool_full", "9 of 10 connections have been busy for 60 s", component)
        probed.busy.withLock { $0 = 8 }
        try await probed.expectRecovery()
        probed.busy.withLock { $0 = 10 }
        #expect(try await probed.look(times: 2).state == .ok, "the minute begins again")
    }

    @Test func `a long write-ahead log is named`() async throws {
        let probed = try Probed(.sqlite)
        probed.walBytes.withLock { $0 = 256 << 20 }
        #expect(try await probed.look().state == .ok)
        probed.walBytes.withLock { $0 = 300 << 20 }
        let component = try await probed.look()
        probed.expect("wal_large", "300 MiB", component)
        #expect(component.numbers["wal_bytes"] == Double(300 << 20))
        probed.walBytes.withLock { $0 = 1 << 20 }
        try await probed.expectRecovery()
    }

    @Test func `a write-ahead log shrinks again, and PostgreSQL has none of ours`() async throws {
        let file = try OpenDatabase(on: .sqlite)
        let kept = try await file.database.write("test.walLimit") {
            try $0.value(Int.self, "PRAGMA journal_size_limit")
        }
        #expect(kept == 64 << 20)
        #expect(file.database.figures.walBytes ?? 0 > 0)
        #expect(try OpenDatabase(on: .postgres).database.figures.walBytes == nil)
    }

    @Test(arguments: engines) func `an outbox that is not emptied is named by age, then well`(_ engine: Dialect)
        async throws
    {
        let probed = try Probed(engine, realOutbox: true)
        try await probed.open.database.write("test.healthEmit") { tx in
            try tx.emit(
                OutboxEvent(
                    id: UID(high: 5, low: 1), org: "o", key: "k", name: "test.happened", traceID: nil, at: tx.now,
                    props: [:]))
        }
        let fresh = try await probed.look()
        #expect(fresh.state == .ok && fresh.numbers["outbox_rows"] == 1, "\(fresh)")
        probed.open.clock.advance(by: .seconds(6 * 3600))
        let component = try await probed.look()
        probed.expect("outbox", "has waited 6.0 h", component)
        #expect(component.numbers["outbox_oldest_s"] ?? 0 >= 21_600)
        #expect(probed.open.registry.gauge(.outboxOldest).value >= 21_600)
        try await probed.open.database.write("test.healthEmpty") { tx in _ = try tx.run("DELETE FROM outbox") }
        try await probed.expectRecovery()
        #expect(probed.open.registry.gauge(.outboxOldest).value == 0)
    }

    @Test(arguments: engines) func `an outbox of a million rows is named`(_ engine: Dialect) async throws {
        let probed = try Probed(engine)
        let now = probed.open.clock.now
        probed.outbox.withLock { $0 = OutboxFigures(rows: 999_999, oldestAt: now) }
        #expect(try await probed.look().state == .ok)
        probed.outbox.withLock { $0 = OutboxFigures(rows: 1_000_000, oldestAt: now) }
        probed.expect("outbox", "1000000 events or more", try await probed.look())
        probed.outbox.withLock { $0 = OutboxFigures(rows: 0, oldestAt: nil) }
        try await probed.expectRecovery()
    }

    @Test(arguments: engines) func `a backup that is old or not whole is named, none at all is not`(_ engine: Dialect)
        async throws
    {
        let probed = try Probed(engine)
        #expect(try await probed.look().state == .ok)
        let made = probed.open.clock.now
        probed.backup.withLock { $0 = BackupFigures(madeAt: made, isVerified: false) }
        let unread = try await probed.look()
        probed.expect("backup_unverified", made.rfc3339, unread)
        probed.backup.withLock { $0 = BackupFigures(madeAt: made, isVerified: true) }
        try await probed.expectRecovery()
        probed.open.clock.advance(by: .seconds(26 * 3600))
        let old = try await probed.look()
        probed.expect("backup_old", "26.0 h old", old)
        #expect(old.numbers["backup_age_s"] ?? 0 > 93_600)
        let again = probed.open.clock.now
        probed.backup.withLock { $0 = BackupFigures(madeAt: again, isVerified: true) }
        try await probed.expectRecovery()
    }

    @Test(arguments: engines) func `of several reasons the gravest leads and all are told`(_ engine: Dialect)
        async throws
    {
        let probed = try Probed(engine)
        let longAgo = probed.open.clock.now
        probed.open.clock.advance(by: .seconds(27 * 3600))
        probed.backup.withLock { $0 = BackupFigures(madeAt: longAgo, isVerified: true) }
        probed.outbox.withLock { $0 = OutboxFigures(rows: 3, oldestAt: longAgo) }
        probed.disk.withLock { $0 = DiskSpace(freeBytes: 1, totalBytes: 100) }
        let component = try await probed.look()
        #expect(component.reason == "disk_filling" && component.details?.count == 4, "\(component)")
    }

    @Test func `bulk writes are refused below a twentieth of the disk and taken above`() {
        let space = Shared<DiskSpace?>(nil)
        let bulk = BulkWrites { space.withLock { $0 } }
        #expect(throws: Never.self) { try bulk.check() }
        space.withLock { $0 = DiskSpace(freeBytes: 49, totalBytes: 1000) }
        #expect(throws: BulkWrites.Refused(space: DiskSpace(freeBytes: 49, totalBytes: 1000))) { try bulk.check() }
        do { try bulk.check() } catch { #expect(error.sentence.contains("4.9 %"), "\(error.sentence)") }
        space.withLock { $0 = DiskSpace(freeBytes: 50, totalBytes: 1000) }
        #expect(throws: Never.self) { try bulk.check() }
        let strict = BulkWrites(freeShareMin: 0.1) { space.withLock { $0 } }
        do { try strict.check() } catch { #expect(error.sentence.contains("above 10 %"), "\(error.sentence)") }
        #expect(throws: BulkWrites.Refused.self) { try strict.check() }
    }

    @Test func `blocks that are reserved are no room: a disk on which nobody may write is full`() throws {
        let full = DiskSpace(blocks: 1000, free: 50, available: 0, bytes: 4096)
        #expect(full == DiskSpace(freeBytes: 0, totalBytes: 950 * 4096) && full.freeShare == 0)
        let half = DiskSpace(blocks: 1000, free: 525, available: 475, bytes: 1)
        #expect(half.freeShare == 0.5)
        let here = try #require(DiskSpace.of("/"))
        #expect(here.freeBytes <= here.totalBytes && here.totalBytes > 0)
    }
}
