internal import Accounts
internal import AurumCore
internal import Events
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Capture in our own shape.
struct NativeRoutes: Sendable {
    let desk: CaptureDesk

    private static let example: JSONValue = [
        "id": "9b2d6a0e-5a0c-4a53-a6a1-0a5a4d1e7c11", "type": "page", "anonymous_id": "visitor-1",
        "url": "https://www.example.com/?utm_source=google&utm_medium=cpc&utm_campaign=brooklyn-solar",
    ]

    func register(in book: RouteBook) {
        book.post(
            "/v1/events",
            RouteDescription(
                "Stores events: one JSON object a line, an array, or one object.", tag: "events", scope: .eventsWrite,
                success: 202, query: ["key": "A publishable key, for senders that cannot set headers."],
                body: Self.example, bodyType: "application/x-ndjson")
        ) { try await events($0, $1) }
        book.preflight("/v1/events") { desk.preflight($0) }
    }

    private func events(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try desk.access.requireCapture(request, bodyKey: nil)
        let body = try await desk.read(request, principal, context)
        let (format, encoding) = (try Self.format(request), try desk.encoding(request))
        let receipt = try await desk.charged(principal, events: events(in: body, format, encoding)) {
            try await desk.submit(body, format, desk.source(principal, request), encoding: encoding)
        }
        return desk.answer(receipt.json, status: .accepted, receipt, request)
    }

    /// Lines of a body, the last one without an end included, at most as many events as a body may hold. Line ends of
    /// packed bytes and of other JSON say nothing: there it is one until the body is read.
    private func events(in body: ByteBuffer, _ format: WireFormat, _ encoding: BodyEncoding) -> Int {
        guard format == .ndjson, encoding == .identity else { return 1 }
        let bytes = body.readableBytesView
        let lines = bytes.count { $0 == UInt8(ascii: "\n") } + (bytes.last == UInt8(ascii: "\n") ? 0 : 1)
        return min(lines, desk.limits.batchEventsMax)
    }

    private static func format(_ request: Request) throws(Problem) -> WireFormat {
        // Media types are ASCII; spaces may stand before the parameters.
        let named = request.headers[.contentType]?.utf8.prefix { $0 != UInt8(ascii: ";") }.filter {
            $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t")
        }
        return switch named.map({ String(decoding: $0, as: UTF8.self) }) {
        case "application/json": WireFormat.json
        // The last is what curl says of `-d` unless told otherwise.
        case nil, "", "application/x-ndjson", "application/ndjson", "text/plain", "application/x-www-form-urlencoded":
            .ndjson
        default: throw .unsupportedMediaType
        }
    }
}
