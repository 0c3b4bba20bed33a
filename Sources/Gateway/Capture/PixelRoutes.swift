internal import Accounts
internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Impressions and clicks that a picture reports.
struct PixelRoutes: Sendable {
    let desk: CaptureDesk

    /// One transparent point: 43 bytes of GIF.
    private static let picture: [UInt8] = [
        0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x01, 0x00, 0x01, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff,
        0xff, 0x21, 0xf9, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x00,
        0x00, 0x02, 0x02, 0x44, 0x01, 0x00, 0x3b,
    ]

    func register(in book: RouteBook) {
        book.get(
            "/v1/px.gif",
            RouteDescription(
                "Stores an impression or a click and answers a picture of one point.", tag: "events",
                query: [
                    "k": "The write key.", "t": "impression (default) or click.",
                    "anonymous_id": "The visitor; or user_id, device_id, click_id.",
                    "…": "Names of the contract, campaign fields and utm_*; anything else goes to props.",
                ])
        ) { try await pixel($0, $1) }
        book.readableByPages(.get, "/v1/px.gif")
    }

    private func pixel(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let query = try desk.query(request)
        let type = query["t"] ?? "impression"
        guard ["impression", "click"].contains(type) else {
            throw Problem.badQuery(name: "t", detail: "must be impression or click.")
        }
        let principal = try desk.access.requireCapture(request, explicit: query["k"] ?? "")
        var event = query
        event.type = type
        // A picture's referrer is the page it stands in.
        event.url = query["url"] ?? query["u"] ?? request.headers[.referer]
        var receipt: Receipt?
        // Who asks with HEAD sees no picture.
        if request.method != .head {
            try await desk.admit(principal, context)
            try await desk.charge(principal, events: 1)
            receipt = try await desk.submit(event.line, .pixel, desk.source(principal, request))
        }
        var headers = HTTPFields()
        headers[.contentType] = "image/gif"
        headers[.cacheControl] = "no-store"
        headers[.aurumReceipt] = receipt?.id
        headers[.crossOriginResourcePolicy] = "cross-origin"
        CrossOriginRoutes.allow(request, &headers)
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: Self.picture)))
    }
}

extension CaptureDesk {
    /// The query of a request as an event, with what its headers say.
    /// - Parameter first: parameters that count before those of the request; what has a name of theirs is left out.
    func query(_ request: Request, first: String = "") throws(Problem) -> QueryEvent {
        var own = request.uri.query ?? ""
        if !first.isEmpty {
            let names = Set(Self.names(first))
            own = own.split(separator: "&").filter { Set(Self.names(String($0))).isDisjoint(with: names) }
                .joined(separator: "&")
        }
        let text = first.isEmpty ? own : first + "&" + own
        guard text.utf8.count <= limits.queryBytesMax else { throw .bodyTooLarge(limitBytes: limits.queryBytesMax) }
        var event = QueryEvent(query: text, type: "")
        event.userAgent = request.headers[.userAgent]
        event.privacyControl = request.headers[.globalPrivacyControl] == "1"
        return event
    }

    /// The names of a query, escapes resolved.
    private static func names(_ query: String) -> [String] {
        QueryEvent(query: query, type: "").parameters.map(\.name)
    }
}
