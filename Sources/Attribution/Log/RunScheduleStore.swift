internal import AurumCore
package import Database

/// Which conversions are credited from the log by themselves, and when.
package struct RunScheduleStore: Sendable {
    private let database: Database
    /// Of an organisation.
    package static let schedulesMax = LogRunSettings.conversionsMax
    /// Looked at together.
    static let dueAtOnce = 100

    package init(database: Database) { self.database = database }

    /// By conversion.
    package func all(org: String) async throws -> [RunSchedule] {
        try await database.read("attribution.schedules") { transaction in
            try transaction.all(
                RunSchedule.self,
                "SELECT * FROM attribution_schedules WHERE org = \(org) ORDER BY conversion")
        }
    }

    /// Sets or changes a plan. Its next time stays where it is when it is set to what it was.
    /// - Throws: `unknownConversion`; `tooLarge` for one more than an organisation may have; database errors.
    func set(_ plan: RunPlan, conversion: String, org: String, now: Timestamp) async throws -> RunSchedule {
        let (text, next) = (JSONValue.object(plan.members).canonical, try plan.next(after: now, org: org))
        return try await database.write("attribution.setSchedule") { transaction in
            // In this transaction: one that is ended meanwhile must get no schedule.
            guard try DefinitionStore.exists(conversion, org: org, in: transaction) else {
                throw LogAttributionError.unknownConversion(conversion)
            }
            let others = try transaction.value(
                Int.self,
                """
                SELECT COUNT(*) FROM attribution_schedules WHERE org = \(org) AND conversion <> \(conversion)
                """)
            guard (others ?? 0) < Self.schedulesMax else {
                throw LogAttributionError.tooLarge(
                    "\(Self.schedulesMax) conversions of an organisation have a schedule; remove one first.")
            }
            try transaction.run(
                """
                INSERT INTO attribution_schedules (org, conversion, plan, next_at, created_at)
                VALUES (\(org), \(conversion), \(text), \(next), \(transaction.now))
                ON CONFLICT (org, conversion) DO UPDATE SET plan = excluded.plan, next_at = excluded.next_at
                WHERE attribution_schedules.plan <> excluded.plan
                """)
            let made = try transaction.one(
                RunSchedule.self,
                "SELECT * FROM attribution_schedules WHERE org = \(org) AND conversion = \(conversion)")
            guard let made else { throw LogAttributionError.unknownSchedule }
            return made
        }
    }

    /// - Throws: `unknownSchedule`; database errors.
    package func remove(conversion: String, org: String) async throws {
        let removed = try await database.write("attribution.removeSchedule") { transaction in
            try Self.remove(conversion, org, in: transaction)
        }
        guard removed > 0 else { throw LogAttributionError.unknownSchedule }
    }

    @discardableResult
    static func remove(_ conversion: String, _ org: String, in transaction: Transaction) throws -> Int {
        try transaction.run(
            "DELETE FROM attribution_schedules WHERE org = \(org) AND conversion = \(conversion)")
    }

    /// Those whose time has come, the longest overdue first, of all organisations.
    func due(at now: Timestamp) async throws -> [RunSchedule] {
        try await database.read("attribution.dueSchedules") { transaction in
            try transaction.all(
                RunSchedule.self,
                """
                SELECT * FROM attribution_schedules WHERE next_at <= \(now)
                ORDER BY next_at, org, conversion LIMIT \(Self.dueAtOnce)
                """)
        }
    }

    /// Moves a schedule to its first time after `now`, whatever was missed, and does `work` in the same transaction;
    /// neither when another process did it, or when it was changed meanwhile.
    func advance(
        _ schedule: RunSchedule, now: Timestamp, _ work: @escaping @Sendable (Transaction) throws -> Void
    ) async throws -> Bool {
        guard let next = try? schedule.plan?.next(after: now, org: schedule.org) else {
            return try await putOff(schedule, now: now)
        }
        return try await database.write("attribution.advanceSchedule") { transaction in
            let moved = try transaction.run(
                """
                UPDATE attribution_schedules SET next_at = \(next)
                WHERE org = \(schedule.org) AND conversion = \(schedule.conversion) AND next_at = \(schedule.next)
                """)
            guard moved == 1 else { return false }
            try work(transaction)
            return true
        }
    }

    /// Says of a plan that cannot be read that it fails, and looks at it again later.
    private func putOff(_ schedule: RunSchedule, now: Timestamp) async throws -> Bool {
        try await database.write("attribution.putOffSchedule") { transaction in
            try transaction.run(
                """
                UPDATE attribution_schedules SET next_at = \(now + .seconds(3600)), outcome = 'failed',
                    code = 'attribution_schedule_unreadable', ended_at = \(now), milliseconds = 0
                WHERE org = \(schedule.org) AND conversion = \(schedule.conversion) AND next_at = \(schedule.next)
                """)
        }
        return false
    }

    /// Keeps how a run ended.
    func note(_ end: RunSchedule.End, conversion: String, org: String) async throws {
        let succeeded = end.outcome == .failed ? nil : end.at
        try await database.write("attribution.noteScheduledRun") { transaction in
            try transaction.run(
                """
                UPDATE attribution_schedules SET outcome = \(end.outcome.rawValue), code = \(end.code),
                    ended_at = \(end.at), milliseconds = \(end.milliseconds),
                    succeeded_at = COALESCE(\(succeeded), succeeded_at)
                WHERE org = \(org) AND conversion = \(conversion)
                """)
        }
    }

    /// How many ended with a failure the last time.
    func failing() async throws -> Int {
        try await database.read("attribution.failingSchedules") { transaction in
            try transaction.value(
                Int.self, "SELECT COUNT(*) FROM attribution_schedules WHERE outcome = 'failed'") ?? 0
        }
    }
}
