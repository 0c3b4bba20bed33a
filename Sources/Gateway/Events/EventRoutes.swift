internal import Accounts
internal import AurumCore
internal import Events
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Telemetry

/// Capture in the native and the Segment shape, and what became of what was sent.
struct EventRoutes: Sendable {
    let access: Access
    let capture: EventCapture
    let store: any EventStore
    let clock: any WallClock
    let limits: EventLimits
    let publicRate: RateLimiter
    /// Opens sealed fields for those who may see them.
    let policies: EventPolicies

    private static let example: JSONValue = [
        "id": "9b2d6a0e-5a0c-4a53-a6a1-0a5a4d1e7c11", "type": "page", "anonymous_id": "visitor-1",
        "url": "https://www.example.com/?utm_source=google&utm_medium=cpc&utm_campaign=brooklyn-solar",
    ]
    private static let segmentPaths = [
        "batch", "track", "identify", "page", "screen", "group", "alias", "b", "t", "i", "p", "s", "g", "a",
    ]

    func register(in book: RouteBook) {
        book.post(
            "/v1/events",
            RouteDescription(
                "Stores events: one JSON object a line, an array, or one object.", tag: "events", scope: .eventsWrite,
                success: 202, query: ["key": "A publishable key, for senders that cannot set headers."],
                body: Self.example, bodyType: "application/x-ndjson")
        ) { try await native($0, $1) }
        for path in Self.segmentPaths {
            guard let format = WireFormat(segmentPath: path) else { continue }
            book.post(
                "/v1/\(path)",
                RouteDescription(
                    "Stores events in Segment's shape; the key as Basic user or `writeKey`.", tag: "events",
                    scope: .eventsWrite, body: ["type": "track", "event": "Signed Up", "userId": "u1"])
            ) { try await segment($0, $1, format) }
        }
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
        for path in ["/v1/events"] + Self.segmentPaths.map({ "/v1/\($0)" }) {
            book.router.on(RouterPath(path), method: .options) { request, _ in preflight(request) }
        }
    }

    // MARK: capture

    private func native(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.requireCapture(request, bodyKey: nil)
        let body = try await read(request, principal, context)
        let format: WireFormat
        switch request.headers[.contentType]?.split(separator: ";").first.map({
            $0.trimmingCharacters(in: .whitespaces)
        }) {
        case "application/json": format = .json
        // The last is what curl says of `-d` unless told otherwise.
        case nil, "application/x-ndjson", "application/ndjson", "text/plain", "application/x-www-form-urlencoded":
            format = .ndjson
        default: throw Problem.unsupportedMediaType
        }
        let receipt = try await submit(body, format, request, principal)
        return answer(receipt.json, receipt, .accepted, request)
    }

    private func segment(_ request: Request, _ context: GatewayContext, _ format: WireFormat) async throws -> Response {
        let known = access.principal(request)
        let body = try await read(request, known, context)
        let encoding = try Self.encoding(request)
        let bodyKey =
            known == nil
            ? body.withUnsafeReadableBytes { SegmentEnvelope.writeKey(of: $0, encoding: encoding) } : nil
        let principal = try access.requireCapture(request, bodyKey: bodyKey)
        let receipt = try await submit(body, format, request, principal)
        return answer("{\"success\":true,\"receipt\":\"\(receipt.id)\"}", receipt, .ok, request)
    }

    /// The body, refused before it is read when the log cannot take it, the key is over its rate or it is too large.
    private func read(_ request: Request, _ principal: Principal?, _ context: GatewayContext) async throws -> ByteBuffer
    {
        if let refusal = capture.refusal() { throw Problem(refusal, limits: limits) }
        if principal?.kind != .server, principal?.kind != .admin {
            try publicRate.check("address:\(context.clientAddress)", cost: 1)
        }
        let body = try await RequestInput.body(request, limit: limits.bodyBytesMax)
        if let principal, principal.kind == .publishable {
            let events = body.readableBytesView.count { $0 == UInt8(ascii: "\n") } + 1
            try publicRate.check("key:\(principal.keyID)", cost: Double(events))
        }
        return body
    }

    private func submit(
        _ body: ByteBuffer, _ format: WireFormat, _ request: Request, _ principal: Principal
    ) async throws -> Receipt {
        let encoding = try Self.encoding(request)
        let source = CaptureSource(
            org: principal.org, app: principal.app, isHistorical: principal.historical,
            hasGPC: request.headers[.globalPrivacyControl] == "1", isBrowser: principal.kind == .publishable)
        let now = clock.now
        let result: Result<Receipt, CaptureError> = await withCheckedContinuation { continuation in
            body.withUnsafeReadableBytes { bytes in
                capture.submit(bytes, format: format, encoding: encoding, source: source, receivedAt: now) {
                    continuation.resume(returning: $0)
                }
            }
        }
        switch result {
        case .success(let receipt): return receipt
        case .failure(let error): throw Problem(error, limits: limits)
        }
    }

    private func answer(_ json: String, _ receipt: Receipt, _ status: HTTPResponse.Status, _ request: Request)
        -> Response
    {
        var headers = HTTPFields()
        headers[.contentType] = "application/json"
        headers[.aurumReceipt] = receipt.id
        allowOrigin(request, &headers)
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: json)))
    }

    private static func encoding(_ request: Request) throws(Problem) -> BodyEncoding {
        guard let encoding = BodyEncoding(contentEncoding: request.headers[.contentEncoding]) else {
            throw .unsupportedEncoding
        }
        return encoding
    }

    // MARK: cross-origin

    /// The origin was checked against the key before; here the browser is told.
    private func allowOrigin(_ request: Request, _ headers: inout HTTPFields) {
        guard let origin = request.headers[.origin] else { return }
        headers[.accessControlAllowOrigin] = origin
        headers[.vary] = "Origin"
        headers[.accessControlExposeHeaders] = "Aurum-Receipt, Retry-After"
    }

    private func preflight(_ request: Request) -> Response {
        guard let origin = request.headers[.origin], access.keys.isAllowed(origin: origin) else {
            return Response(status: .forbidden)
        }
        return Response(
            status: .noContent,
            headers: [
                .accessControlAllowOrigin: origin, .accessControlAllowMethods: "POST",
                .accessControlAllowHeaders: "authorization, content-type, x-write-key", .accessControlMaxAge: "7200",
                .vary: "Origin",
            ])
    }

    // MARK: reading

    private func receipt(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let id = context.parameters.get("receipt") ?? ""
        guard let receipt = try await store.receipt(id, org: principal.org) else {
            throw Problem.notFound(code: "receipt_unknown", detail: "There is no such receipt.")
        }
        return Self.text(receipt.json)
    }

    private func outcome(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let id = context.parameters.get("id").map { $0.removingPercentEncoding ?? $0 } ?? ""
        let app = RequestInput.text("app", request) ?? principal.app
        guard let record = try await store.outcome(eventID: id, org: principal.org, app: app) else {
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
        let events = try await store.events(filter).map(\.json)
        guard unseals else { return .json(["events": .array(events)]) }
        return .json(["events": .array(events.map { policies.unsealed($0, org: principal.org) })])
    }

    private static func text(_ json: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(string: json)))
    }
}

extension Problem {
    init(_ error: CaptureError, limits: EventLimits) {
        switch error {
        case .malformedBody(let offset): self = .malformedBody(offset: offset)
        case .bodyTooLarge: self = .bodyTooLarge(limitBytes: limits.bodyBytesMax)
        case .tooManyEvents: self = .tooManyEvents(limit: limits.batchEventsMax)
        case .inflateRatio: self = .inflateRatio
        case .overloaded, .storageFull, .quarantineFull, .logFailed:
            self = .unavailable(code: error.tag, detail: error.sentence)
        }
    }
}
