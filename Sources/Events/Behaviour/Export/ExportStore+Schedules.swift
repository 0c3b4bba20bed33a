internal import AurumCore
internal import Database
internal import Synchronization

/// The tables of schedules and of attempts to post.
extension ExportStore {
    /// Exports of one organisation that wait or run, from which on schedules wait: room is left for those who ask.
    private static let scheduledOpenMax = 10
    /// Schedules of one look.
    static let dueAtOnce = 100

    // MARK: schedules

    func set(_ schedule: ExportSchedule) async throws -> ExportSchedule {
        let (org, name) = (schedule.org, schedule.name)
        let plan = JSONValue.object(schedule.plan?.members ?? [:])
        return try await database.write("exports.setSchedule") { tx in
            let others = try tx.value(
                Int.self, "SELECT COUNT(*) FROM export_schedules WHERE org = \(org) AND name <> \(name)")
            guard others ?? 0 < ExportService.schedulesMax else { throw ExportError.tooManySchedules }
            let known = try tx.one(
                ExportSchedule.self, "SELECT * FROM export_schedules WHERE org = \(org) AND name = \(name)")
            // Another plan goes on from where the one before it was, so that nothing is left out or comes twice.
            var (period, due) = (schedule.period, schedule.dueAt)
            if let known, let first = schedule.plan?.period(holding: known.period.lowerBound) {
                period = known.period.lowerBound..<first.upperBound
                due = period.upperBound + .seconds(schedule.delayMinutes * 60)
            }
            try tx.run(
                """
                INSERT INTO export_schedules
                    (org, name, plan, request, secret, delay_minutes, period_from, period_to, due_at, actor, revision,
                    created_at)
                VALUES (\(org), \(name), \(plan), \(schedule.request), \(schedule.secret), \(schedule.delayMinutes),
                        \(period.lowerBound), \(period.upperBound), \(due), \(schedule.actor), \(schedule.revision),
                        \(tx.now))
                ON CONFLICT (org, name) DO UPDATE SET
                    plan = excluded.plan, request = excluded.request, secret = excluded.secret,
                    delay_minutes = excluded.delay_minutes, period_from = excluded.period_from,
                    period_to = excluded.period_to, due_at = excluded.due_at, actor = excluded.actor,
                    revision = excluded.revision, error = NULL
                """)
            let made = try tx.one(
                ExportSchedule.self, "SELECT * FROM export_schedules WHERE org = \(org) AND name = \(name)")
            guard let made else { throw ExportError.storage }
            return made
        }
    }

    func schedules(org: String) async throws -> [ExportSchedule] {
        try await database.read("exports.schedules") { tx in
            try tx.all(ExportSchedule.self, "SELECT * FROM export_schedules WHERE org = \(org) ORDER BY name")
        }
    }

    func unschedule(_ name: String, org: String) async throws -> Bool {
        try await database.write("exports.unschedule") { tx in
            try tx.run("DELETE FROM export_schedules WHERE org = \(org) AND name = \(name)") > 0
        }
    }

    /// Those of which a period is over, the longest overdue first, of all organisations but those that have to wait
    /// until some of their exports are done.
    func due(at now: Timestamp) async throws -> [ExportSchedule] {
        let (limit, openMax) = (Self.dueAtOnce, Self.scheduledOpenMax)
        return try await database.read("exports.dueSchedules") { tx in
            try tx.all(
                ExportSchedule.self,
                """
                SELECT * FROM export_schedules WHERE due_at <= \(now) AND org NOT IN (
                    SELECT org FROM exports WHERE state IN ('queued', 'running')
                    GROUP BY org HAVING COUNT(*) >= \(openMax))
                ORDER BY due_at, org, name LIMIT \(limit)
                """)
        }
    }

    /// Moves a schedule to its next period and makes the export of this one, both or neither.
    /// - Returns: the schedule as it is now, and false when the export was there before; nil when another process did
    ///   it, the schedule was set anew meanwhile, or too many exports of the organisation wait.
    func make(
        _ request: ExportRequest, id: UID, record: OutboxEvent?, of schedule: ExportSchedule, next: ExportSchedule,
        hold: @escaping @Sendable (Transaction) throws -> Void, enqueue: @escaping ExportService.Enqueue
    ) async throws -> (schedule: ExportSchedule, isMade: Bool)? {
        let (org, name, end) = (schedule.org, schedule.name, schedule.period.upperBound)
        let (document, openMax) = (request.document, Self.scheduledOpenMax)
        return try await database.write("exports.makeScheduled") { tx in
            try hold(tx)
            guard try Self.open(org, tx) < openMax else { return nil }
            // One that was removed and set again may come to a period that was exported before.
            let known = try tx.value(
                UID.self, "SELECT id FROM exports WHERE org = \(org) AND schedule = \(name) AND period_to = \(end)")
            var moved = next
            moved.lastExport = known ?? id
            moved.error = nil
            let changed = try tx.run(
                """
                UPDATE export_schedules SET period_from = \(next.period.lowerBound),
                    period_to = \(next.period.upperBound), due_at = \(next.dueAt), last_export = \(moved.lastExport),
                    error = NULL
                WHERE org = \(org) AND name = \(name) AND revision = \(schedule.revision)
                    AND period_from = \(schedule.period.lowerBound) AND period_to = \(end)
                """)
            guard changed == 1 else { return nil }
            guard known == nil else { return (moved, false) }
            try tx.run(
                """
                INSERT INTO exports (org, id, request, state, hook_secret, schedule, period_to, created_at)
                VALUES (\(org), \(id), \(document), 'queued', \(schedule.secret), \(name), \(end), \(tx.now))
                """)
            try enqueue(id, org, tx)
            if let record { try tx.emit(record) }
            return (moved, true)
        }
    }

    /// Looks at a schedule again later that cannot be carried out, unless it was carried out or set anew meanwhile.
    func putOff(
        _ schedule: ExportSchedule, error: String, now: Timestamp, until: Timestamp,
        _ hold: @escaping @Sendable (Transaction) throws -> Void
    ) async throws {
        try await database.write("exports.putOffSchedule") { tx in
            try hold(tx)
            try tx.run(
                """
                UPDATE export_schedules SET due_at = \(until), error = \(error)
                WHERE org = \(schedule.org) AND name = \(schedule.name) AND revision = \(schedule.revision)
                    AND due_at <= \(now)
                """)
        }
    }

    // MARK: attempts

    /// - Returns: nil when it is not to be posted any more.
    func beginAttempt(_ job: ExportJob) async throws -> ExportAttempt.Begun? {
        try await database.write("exports.beginAttempt") { tx in
            let changed = try tx.run(
                """
                UPDATE exports SET delivery_tries = delivery_tries + 1
                WHERE org = \(job.org) AND id = \(job.id) AND delivery = 'waiting'
                """)
            guard changed == 1 else { return nil }
            let last = try tx.value(
                Int.self,
                "SELECT COALESCE(MAX(number), 0) FROM export_attempts WHERE org = \(job.org) AND export = \(job.id)")
            let number = (last ?? 0) + 1
            try tx.run(
                """
                INSERT INTO export_attempts (org, export, number, reason, started_at)
                VALUES (\(job.org), \(job.id), \(number), '', \(tx.now))
                """)
            let now = try tx.one(ExportJob.self, "SELECT * FROM exports WHERE org = \(job.org) AND id = \(job.id)")
            return now.map { ExportAttempt.Begun(number: number, tries: $0.deliveryTries, since: $0.deliverySince) }
        }
    }

    /// Takes an attempt back in which nobody was asked, or that the server's own stop cut off: that one stays in the
    /// record, and neither counts.
    func uncount(_ begun: ExportAttempt.Begun, of job: ExportJob, isInterrupted: Bool) async throws {
        try await writeAlways("exports.uncountAttempt") { tx in
            if isInterrupted {
                try tx.run(
                    """
                    UPDATE export_attempts SET outcome = 'interrupted', ended_at = \(tx.now)
                    WHERE org = \(job.org) AND export = \(job.id) AND number = \(begun.number)
                    """)
            } else {
                try tx.run(
                    """
                    DELETE FROM export_attempts
                    WHERE org = \(job.org) AND export = \(job.id) AND number = \(begun.number)
                    """)
            }
            try tx.run(
                """
                UPDATE exports SET delivery_tries = delivery_tries - 1
                WHERE org = \(job.org) AND id = \(job.id) AND delivery_since = \(begun.since)
                    AND delivery_tries >= \(begun.tries)
                """)
        }
    }

    /// Keeps what a receiver said. A post that was asked for anew, or given up, while it was under way stays as it is
    /// now, unless the receiver took it.
    /// - Parameter due: when the next attempt may be; nil when there is none.
    /// - Returns: whether the answer decides about the post.
    func end(
        _ begun: ExportAttempt.Begun, of job: ExportJob, _ answer: ExportAnswer, _ state: ExportDelivery,
        due: Timestamp?
    ) async throws -> Bool {
        let decides = Mutex(false)
        try await writeAlways("exports.endAttempt") { tx in
            try tx.run(
                """
                UPDATE export_attempts SET outcome = \(answer.word), reason = \(answer.reason),
                    status = \(answer.status), ended_at = \(tx.now)
                WHERE org = \(job.org) AND export = \(job.id) AND number = \(begun.number)
                """)
            let changed: Int
            if state == .delivered {
                changed = try tx.run(
                    """
                    UPDATE exports SET delivery = 'delivered', delivery_due = NULL
                    WHERE org = \(job.org) AND id = \(job.id)
                    """)
            } else {
                changed = try tx.run(
                    """
                    UPDATE exports SET delivery = \(state.rawValue), delivery_due = \(due)
                    WHERE org = \(job.org) AND id = \(job.id) AND delivery = 'waiting'
                        AND delivery_since = \(begun.since) AND delivery_tries >= \(begun.tries)
                    """)
            }
            decides.withLock { $0 = changed == 1 }
        }
        return decides.withLock { $0 }
    }

    /// Also in a task that was cancelled.
    private func writeAlways(
        _ name: StaticString, _ write: @escaping @Sendable (Transaction) throws -> Void
    ) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            database.enqueue(name, write) { error in
                if let error { continuation.resume(throwing: error) } else { continuation.resume() }
            }
        }
    }

    func attempts(_ job: ExportJob) async throws -> [ExportAttempt] {
        try await database.read("exports.attempts") { tx in
            try tx.all(
                ExportAttempt.self,
                """
                SELECT number, outcome, reason, status, started_at, ended_at FROM export_attempts
                WHERE org = \(job.org) AND export = \(job.id) ORDER BY number
                """)
        }
    }

    func redeliver(_ id: UID, org: String, enqueue: @escaping ExportService.Enqueue) async throws -> ExportJob? {
        try await database.write("exports.redeliver") { tx in
            guard try tx.one(ExportJob.self, "SELECT * FROM exports WHERE org = \(org) AND id = \(id)") != nil else {
                return nil
            }
            let changed = try tx.run(
                """
                UPDATE exports SET delivery = 'waiting', delivery_tries = 0, delivery_since = \(tx.now),
                    delivery_due = \(tx.now)
                WHERE org = \(org) AND id = \(id) AND delivery IN ('dead', 'refused', 'waiting')
                """)
            guard changed == 1 else { throw ExportError.notGivenUp }
            try enqueue(id, org, tx)
            return try tx.one(ExportJob.self, "SELECT * FROM exports WHERE org = \(org) AND id = \(id)")
        }
    }
}
