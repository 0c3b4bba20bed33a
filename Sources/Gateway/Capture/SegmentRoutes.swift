internal import Accounts
internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Capture in the shape that Segment's and RudderStack's clients share.
struct SegmentRoutes: Sendable {
    let desk: CaptureDesk

    private static let paths = [
        "batch", "track", "identify", "page", "screen", "group", "alias", "b", "t", "i", "p", "s", "g", "a",
    ]
    private static let beacon = "/beacon/v1/batch"
    private static let anonymousID = HTTPField.Name("AnonymousId")

    func register(in book: RouteBook) {
        for path in Self.paths {
            guard let format = WireFormat(segmentPath: path) else { continue }
            book.post(
                "/v1/\(path)",
                RouteDescription(
                    "Stores events in Segment's or RudderStack's shape; the key as Basic user or `writeKey`.",
                    tag: "events", scope: .eventsWrite, body: Self.example(format))
            ) { try await events($0, $1, format) }
            book.preflight("/v1/\(path)") { desk.preflight($0) }
        }
        book.post(
            Self.beacon,
            RouteDescription(
                "Stores a batch that RudderStack's browser library sends while a page closes.", tag: "events",
                scope: .eventsWrite, query: ["writeKey": "The write key."], body: Self.example(.segmentBatch))
        ) { try await events($0, $1, .rudderBatch) }
        book.preflight(Self.beacon) { desk.preflight($0) }
    }

    private static func example(_ format: WireFormat) -> JSONValue {
        let track: JSONValue = ["type": "track", "event": "Signed Up", "userId": "u1", "messageId": "m-1"]
        return format == .segmentBatch ? ["batch": [track]] : track
    }

    private func events(_ request: Request, _ context: GatewayContext, _ format: WireFormat) async throws -> Response {
        let named = RequestInput.text("writeKey", request)
        let known = named == nil ? desk.access.principal(request) : nil
        let packed = try await desk.read(request, known, context)
        let encoding = try desk.encoding(request)
        // Unpacked here, because the body may hold the key and says who sent it.
        let body = encoding == .identity ? packed : ByteBuffer(bytes: try desk.decode(packed, encoding))
        let key = named ?? (known == nil ? body.withUnsafeReadableBytes { SegmentEnvelope.writeKey(of: $0) } : nil)
        let principal = try desk.access.requireCapture(request, explicit: key)
        let isRudder = format == .rudderBatch || Self.isRudder(request, body)
        let events = { body.withUnsafeReadableBytes { SegmentEnvelope.eventCount(of: $0) } }
        let receipt = try await desk.charged(principal, events: events()) {
            try await desk.submit(body, isRudder ? format.asRudder : format, desk.source(principal, request))
        }
        if isRudder { return desk.answer("OK", type: "text/plain; charset=utf-8", status: .ok, receipt, request) }
        return desk.answer("{\"success\":true,\"receipt\":\"\(receipt.id)\"}", status: .ok, receipt, request)
    }

    /// RudderStack's libraries name themselves, send the header `AnonymousId`, or put a `channel` into their events.
    private static func isRudder(_ request: Request, _ body: ByteBuffer) -> Bool {
        if request.headers[.userAgent]?.lowercased().contains("rudder") == true { return true }
        if let anonymousID, request.headers[anonymousID] != nil { return true }
        return body.withUnsafeReadableBytes { SegmentEnvelope.namesChannel($0) }
    }
}
