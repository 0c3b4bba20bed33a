import AurumCore
import Conversation
import Testing

/// What the parsers make of what people type: value, or nothing, or an attempt that is refused.
struct EntityTests {
    private func read(_ text: String, asked: [String], settled: [String] = []) throws -> Understanding.Answer {
        Understanding.Answer(
            try #require(try TestFlow.catalogue().flow("test.flow")), asked: asked, settled: settled, text: text)
    }

    @Test(arguments: [
        ("$240", 240_00), ("240", 240_00), ("$240.50", 240_50), ("240 dollars", 240_00), ("240$", 240_00),
        ("usd 240", 240_00), ("240 bucks", 240_00), ("about 240", 240_00), ("around $240 a month", 240_00),
        ("$1,200", 1200_00), ("1,200.50", 1200_50), ("1.2k", 1200_00), ("2 hundred", 200_00), ("two forty", 240_00),
        ("two forty a month", 240_00), ("two hundred and forty", 240_00), ("two hundred forty five", 245_00),
        ("one fifty", 150_00), ("three ten", 310_00), ("twenty four hundred", 0), ("a hundred", 100_00),
        ("one hundred and twenty five", 125_00), ("ninety five", 95_00), ("ninety-five dollars", 95_00),
        ("a thousand", 1000_00), ("one thousand two hundred", 1200_00), ("eighty", 80_00), ("thirty", 30_00),
        ("$2,400 a year", 200_00), ("2400 per year", 200_00), ("$1,800 annually", 150_00), ("240/month", 240_00),
        ("240 / mo", 240_00), ("$180 monthly", 180_00), ("180 per month", 180_00), ("it's 175 each month", 175_00),
        ("doscientos cuarenta", 240_00), ("ciento cincuenta", 150_00), ("240 dólares", 240_00), ("unos 240", 240_00),
        ("240 al mes", 240_00), ("como 180 dólares por mes", 180_00), ("mil doscientos", 1200_00), ("cien", 100_00),
        ("treinta y cinco", 35_00), ("quinientos", 500_00), ("$3600 al año", 300_00), ("doscientos", 200_00),
        ("setenta y cinco dólares mensuales", 75_00), ("a couple hundred", 200_00), ("un par de cientos", 200_00),
    ])
    func `an amount of money is read`(text: String, cents: Int) throws {
        let answer = try read(text, asked: ["bill"])
        if cents == 0 {
            #expect(answer.money("bill")?.cents == 2400_00, "\(text)")
        } else {
            #expect(answer.money("bill")?.cents == Int64(cents), "\(text)")
        }
    }

    @Test(arguments: [
        ("200-250", 200, 250), ("about 200–250", 200, 250), ("$200 to $250", 200, 250),
        ("200 to 250 dollars", 200, 250),
        ("between 200 and 250", 200, 250), ("entre 200 y 250", 200, 250), ("200 a 250 al mes", 200, 250),
        ("de 150 a 180", 150, 180), ("180 or 220", 180, 220), ("$2,400 to $3,000 a year", 200, 250),
        ("between one fifty and two hundred", 150, 200), ("$90-110/mo", 90, 110),
    ])
    func `a range keeps both ends`(text: String, low: Int64, high: Int64) throws {
        let range = try #require(try read(text, asked: ["bill"]).money("bill"), "\(text)")
        #expect(range.lowCents == low * 100 && range.highCents == high * 100, "\(text)")
        #expect(range.cents == (low + high) * 50, "\(text)")
    }

    @Test(arguments: [
        "11215", "600 kwh", "50%", "3 people", "2 family", "no idea", "in 6 months", "917-555-0143", "i don't know",
        "???",
    ])
    func `what is no money is not taken for it`(text: String) throws {
        #expect(try read(text, asked: ["bill"]).money("bill") == nil, "\(text)")
    }

    @Test(arguments: [
        ("my bill is 200", 200), ("i pay 180", 180), ("electric runs about $95", 95), ("la luz son 150", 150),
        ("pago 210 al mes", 210), ("hello, $240", 240),
    ])
    func `an amount counts unasked when its words say so`(text: String, dollars: Int64) throws {
        #expect(try read(text, asked: ["ownership"]).money("bill")?.cents == dollars * 100, "\(text)")
    }

    @Test func `a bare number belongs to nothing that was not asked`() throws {
        #expect(try read("200", asked: ["ownership"]).values.isEmpty)
        #expect(try read("4", asked: ["ownership"]).values.isEmpty)
    }

    @Test(arguments: [
        ("11215", "11215"), ("it's 11215", "11215"), ("11215-1234", "11215"), ("zip 10001.", "10001"),
        ("Brooklyn, NY 11215", "11215"), ("mi código es 11375", "11375"), ("11215, near the park", "11215"),
        ("(11215)", "11215"), ("I live in 10462", "10462"), ("00501", "00501"),
    ])
    func `a ZIP code is read`(text: String, zip: String) throws {
        #expect(try read(text, asked: ["zip"]).string("zip") == zip, "\(text)")
    }

    @Test(arguments: ["1O001", "1000", "112155", "1121", "11 215", "1121a", "112-15"])
    func `what is nearly a ZIP code is refused and named`(text: String) throws {
        let answer = try read(text, asked: ["zip"])
        #expect(answer.string("zip") == nil, "\(text)")
        #expect(answer.invalid.contains("zip"), "\(text)")
    }

    @Test(arguments: ["$11215", "11215 dollars", "11215 kwh"])
    func `five digits with a unit are no ZIP code`(text: String) throws {
        #expect(try read(text, asked: ["zip"]).string("zip") == nil, "\(text)")
    }

    @Test(arguments: [
        "917-555-0143", "(917) 555-0143", "917.555.0143", "9175550143", "+1 917 555 0143", "1-917-555-0143",
        "917 555 0143", "my number is 917-555-0143", "19175550143", "(917)5550143", "call 917-555-0143 please",
        "nine one seven five five five oh one four three", "mi teléfono es 917 555 0143", "917/555/0143",
        "nueve uno siete cinco cinco cinco cero uno cuatro tres",
    ])
    func `a telephone number is read`(text: String) throws {
        #expect(try read(text, asked: ["phone"]).string("phone") == "+19175550143", "\(text)")
    }

    @Test(arguments: ["555-0143", "917-555-014", "917-555-01434", "017-555-0143", "917-055-0143"])
    func `an incomplete or impossible number is refused and named`(text: String) throws {
        let answer = try read(text, asked: ["phone"])
        #expect(answer.string("phone") == nil, "\(text)")
        #expect(answer.invalid.contains("phone"), "\(text)")
    }

    @Test(arguments: [
        ("ana@example.com", "ana@example.com"),
        ("my email is ana.diaz+x@mail.example.org.", "ana.diaz+x@mail.example.org"),
        ("ANA@Example.COM", "ANA@Example.COM"), ("(ana@example.com)", "ana@example.com"),
        ("ana at gmail dot com", "ana@gmail.com"), ("ana arroba gmail punto com", "ana@gmail.com"),
        ("it's <ana@example.com>", "ana@example.com"), ("correo: ana@example.com, gracias", "ana@example.com"),
    ])
    func `an email address is read`(text: String, address: String) throws {
        #expect(try read(text, asked: ["email"]).string("email") == address, "\(text)")
    }

    @Test(arguments: ["ana@", "ana@example", "@example.com", "ana@@example.com", "ana@exa mple"])
    func `a broken email address is refused and named`(text: String) throws {
        let answer = try read(text, asked: ["email"])
        #expect(answer.string("email") == nil, "\(text)")
        #expect(answer.invalid.contains("email"), "\(text)")
    }

    @Test(arguments: [
        ("Ana Diaz", "Ana Diaz"), ("my name is Ana Diaz", "Ana Diaz"), ("I'm Ana", "Ana"),
        ("it's José Pérez", "José Pérez"),
        ("me llamo María del Carmen Ruiz", "María del Carmen Ruiz"), ("mi nombre es Ana", "Ana"), ("Ana", "Ana"),
        ("this is Mary-Jane O'Neil", "Mary-Jane O'Neil"), ("soy Luis", "Luis"), ("J. R. Smith", "J. R. Smith"),
    ])
    func `a name is read`(text: String, name: String) throws {
        #expect(try read(text, asked: ["name"]).string("name") == name, "\(text)")
    }

    @Test(arguments: ["yes", "no", "why do you ask?", "stop", "no thanks", "12345", "skip", "human", "gracias"])
    func `an answer that is no name is not taken for one`(text: String) throws {
        #expect(try read(text, asked: ["name"]).string("name") == nil, "\(text)")
    }

    @Test func `name, phone and email come out of one message`() throws {
        for text in [
            "Ana Diaz, 917-555-0143, ana@example.com", "ana@example.com 917-555-0143 Ana Diaz",
            "My name is Ana Diaz and my phone is (917) 555-0143, email ana@example.com",
            "soy Ana Diaz, mi correo es ana@example.com y mi número 917.555.0143",
        ] {
            let answer = try read(text, asked: ["name", "phone", "email"])
            #expect(answer.string("name") == "Ana Diaz", "\(text)")
            #expect(answer.string("phone") == "+19175550143", "\(text)")
            #expect(answer.string("email") == "ana@example.com", "\(text)")
        }
    }

    @Test(arguments: [
        ("i own", "owner"), ("yes", "owner"), ("I own it", "owner"), ("soy dueño", "owner"), ("SÍ", "owner"),
        ("we are here, i own a house", "owner"), ("I rent", "renter"), ("alquilo", "renter"), ("rent", "renter"),
        ("I don't own, I rent", "renter"), ("i do not own it but i rent", "renter"), ("Alquilo.", "renter"),
    ])
    func `a choice is read by its synonyms`(text: String, value: String) throws {
        #expect(try read(text, asked: ["ownership"]).string("ownership") == value, "\(text)")
    }

    @Test(arguments: ["not own", "maybe", "i own and i rent", "what?"])
    func `a negated or ambiguous choice is not decided`(text: String) throws {
        #expect(try read(text, asked: ["ownership"]).string("ownership") == nil, "\(text)")
    }

    @Test(arguments: [
        ("asap", "soon"), ("in 2 months", "soon"), ("3 months", "soon"), ("six weeks", "soon"), ("4 months", "later"),
        ("3 to 6 months", "later"), ("2 or 3 months", "soon"), ("a year", "year"), ("en dos meses", "soon"),
        ("en un año", "year"), ("two years", "year"), ("lo antes posible", "soon"), ("10 days", "soon"),
        ("in 5-6 months", "later"), ("8 meses", "year"),
    ])
    func `a span of time chooses its bucket`(text: String, value: String) throws {
        #expect(try read(text, asked: ["start"]).string("start") == value, "\(text)")
    }

    @Test(arguments: [
        ("yes", true), ("yeah sure", true), ("of course", true), ("sí", true), ("claro que sí", true), ("ok", true),
        ("no", false), ("nope", false), ("no thanks", false), ("para nada", false), ("not really", false),
    ])
    func `yes and no are read in both languages`(text: String, value: Bool) throws {
        #expect(try read(text, asked: ["account"]).values["account"] == .boolean(value), "\(text)")
    }

    @Test(arguments: ["yes but no", "yes if it is cheap", "maybe", "no idea why yes", ""])
    func `a half yes is neither`(text: String) throws {
        #expect(try read(text, asked: ["account"]).values["account"] == nil, "\(text)")
    }

    @Test func `one message fills several slots, and each span holds its words`() throws {
        let text = "My bill is 200, I own a house in 11215 ☀️"
        let answer = try read(text, asked: ["ownership"])
        #expect(answer.money("bill")?.cents == 200_00)
        #expect(answer.string("ownership") == "owner")
        #expect(answer.string("zip") == "11215")
        for fill in answer.fills {
            let scalars = Array(text.unicodeScalars)[fill.start..<fill.end]
            #expect(String(String.UnicodeScalarView(scalars)) == fill.raw)
        }
    }

    @Test func `a bare value in a correction belongs to the newest answer of its kind`() throws {
        #expect(try read("no wait, 230", asked: ["people"], settled: ["zip", "bill"]).money("bill")?.cents == 230_00)
        #expect(try read("sorry, 10001", asked: ["people"], settled: ["zip", "bill"]).string("zip") == "10001")
    }

    @Test(arguments: [
        ("stop", Intent.stopContact), ("please stop texting me", .stopContact), ("no me llamen", .stopContact),
        ("talk to a human", .askHuman), ("quiero hablar con una persona", .askHuman), ("are you a bot?", .areYouABot),
        ("¿eres un robot?", .areYouABot), ("why?", .explainWhy), ("¿por qué?", .explainWhy), ("start over", .restart),
        ("cancel", .cancel), ("cancelar", .cancel), ("skip", .skip), ("rather not say", .skip),
        ("prefiero no decir", .skip),
        ("what?", .repeatLast), ("no entiendo", .repeatLast), ("hello", .greeting), ("buenos días", .greeting),
        ("thanks!", .thanks), ("muchas gracias", .thanks), ("not interested", .notInterested),
        ("no me interesa", .notInterested), ("delete my data", .deleteMyData), ("en español por favor", .speakSpanish),
    ])
    func `a command is recognised`(text: String, intent: Intent) throws {
        #expect(try read(text, asked: ["bill"]).intents.contains(intent), "\(text)")
    }
}

extension Understanding {
    /// One reading, easy to ask.
    struct Answer {
        let fills: [SlotReading]
        let invalid: [String]
        let intents: [Intent]

        init(_ flow: FlowDefinition, asked: [String], settled: [String], text: String) {
            let readings = Understanding(flow: flow, asked: asked, settled: settled).readings(text)
            fills = readings.fills
            invalid = readings.invalid.map(\.slot)
            intents = readings.intents
        }

        var values: [String: SlotValue] {
            Dictionary(fills.compactMap { fill in fill.value.map { (fill.slot, $0) } }, uniquingKeysWith: { $1 })
        }

        func string(_ slot: String) -> String? { values[slot]?.string }

        func money(_ slot: String) -> MoneyRange? {
            if case .money(let range) = values[slot] { range } else { nil }
        }
    }
}
