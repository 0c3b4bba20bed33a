package import AurumCore
internal import Foundation
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// Writes and reads back one row every few seconds and reports what comes of it as health component `database`.
package final class DatabaseProbe: Service {
    static let interval: Duration = .seconds(5)
    /// Between a probe that failed and the one that decides.
    static let confirmAfter: Duration = .seconds(1)
    /// A probe that takes longer has failed.
    static let limit: Duration = .seconds(1)
    /// A day: so old a row is of a process that is gone.
    private static let forgottenAfterMicroseconds: Int64 = 86_400_000_000

    private struct History: Sendable {
        var failures = 0
        /// The last write failed because nothing more fits.
        var isFull = false
        var judge = DatabaseJudge()
    }

    /// Where the probe looks beside its own write.
    package struct Inputs: Sendable {
        /// The time of a commit, given the one that was measured.
        package var commit: @Sendable (Duration) -> Duration = { $0 }
        package var engine: @Sendable () -> EngineFigures
        package var outbox: @Sendable () async -> OutboxFigures?
        /// Of the volumes that this machine holds records, log and exports on.
        package var disk: @Sendable () -> DiskSpace? = { nil }
        /// Share of a volume below which so little is free that health warns.
        package var diskFreeShareMin = DatabaseJudge.diskFreeShareMin
        /// nil as long as nobody made a backup.
        package var backup: @Sendable () -> BackupFigures? = { nil }
        /// Whether too many statements have failed for too long.
        package var isFailing: @Sendable () -> Bool

        package init(_ database: Database) {
            engine = { database.figures }
            outbox = { try? await database.outboxFigures() }
            isFailing = { database.queries.isFailing }
        }
    }

    private let database: Database
    private let health: HealthRegistry
    private let registry: MetricRegistry
    private let clock: any WallClock
    private let inputs: Inputs
    /// This process among those that share a database.
    private let node = UUID().uuidString
    private let history = Mutex(History())

    package init(
        database: Database, health: HealthRegistry, registry: MetricRegistry, clock: any WallClock,
        inputs: Inputs? = nil
    ) {
        self.database = database
        self.inputs = inputs ?? Inputs(database)
        self.health = health
        self.registry = registry
        self.clock = clock
    }

    package func run() async throws {
        await removeForgotten()
        try? await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                let wasFine = await self.probe()
                try await Task.sleep(for: wasFine ? Self.interval : Self.confirmAfter)
            }
        }
        await remove()
    }

    /// One probe, and what it says about the database. False when it failed.
    @discardableResult
    package func probe() async -> Bool {
        let started = ContinuousClock.now
        let commit = await writeAndReadBack()
        let took = ContinuousClock.now - started
        // Nobody asks for the rest what does not answer.
        let outbox = await commit == nil ? nil : inputs.outbox()
        let sample = DatabaseJudge.Sample(
            at: clock.now, commit: commit.map(inputs.commit), engine: inputs.engine(), disk: inputs.disk(),
            diskFreeShareMin: inputs.diskFreeShareMin, outbox: outbox, backup: inputs.backup(),
            isFailing: inputs.isFailing())
        count(sample.engine)
        let (failures, isFull, reasons, judged) = history.withLock { history in
            history.failures = commit == nil ? history.failures + 1 : 0
            let reasons = history.judge.reasons(sample)
            return (history.failures, history.isFull, reasons, history.judge.numbers(sample))
        }
        // Where nobody could ask, it stays what it was.
        if let oldest = judged["outbox_oldest_s"] { registry.gauge(.outboxOldest).set(oldest) }
        report(sample.engine, took: took, failures: failures, isFull: isFull, reasons: reasons, judged: judged)
        return commit != nil
    }

    private func report(
        _ figures: EngineFigures, took: Duration, failures: Int, isFull: Bool, reasons: [DatabaseJudge.Reason],
        judged: [String: Double]
    ) {
        let numbers = [
            "probe_ms": Double(took.milliseconds), "connections": Double(figures.connections),
            "busy": Double(figures.busy), "waiting": Double(figures.waiting),
            "acquire_timeouts": Double(figures.acquireTimeouts),
        ]
        let state: ComponentHealth.State = failures > 1 ? .down : failures == 1 || !reasons.isEmpty ? .degraded : .ok
        let failed = failures > 0 ? figures.isReadOnly ? "read_only" : isFull ? "disk_full" : "probe_failed" : nil
        let sentence =
            switch failed {
            case "read_only":
                ["the disk did not take a commit: nothing is written until a restart; check the disk first"]
            case "disk_full": ["the disk is full: nothing is written until there is room; reads go on"]
            default: [String]()
            }
        health.report(
            "database", state, reason: failed ?? reasons.first?.code,
            fallback: database.weakness, numbers: numbers.merging(judged) { own, _ in own },
            details: [database.dialect.rawValue] + sentence + reasons.map(\.sentence))
    }

    private func count(_ figures: EngineFigures) {
        registry.gauge(.databasePool, "open").set(Double(figures.connections))
        registry.gauge(.databasePool, "max").set(Double(figures.connectionsMax))
        registry.gauge(.databasePool, "busy").set(Double(figures.busy))
        registry.gauge(.databasePool, "waiting").set(Double(figures.waiting))
        registry.gauge(.databaseAcquireTimeouts).set(Double(figures.acquireTimeouts))
    }

    /// Writes, reads back, and answers how long the commit took; nil when that was not done within the limit. A write
    /// that is late goes on by itself, a read is cancelled; both count as failed.
    private func writeAndReadBack() async -> Duration? {
        let (node, now) = (node, clock.now)
        let (answers, answer) = AsyncStream<Duration?>.makeStream(bufferingPolicy: .bufferingOldest(2))
        let started = ContinuousClock.now
        database.enqueue("database.probe", isolation: .readCommitted) { transaction in
            try transaction.run(
                """
                INSERT INTO database_probe (node, at) VALUES (\(node), \(now))
                ON CONFLICT (node) DO UPDATE SET at = excluded.at
                """)
        } finish: { [self] error in
            history.withLock { $0.isFull = error as? SQLError == .diskFull }
            answer.yield(error == nil ? ContinuousClock.now - started : nil)
        }
        return await withTaskGroup(of: Duration?.self) { group in
            group.addTask {
                try? await Task.sleep(for: Self.limit)
                return nil
            }
            group.addTask { [self] in
                var written = answers.makeAsyncIterator()
                guard let commit = await written.next() ?? nil else { return nil }
                return await readBack() == now ? commit : nil
            }
            let commit = await group.next() ?? nil
            group.cancelAll()
            return commit
        }
    }

    private func readBack() async -> Timestamp? {
        let node = node
        return try? await database.read("database.probed") { transaction in
            try transaction.value(Timestamp.self, "SELECT at FROM database_probe WHERE node = \(node)")
        }
    }

    /// Takes out rows of processes that ended without their own `remove`.
    private func removeForgotten() async {
        let oldest = Timestamp(microseconds: clock.now.microseconds - Self.forgottenAfterMicroseconds)
        _ = try? await database.write("database.probeForgotten", isolation: .readCommitted) { transaction in
            try transaction.run("DELETE FROM database_probe WHERE at < \(oldest)")
        }
    }

    private func remove() async {
        let node = node
        _ = try? await database.write("database.probeEnd", isolation: .readCommitted) { transaction in
            try transaction.run("DELETE FROM database_probe WHERE node = \(node)")
        }
    }
}

extension Database {
    /// A row of the probe that is younger is of a server that runs, or was killed a moment ago.
    package static let aliveWithin: Duration = .seconds(15)

    /// How long ago a server of any machine wrote its row here; negative by a clock that runs ahead, nil when every
    /// server has ended in order.
    package func sinceLastProbe(now: Timestamp) async throws -> Duration? {
        try await read("database.probe.newest") { transaction in
            try transaction.value(Timestamp.self, "SELECT MAX(at) FROM database_probe")
        }.map { now - $0 }
    }
}
