import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Clients that do not keep to HTTP lose their connection and nothing else.
struct BrokenClientTests {
    private static func long(_ count: Int) -> String { String(repeating: "a", count: count) }

    /// What is sent, whether the client then hangs up, and how the first answer begins.
    private static let cases: [(name: String, sent: [String], hangsUp: Bool, answer: String)] = [
        (
            "what is no request", ["garbage\r\n\r\n"], false, "400"
        ),
        (
            "what is no request after one", ["GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\ngarbage\r\n\r\n"], false,
            "200"
        ),
        (
            "half a head after a request",
            ["GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n", "GET /health/ready HTTP/1.1\r\nHo"], true, "200"
        ),
        (
            "a body that ends early, refused before",
            ["POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"], true, "401"
        ),
        (
            "a body larger than any, refused before",
            ["POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\nabc"], true, "401"
        ),
        ("a long address", ["GET /explore?q=\(long(17_000)) HTTP/1.1\r\nHost: x\r\n\r\n"], false, "414"),
        ("an address that never ends", ["GET /explore?q=" + long(100_000), long(100_000)], false, "414"),
        ("a long header", ["GET / HTTP/1.1\r\nHost: x\r\nX-Long: \(long(60_000))\r\n\r\n"], false, "431"),
        (
            "many headers",
            ["GET / HTTP/1.1\r\n" + (0..<200).map { "X-\($0): 1\r\n" }.joined() + "\r\n"], false, "431"
        ),
        (
            "a long address behind a request",
            ["GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n", "GET /\(long(17_000)) HTTP/1.1\r\nHost: x\r\n\r\n"],
            false, "200"
        ),
        (
            "chunks that are none", ["POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
            false, ""
        ),
    ]

    @Test func `bytes that are no HTTP end their connection and not the server`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        for (name, sent, hangsUp, answer) in Self.cases {
            for round in 0..<3 {
                let connection = try RawConnection(target.url)
                var text = ""
                for (number, part) in sent.enumerated() {
                    // Once all at once, then each part behind the answer to the one before it.
                    if number > 0, round > 0 { text += connection.next() }
                    connection.send(part)
                }
                if hangsUp { connection.finish() }
                text += connection.rest()
                #expect(answer.isEmpty || text.hasPrefix("HTTP/1.1 \(answer)"), "\(name): \(text.prefix(80))")
                let alive = try await TestClient(url: target.url, key: "").get("/health/ready")
                #expect(alive.status == 200, "after \(name)")
                try #require(await server.isRunning, "after \(name)")
            }
        }
        #expect(await server.stop() == 0)
    }

    @Test
    func `what is too long for a request is answered as a problem, after the requests before it, and then closed`()
        async throws
    {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let good = "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
        let long = "GET /\(Self.long(17_000)) HTTP/1.1\r\nHost: x\r\n\r\n"
        for (name, sent) in [("in one piece", [good + good + long]), ("one after another", [good, good, long])] {
            let connection = try RawConnection(target.url)
            var text = ""
            for (number, part) in sent.enumerated() {
                connection.send(part)
                if number < sent.count - 1 { text += connection.next() }
            }
            text += connection.rest()
            let statuses = text.components(separatedBy: "HTTP/1.1 ").dropFirst().map { $0.prefix(3) }
            #expect(statuses.prefix(2) == ["200", "200"] && statuses.count == 3, "\(name): \(text)")
            #expect(["414", "431"].contains(statuses.last), "\(name): \(text)")
            let body = text.components(separatedBy: "\r\n\r\n").last ?? ""
            let problem = try JSONDecoder().decode(JSONValue.self, from: Data(body.utf8))
            #expect(problem["code"]?.string?.hasSuffix("_too_long") == true || problem["code"] == "headers_too_large")
            #expect(problem["request_id"]?.string?.count == 32 && text.contains("application/problem+json"))
            #expect(text.components(separatedBy: "onnection: close").count == 2, "\(name): \(text)")
        }
        #expect(await server.stop() == 0)
    }
}
