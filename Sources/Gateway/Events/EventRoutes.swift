internal import Accounts
internal import AurumCore
package import Events
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// What became of what was sent.
package struct EventRoutes: Sendable {
    private let access: Access
    private let store: any EventStore
    private let policies: EventPolicies
    private let within: Duration

    /// - Parameters:
    ///   - policies: opens sealed fields for those who may see them.
    ///   - within: how long one look-up may take.
    package init(access: Access, store: any EventStore, policies: EventPolicies, within: Duration) {
        (self.access, self.store, self.policies, self.within) = (access, store, policies, within)
    }

    package func register(in book: RouteBook) {
        book.get(
            "/v1/receipts/{receipt}",
            RouteDescription("What became of one request.", tag: "events", scope: .eventsRead)
        ) { try await receipt($0, $1) }
        book.get(
            "/v1/events/{id}/outcome",
            RouteDescription(
                "What became of one event.", tag: "events", scope: .eventsRead,
                query: ["app": "The app it was sent to."])
        ) { try await outcome($0, $1) }
        book.get(
            "/v1/events",
            RouteDescription(
                "Stored events, newest first.", tag: "events", scope: .eventsRead,
                query: [
                    "trace_id": "32 hex digits.", "anonymous_id": "A visitor.", "user_id": "A user.",
                    "type": "An event type.",
                    "name": "An event name.", "app": "An app.", "limit": "1 to 1000, 100 unless told.",
                    "unseal": "true shows personal fields; needs an admin key.",
                ])
        ) { try await list($0, $1) }
    }

    private func receipt(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let id = context.parameters.get("receipt") ?? ""
        let found: StoredReceipt?
        do { found = try await store.receipt(id, org: principal.org) } catch is ReceiptExpired {
            throw Problem.gone(code: "receipt_expired", detail: "Receipts can be read for 30 days.")
        }
        guard let receipt = found else {
            throw Problem.notFound(code: "receipt_unknown", detail: "There is no such receipt.")
        }
        return Self.text(receipt.json)
    }

    private func outcome(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let id = context.parameters.get("id").map { $0.removingPercentEncoding ?? $0 } ?? ""
        let app = RequestInput.text("app", request) ?? principal.app
        let found: OutcomeRecord?
        do {
            found = try await store.outcome(eventID: id, org: principal.org, app: app, within: within)
        } catch let error as QueryError { throw Problem.query(error) }
        guard let record = found else {
            throw Problem.notFound(code: "event_unknown", detail: "No event with this id was received in this app.")
        }
        return Self.text(record.json)
    }

    private func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        var filter = EventFilter(org: principal.org)
        filter.limit = try RequestInput.integer("limit", request, in: 1...1000, standard: 100)
        filter.app = RequestInput.text("app", request)
        if let text = RequestInput.text("trace_id", request) {
            guard let id = UID(text) else { throw Problem.badQuery(name: "trace_id", detail: "must be 32 hex digits.") }
            filter.traceID = id
        }
        if let text = RequestInput.text("anonymous_id", request) { filter.identifiers.append(.init(.anonymous, text)) }
        if let text = RequestInput.text("user_id", request) { filter.identifiers.append(.init(.user, text)) }
        if let text = RequestInput.text("name", request) { filter.names = [text] }
        if let text = RequestInput.text("type", request) {
            guard let type = EventType(name: text) else {
                let known = EventType.allCases.map(\.name).joined(separator: ", ")
                throw Problem.badQuery(name: "type", detail: "must be one of \(known).")
            }
            filter.types = [type]
        }
        let unseals = RequestInput.text("unseal", request) == "true"
        if unseals, principal.kind != .admin { throw Problem.scopeMissing(.privacyManage) }
        filter.within = within
        let events: [JSONValue]
        do { events = try await store.events(filter).map(\.json) } catch let error as QueryError {
            throw Problem.query(error)
        }
        guard unseals else { return .json(["events": .array(events)]) }
        return .json(["events": .array(events.map { policies.unsealed($0, org: principal.org) })])
    }

    private static func text(_ json: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(string: json)))
    }
}
