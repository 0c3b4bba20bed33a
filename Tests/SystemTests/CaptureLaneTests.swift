import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Lines of a server's key take a short way into the log. Nobody may tell it from the router's.
struct CaptureLaneTests {
    /// One answer as it came.
    private struct Answer: Equatable {
        let status: String
        let headers: [String: String]
        let body: JSONValue
    }

    /// The answers in a text, by their lengths.
    private static func answers(_ text: String) throws -> [Answer] {
        var (rest, answers) = (Substring(text), [Answer]())
        while let end = rest.range(of: "\r\n\r\n") {
            let lines = rest[..<end.lowerBound].components(separatedBy: "\r\n")
            let pairs = lines.dropFirst().map { line in
                let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
                return (parts[0].lowercased(), parts.count > 1 ? parts[1] : "")
            }
            let headers = Dictionary(pairs, uniquingKeysWith: { $1 })
            let length = Int(headers["content-length"] ?? "") ?? 0
            // The rest of it is still on its way.
            guard rest[end.upperBound...].utf8.count >= length else { break }
            let body = rest[end.upperBound...].prefix(length)
            rest = rest[end.upperBound...].dropFirst(length)
            let document = try JSONDecoder().decode(JSONValue.self, from: Data(body.utf8))
            answers.append(Answer(status: String(lines[0].dropFirst(9).prefix(3)), headers: headers, body: document))
        }
        return answers
    }

    /// What a receipt says, but for its name; nil for a refusal.
    private static func counts(_ answer: Answer?) -> JSONValue? {
        guard case .object(var members)? = answer?.body else { return nil }
        return members.removeValue(forKey: "receipt") == nil ? nil : .object(members)
    }

    private static func lines(_ name: String, _ count: Int) -> String {
        (0..<count).map { #"{"id":"\#(name)-\#($0)","type":"track","event":"Lane","anonymous_id":"a"}"# + "\n" }
            .joined()
    }

    /// - Parameter isShort: else with a type that only the router reads.
    private static func post(
        _ body: String, key: String, isShort: Bool = true, length: Int? = nil, _ field: String = ""
    ) -> String {
        let type = isShort ? "application/x-ndjson" : "application/x-ndjson; charset=utf-8"
        return "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(key)\r\nContent-Type: \(type)\r\n"
            + "\(field)Content-Length: \(length ?? body.utf8.count)\r\n\r\n\(body)"
    }

    /// Sends a text and reads until as many answers are there.
    private static func ask(_ url: String, _ parts: [String], answers count: Int) throws -> [Answer] {
        let connection = try RawConnection(url)
        for part in parts { connection.send(part) }
        var text = ""
        while try answers(text).count < count, case let more = connection.next(), !more.isEmpty { text += more }
        return try answers(text)
    }

    private static func pieces(_ text: String, _ size: Int) -> [String] {
        let bytes = Array(text.utf8)
        return stride(from: 0, to: bytes.count, by: size).map {
            String(decoding: bytes[$0..<min($0 + size, bytes.count)], as: UTF8.self)
        }
    }

    /// The server's metrics, by name and labels as they stand there.
    private static func metrics(_ target: ValidationTarget) async throws -> [Substring: Double] {
        let text = try await TestClient(url: target.metricsURL ?? "", key: "").get("").text
        return Dictionary(
            text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
                guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
                    return nil
                }
                return (line[..<space], value)
            }, uniquingKeysWith: { $1 })
    }

    /// Waits until the server says that it answers so many requests.
    private static func until(_ count: Double, _ target: ValidationTarget) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while true {
            let found = try await metrics(target)["aurum_http_requests_in_flight"]
            if found == count { return }
            try #require(ContinuousClock.now < deadline, "\(found.map { "\($0)" } ?? "no gauge")")
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private static func direct(_ target: ValidationTarget) async throws -> Double {
        try await metrics(target)["aurum_events_direct_requests_total"] ?? -1
    }

    private static func start() async throws -> (server: SpawnedServer, target: ValidationTarget, key: String) {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let key = try await TestClient(url: target.url, key: target.adminToken).makeKey(["events:write"]).key
        return (server, target, key)
    }

    @Test func `the short way answers as the router does`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(["events:write"]).key
        let reader = try await admin.makeKey(["events:read"]).key
        for (name, status, key, body) in [
            ("events", "202", key, { Self.lines($0, 3) }),
            ("a broken line among them", "202", key, { Self.lines($0, 2) + "{\"type\":\n" + Self.lines($0 + "b", 1) }),
            ("what was sent before", "202", key, { _ in Self.lines("again", 2) }),
            ("no last line end", "202", key, { String(Self.lines($0, 2).dropLast()) }),
            ("nothing but blank lines", "202", key, { _ in "\n \n\n" }),
            ("too many events", "413", key, { _ in String(repeating: "{}\n", count: 2501) }),
            ("a key that may not write", "403", reader, { Self.lines($0, 1) }),
            ("no key of ours", "401", "sk_none", { Self.lines($0, 1) }),
        ] as [(String, String, String, (String) -> String)] {
            _ = try Self.ask(target.url, [Self.post(Self.lines("again", 2), key: key)], answers: 1)
            let before = try await Self.direct(target)
            let long = try Self.ask(
                target.url, [Self.post(body("long \(name)"), key: key, isShort: false)], answers: 1)
            let short = try Self.ask(target.url, [Self.post(body("quick \(name)"), key: key)], answers: 1)
            #expect(try await Self.direct(target) - before == (["401", "403"].contains(status) ? 0 : 1), "\(name)")
            #expect(long.first?.status == status, "\(name): \(long)")
            let (one, other) = (long.first, short.first)
            #expect(one?.headers.keys.sorted() == other?.headers.keys.sorted(), "\(name)")
            #expect(one?.status == other?.status && Self.counts(one) == Self.counts(other), "\(name): \(short)")
            #expect(one?.body["code"] == other?.body["code"] && one?.body["detail"] == other?.body["detail"], "\(name)")
            let fixed = ["content-type", "cache-control", "www-authenticate", "x-content-type-options"]
            for header in fixed { #expect(one?.headers[header] == other?.headers[header], "\(name): \(header)") }
        }
        // Eight times three were asked, and all were counted alike.
        let metrics = try await Self.metrics(target)
        for name in ["aurum_http_requests_total", "aurum_http_request_duration_seconds_count"] {
            let counted = metrics.filter { $0.key.hasPrefix(name) && $0.key.contains(#"route="/v1/events""#) }
            #expect(counted.values.reduce(0, +) == 24, "\(counted)")
        }
        #expect(await server.stop() == 0)
    }

    @Test func `what asks for more than to be stored takes the long way`() async throws {
        let (server, target, key) = try await Self.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let publishable = try await admin.makeKey(["events:write"], publishable: true).key
        let slow = try await admin.post("/v1/keys", ["scopes": ["events:write"], "events_per_second": 100])
        let rated = try #require(slow.body["key"]?.string)
        for (key, field) in [
            (key, "Cookie: a=b\r\n"), (key, "Connection: keep-alive, te\r\n"), (key, "Origin: https://a.example\r\n"),
            (key, "Content-Encoding: identity\r\n"), (publishable, ""), (rated, ""),
        ] {
            let request = Self.post(Self.lines("\(key)\(field.count)", 1), key: key, field)
            let answer = try Self.ask(target.url, [request], answers: 1)
            #expect(answer.map(\.status) == ["202"], "\(field): \(answer)")
        }
        #expect(try await Self.direct(target) == 0)
        let kept = Self.post(Self.lines("kept", 1), key: key, "Connection: Keep-Alive\r\n")
        #expect(try Self.ask(target.url, [kept + kept], answers: 2).map(\.status) == ["202", "202"])
        #expect(try await Self.direct(target) == 2)
        #expect(await server.stop() == 0)
    }

    @Test func `requests on one connection are answered in their order, in whatever pieces they come`() async throws {
        let (server, target, key) = try await Self.start()
        let alive = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        for (round, size) in [1 << 20, 4096, 611, 97].enumerated() {
            let requests = [
                Self.post(Self.lines("\(round)a", 1), key: key), alive,
                Self.post(Self.lines("\(round)b", 2), key: key),
                Self.post(Self.lines("\(round)c", 3), key: key, isShort: false),
                Self.post(Self.lines("\(round)d", 4), key: key), Self.post(Self.lines("\(round)e", 40), key: key),
                alive,
            ]
            let answers = try Self.ask(target.url, Self.pieces(requests.joined(), size), answers: 7)
            #expect(answers.map(\.status) == ["202", "200", "202", "202", "202", "202", "200"], "\(size): \(answers)")
            let stored = answers.map { $0.body["stored"] }
            #expect(stored == [1, nil, 2, 3, 4, 40, nil], "\(size): \(stored)")
        }
        try await Self.until(0, target)
        #expect(await server.stop() == 0)
    }

    @Test func `who sends no more still gets the answer, and half a body stores nothing`() async throws {
        let (server, target, key) = try await Self.start()
        let whole = try RawConnection(target.url)
        whole.send(Self.post(Self.lines("whole", 2), key: key))
        whole.finish()
        let answer = try Self.answers(whole.rest())
        #expect(answer.map(\.status) == ["202"] && answer.first?.body["stored"] == 2, "\(answer)")

        let body = Self.lines("half", 2)
        let half = try RawConnection(target.url)
        half.send(Self.post(String(body.dropLast(5)), key: key, length: body.utf8.count))
        half.finish()
        let refused = try Self.answers(half.rest())
        #expect(refused.map(\.status) == ["400"] && refused.first?.body["code"] == "malformed_body", "\(refused)")
        do {
            let gone = try RawConnection(target.url)
            gone.send(Self.post(String(body.dropLast(5)), key: key, length: body.utf8.count))
        }
        try await Self.until(0, target)
        // Both ids are as new as before.
        let again = try Self.ask(target.url, [Self.post(body, key: key)], answers: 1)
        #expect(again.first?.body["stored"] == 2, "\(again)")
        #expect(await server.stop() == 0)
    }

    @Test func `a body that the log has is answered, whatever comes behind it`() async throws {
        let (server, target, key) = try await Self.start()
        let long = String(repeating: "x", count: 500_000)
        func pair(_ name: String, _ rest: String) -> String { Self.post(Self.lines(name, 2), key: key) + rest }
        let chunked =
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(key)\r\n"
            + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        for (number, rest) in [chunked, "NO HTTP\r\n\r\n"].enumerated() {
            let broken = try RawConnection(target.url)
            broken.send(pair("broken \(number)", rest))
            let answers = try Self.answers(broken.rest())
            #expect(answers.map(\.status) == ["202", "400"] && answers.first?.body["stored"] == 2, "\(answers)")
        }
        let half = try RawConnection(target.url)
        half.send(pair("half", Self.post("{", key: key, length: 100)))
        half.finish()
        let answers = try Self.answers(half.rest())
        #expect(answers.map(\.status) == ["202", "400"] && answers.first?.body["stored"] == 2, "\(answers)")

        // What half a body held is given back when its sender is gone: else these would be all that may be held.
        for number in 0..<160 {
            let gone = try RawConnection(target.url)
            gone.send(pair("gone \(number)", Self.post(long, key: key, length: 1_000_000)))
            if number % 2 == 0 { gone.breakOff() }
        }
        try await Self.until(0, target)
        let after = try Self.ask(target.url, [Self.post(Self.lines("after", 1), key: key)], answers: 1)
        #expect(after.map(\.status) == ["202"], "\(after)")
        #expect(await server.stop() == 0)
    }

    @Test func `who reads late gets every answer`() async throws {
        let (server, target, key) = try await Self.start()
        let client = try RawConnection(target.url, receiveBytes: 4096)
        // Each event that is refused is told of by its id, so that the answers are long.
        let count = 1500
        let id = String(repeating: "i", count: 250)
        let refused = (0..<20).map { #"{"id":"\#(id)\#($0)","type":"nonsense"}"# + "\n" }.joined()
        Thread.detachNewThread {
            for number in 0..<count { client.send(Self.post(Self.lines("late \(number)", 1) + refused, key: key)) }
            client.finish()
        }
        // Nobody reads: at some time the server takes no more.
        var (stored, steady) = (0.0, 0)
        let deadline = ContinuousClock.now + .seconds(120)
        while steady < 4, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(500))
            let now = try await Self.direct(target)
            steady = now == stored && now > 0 ? steady + 1 : 0
            stored = now
        }
        #expect(stored > 0 && stored < Double(count), "\(stored)")
        let answers = try Self.answers(client.rest())
        #expect(
            answers.count == count && answers.allSatisfy { $0.body["stored"] == 1 && $0.body["quarantined"] == 20 },
            "\(answers.count)")
        try await Self.until(0, target)
        #expect(await server.stop() == 0)
    }
}
