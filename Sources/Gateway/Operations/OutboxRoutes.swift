internal import Accounts
internal import AurumCore
internal import Database
internal import Hummingbird

/// Events of our own that the log refused, and what becomes of them.
struct OutboxRoutes: Sendable {
    private static let missing = Problem.notFound(
        code: "rejected_event_unknown", detail: "There is no such rejected event.")

    let access: Access
    let database: Database

    func register(in book: RouteBook) {
        book.get(
            "/v1/outbox/rejected",
            RouteDescription(
                "Events of leads, sales and the ledger that the event log refused, newest first, with the reason.",
                tag: "operations", scope: .systemRead,
                query: ["limit": "1 to \(Database.rejectedMax), 100 unless told."])
        ) { request, _ in
            let principal = try access.require(.systemRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Database.rejectedMax, standard: 100)
            let events = try await database.rejectedEvents(org: principal.org, limit: limit)
            return .json(["rejected": .array(events.map(\.json))])
        }
        book.post(
            "/v1/outbox/rejected/retry",
            RouteDescription(
                "Gives rejected events to the log again, oldest first, at most \(Database.rejectedMax) at once.",
                tag: "operations", scope: .policiesWrite, body: [:])
        ) { request, _ in
            let principal = try access.require(.policiesWrite, request)
            return .json(["retried": .integer(Int64(try await database.retryRejected(org: principal.org)))])
        }
        book.delete(
            "/v1/outbox/rejected/{id}",
            RouteDescription(
                "Removes a rejected event for good: it will never be in the log.", tag: "operations",
                scope: .policiesWrite, success: 204)
        ) { request, context in
            let principal = try access.require(.policiesWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            guard try await database.discardRejected(org: principal.org, id: id) else { throw Self.missing }
            return Response(status: .noContent)
        }
    }
}
