import AurumCore
import Foundation
import Synchronization
import TestSupport
import Testing
import Validation

/// Backups of a running site, what a changed byte does to them, and putting them back.
@Suite(.serialized) struct BackupTests {
    private static let ndjson = ["content-type": "application/x-ndjson"]

    /// - Parameter url: a database elsewhere; nil for the file in the data folder.
    private func environment(_ data: String, _ url: String? = nil) -> [String: String] {
        var environment = [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
            "AURUM_DATA_DIR": data,
        ]
        environment["AURUM_DATABASE_URL"] = url
        return environment
    }

    private struct Contact: Decodable {
        let url: String
        let token: String
    }

    private func client(_ data: String) throws -> TestClient {
        let contact = try JSONDecoder().decode(
            Contact.self, from: Data(contentsOf: URL(fileURLWithPath: data + "/server.json")))
        return TestClient(url: contact.url, key: contact.token)
    }

    private func start(_ command: [String], _ data: String, _ url: String? = nil) async throws -> ChildProcess {
        let process = try ChildProcess(AurumBinary.path, command, environment: environment(data, url))
        _ = try await process.line(containing: "Aurum is ready at", within: .seconds(60))
        return process
    }

    private func stop(_ process: ChildProcess) async throws {
        process.terminate()
        #expect(try await process.exit(within: .seconds(60)) == 0)
    }

    private func run(
        _ arguments: [String], _ data: String, _ url: String? = nil
    ) async throws -> (status: Int32, output: String) {
        let answer = try await AurumBinary.run(arguments, environment: environment(data, url))
        return (answer.status, answer.output)
    }

    /// What a site says of some leads and of all its money.
    private func books(_ client: TestClient, _ leads: [String]) async throws -> [String] {
        var texts: [String] = []
        for path in leads.map({ "/v1/leads/\($0)" }) + ["/v1/ledger"] {
            let answer = try await client.get(path)
            #expect(answer.status == 200, "\(path): \(answer.text)")
            texts.append(answer.text)
        }
        let credits = try await client.get("/v1/attribution/models/compare")
        texts.append(try #require(credits.body["models"]?.canonical, "\(credits.text)"))
        return texts
    }

    /// A demo whose visitors have come and gone, with leads sold and money booked.
    private func site(_ data: String) async throws {
        let demo = try await start(["demo", "--visitors", "40"], data)
        let client = try client(data)
        let deadline = ContinuousClock.now + .seconds(90)
        while try await client.get("/v1/leads").body["leads"]?.array?.count ?? 0 < 5, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(100))
        }
        try await stop(demo)
    }

    /// Waits until no lead is on its way to a buyer: the books then stand still.
    private func settle(_ client: TestClient) async throws {
        let deadline = ContinuousClock.now + .seconds(120)
        let onTheirWay: Set = ["collecting", "qualified", "routing"]
        var moving = [""]
        while !moving.isEmpty, ContinuousClock.now < deadline {
            let leads = try await client.get("/v1/leads").body["leads"]?.array ?? []
            moving = leads.compactMap { $0["state"]?.string }.filter(onTheirWay.contains)
            if !moving.isEmpty { try await Task.sleep(for: .milliseconds(200)) }
        }
        #expect(moving.isEmpty, "\(moving)")
    }

    /// Leads that were acknowledged, by several writers at once.
    private final class Accepted: Sendable {
        /// Fewer than one answer of the list of events holds.
        private static let most = 800
        private let state = Mutex<(ids: [String], started: Int)>(([], 0))

        var ids: [String] { state.withLock { $0.ids } }
        var count: Int { state.withLock { $0.ids.count } }

        func next() -> Int? {
            state.withLock { state in
                guard state.started < Self.most else { return nil }
                state.started += 1
                return state.started
            }
        }

        func add(_ id: String) { state.withLock { $0.ids.append(id) } }
    }

    /// Sends a lead that nobody may buy, for want of consent: its events go through the outbox, the books stand still.
    private func lead(_ client: TestClient, _ number: Int) async throws -> String {
        let lead: JSONValue = [
            "type": "rooftop",
            "contact": [
                "name": "Ana Diaz", "phone": .string("917555\(1000 + number)"),
                "email": .string("ana\(number)@example.com"), "zip": "11215",
            ],
            "attributes": ["bill": 41_000, "ownership": "owner"],
        ]
        let answer = try await client.post("/v1/leads", lead, headers: ["idempotency-key": "lead-\(number)"])
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.body["id"]?.string, "\(answer.text)")
    }

    private func takeLeads(_ client: TestClient, _ accepted: Accepted) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    while !Task.isCancelled, let number = accepted.next() {
                        accepted.add(try await lead(client, number))
                        try await Task.sleep(for: .milliseconds(10))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Ids of all leads of a site.
    private func leads(_ client: TestClient) async throws -> [String] {
        var ids: [String] = []
        while true {
            let before = ids.last.map { "&before=\($0)" } ?? ""
            let page = try await client.get("/v1/leads?limit=200" + before).body["leads"]?.array ?? []
            ids += page.compactMap { $0["id"]?.string }
            if page.count < 200 { return ids }
        }
    }

    /// Every lead of the tables has its events in the log once, and no other lead has any.
    private func eventsFit(_ client: TestClient) async throws {
        let ids = try await leads(client)
        for name in ["lead.created", "lead.scored"] {
            var told: [String] = []
            let deadline = ContinuousClock.now + .seconds(60)
            // What was in the outbox is delivered after the start.
            while told.count < ids.count, ContinuousClock.now < deadline {
                let events = try await client.get("/v1/events?limit=1000&name=\(name)").body["events"]?.array ?? []
                told = events.compactMap { $0["props"]?["lead"]?.string }
                if told.count < ids.count { try await Task.sleep(for: .milliseconds(50)) }
            }
            #expect(told.count < 1000, "more than one answer holds")
            #expect(told.sorted() == ids.sorted(), "\(name)")
        }
    }

    private func send(_ sender: TestClient, _ numbers: Range<Int>) async throws {
        let lines = numbers.map { #"{"id":"b\#($0)","type":"track","name":"kept","user_id":"person-\#($0 % 50)"}"# }
        let answer = try await sender.call(
            "POST", "/v1/events", Array(lines.joined(separator: "\n").utf8), Self.ndjson)
        #expect(answer.body["stored"]?.integer == Int64(numbers.count), "\(answer.text)")
    }

    /// Makes a backup while events come in and leads are taken; answers the leads that were acknowledged before.
    private func backUpUnderWrites(_ data: String, to backup: String, _ sender: TestClient) async throws -> [String] {
        let (admin, accepted) = (try client(data), Accepted())
        let writing = Task {
            var next = 5000
            while !Task.isCancelled, next < 200_000 {
                try await send(sender, next..<next + 100)
                next += 100
            }
        }
        let taking = Task { try await takeLeads(admin, accepted) }
        let deadline = ContinuousClock.now + .seconds(60)
        while accepted.count < 20, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(5)) }
        let before = accepted.ids
        let made = try await run(["backup", "create", "--to", backup], data)
        let during = accepted.count - before.count
        writing.cancel()
        taking.cancel()
        _ = try? await writing.value
        _ = try? await taking.value
        #expect(made.status == 0 && made.output.contains("keep a copy elsewhere"), "\(made.output)")
        #expect(before.count >= 20 && during > 0, "\(before.count) leads before, \(during) meanwhile")
        return before
    }

    @Test func `a backup under writes holds what was acknowledged before, and a restore is the same site`() async throws
    {
        let folder = TemporaryFolder()
        let (data, backup, restored) = (folder.file("data"), folder.file("backup"), folder.file("restored"))
        try await site(data)
        let server = try await start(["serve"], data)
        let admin = try client(data)
        let sender = try await admin.makeKey(["events:write", "events:read"])
        try await settle(admin)
        let old = try await leads(admin)
        #expect(!old.isEmpty)
        for start in stride(from: 0, to: 5000, by: 500) { try await send(sender, start..<start + 500) }
        let taken = try await backUpUnderWrites(data, to: backup, sender)
        // Nobody buys what was taken meanwhile: of the others everything was settled before.
        let before = try await books(admin, old)
        let again = try await run(["backup", "create", "--to", backup], data)
        #expect(again.status != 0 && again.output.contains("is not empty"), "\(again.output)")

        // A person who is erased after the backup, down to the files.
        let erased = try await run(["identity", "erase", "user:person-7"], data)
        #expect(erased.status == 0, "\(erased.output)")
        #expect(try await run(["events", "compact"], data).status == 0)
        try await stop(server)

        let deep = try await run(["backup", "verify", backup, "--deep", "--work", folder.file("work")], data)
        #expect(deep.status == 0, "\(deep.output)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.file("work")).isEmpty)
        let key = data + "/backup.key"
        let refused = try await run(["restore", "--from", backup, "--key-file", key], data)
        #expect(refused.status != 0 && refused.output.contains("is not empty"), "\(refused.output)")
        let put = try await run(
            ["restore", "--from", backup, "--key-file", key, "--erasures-from", data + "/events"], restored)
        #expect(put.status == 0 && put.output.contains("\"erasures_carried_over\":1"), "\(put.output)")
        // The next backup is sealed with the key of which a copy is kept.
        let files = FileManager.default
        #expect(files.contents(atPath: restored + "/backup.key") == files.contents(atPath: key))
        let mode = try files.attributesOfItem(atPath: restored + "/backup.key")[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)

        let second = try await start(["serve"], restored)
        let other = try client(restored)
        let kept = try await leads(other)
        #expect(Set(old + taken).isSubset(of: kept))
        try await eventsFit(other)
        #expect(try await books(other, old) == before)
        let reader = TestClient(url: other.url, key: sender.key)
        for id in ["b0", "b4999", "b1234"] {
            #expect(try await reader.get("/v1/events/\(id)/outcome").body["outcome"] == "stored", "\(id)")
        }
        // Sent again to the restored site: known, although the index was left out of the backup.
        let repeated = try await reader.call(
            "POST", "/v1/events", Array(#"{"id":"b42","type":"track","name":"kept","user_id":"x"}"#.utf8), Self.ndjson)
        #expect(repeated.body["duplicate"]?.integer == 1, "\(repeated.text)")
        let persons = try await run(["identity", "show", "user:person-8"], restored)
        #expect(persons.status == 0, "\(persons.output)")
        let hidden = try await reader.get("/v1/events?limit=1000&name=kept").text
        #expect(hidden.contains("person-8") && !hidden.contains("\"person-7\""))
        try await stop(second)
    }

    @Test func `a site moves from SQLite to PostgreSQL and back by its backups`() async throws {
        let folder = TemporaryFolder()
        let url = try PostgresServer.shared().newURL()
        var (data, place): (String, String?) = (folder.file("first"), nil)
        var known: [String] = []
        for (number, next) in [url, nil].enumerated() {
            let server = try await start(["serve"], data, place)
            let admin = try client(data)
            for lead in 0..<5 { known.append(try await self.lead(admin, number * 10 + lead)) }
            try await eventsFit(admin)
            let backup = folder.file("backup-\(number)")
            let made = try await run(["backup", "create", "--to", backup], data, place)
            #expect(made.status == 0, "\(made.output)")
            let before = try await books(admin, known)
            try await stop(server)
            let deep = try await run(["backup", "verify", backup, "--deep"], data, place)
            #expect(deep.status == 0, "\(deep.output)")
            let target = folder.file("site-\(number)")
            let put = try await run(
                ["restore", "--from", backup, "--key-file", data + "/backup.key"], target, next)
            #expect(put.status == 0, "\(put.output)")
            (data, place) = (target, next)
            let moved = try await start(["serve"], data, place)
            let other = try client(data)
            let found = try await leads(other)
            #expect(Set(found) == Set(known))
            #expect(try await books(other, known) == before)
            try await eventsFit(other)
            try await stop(moved)
        }
    }

    @Test func `of backups at the same time all but one are refused, and there is one key`() async throws {
        let folder = TemporaryFolder()
        let data = folder.file("data")
        let server = try await start(["serve"], data)
        let admin = try client(data)
        var refused = 0
        for round in 0..<20 where refused == 0 {
            let answers = try await withThrowingTaskGroup(of: TestClient.Answer.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        try await admin.post("/v1/backups", ["to": .string(folder.file("b\(round)-\(number)"))])
                    }
                }
                var answers: [TestClient.Answer] = []
                for try await answer in group { answers.append(answer) }
                return answers
            }
            #expect(answers.contains { $0.status == 200 })
            for answer in answers where answer.status != 200 {
                #expect(answer.status == 409 && answer.text.contains("another backup is being made"), "\(answer.text)")
                refused += 1
            }
        }
        #expect(refused > 0)
        try await stop(server)
        let made = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("b") }
        #expect(!made.isEmpty)
        for name in made {
            let answer = try await run(["backup", "verify", folder.file(name)], data)
            #expect(answer.status == 0, "\(name): \(answer.output)")
        }
    }

    @Test func `any changed byte, missing file or file too many is named`() async throws {
        let folder = TemporaryFolder()
        let (data, backup) = (folder.file("data"), folder.file("backup"))
        let server = try await start(["serve"], data)
        try await stop(server)
        #expect(try await run(["backup", "create", "--to", backup], data).status == 0)
        #expect(try await run(["backup", "verify", backup], data).status == 0)
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let paths = try FileManager.default.subpathsOfDirectory(atPath: backup).filter {
            var isFolder: ObjCBool = false
            return FileManager.default.fileExists(atPath: backup + "/" + $0, isDirectory: &isFolder)
                && !isFolder.boolValue
        }
        #expect(paths.count > 20)
        for path in paths {
            let url = URL(fileURLWithPath: backup + "/" + path)
            let whole = try Data(contentsOf: url)
            var changed = whole
            let place = Int(random.next() % UInt64(whole.count))
            changed[place] ^= UInt8(1 << (random.next() % 8))
            try changed.write(to: url)
            let answer = try await run(["backup", "verify", backup], data)
            #expect(
                answer.status != 0 && answer.output.contains((path as NSString).lastPathComponent),
                "\(path) at \(place), seed \(seed): \(answer.output)")
            try whole.write(to: url)
        }
        let victim = URL(fileURLWithPath: backup + "/keys")
        let whole = try Data(contentsOf: victim)
        try FileManager.default.removeItem(at: victim)
        #expect(try await run(["backup", "verify", backup], data).output.contains("keys is missing"))
        try whole.write(to: victim)
        try Data("x".utf8).write(to: URL(fileURLWithPath: backup + "/log/more"))
        #expect(try await run(["backup", "verify", backup], data).output.contains("log/more is not on the list"))
        try FileManager.default.removeItem(atPath: backup + "/log/more")
        let otherKey = folder.file("other.key")
        try Data(String(repeating: "ab", count: 32).utf8).write(to: URL(fileURLWithPath: otherKey))
        let wrong = try await run(["backup", "verify", backup, "--key-file", otherKey], data)
        #expect(wrong.status != 0 && wrong.output.contains("another key"), "\(wrong.output)")
    }
}
