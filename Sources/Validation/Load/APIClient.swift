internal import AsyncHTTPClient
package import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// One answer as a check sees it.
package struct APIAnswer: Sendable {
    package var status: Int
    package var headers: [String: String]
    package var body: [UInt8]
    package var elapsed: Duration

    /// The body as JSON; null when it is not.
    package var json: JSONValue {
        (try? JSONDecoder().decode(JSONValue.self, from: Data(body))) ?? .null
    }

    package var text: String { String(decoding: body, as: UTF8.self) }
    /// `code` of a problem document.
    package var code: String { json["code"]?.string ?? "" }

    package func header(_ name: String) -> String? { headers[name.lowercased()] }
}

/// Small client for Aurum's API and for the buyers' books. Follows no redirect, retries nothing.
package struct APIClient: Sendable {
    package var base: String
    /// Sent as `Authorization: Bearer`; nil sends none.
    package var key: String?
    private static let bodyBytesMax = 32 << 20
    /// One pool for the whole process, never shut down. Answers are asked for uncompressed: what is measured is the
    /// server, and a client's own limit on inflating must not decide a check.
    private static let client: HTTPClient = {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow, decompression: .disabled)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        return HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
    }()

    package init(_ base: String, key: String? = nil) {
        self.base = base.hasSuffix("/") ? String(base.dropLast()) : base
        self.key = key
    }

    package func with(key: String?) -> APIClient { APIClient(base, key: key) }

    package func get(_ path: String, headers: [(String, String)] = []) async throws -> APIAnswer {
        try await send("GET", path, body: nil, headers: headers)
    }

    package func post(_ path: String, _ value: JSONValue, headers: [(String, String)] = []) async throws -> APIAnswer {
        try await send("POST", path, body: Array(value.canonical.utf8), headers: headers)
    }

    package func put(_ path: String, _ value: JSONValue) async throws -> APIAnswer {
        try await send("PUT", path, body: Array(value.canonical.utf8))
    }

    /// Events as newline-delimited JSON.
    package func events(_ events: [JSONValue], headers: [(String, String)] = []) async throws -> APIAnswer {
        let lines = events.map { $0.canonical + "\n" }.joined()
        return try await send(
            "POST", "/v1/events", body: Array(lines.utf8), contentType: "application/x-ndjson", headers: headers)
    }

    package func send(
        _ method: String, _ path: String, body: [UInt8]?, contentType: String = "application/json",
        headers: [(String, String)] = [], timeout: Duration = .seconds(20)
    ) async throws -> APIAnswer {
        var request = HTTPClientRequest(url: base + path)
        request.method = HTTPMethod(rawValue: method)
        if let key { request.headers.add(name: "authorization", value: "Bearer \(key)") }
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body {
            if !request.headers.contains(name: "content-type") {
                request.headers.add(name: "content-type", value: contentType)
            }
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        let clock = ContinuousClock()
        let start = clock.now
        let response = try await APIClient.client.execute(request, timeout: .nanoseconds(timeout.nanoseconds))
        let buffer = try await response.body.collect(upTo: APIClient.bodyBytesMax)
        var fields: [String: String] = [:]
        for (name, value) in response.headers { fields[name.lowercased()] = value }
        return APIAnswer(
            status: Int(response.status.code), headers: fields, body: Array(buffer.readableBytesView),
            elapsed: clock.now - start)
    }
}
