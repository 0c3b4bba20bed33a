import AurumCore
import Database
import Foundation
import Leads
import TestSupport
import Testing

@Suite struct IntakeTests {
    @Test func `a draft becomes a scored, sealed and qualified lead with its events`() async throws {
        let desk = try LeadDesk()
        let receipt = try await desk.accept(desk.draft(1))
        #expect(receipt.state == .qualified)
        #expect(receipt.score == 100)
        #expect(receipt.tier == "premium")
        #expect(receipt.certificateID != nil)
        let names = try await desk.database.read("test.events") { tx in
            try tx.values(String.self, "SELECT name FROM outbox ORDER BY seq")
        }
        #expect(names == ["lead.created", "lead.scored", "consent.sealed", "lead.qualified"])
    }

    @Test func `no event and no masked answer holds contact data`() async throws {
        let desk = try LeadDesk()
        let receipt = try await desk.accept(desk.draft(1))
        let texts = try await desk.database.read("test.props") { tx in
            try tx.values(String.self, "SELECT props FROM outbox")
                + tx.values(String.self, "SELECT detail FROM lead_history")
        }
        let shown = try await desk.lead(receipt.id).canonical
        for text in texts + [shown] {
            for secret in ["Rivera", "9172000001", "ana1@", "example.com"] {
                #expect(!text.contains(secret), "\(secret)")
            }
        }
        for text in texts { #expect(!text.contains("\"11215\"")) }
        let exposed = try await desk.reads.read(org: LeadDesk.org, id: receipt.id, exposeContact: true)
        #expect(exposed?["contact"]?["email"] == "ana1@example.com")
        #expect(try await desk.reads.read(org: "other", id: receipt.id) == nil)
    }

    @Test func `the event of a new lead names the visitor, where the sender knows one`() async throws {
        let desk = try LeadDesk()
        _ = try await desk.accept(desk.draft(1))
        var unknown = desk.draft(2)
        unknown.source.visitorID = nil
        _ = try await desk.accept(unknown)
        let facts = try await desk.database.read("test.created") { tx in
            try tx.values(JSONValue.self, "SELECT props FROM outbox WHERE name = 'lead.created' ORDER BY seq")
        }
        #expect(facts.map { $0["anonymous_id"] } == ["v-1", nil])
    }

    @Test func `a repeated own id gets the first answer, and another body under it is refused`() async throws {
        let desk = try LeadDesk()
        var draft = desk.draft(1, externalID: "id:7")
        draft.fingerprint = "a"
        let first = try await desk.accept(draft)
        let again = try await desk.accept(draft)
        #expect(again.repeated)
        #expect(again.json == first.json)
        draft.fingerprint = "b"
        await #expect(throws: LeadIntakeError.keyReused) { try await desk.accept(draft) }
        #expect(try await desk.count("SELECT COUNT(*) FROM leads") == 1)
    }

    @Test func `a lead that may not be sold keeps its score and says why`() async throws {
        let desk = try LeadDesk()
        let silent = try await desk.accept(desk.draft(1, scope: nil))
        #expect(silent.state == .disqualified)
        #expect(silent.gates == ["consentMissing"])
        #expect(silent.score == 100)
        #expect(silent.tier == "unqualified")
        var unreachable = desk.draft(2)
        unreachable.contact = LeadContact(zip: "11215", rawPhone: "12", rawEmail: "x@")
        let bad = try await desk.accept(unreachable)
        #expect(bad.gates == ["contactInvalid"])
        let contact = try await desk.lead(bad.id)["contact"]
        #expect(contact?["phone_status"] == "invalid")
    }

    @Test func `two hundred posts of one person at once give one lead`() async throws {
        let desk = try LeadDesk()
        let states = try await withThrowingTaskGroup(of: LeadState.self) { group in
            for index in 0..<200 {
                group.addTask {
                    var draft = desk.draft(5)
                    if index.isMultiple(of: 2) { draft.contact.email = EmailAddress("ANA5@Example.com") }
                    return try await desk.accept(draft).state
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(states.count { $0 == .qualified } == 1)
        #expect(states.count { $0 == .duplicate } == 199)
        #expect(try await desk.count("SELECT COUNT(DISTINCT duplicate_of) FROM leads") == 1)
    }

    @Test func `people without phone and email never match each other`() async throws {
        let desk = try LeadDesk()
        for number in 1...3 {
            var draft = desk.draft(number)
            draft.contact = LeadContact(email: EmailAddress("p\(number)@example.com"), zip: "11215")
            #expect(try await desk.accept(draft).state == .qualified)
            draft.contact = LeadContact(zip: "11215")
            let receipt = try await desk.accept(draft)
            #expect(receipt.duplicateOf == nil)
        }
    }

    @Test func `a person is new again after ninety days, and after a disqualified attempt`() async throws {
        let desk = try LeadDesk()
        var renting = desk.draft(1)
        renting.gates = ["renter"]
        #expect(try await desk.accept(renting).state == .disqualified)
        #expect(try await desk.accept(desk.draft(1)).state == .qualified)
        #expect(try await desk.accept(desk.draft(1)).state == .duplicate)
        desk.clock.advance(by: .seconds(90 * 86_400 - 1))
        #expect(try await desk.accept(desk.draft(1)).state == .duplicate)
        desk.clock.advance(by: .seconds(1))
        #expect(try await desk.accept(desk.draft(1)).state == .qualified)
    }

    @Test func `a bad body is answered with every problem`() throws {
        let policies = try ScorePolicies.embedded()
        let text = """
            {"type":"boat","colour":1,"trace_id":"x","contact":{"name":"","zip":"112","fax":"1"},
            "attributes":{"bill":"much"},"source":[],"consent":{"channels":"phone","at":"yesterday"}}
            """
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        do {
            _ = try LeadBody.draft(
                from: body, org: "acme", idempotencyKey: nil, policies: policies, now: Timestamp(milliseconds: 0))
            Issue.record("accepted")
        } catch {
            guard case .invalid(let problems) = error else {
                Issue.record("\(error)")
                return
            }
            let fields = Set(problems.map { "\($0.field) \($0.code)" })
            #expect(
                fields.isSuperset(of: [
                    "type choice", "colour unknown", "trace_id format", "contact.zip format", "contact.fax unknown",
                    "source type", "consent.channels type", "consent.at format", "consent.text missing",
                    "consent.version missing", "consent.control missing", "consent.scope missing",
                ]), "\(fields.sorted())")
        }
    }

    @Test(arguments: [
        (#""bill":-1"#, "attributes.bill range"), (#""bill":1.5"#, "attributes.bill type"),
        (#""ownership":"king""#, "attributes.ownership choice"), (#""race":"x""#, "attributes.race unknown"),
        (#""ownQuestion":"yes""#, "attributes.ownQuestion type"),
    ])
    func `an attribute of the wrong kind is named`(member: String, problem: String) throws {
        let text = #"{"type":"rooftop","contact":{"zip":"11215"},"attributes":{\#(member)}}"#
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        let policies = try ScorePolicies.embedded()
        #expect {
            _ = try LeadBody.draft(
                from: body, org: "acme", idempotencyKey: nil, policies: policies, now: Timestamp(milliseconds: 0))
        } throws: { error in
            guard case LeadIntakeError.invalid(let problems) = error else { return false }
            return problems.map { "\($0.field) \($0.code)" } == [problem]
        }
    }
}
