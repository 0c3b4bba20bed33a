import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// What other methods than the usual ones of a route are answered.
struct MethodTests {
    /// One answer of a connection that stays open: its head, and what came behind it.
    private static func ask(_ connection: RawConnection, _ head: String) -> (head: [String], body: String) {
        connection.send(head)
        var text = connection.next()
        while !text.contains("\r\n\r\n") { text += connection.next() }
        let parts = text.components(separatedBy: "\r\n\r\n")
        return (parts[0].components(separatedBy: "\r\n"), parts.dropFirst().joined(separator: "\r\n\r\n"))
    }

    private static func headers(_ head: [String], without names: Set<String>) -> [String: String] {
        let pairs = head.dropFirst().map { line in
            let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            return (parts[0].lowercased(), parts.count > 1 ? parts[1] : "")
        }
        return Dictionary(pairs, uniquingKeysWith: { $1 }).filter { !names.contains($0.key) }
    }

    @Test func `HEAD is answered as GET without a body, on a connection that goes on`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let own: Set = ["aurum-request-id", "date", "set-cookie", "content-security-policy"]
        for (path, status) in [
            ("/", "200"), ("/login", "200"), ("/dashboard", "303"), ("/assets/app.css", "200"), ("/aurum.js", "200"),
            ("/health/live", "200"), ("/openapi.json", "200"), ("/schemas/event/1", "200"), ("/v1/keys", "200"),
            ("/v1/query?q=count", "200"), ("/v1/query", "400"), ("/v1/receipts/none", "404"), ("/nothing", "404"),
            ("/v1/tail", "426"),
        ] {
            let rest =
                " \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(target.adminToken)\r\n"
                + "Accept-Encoding: identity\r\n\r\n"
            let connection = try RawConnection(target.url)
            let head = Self.ask(connection, "HEAD" + rest)
            #expect(head.head[0].contains(status) && head.body.isEmpty, "\(path): \(head)")
            // A body in the answer to HEAD would stand before the head of this one.
            let get = Self.ask(connection, "GET" + rest)
            #expect(get.head[0] == head.head[0], "\(path): \(get.head)")
            let timed = own.union(path.hasPrefix("/v1/query?") ? ["content-length"] : [])
            #expect(Self.headers(get.head, without: timed) == Self.headers(head.head, without: timed), "\(path)")
        }
        let connection = try RawConnection(target.url)
        for _ in 0..<3 {
            let packed = Self.ask(
                connection, "HEAD /assets/app.css HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
            #expect(packed.head[0].contains("200") && packed.body.isEmpty, "\(packed)")
            #expect(!packed.head.contains { $0.lowercased().contains("bodyless") }, "\(packed)")
        }
        #expect(await server.stop() == 0)
    }

    @Test func `who asks with HEAD where a click leads or whether a pixel is there, stores no event`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(
            ["events:write"], app: "shop", publishable: true, origins: ["https://shop.example"])
        let click = "/v1/click?k=\(key.key)&to=https%3A%2F%2Fshop.example%2F"
        let pixel = "/v1/px.gif?k=\(key.key)&anonymous_id=a"
        let connection = try RawConnection(target.url)
        for (path, status) in [(click, "302"), (pixel, "200")] {
            let answer = Self.ask(connection, "HEAD \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(answer.head[0].contains(status), "\(answer)")
        }
        #expect(try await admin.get("/v1/events?app=shop").body["events"] == [])
        _ = Self.ask(connection, "GET \(pixel) HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await admin.get("/v1/events?app=shop").body["events"]?.array?.count == 1)
        #expect(await server.stop() == 0)
    }

    @Test func `a method that a path does not know is refused with those it knows`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let client = TestClient(url: target.url, key: "")
        for (method, path, allow) in [
            ("DELETE", "/v1/query", "GET, HEAD, POST"), ("GET", "/v1/query/funnel", "POST"),
            ("HEAD", "/v1/query/funnel", "POST"), ("PUT", "/v1/events", "GET, HEAD, OPTIONS, POST"),
            ("OPTIONS", "/v1/query", "GET, HEAD, POST"), ("POST", "/assets/app.css", "GET, HEAD"),
            ("TRACE", "/", "GET, HEAD"), ("POST", "/openapi.json", "GET, HEAD"),
            ("PATCH", "/v1/exports/1", "DELETE, GET, HEAD"),
        ] {
            let answer = try await client.call(method, path)
            #expect(answer.status == 405 && answer.headers["allow"] == allow, "\(method) \(path): \(answer)")
        }
        #expect(try await client.call("OPTIONS", "/v1/events").status == 403, "a preflight stays one")
        #expect(await server.stop() == 0)
    }

    @Test func `a browser that loses its way is shown a page, a program a document`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let client = TestClient(url: target.url, key: target.adminToken)
        let browser = ["accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"]
        for (path, headers, isPage) in [
            ("/nowhere", browser, true), ("/nowhere", [:], false), ("/v1/nowhere", browser, false),
        ] as [(String, [String: String], Bool)] {
            let answer = try await client.call("GET", path, nil, headers)
            #expect(answer.status == 404, "\(path): \(answer)")
            #expect(answer.headers["content-type"]?.hasPrefix("text/html") == isPage, "\(path): \(answer)")
            #expect(answer.text.contains("There is nothing at this path."), "\(path): \(answer)")
        }
        #expect(await server.stop() == 0)
    }
}
