package import Accounts
package import AurumCore
internal import Database
internal import Foundation
package import HTTPTypes
package import Hummingbird
internal import NIOCore

/// What the OpenAPI document says of one route.
package struct RouteDescription: Sendable {
    package var summary: String
    package var tag: String
    /// The scope a key needs; nil for public routes.
    package var scope: Scope?
    package var success: Int
    /// Query parameters by name with a sentence each.
    package var query: [String: String]
    /// An example body; nil where none is sent.
    package var body: JSONValue?
    package var bodyType: String
    /// Does the same for each of many rows by its nature: a statement may run as often as there are rows.
    package var isBulk = false

    package init(
        _ summary: String, tag: String, scope: Scope? = nil, success: Int = 200, query: [String: String] = [:],
        body: JSONValue? = nil, bodyType: String = "application/json"
    ) {
        self.summary = summary
        self.tag = tag
        self.scope = scope
        self.success = success
        self.query = query
        self.body = body
        self.bodyType = bodyType
    }

    /// The same for a route that does one thing for each of many rows.
    package var bulk: RouteDescription {
        var copy = self
        copy.isBulk = true
        return copy
    }
}

/// Registers routes and their documentation in one call, so that neither can exist without the other.
package final class RouteBook {
    package typealias Handler = @Sendable (Request, GatewayContext) async throws -> Response

    package struct Entry: Sendable {
        package let method: HTTPRequest.Method
        package let path: String
        package let description: RouteDescription
    }

    let router: Router<GatewayContext>
    package private(set) var entries: [Entry] = []
    private var preflights: Set<String> = []
    private let crossOrigin: CrossOriginRoutes

    /// - Parameter crossOrigin: those of the edge, which answers refusals.
    package init(router: Router<GatewayContext>, crossOrigin: CrossOriginRoutes) {
        self.router = router
        self.crossOrigin = crossOrigin
    }

    func get(_ path: String, _ description: RouteDescription, use handler: @escaping Handler) {
        add(.get, path, description, handler)
    }

    func post(_ path: String, _ description: RouteDescription, use handler: @escaping Handler) {
        add(.post, path, description, handler)
    }

    func put(_ path: String, _ description: RouteDescription, use handler: @escaping Handler) {
        add(.put, path, description, handler)
    }

    func patch(_ path: String, _ description: RouteDescription, use handler: @escaping Handler) {
        add(.patch, path, description, handler)
    }

    func delete(_ path: String, _ description: RouteDescription, use handler: @escaping Handler) {
        add(.delete, path, description, handler)
    }

    /// What browsers ask before they post from another origin; no operation of its own in the document. Pages may read
    /// what the path refuses.
    func preflight(_ path: String, use handler: @escaping @Sendable (Request) -> Response) {
        preflights.insert(path)
        readableByPages(.post, path)
        router.on(RouterPath(path), method: .options) { request, _ in handler(request) }
    }

    /// Pages of other origins call this route: they may read what it refuses, as they may what it answers.
    func readableByPages(_ method: HTTPRequest.Method, _ path: String) { crossOrigin.add(method, path) }

    /// Routes that the router knows and the document does not, and the other way round; preflights and the HEAD that
    /// every GET has aside.
    package var differences: [String] {
        func shape(_ path: String) -> String {
            "/"
                + path.split(separator: "/").map { $0.hasPrefix("{") || $0.hasPrefix(":") ? "{}" : String($0) }
                .joined(separator: "/")
        }
        let routed = router.routes.filter { ![.options, .head].contains($0.method) }.map {
            "\($0.method) \(shape($0.path.description))"
        }
        let documented = entries.map { "\($0.method) \(shape($0.path))" }
        return Set(routed).symmetricDifference(documented).sorted()
    }

    /// Documents a route that is registered on the router itself.
    func describe(_ method: HTTPRequest.Method, _ path: String, _ description: RouteDescription) {
        entries.append(Entry(method: method, path: path, description: description))
    }

    private func add(
        _ method: HTTPRequest.Method, _ path: String, _ description: RouteDescription, _ handler: @escaping Handler
    ) {
        entries.append(Entry(method: method, path: path, description: description))
        let handler = description.isBulk ? Self.uncounted(handler) : handler
        router.on(Self.routerPath(path), method: method, use: handler)
        // HEAD does what GET does; the edge leaves the body out.
        if method == .get { router.on(Self.routerPath(path), method: .head, use: handler) }
    }

    /// The same handler with statements that nobody counts by request.
    private static func uncounted(_ handler: @escaping Handler) -> Handler {
        { request, context in
            try await RequestScope.$current.withValue(nil) { try await handler(request, context) }
        }
    }

    private static func routerPath(_ path: String) -> RouterPath {
        RouterPath(path.replacingOccurrences(of: "{", with: ":").replacingOccurrences(of: "}", with: ""))
    }

    /// Answers 405 with the methods there are where a path exists with others only. Call it after all routes.
    func refuseOtherMethods() {
        for (path, known) in Dictionary(grouping: entries, by: \.path) {
            var methods = Set(known.map(\.method))
            if methods.contains(.get) { methods.insert(.head) }
            if preflights.contains(path) { methods.insert(.options) }
            let refusal = Problem.methodNotAllowed(allow: methods.map(\.rawValue).sorted().joined(separator: ", "))
            for method in [HTTPRequest.Method.get, .head, .post, .put, .delete, .patch, .options, .trace]
            where !methods.contains(method) {
                router.on(Self.routerPath(path), method: method) { _, _ -> Response in throw refusal }
            }
        }
    }
}

extension Response {
    /// A JSON answer; keys in canonical order.
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        return Response(
            status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: value.canonical)))
    }

    /// A JSON answer of any encodable value.
    static func encoded(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Response(
            status: status, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: try encoder.encode(value))))
    }
}

/// Reading bodies and parameters with problems a caller can act on.
enum RequestInput {
    static let jsonBytesMax = 1_048_576

    /// The whole body, at most `limit` bytes.
    static func body(_ request: Request, limit: Int) async throws -> ByteBuffer {
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Problem.bodyTooLarge(limitBytes: limit)
        }
        // A body that came in one read is not copied.
        var body: ByteBuffer?
        for try await part in request.body {
            guard (body?.readableBytes ?? 0) + part.readableBytes <= limit else {
                throw Problem.bodyTooLarge(limitBytes: limit)
            }
            if body?.writeImmutableBuffer(part) == nil { body = part }
        }
        return body ?? ByteBuffer()
    }

    /// The body as JSON.
    static func json(_ request: Request, limit: Int = jsonBytesMax) async throws -> JSONValue {
        try json(try await body(request, limit: limit))
    }

    /// A body that was read, as JSON.
    static func json(_ buffer: ByteBuffer) throws(Problem) -> JSONValue {
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(buffer.readableBytesView)) else {
            throw .malformedBody(offset: nil)
        }
        return value
    }

    /// An integer query parameter within `range`, or `standard` when absent.
    static func integer(
        _ name: String, _ request: Request, in range: ClosedRange<Int>, standard: Int
    ) throws(Problem) -> Int {
        guard let text = request.uri.queryParameters[Substring(name)] else { return standard }
        guard let value = Int(text), range.contains(value) else {
            throw .badQuery(
                name: name, detail: "must be a whole number from \(range.lowerBound) to \(range.upperBound).")
        }
        return value
    }

    static func text(_ name: String, _ request: Request) -> String? {
        request.uri.queryParameters[Substring(name)].map(String.init)
    }

    /// A 16-byte id of the path; what is no id at all is refused as that.
    static func uid(_ name: String, _ context: GatewayContext) throws(Problem) -> UID {
        try uid(name, context, missing: .malformedID(name: name))
    }

    /// A 16-byte id of the path.
    static func uid(_ name: String, _ context: GatewayContext, missing: Problem) throws(Problem) -> UID {
        guard let text = context.parameters.get(name), let id = UID(text) else { throw missing }
        return id
    }
}
