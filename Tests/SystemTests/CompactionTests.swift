import AurumCore
import Foundation
import Synchronization
import TestSupport
import Testing
import Validation

/// The log compacted by the real program: from the command line, over HTTP, beyond its bound, and killed on the way.
@Suite(.serialized) struct CompactionTests {
    private static let ndjson = ["content-type": "application/x-ndjson"]
    private static let quiet = ["AURUM_LOG_LEVEL": "error"]

    /// What senders were promised, by person, and how many events of each the log has after the next start.
    private final class Ledger: Sendable {
        private let state = Mutex((promised: [String: Set<String>](), settled: [String: Int](), bulk: 0))

        /// Persons whose events were not looked at yet, and some that were.
        func due(_ random: inout SeededRandom) -> [String] {
            let (new, old) = state.withLock { state in
                let all = state.promised.keys.sorted()
                return (all.filter { state.settled[$0] == nil }, all.filter { state.settled[$0] != nil })
            }
            return new + old.shuffled(using: &random).prefix(3)
        }

        var persons: [String] { state.withLock { $0.promised.keys.sorted() } }
        func promised(_ person: String) -> Set<String> { state.withLock { $0.promised[person] ?? [] } }
        /// Events that have to be there altogether.
        var total: Int { state.withLock { $0.settled.values.reduce($0.bulk, +) } }

        func note(_ person: String, _ numbers: Range<Int>) {
            state.withLock { $0.promised[person, default: []].formUnion(numbers.map { "\(person)-\($0)" }) }
        }

        func noteBulk(_ count: Int) { state.withLock { $0.bulk += count } }

        /// False when it was another number before.
        func settle(_ person: String, _ count: Int) -> Bool {
            state.withLock { state in
                defer { state.settled[person] = count }
                return state.settled[person] ?? count == count
            }
        }
    }

    private func spawned(_ folder: TemporaryFolder, _ more: [String: String] = [:]) -> SpawnedServer {
        SpawnedServer(
            executable: AurumBinary.path, environment: Self.quiet.merging(more) { $1 },
            dataDirectory: folder.file("data"))
    }

    /// Lines of one person, each with text of its own.
    private static func lines(_ person: String, _ numbers: Range<Int>) -> [UInt8] {
        let lines = numbers.map {
            #"{"id":"\#(person)-\#($0)","type":"track","name":"n\#($0 % 7)","anonymous_id":"\#(person)","#
                + #""props":{"text":"\#(UUID().uuidString)"}}"#
        }
        return Array(lines.joined(separator: "\n").utf8)
    }

    private func ids(_ client: TestClient, _ person: String) async throws -> [String] {
        let answer = try await client.get("/v1/events?anonymous_id=\(person)&limit=1000")
        return (answer.body["events"]?.array ?? []).compactMap { $0["id"]?.string }
    }

    private func counted(_ client: TestClient) async throws -> [String: Int] {
        let answer = try await client.post("/v1/query", ["q": "count by outcome last 2d"])
        #expect(answer.status == 200, "\(answer.text)")
        let rows = (answer.body["rows"]?.array ?? []).compactMap { row in
            row["outcome"]?.string.flatMap { name in row["count"]?.integer.map { (name, Int($0)) } }
        }
        return Dictionary(rows, uniquingKeysWith: +)
    }

    /// Each start begins a segment with its first events.
    private func fill(_ server: SpawnedServer, persons: Range<Int>) async throws -> (ValidationTarget, TestClient) {
        var target = try await server.start()
        let events = try await TestClient(url: target.url, key: target.adminToken)
            .makeKey(["events:write", "events:read", "analytics:read"])
        for person in persons {
            let sent = try await events.call("POST", "/v1/events", Self.lines("c\(person)", 0..<500), Self.ndjson)
            #expect(sent.status == 202 && sent.body["stored"] == 500, "\(sent.text)")
            await server.stop()
            target = try await server.start()
            let admin = TestClient(url: target.url, key: target.adminToken)
            #expect(try await admin.post("/v1/log/compact", [:]).status == 200)
        }
        return (target, events)
    }

    // MARK: SIGKILL

    @Test func `killed while it compacts, the log has every acknowledged event once`() async throws {
        let folder = TemporaryFolder()
        let server = spawned(folder)
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        var (target, events) = try await fill(server, persons: 0..<3)
        let ledger = Ledger()
        for person in 0..<3 { ledger.note("c\(person)", 0..<500) }
        let rounds = soakCount(150)
        var interrupted = 0
        for round in 0..<rounds {
            let admin = TestClient(url: target.url, key: target.adminToken)
            // Something that takes its time to compact: each start begins a segment.
            for part in 0..<6 { try await sendBulk(events, "b\(round)-\(part)", ledger) }
            for part in 0..<2 { await send(events, "r\(round)-\(part)", ledger) }
            // Half of them within the first moments, in which the most happens.
            let moment = Duration.microseconds(Int64(random.next() % (random.next() % 2 == 0 ? 15_000 : 90_000)))
            let client = events
            async let isDone = (try? await compact(admin))?.status == 200
            async let sent: Void = send(client, "w\(round)", ledger)
            try? await Task.sleep(for: moment)
            await server.kill()
            if await !isDone { interrupted += 1 }
            await sent
            target = try await server.restart()
            events = TestClient(url: target.url, key: events.key)
            try await check(events, ledger.due(&random), ledger, "round \(round) of seed \(seed)")
        }
        print("\(interrupted) of \(rounds) compactions were killed before they answered")
        // Unhurt at last, it is done, and everything is still there.
        let admin = TestClient(url: target.url, key: target.adminToken)
        #expect(try await compact(admin).status == 200)
        #expect((try await admin.get("/v1/log").body["archives"]?.integer ?? 0) > 0)
        try await check(events, ledger.persons, ledger, "at the end of seed \(seed)")
        await server.stop()
        let verified = try await AurumBinary.run(["events", "verify", folder.file("data"), "--rebuild"])
        #expect(verified.status == 0, "\(verified.output)")
    }

    private func compact(_ admin: TestClient) async throws -> TestClient.Answer {
        try await admin.call(
            "POST", "/v1/log/compact", Array("{}".utf8), ["content-type": "application/json"], timeout: .seconds(10))
    }

    private func sendBulk(_ client: TestClient, _ person: String, _ ledger: Ledger) async throws {
        let answer = try await client.call("POST", "/v1/events", Self.lines(person, 0..<2000), Self.ndjson)
        #expect(answer.status == 202 && answer.body["stored"] == 2000, "\(answer.text)")
        ledger.noteBulk(2000)
    }

    /// Sends a person's events until the server is gone.
    private func send(_ client: TestClient, _ person: String, _ ledger: Ledger) async {
        ledger.note(person, 0..<0)
        for start in stride(from: 0, to: 300, by: 20) {
            let range = start..<start + 20
            guard
                let answer = try? await client.call(
                    "POST", "/v1/events", Self.lines(person, range), Self.ndjson, timeout: .seconds(3))
            else { return }
            guard answer.status == 202, answer.body["stored"] == 20 else {
                Issue.record("\(answer.status) \(answer.text)")
                return
            }
            ledger.note(person, range)
        }
    }

    private func check(_ events: TestClient, _ persons: [String], _ ledger: Ledger, _ run: Comment) async throws {
        for person in persons {
            let found = try await ids(events, person)
            #expect(Set(found).count == found.count, "\(person): an event stands twice; \(run)")
            let lost = ledger.promised(person).subtracting(found)
            #expect(lost.isEmpty, "\(person): \(lost.count) events lost; \(run)")
            #expect(ledger.settle(person, found.count), "\(person): \(found.count) now; \(run)")
        }
        let counts = try await counted(events)
        #expect(counts == ["stored": ledger.total], "\(ledger.total) were expected; \(run)")
    }

    // MARK: the bound

    @Test func `beyond events.logBytesMax the oldest leave, the newest stay, and every count says so`() async throws {
        let folder = TemporaryFolder()
        let first = spawned(folder)
        var (target, events) = try await fill(first, persons: 0..<9)
        var log = try await TestClient(url: target.url, key: target.adminToken).get("/v1/log").body
        let bytes = (log["archive_bytes"]?.integer ?? 0) + (log["segment_bytes"]?.integer ?? 0)
        #expect((log["archives"]?.integer ?? 0) >= 4, "\(log.canonical)")
        await first.stop()

        let bounded = spawned(folder, ["AURUM_EVENTS_LOG_BYTES_MAX": "\(bytes / 2)"])
        for start in 0..<2 {
            target = try await bounded.start()
            events = TestClient(url: target.url, key: events.key)
            let admin = TestClient(url: target.url, key: target.adminToken)
            let done = try await admin.post("/v1/log/compact", [:])
            #expect(done.status == 200 && start == 1 || (done.body["expired"]?.integer ?? 0) > 0, "\(done.text)")
            log = try await admin.get("/v1/log").body
            let left = (log["archive_bytes"]?.integer ?? 0) + (log["segment_bytes"]?.integer ?? 0)
            #expect(left > 0 && left <= bytes / 2 && log["log_bytes_max"]?.integer == bytes / 2, "\(log.canonical)")
            var present: [Int] = []
            for person in 0..<9 { present.append(try await ids(events, "c\(person)").count) }
            let gone = present.prefix { $0 == 0 }.count
            #expect((1..<9).contains(gone) && present.dropFirst(gone).allSatisfy { $0 == 500 }, "\(present)")
            #expect(try await counted(events) == ["stored": 500 * (9 - gone)], "\(present)")
            await bounded.stop()
        }
        let verified = try await AurumBinary.run(["events", "verify", folder.file("data"), "--rebuild"])
        #expect(verified.status == 0, "\(verified.output)")
    }

    // MARK: the window of de-duplication

    @Test func `events.dedupIdentifiersMax bounds how many ids are remembered`() async throws {
        for (count, outcome) in [(nil, "duplicate"), ("1000", "stored")] {
            let folder = TemporaryFolder()
            let server = spawned(folder, count.map { ["AURUM_EVENTS_DEDUP_IDENTIFIERS_MAX": $0] } ?? [:])
            let target = try await server.start()
            let events = try await TestClient(url: target.url, key: target.adminToken).makeKey(["events:write"])
            for start in stride(from: 0, to: 20_000, by: 2500) {
                let answer = try await events.call(
                    "POST", "/v1/events", Self.lines("d", start..<start + 2500), Self.ndjson)
                #expect(answer.body["stored"]?.integer == 2500, "\(answer.text)")
            }
            let newest = try await events.call("POST", "/v1/events", Self.lines("d", 19_500..<20_000), Self.ndjson)
            #expect(newest.body["duplicate"]?.integer == 500, "\(newest.text)")
            let oldest = try await events.call("POST", "/v1/events", Self.lines("d", 0..<500), Self.ndjson)
            #expect(oldest.body[outcome]?.integer == 500, "\(count ?? "50000000"): \(oldest.text)")
            await server.stop()
        }
        for (name, value) in [("IDENTIFIERS_MAX", "999"), ("WINDOW_SECONDS", "60")] {
            let folder = TemporaryFolder()
            let answer = try await AurumBinary.run(
                ["serve"], environment: ["AURUM_DATA_DIR": folder.path, "AURUM_EVENTS_DEDUP_\(name)": value])
            #expect(answer.status != 0 && answer.output.contains("must be a whole number from"), "\(answer.output)")
        }
    }

    // MARK: routes and command

    @Test func `compaction is asked for over HTTP and on the command line, with a server and without`() async throws {
        let folder = TemporaryFolder()
        let server = spawned(folder)
        let (target, events) = try await fill(server, persons: 0..<6)
        let admin = TestClient(url: target.url, key: target.adminToken)
        let before = try await admin.get("/v1/log")
        #expect(before.status == 200 && (before.body["archives"]?.integer ?? 0) > 0, "\(before.text)")
        #expect(before.body["running"] == false && before.body["last_run_at"]?.string != nil, "\(before.text)")
        let fields = ["files", "rows_read", "rows_written", "bytes_before", "bytes_after", "expired", "erased"]
        for field in fields { #expect(before.body["last_run"]?[field]?.integer != nil, "\(field)") }
        // Only the administrator compacts; who may read the system sees how it stands.
        #expect(try await TestClient(url: target.url, key: "").get("/v1/log").status == 401)
        #expect(try await TestClient(url: target.url, key: "").post("/v1/log/compact", [:]).status == 401)
        #expect(try await events.get("/v1/log").status == 403)
        #expect(try await events.post("/v1/log/compact", [:]).status == 403)
        let reader = try await admin.makeKey(["system:read"])
        #expect(try await reader.get("/v1/log").body["archives"] == before.body["archives"])

        let environment = [
            "AURUM_DATA_DIR": folder.file("data"), "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "error",
        ]
        func compact() async throws -> JSONValue {
            let answer = try await AurumBinary.run(["events", "compact"], environment: environment)
            #expect(answer.status == 0, "\(answer.output)")
            // A log line of the folder that was opened may stand before it.
            let line = answer.output.split(separator: "\n").last { $0.hasPrefix("{") } ?? ""
            return try JSONDecoder().decode(JSONValue.self, from: Data(line.utf8))
        }
        let beside = try await compact()
        for field in fields { #expect(beside[field]?.integer != nil, "\(field)") }
        // Two more segments, which nothing but the command without a server can have archived.
        for person in 6..<8 {
            _ = try await events.call("POST", "/v1/events", Self.lines("c\(person)", 0..<500), Self.ndjson)
            await server.stop()
            _ = try await server.start()
        }
        await server.stop()
        let alone = try await compact()
        #expect((alone["rows_read"]?.integer ?? 0) >= 500, "\(alone.canonical)")
        #expect(alone["rows_written"] == alone["rows_read"], "\(alone.canonical)")
        _ = try await server.start()
        for person in 0..<8 { #expect(try await ids(events, "c\(person)").count == 500, "\(person)") }
        #expect(try await counted(events) == ["stored": 4000])
        await server.stop()
    }
}
