internal import AurumCore
internal import Events
import Testing

/// Lines that were valid once, changed at random, judged by the parser and by the plain model.
struct ContractMutationTests {
    private static let seeds: [String] = [
        trackLine(["ts": "\"2026-11-21T11:59:59.123Z\"", "value": "12.50", "currency": "\"USD\"", "quantity": "3"]),
        trackLine(["campaign": "{\"name\":\"c\",\"source\":\"s\"}", "consent": "{\"gpc\":true,\"ads\":\"denied\"}"]),
        trackLine(["props": "{\"a\":[1,2.5e3,{\"b\":null}],\"c\":\"\\u00e9\\ud83d\\ude00\"}", "title": "\"é 🧀\""]),
        trackLine([
            "context": "{\"ip\":\"1.2.3.4\",\"os\":{\"name\":\"x\"},\"page\":{\"url\":\"u\"},\"platform\":\"web\"}"
        ]),
        trackLine([
            "trace_id": "\"00112233445566778899aabbccddeeff\"", "sent_at": "1795262400000", "ts": "1795262300000",
        ]),
        """
        {"messageId":"m","type":"track","event":"E","anonymousId":"a","timestamp":"2026-11-21T11:59:59Z",\
        "context":{"channel":"x","utm_source":"g"},"properties":{"url":"https://a.example/?gclid=1","revenue":9.99,\
        "currency":"EUR","value":"3.5"}}
        """,
        "{\"id\":\"x\",\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://a.example/\",\"referrer\":\"https://b.example/\"}",
        "{\"id\":\"x\",\"type\":\"ad_revenue\",\"device_id\":\"d\",\"value\":\"0.000001\",\"currency\":\"usd\"}",
        "{\"id\":\"x\",\"type\":\"alias\",\"user_id\":\"u\",\"previous_id\":\"p\",\"traits\":{\"k\":true}}",
    ]

    private static let tokens: [String] = [
        "\"", "\\", "{", "}", "[", "]", ",", ":", "null", "true", "0", "-", "1e9", ".5", "\\u0041", "\\ud800", "\\n",
        "\"id\":\"z\",", "\"user_id\":null,", "\"ts\":5,", "\u{e9}", "\u{1}", " ", "99999999999999",
        "\"type\":\"click\",",
        "\"value\":1,", "\"currency\":\"JPY\",", "\"properties\":{\"revenue\":1e-9},", "\"extra\":[[[]]],",
    ]

    private static func mutated(_ random: inout SeededRandom) -> [UInt8] {
        func below(_ bound: Int, _ random: inout SeededRandom) -> Int { Int(random.next() % UInt64(max(1, bound))) }
        var line = Array(seeds[below(seeds.count, &random)].utf8)
        for _ in 0..<below(4, &random) {
            let place = below(line.count, &random)
            switch below(6, &random) {
            case 0: line.remove(at: place)
            case 1: line[place] = UInt8(truncatingIfNeeded: random.next())
            case 2: line.insert(contentsOf: tokens[below(tokens.count, &random)].utf8, at: place)
            case 3:
                let end = min(line.count, place + below(24, &random))
                line.insert(contentsOf: line[place..<end], at: below(line.count, &random))
            case 4: line.removeSubrange(place..<min(line.count, place + below(12, &random)))
            default:
                // A member of the contract in front: often duplicates, often the wrong type.
                line.insert(contentsOf: tokens[17 + below(tokens.count - 17, &random)].utf8, at: min(1, line.count))
            }
            if line.isEmpty { line = [0x7b] }
        }
        return line.map { $0 == 0x0a ? 0x20 : $0 }
    }

    @Test(arguments: [11, 12, 13, 14] as [UInt64])
    func `the parser and the plain model never disagree, and no event is lost`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let model = ContractModel(now: testNow)
        var disagreements: [String] = []
        var reasons: Set<String> = []
        for _ in 0..<100 {
            let lines = (0..<100).map { _ in Self.mutated(&random) }
                .filter { $0.contains { ![0x20, 0x09, 0x0d].contains($0) } }
            let found = verdicts(Array(lines.joined(separator: [0x0a])))
            guard found.count == lines.count else {
                Issue.record("seed \(seed): \(lines.count) lines gave \(found.count) events")
                return
            }
            for (line, verdict) in zip(lines, found) {
                let expected = model.reason(line)
                reasons.insert(expected)
                if verdict.reason != expected {
                    disagreements.append(
                        "\(verdict.reason) \(verdict.field), not \(expected): \(String(decoding: line, as: UTF8.self))")
                }
            }
        }
        #expect(disagreements.isEmpty, "seed \(seed): \(disagreements.prefix(5).joined(separator: "\n"))")
        #expect(reasons.count >= 9, "seed \(seed) reached only \(reasons)")
    }

    @Test func `the same events as lines and as an array get the same verdicts`() {
        var random = SeededRandom(seed: 21)
        for _ in 0..<50 {
            let lines = (0..<40).map { _ in Self.mutated(&random) }
                .filter { !["not_json", "bad_unicode"].contains(ContractModel(now: testNow).reason($0)) }
            let asLines = verdicts(Array(lines.joined(separator: [0x0a])))
            let asArray = verdicts([0x5b] + lines.joined(separator: [0x2c]) + [0x5d], format: .json)
            #expect(asLines == asArray)
        }
    }
}
