package import AurumCore
package import Database

/// What people see of the jobs of an organisation.
package struct JobReads: Sendable {
    /// Jobs of one type in one state.
    package struct Count: Sendable, Equatable {
        package var type: String
        package var state: JobState
        package var count: Int
        /// Of the scheduled: how many are due.
        package var due: Int
        /// Of the scheduled: the earliest time; else the earliest creation is not looked for.
        package var firstDue: Timestamp?
    }

    private let database: Database

    package init(database: Database) { self.database = database }

    /// Open and dead jobs by type and state. Nil for the jobs of everybody.
    package func counts(org: String?) async throws -> [Count] {
        try await database.read("jobs.counts") { tx in
            let (now, any, org) = (tx.now, org == nil, org ?? "")
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
            ).map(\.count)
        }
    }

    /// Jobs, newest first. `due` and `scheduled` are one state split by the clock.
    /// - Parameters:
    ///   - state: a `JobState` or `due`; nil for every state.
    ///   - before: only jobs older than this one.
    package func list(
        org: String, state: String?, type: String?, before: UID?, limit: Int
    ) async throws -> [JobRecord] {
        try await database.read("jobs.list") { tx in
            let now = tx.now
            let stored = state == "due" ? "scheduled" : state ?? ""
            let isSplit = state == "due" || state == "scheduled"
            let last =
                try before.flatMap {
                    try tx.value(Int64.self, "SELECT seq FROM jobs WHERE org = \(org) AND id = \($0)")
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

    /// What of an organisation runs now, by worker.
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

    /// Everything the page shows at once.
    package func overview(org: String, now: Timestamp) async throws -> JSONValue {
        var types: [String: [String: JSONValue]] = [:]
        for count in try await counts(org: org) {
            var row = types[count.type] ?? [:]
            if count.state == .scheduled {
                row["due"] = .integer(Int64(count.due))
                row["scheduled"] = .integer(Int64(count.count - count.due))
                if let first = count.firstDue {
                    row["lag_seconds"] = .number(count.due > 0 ? max(0, (now - first).seconds) : 0)
                    row["next_at"] = .string(first.rfc3339)
                }
            } else {
                row[count.state.rawValue] = .integer((row[count.state.rawValue]?.integer ?? 0) + Int64(count.count))
            }
            types[count.type] = row
        }
        let running = try await running(org: org)
        let workers = Dictionary(grouping: running, by: { $0.worker?.hex ?? "" })
        return [
            "now": .string(now.rfc3339),
            "queues": .array(
                types.sorted { $0.key < $1.key }.map { type, row in
                    .object(row.merging(["type": .string(type)]) { $1 })
                }),
            "workers": .array(
                workers.sorted { $0.key < $1.key }.map { worker, jobs in
                    [
                        "worker": .string(worker), "running": .integer(Int64(jobs.count)),
                        "lease_until": .string(jobs.compactMap(\.leaseUntil).min()?.rfc3339 ?? ""),
                    ]
                }),
            "running": .array(running.map { $0.json(now: now) }),
            "schedules": .array(
                try await schedules(org: org).map {
                    [
                        "name": .string($0.name), "type": .string($0.type), "plan": .string($0.planText),
                        "missed": .string($0.missedText), "next_at": .string($0.next.rfc3339),
                        "priority": .string($0.priority.rawValue),
                    ]
                }),
        ]
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
