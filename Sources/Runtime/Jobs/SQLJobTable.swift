package import AurumCore
package import Database

/// The job tables inside one transaction. On SQLite a batch is one prepared statement run again and again, for there is
/// no way to the engine to be saved; on PostgreSQL it is one statement (`SQLJobTable+Postgres.swift`).
package struct SQLJobTable: JobTable {
    let tx: Transaction
    package let sharing: JobSharing
    var isPostgres: Bool { tx.dialect == .postgres }

    /// - Parameter sharing: what the transaction may do beside others; without a word it is somebody else's. On SQLite
    ///   there are no others.
    package init(_ tx: Transaction, sharing: JobSharing = .guest) {
        self.tx = tx
        self.sharing = tx.dialect == .postgres ? sharing : .alone
    }

    // MARK: rows

    package func insert(_ jobs: [JobRecord]) throws -> Set<UID> {
        // One row needs no lists.
        if isPostgres, jobs.count > 1 { return try insertTogether(jobs) }
        return Set(try jobs.filter(insert).map(\.id))
    }

    private func insert(_ job: JobRecord) throws -> Bool {
        try tx.run(
            """
            INSERT INTO jobs (org, id, type, version, payload, priority, state, due_at, place, attempt, attempts_max,
                losses, fence, unique_key, unique_scope, unique_held, concurrency_key, concurrency_limit, rate_key,
                rate_count, rate_micros, parents_open, children, failures, dead_reason, trace_id, schedule, tick,
                keeps_micros, created_at, finished_at, keep_until)
            VALUES (\(job.org), \(job.id), \(job.type), \(job.version), \(job.payload), \(job.priority.rank),
                \(job.state.rawValue), \(job.dueAt), \(job.place), \(job.attempt), \(job.attemptsMax),
                \(job.losses), \(job.fence), \(job.uniqueKey), \(job.uniqueness?.text), \(job.heldKey),
                \(job.concurrency?.key), \(job.concurrency?.limit), \(job.rate?.key), \(job.rate?.count),
                \(job.rate?.period.microseconds), \(job.parentsOpen), \(job.children), \(job.failuresText),
                \(job.deadReason?.rawValue), \(job.traceID), \(job.schedule), \(job.tick),
                \(job.keepsDone.microseconds), \(job.createdAt), \(job.finishedAt), \(job.keepUntil))
            ON CONFLICT DO NOTHING
            """) == 1
    }

    package func update(_ job: JobRecord) throws {
        try tx.run(
            """
            UPDATE jobs SET state = \(job.state.rawValue), due_at = \(job.dueAt), place = \(job.place),
                attempt = \(job.attempt), losses = \(job.losses), fence = \(job.fence), worker = \(job.worker),
                lease_until = \(job.leaseUntil), cancel_at = \(job.cancelAt), unique_held = \(job.heldKey),
                ready_at = \(job.readyAt), parents_open = \(job.parentsOpen), children = \(job.children),
                progress_ppm = \(job.progressMillionths), note = \(job.note), failures = \(job.failuresText),
                dead_reason = \(job.deadReason?.rawValue), started_at = \(job.startedAt),
                finished_at = \(job.finishedAt), keep_until = \(job.keepUntil)
            WHERE seq = \(job.seq)
            """)
    }

    package func updateClaimed(_ jobs: [JobRecord]) throws {
        if isPostgres { return try updateClaimedTogether(jobs) }
        for job in jobs {
            try tx.run(
                """
                UPDATE jobs SET state = 'running', attempt = \(job.attempt), fence = \(job.fence),
                    worker = \(job.worker), lease_until = \(job.leaseUntil), started_at = \(job.startedAt),
                    ready_at = NULL, unique_held = \(job.heldKey)
                WHERE seq = \(job.seq)
                """)
        }
    }

    package func updatePlaces(_ jobs: [JobRecord]) throws {
        if isPostgres { return try updatePlacesTogether(jobs) }
        for job in jobs {
            try tx.run(
                "UPDATE jobs SET state = \(job.state.rawValue), ready_at = \(job.readyAt) WHERE seq = \(job.seq)")
        }
    }

    package func finish(_ ends: [JobFinish]) throws -> Set<JobClaim> {
        if isPostgres, ends.count > 1 { return try finishTogether(ends) }
        var written: Set<JobClaim> = []
        for end in ends where try finish(end.job, end.claim) { written.insert(end.claim) }
        return written
    }

    /// A lease says that a job runs, as the table itself demands.
    private func finish(_ job: JobRecord, _ claim: JobClaim) throws -> Bool {
        try tx.run(
            """
            UPDATE jobs SET state = \(job.state.rawValue), worker = NULL, lease_until = NULL,
                unique_held = \(job.heldKey), finished_at = \(job.finishedAt), keep_until = \(job.keepUntil)
            WHERE seq = \(claim.seq) AND lease_until IS NOT NULL AND fence = \(claim.fence) AND children = 0
            """) == 1
    }

    package func releaseUnique(_ holder: JobRecord) throws {
        try tx.run(
            """
            UPDATE jobs SET unique_held = NULL WHERE seq = \(holder.seq) AND unique_held = \(holder.uniqueKey)
            """)
    }

    /// Locks the row of a claim; false when it does not hold in the sense of `JobMachine.standing`.
    func hold(_ claim: JobClaim) throws -> Bool {
        try tx.run(
            """
            UPDATE jobs SET fence = \(claim.fence)
            WHERE seq = \(claim.seq) AND lease_until IS NOT NULL AND fence = \(claim.fence)
            """) == 1
    }

    package func remove(_ job: JobRecord) throws { try tx.run("DELETE FROM jobs WHERE seq = \(job.seq)") }

    // MARK: look-ups

    package func job(seq: Int64) throws -> JobRecord? {
        try tx.one(JobRecord.self, "SELECT * FROM jobs WHERE seq = \(seq)")
    }

    package func jobs(seqs: [Int64]) throws -> [Int64: JobRecord] {
        if isPostgres { return try jobsTogether(seqs: seqs) }
        return try seqs.reduce(into: [:]) { $0[$1] = try job(seq: $1) }
    }

    package func job(id: UID, org: String) throws -> JobRecord? {
        try tx.one(JobRecord.self, "SELECT * FROM jobs WHERE org = \(org) AND id = \(id)")
    }

    /// Beside others they are kept from starting and from ending until the transaction ends: what it wrote for the job
    /// that it found there, that job will read.
    package func holders(of keys: [JobUniqueKey]) throws -> [JobUniqueKey: JobRecord] {
        if isPostgres, keys.count > 1 { return try holdersTogether(keys) }
        var holders: [JobUniqueKey: JobRecord] = [:]
        for key in keys {
            holders[key] =
                isPostgres
                ? try tx.one(
                    JobRecord.self,
                    """
                    SELECT * FROM jobs WHERE org = \(key.org) AND type = \(key.type) AND unique_held = \(key.key)
                    FOR SHARE
                    """)
                : try tx.one(
                    JobRecord.self,
                    """
                    SELECT * FROM jobs WHERE org = \(key.org) AND type = \(key.type) AND unique_held = \(key.key)
                    """)
        }
        return holders
    }

    package func due(_ priority: JobPriority, at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try tx.all(
            JobRecord.self,
            """
            SELECT * FROM jobs WHERE state = 'scheduled' AND priority = \(priority.rank) AND due_at <= \(now)
            ORDER BY due_at, seq LIMIT \(limit)
            """)
    }

    package func front(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        isPostgres ? try lockedFront(at: now, limit: limit) : try mergedFront(at: now, limit: limit)
    }

    /// Whether a turn would find something to claim or to do.
    func hasDue(at now: Timestamp) throws -> Bool {
        try preferIndexes()
        return try tx.value(
            Int.self,
            """
            SELECT CASE WHEN
                EXISTS (SELECT 1 FROM jobs WHERE state = 'scheduled' AND priority = 0 AND due_at <= \(now))
                OR EXISTS (SELECT 1 FROM jobs WHERE state = 'scheduled' AND priority = 1 AND due_at <= \(now))
                OR EXISTS (SELECT 1 FROM jobs WHERE state = 'scheduled' AND priority = 2 AND due_at <= \(now))
                OR EXISTS (SELECT 1 FROM jobs WHERE state = 'scheduled' AND priority = 3 AND due_at <= \(now))
                OR EXISTS (SELECT 1 FROM jobs WHERE state = 'parked' AND ready_at IS NOT NULL AND ready_at <= \(now))
                OR EXISTS (SELECT 1 FROM job_leavings)
                THEN 1 ELSE 0 END
            """) == 1
    }

    package func ready(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try unlocked {
            try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE state = 'parked' AND ready_at IS NOT NULL AND ready_at <= \(now)
                ORDER BY ready_at, seq LIMIT \(limit)
                """)
        }
    }

    package func parked(under keys: [JobKeyPlace: Int]) throws -> [JobRecord] {
        if isPostgres { return try parkedTogether(keys) }
        return try keys.flatMap { place, limit in
            try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE state = 'parked' AND ready_at IS NULL AND org = \(place.org)
                    AND concurrency_key = \(place.key) ORDER BY place, seq LIMIT \(limit)
                """)
        }
    }

    package func lost(before now: Timestamp, limit: Int) throws -> [JobRecord] {
        try unlocked {
            try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE state = 'running' AND lease_until < \(now) ORDER BY lease_until, seq
                LIMIT \(limit)
                """)
        }
    }

    package func running(limit: Int) throws -> [JobRecord] {
        try tx.all(
            JobRecord.self, "SELECT * FROM jobs WHERE state = 'running' ORDER BY lease_until, seq LIMIT \(limit)")
    }

    package func disobedient(since moment: Timestamp, limit: Int) throws -> [JobRecord] {
        try unlocked {
            try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE state = 'running' AND lease_until >= 0 AND cancel_at <= \(moment)
                ORDER BY lease_until, seq LIMIT \(limit)
                """)
        }
    }

    package func renew(_ claims: [JobClaim], worker: UID, until: Timestamp) throws -> [HeldJob] {
        let seqs = claims.map(\.seq)
        // A job that a transaction is at is renewed the next time; the leases of the others do not wait for it.
        let free = try lockFree(seqs: seqs)
        let rows = try tx.all(
            HeldRow.self,
            """
            SELECT seq, fence, cancel_at FROM jobs
            WHERE state = 'running' AND worker = \(worker) AND seq IN (\(list: seqs))
            """)
        let known = Set(claims)
        let held = rows.map(\.held).filter { known.contains($0.claim) }
        try tx.run(
            """
            UPDATE jobs SET lease_until = \(until)
            WHERE state = 'running' AND worker = \(worker)
                AND seq IN (\(list: held.map(\.claim.seq).filter(free.contains)))
            """)
        return held
    }

    package func children(of parent: UID, org: String) throws -> [JobRecord] {
        if isPostgres { try lockChildren(of: parent, org: org) }
        return try childRows(of: parent, org: org)
    }

    private func childRows(of parent: UID, org: String) throws -> [JobRecord] {
        try tx.all(
            JobRecord.self,
            """
            SELECT jobs.* FROM job_parents JOIN jobs ON jobs.org = job_parents.org AND jobs.id = job_parents.child
            WHERE job_parents.org = \(org) AND job_parents.parent = \(parent) ORDER BY jobs.seq
            """)
    }

    package func addParent(_ parent: UID, of child: UID, org: String) throws {
        try tx.run("INSERT INTO job_parents (org, parent, child) VALUES (\(org), \(parent), \(child))")
    }

    package func parents(of child: UID, org: String) throws -> [JobState] {
        try tx.values(
            String.self,
            """
            SELECT jobs.state FROM job_parents JOIN jobs ON jobs.org = job_parents.org AND jobs.id = job_parents.parent
            WHERE job_parents.org = \(org) AND job_parents.child = \(child) ORDER BY jobs.seq
            """
        ).compactMap { JobState(rawValue: $0) }
    }

    // MARK: keys

    package func usages(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: Int] {
        if isPostgres { return try usagesTogether(keys) }
        var usages: [JobKeyPlace: Int] = [:]
        for place in keys {
            usages[place] = try tx.value(
                Int.self, "SELECT running FROM job_keys WHERE org = \(place.org) AND key = \(place.key)")
        }
        return usages
    }

    package func setUsages(_ counts: [JobKeyPlace: Int]) throws {
        if isPostgres { return try setUsagesTogether(counts) }
        for (place, count) in counts {
            try tx.run(
                """
                INSERT INTO job_keys (org, key, running) VALUES (\(place.org), \(place.key), \(count))
                ON CONFLICT (org, key) DO UPDATE SET running = excluded.running
                """)
        }
    }

    package func leaveKeys(_ counts: [JobKeyPlace: Int]) throws {
        if isPostgres { return try leaveKeysTogether(counts) }
        for (place, count) in counts {
            try tx.run(
                """
                UPDATE job_keys SET running = CASE WHEN running > \(count) THEN running - \(count) ELSE 0 END
                WHERE org = \(place.org) AND key = \(place.key)
                """)
        }
    }

    package func rateStates(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: JobRateState] {
        if isPostgres { return try rateStatesTogether(keys) }
        var states: [JobKeyPlace: JobRateState] = [:]
        for place in keys {
            states[place] =
                try tx.one(
                    RateRow.self,
                    "SELECT used_at, promised_at FROM job_rates WHERE org = \(place.org) AND key = \(place.key)"
                )?.state
        }
        return states
    }

    package func setRateStates(_ states: [JobKeyPlace: JobRateState]) throws {
        if isPostgres { return try setRateStatesTogether(states) }
        for (place, state) in states {
            try tx.run(
                """
                INSERT INTO job_rates (org, key, used_at, promised_at)
                VALUES (\(place.org), \(place.key), \(state.used), \(state.promised))
                ON CONFLICT (org, key) DO UPDATE SET used_at = excluded.used_at, promised_at = excluded.promised_at
                """)
        }
    }

    package func leaveLater(_ leavings: [JobLeaving]) throws {
        for leaving in leavings {
            try tx.run(
                """
                INSERT INTO job_leavings (org, key, leaves, job, created_at)
                VALUES (\(leaving.org), \(leaving.key), \(leaving.isRunning), \(leaving.job), \(tx.now))
                """)
        }
    }

    /// Nobody else takes any meanwhile: this is done by whole transactions, one at a time.
    package func leavings(limit: Int) throws -> [JobLeaving] {
        let rows = try tx.all(
            LeavingRow.self, "SELECT seq, org, key, leaves, job FROM job_leavings ORDER BY seq LIMIT \(limit)")
        guard !rows.isEmpty else { return [] }
        try tx.run("DELETE FROM job_leavings WHERE seq IN (\(list: rows.map(\.seq)))")
        return rows.map(\.leaving)
    }

    package func waiting(org: String, limit: Int) throws -> Int {
        if isPostgres { return try countWaiting(org: org, limit: limit) }
        return try tx.value(
            Int.self,
            """
            SELECT COUNT(*) FROM (
                SELECT 1 FROM jobs WHERE org = \(org) AND state IN ('waiting', 'scheduled', 'parked')
                LIMIT \(limit)) AS counted
            """) ?? 0
    }

    package func dead(org: String, type: String?, after: DeadPlace, limit: Int) throws -> [JobRecord] {
        try tx.all(
            JobRecord.self,
            """
            SELECT * FROM jobs WHERE state = 'dead' AND org = \(org) AND finished_at >= \(after.finishedAt)
                AND (finished_at > \(after.finishedAt) OR seq > \(after.seq))
                AND (\(type == nil) = 1 OR type = \(type ?? "")) ORDER BY finished_at, seq LIMIT \(limit)
            """)
    }

    package func purge(before now: Timestamp, limit: Int) throws -> Int {
        let old = try tx.all(
            PurgedRow.self,
            """
            SELECT seq, org, id FROM jobs WHERE keep_until IS NOT NULL AND keep_until < \(now)
                AND NOT EXISTS (
                    SELECT 1 FROM job_leavings WHERE job_leavings.org = jobs.org AND job_leavings.job = jobs.id)
            ORDER BY keep_until LIMIT \(limit)
            """)
        guard !old.isEmpty else { return 0 }
        // A key that nothing runs under needs no row.
        try tx.run("DELETE FROM job_keys WHERE running = 0")
        // Nor does a rate whose times have passed: it begins anew just the same.
        try tx.run("DELETE FROM job_rates WHERE used_at <= \(now) AND promised_at <= \(now)")
        for (org, rows) in Dictionary(grouping: old, by: \.org) {
            try tx.run("DELETE FROM job_parents WHERE org = \(org) AND child IN (\(list: rows.map(\.id)))")
        }
        return try tx.run("DELETE FROM jobs WHERE seq IN (\(list: old.map(\.seq)))")
    }

    // MARK: schedules

    package func schedule(_ name: String) throws -> JobSchedule? {
        try tx.one(JobSchedule.self, "SELECT * FROM job_schedules WHERE name = \(name)")
    }

    package func schedules() throws -> [JobSchedule] {
        try tx.all(JobSchedule.self, "SELECT * FROM job_schedules ORDER BY name")
    }

    package func save(_ schedule: JobSchedule) throws {
        try tx.run(
            """
            INSERT INTO job_schedules (name, org, plan, missed, type, version, priority, attempts_max, keeps_micros,
                payload, next_at, created_at)
            VALUES (\(schedule.name), \(schedule.org), \(schedule.planText), \(schedule.missedText), \(schedule.type),
                \(schedule.version), \(schedule.priority.rank), \(schedule.attemptsMax),
                \(schedule.keepsDone.microseconds), \(schedule.payload), \(schedule.next), \(tx.now))
            ON CONFLICT (name) DO UPDATE SET org = excluded.org, plan = excluded.plan, missed = excluded.missed,
                type = excluded.type, version = excluded.version, priority = excluded.priority,
                attempts_max = excluded.attempts_max, keeps_micros = excluded.keeps_micros,
                payload = excluded.payload, next_at = excluded.next_at
            """)
    }

    package func move(_ schedule: JobSchedule, to next: Timestamp) throws -> Bool {
        try tx.run(
            "UPDATE job_schedules SET next_at = \(next) WHERE name = \(schedule.name) AND next_at = \(schedule.next)")
            == 1
    }

    package func removeSchedule(_ name: String) throws {
        try tx.run("DELETE FROM job_schedules WHERE name = \(name)")
    }
}
