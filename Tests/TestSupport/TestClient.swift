internal import AsyncHTTPClient
package import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// Calls a server under test.
package struct TestClient: Sendable {
    package let url: String
    package let key: String

    package init(url: String, key: String) {
        self.url = url
        self.key = key
    }

    package struct Answer: Sendable {
        package let status: Int
        package let headers: [String: String]
        package let body: JSONValue
        package let text: String
    }

    package func get(_ path: String) async throws -> Answer { try await call("GET", path) }

    package func post(
        _ path: String, _ body: JSONValue, headers: [String: String] = [:]
    ) async throws -> Answer {
        try await call(
            "POST", path, Array(body.canonical.utf8),
            headers.merging(["content-type": "application/json"]) { a, _ in a })
    }

    /// One request; connection failures throw.
    package func call(
        _ method: String, _ path: String, _ body: [UInt8]? = nil, _ headers: [String: String] = [:],
        timeout: Duration = .seconds(30)
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url + path)
        request.method = .init(rawValue: method)
        // The shared client gives up on answers that compress well.
        request.headers.add(name: "accept-encoding", value: "identity")
        if !key.isEmpty { request.headers.add(name: "authorization", value: "Bearer \(key)") }
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await HTTPClient.shared.execute(
            request, timeout: .milliseconds(Int64(timeout.seconds * 1000)))
        let data = try await response.body.collect(upTo: 64 << 20)
        let body = (try? JSONDecoder().decode(JSONValue.self, from: Data(data.readableBytesView))) ?? .null
        return Answer(
            status: Int(response.status.code),
            headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }, uniquingKeysWith: { $1 }),
            body: body, text: String(buffer: data))
    }

    /// Makes a key with the admin token this client holds.
    package func makeKey(_ scopes: [String], app: String = "default", publishable: Bool = false, origins: [String] = [])
        async throws -> TestClient
    {
        let answer = try await post(
            "/v1/keys",
            [
                "scopes": .array(scopes.map { .string($0) }), "app": .string(app), "publishable": .bool(publishable),
                "origins": .array(origins.map { .string($0) }),
            ])
        guard let key = answer.body["key"]?.string else { throw ChildProcess.Failure(description: answer.text) }
        return TestClient(url: url, key: key)
    }
}
