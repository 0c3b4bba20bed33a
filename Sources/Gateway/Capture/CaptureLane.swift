internal import Accounts
internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import Telemetry

/// The short way into the log for what most events come by: lines of a server's key to `POST /v1/events`, of known
/// length, not packed. They are read and parsed on the connection's event loop, without the web framework; everything
/// else goes through the router, which answers such a request just the same.
struct CaptureLane: Sendable {
    /// Longer bodies would hold the event loop, and whoever shares it, for too long.
    private static let bodyBytesMax = 1 << 20
    static let path = "/v1/events"

    let desk: CaptureDesk
    let edge: EdgeMiddleware
    let budget: BodyBudget
    let dates: HTTPDates
    let requests: Counter

    /// A request that is taken here.
    struct Taken: Sendable {
        let source: CaptureSource
        let account: BodyAccount
        let requestID: String
        let started = ContinuousClock.now
        let bodyBytes: Int
    }

    /// nil when the request is the router's.
    func take(_ head: HTTPRequest) -> Taken? {
        guard head.method == .post, head.path == Self.path, isPlain(head.headerFields),
            let length = head.headerFields[.contentLength].flatMap({ Int($0) }), length > 0,
            length <= min(Self.bodyBytesMax, desk.limits.bodyBytesMax),
            let authorization = head.headerFields[.authorization],
            let principal = desk.access.principal(authorization: authorization), isUnlimited(principal),
            desk.capture.refusal() == nil, budget.check(announced: length, holder: authorization) == nil
        else { return nil }
        let request = Request(head: head, body: RequestBody(buffer: ByteBuffer()))
        return Taken(
            source: desk.source(principal, request), account: BodyAccount(budget: budget, holder: authorization),
            requestID: RequestID.choose(head.headerFields[RequestID.header], now: desk.clock.now), bodyBytes: length)
    }

    /// Lines as they are; nothing asked of the connection, for a page of another origin or for somebody signed in.
    private func isPlain(_ fields: HTTPFields) -> Bool {
        guard fields[.contentType] == "application/x-ndjson" else { return false }
        return fields[.contentEncoding] == nil && fields[.transferEncoding] == nil && fields[.origin] == nil
            && Self.keepsConnection(fields) && fields[.expect] == nil && fields[.cookie] == nil
    }

    /// Whether a request leaves its connection as it is.
    static func keepsConnection(_ fields: HTTPFields) -> Bool {
        fields[.connection].map { $0.lowercased() == "keep-alive" } ?? true
    }

    /// Keys that are held to no rate, and for what happens now.
    private func isUnlimited(_ principal: Principal) -> Bool {
        (principal.kind == .server || principal.kind == .admin) && principal.eventsPerSecond == nil
            && !principal.historical && principal.has(.eventsWrite)
    }

    /// Parses a body; `done` is told on any thread, at once or later, what became of it.
    func submit(
        _ body: ByteBuffer, _ taken: Taken, done: @escaping @Sendable (Result<Receipt, CaptureError>) -> Void
    ) {
        body.withUnsafeReadableBytes { bytes in
            desk.capture.submit(
                bytes, format: .ndjson, source: taken.source, receivedAt: desk.clock.now, done: done)
        }
    }

    /// What goes back.
    struct Answer: Sendable {
        let head: HTTPResponse
        let body: ByteBuffer
    }

    func answer(_ result: Result<Receipt, CaptureError>, _ taken: Taken) -> Answer {
        switch result {
        case .success(let receipt):
            return finish(
                .accepted, [.contentType: "application/json", .aurumReceipt: receipt.id],
                ByteBuffer(string: receipt.json), taken)
        case .failure(let error): return refuse(Problem(error, limits: desk.limits), error, taken)
        }
    }

    /// The answer to a body that outgrew what the process may hold.
    func refuse(_ problem: Problem, _ error: any Error, _ taken: Taken) -> Answer {
        var logger = desk.logger
        logger[metadataKey: "request_id"] = .string(taken.requestID)
        edge.report(problem, error, method: .post, route: Self.path, logger)
        let body = ByteBuffer(string: problem.document(requestID: taken.requestID).canonical)
        return finish(problem.status, problem.fields, body, taken)
    }

    private func finish(
        _ status: HTTPResponse.Status, _ fields: HTTPFields, _ body: ByteBuffer, _ taken: Taken
    ) -> Answer {
        var fields = fields
        fields[.contentLength] = String(body.readableBytes)
        fields[.date] = dates.now
        EdgeMiddleware.finish(&fields, requestID: taken.requestID)
        edge.settle(.post, route: Self.path, status, since: taken.started)
        requests.increment()
        return Answer(head: HTTPResponse(status: status, headerFields: fields), body: body)
    }
}
