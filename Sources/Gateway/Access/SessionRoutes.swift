internal import Accounts
internal import AurumCore
internal import HTTPTypes
internal import Hummingbird
internal import Runtime

/// A person's own sign-ins: where they are signed in, and ending one or all.
struct SessionRoutes: Sendable {
    let access: Access

    private var sessions: Sessions { access.sessions.sessions }

    func register(in book: RouteBook) {
        book.get(
            "/v1/sessions",
            RouteDescription(
                "Where the holder of this token is signed in, newest first.", tag: "keys", scope: .keysManage)
        ) { request, _ in
            let principal = try access.require(.keysManage, request)
            let own = access.sessions.session(cookies: request.headers[.cookie])?.id
            let rows = try await sessions.list(org: principal.org, person: principal.keyID)
            return .json(["sessions": .array(rows.map { Self.json($0, isOwn: $0.id == own) })])
        }
        book.delete(
            "/v1/sessions/{id}",
            RouteDescription("Ends one sign-in at once.", tag: "keys", scope: .keysManage, success: 204)
        ) { request, context in
            let principal = try access.require(.keysManage, request)
            let missing = Problem.notFound(code: "session_unknown", detail: "There is no such session.")
            let id = try RequestInput.uid("id", context, missing: missing)
            guard try await sessions.revoke(id, org: principal.org, person: principal.keyID) else { throw missing }
            return Response(status: .noContent)
        }
        book.delete(
            "/v1/sessions",
            RouteDescription("Ends every sign-in of this token at once.", tag: "keys", scope: .keysManage, success: 204)
        ) { request, _ in
            let principal = try access.require(.keysManage, request)
            try await sessions.revokeAll(org: principal.org, person: principal.keyID)
            return Response(status: .noContent)
        }
    }

    private static func json(_ record: SessionRecord, isOwn: Bool) -> JSONValue {
        [
            "id": .string(record.id.hex), "device": .string(record.device),
            "created_at": .string(record.createdAt.rfc3339), "seen_at": .string(record.seenAt.rfc3339),
            "current": .bool(isOwn),
        ]
    }
}
