internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird

/// Capture in the shape of GA4's Measurement Protocol. The key is the query's `api_secret`.
struct MeasurementRoutes: Sendable {
    let desk: CaptureDesk

    private static let example: JSONValue = [
        "client_id": "123.456", "timestamp_micros": 1_795_253_400_000_000,
        "events": [
            [
                "name": "purchase",
                "params": [
                    "transaction_id": "T-1", "value": 30.03, "currency": "USD", "page_location": "https://a.example/",
                ],
            ]
        ],
    ]
    private static let query = [
        "measurement_id": "Kept out of the events; any text.", "api_secret": "The write key.",
    ]

    func register(in book: RouteBook) {
        book.post(
            "/mp/collect",
            RouteDescription(
                "Stores events in the shape of GA4's Measurement Protocol.", tag: "events", success: 204,
                query: Self.query, body: Self.example)
        ) { try await collect($0, $1) }
        book.post(
            "/debug/mp/collect",
            RouteDescription(
                "Says what is wrong with a body of GA4's Measurement Protocol; stores nothing.", tag: "events",
                query: Self.query, body: Self.example)
        ) { try await validate($0, $1) }
        for path in ["/mp/collect", "/debug/mp/collect"] { book.preflight(path) { desk.preflight($0) } }
    }

    private func collect(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try desk.access.requireCapture(
            request, explicit: RequestInput.text("api_secret", request) ?? "")
        let packed = try await desk.read(request, principal, context)
        let text = try desk.decode(packed, desk.encoding(request))
        let limits = desk.limits
        let body = try desk.withBytes(text) { (bytes) throws(CaptureError) in
            try MeasurementBody.translate(bytes, limits: limits)
        }
        let receipt = try await desk.charged(principal, events: body.events) {
            try await desk.submit(body.lines, .measurement, desk.source(principal, request))
        }
        var answer = desk.answer("", status: .noContent, receipt, request)
        answer.headers[.contentType] = nil
        return answer
    }

    private func validate(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try desk.access.requireCapture(
            request, explicit: RequestInput.text("api_secret", request) ?? "")
        let packed = try await desk.read(request, principal, context)
        let text = try desk.decode(packed, desk.encoding(request))
        let messages = text.withUnsafeBytes {
            MeasurementBody.messages($0, limits: desk.limits, receivedAt: desk.clock.now)
        }
        let document: JSONValue = ["validationMessages": .array(messages)]
        return desk.answer(document.canonical, status: .ok, nil, request)
    }
}
