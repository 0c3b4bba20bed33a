import AurumCore
import Conversation
import Database
import Leads
import Solar
import Testing

/// One conversation per gate and language, over the real service, database, estimate and lead intake.
struct FlowGateTests {
    struct Script: Sendable, CustomTestStringConvertible {
        var name: String
        var language: String
        var lines: [String]
        var outcome: String
        var product: String?
        /// Gates of the lead; nil when no lead is made.
        var lead: (type: String, gates: Set<String>)?
        /// Questions asked in all, asides not counted.
        var asks: Int

        var testDescription: String { "\(name) \(language)" }
    }

    static let contact = "Ana Diaz, 917-555-0143, ana@example.com"

    static let scripts: [Script] = [
        Script(
            name: "rooftop", language: "en",
            lines: [
                "I own it", "brownstone", "11215", "$380", "flat", "no shade", "asap", "cash", "just me", contact,
                "yes",
            ],
            outcome: "qualified", product: "rooftop", lead: ("rooftop", []), asks: 11),
        Script(
            name: "rooftop", language: "es",
            lines: [
                "soy dueña", "adosada", "11375", "$220", "plano", "sin sombra", "en 4 meses", "préstamo", "los dos",
                contact, "sí, acepto",
            ],
            outcome: "qualified", product: "rooftop", lead: ("rooftop", []), asks: 11),
        Script(
            name: "renter", language: "en", lines: ["I rent", "11215", "$250", "yes", contact, "I agree"],
            outcome: "qualified", product: "communitySolar", lead: ("communitySolar", []), asks: 6),
        Script(
            name: "renter", language: "es", lines: ["alquilo", "11215", "$250", "sí", contact, "acepto"],
            outcome: "qualified", product: "communitySolar", lead: ("communitySolar", []), asks: 6),
        Script(
            name: "shared roof", language: "en",
            lines: ["I own it", "co-op", "Community solar", "10462", "$320", "yes", contact, "yes"],
            outcome: "qualified", product: "communitySolar", lead: ("communitySolar", []), asks: 7),
        Script(
            name: "shared roof, building", language: "es",
            lines: ["es mía", "condominio", "Solar para el edificio", contact, "sí"],
            outcome: "qualified", product: "building", lead: ("building", []), asks: 4),
        Script(
            name: "authority", language: "en", lines: ["my parents own it", "Luis Diaz, 917-555-0199"],
            outcome: "disqualified", product: "rooftop", lead: ("rooftop", ["roofAuthority"]), asks: 2),
        Script(
            name: "authority", language: "es", lines: ["es de mis padres", "omitir"],
            outcome: "disqualified", product: "rooftop", lead: nil, asks: 2),
        Script(
            name: "outside", language: "en", lines: ["I own it", "one family", "10501", "no"],
            outcome: "disqualified", product: "outside", lead: nil, asks: 3),
        Script(
            name: "outside", language: "es", lines: ["soy dueño", "unifamiliar", "07030", "sí", "ana@example.com"],
            outcome: "disqualified", product: "outside", lead: nil, asks: 4),
        Script(
            name: "tiny bill", language: "en",
            lines: ["I own it", "one family", "10301", "$40", "yes", contact, "yes"],
            outcome: "qualified", product: "communitySolar", lead: ("communitySolar", []), asks: 7),
        Script(
            name: "tiny bill", language: "es",
            lines: ["soy dueño", "dúplex", "10301", "40 dólares", "sí", contact, "sí"],
            outcome: "qualified", product: "communitySolar", lead: ("communitySolar", []), asks: 7),
        Script(
            name: "commercial", language: "en",
            lines: ["I own it", "warehouse", "11215", "$850", "within 3 months", contact, "yes"],
            outcome: "qualified", product: "commercial", lead: ("commercial", []), asks: 7),
        Script(
            name: "commercial", language: "es",
            lines: ["soy dueño", "edificio comercial", "11215", "$850", "lo antes posible", contact, "sí"],
            outcome: "qualified", product: "commercial", lead: ("commercial", []), asks: 7),
        Script(
            name: "no consent", language: "en",
            lines: [
                "I own it", "brownstone", "11215", "$280", "flat", "some", "asap", "cash", "just me", contact, "no",
            ],
            outcome: "declined", product: "rooftop", lead: ("rooftop", ["noConsent"]), asks: 11),
        Script(
            name: "no consent", language: "es",
            lines: [
                "soy dueña", "adosada", "11215", "$280", "plano", "poca", "en un mes", "contado", "solo yo", contact,
                "no acepto",
            ],
            outcome: "declined", product: "rooftop", lead: ("rooftop", ["noConsent"]), asks: 11),
    ]

    @Test(arguments: scripts) func `each gate ends where the specification says`(script: Script) async throws {
        let stage = try await SolarStage()
        let talk = try await stage.talk(language: script.language)
        for line in script.lines { await talk.say(line) }
        let row = try #require(try await talk.row())
        #expect(row.outcome == script.outcome, "\(talk.texts)")
        #expect(row.product == script.product, "\(talk.texts)")
        #expect(row.language == script.language)
        #expect(talk.asked.count == script.asks, "\(talk.asked)")
        if script.name == "renter" { #expect(talk.asked.prefix(2) == ["ownership", "zip"]) }
        let leads = try await stage.database.read("test.leads") { tx in
            try tx.values(String.self, "SELECT type FROM leads")
        }
        #expect(leads == (script.lead.map { [$0.type] } ?? []))
        if let lead = script.lead {
            let gates = try await stage.database.read("test.gates") { tx in
                try tx.values(String.self, "SELECT gates FROM leads").joined()
            }
            for gate in lead.gates { #expect(gates.contains(gate), "\(gates)") }
            for gate in ["renter", "sharedRoof", "tinyBill", "commercial"] where lead.type != "rooftop" {
                #expect(!gates.contains("\"\(gate)\""), "\(gates)")
            }
        }
        try stage.close()
    }

    @Test func `an edge ZIP asks for the borough, a border ZIP for the company, a mailbox for the house`() async throws
    {
        let stage = try await SolarStage()
        let talk = try await stage.talk()
        await talk.say("I own it")
        await talk.say("one family")
        await talk.say("11695")
        #expect(talk.lastText.contains("mailbox ZIP code"))
        await talk.say("10463")
        #expect(talk.asked.last == "statedBorough")
        await talk.say("the Bronx")
        #expect(talk.asked.last == "bill")
        await talk.say("no wait, 11693")
        #expect(talk.asked.last == "statedUtility")
        await talk.say("Con Edison")
        #expect(talk.asked.last == "bill")
        try stage.close()
    }

    @Test func `a renter who turns out to own the home is asked on, and the other way round`() async throws {
        let stage = try await SolarStage()
        let talk = try await stage.talk()
        await talk.say("I rent")
        #expect(talk.texts.contains { $0.contains("community solar") })
        await talk.say("sorry, I own it actually")
        #expect(talk.asked.last == "homeType")
        await talk.say("brownstone in 11215, bill is $300")
        #expect(talk.asked.last == "roofType")
        await talk.say("wait, I rent")
        #expect(talk.asked.last == "accountName")
        try stage.close()
    }

    @Test func `no answer of a renter, condo or co-op ever ends as a rooftop lead`() async throws {
        let flow = try #require(
            try SolarFlow.catalogue(territory: Territory(), estimator: SolarEstimator()).flow(SolarFlow.id))
        var rooftopPaths = 0
        func walk(_ step: String, _ known: [String: Set<String>], _ seen: Set<String>) {
            guard let kind = flow.steps[step]?.kind, !seen.contains(step) else { return }
            let seen = seen.union([step])
            switch kind {
            case .say(_, let next): walk(next, known, seen)
            case .ask(let ask): walk(ask.next, known, seen)
            case .call(let call):
                walk(call.next, known, seen)
                if let failure = call.onFailure { walk(failure, known, seen) }
            case .consent(let consent):
                walk(consent.next, known, seen)
                walk(consent.onDecline, known, seen)
            case .offer(_, let replies): for reply in replies { walk(reply.target, known, seen) }
            case .branch(let cases, let otherwise):
                var rest = known
                for one in cases {
                    if let (slot, values) = Self.choices(one.condition), let all = rest[slot] {
                        var taken = rest
                        taken[slot] = all.intersection(values)
                        rest[slot] = all.subtracting(values)
                        if taken[slot]?.isEmpty == false { walk(one.target, taken, seen) }
                    } else {
                        walk(one.target, rest, seen)
                    }
                }
                walk(otherwise, rest, seen)
            case .end(let end):
                guard end.product == "rooftop", end.outcome == .qualified else { return }
                rooftopPaths += 1
                #expect(known["ownership"]?.isDisjoint(with: ["renter", "familyOwned", "unknown"]) == true)
                #expect(known["homeType"]?.isDisjoint(with: ["condoUnit", "coopUnit", "commercial"]) == true)
            }
        }
        let all = Dictionary(
            uniqueKeysWithValues: flow.slots.filter { $0.type == .choice }.map { ($0.name, Set($0.values.map(\.id))) })
        walk(flow.start, all, [])
        #expect(rooftopPaths > 0)
    }

    private static func choices(_ condition: Condition) -> (String, Set<String>)? {
        func word(_ literal: Condition.Literal) -> String? { if case .string(let text) = literal { text } else { nil } }
        switch condition {
        case .compare(let name, .equal, let literal): return word(literal).map { (name, [$0]) }
        case .contains(let name, let literals): return (name, Set(literals.compactMap(word)))
        default: return nil
        }
    }

    @Test func `the lead carries the answers with their evidence, the source and the consent`() async throws {
        let stage = try await SolarStage()
        let trace = UID(high: 3, low: 4)
        let talk = try await stage.talk(hello: [
            "traceID": .string(trace.hex), "visitorID": "v-7", "page": "https://example.com/solar?utm_campaign=bk",
            "clickID": "gclid-1", "utm": ["source": "google", "medium": "cpc", "campaign": "bk"],
        ])
        for line in ["my bill is 240, I own a brownstone in 11215", "flat", "none", "asap", "cash", "just me"] {
            await talk.say(line)
        }
        let card = try #require(talk.frames.first { $0["type"]?.string == "result" })
        let figures = try #require(card["figures"]?.array)
        #expect(figures.count >= 5)
        #expect(figures.allSatisfy { $0["source"]?.string?.isEmpty == false && $0["why"]?.string?.isEmpty == false })
        await talk.say(Self.contact)
        await talk.press("agree")
        let (traces, rows) = try await stage.database.read("test.lead") { tx in
            (
                try tx.values(UID.self, "SELECT trace_id FROM leads"),
                try tx.values(String.self, "SELECT attributes FROM leads").joined()
            )
        }
        #expect(traces == [trace])
        for name in [
            "bill", "ownership", "homeType", "zip", "borough", "utility", "timeline", "payment", "decision",
            "roofCoverage", "systemWatts", "annualKilowattHours", "firstTimeAnswers", "ownQuestion",
        ] {
            #expect(rows.contains("\"\(name)\""), "\(name) is missing in \(rows)")
        }
        let outbox = try await stage.database.read("test.outbox") { tx in
            try tx.values(String.self, "SELECT name FROM outbox ORDER BY seq")
        }
        #expect(outbox.contains("lead.created") && outbox.contains("consent.sealed"))
        #expect(outbox.contains("conversation.consented") && outbox.contains("conversation.ended"))
        try stage.close()
    }

    @Test func `no text makes a forbidden claim`() throws {
        let flow = try #require(
            try SolarFlow.catalogue(territory: Territory(), estimator: SolarEstimator()).flow(SolarFlow.id))
        let forbidden = [
            "free", "guarantee", "gratis", "garantiza", "testimonial", "customers say", "satisfied customers", "hurry",
            "limited time", "act now", "last chance", "only today", "apúrese", "última oportunidad", "risk-free",
            "best price",
        ]
        for (id, text) in flow.texts {
            for words in text.byLanguage.values {
                for claim in forbidden { #expect(!words.lowercased().contains(claim), "\(id): \(claim)") }
            }
        }
    }
}
