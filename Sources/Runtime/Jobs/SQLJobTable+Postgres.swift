package import AurumCore
internal import Database

/// Whole batches in one statement each, and the locks that several processes need (docs/decisions/0012). Lists travel
/// as one parameter, so that a statement has one text whatever their lengths.
extension SQLJobTable {
    // MARK: locks

    /// Waits until no other transaction of the store does more than claim unkeyed jobs and end those that nobody waits
    /// for. Before any row is locked, so that nobody waits for one who waits here; so it may wait for longer than for
    /// a row, nearly as long as a statement may take.
    package func waitForOthers() throws {
        guard isPostgres else { return }
        try tx.run(
            """
            SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
                set_config('lock_timeout', '4500', true)
            """)
        try tx.run(
            """
            SELECT pg_advisory_xact_lock(hashtextextended('aurum jobs ' || current_schema(), 0)),
                set_config('lock_timeout', '2000', true)
            """)
    }

    package func lock(seqs: [Int64]) throws {
        guard isPostgres else { return }
        try tx.run("SELECT seq FROM jobs WHERE seq = ANY(\(array: seqs)) ORDER BY seq FOR UPDATE")
    }

    package func lock(ids: [UID], org: String) throws {
        guard isPostgres else { return }
        try tx.run("SELECT seq FROM jobs WHERE org = \(org) AND id = ANY(\(array: ids)) ORDER BY seq FOR UPDATE")
    }

    func lockChildren(of parent: UID, org: String) throws {
        try tx.run(
            """
            SELECT jobs.seq FROM job_parents
            JOIN jobs ON jobs.org = job_parents.org AND jobs.id = job_parents.child
            WHERE job_parents.org = \(org) AND job_parents.parent = \(parent) ORDER BY jobs.seq FOR UPDATE OF jobs
            """)
    }

    /// Those of the found jobs that nobody else is at, locked and as they are now; the rest is left to its holder.
    func unlocked(_ find: () throws -> [JobRecord]) throws -> [JobRecord] {
        let found = try find()
        guard isPostgres, !found.isEmpty else { return found }
        let free = try lockFree(seqs: found.map(\.seq))
        return try find().filter { free.contains($0.seq) }
    }

    /// Locks those that nobody else is at, and says which.
    func lockFree(seqs: [Int64]) throws -> Set<Int64> {
        guard isPostgres else { return Set(seqs) }
        return Set(
            try tx.values(
                Int64.self,
                "SELECT seq FROM jobs WHERE seq = ANY(\(array: seqs)) ORDER BY seq FOR UPDATE SKIP LOCKED"))
    }

    // MARK: claims

    /// For the rest of the transaction the planner does without reading whole tables. A prepared statement keeps its
    /// plan, and a table of jobs is empty on the day when that is made.
    func preferIndexes() throws {
        guard isPostgres else { return }
        try tx.run(
            "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)")
    }

    /// Whether the jobs that a turn may claim have keys, times have come, or a guest has left something: then the turn
    /// must be a whole one. Locks nothing.
    func needsWhole(at now: Timestamp, limit: Int) throws -> Bool {
        try tx.value(
            Int.self,
            """
            SELECT CASE WHEN EXISTS (SELECT 1 FROM job_leavings)
                    OR EXISTS (
                        SELECT 1 FROM jobs WHERE state = 'parked' AND ready_at IS NOT NULL AND ready_at <= \(now))
                    OR EXISTS (
                        SELECT 1 FROM (
                            (SELECT concurrency_key, rate_key FROM jobs
                                WHERE state = 'scheduled' AND priority = 0 AND due_at <= \(now)
                                ORDER BY due_at, seq LIMIT \(limit))
                            UNION ALL (SELECT concurrency_key, rate_key FROM jobs
                                WHERE state = 'scheduled' AND priority = 1 AND due_at <= \(now)
                                ORDER BY due_at, seq LIMIT \(limit))
                            UNION ALL (SELECT concurrency_key, rate_key FROM jobs
                                WHERE state = 'scheduled' AND priority = 2 AND due_at <= \(now)
                                ORDER BY due_at, seq LIMIT \(limit))
                            UNION ALL (SELECT concurrency_key, rate_key FROM jobs
                                WHERE state = 'scheduled' AND priority = 3 AND due_at <= \(now)
                                ORDER BY due_at, seq LIMIT \(limit))) AS front
                        WHERE concurrency_key IS NOT NULL OR rate_key IS NOT NULL)
                THEN 1 ELSE 0 END
            """) == 1
    }

    /// The first due jobs that no other transaction has locked, locked for this one. How many come from each priority
    /// is decided on what is due, whoever holds it; so no more rows are locked than are wanted.
    func lockedFront(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try tx.all(
            JobRecord.self,
            """
            WITH front AS MATERIALIZED (
                SELECT priority FROM (
                    (SELECT priority, place, seq FROM jobs
                        WHERE state = 'scheduled' AND priority = 0 AND due_at <= \(now)
                        ORDER BY due_at, seq LIMIT \(limit))
                    UNION ALL (SELECT priority, place, seq FROM jobs
                        WHERE state = 'scheduled' AND priority = 1 AND due_at <= \(now)
                        ORDER BY due_at, seq LIMIT \(limit))
                    UNION ALL (SELECT priority, place, seq FROM jobs
                        WHERE state = 'scheduled' AND priority = 2 AND due_at <= \(now)
                        ORDER BY due_at, seq LIMIT \(limit))
                    UNION ALL (SELECT priority, place, seq FROM jobs
                        WHERE state = 'scheduled' AND priority = 3 AND due_at <= \(now)
                        ORDER BY due_at, seq LIMIT \(limit))) AS due
                ORDER BY place, seq LIMIT \(limit)),
            high AS MATERIALIZED (SELECT * FROM jobs
                WHERE state = 'scheduled' AND priority = 0 AND due_at <= \(now) ORDER BY due_at, seq
                LIMIT (SELECT COUNT(*) FROM front WHERE priority = 0) FOR UPDATE SKIP LOCKED),
            normal AS MATERIALIZED (SELECT * FROM jobs
                WHERE state = 'scheduled' AND priority = 1 AND due_at <= \(now) ORDER BY due_at, seq
                LIMIT (SELECT COUNT(*) FROM front WHERE priority = 1) FOR UPDATE SKIP LOCKED),
            low AS MATERIALIZED (SELECT * FROM jobs
                WHERE state = 'scheduled' AND priority = 2 AND due_at <= \(now) ORDER BY due_at, seq
                LIMIT (SELECT COUNT(*) FROM front WHERE priority = 2) FOR UPDATE SKIP LOCKED),
            idle AS MATERIALIZED (SELECT * FROM jobs
                WHERE state = 'scheduled' AND priority = 3 AND due_at <= \(now) ORDER BY due_at, seq
                LIMIT (SELECT COUNT(*) FROM front WHERE priority = 3) FOR UPDATE SKIP LOCKED)
            SELECT * FROM (
                SELECT * FROM high UNION ALL SELECT * FROM normal UNION ALL SELECT * FROM low
                UNION ALL SELECT * FROM idle) AS claimed
            ORDER BY place, seq
            """)
    }

    func updateClaimedTogether(_ jobs: [JobRecord]) throws {
        let seqs = jobs.map(\.seq)
        try tx.run(
            """
            UPDATE jobs SET state = 'running', attempt = given.attempt, fence = given.fence, worker = given.worker,
                lease_until = given.lease_until, started_at = given.started_at, ready_at = NULL,
                unique_held = given.unique_held
            FROM unnest(\(array: seqs), \(array: jobs.map { Int64($0.attempt) }), \(array: jobs.map(\.fence)),
                    \(array: jobs.map(\.worker)), \(array: jobs.map { $0.leaseUntil?.microseconds }),
                    \(array: jobs.map { $0.startedAt?.microseconds }), \(array: jobs.map(\.heldKey)))
                AS given (seq, attempt, fence, worker, lease_until, started_at, unique_held)
            WHERE jobs.seq = given.seq AND jobs.seq = ANY(\(array: seqs))
            """)
    }

    func updatePlacesTogether(_ jobs: [JobRecord]) throws {
        let seqs = jobs.map(\.seq)
        try tx.run(
            """
            UPDATE jobs SET state = given.state, ready_at = given.ready_at
            FROM unnest(\(array: seqs), \(array: jobs.map(\.state.rawValue)),
                \(array: jobs.map { $0.readyAt?.microseconds })) AS given (seq, state, ready_at)
            WHERE jobs.seq = given.seq AND jobs.seq = ANY(\(array: seqs))
            """)
    }

    // MARK: ends

    /// Locks row by row in the order of `seq`, as everybody does. A lease says that a job runs, as the table itself
    /// demands; were its state asked for, the planner would look for each row among all that run.
    func finishTogether(_ ends: [JobFinish]) throws -> Set<JobClaim> {
        let seqs = ends.map(\.claim.seq)
        let rows = try tx.all(
            ClaimRow.self,
            """
            WITH ended AS MATERIALIZED (
                SELECT held.seq, given.state, given.unique_held, given.finished_at, given.keep_until
                FROM (SELECT * FROM unnest(\(array: seqs), \(array: ends.map(\.claim.fence)),
                        \(array: ends.map(\.job.state.rawValue)), \(array: ends.map(\.job.heldKey)),
                        \(array: ends.map { $0.job.finishedAt?.microseconds }),
                        \(array: ends.map { $0.job.keepUntil?.microseconds }))
                    AS list (seq, fence, state, unique_held, finished_at, keep_until) ORDER BY seq) AS given
                CROSS JOIN LATERAL (
                    SELECT jobs.seq FROM jobs
                    WHERE jobs.seq = given.seq AND jobs.lease_until IS NOT NULL AND jobs.fence = given.fence
                        AND jobs.children = 0 FOR UPDATE) AS held)
            UPDATE jobs SET state = ended.state, worker = NULL, lease_until = NULL,
                unique_held = ended.unique_held, finished_at = ended.finished_at, keep_until = ended.keep_until
            FROM ended WHERE jobs.seq = ended.seq AND jobs.seq = ANY(ARRAY(SELECT seq FROM ended))
            RETURNING jobs.seq, jobs.fence
            """)
        return Set(rows.map(\.claim))
    }

    // MARK: rows

    /// In the order of the list, so that `seq` rises with it.
    func insertTogether(_ jobs: [JobRecord]) throws -> Set<UID> {
        Set(
            try tx.values(
                UID.self,
                """
                INSERT INTO jobs (org, id, type, version, payload, priority, state, due_at, place, attempt,
                    attempts_max, losses, fence, unique_key, unique_scope, unique_held, concurrency_key,
                    concurrency_limit, rate_key, rate_count, rate_micros, parents_open, children, failures,
                    dead_reason, trace_id, schedule, tick, keeps_micros, created_at, finished_at, keep_until)
                SELECT * FROM unnest(\(array: jobs.map(\.org)), \(array: jobs.map(\.id)), \(array: jobs.map(\.type)),
                    \(array: jobs.map { Int64($0.version) }), \(array: jobs.map(\.payload)),
                    \(array: jobs.map { Int64($0.priority.rank) }), \(array: jobs.map(\.state.rawValue)),
                    \(array: jobs.map(\.dueAt.microseconds)), \(array: jobs.map(\.place)),
                    \(array: jobs.map { Int64($0.attempt) }), \(array: jobs.map { Int64($0.attemptsMax) }),
                    \(array: jobs.map { Int64($0.losses) }), \(array: jobs.map(\.fence)),
                    \(array: jobs.map(\.uniqueKey)), \(array: jobs.map { $0.uniqueness?.text }),
                    \(array: jobs.map(\.heldKey)), \(array: jobs.map { $0.concurrency?.key }),
                    \(array: jobs.map { ($0.concurrency?.limit).map { Int64($0) } }),
                    \(array: jobs.map { $0.rate?.key }), \(array: jobs.map { ($0.rate?.count).map { Int64($0) } }),
                    \(array: jobs.map { $0.rate?.period.microseconds }),
                    \(array: jobs.map { Int64($0.parentsOpen) }), \(array: jobs.map { Int64($0.children) }),
                    \(array: jobs.map(\.failuresText)), \(array: jobs.map { $0.deadReason?.rawValue }),
                    \(array: jobs.map(\.traceID)), \(array: jobs.map(\.schedule)),
                    \(array: jobs.map { $0.tick?.microseconds }), \(array: jobs.map(\.keepsDone.microseconds)),
                    \(array: jobs.map(\.createdAt.microseconds)),
                    \(array: jobs.map { $0.finishedAt?.microseconds }),
                    \(array: jobs.map { $0.keepUntil?.microseconds }))
                ON CONFLICT DO NOTHING RETURNING id
                """))
    }

    func jobsTogether(seqs: [Int64]) throws -> [Int64: JobRecord] {
        let rows = try tx.all(JobRecord.self, "SELECT * FROM jobs WHERE seq = ANY(\(array: seqs))")
        return Dictionary(rows.map { ($0.seq, $0) }, uniquingKeysWith: { $1 })
    }

    /// Neither running nor over, in the words of the index `jobs_counted`.
    func countWaiting(org: String, limit: Int) throws -> Int {
        try tx.value(
            Int.self,
            """
            SELECT COUNT(*) FROM (
                SELECT 1 FROM jobs WHERE org = \(org) AND finished_at IS NULL AND lease_until IS NULL
                LIMIT \(limit)) AS counted
            """) ?? 0
    }

    /// Each key is looked up by itself: `OFFSET 0` keeps the planner from reading the whole index instead. Holders are
    /// locked as in `SQLJobTable.holders`.
    func holdersTogether(_ keys: [JobUniqueKey]) throws -> [JobUniqueKey: JobRecord] {
        let rows = try tx.all(
            JobRecord.self,
            """
            SELECT jobs.* FROM unnest(\(array: keys.map(\.org)), \(array: keys.map(\.type)), \(array: keys.map(\.key)))
                AS given (org, type, key)
            CROSS JOIN LATERAL (
                SELECT * FROM jobs
                WHERE jobs.org = given.org AND jobs.type = given.type AND jobs.unique_held = given.key OFFSET 0
                FOR SHARE) AS jobs
            """)
        return Dictionary(
            rows.compactMap { row in
                row.uniqueKey.map { (JobUniqueKey(org: row.org, type: row.type, key: $0), row) }
            }, uniquingKeysWith: { $1 })
    }

    // MARK: keys

    /// Of whole transactions only, so that nobody parks or unparks a job meanwhile; a guest may cancel one, or wait for
    /// one as a parent. What is answered is locked.
    func parkedTogether(_ keys: [JobKeyPlace: Int]) throws -> [JobRecord] {
        let places = Array(keys)
        var locked: Set<Int64> = []
        while true {
            let found = try tx.all(
                JobRecord.self,
                """
                SELECT jobs.* FROM unnest(\(array: places.map(\.key.org)), \(array: places.map(\.key.key)),
                    \(array: places.map { Int64($0.value) })) AS given (org, key, wanted)
                CROSS JOIN LATERAL (
                    SELECT * FROM jobs
                    WHERE jobs.state = 'parked' AND jobs.ready_at IS NULL AND jobs.org = given.org
                        AND jobs.concurrency_key = given.key
                    ORDER BY jobs.place, jobs.seq LIMIT given.wanted) AS jobs
                """)
            let new = found.map(\.seq).filter { !locked.contains($0) }
            if new.isEmpty { return found }
            try lock(seqs: new)
            locked.formUnion(new)
        }
    }

    func usagesTogether(_ keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: Int] {
        let places = Array(keys)
        let rows = try tx.all(
            UsageRow.self,
            """
            SELECT job_keys.org, job_keys.key, job_keys.running
            FROM unnest(\(array: places.map(\.org)), \(array: places.map(\.key))) AS given (org, key)
            JOIN job_keys ON job_keys.org = given.org AND job_keys.key = given.key
            """)
        return Dictionary(rows.map { ($0.place, $0.running) }, uniquingKeysWith: { $1 })
    }

    func setUsagesTogether(_ counts: [JobKeyPlace: Int]) throws {
        let places = Array(counts)
        try tx.run(
            """
            INSERT INTO job_keys (org, key, running)
            SELECT * FROM unnest(\(array: places.map(\.key.org)), \(array: places.map(\.key.key)),
                \(array: places.map { Int64($0.value) }))
            ON CONFLICT (org, key) DO UPDATE SET running = excluded.running
            """)
    }

    func leaveKeysTogether(_ counts: [JobKeyPlace: Int]) throws {
        let places = Array(counts)
        try tx.run(
            """
            UPDATE job_keys SET running = GREATEST(0, job_keys.running - given.leaves)
            FROM unnest(\(array: places.map(\.key.org)), \(array: places.map(\.key.key)),
                \(array: places.map { Int64($0.value) })) AS given (org, key, leaves)
            WHERE job_keys.org = given.org AND job_keys.key = given.key
            """)
    }

    func rateStatesTogether(_ keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: JobRateState] {
        let places = Array(keys)
        let rows = try tx.all(
            KeyedRateRow.self,
            """
            SELECT job_rates.org, job_rates.key, job_rates.used_at, job_rates.promised_at
            FROM unnest(\(array: places.map(\.org)), \(array: places.map(\.key))) AS given (org, key)
            JOIN job_rates ON job_rates.org = given.org AND job_rates.key = given.key
            """)
        return Dictionary(rows.map { ($0.place, $0.state) }, uniquingKeysWith: { $1 })
    }

    func setRateStatesTogether(_ states: [JobKeyPlace: JobRateState]) throws {
        let places = Array(states)
        try tx.run(
            """
            INSERT INTO job_rates (org, key, used_at, promised_at)
            SELECT * FROM unnest(\(array: places.map(\.key.org)), \(array: places.map(\.key.key)),
                \(array: places.map(\.value.used.microseconds)), \(array: places.map(\.value.promised.microseconds)))
            ON CONFLICT (org, key) DO UPDATE SET used_at = excluded.used_at, promised_at = excluded.promised_at
            """)
    }
}
