internal import Accounts
internal import AurumCore
internal import Hummingbird
internal import Runtime

/// Work in the background: what waits, what runs, what is dead, and doing something about it.
struct JobRoutes: Sendable {
    let access: Access
    let places: JobPlaces
    let clock: any WallClock

    private static let missing = Problem.notFound(code: "job_unknown", detail: "There is no such job.")
    private static let states = ["due"] + JobState.allCases.map(\.rawValue)

    func register(in book: RouteBook) {
        book.get(
            "/v1/jobs",
            RouteDescription(
                "Jobs of the database and of Redis, newest first.", tag: "jobs", scope: .systemRead,
                query: [
                    "state": "due, scheduled, waiting, parked, running, done, dead or cancelled.",
                    "type": "For example leads.route.", "before": "Only jobs older than this id.",
                    "limit": "1 to \(JobLimits.listMax), 50 unless told.",
                ])
        ) { try await list($0, $1) }
        book.get(
            "/v1/jobs/overview",
            RouteDescription(
                "Jobs by type and state, workers, schedules and what runs now.", tag: "jobs", scope: .systemRead)
        ) { request, _ in
            let principal = try access.require(.systemRead, request)
            return .json(try await places.overview(org: principal.org, now: clock.now))
        }
        book.get(
            "/v1/jobs/{id}",
            RouteDescription("One job with every failed attempt.", tag: "jobs", scope: .systemRead)
        ) { request, context in
            let principal = try access.require(.systemRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            return try await Self.answering {
                guard let found = try await places.job(id, org: principal.org) else { throw Self.missing }
                return .json(found.job.json(now: clock.now, home: found.home))
            }
        }
        book.post(
            "/v1/jobs/{id}/cancel",
            RouteDescription(
                "Ends a job: at once when it waits, within 30 s when it runs. Refused where a lead depends on it.",
                tag: "jobs", scope: .policiesWrite)
        ) { request, context in
            let principal = try access.require(.policiesWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            return try await Self.answering {
                let after = try await places.cancel(id, org: principal.org)
                return .json(after.job.json(now: clock.now, home: after.home))
            }
        }
        book.post(
            "/v1/jobs/{id}/redrive",
            RouteDescription(
                "Takes a dead job up again, with all its attempts and the same id.", tag: "jobs",
                scope: .policiesWrite)
        ) { request, context in
            let principal = try access.require(.policiesWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            return try await Self.answering {
                let after = try await places.redrive(id, org: principal.org)
                return .json(after.job.json(now: clock.now, home: after.home))
            }
        }
        book.post(
            "/v1/jobs/redrive",
            RouteDescription(
                "Takes dead jobs up again, oldest first, at a rate.", tag: "jobs", scope: .policiesWrite,
                body: ["type": "leads.route", "since": "2026-11-20T00:00:00Z", "rate": 10]
            ).bulk
        ) { try await redrive($0, $1) }
        book.post("/v1/jobs/trial", Self.trialDescription) { try await trial($0, $1) }
    }

    /// Many jobs by its nature.
    private static let trialDescription =
        RouteDescription(
            "Enqueues jobs that do nothing, to see the queue work: on Redis where there is one.", tag: "jobs",
            scope: .policiesWrite, body: ["count": 100]
        ).bulk

    private func trial(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.policiesWrite, request)
        let body = try await RequestInput.json(request)
        var problems: [FieldProblem] = []
        if body.object == nil { problems.append(FieldProblem(field: "", detail: "the body must be an object")) }
        for name in (body.object ?? [:]).keys.sorted() where name != "count" {
            problems.append(FieldProblem(field: String(name.prefix(40)), detail: "unknown field"))
        }
        let count = body["count"] == nil ? 1 : body["count"]?.integer.flatMap { Int(exactly: $0) } ?? 0
        if !JobTrial.counts.contains(count) {
            problems.append(
                FieldProblem(field: "count", detail: "must be a whole number from 1 to \(JobTrial.counts.upperBound)"))
        }
        guard problems.isEmpty else { throw Problem.invalid(problems) }
        return try await Self.answering {
            let enqueued = try await JobTrial.enqueue(count, org: principal.org, in: places)
            return .json([
                "enqueued": .integer(Int64(enqueued)), "type": .string(JobTrial.kind.name),
                "home": .string(places.place(for: JobTrial.kind).home.rawValue),
            ])
        }
    }

    private func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.systemRead, request)
        let state = RequestInput.text("state", request)
        if let state, !Self.states.contains(state) {
            throw Problem.badQuery(name: "state", detail: "is one of \(Self.states.joined(separator: ", ")).")
        }
        var before: UID?
        if let text = RequestInput.text("before", request) {
            guard let id = UID(text) else { throw Problem.badQuery(name: "before", detail: "must be a job's id.") }
            before = id
        }
        let limit = try RequestInput.integer("limit", request, in: 1...JobLimits.listMax, standard: 50)
        let answer = try await places.list(
            org: principal.org, state: state, type: RequestInput.text("type", request), before: before, limit: limit)
        return .json([
            "jobs": .array(answer.value.map { $0.job.json(now: clock.now, home: $0.home) }),
            "unavailable": .array(answer.away.map { .string($0.rawValue) }),
        ])
    }

    private func redrive(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.policiesWrite, request)
        let body = try await RequestInput.json(request)
        var problems: [FieldProblem] = []
        for name in (body.object ?? [:]).keys.sorted() where !["type", "since", "rate"].contains(name) {
            problems.append(FieldProblem(field: String(name.prefix(40)), detail: "unknown field"))
        }
        if body.object == nil { problems.append(FieldProblem(field: "", detail: "the body must be an object")) }
        let type = body["type"]?.string
        if let given = body["type"], given != .null, type == nil {
            problems.append(FieldProblem(field: "type", detail: "must be a text"))
        }
        var since = Timestamp(milliseconds: 0)
        if let given = body["since"], given != .null {
            if let time = given.string.flatMap({ Timestamp(rfc3339: $0) }) {
                since = time
            } else {
                problems.append(FieldProblem(field: "since", detail: "must be RFC 3339"))
            }
        }
        let rate = body["rate"]?.double
        if let given = body["rate"], given != .null, rate.map({ JobLimits.redriveRates.contains($0) }) != true {
            problems.append(FieldProblem(field: "rate", detail: "must be a number from 0.001 to 10000"))
        }
        guard problems.isEmpty else { throw Problem.invalid(problems) }
        let answer = try await places.redrive(org: principal.org, type: type, since: since, rate: rate)
        return .json([
            "redriven": .integer(Int64(answer.value)),
            "unavailable": .array(answer.away.map { .string($0.rawValue) }),
        ])
    }

    private static func answering(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as JobError {
            throw Problem(error)
        } catch let error as RedisError { throw Problem(error) }
    }
}

extension Problem {
    /// Jobs on Redis, where the server or a wish to it failed.
    init(_ error: RedisError) {
        let sentence =
            error == .outcomeUnknown
            ? "The connection to Redis broke: it may have been done. Look before you ask again."
            : "The jobs on Redis cannot be reached now (\(error.tag)). Try again later."
        self = .unavailable(code: "jobs_unavailable", detail: sentence)
    }

    init(_ error: JobError) {
        switch error {
        case .unknownJob: self = .notFound(code: "job_unknown", detail: "There is no such job.")
        case .wrongState, .uniqueKeyHeld, .parentDead, .staleFence, .unknownParent:
            self = .conflict(code: "job_state", detail: "This cannot be done now: \(error.sentence).")
        case .notCancellable:
            self = .conflict(code: "job_owned", detail: "This is never done: \(error.sentence).")
        case .queueFull: self = .unavailable(code: "queue_full", detail: "Too much work is waiting. Try again later.")
        case .payloadTooLarge, .tooManyParents, .invalid: self = .internalError
        }
    }
}
