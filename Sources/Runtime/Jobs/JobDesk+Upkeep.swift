package import AurumCore

/// What people ask for, what time has done, and schedules.
extension JobDesk {
    // MARK: People

    /// The job after it: cancelled, or running and told to stop.
    /// - Throws: `JobError.unknownJob`, `wrongState`.
    package func cancel(_ id: UID, org: String) throws -> JobRecord {
        try table.lock(ids: [id], org: org)
        guard let job = try table.job(id: id, org: org) else { throw JobError.unknownJob }
        let next = try JobMachine.cancel(job, now: now)
        if next.state.isOver { try leave(job, to: next) } else { try table.update(next) }
        return next
    }

    /// - Throws: `JobError.unknownJob`, `wrongState`, `uniqueKeyHeld`, `parentDead`.
    package func redrive(_ id: UID, org: String, due: Timestamp? = nil) throws -> JobRecord {
        try table.lock(ids: [id], org: org)
        guard let job = try table.job(id: id, org: org) else { throw JobError.unknownJob }
        let parents = try table.parents(of: id, org: org)
        if parents.contains(where: { $0 == .dead || $0 == .cancelled }) { throw JobError.parentDead }
        let next = try JobMachine.redrive(job, due: due ?? now, parentsOpen: parents.filter { $0 != .done }.count)
        if let text = next.uniqueKey {
            let key = JobUniqueKey(org: org, type: next.type, key: text)
            if let holder = try table.holders(of: [key])[key], holder.id != id {
                throw JobError.uniqueKeyHeld(holder.id)
            }
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
        try settle()
        for job in try table.lost(before: now, limit: JobLimits.batch) { try rescue(job, &upkeep) }
        for job in try table.disobedient(since: now - JobLimits.cancelGrace, limit: JobLimits.batch) {
            try leave(job, to: JobMachine.revoke(job, now: now))
            upkeep.revoked += 1
            upkeep.count(job, "cancelled")
        }
        upkeep.purged = try table.purge(before: now, limit: JobLimits.purgeBatch)
        for schedule in try table.schedules() {
            if schedule.next <= now { try fire(schedule, &upkeep) } else { try bringBack(schedule, &upkeep) }
        }
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
            if try table.insert([job]).contains(job.id) {
                upkeep.fired += 1
                upkeep.count(job, "enqueued")
            }
        }
    }

    /// A clock that ran ahead and was set back leaves a next tick behind that is far away: the one from now takes its
    /// place. By less than the grace nodes' clocks may differ, and then that tick has been.
    private func bringBack(_ schedule: JobSchedule, _ upkeep: inout JobUpkeep) throws {
        guard schedule.next > schedule.tick(after: now + JobLimits.tickGrace) else { return }
        if try table.move(schedule, to: schedule.tick(after: now)) { upkeep.broughtBack.append(schedule.name) }
    }

    /// Removes the schedules that are not among `names`: no program declares them any more.
    package func keepOnly(_ names: Set<String>) throws {
        for schedule in try table.schedules() where !names.contains(schedule.name) {
            try table.removeSchedule(schedule.name)
        }
    }

    /// Adds or changes a schedule. The next tick stays where it is unless the times have changed; one that a
    /// wrong clock left too far away is for `tend()`.
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
