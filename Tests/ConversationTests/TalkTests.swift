import AurumCore
import Conversation
import Database
import Foundation
import Testing

/// Whole conversations over the real service and a real database file.
struct TalkTests {
    @Test func `one visitor answers everything and the vertical gets it once`() async throws {
        let stage = try Stage()
        let talk = await stage.talk(["visitorID": "v1", "utm": ["campaign": "spring", "source": "google"]])
        #expect(talk.texts.first == "Hi! I'm the automated assistant of Acme, not a person.")
        #expect(talk.asked == "ownership")
        for line in ["I own it", "11215", "$200", "4", "go on", "Ana Diaz, 917-555-0143, ana@example.com", "yes"] {
            await talk.say(line)
        }
        let ended = try #require(stage.ended.first)
        #expect(stage.ended.count == 1)
        #expect(ended.end == EndRecord(outcome: .qualified, product: "thing", gates: []))
        #expect(ended.value("bill") == .money(MoneyRange(cents: 200_00)))
        #expect(ended.value("yearly") == .money(MoneyRange(cents: 2400_00)))
        #expect(ended.value("phone")?.string == "+19175550143")
        #expect(ended.consents.first?.text == "May Acme pass this on? Yes or no.")
        #expect(ended.consents.first?.control == "yes")
        #expect(ended.source.utm["campaign"] == "spring")
        #expect(ended.source.ipPrefix == "203.0.113.0/24")
        #expect(talk.owner == "closed")
        #expect(talk.frames("result").count == 1)
        #expect(talk.texts.contains { $0.contains("That is $2,400 a year at $200 a month.") })
        #expect(talk.seqs == Array(1...talk.seqs.count))
        let evidence = ended.evidence.map(\.canonical).joined()
        #expect(
            !evidence.contains("ana@example.com") && !evidence.contains("555-0143") && !evidence.contains("5550143"))
        #expect(try await stage.service.summary(org: "acme") == ConversationSummary(open: 0, started: 1, qualified: 1))
        try stage.remove()
    }

    @Test func `events name the trace and hold no personal data`() async throws {
        let stage = try Stage()
        let trace = UID(high: 7, low: 9)
        let talk = await stage.talk(["traceID": .string(trace.hex), "visitorID": "v1"])
        for line in ["I own it", "11215", "$200", "skip", "go on", "Ana Diaz, 917-555-0143, ana@example.com", "yes"] {
            await talk.say(line)
        }
        let rows = try await stage.database.read("test.outbox") { tx in
            try tx.values(String.self, "SELECT name FROM outbox ORDER BY seq")
        }
        let props = try await stage.database.read("test.outbox2") { tx in
            try tx.values(String.self, "SELECT props FROM outbox ORDER BY seq").joined()
        }
        let traces = try await stage.database.read("test.outbox3") { tx in
            try tx.values(UID.self, "SELECT trace_id FROM outbox")
        }
        #expect(rows.starts(with: ["conversation.started", "conversation.disclosed", "conversation.turn"]))
        #expect(rows.suffix(3) == ["conversation.turn", "conversation.consented", "conversation.ended"])
        for secret in ["Ana", "9175550143", "917-555", "example.com"] {
            #expect(!props.contains(secret), "\(secret)")
        }
        #expect(Set(traces) == [trace])
        try stage.remove()
    }

    @Test func `one message fills several slots and nothing settled is asked again`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("my bill is 200, I own a house in 11215")
        #expect(talk.asked == "people")
        #expect(talk.lastText.contains("bill: $200 a month"))
        #expect(talk.lastText.contains("ZIP: 11215"))
        let rows = try await stage.service.slots(org: "acme", id: talk.id)
        #expect(rows.map(\.slot).sorted() == ["bill", "ownership", "zip"])
        let lines = try await stage.service.transcript(org: "acme", id: talk.id)
        for row in rows {
            let line = try #require(lines.first { $0.id == row.messageID })
            let scalars = Array(line.text.exposed.unicodeScalars)[row.start..<row.end]
            #expect(String(String.UnicodeScalarView(scalars)) == row.raw.exposed)
            #expect(row.extractor == "rule")
        }
        try stage.remove()
    }

    @Test func `a correction changes one slot, keeps its history and recalculates`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("my bill is 200, I own a house in 11215")
        await talk.say("no wait, 230")
        #expect(talk.lastText.hasPrefix("Changed – bill: $230 a month."))
        #expect(talk.asked == "people")
        await talk.say("4")
        #expect(talk.texts.contains { $0.contains("$2,760 a year") })
        await talk.say("actually the bill is $250")
        #expect(talk.frames("result").count == 2)
        let bill = try #require(try await stage.service.slots(org: "acme", id: talk.id).first { $0.slot == "bill" })
        #expect(bill.revision == 3 && bill.reason == "correction")
        try stage.remove()
    }

    @Test func `a contradiction is asked about once`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("my bill is 200, I own a house in 11215")
        await talk.say("the electric bill is $320")
        #expect(talk.lastText == "You said $200 a month before (bill). Is it $320 a month now?")
        await talk.say("yes")
        #expect(talk.asked == "people")
        let bill = try await stage.service.slots(org: "acme", id: talk.id).first { $0.slot == "bill" }
        #expect(bill?.value?["value"]?.integer == 320_00)
        await talk.say("my bill is $90")
        await talk.say("purple elephants")
        #expect(talk.asked == "people")
        let kept = try await stage.service.slots(org: "acme", id: talk.id).first { $0.slot == "bill" }
        #expect(kept?.value?["value"]?.integer == 320_00)
        try stage.remove()
    }

    @Test func `an uncertain value is confirmed before it counts`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("I own it")
        await talk.say("11215")
        await talk.say("$2,400 a year")
        #expect(talk.lastText == "I understood $200 a month (bill). Is that right?")
        await talk.say("no")
        #expect(talk.asked == "bill")
        await talk.say("$210")
        #expect(talk.asked == "people")
        try stage.remove()
    }

    @Test func `what cannot be used is named, asked again, and handed over after three asks`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("I own it")
        await talk.say("1O001")
        #expect(talk.lastText.contains("I heard “1O001”"))
        #expect(talk.asked == "zip")
        await talk.say("99123")
        #expect(talk.lastText.contains("There is no such ZIP."))
        await talk.say("1000")
        #expect(talk.owner == "unattended")
        #expect(talk.lastText.contains("Nobody from the team is on duty"))
        let zip = try await stage.service.slots(org: "acme", id: talk.id).first { $0.slot == "zip" }
        #expect(zip?.status == "invalid" && zip?.raw.exposed == "1000")
        try stage.remove()
    }

    @Test func `a bill out of bounds is refused with the bounds`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("I own it, 11215")
        await talk.say("$5")
        #expect(talk.lastText == "I heard “$5”. I need an amount between $20 and $2,000. What is the bill?")
        try stage.remove()
    }

    @Test func `a skippable question is left out, a required one explained once and then handed over`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("rather not say")
        #expect(talk.lastText.contains("I can't go on without this one. Only owners can decide."))
        await talk.say("skip")
        #expect(talk.owner == "unattended")
        await talk.press("continueWithBot")
        #expect(talk.owner == "bot")
        await talk.say("I own it, 11215, bill $200")
        await talk.say("skip")
        #expect(
            talk.lastText.contains("That is $2,400 a year") || talk.texts.contains { $0.contains("leave that out") })
        #expect(talk.lastText.contains("Go on?"))
        try stage.remove()
    }

    @Test(arguments: [
        ("are you a bot?", "Yes, I'm a bot: the automated assistant of Acme."), ("why?", "Only owners can decide."),
        ("hello", "Hello!"), ("thanks", "You're welcome."), ("how much does it cost?", "I have no checked answer"),
        ("qwertz", "Sorry, I didn't understand that."),
    ])
    func `an aside is answered, then the question comes back in its next words`(text: String, answer: String)
        async throws
    {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say(text)
        #expect(talk.lastText.hasPrefix(answer), "\(talk.lastText)")
        #expect(talk.lastText.hasSuffix("Is it yours, or do you rent?"))
        try stage.remove()
    }

    @Test func `cancel asks once, restart begins anew, stop ends at once`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        await talk.say("I own it")
        await talk.say("cancel")
        #expect(talk.lastText.hasPrefix("Do you want to stop here?"))
        await talk.press("keepGoing")
        #expect(talk.asked == "zip")
        await talk.say("start over")
        #expect(talk.texts.suffix(2).first?.hasPrefix("OK, from the beginning. Hi!") == true)
        #expect(talk.asked == "ownership")
        await talk.say("stop texting me")
        #expect(talk.owner == "closed")
        #expect(stage.ended.first?.end == EndRecord(outcome: .declined, product: nil, gates: ["optedOut"]))
        let refused = await talk.say("hello?")
        #expect(refused.last?["code"]?.string == "closed")
        try stage.remove()
    }

    @Test func `the language follows the visitor`() async throws {
        let stage = try Stage()
        let talk = await stage.talk(["language": "en"])
        await talk.say("hola, soy dueño de una casa y vivo en el 11215")
        #expect(talk.lastText.hasSuffix("¿Cuánto es la factura?"))
        await talk.say("in english please")
        #expect(talk.lastText.hasSuffix("What is the bill?"))
        try stage.remove()
    }

    @Test func `a gate closes and opens with the answer`() async throws {
        let stage = try Stage()
        let talk = await stage.talk(["language": "es"])
        await talk.say("alquilo")
        #expect(stage.ended.first?.end == EndRecord(outcome: .disqualified, product: "other", gates: ["renter"]))
        try stage.remove()
    }

    @Test func `consent counts only for words that were seen`() async throws {
        let stage = try Stage()
        let talk = await stage.talk()
        for line in ["I own it", "11215", "$200", "skip", "go on"] { await talk.say(line) }
        await talk.say("Ana Diaz, 917-555-0143, ana@example.com")
        #expect(talk.asked == "consent")
        await talk.say("maybe, what do you think")
        #expect(talk.asked == "consent")
        #expect(stage.ended.isEmpty)
        await talk.press("decline")
        #expect(stage.ended.first?.end.gates == ["noConsent"])
        #expect(stage.ended.first?.consents.first?.control == "No, thanks")
        try stage.remove()
    }
}
