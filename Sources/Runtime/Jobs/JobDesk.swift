package import AurumCore

/// What one turn of a worker asks for: outcomes first, then new jobs.
package struct JobTurn: Sendable {
    package var worker: UID
    package var ends: [JobEnd]
    /// Jobs wanted, at most `JobLimits.batch`.
    package var limit: Int
    package var lease: Duration

    package init(worker: UID, ends: [JobEnd] = [], limit: Int, lease: Duration = JobLimits.lease) {
        (self.worker, self.ends, self.limit, self.lease) = (worker, ends, limit, lease)
    }
}

/// What a worker says about a claim of its.
package struct JobEnd: Sendable, Equatable {
    package let claim: JobClaim
    package let outcome: JobOutcome
    /// The job as it was claimed, where the worker still has it: it saves reading it again.
    package let job: JobRecord?

    package init(_ claim: JobClaim, _ outcome: JobOutcome, job: JobRecord? = nil) {
        (self.claim, self.outcome, self.job) = (claim, outcome, job)
    }
}

package struct JobTurnResult: Sendable {
    package var claimed: [JobRecord] = []
    /// Due jobs that were put aside; while there are any, more may be behind them.
    package var parked = 0
    /// In the order of `ends`: the job after its end, or nil when the word came too late and nothing was written.
    package var ended: [JobRecord?] = []
}

/// What the time that passed has done.
package struct JobUpkeep: Sendable, Equatable {
    package var rescued = 0
    package var dead = 0
    package var revoked = 0
    package var purged = 0
    package var fired = 0
    package var missedTicks: [String: Int] = [:]
    /// By type, then by what happened: for the metrics.
    package var events: [String: [String: Int]] = [:]

    mutating func count(_ job: JobRecord, _ event: String) { events[job.type, default: [:]][event, default: 0] += 1 }
}

/// Everything that is done to jobs, once for every table: reads rows, lets `JobMachine` decide, writes rows. One value
/// is one transaction; when a method throws, the caller must undo what it wrote.
package struct JobDesk<Table: JobTable> {
    package let table: Table
    let now: Timestamp
    /// The first of so many fences in a row.
    let fences: (Int) throws -> Int64

    package init(_ table: Table, now: Timestamp, fences: @escaping (Int) throws -> Int64) {
        (self.table, self.now, self.fences) = (table, now, fences)
    }

    // MARK: Enqueue

    /// Adds a job, or answers the one that holds its unique key.
    /// - Parameter takeRoom: called when a row will be added; throws where there is no room for it.
    /// - Throws: `JobError.unknownParent`, and what `JobMachine.admit` and `takeRoom` throw.
    package func enqueue(_ new: NewJob, id: UID, takeRoom: () throws -> Void = {}) throws -> JobReceipt {
        if let unique = new.unique, let holder = try holder(unique.key, new) {
            return JobReceipt(id: holder, isDuplicate: true)
        }
        try takeRoom()
        let parents = Set(new.after)
        var (open, isLost) = (0, false)
        for parent in parents {
            guard var job = try table.job(id: parent, org: new.org) else { throw JobError.unknownParent(parent) }
            job.children += 1
            try table.update(job)
            if job.state == .dead || job.state == .cancelled { isLost = true }
            if job.state != .done { open += 1 }
        }
        let job = try JobMachine.admit(new, id: id, parentsOpen: open, now: now)
        guard try table.insert(isLost ? JobMachine.parentDied(job, now: now) : job) else {
            guard let unique = new.unique, let holder = try holder(unique.key, new) else { throw JobError.staleFence }
            return JobReceipt(id: holder, isDuplicate: true)
        }
        for parent in parents { try table.addParent(parent, of: id, org: new.org) }
        return JobReceipt(id: id, isDuplicate: false)
    }

    private func holder(_ key: String, _ new: NewJob) throws -> UID? {
        guard var holder = try table.holder(of: key, type: new.kind.name, org: new.org) else { return nil }
        guard JobMachine.isUniqueOver(holder, now: now) else { return holder.id }
        holder.isUniqueHeld = false
        try table.update(holder)
        return nil
    }

    // MARK: Claim

    /// Ends attempts, then claims. An outcome that came too late is skipped, not thrown.
    package func turn(_ turn: JobTurn, random: inout some RandomNumberGenerator) throws -> JobTurnResult {
        var result = JobTurnResult()
        for end in turn.ends {
            let job =
                try finish(end)
                ?? self.end(end.claim, end.outcome, random: Double.random(in: 0...1, using: &random))
            result.ended.append(job)
        }
        let found = try claim(turn)
        (result.claimed, result.parked) = (found.claimed, found.parked)
        return result
    }

    /// Claims what is due, the smallest place first; and how many were put aside.
    func claim(_ turn: JobTurn) throws -> (claimed: [JobRecord], parked: Int) {
        let limit = min(turn.limit, JobLimits.batch)
        guard limit > 0 else { return ([], 0) }
        for job in try table.ready(at: now, limit: JobLimits.batch) { try table.updatePlace(JobMachine.unpark(job)) }
        var keys = JobKeys(table: table)
        var chosen: [JobRecord] = []
        var parked = 0
        for _ in 0..<JobLimits.parkRounds {
            let taken = Set(chosen.map(\.seq))
            let wanted = limit + taken.count
            let candidates = try candidates(limit: wanted).filter { !taken.contains($0.seq) }
            var moved = false
            for job in candidates.prefix(limit - chosen.count) {
                if let park = try keys.admit(job, now: now) {
                    try table.updatePlace(JobMachine.park(job, until: park.until))
                    moved = true
                    parked += 1
                } else {
                    chosen.append(job)
                }
            }
            if chosen.count >= limit || !moved { break }
        }
        try keys.store()
        guard !chosen.isEmpty else { return ([], parked) }
        let first = try fences(chosen.count)
        let records: [JobRecord] = try chosen.enumerated().map { index, job in
            let claimed = JobMachine.claim(
                job, worker: turn.worker, fence: first + Int64(index), lease: turn.lease, now: now)
            try table.updateClaimed(claimed)
            return claimed
        }
        return (records, parked)
    }

    /// The first due jobs over all priorities, in the order of their places.
    private func candidates(limit: Int) throws -> [JobRecord] {
        var all: [JobRecord] = []
        var lists = 0
        for priority in JobPriority.allCases {
            let some = try table.due(priority, at: now, limit: limit)
            if !some.isEmpty { lists += 1 }
            all += some
        }
        if lists > 1 { all.sort { ($0.place, $0.seq) < ($1.place, $1.seq) } }
        return all
    }

    // MARK: End

    /// The short way of nearly every job: done by the worker that still holds it, with nobody waiting for it. What the
    /// worker was given is what the machine decides on; the write holds only if the row is still that claim's.
    private func finish(_ end: JobEnd) throws -> JobRecord? {
        guard end.outcome == .done, let job = end.job, job.keepsDone > .zero else { return nil }
        // Its key may have run out, and another job may have it.
        if case .lasting = job.uniqueness { return nil }
        let next = JobMachine.end(job, .done, now: now, random: 0)
        guard try table.finish(next, end.claim) else { return nil }
        try makeRoom(job)
        return next
    }

    /// Ends an attempt; nil when the claim is stale. The job that this claim has already ended is answered unchanged.
    func end(_ claim: JobClaim, _ outcome: JobOutcome, random: Double) throws -> JobRecord? {
        let job = try table.job(seq: claim.seq)
        switch JobMachine.standing(job, claim) {
        case .stale: return nil
        case .isSettled: return outcome == .done ? job : nil
        case .holds: break
        }
        guard let job else { return nil }
        let next = JobMachine.end(job, outcome, now: now, random: random)
        try leave(job, to: next)
        return next
    }

    /// Ends an attempt well, inside the transaction of its effects.
    /// - Throws: `JobError.staleFence`: the effects must not be kept.
    package func complete(_ claim: JobClaim, job: JobRecord? = nil) throws {
        if try finish(JobEnd(claim, .done, job: job)) != nil { return }
        guard JobMachine.standing(try table.job(seq: claim.seq), claim) == .holds,
            try end(claim, .done, random: 0) != nil
        else { throw JobError.staleFence }
    }

    /// - Throws: `JobError.staleFence`.
    package func progress(_ claim: JobClaim, fraction: Double, note: String) throws {
        guard let job = try table.job(seq: claim.seq), JobMachine.standing(job, claim) == .holds else {
            throw JobError.staleFence
        }
        try table.update(JobMachine.progress(job, fraction: fraction, note: note))
    }

    /// Writes a job that stops running or waiting, makes room under its key, and tells those that wait for it.
    private func leave(_ job: JobRecord, to next: JobRecord) throws {
        if next.state == .done, next.keepsDone <= .zero, next.children == 0, !next.isUniqueHeld {
            try table.remove(next)
        } else {
            try table.update(next)
        }
        try makeRoom(job)
        if next.state.isOver, next.children > 0 { try tellChildren(next) }
    }

    /// A job that runs no more, or will not, leaves its room under its key to the next.
    private func makeRoom(_ job: JobRecord) throws {
        // One that was let back and then put aside by its rate has its room still.
        let isLetIn = job.state == .running || job.state == .scheduled || (job.state == .parked && job.readyAt != nil)
        guard let key = job.concurrency?.key, isLetIn else { return }
        if job.state == .running { try table.leaveKey(key, org: job.org) }
        for parked in try table.parked(under: key, org: job.org, limit: 1) {
            try table.updatePlace(JobMachine.unpark(parked))
        }
    }

    /// Done: those that wait for it come nearer. Dead or cancelled: they die, and so do theirs.
    private func tellChildren(_ job: JobRecord) throws {
        var open = [job]
        while let parent = open.popLast() {
            for child in try table.children(of: parent.id, org: parent.org) where child.state == .waiting {
                guard parent.state != .done else {
                    try table.update(JobMachine.parentDone(child, now: now))
                    continue
                }
                let dead = JobMachine.parentDied(child, now: now)
                try table.update(dead)
                if dead.children > 0 { open.append(dead) }
            }
        }
    }

    // MARK: People

    /// The job after it: cancelled, or running and told to stop.
    /// - Throws: `JobError.unknownJob`, `wrongState`.
    package func cancel(_ id: UID, org: String) throws -> JobRecord {
        guard let job = try table.job(id: id, org: org) else { throw JobError.unknownJob }
        let next = try JobMachine.cancel(job, now: now)
        if next.state.isOver { try leave(job, to: next) } else { try table.update(next) }
        return next
    }

    /// - Throws: `JobError.unknownJob`, `wrongState`, `uniqueKeyHeld`, `parentDead`.
    package func redrive(_ id: UID, org: String, due: Timestamp? = nil) throws -> JobRecord {
        guard let job = try table.job(id: id, org: org) else { throw JobError.unknownJob }
        let parents = try table.parents(of: id, org: org)
        if parents.contains(where: { $0 == .dead || $0 == .cancelled }) { throw JobError.parentDead }
        let next = try JobMachine.redrive(job, due: due ?? now, parentsOpen: parents.filter { $0 != .done }.count)
        if let key = next.uniqueKey, let holder = try table.holder(of: key, type: next.type, org: org), holder.id != id
        {
            throw JobError.uniqueKeyHeld(holder.id)
        }
        try table.update(next)
        return next
    }

    /// Redrives dead letters, oldest first, spread over time by `rate` a second; those whose unique key is held by
    /// another job, or whose parent is dead, stay. Answers how many came back, and where to go on; nil at the end.
    package func redrive(
        org: String, type: String?, after: DeadPlace, rate: Double?, already: Int
    ) throws -> (redriven: Int, next: DeadPlace?) {
        let dead = try table.dead(org: org, type: type, after: after, limit: JobLimits.redriveBatch)
        var redriven = 0
        for job in dead {
            let delay = rate.map { JobMachine.redriveDelay(after: already + redriven, rate: $0) } ?? .zero
            do {
                _ = try redrive(job.id, org: org, due: now + delay)
                redriven += 1
            } catch JobError.uniqueKeyHeld { continue } catch JobError.parentDead { continue }
        }
        guard dead.count == JobLimits.redriveBatch, let last = dead.last, let died = last.finishedAt else {
            return (redriven, nil)
        }
        return (redriven, DeadPlace(finishedAt: died, seq: last.seq))
    }

    // MARK: Upkeep

    /// What time has done: lost leases, cancellations that were not obeyed, ticks, and what is kept no longer.
    package func tend() throws -> JobUpkeep {
        var upkeep = JobUpkeep()
        for job in try table.lost(before: now, limit: JobLimits.batch) { try rescue(job, &upkeep) }
        for job in try table.disobedient(since: now - JobLimits.cancelGrace, limit: JobLimits.batch) {
            try leave(job, to: JobMachine.revoke(job, now: now))
            upkeep.revoked += 1
            upkeep.count(job, "cancelled")
        }
        upkeep.purged = try table.purge(before: now, limit: JobLimits.purgeBatch)
        for schedule in try table.schedules() where schedule.next <= now { try fire(schedule, &upkeep) }
        return upkeep
    }

    /// Every running job belongs to a process that is gone: only for a database that one process uses.
    package func recover() throws -> JobUpkeep {
        var upkeep = JobUpkeep()
        while true {
            let jobs = try table.running(limit: JobLimits.purgeBatch)
            for job in jobs { try rescue(job, &upkeep) }
            if jobs.count < JobLimits.purgeBatch { return upkeep }
        }
    }

    private func rescue(_ job: JobRecord, _ upkeep: inout JobUpkeep) throws {
        let next = JobMachine.loseLease(job, now: now)
        try leave(job, to: next)
        upkeep.rescued += 1
        upkeep.count(job, "lost")
        if next.state == .dead {
            upkeep.dead += 1
            upkeep.count(job, "dead")
        } else if next.state == .cancelled {
            upkeep.count(job, "cancelled")
        }
    }

    // MARK: Schedules

    private func fire(_ schedule: JobSchedule, _ upkeep: inout JobUpkeep) throws {
        let ticks = schedule.ticks(upTo: now)
        guard try table.move(schedule, to: ticks.next) else { return }
        if ticks.missed > 0 { upkeep.missedTicks[schedule.name, default: 0] += ticks.missed }
        for tick in ticks.fire {
            var job = try JobMachine.admit(schedule.job(due: tick), id: UID(now: now), parentsOpen: 0, now: now)
            job.schedule = schedule.name
            job.tick = tick
            if try table.insert(job) {
                upkeep.fired += 1
                upkeep.count(job, "enqueued")
            }
        }
    }

    /// Removes the schedules that are not among `names`: no program declares them any more.
    package func keepOnly(_ names: Set<String>) throws {
        for schedule in try table.schedules() where !names.contains(schedule.name) {
            try table.removeSchedule(schedule.name)
        }
    }

    /// Adds or changes a schedule. The next tick stays where it is unless the times have changed.
    package func keep(_ schedule: JobSchedule) throws {
        if var old = try table.schedule(schedule.name) {
            let isSame = old.plan == schedule.plan
            let next = old.next
            guard old != schedule else { return }
            old = schedule
            if isSame { old.next = next }
            return try table.save(old)
        }
        try table.save(schedule)
    }
}

/// Counts of keys during one claim: read once, written once.
struct JobKeys<Table: JobTable> {
    struct Place: Hashable { let org: String; let key: String }
    struct Park { let until: Timestamp? }

    let table: Table
    private var usage: [Place: Int] = [:]
    private var rates: [Place: JobRateState] = [:]

    init(table: Table) { self.table = table }

    /// nil when the job may begin; its keys are then counted.
    mutating func admit(_ job: JobRecord, now: Timestamp) throws -> Park? {
        var place: Place?
        if let concurrency = job.concurrency {
            let here = Place(org: job.org, key: concurrency.key)
            let count = try usage[here] ?? table.usage(of: concurrency.key, org: job.org)
            guard count < concurrency.limit else { return Park(until: nil) }
            usage[here] = count
            place = here
        }
        if let rate = job.rate {
            let here = Place(org: job.org, key: rate.key)
            let known = try rates[here] ?? table.rateState(of: rate.key, org: job.org)
            var state = known ?? JobRateState(used: now, promised: now)
            let until = state.ask(rate, wasPromised: job.readyAt != nil, now: now)
            rates[here] = state
            if let until { return Park(until: until) }
        }
        if let place { usage[place, default: 0] += 1 }
        return nil
    }

    func store() throws {
        for (place, count) in usage { try table.setUsage(count, of: place.key, org: place.org) }
        for (place, state) in rates { try table.setRateState(state, of: place.key, org: place.org) }
    }
}
