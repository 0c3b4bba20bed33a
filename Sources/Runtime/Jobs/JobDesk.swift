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

    /// Whether it touches nothing but the jobs that it ends and claims, as far as its worker knows.
    package var isShort: Bool {
        ends.allSatisfy { $0.mayFinish && $0.job?.concurrency == nil && $0.job?.children == 0 }
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

    /// Whether the short way of nearly every job may be tried: done by the worker that still holds it. What the worker
    /// was given is what the machine decides on; the write holds only if the row is still that claim's.
    var mayFinish: Bool {
        guard outcome == .done, let job, job.keepsDone > .zero else { return false }
        // Its key may have run out, and another job may have it.
        if case .lasting = job.uniqueness { return false }
        return true
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
    /// Schedules whose next tick was further away than their plan has it.
    package var broughtBack: [String] = []
    /// By type, then by what happened: for the metrics.
    package var events: [String: [String: Int]] = [:]

    mutating func count(_ job: JobRecord, _ event: String) { events[job.type, default: [:]][event, default: 0] += 1 }
}

/// Everything that is done to jobs, once for every table: reads rows, lets `JobMachine` decide, writes rows. One value
/// is one transaction; when a method throws, the caller must undo what it wrote.
///
/// Batches are read and written with one statement each. What may be done beside whom is `JobSharing`.
package struct JobDesk<Table: JobTable> {
    package let table: Table
    let now: Timestamp
    /// So many fences, each larger than the one before.
    let fences: (Int) throws -> [Int64]
    /// Of a turn that goes on to claim: what its ends leave is its claims' first, and written when these are known.
    private var freed: JobFreedRoom?

    package init(_ table: Table, now: Timestamp, fences: @escaping (Int) throws -> [Int64]) {
        (self.table, self.now, self.fences) = (table, now, fences)
    }

    // MARK: Claim

    /// Ends attempts, then claims. An outcome that came too late is skipped, not thrown.
    /// - Throws: `JobTurnIsLong` in a short transaction: do it again in a whole one.
    package func turn(_ turn: JobTurn, random: inout some RandomNumberGenerator) throws -> JobTurnResult {
        if table.sharing == .short, !turn.isShort { throw JobTurnIsLong() }
        if table.sharing == .whole { try settle() }
        var desk = self
        if turn.limit > 0, table.sharing == .alone || table.sharing == .whole { desk.freed = JobFreedRoom() }
        var result = JobTurnResult()
        result.ended = try desk.end(turn.ends, random: &random)
        let found = try desk.claim(turn)
        (result.claimed, result.parked) = (found.claimed, found.parked)
        return result
    }

    /// Claims what is due, the smallest place first; and how many were put aside.
    func claim(_ turn: JobTurn) throws -> (claimed: [JobRecord], parked: Int) {
        let limit = min(turn.limit, JobLimits.batch)
        guard limit > 0 else { return ([], 0) }
        let found = table.sharing == .short ? try chooseUnkeyed(limit) : try choose(limit)
        guard !found.chosen.isEmpty else { return ([], found.parked) }
        let fences = try fences(found.chosen.count)
        let claimed = zip(found.chosen, fences).map { job, fence in
            JobMachine.claim(job, worker: turn.worker, fence: fence, lease: turn.lease, now: now)
        }
        try table.updateClaimed(claimed)
        return (claimed, found.parked)
    }

    /// Jobs with keys are left where they are, and counted: the next turn finds them and is a whole one.
    /// - Throws: `JobTurnIsLong` where there is nothing else: others hold what lies before them.
    private func chooseUnkeyed(_ limit: Int) throws -> (chosen: [JobRecord], parked: Int) {
        let front = try table.front(at: now, limit: limit).prefix(limit)
        let chosen = front.filter { !$0.hasKeys }
        if chosen.isEmpty, !front.isEmpty { throw JobTurnIsLong() }
        return (chosen, front.count - chosen.count)
    }

    private func choose(_ limit: Int) throws -> (chosen: [JobRecord], parked: Int) {
        let ready = try table.ready(at: now, limit: JobLimits.batch)
        if !ready.isEmpty { try table.updatePlaces(ready.map(JobMachine.unpark)) }
        var keys = JobKeys(table: table)
        var back = try comeBack(&keys)
        var chosen: [JobRecord] = []
        var parked = 0
        for _ in 0..<JobLimits.parkRounds {
            let taken = Set(chosen.map(\.seq))
            let front = try table.front(at: now, limit: limit + taken.count).filter { !taken.contains($0.seq) }
            let candidates = Self.merged(front, back).prefix(limit - chosen.count)
            try keys.load(candidates)
            var aside: [JobRecord] = []
            for job in candidates {
                if let park = keys.admit(job, now: now) {
                    aside.append(JobMachine.park(job, until: park.until))
                } else {
                    chosen.append(job)
                }
            }
            let seen = Set(candidates.map(\.seq))
            back.removeAll { seen.contains($0.seq) }
            if !aside.isEmpty { try table.updatePlaces(aside) }
            parked += aside.count
            if chosen.count >= limit || aside.isEmpty { break }
        }
        if !back.isEmpty { try table.updatePlaces(back) }
        try keys.store()
        return (chosen, parked)
    }

    /// The jobs that come back for the room that this turn's ends made, by place. In the table they are parked still:
    /// those that are claimed at once need not be written twice.
    private func comeBack(_ keys: inout JobKeys<Table>) throws -> [JobRecord] {
        guard let rooms = freed?.rooms, !rooms.isEmpty else { return [] }
        try keys.leave(rooms)
        return Self.byPlace(try table.parked(under: rooms.mapValues(\.looks)).map(JobMachine.unpark))
    }

    private static func merged(_ front: [JobRecord], _ back: [JobRecord]) -> [JobRecord] {
        back.isEmpty ? front : byPlace(front + back)
    }

    private static func byPlace(_ jobs: [JobRecord]) -> [JobRecord] {
        jobs.sorted { ($0.place, $0.seq) < ($1.place, $1.seq) }
    }

    // MARK: End

    /// The jobs after their ends, in that order; nil where the word came too late.
    private func end(_ ends: [JobEnd], random: inout some RandomNumberGenerator) throws -> [JobRecord?] {
        guard !ends.isEmpty else { return [] }
        // In one order for everybody, also where some are then read and others just written.
        if table.sharing == .whole { try table.lock(seqs: ends.map(\.claim.seq)) }
        let finished = try finish(ends.filter(\.mayFinish))
        let rest = ends.filter { finished[$0.claim] == nil }
        if rest.isEmpty { return ends.map { finished[$0.claim] } }
        // Most of them ended in the transaction of their effects. What a claim lost it never gets back, so that a look
        // without a lock is enough to know that nothing is to be done.
        let rows = try table.jobs(seqs: rest.map(\.claim.seq))
        let holds = rest.contains { JobMachine.standing(rows[$0.claim.seq], $0.claim) == .holds }
        if holds, table.sharing == .short { throw JobTurnIsLong() }
        var told: Set<JobClaim> = []
        return try ends.map { end in
            if let job = finished[end.claim] { return job }
            let draw = Double.random(in: 0...1, using: &random)
            // Told twice in one turn: what the first word did counts.
            guard told.insert(end.claim).inserted else { return try self.end(end.claim, end.outcome, random: draw) }
            return try self.end(rows[end.claim.seq], end.claim, end.outcome, random: draw)
        }
    }

    /// Those that could be ended in the short way, by claim.
    private func finish(_ ends: [JobEnd]) throws -> [JobClaim: JobRecord] {
        guard !ends.isEmpty else { return [:] }
        var before: [JobRecord] = []
        var after: [JobClaim: JobRecord] = [:]
        for end in ends where after[end.claim] == nil {
            guard let job = end.job else { continue }
            before.append(job)
            after[end.claim] = JobMachine.end(job, .done, now: now, random: 0)
        }
        let written = try table.finish(after.map { JobFinish(job: $1, claim: $0) })
        guard !written.isEmpty else { return [:] }
        try makeRoom(before.filter { written.contains(JobClaim(seq: $0.seq, fence: $0.fence)) })
        return after.filter { written.contains($0.key) }
    }

    /// Ends an attempt; nil when the claim is stale. The job that this claim has already ended is answered unchanged.
    func end(_ claim: JobClaim, _ outcome: JobOutcome, random: Double) throws -> JobRecord? {
        try table.lock(seqs: [claim.seq])
        return try end(try table.job(seq: claim.seq), claim, outcome, random: random)
    }

    private func end(
        _ job: JobRecord?, _ claim: JobClaim, _ outcome: JobOutcome, random: Double
    ) throws -> JobRecord? {
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
        let end = JobEnd(claim, .done, job: job)
        if end.mayFinish, try !finish([end]).isEmpty { return }
        try table.lock(seqs: [claim.seq])
        guard JobMachine.standing(try table.job(seq: claim.seq), claim) == .holds,
            try self.end(claim, .done, random: 0) != nil
        else { throw JobError.staleFence }
    }

    /// - Throws: `JobError.staleFence`.
    package func progress(_ claim: JobClaim, fraction: Double, note: String) throws {
        try table.lock(seqs: [claim.seq])
        guard let job = try table.job(seq: claim.seq), JobMachine.standing(job, claim) == .holds else {
            throw JobError.staleFence
        }
        try table.update(JobMachine.progress(job, fraction: fraction, note: note))
    }

    /// Writes a job that stops running or waiting, makes room under its key, and tells those that wait for it.
    func leave(_ job: JobRecord, to next: JobRecord) throws {
        if next.state == .done, next.keepsDone <= .zero, next.children == 0, !next.isUniqueHeld {
            try table.remove(next)
        } else {
            try table.update(next)
        }
        try makeRoom([job])
        guard next.state.isOver, next.children > 0 else { return }
        if table.sharing == .guest {
            try table.leaveLater([JobLeaving(org: next.org, key: nil, isRunning: false, job: next.id)])
        } else {
            try tellChildren(next)
        }
    }

    /// Jobs that run no more, or will not, leave their room under their keys to the next.
    private func makeRoom(_ jobs: [JobRecord]) throws {
        let leavings: [JobLeaving] = jobs.compactMap { job in
            // One that was let back and then put aside by its rate has its room still.
            let isLetIn =
                job.state == .running || job.state == .scheduled || (job.state == .parked && job.readyAt != nil)
            guard let key = job.concurrency?.key, isLetIn else { return nil }
            return JobLeaving(org: job.org, key: key, isRunning: job.state == .running, job: nil)
        }
        guard !leavings.isEmpty else { return }
        if let freed { return freed.add(leavings) }
        if table.sharing == .guest { try table.leaveLater(leavings) } else { try giveRoom(leavings) }
    }

    private func giveRoom(_ leavings: [JobLeaving]) throws {
        let rooms = JobRoom.byKey(leavings)
        guard !rooms.isEmpty else { return }
        let leaves = rooms.mapValues(\.leaves).filter { $0.value > 0 }
        if !leaves.isEmpty { try table.leaveKeys(leaves) }
        let parked = try table.parked(under: rooms.mapValues(\.looks))
        if !parked.isEmpty { try table.updatePlaces(parked.map(JobMachine.unpark)) }
    }

    /// Does what ends in the transactions of others have left to be done.
    func settle() throws {
        while true {
            let leavings = try table.leavings(limit: JobLimits.purgeBatch)
            try giveRoom(leavings)
            for leaving in leavings {
                if let id = leaving.job, let job = try table.job(id: id, org: leaving.org), job.state.isOver {
                    try tellChildren(job)
                }
            }
            if leavings.count < JobLimits.purgeBatch { return }
        }
    }

    /// Done: those that wait for it come nearer. Dead or cancelled: they die, and so do theirs. Saying it twice does no
    /// harm: a child counts the parents that are still open.
    private func tellChildren(_ job: JobRecord) throws {
        var open = [job]
        while let parent = open.popLast() {
            for child in try table.children(of: parent.id, org: parent.org) where child.state == .waiting {
                guard parent.state != .done else {
                    let left = try table.parents(of: child.id, org: child.org).filter { $0 != .done }.count
                    if left != child.parentsOpen {
                        try table.update(JobMachine.parentDone(child, open: left, now: now))
                    }
                    continue
                }
                let dead = JobMachine.parentDied(child, now: now)
                try table.update(dead)
                if dead.children > 0 { open.append(dead) }
            }
        }
    }
}
