internal import AurumCore
internal import Logging
internal import Synchronization
internal import Telemetry

/// The gauges of jobs, of all queues of a process together: a type may have jobs in two stores.
package final class JobGauges: Sendable {
    struct Part: Sendable {
        var due: [String: Int] = [:]
        var open: [String: Int] = [:]
        var dead: [String: Int] = [:]
    }

    private let parts = Mutex<[String: Part]>([:])

    package init() {}

    func publish(_ part: Part, of component: String, _ registry: MetricRegistry) {
        parts.withLock { parts in
            parts[component] = part
            for (metric, path) in [
                (MetricDefinition.jobsDue, \Part.due), (.jobsOpen, \Part.open), (.jobsDead, \Part.dead),
            ] {
                registry.zero(metric)
                var sums: [String: Int] = [:]
                for one in parts.values { sums.merge(one[keyPath: path]) { $0 + $1 } }
                for (type, count) in sums { registry.gauge(metric, type).set(Double(count)) }
            }
        }
    }
}

/// What the queue says about itself: metrics, log lines, health.
struct JobReport: Sendable {
    let reads: (any JobReading)?
    let gauges: JobGauges
    /// In health.
    let component: String
    /// What health says of the store; nil for a database.
    let durability: String?
    /// Whether the process can do its work without this queue.
    let isOptional: Bool
    let clock: any WallClock
    let registry: MetricRegistry
    let health: HealthRegistry
    let logger: Logger

    /// A job that is due for so long without a worker makes the queue `degraded`.
    private static let lateAfter: Duration = .seconds(60)

    func note(_ ends: [JobEnd], _ result: JobTurnResult) {
        for (end, job) in zip(ends, result.ended) {
            guard let job else {
                logger.warning("a job ended in other hands", metadata: ["code": "job_stale"])
                continue
            }
            count(job, end.outcome)
        }
    }

    private func count(_ job: JobRecord, _ outcome: JobOutcome) {
        let event: String
        switch job.state {
        case .done: event = "done"
        case .dead: event = "dead"
        case .cancelled: event = "cancelled"
        case .waiting, .scheduled, .parked, .running:
            event =
                switch outcome {
                case .released: "released"
                case .postponed: "postponed"
                case .done, .failed, .cancelled, .unknownType: "retried"
                }
        }
        registry.counter(.jobs, job.type, event).increment()
        guard case .failed(let code, _, _) = outcome else {
            if outcome == .unknownType { logDead(job, "unknown_type") }
            return
        }
        guard job.state == .scheduled else { return logDead(job, code) }
        logger.warning(
            "a job failed and will be tried again",
            metadata: [
                "code": "job_failed", "type": "\(job.type)", "job": "\(job.id)", "attempt": "\(job.attempt)",
                "reason": "\(code)", "due_at": "\(job.dueAt.rfc3339)", "trace_id": "\(job.traceID?.hex ?? "")",
            ])
    }

    private func logDead(_ job: JobRecord, _ code: String) {
        guard job.state == .dead else { return }
        logger.error(
            "a job is dead until somebody redrives it",
            metadata: [
                "code": "job_dead", "type": "\(job.type)", "job": "\(job.id)", "attempt": "\(job.attempt)",
                "reason": "\(code)", "trace_id": "\(job.traceID?.hex ?? "")",
            ])
    }

    func note(_ upkeep: JobUpkeep) {
        for (schedule, count) in upkeep.missedTicks {
            registry.counter(.jobsMissedTicks, schedule).increment(by: count)
        }
        for (type, counts) in upkeep.events {
            for (event, count) in counts { registry.counter(.jobs, type, event).increment(by: count) }
        }
        if !upkeep.broughtBack.isEmpty {
            logger.warning(
                "the clock was set back: schedules tick again from now on",
                metadata: [
                    "code": "schedules_brought_back", "schedules": "\(upkeep.broughtBack.joined(separator: ","))",
                ])
        }
        guard upkeep.rescued > 0 || upkeep.revoked > 0 else { return }
        logger.warning(
            "workers lost jobs",
            metadata: [
                "code": "jobs_lost", "rescued": "\(upkeep.rescued)", "dead": "\(upkeep.dead)",
                "revoked": "\(upkeep.revoked)",
            ])
    }

    func begins(_ job: JobRecord) {
        let wait = job.startedAt.map { $0 - job.dueAt } ?? .zero
        registry.histogram(.jobsWait, job.type, job.priority.rawValue).observe(max(wait, .zero))
    }

    func ran(_ job: JobRecord, _ duration: Duration) { registry.histogram(.jobsRun, job.type).observe(duration) }

    func releases(_ count: Int) {
        guard count > 0 else { return }
        logger.warning("jobs were given back unfinished", metadata: ["code": "jobs_released", "count": "\(count)"])
    }

    func works() {
        let known = health.snapshot[component]
        if known?.reason == Self.failed || known == nil { say(.ok) }
    }

    private static let failed = "jobs_failed"

    func fails(_ error: any Error) {
        // A server that may be away is away for long: once is enough.
        let isNews = !isOptional || health.snapshot[component]?.reason != Self.failed
        if isNews { logger.error("the job queue failed", metadata: ["code": "jobs_failed", "error": "\(error)"]) }
        say(.degraded, reason: Self.failed)
    }

    private func say(_ state: ComponentHealth.State, reason: String? = nil, numbers: [String: Double] = [:]) {
        health.report(
            component, state, required: !isOptional, reason: reason, numbers: numbers,
            details: durability.map { [$0] })
    }

    /// Sets the gauges and the component's health.
    func count() async throws {
        guard let reads else { return }
        var part = JobGauges.Part()
        var lag = Duration.zero
        for count in try await reads.counts(org: nil) {
            if count.state == .dead {
                part.dead[count.type, default: 0] += count.count
            } else {
                part.open[count.type, default: 0] += count.count
                part.due[count.type, default: 0] += count.due
                if count.due > 0, let first = count.firstDue { lag = max(lag, (count.countedAt ?? clock.now) - first) }
            }
        }
        gauges.publish(part, of: component, registry)
        let numbers = [
            "due": Double(part.due.values.reduce(0, +)), "open": Double(part.open.values.reduce(0, +)),
            "dead": Double(part.dead.values.reduce(0, +)), "lag_seconds": lag.seconds,
        ]
        let isLate = lag > Self.lateAfter
        say(isLate ? .degraded : .ok, reason: isLate ? "jobs_late" : nil, numbers: numbers)
    }
}
