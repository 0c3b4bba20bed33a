import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The live tail of a running server over real sockets.
@Suite(.serialized) struct TailTests {
    private struct Running {
        let server: SpawnedServer
        let url: String
        let key: TestClient

        init() async throws {
            server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
            let target = try await server.start()
            url = target.url
            key = try await TestClient(url: url, key: target.adminToken).makeKey(["events:write", "events:read"])
        }

        func open(_ query: String = "") async throws -> WebSocketConnection {
            try await WebSocketConnection.connect(
                to: url.replacingOccurrences(of: "http://", with: "ws://") + "/v1/tail" + query,
                headers: [("Authorization", "Bearer \(key.key)")])
        }

        func send(_ ids: some Sequence<String>, name: String = "wanted", padding: Int = 0) async throws {
            let text = String(repeating: "x", count: padding)
            let lines = ids.map {
                #"{"id":"\#($0)","type":"track","name":"\#(name)","user_id":"u","props":{"text":"\#(text)"}}"#
            }
            let answer = try await key.call(
                "POST", "/v1/events", Array(lines.joined(separator: "\n").utf8),
                ["content-type": "application/x-ndjson"])
            #expect(answer.status == 202, "\(answer.text)")
        }
    }

    private static func frame(_ socket: WebSocketConnection) async throws -> JSONValue {
        guard case .text(let text, _) = try await socket.next(within: .seconds(10)) else { return .null }
        return try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    @Test func `events appear in order, a filter holds, and a position is where one comes back`() async throws {
        let running = try await Running()
        let socket = try await running.open("?where=name%20%3D%20wanted")
        #expect(try await Self.frame(socket) == ["position": .null])
        try await running.send((0..<30).map { "a\($0)" })
        try await running.send((0..<30).map { "b\($0)" }, name: "other")
        try await running.send((0..<30).map { "c\($0)" })
        var seen: [String] = []
        var position = ""
        while seen.count < 60 {
            let event = try #require(try await Self.frame(socket)["event"])
            seen.append(event["id"]?.string ?? "")
            position = event["position"]?.string ?? ""
        }
        #expect(seen == (0..<30).map { "a\($0)" } + (0..<30).map { "c\($0)" })
        await socket.close()
        try await running.send((0..<20).map { "d\($0)" })
        let again = try await running.open("?where=name%20%3D%20wanted&from=\(position)")
        #expect(try await Self.frame(again)["position"]?.string == position)
        for number in 0..<20 {
            #expect(try await Self.frame(again)["event"]?["id"]?.string == "d\(number)")
        }
        try await running.send(["e"])
        #expect(try await Self.frame(again)["event"]?["id"]?.string == "e")
        #expect(await running.server.stop() == 0)
    }

    @Test func `events are seen within a second of their acknowledgement`() async throws {
        let running = try await Running()
        let socket = try await running.open()
        _ = try await Self.frame(socket)
        var delays: [Duration] = []
        for number in 0..<120 {
            try await running.send(["e\(number)"])
            let acknowledged = ContinuousClock.now
            #expect(try await Self.frame(socket)["event"]?["id"]?.string == "e\(number)")
            delays.append(ContinuousClock.now - acknowledged)
        }
        #expect(delays.sorted()[113] < .seconds(1), "p95 of n = 120")
        await running.server.stop()
    }

    @Test func `clients that never read cost little memory, are told what they missed, and can fetch it`() async throws
    {
        let running = try await Running()
        var sockets: [StubbornSocket] = []
        for _ in 0..<10 {
            sockets.append(try StubbornSocket(running.url, path: "/v1/tail", key: running.key.key))
        }
        try await running.send((0..<1000).map { "warm\($0)" }, padding: 500)
        let before = try Self.residentBytes(await running.server.pid)
        let total = 30_000
        for start in stride(from: 0, to: total, by: 2000) {
            try await running.send((start..<start + 2000).map { "e\($0)" }, padding: 1000)
        }
        let after = try Self.residentBytes(await running.server.pid)
        // Ten queues of these events would take 400 MB.
        #expect(after - before < 200 << 20, "resident memory grew by \((after - before) >> 20) MB")
        var ids: Set<String> = []
        var skipped = 0
        var gap: String?
        while ids.count + skipped < total + 1000 {
            let text = try #require(try sockets[0].next())
            let frame = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
            if let id = frame["event"]?["id"]?.string { #expect(ids.insert(id).inserted, "\(id) came twice") }
            if let count = frame["skipped"]?.integer {
                skipped += Int(count)
                gap = gap ?? frame["from"]?.string
                #expect(frame["at_most"] == false)
            }
        }
        #expect(ids.count + skipped == total + 1000 && skipped > 0)
        let from = try #require(gap)
        let fetch = try await running.open("?from=\(from)")
        _ = try await Self.frame(fetch)
        let first = try #require(try await Self.frame(fetch)["event"]?["id"]?.string)
        #expect(!ids.contains(first))
        // Who reads from the beginning gets everything, in order, at the rate of the tail.
        let reader = try await running.open("?from=00000000-00000000-0")
        _ = try await Self.frame(reader)
        var next = 0
        while next < 3000 {
            let id = try await Self.frame(reader)["event"]?["id"]?.string
            #expect(id == (next < 1000 ? "warm\(next)" : "e\(next - 1000)"))
            next += 1
        }
        #expect(await running.server.stop() == 0, "a client that does not read must not hold the server up")
    }

    private static func residentBytes(_ pid: Int32?) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid ?? 0)/statm", encoding: .utf8)
        return (Int(text.split(separator: " ")[1]) ?? 0) * 4096
    }

    @Test func `who may not look is told why`() async throws {
        let running = try await Running()
        let nobody = TestClient(url: running.url, key: "")
        #expect(try await nobody.get("/v1/tail").status == 401)
        for (query, status) in [
            ("", 426), ("?where=name%20%3D", 400), ("?from=here", 400), ("?bots=all", 400), ("?colour=red", 400),
        ] {
            #expect(try await running.key.get("/v1/tail" + query).status == status, "\(query)")
        }
        var sockets: [WebSocketConnection] = []
        for _ in 0..<20 { sockets.append(try await running.open()) }
        // A socket has its place when it has its first frame.
        for socket in sockets { #expect(try await Self.frame(socket) == ["position": .null]) }
        await #expect(throws: WebSocketError.refused(status: 429)) { _ = try await running.open() }
        for socket in sockets { await socket.close() }
        await running.server.stop()
    }

    @Test func `of thirty who come at once twenty get a place and the others are told to come back`() async throws {
        let running = try await Running()
        let answers = try await withThrowingTaskGroup(of: (WebSocketConnection?, String).self) { group in
            for _ in 0..<30 {
                group.addTask {
                    var step = "opening"
                    do {
                        let socket = try await running.open()
                        step = "first frame"
                        switch try await socket.next(within: .seconds(10)) {
                        case .text: return (socket, "in")
                        case .closed(let code): return (nil, "closed \(code)")
                        default: return (nil, "else")
                        }
                    } catch WebSocketError.refused(let status) {
                        return (nil, "refused \(status)")
                    } catch { return (nil, "\(step): \(error)") }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.count { $0.1 == "in" } == 20)
        // 1006: the close frame came together with the end of the connection, and the client has dropped it.
        let known = ["in", "refused 429", "closed 1013", "closed 1006"]
        #expect(answers.allSatisfy { known.contains($0.1) }, "\(answers.map(\.1))")
        for (socket, _) in answers { await socket?.close() }
        #expect(await running.server.stop() == 0)
    }

    @Test func `a server that stops says goodbye`() async throws {
        let running = try await Running()
        let socket = try await running.open()
        _ = try await Self.frame(socket)
        let stopped = Task { await running.server.stop() }
        #expect(try await socket.next(within: .seconds(10)) == .closed(code: 1012))
        #expect(await stopped.value == 0)
    }
}
