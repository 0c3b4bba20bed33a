internal import AurumCore
import Testing
internal import Validation

@Suite struct PersonaTests {
    @Test func `a persona answers what is asked, in its own words`() {
        let persona = Persona.ideal(number: 5)
        #expect(persona.answer(to: "zip", quickReplies: []) == "11215")
        #expect(persona.answer(to: "name,phone,email", quickReplies: []).split(separator: ",").count == 3)
        #expect(persona.answer(to: "contactConsent", quickReplies: []) == "yes")
        #expect(persona.answer(to: "whatever", quickReplies: ["agree", "decline"]) == "yes")
        #expect(persona.answer(to: "favouriteColour", quickReplies: []) == "not sure")
    }

    @Test func `contacts are well formed and differ from visitor to visitor`() {
        var random = SeededRandom(seed: 3)
        var phones: Set<String> = []
        let zips = DemoZIP.embedded()
        for number in 0..<500 as Range<UInt64> {
            let persona = Persona.random(zips: zips, using: &random, number: number)
            #expect(PhoneNumber(persona.phone) != nil, "\(persona.phone)")
            #expect(EmailAddress(persona.email) != nil)
            phones.insert(persona.phone)
        }
        #expect(phones.count > 490)
    }

    @Test func `the same seed draws the same answers`() {
        let zips = DemoZIP.embedded()
        func answers() -> [Persona] {
            var random = SeededRandom(seed: 9)
            return (0..<20).map { Persona.random(zips: zips, using: &random, number: $0) }
        }
        #expect(answers() == answers())
    }

    @Test func `the demo lives in residential New York`() {
        let zips = DemoZIP.embedded()
        #expect(zips.count > 200 && Set(zips.map(\.borough)).count == 5)
        #expect(zips.contains { $0.utility == "PSEG-LI" })
        #expect(!zips.contains { $0.zip == "10463" })
    }
}
