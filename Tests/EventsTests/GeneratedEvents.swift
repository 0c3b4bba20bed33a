internal import AurumCore
internal import Events

/// Seeded lines of every kind that a sender may send, valid ones and broken ones, each with what must become of it.
struct GeneratedEvents {
    struct Line {
        var bytes: [UInt8]
        var outcome: EventOutcome
        var reason: String
        var id: String?
    }

    private var random: SeededRandom
    private let prefix: String
    private let model = ContractModel(now: testNow)
    private var number = 0
    /// Ids that were accepted, with how they were written.
    private var accepted: Set<String> = []
    private var sent: [Line] = []

    init(seed: UInt64, prefix: String) {
        random = SeededRandom(seed: seed)
        self.prefix = prefix
    }

    mutating func body() -> [Line] { (0..<1 + random.below(60)).map { _ in line() } }

    mutating func line() -> Line {
        if random.chance(12), let known = sent.randomElement(using: &random) { return repeated(known) }
        number += 1
        let id = identifier()
        let text = random.chance(30) ? broken(id) : event(id)
        let bytes = Array(text.utf8)
        let reason = model.reason(bytes)
        var line = Line(bytes: bytes, outcome: .stored, reason: reason, id: id)
        if reason != "" {
            line.outcome = .quarantined
        } else {
            line.outcome = text.contains("Googlebot") ? .bot : text.contains("2026-11-1") ? .late : .stored
            accepted.insert(id)
            sent.append(line)
        }
        return line
    }

    private func repeated(_ known: Line) -> Line {
        var again = known
        again.outcome = .duplicate
        return again
    }

    // MARK: parts

    private mutating func identifier() -> String {
        let digits = String(UInt64(number) &* 0x9E37_79B9_7F4A_7C15, radix: 16)
        let hex = String(repeating: "0", count: 16 - digits.count) + digits
        let all = hex + String(hex.reversed())
        switch random.below(6) {
        case 0: return all
        case 1: return all.uppercased()
        case 2, 3:
            let groups = [(0, 8), (8, 4), (12, 4), (16, 4), (20, 12)]
            let text = groups.map { String(all.dropFirst($0.0).prefix($0.1)) }.joined(separator: "-")
            return random.chance(4) ? text.uppercased() : text
        case 4: return "\(prefix)-\(number)-" + String(repeating: "i", count: 150)
        default: return "\(prefix)-\(number)é🧀"
        }
    }

    private mutating func time() -> String {
        let second = "\(random.below(6))\(random.below(10))"
        return random.pick([
            "\"2026-11-21T11:59:\(second)Z\"", "\"2026-11-21T11:59:\(second).1Z\"",
            "\"2026-11-21T11:59:\(second).12\(random.below(10))Z\"",
            "\"2026-11-21T11:59:\(second).12345\(random.below(10))Z\"",
            "\"2026-11-21T11:59:\(second).12345678\(random.below(10))Z\"",
            "\"2026-11-21T13:59:\(second)+02:00\"", "\"2026-11-21T06:29:\(second).000-05:30\"",
            "\(1_795_262_300_000 + random.below(90_000))", "\"2026-11-1\(random.below(9))T00:00:\(second).500Z\"",
            "\"2026-11-21T11:58:\(second).999999Z\"", "\"2026-11-21T11:58:60Z\"", "\"2026-12-21T11:58:00Z\"", "null",
        ])
    }

    private mutating func text() -> String {
        switch random.below(12) {
        case 0: return "\"\""
        case 1: return "\"é🧀ß\""
        case 2: return "\"\\u00e9\\ud83d\\ude00\""
        case 3: return "\"a\\n\\t\\\"\\\\\\/b\""
        case 4: return "\"\\u0041\\u0000\""
        case 5: return "\"\(String(repeating: "x", count: 8190 + random.below(4)))\""
        case 6: return "\"\\ud800\""
        case 7: return "\"v\(random.next())\""
        default: return "\"t\(random.below(9))\""
        }
    }

    private static let numbers = [
        "0", "-0", "-0.0", "1", "-1", "1.0", "1.50", "1e400", "1E-5", "1e5", "123456789012345678",
        "1234567890123456789", "12345678901234567890123", "0.000000000000000001", "0.1234567890123456789",
        "9007199254740993", "-0.5", "100000000000000000.0",
    ]

    private mutating func value(_ depth: Int) -> String {
        switch random.below(depth > 7 ? 5 : 9) {
        case 0, 1: return text()
        case 2: return random.pick(Self.numbers)
        case 3: return "\(random.below(100_000)).\(random.below(100))"
        case 4: return random.pick(["null", "true", "false", "{}", "[]"])
        case 5: return "[" + (0..<random.below(4)).map { _ in value(depth + 1) }.joined(separator: blank() + ",") + "]"
        default: return object(depth + 1, keys: ["a", "b", "plan", "k\(random.below(30))"], most: 3)
        }
    }

    private mutating func blank() -> String { random.chance(20) ? random.pick([" ", "\t", "  "]) : "" }

    private mutating func object(_ depth: Int, keys: [String], most: Int) -> String {
        var members: [String] = []
        for key in keys.shuffled(using: &random).prefix(random.below(most + 1)) {
            members.append("\"\(key)\"\(blank()):\(blank())\(value(depth))")
            if random.chance(40) { members.append("\"\(key)\":\(value(depth))") }
        }
        return "{" + blank() + members.joined(separator: blank() + "," + blank()) + blank() + "}"
    }

    private mutating func money() -> [String] {
        let amount = random.pick([
            "\"12.50\"", "12.5", "\"0.000001\"", "1e2", "3", "\"-4.20\"", "0.1", "\"1234567890.12\"", "1.0000000",
        ])
        return ["\"value\":\(amount)", "\"currency\":\(random.pick(["\"USD\"", "\"eur\"", "\"JPY\""]))"]
    }

    private mutating func context() -> String {
        random.pick([
            "{\"ip\":\"1.2.3.\(random.below(4))\",\"os\":\"x\",\"locale\":\"de-DE\"}",
            "{\"user_agent\":\"Mozilla/5.0 (X11)\",\"page\":{\"url\":\"https://p.example/\(random.below(3))\"}}",
            "{\"user_agent\":\"Googlebot/2.1\"}", "{}", "null", "{\"os\":{\"name\":\"n\",\"version\":\"}\"}}",
            "{\"traits\":{\"plan\":\"t\"},\"device\":{\"id\":\"d\(random.below(5))\"}}",
            "{\"campaign\":{\"source\":\"s\",\"name\":\"n\(random.below(3))\"},\"own\":[1,{\"a\":2}]}",
        ])
    }

    private mutating func event(_ id: String) -> String {
        let type = random.pick(["track", "track", "page", "click", "conversion", "identify", "screen"])
        var members = ["\"\(random.pick(["id", "messageId", "\\u0069d"]))\":\"\(id)\"", "\"type\":\"\(type)\""]
        members.append("\"\(random.pick(["user_id", "anonymous_id", "userId"]))\":\"p\(random.below(40))\"")
        if type != "page" || random.chance(3) {
            members.append("\"name\":\(random.pick(["\"n1\"", "\"n2\"", text()]))")
        }
        if type == "page" {
            let number = random.below(50)
            let ad = number.isMultiple(of: 3) ? "&adgroupid=g\(number % 5)&creative=c\(number % 7)" : ""
            members.append("\"url\":\"https://a.example/\(number)?utm_source=s&gclid=g\(ad)\"")
        }
        if type == "screen" { members.append("\"screen\":\"s\(random.below(3))\"") }
        if !random.chance(4) { members.append("\"\(random.pick(["ts", "timestamp"]))\":\(time())") }
        if random.chance(4) { members += money() }
        if random.chance(3) { members.append("\"context\":\(context())") }
        if random.chance(6) { members.append("\"title\":\(text())") }
        if random.chance(8) { members.append("\"referrer\":\"https://r\(random.below(4)).example/\\u00e9\"") }
        if random.chance(8) {
            members.append("\"session_id\":\(random.pick(["\"\"", "\"s\\u0031\"", "\"s1\"", "null"]))")
        }
        if random.chance(8) { members.append("\"campaign\":{\"source\":\"s\(random.below(4))\",\"name\":null}") }
        if random.chance(8) { members.append("\"quantity\":\(random.pick(["3", "\"3\"", "0", "1.5"]))") }
        if random.chance(8) { members.append("\"traits\":\(object(1, keys: ["plan", "age", "a"], most: 3))") }
        if random.chance(8) { members.append("\"mine\(random.below(3))\":\(value(2))") }
        if random.chance(20) { members.append("\"sent_at\":\"2026-11-21T12:00:0\(random.below(9))Z\"") }
        if !random.chance(4) {
            let keys = ["a", "b", "c", "revenue", "url", "title", "plan", "k\(random.below(40))", "", "x.y", "é"]
            members.append("\"\(random.pick(["props", "properties"]))\":\(object(2, keys: keys, most: 6))")
        }
        if random.chance(3) { members.shuffle(using: &random) }
        return "{" + blank() + members.joined(separator: blank() + "," + blank()) + "}"
    }

    private mutating func broken(_ id: String) -> String {
        random.pick([
            "no event at all", "{\"id\":\"\(id)\"", "{\"id\":\"\(id)\",\"type\":\"track\"}", "[]", "{}",
            "{\"id\":\"\(id)\",\"type\":\"nothing\",\"user_id\":\"u\"}",
            "{\"id\":\"\(id)\",\"id\":\"\(id)\",\"type\":\"page\",\"url\":\"u\",\"user_id\":\"u\"}",
            "{\"id\":\"\(id)\",\"type\":\"page\",\"url\":\"u\",\"user_id\":\"u\",\"ts\":\"yesterday\"}",
        ])
    }
}
