package import AurumCore

/// What a scripted visitor answers when the advisor asks for a slot. Names and addresses are invented; telephone
/// numbers use exchange 555, e-mail addresses example.com.
package struct Persona: Sendable, Hashable {
    /// Answers by slot name, in the visitor's own words.
    package var answers: [String: String]
    package var name: String
    package var phone: String
    package var email: String
    package var consents: Bool

    package init(answers: [String: String], name: String, phone: String, email: String, consents: Bool = true) {
        self.answers = answers
        self.name = name
        self.phone = phone
        self.email = email
        self.consents = consents
    }

    /// The visitor every buyer wants: owns a house in Brooklyn, high bill, soon, cash.
    /// - Parameter number: makes name, telephone and address differ between runs.
    package static func ideal(number: UInt64) -> Persona {
        Persona(
            answers: [
                "ownership": "I own it", "homeType": "one family house", "zip": "11215", "bill": "$320",
                "roofType": "flat", "shade": "no shade", "timeline": "within 3 months", "payment": "cash",
                "decision": "just me",
            ], name: "Ana Diaz", phone: Persona.phone(number), email: "ana.diaz.\(number % 1_000_000_007)@example.com")
    }

    /// A visitor drawn from what New Yorkers answer; about one in six rents, one in twelve does not consent.
    /// - Parameter mustQualify: an owner with a good bill who consents.
    package static func random(
        zips: [DemoZIP], using random: inout SeededRandom, number: UInt64, mustQualify: Bool = false
    ) -> Persona {
        func pick(_ list: [String]) -> String { list.randomElement(using: &random) ?? "" }
        let first = pick(firstNames)
        let last = pick(lastNames)
        let bill = Int.random(in: mustQualify ? 26...46 : 9...46, using: &random) * 10
        let rents = Int.random(in: 0..<6, using: &random) == 0 && !mustQualify
        let refuses = Int.random(in: 0..<12, using: &random) == 0 && !mustQualify
        let answers = [
            "ownership": rents ? "I rent" : pick(["I own it", "yes, I'm the owner"]),
            "homeType": pick(["one family house", "two family house", "brownstone", "one family house"]),
            "zip": zips.randomElement(using: &random)?.zip ?? "11215",
            "bill": pick(["$\(bill)", "about \(bill) dollars", "around $\(bill) a month"]),
            "roofType": pick(["flat", "shingle", "flat", "flat"]), "shade": pick(["no shade", "some shade", "none"]),
            "timeline": pick(["within 3 months", "3 to 6 months", "within 3 months", "6 to 12 months"]),
            "payment": pick(["cash", "loan", "cash", "lease"]),
            "decision": pick(["just me", "together with my wife", "just me"]),
        ]
        return Persona(
            answers: answers, name: "\(first) \(last)", phone: phone(number),
            email: "\(first.lowercased()).\(last.lowercased()).\(number % 1_000_000_007)@example.com",
            consents: !refuses)
    }

    /// The answer to a bot message that asks for `slots` (comma-separated) and offers these quick replies.
    package func answer(to slots: String, quickReplies: [String]) -> String {
        let asked = slots.split(separator: ",").map { $0.filter { !$0.isWhitespace } }
        if asked.contains(where: { $0.lowercased().contains("consent") }) || quickReplies.contains("agree") {
            return consents ? "yes" : "no"
        }
        let contact: [(slot: String, words: String)] = [("name", name), ("phone", phone), ("email", email)]
        let details = contact.filter { asked.contains($0.slot) }.map(\.words)
        if !details.isEmpty { return details.joined(separator: ", ") }
        let known = asked.compactMap { answers[$0] }
        if !known.isEmpty { return known.joined(separator: ", ") }
        return asked.first == "borough" ? "Brooklyn" : "not sure"
    }

    /// A number in an exchange that no subscriber has. So many in a row are all different: two people with one number
    /// would be one lead.
    static func phone(_ number: UInt64) -> String {
        let areas = ["917", "718", "347", "929", "646", "212", "332", "516", "914", "631", "845"]
        // Information is at 1212, wherever one is.
        let line = number % 9_999
        let text = String(line < 1212 ? line : line + 1)
        let area = areas[Int(number / 9_999 % UInt64(areas.count))]
        return "\(area)-555-\(String(repeating: "0", count: 4 - text.utf8.count))\(text)"
    }

    private static let firstNames = [
        "Ana", "Ben", "Carla", "Dmitri", "Elena", "Farah", "George", "Hana", "Isaac", "Jade", "Kofi", "Lena", "Marco",
        "Nadia", "Omar", "Priya", "Rosa", "Samuel", "Tara", "Victor", "Wei", "Yara",
    ]
    private static let lastNames = [
        "Diaz", "Cohen", "Brown", "Singh", "Rossi", "Okafor", "Chen", "Rivera", "Katz", "Novak", "Haddad", "Murphy",
        "Park", "Silva", "Moreno", "Jackson", "Nguyen", "Weiss", "Garcia", "Ivanov",
    ]
}
