package import AurumCore
package import Database
internal import Logging
internal import Synchronization

/// An export that is made by itself of every period that is over.
package struct ExportSchedule: Sendable {
    package var org: String
    package var name: String
    /// nil where this release cannot read it.
    var plan: ExportPlan?
    /// The body of an export without its range and its secret.
    var request: JSONValue
    var secret: String?
    var delayMinutes: Int
    var period: Range<Timestamp>
    var dueAt: Timestamp
    var lastExport: UID?
    var error: String?
    var actor: String
    /// Another one with every change.
    var revision: UID

    package static let delayMinutes = 0...1440
    static let standardDelay = 15
    private static let rangeNames = ["from", "to", "last"]

    /// Reads the body of `PUT /v1/export-schedules/{name}`.
    /// - Throws: everything that is wrong with it at once.
    static func read(
        _ json: JSONValue, org: String, now: Timestamp, targets: ExportTargets
    ) throws(BehaviourError) -> (plan: ExportPlan, delayMinutes: Int, template: JSONValue, request: ExportRequest) {
        let body = try BehaviourBody(json)
        let plan = ExportPlan(body)
        let delay = body.integer("delay_minutes", delayMinutes, standard: standardDelay)
        let export = body.take("export") ?? .null
        if export.object == nil { body.refuse("export", "must be an object as POST /v1/exports takes it") }
        for (path, members) in [("export.", export.object), ("export.query.", export["query"]?.object)] {
            for name in rangeNames where members?[name] != nil {
                body.refuse(path + name, "is set by the schedule: each export has its own period")
            }
        }
        try body.finish()
        guard let period = plan.period(holding: now) else {
            throw BehaviourError(problems: [.init(field: "timezone", detail: "is not known here")])
        }
        let request = try ExportRequest(Self.body(export, of: period), org: org, now: now, targets: targets)
        var members = export.object ?? [:]
        members["secret"] = nil
        return (plan, delay, .object(members), request)
    }

    /// The body of the export of one period.
    static func body(_ template: JSONValue, of period: Range<Timestamp>) -> JSONValue {
        var members = template.object ?? [:]
        let range: [String: JSONValue] = [
            "from": .string(period.lowerBound.rfc3339), "to": .string(period.upperBound.rfc3339),
        ]
        if let query = members["query"]?.object {
            members["query"] = .object(query.merging(range) { $1 })
        } else {
            members.merge(range) { $1 }
        }
        return .object(members)
    }

    package var json: JSONValue {
        var members = plan?.members ?? [:]
        members["name"] = .string(name)
        members["export"] = request
        members["delay_minutes"] = .integer(Int64(delayMinutes))
        members["next"] = [
            "from": .string(period.lowerBound.rfc3339), "to": .string(period.upperBound.rfc3339),
            "due_at": .string(dueAt.rfc3339),
        ]
        members["last_export"] = lastExport.map { .string($0.hex) } ?? .null
        members["error"] = error.map { .string($0) } ?? .null
        return .object(members)
    }
}

extension ExportSchedule: RowDecodable {
    package init(row: Row) throws {
        (org, name, request) = (try row.get("org"), try row.get("name"), try row.get("request"))
        // One that cannot be read keeps no other from being due.
        plan = try? ExportPlan(known: try row.get("plan"))
        (secret, delayMinutes) = (try row.optional("secret"), try row.get("delay_minutes"))
        let from: Timestamp = try row.get("period_from")
        period = from..<max(from, try row.get("period_to"))
        (dueAt, lastExport) = (try row.get("due_at"), try row.optional("last_export"))
        (error, actor, revision) = (try row.optional("error"), try row.get("actor"), try row.get("revision"))
    }
}

extension ExportService {
    /// Schedules of an organisation.
    package static let schedulesMax = 50
    private static let nameBytesMax = 64
    /// How long a schedule waits for room on the disk, or after what went wrong.
    private static let untilRoom: Duration = .seconds(300)
    /// After so long schedules that are due are left to the next call.
    private static let makingTime: Duration = .seconds(30)

    /// Sets or changes a schedule. A new one begins with the period that is under way; one that is changed goes on
    /// where it was.
    /// - Throws: `BehaviourError`, `QueryError`, `ExportError.tooManySchedules`.
    package func schedule(
        _ name: String, _ body: JSONValue, org: String, actor: String
    ) async throws -> ExportSchedule {
        let isName =
            !name.isEmpty && name.utf8.count <= Self.nameBytesMax
            && name.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95 }
        guard isName else {
            let detail = "must be 1 to \(Self.nameBytesMax) small letters, digits, - or _"
            throw BehaviourError(problems: [.init(field: "name", detail: detail)])
        }
        let now = clock.now
        let (plan, delay, template, request) = try ExportSchedule.read(body, org: org, now: now, targets: targets)
        if let query = request.query { _ = try engine.query(query) }
        guard let period = plan.period(holding: now) else { throw ExportError.storage }
        let schedule = ExportSchedule(
            org: org, name: name, plan: plan, request: template,
            secret: request.secret.flatMap { hooks?.sealed($0, org: org) }, delayMinutes: delay, period: period,
            dueAt: period.upperBound + .seconds(delay * 60), actor: actor, revision: UID(now: now))
        return try await store.set(schedule)
    }

    package func schedules(org: String) async throws -> [ExportSchedule] { try await store.schedules(org: org) }

    /// Whether the exports of a schedule hold events of those who refuse advertising.
    package static func isUnconfined(_ body: JSONValue) -> Bool {
        body["export"]?["consent"]?.string == ExportRequest.Consent.any.rawValue
    }

    /// False when there is none. Exports that it made stay.
    package func unschedule(_ name: String, org: String) async throws -> Bool {
        try await store.unschedule(name, org: org)
    }

    /// Makes the exports of all periods that are over, each once, the oldest first. A schedule whose export cannot be
    /// made holds no other up.
    /// - Parameter hold: the first statement of each transaction; it throws when somebody else does this by now.
    /// - Returns: how many were made.
    @discardableResult
    package func makeDue(_ hold: @escaping @Sendable (Transaction) throws -> Void) async throws -> Int {
        await tidy()
        let isLost = Mutex(false)
        let holding: @Sendable (Transaction) throws -> Void = { tx in
            isLost.withLock { $0 = true }
            try hold(tx)
            isLost.withLock { $0 = false }
        }
        let (now, start) = (clock.now, ContinuousClock.now)
        var (made, seen) = (0, [String]())
        while true {
            let due = try await store.due(at: now)
            for schedule in due {
                do { made += try await makeAll(schedule, now: now, holding) } catch {
                    if Task.isCancelled || error is CancellationError || isLost.withLock({ $0 }) { throw error }
                    try await putOff(schedule, now: now, after: error, holding)
                }
            }
            // As many as one look takes: there may be more, unless they are those that it left.
            let names = due.map { "\($0.org) \($0.name) \($0.dueAt.microseconds)" }
            let isAll = due.count < ExportStore.dueAtOnce || names == seen
            if isAll || ContinuousClock.now - start >= Self.makingTime { return made }
            seen = names
        }
    }

    private func makeAll(
        _ due: ExportSchedule, now: Timestamp, _ hold: @escaping @Sendable (Transaction) throws -> Void
    ) async throws -> Int {
        var (schedule, made) = (due, 0)
        while schedule.dueAt <= now {
            try Task.checkCancellation()
            guard let next = try await make(schedule, now: now, hold) else { break }
            made += next.isMade ? 1 : 0
            schedule = next.schedule
        }
        return made
    }

    private func putOff(
        _ schedule: ExportSchedule, now: Timestamp, after error: any Error,
        _ hold: @escaping @Sendable (Transaction) throws -> Void
    ) async throws {
        logger.error(
            "a scheduled export was not made",
            metadata: [
                "code": "export_schedule_failed", "org": "\(schedule.org)", "schedule": "\(schedule.name)",
                "error": "\(error)",
            ])
        try await store.putOff(schedule, error: "export_schedule_failed", now: now, until: now + Self.untilRoom, hold)
    }

    /// Makes the export of one period; nil when it has to wait.
    private func make(
        _ schedule: ExportSchedule, now: Timestamp, _ hold: @escaping @Sendable (Transaction) throws -> Void
    ) async throws -> (schedule: ExportSchedule, isMade: Bool)? {
        let org = schedule.org
        let following = schedule.plan?.period(holding: schedule.period.upperBound)
        guard let following,
            let request = try? ExportRequest(
                ExportSchedule.body(schedule.request, of: schedule.period), org: org, now: now,
                targets: targets.forStored)
        else {
            logger.error(
                "a scheduled export cannot be made",
                metadata: ["code": "export_schedule_refused", "org": "\(org)", "schedule": "\(schedule.name)"])
            try await store.putOff(
                schedule, error: "export_schedule_refused", now: now, until: now + .seconds(3600), hold)
            return nil
        }
        do throws(BulkWrites.Refused) { try bulk.check() } catch {
            try await store.putOff(schedule, error: ExportError.full.tag, now: now, until: now + Self.untilRoom, hold)
            return nil
        }
        var next = schedule
        next.period = schedule.period.upperBound..<following.upperBound
        next.dueAt = next.period.upperBound + .seconds(schedule.delayMinutes * 60)
        let id = UID(now: now)
        let record = request.record(id, org: org, actor: schedule.actor, at: now)
        return try await store.make(
            request, id: id, record: record, of: schedule, next: next, hold: hold, enqueue: enqueue)
    }
}
