import AurumCore
import Conversation
import Database
import Foundation
import Synchronization
import Telemetry
import Testing

/// Durability, order, ownership and the protocol.
struct ServiceTests {
    @Test func `a conversation goes on after the database was closed and opened again`() async throws {
        let first = try Stage()
        let before = await first.talk()
        await before.say("I own it")
        await before.say("11215")
        let (token, seen, folder) = (before.token, before.seqs.count, first.folder)
        before.session.disconnect()
        try first.database.close()

        let second = try Stage(folder: folder)
        let after = await second.talk(["resumeToken": .string(token), "lastSeq": 2])
        #expect(after.welcome?["resumed"]?.bool == true)
        #expect(after.id == before.id)
        #expect(after.token != token)
        #expect(after.seqs == Array(3...seen))
        #expect(after.welcome?["visitorMessages"]?.array?.compactMap { $0["text"]?.string } == ["I own it", "11215"])
        await after.say("$200")
        #expect(after.asked == "people")
        try second.remove()
    }

    @Test func `a resume token is replaced, its predecessor works for a minute, an expired one starts anew`()
        async throws
    {
        let stage = try Stage()
        let first = await stage.talk()
        let second = await stage.talk(["resumeToken": .string(first.token)])
        let third = await stage.talk(["resumeToken": .string(first.token)])
        #expect(second.id == first.id && third.id == first.id)
        stage.clock.advance(by: .seconds(61))
        let late = await stage.talk(["resumeToken": .string(first.token)])
        #expect(late.frames.first?["code"]?.string == "token_expired")
        #expect(late.id != first.id && late.welcome?["resumed"]?.bool == false)
        stage.clock.advance(by: .seconds(31 * 86_400))
        let expired = await stage.talk(["resumeToken": .string(second.token)])
        #expect(expired.id != first.id)
        let stored = try await stage.database.read("test.tokens") { tx in
            try tx.values([UInt8].self, "SELECT hash FROM conversation_token")
        }
        #expect(!stored.contains(Array(first.token.utf8)) && stored.allSatisfy { $0.count == 32 })
        try stage.remove()
    }

    @Test func `a message sent twice is stored once and accepted twice`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        let id = UUID().uuidString
        let first = await talk.say("I own it", id: id)
        let again = await talk.say("I own it", id: id)
        #expect(first.first?["messageID"] == again.first?["messageID"])
        #expect(again.count == 1)
        let resumed = await stage.talk(["resumeToken": .string(talk.token)])
        let third = await resumed.say("I own it", id: id)
        #expect(third.first?["messageID"] == first.first?["messageID"])
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        #expect(lines.count { $0.role == "visitor" } == 1)
        try stage.remove()
    }

    @Test(arguments: [1, 2, 3]) func `a burst of fifty messages is kept whole and in order`(seed: UInt64) async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        var random = SeededRandom(seed: seed)
        let words = ["I own it", "11215", "hm", "$200", "why?", "4 people", "what?", "ok"]
        let bodies = (0..<50).map { "\(words[Int.random(in: 0..<words.count, using: &random)]) \($0)" }
        let session = talk.session
        await withTaskGroup(of: Void.self) { group in
            for body in bodies {
                let frame: JSONValue = [
                    "type": "message", "clientMessageID": .string(UUID().uuidString), "text": .string(body),
                ]
                group.addTask { await session.receive(frame.canonical) }
            }
        }
        await talk.drain()
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        let stored = lines.filter { $0.role == "visitor" }
        let accepted = talk.frames("accepted").compactMap { $0["messageID"]?.string }
        #expect(Set(stored.map(\.text.exposed)).count == 50, "seed \(seed)")
        #expect(Set(bodies) == Set(stored.map(\.text.exposed)), "seed \(seed)")
        #expect(Set(accepted) == Set(stored.map(\.id.hex)), "seed \(seed)")
        #expect(lines.map(\.sequence) == Array(1...lines.count), "seed \(seed)")
        #expect(talk.seqs == Array(1...talk.seqs.count), "seed \(seed)")
        try stage.remove()
    }

    @Test func `messages of one socket keep the order in which they were sent`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        for number in 0..<50 { await talk.say("message \(number)") }
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        let stored = lines.filter { $0.role == "visitor" }.map(\.text.exposed)
        #expect(stored == (0..<stored.count).map { "message \($0)" })
        #expect(stored.count == 50)
        try stage.remove()
    }

    @Test func `two sockets of one conversation both receive`() async throws {
        let stage = try Stage()
        let one = await stage.talk()
        let two = await stage.talk(["resumeToken": .string(one.token), "lastSeq": .integer(Int64(one.seqs.last ?? 0))])
        await one.say("I own it")
        let heard = await two.drain()
        #expect(heard.compactMap { $0["text"]?.string } == ["Which ZIP?"])
        await two.say("11215")
        let answered = await one.drain()
        #expect(answered.compactMap { $0["text"]?.string } == ["Got it – ZIP: 11215. What is the bill?"])
        try stage.remove()
    }

    @Test func `a reply that comes after a take-over is refused by the store`() async throws {
        let gate = Gate()
        var functions = TestFlow.functions
        functions.functions["test.estimate"] = FlowFunction(inputs: ["bill": .money], outputs: ["yearly": .money]) {
            _ in
            await gate.pass()
            return .success(facts: ["yearly": .money(MoneyRange(cents: 1))], card: nil)
        }
        let stage = try Stage(functions: functions)
        let talk = await stage.talk()
        await talk.say("I own it, 11215, my bill is $200")
        let texts = talk.texts.count
        let session = talk.session
        async let reply: Void = session.receive(
            "{\"type\":\"message\",\"clientMessageID\":\"\(UUID().uuidString)\",\"text\":\"4\"}")
        await gate.arrived()
        let fence = try await stage.service.takeOver(org: "acme", id: talk.id, by: "p1", displayName: "Kim")
        gate.open()
        await reply
        await talk.drain()
        #expect(talk.texts.count == texts, "the bot spoke while a person owned the talk")
        #expect(talk.frames("accepted").count == 2)
        #expect(talk.frames("owner").last?["displayName"]?.string == "Kim")
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        #expect(lines.last?.text.exposed == "4")
        try await stage.service.reply(org: "acme", id: talk.id, text: "Hello, Kim here.", by: "p1", fence: fence)
        #expect(await talk.drain().first?["role"]?.string == "human")
        await #expect(throws: ConversationError.staleFence) {
            try await stage.service.reply(org: "acme", id: talk.id, text: "late", by: "p1", fence: fence - 1)
        }
        let returned = try await stage.service.giveBack(org: "acme", id: talk.id, by: "p1")
        #expect(returned == fence + 1)
        await #expect(throws: ConversationError.staleFence) {
            try await stage.service.reply(org: "acme", id: talk.id, text: "late", by: "p1", fence: fence)
        }
        await talk.drain()
        #expect(talk.owner == "bot")
        #expect(talk.lastText.contains("Go on?") || talk.asked == "people")
        try stage.remove()
    }

    @Test func `nothing can be said before the disclosure`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        #expect(lines.first?.text.exposed.contains("automated assistant") == true)
        for (sequence, role) in [(1, "bot"), (1, "human"), (1, "visitor"), (2, "bot"), (2, "human")] {
            let id = UID(high: 1, low: UInt64(sequence))
            await #expect(throws: (any Error).self, "\(sequence) \(role)") {
                try await stage.database.write("test.early") { tx in
                    try tx.run(
                        """
                        INSERT INTO conversation (org, id, visitor_id, trace_id, flow_id, flow_hash, operator_name, language,
                            owner, fence, version, last_sequence, last_frame, source, state, created_at, updated_at)
                        SELECT org, \(id), visitor_id, trace_id, flow_id, flow_hash, operator_name, language, owner, 1, 1, 0,
                            0, source, state, created_at, updated_at FROM conversation LIMIT 1
                        """)
                    try tx.run(
                        """
                        INSERT INTO conversation_message (org, conversation_id, sequence, id, role, discloses, text,
                            after_frame, created_at)
                        VALUES ('acme', \(id), \(sequence), \(id), \(role), 0, 'hi', 0, 0)
                        """)
                }
            }
        }
        try stage.remove()
    }

    @Test func `limits answer with their codes`() async throws {
        var limits = ConversationLimits()
        limits.conversationsPerAddressHour = 1
        let stage = try Stage(limits: limits)
        let talk = await stage.talk()
        #expect(await talk.say(String(repeating: "x", count: 2001)).last?["code"]?.string == "too_large")
        for number in 0..<10 { await talk.say("message \(number)") }
        let refused = await talk.say("one more")
        #expect(refused.last?["code"]?.string == "rate_limited")
        #expect((refused.last?["retryAfterMs"]?.integer ?? 0) > 0)
        stage.clock.advance(by: .seconds(11))
        #expect(await talk.say("one more").first?["type"]?.string == "accepted")
        let second = await stage.talk()
        #expect(second.frames.last?["code"]?.string == "rate_limited")
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        #expect(lines.count { $0.role == "visitor" } == 11)
        try stage.remove()
    }

    @Test func `sixty turns close the talk politely`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("I own it, 11215, my bill is $200, and I am Ana")
        for number in 0..<70 where talk.owner != "closed" {
            if talk.owner == "unattended" { break }
            await talk.say(number.isMultiple(of: 2) ? "my bill is \(100 + number)" : "yes")
        }
        #expect(talk.owner == "closed" || talk.owner == "unattended")
        try stage.remove()
    }

    @Test(arguments: [
        "", "{", "[]", "null", "{\"type\":\"dance\"}", "{\"type\":5}", "{\"type\":\"message\"}",
        "{\"type\":\"message\",\"clientMessageID\":\"x\",\"text\":\"a\"}",
        "{\"type\":\"message\",\"clientMessageID\":\"00000000-0000-0000-0000-000000000001\",\"text\":7}",
        "{\"type\":\"message\",\"clientMessageID\":\"00000000-0000-0000-0000-000000000001\",\"text\":\"  \"}",
        "{\"type\":\"hello\",\"lastSeq\":\"x\"}", "{\"type\":\"hello\",\"utm\":[1]}",
        "{\"type\":\"rating\",\"score\":9}",
        "{\"a\":[[[[[[[1]]]]]]]}", String(repeating: "[", count: 5000),
    ])
    func `a malformed frame is an error and the socket stays`(text: String) async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.session.receive(text)
        #expect(await talk.drain().last?["code"]?.string == "bad_frame")
        #expect(await talk.say("I own it").first?["type"]?.string == "accepted")
        try stage.remove()
    }

    @Test func `five malformed frames close the socket`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        for _ in 0..<5 { await talk.session.receive("{") }
        await talk.drain()
        #expect(talk.closed == .close(code: 1008, reason: "too many malformed frames"))
        try stage.remove()
    }

    @Test func `a message before hello and a second hello are errors`() async throws {
        let stage = try Stage()
        let talk = Talk(
            stage.service.session(site: Stage.site, client: ChatClient(address: "2001:db8::1", userAgentFamily: nil)))
        #expect(await talk.say("hi").last?["code"]?.string == "unknown_conversation")
        await talk.hello()
        #expect(await talk.hello().last?["code"]?.string == "bad_frame")
        try stage.remove()
    }

    @Test func `a function that fails twice is a refusal, and the talk goes on`() async throws {
        var functions = TestFlow.functions
        functions.functions["test.estimate"] = FlowFunction(inputs: ["bill": .money], outputs: ["yearly": .money]) {
            _ in
            throw ConversationError.unavailable("test")
        }
        let stage = try Stage(functions: functions)
        let talk = await stage.talk()
        await talk.say("I own it, 11215, my bill is $200")
        await talk.say("4")
        #expect(talk.lastText.hasSuffix("Go on?"))
        #expect(talk.frames("result").isEmpty)
        try stage.remove()
    }

    @Test func `four hundred random visitors all come to an end within the loop guard`() async throws {
        let stage = try Stage()
        let words = [
            "yes", "no", "I own it", "I rent", "alquilo", "11215", "99999", "1O001", "$200", "5", "two forty",
            "my bill is 90",
            "no wait, 300", "Ana", "Ana Diaz", "917-555-0143", "12", "ana@example.com", "ana@", "why?", "what?", "skip",
            "hola",
            "thanks", "are you a bot", "human", "stop", "cancel", "restart", "🙂", "", "en español", "a b c d e f g",
            "?",
            "I own a house in 11375 and pay 300", "fuck you", "not interested", "ok", "maybe", "sí", "continueWithBot",
        ]
        for seed in UInt64(1)...400 {
            var random = SeededRandom(seed: seed)
            let talk = await stage.talk(["language": seed.isMultiple(of: 2) ? "en" : "es"])
            var sent = 0
            while talk.owner != "closed", sent < 80 {
                if talk.owner == "unattended", Bool.random(using: &random) { break }
                let word = words[Int.random(in: 0..<words.count, using: &random)]
                let buttons = talk.frames("message").last?["quickReplies"]?.array?.compactMap { $0["id"]?.string } ?? []
                if let button = buttons.randomElement(using: &random), Int.random(in: 0..<3, using: &random) == 0 {
                    await talk.press(button)
                } else {
                    await talk.say(word.isEmpty ? "." : word)
                }
                sent += 1
            }
            #expect(talk.owner == "closed" || talk.owner == "unattended", "seed \(seed) after \(sent)")
            #expect(talk.seqs == Array(1...talk.seqs.count), "seed \(seed)")
            for step in Dictionary(grouping: talk.frames("message").compactMap { $0["text"]?.string }, by: { $0 }) {
                #expect(step.value.count <= 62, "seed \(seed)")
            }
            talk.session.disconnect()
        }
        try stage.remove()
    }
}

/// A door that a function waits at.
final class Gate: Sendable {
    private struct State: Sendable {
        var waiting: CheckedContinuation<Void, Never>?
        var watcher: CheckedContinuation<Void, Never>?
        var isThere = false
        var isOpen = false
    }

    private let state = Mutex(State())

    func pass() async {
        await withCheckedContinuation { continuation in
            let (resume, watcher) = state.withLock { state in
                state.isThere = true
                defer { state.watcher = nil }
                if !state.isOpen { state.waiting = continuation }
                return (state.isOpen, state.watcher)
            }
            watcher?.resume()
            if resume { continuation.resume() }
        }
    }

    func arrived() async {
        await withCheckedContinuation { continuation in
            let there = state.withLock { state in
                if !state.isThere { state.watcher = continuation }
                return state.isThere
            }
            if there { continuation.resume() }
        }
    }

    func open() {
        state.withLock { state in
            state.isOpen = true
            defer { state.waiting = nil }
            return state.waiting
        }?.resume()
    }
}
