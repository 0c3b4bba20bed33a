import AurumCore
import Foundation
import Synchronization
import TestSupport
import Testing
import Validation

/// SIGKILL under load: what was acknowledged is there afterwards, each thing once.
@Suite(.serialized) struct CrashTests {
    /// What senders were promised before the process died.
    private final class Ledger: Sendable {
        private let state = Mutex(
            (events: [String: Set<String>](), leads: [String: String](), messages: [String: Set<String>]()))

        func event(_ id: String, of person: String) { state.withLock { _ = $0.events[person, default: []].insert(id) } }
        func lead(_ externalID: String, _ id: String) { state.withLock { $0.leads[externalID] = id } }
        func message(_ id: String, in conversation: String) {
            state.withLock { _ = $0.messages[conversation, default: []].insert(id) }
        }
        var all: (events: [String: Set<String>], leads: [String: String], messages: [String: Set<String>]) {
            state.withLock { $0 }
        }
    }

    @Test func `every acknowledged event, lead and message is there once after SIGKILL`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: [
                "AURUM_CHAT_CONVERSATIONS_PER_ADDRESS_HOUR": "100000", "AURUM_CHAT_MESSAGES_PER_TEN_SECONDS": "1000",
                "AURUM_LOG_LEVEL": "error",
            ], dataDirectory: folder.file("data"))
        let ledger = Ledger()
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        var target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let events = try await admin.makeKey(["events:write", "events:read"])
        let leads = try await admin.makeKey(["leads:write", "leads:read", "conversations:read"])
        let chat = try await admin.makeKey(["events:write"], publishable: true)
        let rounds = soakCount(200)
        for round in 0..<rounds {
            let url = target.url
            let delay = Duration.milliseconds(Int.random(in: 150...700, using: &random))
            await withTaskGroup(of: Void.self) { group in
                for sender in 0..<4 {
                    group.addTask { await send(events, person: "p\(round)-\(sender)", ledger) }
                }
                group.addTask { await post(leads, round: round, ledger) }
                group.addTask { await talk(url, chat.key, ledger) }
                try? await Task.sleep(for: delay)
                await server.kill()
                await group.waitForAll()
            }
            target = try await server.restart()
        }
        try await check(ledger, events, leads, "seed \(seed), \(rounds) rounds")
        await server.stop()
    }

    /// Sends until the server is gone; a person never has more events than one list returns.
    private func send(_ client: TestClient, person: String, _ ledger: Ledger) async {
        for batch in 0..<90 {
            let ids = (0..<10).map { "\(person)-\(batch)-\($0)" }
            let lines = ids.map { #"{"id":"\#($0)","type":"track","name":"crash","anonymous_id":"\#(person)"}"# }
            let body = Array(lines.joined(separator: "\n").utf8)
            let type = ["content-type": "application/x-ndjson"]
            // A request to a dead server is given up soon: the client would go on knocking for half a minute.
            guard let answer = try? await client.call("POST", "/v1/events", body, type, timeout: .seconds(3)) else {
                return
            }
            guard answer.status == 202, answer.body["stored"]?.integer == 10 else {
                Issue.record("\(answer.status) \(answer.text)")
                return
            }
            for id in ids { ledger.event(id, of: person) }
        }
    }

    private func post(_ client: TestClient, round: Int, _ ledger: Ledger) async {
        for number in 0..<1000 {
            let id = "lead-\(round)-\(number)"
            let body: JSONValue = [
                "id": .string(id), "type": "rooftop",
                "contact": ["name": "Ana Diaz", "email": .string("ana\(round)x\(number)@example.com"), "zip": "11215"],
                "attributes": ["bill": 24_000, "ownership": "owner"],
            ]
            let type = ["content-type": "application/json"]
            let text = Array(body.canonical.utf8)
            guard let answer = try? await client.call("POST", "/v1/leads", text, type, timeout: .seconds(3)) else {
                return
            }
            guard answer.status == 201, let lead = answer.body["id"]?.string else {
                Issue.record("\(answer.status) \(answer.text)")
                return
            }
            ledger.lead(id, lead)
        }
    }

    private func talk(_ url: String, _ key: String, _ ledger: Ledger) async {
        let address = url.replacingOccurrences(of: "http://", with: "ws://") + "/v1/chat?site=\(key)"
        let words = ["I own it", "one family house", "11215", "$240", "flat", "no shade", "within 3 months", "cash"]
        while let socket = try? await WebSocketConnection.connect(to: address) {
            var conversation = ""
            guard (try? await socket.send(text: #"{"v":1,"type":"hello"}"#)) != nil else { return }
            for text in words {
                let message: JSONValue = [
                    "v": 1, "type": "message", "clientMessageID": .string(UUID().uuidString), "text": .string(text),
                ]
                guard (try? await socket.send(text: message.canonical)) != nil else { return }
                var accepted = false
                while !accepted {
                    guard case .text(let frame, _) = try? await socket.next(within: .seconds(5)),
                        let value = try? JSONDecoder().decode(JSONValue.self, from: Data(frame.utf8))
                    else { return }
                    if value["type"] == "welcome" { conversation = value["conversationID"]?.string ?? "" }
                    if value["type"] == "accepted", let id = value["messageID"]?.string {
                        ledger.message(id, in: conversation)
                        accepted = true
                    }
                }
            }
            await socket.close()
        }
    }

    private func check(_ ledger: Ledger, _ events: TestClient, _ leads: TestClient, _ run: Comment) async throws {
        let promised = ledger.all
        #expect(!promised.events.isEmpty && !promised.leads.isEmpty && !promised.messages.isEmpty, run)
        for (person, ids) in promised.events {
            let answer = try await events.get("/v1/events?anonymous_id=\(person)&limit=1000")
            let found = (answer.body["events"]?.array ?? []).compactMap { $0["id"]?.string }
            #expect(Set(found).count == found.count, "\(person): an event stands twice; \(run)")
            let lost = ids.subtracting(found)
            #expect(lost.isEmpty, "\(person): \(lost.count) events lost; \(run)")
        }
        var all: [String] = []
        var before = ""
        while true {
            let page = try await leads.get("/v1/leads?limit=200\(before)").body["leads"]?.array ?? []
            all += page.compactMap { $0["id"]?.string }
            guard page.count == 200, let last = all.last else { break }
            before = "&before=\(last)"
        }
        #expect(Set(all).count == all.count, run)
        let lostLeads = Set(promised.leads.values).subtracting(all)
        #expect(lostLeads.isEmpty, "\(lostLeads.count) leads lost; \(run)")
        for (conversation, ids) in promised.messages {
            let rows =
                try await leads.get("/v1/conversations/\(conversation)/transcript").body["transcript"]?.array ?? []
            let text = JSONValue.array(rows).canonical
            for id in ids { #expect(text.components(separatedBy: id).count >= 2, "message \(id) lost; \(run)") }
            let messages = rows.compactMap { $0["message_id"]?.string ?? $0["messageID"]?.string }
            #expect(Set(messages).count == messages.count, "a message stands twice; \(run)")
        }
    }
}
