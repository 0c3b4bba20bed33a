internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Capture in the shape of PostHog's clients. The key stands in the body.
struct PostHogRoutes: Sendable {
    let desk: CaptureDesk

    private static let example: JSONValue = [
        "api_key": "wk_…",
        "batch": [
            [
                "event": "user signed up", "distinct_id": "user-1", "uuid": "470e3122-b85d-4c50-8494-2f948782e678",
                "timestamp": "2026-11-21T09:30:00Z", "properties": ["plan": "pro"],
            ]
        ],
    ]
    /// Feature flags are no part of Aurum; clients that ask for them must not fail.
    private static let noFlags: JSONValue = ["flags": [:], "errorsWhileComputingFlags": false]

    /// A trailing slash makes no difference to the router.
    func register(in book: RouteBook) {
        for path in ["/batch/", "/capture/", "/i/v0/e/", "/e/"] {
            book.post(
                path,
                RouteDescription(
                    "Stores events in PostHog's shape; the key as `api_key` or `token` in the body.", tag: "events",
                    query: [
                        "compression": "gzip-js, gzip or base64, as PostHog's libraries say it.",
                        "_": "The client's clock when it sent the body, in milliseconds.",
                    ], body: Self.example)
            ) { try await events($0, $1) }
            book.preflight(path) { desk.preflight($0) }
        }
        for path in ["/flags/", "/decide/"] {
            book.post(
                path,
                RouteDescription("Answers PostHog's clients that there are no feature flags.", tag: "events", body: [:])
            ) { request, context in
                try await desk.rates.limiter.check(desk.rates.request(from: context.clientAddress))
                _ = try await RequestInput.body(request, limit: RequestInput.jsonBytesMax)
                return desk.answer(Self.noFlags.canonical, status: .ok, nil, request)
            }
            book.preflight(path) { desk.preflight($0) }
        }
    }

    private func events(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try Self.checkCompression(request)
        let bytesMax = max(desk.limits.bodyBytesMax, desk.limits.postHogBodyBytesMax)
        let encoding = try desk.encoding(request)
        let packed = try await desk.read(request, nil, context, limit: bytesMax)
        let (limits, now) = (desk.limits, desk.clock.now)
        let unpacked = try desk.decode(packed, encoding, bodyBytesMax: bytesMax)
        let text = try desk.withBytes(unpacked, bodyBytesMax: bytesMax) { (bytes) throws(CaptureError) in
            try PostHogBody.text(bytes, limits: limits, bodyBytesMax: bytesMax)
        }
        let body = try desk.withBytes(text) { (bytes) throws(CaptureError) in
            try PostHogBody.translate(bytes, limits: limits, receivedAt: now)
        }
        let principal = try desk.access.requireCapture(request, explicit: body.key)
        let source = desk.source(
            principal, request, isHistorical: body.isHistorical, sentAt: body.sentAt ?? Self.sentAt(request))
        let receipt = try await desk.charged(principal, events: body.events) {
            try await desk.submit(body.lines, .postHog, source)
        }
        return desk.answer("{\"status\":\"Ok\"}", status: .ok, receipt, request)
    }

    /// gzip and base64 are seen in the bytes themselves; the query may only not announce anything else.
    private static func checkCompression(_ request: Request) throws(Problem) {
        let known: Set<String> = ["", "gzip", "gzip-js", "base64"]
        guard known.contains(RequestInput.text("compression", request) ?? "") else { throw .unsupportedEncoding }
    }

    private static func sentAt(_ request: Request) -> Timestamp? {
        let sent = RequestInput.text("_", request).flatMap { Int64($0) }.map(Timestamp.init(milliseconds:))
        return sent?.isPlausible == true ? sent : nil
    }
}
