internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import TestSupport
import Testing

/// The table of refusals: on every route the same status and the same tag, and nothing stored.
struct CaptureStatusTests {
    /// A route with a body that it takes; `KEY` stands for the key, `EVENTS` for its events.
    struct Route: Sendable, CustomTestStringConvertible {
        var path: String
        var event: String
        var separator = ","
        var open: String
        var close: String
        var keyInHeader = false
        var testDescription: String { path }

        func body(events: Int = 1, key: String) -> String {
            let all = (0..<events).map { event.replacingOccurrences(of: "ID", with: "e\($0)") }
            return (open + all.joined(separator: separator) + close).replacingOccurrences(of: "KEY", with: key)
        }

        func path(key: String) -> String { path.replacingOccurrences(of: "KEY", with: key) }
    }

    static let routes = [
        Route(
            path: "/v1/events", event: #"{"id":"ID","type":"track","name":"n","user_id":"u"}"#, separator: "\n",
            open: "", close: "\n", keyInHeader: true),
        Route(
            path: "/v1/batch", event: #"{"messageId":"ID","type":"track","event":"n","userId":"u"}"#,
            open: #"{"batch":["#, close: #"],"writeKey":"KEY"}"#),
        Route(
            path: "/beacon/v1/batch?writeKey=KEY",
            event: #"{"messageId":"ID","type":"track","event":"n","userId":"u"}"#,
            open: #"{"batch":["#, close: "]}"),
        Route(
            path: "/batch/", event: #"{"uuid":"ID","event":"n","distinct_id":"u"}"#, open: #"{"batch":["#,
            close: #"],"api_key":"KEY"}"#),
        Route(
            path: "/mp/collect?api_secret=KEY", event: #"{"name":"n_ID"}"#, open: #"{"client_id":"c","events":["#,
            close: "]}"),
    ]

    private func call(
        _ capture: CaptureHarness, _ route: Route, key: String, body: [UInt8]? = nil, _ headers: [String: String] = [:]
    ) async throws -> CaptureHarness.Answer {
        var headers = headers
        if route.keyInHeader { headers["Authorization"] = "Bearer \(key)" }
        return try await capture.call(
            .post, route.path(key: key), body ?? Array(route.body(key: key).utf8), headers)
    }

    private func expect(
        _ answer: CaptureHarness.Answer, _ status: Int, _ code: String, _ what: String, retry: Bool = false
    ) {
        #expect(answer.status == status && answer.code == code, "\(what): \(answer.status) \(answer.text)")
        #expect(answer.header("Content-Type") == "application/problem+json")
        if retry { #expect((answer.header("Retry-After").flatMap { Int($0) } ?? 0) >= 1, "\(what)") }
        #expect(answer.receipt == nil)
    }

    @Test(arguments: routes) func `400 malformed_body`(route: Route) async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key()
        guard route.path != "/v1/events" else {
            let answer = try await call(
                capture, route, key: key, body: Array("[{".utf8), ["Content-Type": "application/json"])
            expect(answer, 400, "malformed_body", route.path)
            #expect(answer.json["offset"]?.integer == 2)
            // A bad line is one quarantined event.
            let lines = try await call(capture, route, key: key, body: Array("[{\n".utf8))
            #expect(lines.status == 202 && lines.json["quarantined"] == 1)
            return
        }
        let broken = String(route.body(key: key).dropLast())
        let answer = try await call(capture, route, key: key, body: Array(broken.utf8))
        // Without its end a body has no key to be found either, where the key stands in the body.
        let hidden = route.path == "/v1/batch"
        expect(answer, hidden ? 401 : 400, hidden ? "unknown_key" : "malformed_body", route.path)
        if !hidden { #expect(answer.json["offset"]?.integer != nil) }
        let torn = try await call(
            capture, route, key: key, body: Array(gzip(Array(route.body(key: key).utf8)).dropLast(9)),
            ["Content-Encoding": "gzip"])
        expect(torn, 400, "malformed_body", route.path)
        #expect(try await capture.events().isEmpty)
        await capture.log.close()
    }

    /// What is wrong is said: not everything that cannot be read is broken JSON.
    @Test func `503 disk_nearly_full for imports only, while events of now are taken`() async throws {
        let bulk = BulkWrites { DiskSpace(freeBytes: 4, totalBytes: 100) }
        let capture = try await CaptureHarness(bulk: bulk)
        let past = try await capture.post("/v1/batch", "{}", key: try await capture.key(historical: true))
        expect(past, 503, "disk_nearly_full", "a historical key")
        #expect(past.header("Retry-After") != nil)
        let now = try await capture.post("/v1/batch", "{}", key: try await capture.key())
        expect(now, 400, "malformed_body", "it is read as ever")
        await capture.log.close()
    }

    @Test func `a server key with a rate of its own is refused above it with Retry-After, others are not`() async throws
    {
        let capture = try await CaptureHarness()
        let slow = try await capture.key(eventsPerSecond: 5)
        let free = try await capture.key()
        func lines(_ name: String, _ count: Int) -> String {
            (0..<count).map { #"{"id":"\#(name)\#($0)","type":"track","name":"x","user_id":"u"}"# }
                .joined(separator: "\n")
        }
        #expect(try await capture.post("/v1/events", lines("a", 10), key: slow).status == 202)
        let refused = try await capture.post("/v1/events", lines("b", 3), key: slow)
        expect(refused, 429, "rate_limited", "above twice its rate")
        #expect(refused.header("Retry-After") == "1")
        #expect(try await capture.post("/v1/events", lines("c", 500), key: free).status == 202)
        capture.clock.advance(by: .seconds(1))
        #expect(try await capture.post("/v1/events", lines("b", 3), key: slow).status == 202)
        // It acts on the next request.
        let id = String(slow.split(separator: "_")[1])
        _ = try await capture.keys.setRate(nil, id: id, org: "acme")
        #expect(try await capture.post("/v1/events", lines("d", 500), key: slow).status == 202)
        await capture.log.close()
    }

    /// Single events that a key may still write before it has to wait.
    private func left(_ capture: CaptureHarness, _ key: String) async throws -> Int {
        for count in 0..<50 {
            let answer = try await capture.post(
                "/v1/events", #"{"id":"l\(count)","type":"track","name":"x","user_id":"u"}"#, key: key)
            if answer.status == 429 { return count }
        }
        return 50
    }

    @Test func `a key with a rate of its own pays for events, not for lines, and one for what is refused`() async throws
    {
        let capture = try await CaptureHarness { $0.limits.batchEventsMax = 20 }
        let event = #"{"id":"e","type":"track","name":"x","user_id":"u"}"#
        let blank = String(repeating: "\n", count: 500)
        let json = ["Content-Type": "application/json"]
        let cases: [(String, [UInt8], [String: String], status: Int, paid: Int)] = [
            ("indented", Array(("[" + blank + event + blank + "]").utf8), json, 202, 1),
            ("an array", Array("[\(event),\(event),\(event)]".utf8), json, 202, 3),
            ("blank lines", Array((blank + event + blank + event + blank).utf8), [:], 202, 2),
            (
                "packed", gzip(Array((0..<4).map { _ in event + "\n" }.joined().utf8)), ["Content-Encoding": "gzip"],
                202, 4
            ),
            ("no JSON", Array(("[{" + blank).utf8), json, 400, 1),
            (
                "too many events", Array(String(repeating: event + "\n", count: 21).utf8), [:], 413, 1
            ),
        ]
        for (name, body, headers, status, paid) in cases {
            let key = try await capture.key(eventsPerSecond: 5)
            let answer = try await capture.call(.post, "/v1/events", body, headers, key: key)
            #expect(answer.status == status, "\(name): \(answer.text)")
            #expect(try await left(capture, key) == 10 - paid, "\(name)")
        }
        await capture.log.close()
    }

    @Test func `what a key owes under one rate is not held against another`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key(eventsPerSecond: 1)
        let lines = (0..<2000).map { #"{"id":"\#($0)","type":"track","name":"x","user_id":"u"}"# }
            .joined(separator: "\n")
        #expect(try await capture.post("/v1/events", lines, key: key).status == 202)
        #expect(try await capture.post("/v1/events", lines, key: key).status == 429)
        let id = String(key.split(separator: "_")[1])
        _ = try await capture.keys.setRate(KeyRequest.rates.upperBound, id: id, org: "acme")
        for _ in 0..<5 { #expect(try await capture.post("/v1/events", lines, key: key).status == 202) }
        await capture.log.close()
    }

    @Test func `installs count towards a key's own rate`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key(eventsPerSecond: 2)
        var statuses: [Int] = []
        for number in 0..<5 {
            let body = #"{"id":"i\#(number)","device_id":"d\#(number)"}"#
            statuses.append(try await capture.post("/v1/installs", body, key: key).status)
        }
        #expect(statuses == [202, 202, 202, 202, 429])
        await capture.log.close()
    }

    @Test func `a body of another shape and a broken packing are named for what they are`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key()
        let empty = try await capture.post("/v1/batch", "{}", key: key)
        expect(empty, 400, "malformed_body", "{}")
        let detail = empty.json["detail"]?.string ?? ""
        #expect(detail.contains("array named batch") && !detail.contains("not valid JSON"), "\(detail)")
        #expect(empty.json["offset"] == 0)
        for path in ["/v1/batch", "/v1/events"] {
            for (encoding, body) in [("gzip", Array("no gzip".utf8)), ("zstd", Array("no zstd".utf8))] {
                let headers = ["Content-Encoding": encoding, "Content-Type": "application/json"]
                let broken = try await capture.call(.post, path, body, headers, key: key)
                expect(broken, 400, "malformed_body", "\(path) \(encoding)")
                let detail = broken.json["detail"]?.string ?? ""
                #expect(detail.contains("gzip or zstd") && !detail.contains("JSON"), "\(detail)")
                #expect(broken.json["offset"]?.integer != nil)
            }
        }
        let array = try await capture.post("/v1/track", "[]", key: key)
        #expect(array.code == "malformed_body" && array.json["detail"]?.string?.contains("one event") == true)
        await capture.log.close()
    }

    @Test(arguments: routes) func `401 and 403 unknown_key, scope_missing, origin_not_allowed`(route: Route)
        async throws
    {
        let capture = try await CaptureHarness()
        expect(try await call(capture, route, key: "sk_nobody"), 401, "unknown_key", route.path)
        let reader = try await capture.key(scopes: [.eventsRead])
        expect(try await call(capture, route, key: reader), 403, "scope_missing", route.path)
        let site = try await capture.siteKey()
        let foreign = try await call(capture, route, key: site, ["Origin": "https://evil.example"])
        expect(foreign, 403, "origin_not_allowed", route.path)
        #expect(try await capture.events().isEmpty)
        let own = try await call(capture, route, key: site, ["Origin": CaptureHarness.origin])
        #expect((200..<300).contains(own.status) && own.receipt != nil)
        await capture.log.close()
    }

    @Test(arguments: routes) func `413 and 415 body_too_large, too_many_events, inflate_ratio, unsupported_encoding`(
        route: Route
    ) async throws {
        let capture = try await CaptureHarness {
            $0.limits.bodyBytesMax = 400_000
            $0.limits.postHogBodyBytesMax = 500_000
            $0.limits.batchEventsMax = 20
        }
        let key = try await capture.key()
        let limit = route.path == "/batch/" ? 500_000 : 400_000
        let padded = route.body(key: key) + String(repeating: " ", count: limit)
        expect(try await call(capture, route, key: key, body: Array(padded.utf8)), 413, "body_too_large", route.path)
        var mixed = Array(route.body(key: key).utf8)
        // White space that packs badly, so that its size is what refuses it.
        var random = SeededRandom(seed: 7)
        for _ in 0..<limit { mixed.append([0x20, 0x09, 0x0d, 0x0a][Int.random(in: 0..<4, using: &random)]) }
        let packed = try await call(
            capture, route, key: key, body: gzip(mixed), ["Content-Encoding": "gzip"])
        expect(packed, 413, "body_too_large", route.path)
        let many = route.body(events: 21, key: key)
        expect(try await call(capture, route, key: key, body: Array(many.utf8)), 413, "too_many_events", route.path)
        for (encoding, body) in [
            ("gzip", gzip([UInt8](repeating: 0x20, count: 1 << 20))),
            ("zstd", zstd([UInt8](repeating: 0x20, count: 1 << 20))),
        ] {
            let bomb = try await call(capture, route, key: key, body: body, ["Content-Encoding": encoding])
            expect(bomb, 413, "inflate_ratio", "\(route.path) \(encoding)")
        }
        for encoding in ["br", "deflate", "compress", "gzip, gzip"] {
            let answer = try await call(capture, route, key: key, ["Content-Encoding": encoding])
            expect(answer, 415, "unsupported_encoding", "\(route.path) \(encoding)")
        }
        #expect(try await capture.events().isEmpty)
        for (encoding, pack) in [("gzip", gzip), ("zstd", zstd), ("identity", { $0 })]
            as [(String, ([UInt8]) -> [UInt8])]
        {
            let good = Array(route.body(events: 20, key: key).utf8)
            let answer = try await call(capture, route, key: key, body: pack(good), ["Content-Encoding": encoding])
            #expect((200..<300).contains(answer.status), "\(route.path) \(encoding): \(answer.text)")
        }
        await capture.log.close()
    }

    @Test func `an unknown compression of PostHog's is refused`() async throws {
        let capture = try await CaptureHarness()
        expect(try await capture.post("/e/?compression=lz64", "x"), 415, "unsupported_encoding", "lz64")
        await capture.log.close()
    }

    @Test(arguments: routes) func `429 rate_limited, by events and not by requests`(route: Route) async throws {
        let capture = try await CaptureHarness(ratePerSecond: 20)
        let key = try await capture.siteKey()
        let first = try await call(capture, route, key: key, body: Array(route.body(events: 30, key: key).utf8))
        #expect((200..<300).contains(first.status), "\(first.text)")
        let second = try await call(capture, route, key: key, body: Array(route.body(events: 30, key: key).utf8))
        expect(second, 429, "rate_limited", route.path, retry: true)
        capture.clock.advance(by: .seconds(2))
        let third = try await call(capture, route, key: key, body: Array(route.body(events: 30, key: key).utf8))
        #expect((200..<300).contains(third.status))
        await capture.log.close()
    }

    @Test(arguments: routes) func `503 overloaded, storage_full, log_failed`(route: Route) async throws {
        let rows: [(String, @Sendable (inout EventsConfiguration) -> Void, Bool)] = [
            ("overloaded", { $0.limits.bytesInFlightMax = 0 }, false),
            ("storage_full", { $0.limits.freeBytesMin = 1 << 60 }, false), ("log_failed", { _ in }, true),
        ]
        for (code, change, isClosed) in rows {
            let capture = try await CaptureHarness(change: change)
            let key = try await capture.key()
            if isClosed { await capture.log.close() }
            for _ in 0..<2 {
                expect(try await call(capture, route, key: key), 503, code, route.path, retry: true)
            }
            let pixel = try await capture.get("/v1/px.gif?k=\(key)&anonymous_id=a")
            expect(pixel, 503, code, "pixel", retry: true)
            await capture.log.close()
        }
    }

    /// What would become a gigabyte. Its time and memory are measured by other tests, without neighbours in process.
    @Test(arguments: routes) func `a bomb is refused on every route`(route: Route) async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key()
        let bomb = zstdBomb(bytes: 1 << 30)
        #expect(bomb.count < 64 << 10)
        let answer = try await call(capture, route, key: key, body: bomb, ["Content-Encoding": "zstd"])
        expect(answer, 413, "inflate_ratio", route.path)
        await capture.log.close()
    }
}
