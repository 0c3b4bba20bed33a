import AsyncHTTPClient
import AurumCore
import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing
import Validation

/// Sign-ins, limits and the loss of Redis, through the binary.
@Suite(.serialized) struct SharedRuntimeTests {
    /// A person's browser, as far as signing in needs one.
    struct Browser {
        let url: String
        var cookies: [String: String] = [:]

        /// Follows no redirect.
        private static let client: HTTPClient = {
            var configuration = HTTPClient.Configuration()
            configuration.redirectConfiguration = .disallow
            return HTTPClient(configuration: configuration)
        }()

        /// One request with the cookies so far; new ones are kept.
        mutating func call(_ method: String, _ path: String, form: String? = nil) async throws -> (Int, String) {
            var request = HTTPClientRequest(url: url + path)
            request.method = .init(rawValue: method)
            request.headers.add(name: "accept-encoding", value: "identity")
            request.headers.add(
                name: "cookie", value: cookies.map { "\($0)=\($1)" }.sorted().joined(separator: "; "))
            if let form {
                request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
                request.body = .bytes(ByteBuffer(string: form))
            }
            let response = try await Self.client.execute(request, timeout: .seconds(30))
            for cookie in response.headers["set-cookie"] {
                let pair = cookie.prefix { $0 != ";" }.split(separator: "=", maxSplits: 1).map(String.init)
                if pair.count == 2 { cookies[pair[0]] = pair[1] }
            }
            return (
                Int(response.status.code), String(buffer: try await response.body.collect(upTo: 1 << 20))
            )
        }

        mutating func signIn(_ token: String) async throws -> Int {
            _ = try await call("GET", "/login")
            return try await call("POST", "/login", form: "csrf=\(cookies["aurum_csrf"] ?? "")&token=\(token)").0
        }
    }

    private func serve(_ folder: TemporaryFolder, redis: String? = nil) -> SpawnedServer {
        var environment = ["AURUM_LOG_LEVEL": "error"]
        environment["AURUM_REDIS_URL"] = redis
        return SpawnedServer(
            executable: AurumBinary.path, environment: environment, dataDirectory: folder.file("data"))
    }

    /// The administrator's token, which the first start prints; that of server.json ends with its process.
    private func adminToken(_ folder: TemporaryFolder) async throws -> String {
        let first = try ChildProcess(
            AurumBinary.path, ["serve"],
            environment: [
                "AURUM_DATA_DIR": folder.file("data"), "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off",
                "AURUM_LOG_LEVEL": "error",
            ])
        let line = try await first.line(containing: "Admin token", within: .seconds(60))
        _ = try await first.line(containing: "Aurum is ready at", within: .seconds(60))
        first.terminate()
        #expect(try await first.exit(within: .seconds(30)) == 0)
        return try #require(line.split(whereSeparator: \.isWhitespace).last.map(String.init))
    }

    @Test func `a restart keeps people signed in, and signed out`() async throws {
        let folder = TemporaryFolder()
        let token = try await adminToken(folder)
        let server = serve(folder)
        let target = try await server.start()
        var browser = Browser(url: target.url)
        #expect(try await browser.call("GET", "/dashboard").0 == 303)
        #expect(try await browser.signIn(token) == 303)
        #expect(try await browser.call("GET", "/dashboard").0 == 200)
        var other = Browser(url: target.url)
        #expect(try await other.signIn(token) == 303)
        let listed = try await browser.call("GET", "/v1/sessions").1
        #expect(listed.contains("\"current\":true") && listed.contains("\"current\":false"))
        #expect(try await other.call("POST", "/logout", form: "csrf=\(other.cookies["aurum_csrf"] ?? "")").0 == 303)
        await server.kill()
        let again = try await server.restart()
        var (kept, gone) = (Browser(url: again.url, cookies: browser.cookies), Browser(url: again.url))
        gone.cookies = other.cookies
        #expect(try await kept.call("GET", "/dashboard").0 == 200)
        #expect(try await gone.call("GET", "/dashboard").0 == 303)
        let admin = TestClient(url: again.url, key: token)
        #expect(try await admin.call("DELETE", "/v1/sessions").status == 204)
        #expect(try await kept.call("GET", "/dashboard").0 == 303)
        await server.stop()
        withExtendedLifetime(folder) {}
    }

    @Test func `sign-in is refused after ten attempts of an address`() async throws {
        let folder = TemporaryFolder()
        let server = serve(folder)
        let target = try await server.start()
        var browser = Browser(url: target.url)
        for _ in 0..<10 { #expect(try await browser.signIn("wrong") == 401) }
        #expect(try await browser.signIn(target.adminToken) == 429)
        await server.stop()
    }

    @Test func `the server runs the same with Redis, without it, and when it comes back`() async throws {
        let (redis, folder) = (try await RedisServer(), TemporaryFolder())
        let server = serve(folder, redis: redis.url)
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        func state(_ component: String) async throws -> String? {
            try await admin.get("/health").body["components"]?[component]?["state"]?.string
        }
        func overview() async throws -> Int { try await admin.get("/v1/overview").status }
        try await until("Redis is there") { try await state("redis") == "ok" }
        #expect(try await state("rate_limits") == "ok")
        let events = try await admin.makeKey(["events:write"])
        func send() async throws -> Int {
            let line = #"{"type":"track","name":"x","anonymous_id":"a"}"#
            return try await events.call(
                "POST", "/v1/events", Array(line.utf8), ["content-type": "application/x-ndjson"]
            ).status
        }
        #expect(try await send() == 202)
        #expect(try await overview() == 200)
        try await redis.kill()
        try await until("the loss shows") { try await state("rate_limits") == "degraded" }
        #expect(try await admin.get("/health/ready").status == 200)
        #expect(try await send() == 202)
        #expect(try await overview() == 200)
        try await redis.restart()
        try await until("the return shows") { try await state("rate_limits") == "ok" }
        #expect(try await send() == 202)
        await server.stop()
    }

    private func until(_ what: String, _ isTrue: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try await !isTrue() {
            try #require(ContinuousClock.now < deadline, "\(what) not within a minute")
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
