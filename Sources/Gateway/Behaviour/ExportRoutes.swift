internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import HTTPTypes
internal import Hummingbird

/// Exports: asking for them, watching them, fetching them.
struct ExportRoutes: Sendable {
    let access: Access
    let exports: ExportService
    let bulk: BulkWrites

    private static let missing = Problem.notFound(code: "export_unknown", detail: "There is no such export.")
    private static let bodyBytesMax = 262_144
    private static let example: JSONValue = [
        "from": "2026-11-01", "to": "2026-11-08", "apps": ["shop"], "where": "type = conversion", "format": "csv",
        "compression": "gzip",
    ]

    func register(in book: RouteBook) {
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
            return .json(try await job(context, principal).json)
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
        if export.consent == .any { try requireAll(principal) }
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
