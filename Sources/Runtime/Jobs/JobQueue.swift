package import AurumCore
package import Logging
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// Runs jobs: claims what is due, hands it to its handler, and says in the same transaction as the next claim how it
/// ended. Execution is at least once; effects are single where the handler completes its job in their transaction.
///
/// Any number of queues work on one store. Safety rests on the fence of each claim; leases only say when a job may go
/// to somebody else.
package final class JobQueue: Service {
    package struct Configuration: Sendable {
        /// Jobs of this process at once.
        package var concurrency = 32
        package var poll = JobLimits.poll
        package var lease = JobLimits.lease
        package var renewEvery = JobLimits.renewEvery
        package var drain = JobLimits.drain
        /// No other process works on the store: whatever runs at the start was lost with the one before.
        package var isAlone = false
        /// The component in health.
        package var component = "jobs"
        /// What health says of the store; nil for a database.
        package var durability: String?
        /// The store may be away, also at the start: then it is waited for, and the process is ready without it.
        package var isOptional = false

        package init() {}
    }

    enum StopReason { case cancelled, leaseLost, draining }

    struct Running {
        let stopping: JobHandler.Stopping
        let job: JobRecord
        let stop: AsyncStream<Void>.Continuation
        var reason: StopReason?
    }

    struct State {
        var running: [JobClaim: Running] = [:]
        var ends: [JobEnd] = []
        var isStopping = false
    }

    package let worker: UID
    let store: any JobStore
    let handlers: [String: JobHandler]
    let schedules: [JobSchedule]
    let configuration: Configuration
    let clock: any WallClock
    private let budget: RetryBudget?
    let state = Mutex(State())
    let report: JobReport
    /// A value arrives when a job has ended.
    private let endings: AsyncStream<Void>
    private let ended: AsyncStream<Void>.Continuation

    /// - Parameters:
    ///   - reads: for the gauges of what waits; nil for a store that cannot be counted.
    ///   - gauges: shared with other queues of the process.
    ///   - budget: second tries of the process; nil where nothing shares them.
    package init(
        store: any JobStore, handlers: [JobHandler], schedules: [JobSchedule] = [], reads: (any JobReading)? = nil,
        gauges: JobGauges = JobGauges(), clock: any WallClock, registry: MetricRegistry, health: HealthRegistry,
        logger: Logger, budget: RetryBudget? = nil, configuration: Configuration = Configuration()
    ) {
        self.store = store
        self.handlers = Dictionary(handlers.map { ($0.kind.name, $0) }, uniquingKeysWith: { $1 })
        self.schedules = schedules
        self.configuration = configuration
        self.clock = clock
        self.budget = budget
        worker = UID(now: clock.now)
        report = JobReport(
            reads: reads, gauges: gauges, component: configuration.component, durability: configuration.durability,
            isOptional: configuration.isOptional, clock: clock, registry: registry, health: health, logger: logger)
        (endings, ended) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Works until graceful shutdown; then claims no more, waits for what runs, and gives the rest back.
    package func run() async throws {
        guard await begin() else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.keepTime() }
            group.addTask { await self.store.listen() }
            await withDiscardingTaskGroup { jobs in
                for await _ in store.wakes.cancelOnGracefulShutdown() { await self.turns(in: &jobs) }
                await self.drain()
            }
            group.cancelAll()
        }
    }

    /// Starts as soon as the store can be asked: one that is away for a moment ends no process. False when the process
    /// stops before.
    private func begin() async -> Bool {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                do {
                    try await start()
                    return true
                } catch { report.fails(error) }
                try? await Task.sleep(for: configuration.poll)
            }
            return false
        }
    }

    /// Takes up what an earlier process left and writes the schedules down. `run()` does this first.
    package func start() async throws {
        if configuration.isAlone { report.note(try await store.recover()) }
        for schedule in schedules { try await store.keep(schedule) }
        try await store.keepOnly(Set(schedules.map(\.name)))
        store.wake()
    }

    /// Stops a job: at once when it waits, through its task when it runs here, at its worker's next renewal when it
    /// runs elsewhere.
    /// - Throws: `JobError.unknownJob`, `wrongState`, `notCancellable`.
    package func cancel(_ id: UID, org: String) async throws -> JobRecord {
        let job: JobRecord
        if let table = store as? SQLJobStore {
            job = try await table.cancel(id, org: org) { [handlers] job, tx in
                if let onCancel = handlers[job.type]?.onCancel { try onCancel(job, tx) }
            }
        } else {
            job = try await store.cancel(id, org: org)
        }
        stop(JobClaim(seq: job.seq, fence: job.fence), .cancelled)
        return job
    }

    /// Runs everything that is due, and what that makes due, until nothing is; for commands and tests without a
    /// service. Time does not pass by itself in it.
    package func runDue() async throws {
        while true {
            report.note(try await store.tend())
            let ends = state.withLock { state in
                defer { state.ends = [] }
                return state.ends
            }
            let result = try await store.turn(
                JobTurn(worker: worker, ends: ends, limit: configuration.concurrency, lease: configuration.lease))
            report.note(ends, result)
            if result.claimed.isEmpty, result.parked == 0 { return }
            await withDiscardingTaskGroup { jobs in
                for job in result.claimed { begin(job, in: &jobs) }
            }
        }
    }

    // MARK: turns

    private func turns(in jobs: inout DiscardingTaskGroup) async {
        do {
            while !Task.isShuttingDownGracefully, !Task.isCancelled, try await turn(in: &jobs) {}
            report.works()
        } catch { report.fails(error) }
    }

    /// One transaction: ends what has ended, claims what there is room for. False when there was nothing to do.
    private func turn(in jobs: inout DiscardingTaskGroup) async throws -> Bool {
        let (ends, free) = take()
        if ends.isEmpty {
            guard free > 0, try await store.hasDue() else { return false }
        }
        do {
            let result = try await store.turn(
                JobTurn(worker: worker, ends: ends, limit: free, lease: configuration.lease))
            report.note(ends, result)
            for job in result.claimed { begin(job, in: &jobs) }
            return !ends.isEmpty || !result.claimed.isEmpty || result.parked > 0
        } catch {
            state.withLock { $0.ends.insert(contentsOf: ends, at: 0) }
            throw error
        }
    }

    private func take() -> (ends: [JobEnd], free: Int) {
        state.withLock { state in
            let ends = Array(state.ends.prefix(JobLimits.batch))
            state.ends.removeFirst(ends.count)
            let room = state.isStopping ? 0 : max(0, configuration.concurrency - state.running.count)
            return (ends, min(room, JobLimits.batch))
        }
    }

    // MARK: one job

    private func begin(_ job: JobRecord, in jobs: inout DiscardingTaskGroup) {
        let (stops, stop) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let claim = JobClaim(seq: job.seq, fence: job.fence)
        let handler = handlers[job.type].flatMap { $0.versions.contains(job.version) ? $0 : nil }
        state.withLock {
            $0.running[claim] = Running(stopping: handler?.stopping ?? .finish, job: job, stop: stop)
        }
        jobs.addTask {
            let outcome = await self.perform(job, handler, stops)
            self.settle(claim, outcome)
        }
    }

    private func perform(_ job: JobRecord, _ handler: JobHandler?, _ stops: AsyncStream<Void>) async -> JobOutcome {
        guard let handler else { return .unknownType }
        let repeats = handler.makesCalls && job.attempt > 1 ? budget : nil
        if let repeats, !repeats.beginRetry(.job) {
            return .postponed(JobLimits.postponed * Double.random(in: 0.5...1.5))
        }
        defer { repeats?.endRetry() }
        report.begins(job)
        let started = ContinuousClock.now
        defer { report.ran(job, ContinuousClock.now - started) }
        let running = RunningJob(job, store: store, clock: clock)
        return await withTaskGroup(of: JobOutcome?.self) { group in
            group.addTask { await self.attempt(handler, running) }
            group.addTask {
                for await _ in stops { break }
                return nil
            }
            while let one = await group.next() {
                group.cancelAll()
                if let one { return one }
            }
            return .released
        }
    }

    private func attempt(_ handler: JobHandler, _ job: RunningJob) async -> JobOutcome {
        do {
            try await handler.body(job)
            return .done
        } catch let fault as JobFault {
            return .failed(code: fault.code, detail: fault.detail, retry: fault.retry)
        } catch let postponement as JobPostponement {
            return .postponed(min(max(postponement.delay, .zero), JobLimits.retryDelayMax))
        } catch {
            return .failed(
                code: error is CancellationError ? "interrupted" : "failed", detail: String(describing: error),
                retry: .standard)
        }
    }

    /// Notes how an attempt ended, unless its claim was given away meanwhile.
    private func settle(_ claim: JobClaim, _ outcome: JobOutcome) {
        state.withLock { state in
            guard let running = state.running.removeValue(forKey: claim) else { return }
            running.stop.finish()
            var outcome = outcome
            if case .failed = outcome {
                switch running.reason {
                case .cancelled: outcome = .cancelled
                case .draining: outcome = .released
                case .leaseLost, nil: break
                }
            }
            state.ends.append(JobEnd(claim, outcome, job: running.job))
        }
        store.wake()
        ended.yield()
    }

    private func stop(_ claim: JobClaim, _ reason: StopReason) {
        let stop = state.withLock { state in
            // What is cancelled or lost stays so when the process stops as well.
            if reason != .draining || state.running[claim]?.reason == nil { state.running[claim]?.reason = reason }
            return state.running[claim]?.stop
        }
        stop?.yield()
    }

    // MARK: time

    /// Renews leases, lets time do its work, and looks for jobs that nobody announced.
    private func keepTime() async {
        var renewed = ContinuousClock.now
        while !Task.isCancelled {
            do {
                let now = ContinuousClock.now
                if now - renewed >= configuration.renewEvery {
                    // Where it fails, leases are not looked at either: those that ended may be our own.
                    try await renew()
                    renewed = now
                    try await report.count()
                }
                let upkeep = try await store.tend()
                report.note(upkeep)
            } catch { report.fails(error) }
            store.wake()
            try? await Task.sleep(for: configuration.poll)
        }
    }

    /// Lengthens the leases of what runs; what is not ours any more is stopped.
    package func renew() async throws {
        // Also those that are done and that nobody could be told about yet: nobody is to do them again meanwhile.
        let mine = state.withLock { Array($0.running.keys) + $0.ends.map(\.claim) }
        guard !mine.isEmpty else { return }
        let held = Dictionary(
            try await store.renew(mine, worker: worker, lease: configuration.lease).map { ($0.claim, $0.isCancelled) },
            uniquingKeysWith: { $1 })
        for claim in mine {
            switch held[claim] {
            case nil: stop(claim, .leaseLost)
            case true?: stop(claim, .cancelled)
            case false?: continue
            }
        }
    }

    // MARK: the end

    private func drain() async {
        let interrupted = state.withLock { state in
            state.isStopping = true
            return state.running.filter { $0.value.stopping == .interrupt }.map(\.key)
        }
        for claim in interrupted { stop(claim, .draining) }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while self.state.withLock({ !$0.running.isEmpty }) {
                    for await _ in self.endings { break }
                    if Task.isCancelled { return }
                    await self.flush()
                }
            }
            group.addTask { try? await Task.sleep(for: self.configuration.drain) }
            await group.next()
            group.cancelAll()
        }
        let late = state.withLock { state in
            let late = state.running
            state.ends += late.keys.map { JobEnd($0, .released) }
            state.running = [:]
            return late
        }
        for running in late.values { running.stop.yield() }
        report.releases(late.count)
        await flush()
    }

    private func flush() async {
        while true {
            let (ends, _) = take()
            if ends.isEmpty { return }
            do {
                report.note(ends, try await store.turn(JobTurn(worker: worker, ends: ends, limit: 0)))
            } catch {
                state.withLock { $0.ends.insert(contentsOf: ends, at: 0) }
                report.fails(error)
                return
            }
        }
    }
}
