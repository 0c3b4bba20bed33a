import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Clients that do not keep to HTTP lose their connection and nothing else.
struct BrokenClientTests {
    /// What is sent, whether the client then hangs up, and how the first answer begins.
    private static let cases: [(name: String, sent: [String], hangsUp: Bool, answer: String)] = [
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
            ["POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\nabc"], true, ""
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
}
