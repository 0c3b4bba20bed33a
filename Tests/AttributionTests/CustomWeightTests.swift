import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// Custom weights of a conversion's definition, against sums made by hand.
struct CustomWeightTests {
    private typealias World = LogRunWorld
    private static let weights: JSONValue = [
        "first": 1, "middle": 1, "milestone": 2, "last": 4, "channels": ["display": 0.5, "affiliate": 0],
    ]

    private static func sums(_ rows: [LogCreditRow]) -> [String: [Int64]] {
        Dictionary(grouping: rows, by: \.campaign).mapValues { rows in
            [rows.reduce(0) { $0 + $1.creditPPM }, rows.reduce(0) { $0 + $1.amountMinor }]
        }
    }

    /// Four touches and a milestone; two and none; one; one whose channel counts nothing; none.
    private static func fill(_ world: World) async throws {
        let hour = World.hour
        try await world.send([
            World.touch("a1", "a", at: 0, campaign: "a-first"),
            World.touch("a2", "a", at: hour, campaign: "a-lead", "list", "email"),
            World.conversion("a3", "a", at: 2 * hour, name: "lead"),
            World.touch("a4", "a", at: 3 * hour, campaign: "a-middle", "news", "display"),
            World.touch("a5", "a", at: 4 * hour, campaign: "a-last"),
            World.conversion("a6", "a", at: 5 * hour, value: "100.01"),
            World.touch("b1", "b", at: 0, campaign: "b-first", "news", "display"),
            World.touch("b2", "b", at: hour, campaign: "b-last", "list", "email"),
            World.conversion("b3", "b", at: 2 * hour),
            World.touch("c1", "c", at: 0, campaign: "c-only"),
            World.conversion("c2", "c", at: hour, value: "3.33"),
            World.touch("d1", "d", at: 0, campaign: "d-nothing", "partner", "affiliate"),
            World.conversion("d2", "d", at: hour, value: "4.44"),
            World.conversion("e1", "e", at: hour, value: "5.55"),
        ])
    }

    @Test func `a conversion is divided by the weights of its definition, times the factor of the channel`()
        async throws
    {
        let world = try World()
        try await Self.fill(world)
        try await world.save(["custom": Self.weights])
        let sums = Self.sums(try await world.rows("custom"))
        // 1 + 2 + 1 × 0.5 + 4 = 7.5, and of 100.01 the missing three cents by largest remainder.
        #expect(sums["a-first"] == [133_333, 1333] && sums["a-lead"] == [266_667, 2667], "\(sums)")
        #expect(sums["a-middle"] == [66_667, 667] && sums["a-last"] == [533_333, 5334], "\(sums)")
        // 1 × 0.5 + 4 = 4.5.
        #expect(sums["b-first"] == [111_111, 0] && sums["b-last"] == [888_889, 0], "\(sums)")
        #expect(sums["c-only"] == [1_000_000, 333] && sums["d-nothing"] == [1_000_000, 444], "\(sums)")
        #expect(sums["(organic)"] == [1_000_000, 555] && sums.count == 9, "\(sums)")
        let report = try await world.attribution.report(org: "o", conversion: "purchase", model: .custom, by: .channel)
        #expect(report["totals"]?["conversions"]?.double == 5)
        #expect(report["totals"]?["amount_minor"]?["USD"] == 11_333)
        // Other models are what they are without.
        let whole = try await world.run().result
        #expect(!whole.notes.contains { $0.hasPrefix("custom ") }, "\(whole.notes)")
        let others = whole.results[0].rows.filter { $0.model != "custom" }
        try await world.save([:])
        let plain = Array(try await world.run().result.results[0].rows)
        #expect(others == plain && !plain.isEmpty)
        await world.log.close()
    }

    @Test func `the example that ships divides as the model of its name`() async throws {
        let world = try World()
        try await Self.fill(world)
        try await world.save(["custom": "w_shaped_30_30_30_10"])
        let rows = Array(try await world.run().result.results[0].rows)
        func sums(_ model: String) -> [String: [Int64]] { Self.sums(rows.filter { $0.model == model }) }
        #expect(sums("custom") == sums("w_shaped_30_30_30_10"))
        // First, milestone and last play 0.3 each, the other touch 0.1.
        #expect(sums("custom")["a-middle"]?[0] == 100_000 && sums("custom")["a-lead"]?[0] == 300_000)
        await world.log.close()
    }

    @Test func `a definition without weights has no such model, and a result says so`() async throws {
        let world = try World()
        try await Self.fill(world)
        let rows = try await world.rows("custom")
        #expect(rows.isEmpty)
        await #expect(throws: LogAttributionError.noCustomWeights("purchase")) {
            try await world.attribution.report(org: "o", conversion: "purchase", model: .custom, by: .channel)
        }
        // Beside one that has weights.
        try await world.save(["custom": ["last": 1]], name: "lead")
        let both = try await world.attribution.run(LogAttribution.Wish(), org: "o", id: UID(high: 2, low: 2))
        let names = both.result.results.filter { found in found.rows.contains { $0.model == "custom" } }.map(\.name)
        #expect(names == ["lead"])
        await world.log.close()
    }

    @Test func `versions without weights leave their conversions out, and a note says so`() async throws {
        let world = try World()
        let hour = World.hour
        try await world.send(
            (0..<4).flatMap { day -> [String] in
                let at = Int64(day) * 24 * hour
                return [
                    World.touch("t\(day)", "p\(day)", at: at, campaign: "c\(day)"),
                    World.conversion("s\(day)", "p\(day)", at: at + hour, value: "1.00"),
                    World.conversion("o\(day)", "q\(day)", at: at + hour, value: "1.00"),
                ]
            })
        try await world.save([:])
        let start = Timestamp(milliseconds: World.start + 2 * 24 * hour)
        try await world.save(["custom": ["last": 1], "starts_at": .string(start.rfc3339)])
        let result = try await world.run().result
        let sums = Self.sums(result.results[0].rows.filter { $0.model == "custom" })
        #expect(sums == ["c2": [1_000_000, 100], "c3": [1_000_000, 100], "(organic)": [2_000_000, 200]], "\(sums)")
        let left = "custom of purchase leaves out 4 conversions"
        #expect(result.notes.contains { $0.hasPrefix(left) }, "\(result.notes)")
        // Of a range before the weights there is nothing, and the run says so.
        for rule in ["each", "per_order_id"] as [JSONValue] {
            try await world.save(["custom": ["last": 1], "repeat": rule, "starts_at": .string(start.rfc3339)])
            let early = try await world.attribution.run(
                LogAttribution.Wish(conversion: "purchase", to: start, reason: "test"), org: "o",
                id: UID(high: 1, low: UInt64.random(in: 0 ... .max))
            ).result
            #expect(!early.results[0].rows.contains { $0.model == "custom" })
            #expect(early.notes.contains { $0.hasPrefix(left) }, "\(rule): \(early.notes)")
        }
        await world.log.close()
    }

    @Test func `an explanation shows the weights and what they make of a journey`() async throws {
        let world = try World()
        try await Self.fill(world)
        try await world.save(["custom": Self.weights])
        try await world.run()
        func custom(_ event: String) async throws -> JSONValue {
            var question = WhyQuestion(conversion: "purchase", event: event)
            question.model = .custom
            let models = try await world.attribution.why(org: "o", question)["models"]?.array ?? []
            #expect(models.count == 1)
            return models.first ?? .null
        }
        let whole = try await custom("a6")
        #expect(whole["credits"]?.array?.map { $0["raw"]?.double } == [1, 2, 0.5, 4], "\(whole)")
        #expect(whole["credits"]?.array?.map { $0["amount_minor"] } == [1333, 2667, 667, 5334], "\(whole)")
        #expect(whole["inputs"]?["weights"]?["channels"]?["display"]?.double == 0.5, "\(whole)")
        #expect(whole["inputs"]?["milestone"] == 1 && whole["split_equally"] == false)
        #expect(try await custom("d2")["split_equally"] == true)
        #expect(try await custom("e1")["credits"]?.array?.map { $0["amount_minor"] } == [555])
        await world.log.close()
    }

    @Test func `weights come back as they were saved, and a change makes another result`() async throws {
        let world = try World()
        try await Self.fill(world)
        try await world.save(["custom": Self.weights])
        let kept = try #require(try await world.attribution.definitions.versions(org: "o", name: "purchase").last)
        let body = try #require(kept.json)
        #expect(body["custom"]?["milestone"]?.double == 2 && body["custom"]?["channels"]?["affiliate"]?.double == 0)
        let again = try ConversionDefinition(body, name: "purchase", now: world.open.clock.now)
        #expect(again == kept.definition)
        try await world.run()
        #expect(try await world.run(ifChanged: true).isUnchanged)
        try await world.save(["custom": ["first": 1]])
        #expect(try await !world.run(ifChanged: true).isUnchanged)
        // Factors alone weigh first, middle and last the same.
        let factors = try await world.save(["custom": ["channels": ["*": 2, "email": 0]]]).definition?.custom
        #expect(factors?.first == 1 && factors?.middle == 1 && factors?.milestone == 0 && factors?.last == 1)
        #expect(factors?.channelFactors == ["*": 2, "email": 0])
        await world.log.close()
    }

    @Test(
        arguments: [
            ("{\"first\":-1,\"last\":1}", "custom"), ("{\"first\":0,\"last\":0}", "custom"), ("{}", "custom"),
            ("{\"milestone\":1000001}", "custom"), ("{\"first\":\"1\"}", "custom.first"), ("\"magic\"", "custom"),
            ("{\"first\":1,\"second\":1}", "custom"), ("[1,2]", "custom"), ("7", "custom"),
            ("{\"channels\":{\"email\":-0.5}}", "custom"), ("{\"channels\":{\"*\":0}}", "custom"),
            ("{\"channels\":{\"telex\":1}}", "custom.channels"), ("{\"channels\":[]}", "custom.channels"),
            ("{\"channels\":{\"email\":\"x\"}}", "custom.channels.email"),
        ] as [(String, String)])
    func `weights that nobody can mean are refused when they are saved`(
        _ text: String, _ member: String
    ) async throws {
        let world = try World()
        let weights = try #require(JSONValue(sqlValue: .text(text)))
        do {
            try await world.save(["custom": weights])
            Issue.record("\(text) was saved")
        } catch LogAttributionError.invalid(let found, _) {
            #expect(found == member, "\(text)")
        }
        #expect(try await world.attribution.definitions.versions(org: "o", name: "purchase").map(\.version) == [0])
        await world.log.close()
    }

    @Test func `custom weights of flat buffers are those of the formula to the last bit`() throws {
        var random = SeededRandom(seed: 12)
        var flat = JourneyWeights()
        let channels = ["direct", "email", "display", "paid_search"]
        for _ in 0..<2000 {
            let count = Int(random.next() % 24) + 1
            func weight() -> Double { Double(random.next() % 5) / 3 }
            let factors = ["email": weight(), "display": weight(), "*": weight() + 0.1]
            let custom = try CustomWeights(
                first: weight() + 0.1, middle: weight(), milestone: weight(), last: weight(), channelFactors: factors)
            let names = (0..<count).map { _ in channels[Int(random.next() % 4)] }
            var facts = JourneyFacts()
            facts.count = count
            facts.factors = names.map { factors[$0] ?? factors["*"] ?? 1 }
            facts.milestone = random.next() % 2 == 0 ? Int(random.next() % UInt64(count)) : nil
            var wanted: [Double] = []
            JourneyCredit.weights(custom, facts, into: &wanted)
            let labels = names.map { TouchLabel.of(campaign: 1, channel: TouchChannel.number($0)) }
            [Int64](repeating: 0, count: count).withUnsafeBufferPointer { times in
                labels.withUnsafeBufferPointer { labels in
                    guard let time = times.baseAddress, let label = labels.baseAddress else { return }
                    var known = JourneyWeights.Facts(count: count, times: time, labels: label)
                    known.milestone = facts.milestone ?? -1
                    let mine = flat.weigh(ChannelWeights(custom), known)
                    #expect((0..<count).allSatisfy { mine[$0] == wanted[$0] }, "\(custom) of \(names)")
                }
            }
        }
    }
}
