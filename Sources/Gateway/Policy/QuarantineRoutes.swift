internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import Hummingbird

/// Events that were refused: what they are, why, and sending them again.
struct QuarantineRoutes: Sendable {
    let access: Access
    let desk: QuarantineDesk
    let limits: EventLimits
    let bulk: BulkWrites

    private static let filterQuery = [
        "app": "An app.", "reason": "A reason such as bad_ts or plan:required; plan for every rule of a plan.",
        "from": "Received at or after, RFC 3339.", "to": "Received at or before, RFC 3339.",
    ]
    private static let replayFields: Set<String> = ["filter", "plan_version", "dry_run", "after"]
    private static let example: JSONValue = ["filter": ["app": "default", "reason": "plan"], "dry_run": true]

    func register(in book: RouteBook) {
        book.get(
            "/v1/quarantine",
            RouteDescription(
                "Quarantined events of the last 30 days, newest first. Their text needs privacy:manage.",
                tag: "quarantine", scope: .eventsRead,
                query: Self.filterQuery.merging(["limit": "1 to 1000, 100 unless told."]) { $1 })
        ) { request, _ in
            let principal = try access.require(.eventsRead, request)
            let filter = try Self.filter(request, principal)
            let limit = try RequestInput.integer("limit", request, in: 1...QuarantineDesk.browseMax, standard: 100)
            let entries = try await desk.browse(filter, limit: limit)
            let showsRaw = principal.has(.privacyManage)
            return .json(["events": .array(entries.map { $0.json(showsRaw: showsRaw) })])
        }
        book.get(
            "/v1/quarantine/counts",
            RouteDescription(
                "Quarantined events by app and reason.", tag: "quarantine", scope: .eventsRead,
                query: ["app": "An app."])
        ) { request, _ in
            let principal = try access.require(.eventsRead, request)
            let counts = try await desk.counts(org: principal.org, app: RequestInput.text("app", request))
            return .json([
                "total": .integer(Int64(counts.reduce(0) { $0 + $1.count })),
                "counts": .array(
                    counts.map {
                        [
                            "app": .string($0.app), "reason": .string($0.reason), "count": .integer(Int64($0.count)),
                        ]
                    }),
                "bytes": .integer(Int64(desk.quota.bytes)), "bytes_max": .integer(Int64(desk.quota.bytesMax)),
            ])
        }
        book.post(
            "/v1/quarantine/replay",
            RouteDescription(
                "Sends quarantined events through capture again, under the plan in force or `plan_version`.",
                tag: "quarantine", scope: .privacyManage, body: Self.example
            ).bulk
        ) { try await replay($0, $1) }
        book.delete(
            "/v1/quarantine",
            RouteDescription(
                "Deletes quarantined events for good.", tag: "quarantine", scope: .privacyManage,
                query: Self.filterQuery, body: ["filter": ["reason": "not_json"]]
            ).bulk
        ) { request, _ in
            let principal = try access.require(.privacyManage, request)
            let body = try await RequestInput.body(request, limit: RequestInput.jsonBytesMax)
            let document = body.readableBytes == 0 ? nil : try RequestInput.json(body)
            return try await AppRoutes.answering {
                let filter = try Self.deletion(document, request, principal)
                return .json(["deleted": .integer(Int64(try await desk.delete(filter)))])
            }
        }
    }

    private func replay(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.privacyManage, request)
        let body = try await RequestInput.json(request)
        var problems: [FieldProblem] = []
        for name in (body.object ?? [:]).keys.sorted() where !Self.replayFields.contains(name) {
            problems.append(FieldProblem(field: String(name.prefix(40)), detail: "unknown field"))
        }
        if body.object == nil { problems.append(FieldProblem(field: "", detail: "the body must be an object")) }
        let version = body["plan_version"]
        if let version, version != .null, version.integer.map({ $0 > 0 }) != true {
            problems.append(FieldProblem(field: "plan_version", detail: "must be a whole number above 0"))
        }
        if let dry = body["dry_run"], dry != .null, dry.bool == nil {
            problems.append(FieldProblem(field: "dry_run", detail: "must be true or false"))
        }
        var after: LogPosition?
        if let place = body["after"], place != .null {
            after = place.string.flatMap { LogPosition($0) }
            if after == nil {
                problems.append(FieldProblem(field: "after", detail: "must be the `next` of an earlier answer"))
            }
        }
        guard problems.isEmpty else { throw Problem.invalid(problems) }
        if body["dry_run"]?.bool != true { try bulk.check() }
        return try await AppRoutes.answering {
            let filter = try QuarantineFilter(body["filter"], org: principal.org)
            do {
                let report = try await desk.replay(
                    filter, planVersion: version?.integer.map { Int($0) }, dryRun: body["dry_run"]?.bool ?? false,
                    after: after)
                return .json(report.json)
            } catch let error as CaptureError { throw Problem(error, limits: limits) }
        }
    }

    /// What to delete: the body's filter, else the query's. Saying nothing is no way to mean everything.
    private static func deletion(
        _ document: JSONValue?, _ request: Request, _ principal: Principal
    ) throws -> QuarantineFilter {
        if let filter = document?["filter"] { return try QuarantineFilter(filter, org: principal.org) }
        let filter = try filter(request, principal)
        guard document == nil, filter != QuarantineFilter(org: principal.org) else {
            throw Problem.invalid([FieldProblem(field: "filter", detail: "is missing; {} means everything")])
        }
        return filter
    }

    private static func filter(_ request: Request, _ principal: Principal) throws(Problem) -> QuarantineFilter {
        var filter = QuarantineFilter(org: principal.org, app: RequestInput.text("app", request))
        if let reason = RequestInput.text("reason", request) {
            guard QuarantineFilter.isKnown(reason: reason) else {
                throw .badQuery(name: "reason", detail: "is no reason of the quarantine.")
            }
            filter.reason = reason
        }
        filter.from = try time("from", request)
        filter.to = try time("to", request)
        return filter
    }

    private static func time(_ name: String, _ request: Request) throws(Problem) -> Timestamp? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard let time = Timestamp(rfc3339: text) else { throw .badQuery(name: name, detail: "must be RFC 3339.") }
        return time
    }
}
