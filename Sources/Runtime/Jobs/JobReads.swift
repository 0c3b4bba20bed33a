package import AurumCore
package import Database

/// What people see of the jobs of one store.
package protocol JobReading: Sendable {
    /// Open and dead jobs by type and state. Nil for the jobs of everybody.
    func counts(org: String?) async throws -> [JobReads.Count]
    /// Jobs, newest first. `due` and `scheduled` are one state split by the clock.
    /// - Parameters:
    ///   - state: a `JobState` or `due`; nil for every state.
    ///   - before: only jobs older than this one; to the millisecond where it is of another store, or gone.
    func list(org: String, state: String?, type: String?, before: UID?, limit: Int) async throws -> [JobRecord]
    /// What of an organisation runs now, by worker.
    func running(org: String) async throws -> [JobRecord]
    func schedules(org: String) async throws -> [JobSchedule]
}

/// What people see of the jobs of an organisation in the database.
package struct JobReads: JobReading {
    /// Jobs of one type in one state.
    package struct Count: Sendable, Equatable {
        package var type: String
        package var state: JobState
        package var count: Int
        /// Of the scheduled: how many are due.
        package var due: Int
        /// Of the scheduled: the earliest time; else the earliest creation is not looked for.
        package var firstDue: Timestamp?
        /// When it was counted, by the clock that `due` was decided by; nil for the clock of this process.
        package var countedAt: Timestamp?
    }

    private let database: Database
    private let time: DatabaseClock?

    /// - Parameter time: that of the store.
    package init(database: Database, time: DatabaseClock? = nil) { (self.database, self.time) = (database, time) }

    private func now(_ tx: Transaction) throws -> Timestamp { try time?.now(in: tx) ?? tx.now }

    package func counts(org: String?) async throws -> [Count] {
        try await database.read("jobs.counts") { tx in
            let (now, any, org) = (try self.now(tx), org == nil, org ?? "")
            // Each part names the column that leads the partial index of its state.
            return try tx.all(
                CountRow.self,
                """
                SELECT type, state, COUNT(*) AS n, SUM(CASE WHEN due_at <= \(now) THEN 1 ELSE 0 END) AS due,
                    MIN(due_at) AS first FROM jobs
                WHERE state = 'scheduled' AND priority >= 0 AND (\(any) = 1 OR org = \(org)) GROUP BY type, state
                UNION ALL SELECT type, state, COUNT(*), 0, NULL FROM jobs
                WHERE state = 'running' AND lease_until >= 0 AND (\(any) = 1 OR org = \(org)) GROUP BY type, state
                UNION ALL SELECT type, state, COUNT(*), 0, NULL FROM jobs
                WHERE state = 'waiting' AND org >= '' AND (\(any) = 1 OR org = \(org)) GROUP BY type, state
                UNION ALL SELECT type, state, COUNT(*), 0, NULL FROM jobs
                WHERE state = 'parked' AND ready_at IS NULL AND org >= '' AND (\(any) = 1 OR org = \(org))
                GROUP BY type, state
                UNION ALL SELECT type, state, COUNT(*), 0, NULL FROM jobs
                WHERE state = 'parked' AND ready_at >= 0 AND (\(any) = 1 OR org = \(org)) GROUP BY type, state
                UNION ALL SELECT type, state, COUNT(*), 0, NULL FROM jobs
                WHERE state = 'dead' AND org >= '' AND (\(any) = 1 OR org = \(org)) GROUP BY type, state
                """
            ).map { row in
                var count = row.count
                count.countedAt = now
                return count
            }
        }
    }

    package func list(
        org: String, state: String?, type: String?, before: UID?, limit: Int
    ) async throws -> [JobRecord] {
        try await database.read("jobs.list") { tx in
            let now = try self.now(tx)
            let stored = state == "due" ? "scheduled" : state ?? ""
            let isSplit = state == "due" || state == "scheduled"
            // Ids begin with the time: what lies below one that is not here came before it.
            let last =
                try before.flatMap {
                    try tx.value(
                        Int64.self,
                        "SELECT seq FROM jobs WHERE org = \(org) AND id >= \($0) ORDER BY id LIMIT 1")
                } ?? Int64.max
            return try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE org = \(org) AND seq < \(last) AND (\(state == nil) = 1 OR state = \(stored))
                    AND (\(isSplit) = 0 OR (due_at <= \(now)) = (\(state == "due") = 1))
                    AND (\(type == nil) = 1 OR type = \(type ?? "")) ORDER BY seq DESC LIMIT \(limit)
                """)
        }
    }

    package func running(org: String) async throws -> [JobRecord] {
        try await database.read("jobs.running") { tx in
            try tx.all(
                JobRecord.self,
                """
                SELECT * FROM jobs WHERE state = 'running' AND org = \(org) ORDER BY lease_until
                LIMIT \(JobLimits.listMax)
                """)
        }
    }

    package func schedules(org: String) async throws -> [JobSchedule] {
        try await database.read("jobs.schedules") { tx in
            try tx.all(JobSchedule.self, "SELECT * FROM job_schedules WHERE org = \(org) ORDER BY next_at, name")
        }
    }
}

private struct CountRow: RowDecodable {
    let count: JobReads.Count

    init(row: Row) throws {
        guard let state = JobState(rawValue: try row.get("state")) else {
            throw RowError.wrongType(column: "state", expected: "a state", found: "text")
        }
        count = JobReads.Count(
            type: try row.get("type"), state: state, count: try row.get("n"), due: try row.optional("due") ?? 0,
            firstDue: try row.optional("first"))
    }
}
