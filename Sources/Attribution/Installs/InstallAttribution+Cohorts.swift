package import AurumCore
internal import Database
internal import Events

extension InstallAttribution {
    /// Installs, or re-engagements, by the period and the campaign or channel of the touch that led to them: who came
    /// back, and what they brought. What a re-engagement has taken over is none of the install's. One answer is worked
    /// out at a time.
    /// - Throws: `LogAttributionError`; database errors, and what the log throws.
    package func cohorts(org: String, _ question: InstallCohortQuestion) async throws -> JSONValue {
        guard let zone = ZoneClock(question.timezone) else {
            throw LogAttributionError.invalid("timezone", "must be a time zone, like America/New_York.")
        }
        let now = clock.now
        let (from, to) = try Self.days(question, zone, now: now)
        let definitions = try await definitions.inForce(org: org, names: [question.conversion])
        let (start, end) = (
            zone.start(ofDay: CivilDate(daysSince1970: from)), zone.start(ofDay: CivilDate(daysSince1970: to))
        )
        try await cohortGate.take()
        defer { cohortGate.give() }
        let members = try await members(org, question, from: start, to: end)
        var answer = try await tally(org, members, definitions, question, zone, now: now).members()
        answer["from"] = .string(CivilDate(daysSince1970: from).description)
        answer["to"] = .string(CivilDate(daysSince1970: to).description)
        answer["by"] = .string(question.period.rawValue)
        answer["of"] = .string(question.beginning.rawValue)
        answer["group_by"] = .string(question.dimension.rawValue)
        answer["conversion"] = .string(question.conversion)
        answer["timezone"] = .string(question.timezone)
        answer["as_of"] = .string(now.rfc3339)
        return .object(answer)
    }

    /// Those that are counted, and those that take what comes after them. Each kind has a bound of its own: who takes
    /// from few may be many.
    /// - Throws: `LogAttributionError.tooLarge`; database errors.
    private func members(
        _ org: String, _ question: InstallCohortQuestion, from: Timestamp, to: Timestamp
    ) async throws -> [InstallMember] {
        let (app, dimension) = (question.app, question.dimension)
        // As far as revenue is counted.
        let reach = Duration.seconds((InstallCohortQuestion.horizons.max() ?? 0) * 86_400)
        func read(
            _ beginning: InstallCohortQuestion.Beginning, _ from: Timestamp, _ to: Timestamp, _ max: Int
        ) async throws -> [InstallMember] {
            switch beginning {
            case .install:
                return try await store.members(
                    org: org, app: app, dimension, from: from, to: to, max: max,
                    all: question.beginning == .reEngagement)
            case .reEngagement:
                return try await opens.members(org: org, app: app, dimension, from: from, to: to, max: max)
            }
        }
        let (countedMax, takersMax) = (question.countedMax, question.takersMax)
        let counted = try await read(question.beginning, from, to, countedMax)
        guard counted.count <= countedMax else {
            let name = question.beginning == .install ? "installs" : "re-engagements"
            throw LogAttributionError.tooLarge(
                "More than \(countedMax) \(name); ask for a shorter range or one app.")
        }
        guard !counted.isEmpty else { return [] }
        // A newer install takes from a re-engagement, whatever was decided of it, and a newer re-engagement from both.
        var takers = try await read(.reEngagement, question.beginning == .install ? from : to, to + reach, takersMax)
        if question.beginning == .reEngagement, takers.count <= takersMax {
            takers += try await read(.install, from, to + reach, takersMax - takers.count)
        }
        guard takers.count <= takersMax else {
            throw LogAttributionError.tooLarge(
                "More than \(takersMax) installs and re-engagements that may take over from those that are counted; "
                    + "ask for a shorter range or one app.")
        }
        let resolver = persons(org)
        func person(_ member: InstallMember) -> PersonOfApp {
            PersonOfApp(person: member.person == 0 ? 0 : resolver.person(member.person), app: member.app)
        }
        let wanted = Set(counted.map(person))
        return counted + takers.lazy.filter { $0.person != 0 && wanted.contains(person($0)) }.map(\.outside)
    }

    private func tally(
        _ org: String, _ members: [InstallMember], _ definitions: [DefinitionInForce],
        _ question: InstallCohortQuestion, _ zone: ZoneClock, now: Timestamp
    ) async throws -> InstallCohortTally {
        let (source, resolver, budget) = (source, persons(org), ReadingBudget(ExplanationLimits()))
        return try await withTaskCancellationHandler {
            try await BlockingWork.value {
                var tally = InstallCohortTally(question, zone, now: now)
                let days = (InstallCohortQuestion.retentionDays.max() ?? 0) + 1
                let reach = days * InstallCohortQuestion.dayMicroseconds
                for (app, installs) in Dictionary(grouping: members, by: \.app) {
                    var installs = installs
                    let times = installs.filter { !$0.isOutside }.map(\.at)
                    guard let first = times.min(), let newest = times.max() else { continue }
                    let last = max(first, min(now.microseconds, newest + reach)) + 1
                    let scan = try InstallCohortScan(
                        org: org, app: app, definitions, span: first..<last, resolver: resolver, budget: budget,
                        now: now)
                    let conversions = try scan.read(try source.segments(), &installs)
                    let persons = installs.map { $0.person == 0 ? 0 : resolver.person($0.person) }
                    tally.add(installs, persons: persons, conversions)
                }
                return tally
            }
        } onCancel: {
            budget.control.cancel()
        }
    }

    /// Whole periods: a cohort that was cut would look small.
    private static func days(
        _ question: InstallCohortQuestion, _ zone: ZoneClock, now: Timestamp
    ) throws(LogAttributionError) -> (from: Int, to: Int) {
        let period = question.period
        func start(_ day: Int) -> Int {
            let moment = zone.start(ofDay: CivilDate(daysSince1970: day))
            return Int(zone.key(period.bucket, at: moment.microseconds))
        }
        let to = question.to?.daysSince1970 ?? Int(zone.key(.day, at: now.microseconds)) + 1
        let from = question.from?.daysSince1970 ?? to - question.days
        guard from < to else { throw .invalid("to", "must be after from.") }
        guard to - from <= InstallCohortQuestion.daysMax else {
            throw .invalid("to", "must be at most \(InstallCohortQuestion.daysMax) days after from.")
        }
        return (start(from), period.next(after: start(to - 1)))
    }
}

extension InstallStore {
    /// Installs that bring somebody, and where each came from: one more than `max`, at most.
    /// - Parameter all: also those that were rejected, and of devices that had the app before.
    func members(
        org: String, app: String?, _ dimension: InstallCohortQuestion.Dimension, from: Timestamp, to: Timestamp,
        max: Int, all: Bool
    ) async throws -> [InstallMember] {
        let (app, column, isAll) = (app ?? "", dimension.rawValue, all ? 1 : 0)
        return try await database.read("installs.members", limit: .report) { transaction in
            try transaction.all(
                InstallMember.self,
                """
                SELECT installs.app AS app, installs.at AS at, installs.person AS person,
                    CASE WHEN found.method = 'organic' THEN 1 ELSE 0 END AS is_organic,
                    CASE WHEN \(column) = 'channel' THEN found.channel ELSE found.campaign END AS label
                FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                    AND found.event_id = installs.event_id AND found.version = installs.version
                WHERE installs.org = \(org) AND installs.at >= \(from) AND installs.at < \(to)
                    AND (\(app) = '' OR installs.app = \(app))
                    AND (\(isAll) = 1 OR (found.verdict <> 'rejected' AND found.is_reinstall = 0))
                ORDER BY installs.at, installs.app, installs.event_id LIMIT \(max + 1)
                """)
        }
    }
}

extension InstallMember: RowDecodable {
    init(row: Row) throws {
        let label = try row.get("label", as: String.self)
        let isOrganic = try row.get("is_organic", as: Int64.self) == 1
        self.init(
            app: try row.get("app"), at: try row.get("at", as: Timestamp.self).microseconds,
            person: UInt64(bitPattern: try row.get("person", as: Int64.self)),
            key: isOrganic ? Credit.organic : label.isEmpty ? Credit.none : label)
    }
}

extension ReEngagementStore {
    /// Re-engagements, and where each came from: one more than `max`, at most.
    func members(
        org: String, app: String?, _ dimension: InstallCohortQuestion.Dimension, from: Timestamp, to: Timestamp,
        max: Int
    ) async throws -> [InstallMember] {
        let (app, column) = (app ?? "", dimension.rawValue)
        return try await database.read("reengagements.members", limit: .report) { tx in
            try tx.all(
                ReEngagementMember.self,
                """
                SELECT known.app AS app, known.at AS at, known.person AS person,
                    CASE WHEN \(column) = 'channel' THEN found.channel ELSE found.campaign END AS label
                FROM reengagements AS known JOIN reengagement_decisions AS found ON found.org = known.org
                    AND found.app = known.app AND found.event_id = known.event_id AND found.version = known.version
                WHERE known.org = \(org) AND known.at >= \(from) AND known.at < \(to)
                    AND (\(app) = '' OR known.app = \(app)) AND known.is_reengagement = 1
                ORDER BY known.at, known.app, known.event_id LIMIT \(max + 1)
                """
            ).map(\.member)
        }
    }
}

private struct ReEngagementMember: RowDecodable, Sendable {
    let member: InstallMember

    init(row: Row) throws {
        let label = try row.get("label", as: String.self)
        member = InstallMember(
            app: try row.get("app"), at: try row.get("at", as: Timestamp.self).microseconds,
            person: UInt64(bitPattern: try row.get("person", as: Int64.self)),
            key: label.isEmpty ? Credit.none : label, beginning: .reEngagement)
    }
}
