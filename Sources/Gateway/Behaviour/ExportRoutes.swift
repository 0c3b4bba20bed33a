internal import Accounts
internal import AurumCore
package import Database
package import Events
internal import HTTPTypes
internal import Hummingbird

/// Exports: asking for them, watching them, fetching them.
package struct ExportRoutes: Sendable {
    private let access: Access
    private let exports: ExportService
    private let bulk: BulkWrites

    package init(access: Access, exports: ExportService, bulk: BulkWrites) {
        (self.access, self.exports, self.bulk) = (access, exports, bulk)
    }

    private static let missing = Problem.notFound(code: "export_unknown", detail: "There is no such export.")
    private static let bodyBytesMax = 262_144
    private static let example: JSONValue = [
        "from": "2026-11-01", "to": "2026-11-08", "apps": ["shop"], "where": "type = conversion", "format": "csv",
        "compression": "gzip",
    ]

    private static let scheduleExample: JSONValue = [
        "daily": true, "timezone": "America/New_York", "delay_minutes": 15,
        "export": [
            "where": "type = conversion", "format": "csv", "target": "webhook",
            "url": "https://warehouse.example/aurum", "secret": "0123456789abcdef",
        ],
    ]

    package func register(in book: RouteBook) {
        book.post(
            "/v1/exports",
            RouteDescription(
                "Writes events, or a query's answer, to a file in the background; the same Idempotency-Key gives the "
                    + "first answer for a day. Events that refuse advertising are in it with consent any alone, which "
                    + "needs privacy:manage.", tag: "exports",
                scope: .eventsRead, success: 201, body: Self.example)
        ) { try await create($0, $1) }
        book.get(
            "/v1/exports", RouteDescription("Exports, newest first.", tag: "exports", scope: .eventsRead)
        ) { request, _ in
            let principal = try access.require(.eventsRead, request)
            let jobs = try await exports.list(org: principal.org)
            return .json(["exports": .array(jobs.map(\.json))])
        }
        book.get(
            "/v1/exports/{id}",
            RouteDescription("How far an export is.", tag: "exports", scope: .eventsRead)
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            let job = try await job(context, principal)
            var members = job.json.object ?? [:]
            if job.delivery != nil { members["attempts"] = .array(try await exports.attempts(job).map(\.json)) }
            return .json(.object(members))
        }
        book.post(
            "/v1/exports/{id}/deliver",
            RouteDescription(
                "Posts an export anew whose webhook refused it or did not answer, and at once one that waits.",
                tag: "exports", scope: .eventsRead)
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            let job = try await job(context, principal)
            try confine(job, principal)
            do {
                guard let again = try await exports.redeliver(job.id, org: principal.org) else { throw Self.missing }
                return .json(again.json)
            } catch let error as ExportError where error == .notGivenUp {
                throw Problem.conflict(code: error.tag, detail: "The export cannot be posted: \(error.sentence).")
            }
        }
        book.get(
            "/v1/exports/{id}/file",
            RouteDescription("The file of a finished export.", tag: "exports", scope: .eventsRead)
        ) { try await file($0, $1) }
        book.delete(
            "/v1/exports/{id}",
            RouteDescription("Ends an export and removes its file.", tag: "exports", scope: .eventsRead, success: 204)
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            guard try await exports.remove(id, org: principal.org) else { throw Self.missing }
            return Response(status: .noContent)
        }
        registerSchedules(in: book)
    }

    private func registerSchedules(in book: RouteBook) {
        book.get(
            "/v1/export-schedules",
            RouteDescription("Exports that are made by themselves.", tag: "exports", scope: .eventsRead)
        ) { request, _ in
            let principal = try access.require(.eventsRead, request)
            return .json(["schedules": .array(try await exports.schedules(org: principal.org).map(\.json))])
        }
        book.put(
            "/v1/export-schedules/{name}",
            RouteDescription(
                "Exports every period once it is over: every_hours, or daily with a timezone (UTC).", tag: "exports",
                scope: .eventsRead, body: Self.scheduleExample)
        ) { try await schedule($0, $1) }
        book.delete(
            "/v1/export-schedules/{name}",
            RouteDescription(
                "Makes no more exports by this schedule; those that it made stay.", tag: "exports",
                scope: .eventsRead, success: 204)
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            guard try await exports.unschedule(context.parameters.get("name") ?? "", org: principal.org) else {
                throw Problem.notFound(code: "export_schedule_unknown", detail: "There is no such schedule.")
            }
            return Response(status: .noContent)
        }
    }

    private func schedule(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let body = try await RequestInput.json(request, limit: Self.bodyBytesMax)
        if ExportService.isUnconfined(body) { try requireAll(principal) }
        do {
            let name = context.parameters.get("name") ?? ""
            return .json(
                try await exports.schedule(name, body, org: principal.org, actor: principal.keyID).json)
        } catch let error as BehaviourError {
            throw Problem(error)
        } catch let error as QueryError {
            throw Problem.query(error)
        } catch let error as ExportError where error == .tooManySchedules {
            throw Problem.conflict(code: error.tag, detail: "\(error.sentence).")
        }
    }

    private func create(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let body = try await RequestInput.json(request, limit: Self.bodyBytesMax)
        if body["consent"]?.string == ExportRequest.Consent.any.rawValue { try requireAll(principal) }
        try bulk.check()
        do {
            let key = try request.idempotencyKey("POST /v1/exports", org: principal.org, body: body)
            return .kept(
                try await exports.create(body, org: principal.org, actor: principal.keyID, once: key))
        } catch let error as BehaviourError {
            throw Problem(error)
        } catch let error as QueryError {
            throw Problem.query(error)
        } catch ExportError.tooMany {
            throw Problem.rateLimited(retryAfterSeconds: 60)
        }
    }

    /// Events of those who refuse advertising are for few.
    private func requireAll(_ principal: Principal) throws(Problem) {
        guard principal.has(.privacyManage) else { throw .scopeMissing(.privacyManage) }
    }

    private func confine(_ job: ExportJob, _ principal: Principal) throws {
        if exports.file(job)?.request.consent == .any { try requireAll(principal) }
    }

    private func job(_ context: GatewayContext, _ principal: Principal) async throws -> ExportJob {
        let id = try RequestInput.uid("id", context, missing: Self.missing)
        guard let job = try await exports.job(id, org: principal.org) else { throw Self.missing }
        return job
    }

    private func file(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let job = try await job(context, principal)
        guard let (path, export) = exports.file(job) else {
            throw Problem.conflict(code: "export_not_done", detail: "The export is \(job.state.rawValue).")
        }
        try confine(job, principal)
        guard exports.isHere(job) else {
            throw Problem.conflict(
                code: "export_elsewhere", detail: "Another node of this installation has the file; fetch it there.")
        }
        var headers = HTTPFields()
        headers[.contentType] = export.contentType
        headers[.contentDisposition] = "attachment; filename=\"\(export.fileName(job.id))\""
        headers[.cacheControl] = "no-store"
        if let hash = job.sha256 { headers[.aurumSHA256] = hash }
        let body: ResponseBody
        do { body = try await FileIO().loadFile(path: path, context: context) } catch {
            throw Problem.gone(code: "export_file_gone", detail: "The file is no longer there; ask for a new export.")
        }
        return Response(status: .ok, headers: headers, body: body)
    }
}

extension HTTPField.Name {
    /// SHA-256 of the whole file as hex.
    static let aurumSHA256 = HTTPField.Name("Aurum-SHA256")!
}
