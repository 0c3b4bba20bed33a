package import AurumCore

/// Every step a job can take, as one pure function each. Stores execute what it decides and decide nothing.
package enum JobMachine {
    /// A new job: waiting for its parents, or scheduled.
    /// - Throws: `JobError.payloadTooLarge`, `tooManyParents`, `invalid`.
    package static func admit(
        _ new: NewJob, id: UID, parentsOpen: Int, now: Timestamp
    ) throws(JobError) -> JobRecord {
        let payload = new.payload.canonical
        guard payload.utf8.count <= JobLimits.payloadBytes else { throw .payloadTooLarge }
        guard new.after.count <= JobLimits.parents else { throw .tooManyParents }
        try check(new)
        var job = JobRecord(
            id: id, org: new.org, type: new.kind.name, version: new.kind.version, payload: payload,
            priority: new.priority, state: parentsOpen > 0 ? .waiting : .scheduled, dueAt: new.due ?? now,
            attemptsMax: new.kind.attemptsMax, keepsDone: new.kind.keepsDone, createdAt: now)
        job.uniqueKey = new.unique?.key
        job.uniqueness = new.unique?.scope
        job.isUniqueHeld = new.unique != nil
        job.concurrency = new.concurrency
        job.rate = new.rate
        job.parentsOpen = parentsOpen
        job.traceID = new.traceID
        return job
    }

    private static func check(_ new: NewJob) throws(JobError) {
        guard !new.kind.name.isEmpty, new.kind.name.utf8.count <= JobLimits.typeBytes else {
            throw .invalid("a job's type has 1 to \(JobLimits.typeBytes) bytes")
        }
        guard (1...JobLimits.attemptsMax).contains(new.kind.attemptsMax) else {
            throw .invalid("a job has 1 to \(JobLimits.attemptsMax) attempts")
        }
        for key in [new.unique?.key, new.concurrency?.key, new.rate?.key] {
            guard let key else { continue }
            guard !key.isEmpty, key.utf8.count <= JobLimits.keyBytes else {
                throw .invalid("a job's key has 1 to \(JobLimits.keyBytes) bytes")
            }
        }
        if let concurrency = new.concurrency, !(1...JobLimits.concurrencyMax).contains(concurrency.limit) {
            throw .invalid("a concurrency limit is 1 to \(JobLimits.concurrencyMax)")
        }
        if let rate = new.rate, rate.count < 1 || rate.period < .milliseconds(1) {
            throw .invalid("a rate is at least one job, within at least a millisecond")
        }
    }

    /// Due and claimed by a worker, which has it until `lease` from now.
    package static func claim(
        _ job: JobRecord, worker: UID, fence: Int64, lease: Duration, now: Timestamp
    ) -> JobRecord {
        var job = job
        job.state = .running
        job.attempt += 1
        job.fence = fence
        job.worker = worker
        job.leaseUntil = now + lease
        job.startedAt = now
        job.readyAt = nil
        if job.uniqueness == .untilStarted { job.isUniqueHeld = false }
        return job
    }

    /// Aside: because its key is full (`ready` nil), or until its rate lets it begin.
    package static func park(_ job: JobRecord, until ready: Timestamp?) -> JobRecord {
        var job = job
        job.state = .parked
        job.readyAt = ready
        return job
    }

    /// Back in its old place.
    package static func unpark(_ job: JobRecord) -> JobRecord {
        var job = job
        job.state = .scheduled
        return job
    }

    /// Whether a worker's word about a job still counts.
    package enum Standing: Equatable { case holds, isSettled, stale }

    /// `isSettled`: this very claim already ended the job, so saying it again changes nothing.
    package static func standing(_ job: JobRecord?, _ claim: JobClaim) -> Standing {
        guard let job, job.fence == claim.fence else { return .stale }
        if job.state == .running { return .holds }
        return job.state == .done ? .isSettled : .stale
    }

    /// The end of an attempt. `random` is uniform in 0…1 and spreads the retries.
    package static func end(_ job: JobRecord, _ outcome: JobOutcome, now: Timestamp, random: Double) -> JobRecord {
        switch outcome {
        case .done: finish(job, .done, now: now, keep: job.keepsDone)
        case .cancelled: finish(job, .cancelled, now: now, keep: JobLimits.keepCancelled)
        case .released: release(job, now: now)
        case .postponed(let delay): postpone(job, by: delay, now: now)
        case .unknownType: bury(note(job, "unknown_type", "", now), .unknownType, now: now)
        case .failed(let code, let detail, let retry):
            fail(note(job, code, detail, now), retry, now: now, random: random)
        }
    }

    private static func note(_ job: JobRecord, _ code: String, _ detail: String, _ now: Timestamp) -> JobRecord {
        var job = job
        job.failures.append(
            JobFailure(
                attempt: job.attempt, at: now, code: String(code.prefix(JobLimits.typeBytes)),
                detail: String(detail.prefix(JobLimits.detailBytes))))
        if job.failures.count > JobLimits.failuresKept { job.failures.removeFirst() }
        return job
    }

    private static func fail(_ job: JobRecord, _ retry: JobRetry, now: Timestamp, random: Double) -> JobRecord {
        if job.cancelAt != nil { return finish(job, .cancelled, now: now, keep: JobLimits.keepCancelled) }
        if retry == .never { return bury(job, .doNotRetry, now: now) }
        if job.attempt >= job.attemptsMax { return bury(job, .attemptsExhausted, now: now) }
        var next = rest(job)
        next.losses = 0
        next.state = .scheduled
        if case .after(let delay) = retry {
            next.dueAt = now + min(max(delay, .zero), JobLimits.retryDelayMax)
        } else {
            next.dueAt = now + retryDelay(attempt: job.attempt, random: random)
        }
        return next
    }

    /// min(1 h, 2^attempt s), times a number from 0…1.
    package static func retryDelay(attempt: Int, random: Double) -> Duration {
        let seconds = min(JobLimits.retryDelayMax.seconds, Double(UInt64(1) << UInt64(min(max(attempt, 0), 20))))
        return .microseconds(Int64(seconds * 1e6 * min(max(random, 0), 1)))
    }

    private static func release(_ job: JobRecord, now: Timestamp) -> JobRecord {
        if job.cancelAt != nil { return finish(job, .cancelled, now: now, keep: JobLimits.keepCancelled) }
        var next = rest(job)
        next.state = .scheduled
        next.attempt -= 1
        return next
    }

    private static func postpone(_ job: JobRecord, by delay: Duration, now: Timestamp) -> JobRecord {
        var next = release(job, now: now)
        if next.state == .scheduled { next.dueAt = max(next.dueAt, now + delay) }
        return next
    }

    /// The lease ran out: the attempt is charged, and the job is due again at once.
    package static func loseLease(_ job: JobRecord, now: Timestamp) -> JobRecord {
        var lost = note(job, "worker_lost", "", now)
        lost.losses += 1
        if job.cancelAt != nil { return finish(lost, .cancelled, now: now, keep: JobLimits.keepCancelled) }
        if lost.losses >= JobLimits.lossesInRow { return bury(lost, .workerLost, now: now) }
        if lost.attempt >= lost.attemptsMax { return bury(lost, .attemptsExhausted, now: now) }
        lost = rest(lost)
        lost.state = .scheduled
        return lost
    }

    /// Cancelled at once unless it runs; then its worker is told and has `JobLimits.cancelGrace` to obey.
    /// - Throws: `JobError.wrongState` when it is over.
    package static func cancel(_ job: JobRecord, now: Timestamp) throws(JobError) -> JobRecord {
        if job.state.isOver { throw .wrongState(job.state) }
        guard job.state == .running else { return finish(job, .cancelled, now: now, keep: JobLimits.keepCancelled) }
        var job = job
        job.cancelAt = job.cancelAt ?? now
        return job
    }

    /// Running, told to stop, and out of time: whatever its worker says later is stale.
    package static func revoke(_ job: JobRecord, now: Timestamp) -> JobRecord {
        finish(job, .cancelled, now: now, keep: JobLimits.keepCancelled)
    }

    /// A parent is done, and so many are not.
    package static func parentDone(_ job: JobRecord, open: Int, now: Timestamp) -> JobRecord {
        var job = job
        job.parentsOpen = max(0, open)
        if job.parentsOpen == 0, job.state == .waiting {
            job.state = .scheduled
            job.dueAt = max(job.dueAt, now)
        }
        return job
    }

    /// One parent will never be done.
    package static func parentDied(_ job: JobRecord, now: Timestamp) -> JobRecord { bury(job, .parent, now: now) }

    /// Out of the dead letters with all its attempts, under the same id.
    /// - Throws: `JobError.wrongState`.
    package static func redrive(
        _ job: JobRecord, due: Timestamp, parentsOpen: Int
    ) throws(JobError) -> JobRecord {
        guard job.state == .dead else { throw .wrongState(job.state) }
        var job = job
        job.state = parentsOpen > 0 ? .waiting : .scheduled
        job.parentsOpen = parentsOpen
        job.dueAt = due
        job.attempt = 0
        job.losses = 0
        job.deadReason = nil
        job.cancelAt = nil
        job.finishedAt = nil
        job.keepUntil = nil
        job.isUniqueHeld = job.uniqueKey != nil
        return job
    }

    /// How long a dead letter waits for those before it; a rate out of bounds is the nearest that is not.
    static func redriveDelay(after count: Int, rate: Double) -> Duration {
        let bounds = JobLimits.redriveRates
        return .microseconds(Int64(Double(count) / min(max(bounds.lowerBound, rate), bounds.upperBound) * 1e6))
    }

    package static func progress(_ job: JobRecord, fraction: Double, note: String) -> JobRecord {
        var job = job
        job.progressMillionths = Int((min(max(fraction.isNaN ? 0 : fraction, 0), 1) * 1e6).rounded())
        job.note = String(note.prefix(JobLimits.noteBytes))
        // What advances is not what kills its workers.
        job.losses = 0
        return job
    }

    private static func bury(_ job: JobRecord, _ reason: DeadReason, now: Timestamp) -> JobRecord {
        var dead = finish(job, .dead, now: now, keep: JobLimits.keepDead)
        dead.deadReason = reason
        return dead
    }

    private static func finish(_ job: JobRecord, _ state: JobState, now: Timestamp, keep: Duration) -> JobRecord {
        var job = rest(job)
        job.state = state
        job.finishedAt = now
        job.keepUntil = now + keep
        job.parentsOpen = 0
        if case .lasting(let duration) = job.uniqueness {
            job.keepUntil = max(now + keep, job.createdAt + duration)
        } else {
            job.isUniqueHeld = false
        }
        return job
    }

    /// No worker has it.
    private static func rest(_ job: JobRecord) -> JobRecord {
        var job = job
        job.worker = nil
        job.leaseUntil = nil
        job.readyAt = nil
        return job
    }

    /// Whether a key that was taken for a time keeps others out no more.
    package static func isUniqueOver(_ job: JobRecord, now: Timestamp) -> Bool {
        guard case .lasting(let duration) = job.uniqueness else { return false }
        return job.createdAt + duration <= now
    }
}

/// What a key may still do: pure, beside the machine of the jobs themselves.
package struct JobRateState: Sendable, Equatable {
    /// Theoretical arrival time of what has begun.
    package var used: Timestamp
    /// The same of what has been promised a time.
    package var promised: Timestamp

    package init(used: Timestamp, promised: Timestamp) { (self.used, self.promised) = (used, promised) }

    /// nil when a job may begin now; else when it may. Jobs that were put aside go before those that come later.
    package mutating func ask(_ rate: JobRate, wasPromised: Bool, now: Timestamp) -> Timestamp? {
        let step = Duration.microseconds(max(1, rate.period.microseconds / Int64(rate.count)))
        let othersWait = !wasPromised && promised - rate.period > now
        let next = max(used, now) + step
        if !othersWait, next - now <= rate.period {
            used = next
            promised = max(promised, next)
            return nil
        }
        promised = max(promised, used, now) + step
        return promised - rate.period
    }
}
