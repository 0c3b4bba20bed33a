internal import AurumCore
internal import Database
internal import Events
internal import Leads
internal import Logging
internal import Runtime
internal import Telemetry

/// Which work the server does in jobs, and who does it.
enum JobWiring {
    /// The organisation that the installation's own jobs belong to.
    private static let org = "default"
    private static let export = JobKind("events.export", priority: .low, attemptsMax: JobLimits.attemptsMax)
    private static let expireExports = JobKind("events.expireExports", priority: .idle)
    private static let tendQuarantine = JobKind("events.tendQuarantine", priority: .idle)
    private static let purgeKeys = JobKind("database.purgeIdempotency", priority: .idle)
    private static let hourly: Duration = .seconds(3600)

    /// What the owners of jobs are told when one is cancelled, by type; it may refuse.
    static let onCancel: [String: JobHandler.OnCancel] = {
        var all: [String: JobHandler.OnCancel] = [:]
        for type in LeadJobs.neverCancelled { all[type] = JobHandler.refuseCancel }
        all[export.name] = { job, tx in
            if let id = job.uid("export") { try ExportService.cancel(id, org: job.org, in: tx) }
        }
        return all
    }()

    /// The queue of a server, and what an earlier release left behind given its jobs.
    static func queue(
        _ jobs: SQLJobStore, _ database: Database, market: Marketplace, exports: ExportService,
        quarantine: QuarantineDesk, clock: any WallClock, registry: MetricRegistry, health: HealthRegistry
    ) async throws -> JobQueue {
        var configuration = JobQueue.Configuration()
        configuration.isAlone = database.dialect == .sqlite
        let queue = JobQueue(
            store: jobs,
            handlers: market.handlers + [
                // It keeps its place in the file, so that a stop never waits for it.
                JobHandler(export, stopping: .interrupt, onCancel: onCancel[export.name]) { job in
                    try await exports.work(try job.uid("export"), org: job.org) { rows in
                        try await job.progress(0, note: "\(rows) rows")
                    }
                },
                JobHandler(expireExports) { _ in try await exports.expire() },
                JobHandler(tendQuarantine) { _ in try await quarantine.tend() },
                JobHandler(purgeKeys) { _ in _ = try await database.purgeIdempotency() },
            ],
            schedules: [
                try JobSchedule(
                    "exports.expire", expireExports, org: org, .every(hourly), missed: .runOnce, now: clock.now),
                try JobSchedule(
                    "idempotency.purge", purgeKeys, org: org, .every(hourly), missed: .runOnce, now: clock.now),
                try JobSchedule(
                    "quarantine.tend", tendQuarantine, org: org, .every(hourly), missed: .runOnce, now: clock.now),
            ],
            reads: JobReads(database: database), clock: clock, registry: registry, health: health,
            logger: Logger(label: "jobs"), configuration: configuration)
        // What ran when the last process ended comes first, so that what it lost for good can be adopted.
        try await queue.start()
        try await market.adopt()
        try await exports.adopt()
        return queue
    }

    /// Exports are written one after another.
    static func enqueueExport(_ id: UID, org: String, _ jobs: SQLJobStore, in tx: Transaction) throws {
        try jobs.enqueue(
            NewJob(
                export, org: org, payload: ["export": .string(id.hex)], unique: (id.hex, .untilDone),
                concurrency: JobConcurrency("events.export", limit: 1)), in: tx)
    }
}
