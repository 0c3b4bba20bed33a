internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import Leads
internal import Logging
internal import Runtime
internal import Telemetry

/// Which work the server does in jobs, and who does it.
enum JobWiring {
    /// The organisation that the installation's own jobs belong to.
    private static let org = "default"
    /// Version 2 is of schedules and webhooks, which the release before would fail for good: it knows no such job, and
    /// the export waits for a node that does.
    private static let export = JobKind(
        "events.export", version: 2, priority: .low, attemptsMax: JobLimits.attemptsMax)
    private static let plainExport = JobKind("events.export", priority: .low, attemptsMax: JobLimits.attemptsMax)
    private static let postExport = JobKind("events.postExport", priority: .low, attemptsMax: JobLimits.attemptsMax)
    private static let scheduledExports = JobKind("events.exportSchedules", priority: .low, keepsDone: .seconds(3600))
    private static let attributionRun = JobKind("attribution.run", priority: .low, attemptsMax: 30)
    private static let scheduledRuns = JobKind(
        "attribution.schedules", priority: .low, keepsDone: .seconds(3600))
    private static let installRun = JobKind("attribution.installs", priority: .low, attemptsMax: 30)
    private static let purgeTouches = JobKind("attribution.purgeTouches", priority: .idle)
    private static let fraudReview = JobKind("fraud.review", priority: .low, attemptsMax: 30)
    private static let fraudReviews = JobKind("fraud.reviewAll", priority: .idle)
    private static let expireExports = JobKind("events.expireExports", priority: .idle)
    private static let tendQuarantine = JobKind("events.tendQuarantine", priority: .idle)
    private static let purgeKeys = JobKind("database.purgeIdempotency", priority: .idle)
    private static let tendUploads = JobKind("uploads.tend", priority: .idle)
    private static let tendCallbacks = JobKind("callbacks.tend", priority: .idle)
    private static let stopRules = JobKind("attribution.stopRules", keepsDone: .seconds(3600))
    private static let autoAdvice = JobKind("attribution.autoAdvice", priority: .low)
    private static let tendBudgets = JobKind("attribution.tendBudgets", priority: .idle)
    private static let hourly: Duration = .seconds(3600)

    /// What the owners of jobs are told when one is cancelled, by type; it may refuse.
    static let onCancel: [String: JobHandler.OnCancel] = {
        var all: [String: JobHandler.OnCancel] = [:]
        for type in LeadJobs.neverCancelled { all[type] = JobHandler.refuseCancel }
        all[export.name] = { job, tx in
            if let id = job.uid("export") { try ExportService.cancel(id, org: job.org, in: tx) }
        }
        all[postExport.name] = { job, tx in
            if let id = job.uid("export") { try ExportService.cancelDelivery(id, org: job.org, in: tx) }
        }
        return all
    }()

    /// Where a server's jobs are, and what an earlier release left behind given its jobs.
    /// - Parameter redis: where jobs live whose kinds say so; nil without one.
    static func places(
        _ jobs: SQLJobStore, _ database: Database, redis: RedisClient?, market: Marketplace, exports: ExportService,
        quarantine: QuarantineDesk, attribution: LogAttribution, installs: InstallAttribution,
        links: LinkStore, fraud: FraudDesk, uploader: Uploader, callbacks: CallbackDesk,
        live: LiveRecomputation, budgets: BudgetWatch, budget: RetryBudget, clock: any WallClock,
        registry: MetricRegistry, health: HealthRegistry
    ) async throws -> JobPlaces {
        var configuration = JobQueue.Configuration()
        configuration.isAlone = database.dialect == .sqlite
        let (reads, gauges) = (jobs.reads, JobGauges())
        // All of them: jobs of kinds that live on Redis are here from the time before there was one.
        let handlers =
            market.handlers + uploader.handlers + callbacks.handlers + exportHandlers(exports) + [
                // It begins again in the next process: what it wrote is not seen before it is done.
                JobHandler(attributionRun, stopping: .interrupt) { try await credit($0, attribution) },
                live.handler(jobs),
                JobHandler(scheduledRuns, stopping: .interrupt) { try await start($0, attribution, jobs) },
                JobHandler(installRun, stopping: .interrupt) { try await decide($0, installs, jobs) },
                JobHandler(purgeTouches) { _ in
                    try await installs.purge()
                    try await links.purge()
                    try await installs.purgeInstalls()
                    try await live.purge()
                },
                JobHandler(fraudReview, stopping: .interrupt) { job in
                    try await reviewing { _ = try await fraud.review(org: job.org) }
                },
                JobHandler(fraudReviews, stopping: .interrupt) { _ in
                    try await reviewing { try await fraud.reviewAll() }
                },
                JobHandler(tendQuarantine) { _ in try await quarantine.tend() },
                JobHandler(purgeKeys) { _ in _ = try await database.purgeIdempotency() },
                JobHandler(tendUploads) { _ in try await uploader.tend() },
                JobHandler(tendCallbacks) { _ in try await callbacks.tend() },
                // What one has changed is whole, and the next tick does what it left.
                JobHandler(stopRules, stopping: .interrupt) { job in
                    try await budgets.lookAtAll(due: job.record.dueAt) { try job.hold(in: $0) }
                },
                JobHandler(autoAdvice, stopping: .interrupt) { job in
                    try await budgets.decideForAll { try job.hold(in: $0) }
                },
                JobHandler(tendBudgets) { _ in _ = try await budgets.purge() },
                JobTrial.handler,
            ]
        let queue = JobQueue(
            store: jobs, handlers: handlers, schedules: try schedules(now: clock.now), reads: reads, gauges: gauges,
            clock: clock, registry: registry, health: health, logger: Logger(label: "jobs"), budget: budget,
            configuration: configuration)
        // What ran when the last process ended comes first, so that what it lost for good can be adopted.
        try await queue.start()
        try await market.adopt()
        try await exports.adopt()
        try await uploader.store.adopt()
        await uploader.report()
        try await callbacks.store.adopt()
        let here = JobPlaces.Place(.database, store: jobs, reads: reads, queue: queue)
        guard let redis else { return JobPlaces(database: here) }
        let store = RedisJobStore(client: redis, clock: clock, registry: registry)
        return JobPlaces(
            database: here,
            redis: place(
                store, handlers, gauges: gauges, budget: budget, clock: clock, registry: registry, health: health))
    }

    /// Who writes, posts, schedules and removes exports.
    private static func exportHandlers(_ exports: ExportService) -> [JobHandler] {
        [
            // It keeps its place in the file, so that a stop never waits for it.
            JobHandler(export, stopping: .interrupt, onCancel: onCancel[export.name]) { job in
                do {
                    try await exports.work(try job.uid("export"), org: job.org) { rows in
                        try await job.progress(0, note: "\(rows) rows")
                    }
                } catch let error as ExportError { throw JobFault(error.tag, error.sentence) }
            },
            // The receiver knows what comes again by its delivery id. A second post draws on nobody's second tries: it
            // may take minutes, and the service bounds how many there are at once.
            JobHandler(postExport, stopping: .interrupt, onCancel: onCancel[postExport.name]) { job in
                switch try await exports.deliver(try job.uid("export"), org: job.org) {
                case .over: return
                case .again(let pause):
                    throw JobFault("export_not_taken", "The webhook is asked again.", retry: .after(pause))
                case .postponed(let pause): throw JobPostponement(by: pause)
                }
            },
            JobHandler(scheduledExports, stopping: .interrupt) { job in
                try await exports.makeDue { try job.hold(in: $0) }
            },
            JobHandler(expireExports) { _ in
                try await exports.expire()
                try await exports.askAgain()
            },
        ]
    }

    private static func schedules(now: Timestamp) throws -> [JobSchedule] {
        let plans: [(name: String, kind: JobKind, every: Duration)] = [
            ("fraud.reviewAll", fraudReviews, hourly), ("exports.expire", expireExports, hourly),
            ("exports.schedules", scheduledExports, .seconds(60)),
            ("idempotency.purge", purgeKeys, hourly), ("attribution.purgeTouches", purgeTouches, hourly),
            ("uploads.tend", tendUploads, hourly), ("callbacks.tend", tendCallbacks, hourly),
            ("quarantine.tend", tendQuarantine, hourly),
            ("attribution.schedules", scheduledRuns, .seconds(60)),
            ("attribution.stopRules", stopRules, .seconds(30)),
            ("attribution.autoAdvice", autoAdvice, .seconds(900)),
            ("attribution.tendBudgets", tendBudgets, hourly),
        ]
        return try plans.map { plan in
            try JobSchedule(plan.name, plan.kind, org: org, .every(plan.every), missed: .runOnce, now: now)
        }
    }

    /// The queue on Redis; the server is ready without it.
    private static func place(
        _ store: RedisJobStore, _ handlers: [JobHandler], gauges: JobGauges, budget: RetryBudget,
        clock: any WallClock, registry: MetricRegistry, health: HealthRegistry
    ) -> JobPlaces.Place {
        var configuration = JobQueue.Configuration()
        configuration.component = "jobs_redis"
        configuration.durability = RedisJobStore.durability
        configuration.isOptional = true
        let reads = RedisJobReads(store)
        let queue = JobQueue(
            store: store, handlers: handlers.filter { $0.kind.home == .redis }, reads: reads, gauges: gauges,
            clock: clock, registry: registry, health: health, logger: Logger(label: "jobs"), budget: budget,
            configuration: configuration)
        return JobPlaces.Place(.redis, store: store, reads: reads, queue: queue)
    }

    /// Credits every conversion of the log that the job names.
    private static func credit(_ job: RunningJob, _ attribution: LogAttribution) async throws {
        do {
            let wish = try LogAttribution.Wish(try job.payload())
            try await attribution.run(wish, org: job.org, id: job.id)
        } catch let error as LogAttributionError {
            if error == .busy { try await job.progress(0, note: error.sentence) }
            throw error.ofJob
        }
    }

    /// Asks for the runs of conversions whose time has come.
    private static func start(_ job: RunningJob, _ attribution: LogAttribution, _ jobs: SQLJobStore) async throws {
        try await attribution.startDue { wish, org, tx in
            try job.hold(in: tx)
            try jobs.enqueue(run(wish, org: org), in: tx)
        }
    }

    /// Decides the installs anew that the job names.
    private static func decide(
        _ job: RunningJob, _ installs: InstallAttribution, _ jobs: SQLJobStore
    ) async throws {
        let payload = try job.payload()
        let wish: InstallWish
        do throws(LogAttributionError) { wish = try InstallWish(payload) } catch {
            throw JobFault(error.tag, error.sentence, retry: .never)
        }
        _ = try await installs.recompute(wish, org: job.org, run: job.id) { looked in
            try await job.progress(0, note: "\(looked) installs")
        }
        // Asked for here and not before: a run that began earlier would credit what was decided before.
        guard wish.credits else { return }
        _ = try await enqueueAttribution(LogAttribution.Wish(reason: "installs"), org: job.org, jobs)
    }

    /// Recomputations of an organisation come one after another.
    static func enqueueInstalls(_ wish: InstallWish, org: String, _ jobs: SQLJobStore) async throws -> JobReceipt? {
        let job = NewJob(
            installRun, org: org, payload: wish.json, unique: (wish.key, .untilStarted),
            concurrency: JobConcurrency("attribution.installs", limit: 1))
        return try await jobs.enqueue([job]).first
    }

    private static func reviewing(_ work: () async throws -> Void) async throws {
        do { try await work() } catch let error as LogAttributionError where error == .cancelled || error == .busy {
            throw error.ofJob
        }
    }

    /// A look at all installs of an organisation; one that waits stands for all that ask.
    static func enqueueFraudReview(org: String, _ jobs: SQLJobStore) async throws -> JobReceipt? {
        let job = NewJob(
            fraudReview, org: org, payload: .object([:]), unique: ("all", .untilStarted),
            concurrency: JobConcurrency("fraud.review", limit: 1))
        return try await jobs.enqueue([job]).first
    }

    /// Runs over the log come one after another; one that waits stands for all that ask for the same. Where the wish
    /// is of live leads and sales too, the look at them is a job beside it.
    /// - Returns: of the run.
    static func enqueueAttribution(
        _ wish: LogAttribution.Wish, org: String, _ jobs: SQLJobStore
    ) async throws -> JobReceipt? {
        var wanted = [run(wish, org: org)]
        if wish.isOfLive { wanted.append(LiveRecomputation.job(org: org, from: wish.from, to: wish.to)) }
        return try await jobs.enqueue(wanted).first
    }

    /// Runs over the log of an organisation that wait or work.
    static func runsAtWork(org: String, _ places: JobPlaces) async throws -> [RunAtWork] {
        var found: [RunAtWork] = []
        // State by state: those that are over may be many, and newer.
        for state in ["due"] + JobState.allCases.filter({ !$0.isOver }).map(\.rawValue) {
            let listed = try await places.list(
                org: org, state: state, type: attributionRun.name, before: nil, limit: JobLimits.listMax)
            found += listed.value.map { job, _ in
                let wish = try? LogAttribution.Wish(JSONValue(sqlValue: .text(job.payload)) ?? .null)
                return RunAtWork(conversion: wish?.conversion, isRunning: job.state == .running)
            }
        }
        return found
    }

    private static func run(_ wish: LogAttribution.Wish, org: String) -> NewJob {
        NewJob(
            attributionRun, org: org, payload: wish.json, unique: (wish.key, .untilStarted),
            concurrency: JobConcurrency("attribution.run", limit: 1))
    }

    /// Exports are written one after another.
    static func enqueueExport(
        _ id: UID, org: String, _ jobs: SQLJobStore, in tx: Transaction, isFollowUp: Bool = false
    ) throws {
        let kind = try ExportService.needsNewRelease(id, org: org, in: tx) ? export : plainExport
        try jobs.enqueue(
            NewJob(
                kind, org: org, payload: ["export": .string(id.hex)], unique: (id.hex, .untilDone),
                concurrency: JobConcurrency("events.export", limit: 1)), in: tx, isFollowUp: isFollowUp)
    }

    /// Exports are posted one after another. What is asked for while one is being posted is a job of its own: it may
    /// be over already, and its job not yet. A full queue takes it: the file was written for it.
    /// - Parameter isAgain: of one that waits, in case its job was lost: one such job at most, however long it waits.
    static func enqueuePost(
        _ id: UID, org: String, _ jobs: SQLJobStore, in tx: Transaction, isAgain: Bool = false
    ) throws {
        try jobs.enqueue(
            NewJob(
                postExport, org: org, payload: ["export": .string(id.hex)],
                unique: isAgain ? ("\(id.hex) again", .untilDone) : (id.hex, .untilStarted),
                concurrency: JobConcurrency("events.postExport", limit: 1)), in: tx, isFollowUp: true)
    }
}
