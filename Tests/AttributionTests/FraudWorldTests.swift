import Attribution
import AurumCore
import Foundation
import Testing

/// Worlds made from a seed: what fraud of each kind is found, and how often honest publishers are taken for others.
struct FraudWorldTests {
    private static let base: Int64 = 1_760_000_000_000_000
    private static let window: Int64 = 20 * 86_400_000_000

    private enum Kind: String, CaseIterable { case honest, injection, flooding, farm, burst, impossible }

    private struct Maker {
        var random: SeededRandom
        var installs: [FraudInstall] = []
        var kinds: [Kind] = []
        var returned: Set<UID> = []
        private var number = 0

        init(seed: UInt64) { random = SeededRandom(seed: seed) }

        mutating func uniform() -> Double { Double.random(in: 0..<1, using: &random) }

        /// A delay as people have it: minutes for most, hours for some.
        mutating func honestDelay() -> Double {
            let normal = (-2 * log(1 - uniform())).squareRoot() * cos(2 * .pi * uniform())
            return min(6 * 86_400, max(1.5, exp(log(180) + 1.3 * normal)))
        }

        mutating func add(
            _ kind: Kind, publisher: String?, delay: Double, at: Int64? = nil, device: String? = nil,
            address: String? = nil, clicks: Int = 1, returns: Double = 0.25
        ) {
            number += 1
            let moment = at ?? FraudWorldTests.base + Int64(uniform() * Double(FraudWorldTests.window))
            var facts = InstallFacts(
                org: "o", app: "game", id: UID(high: 1, low: UInt64(number)), at: Timestamp(microseconds: moment))
            facts.deviceID = device ?? "d-\(number)"
            facts.addressHash = address ?? "a-\(number)"
            let touches = (0..<clicks).map { place in
                let time = moment - Int64(delay * 1e6) - Int64(clicks - 1 - place) * 700_000
                var touch = CandidateTouch(
                    id: UID(high: 2 + UInt64(place), low: UInt64(number)), at: Timestamp(microseconds: time),
                    kind: .click)
                (touch.network, touch.publisher, touch.deviceID) = ("net", publisher, facts.deviceID)
                touch.addressHash = facts.addressHash
                return touch
            }
            let install = FraudInstall(facts, publisher == nil ? [] : touches)
            installs.append(install)
            kinds.append(kind)
            if uniform() < returns { returned.insert(install.id) }
        }

        func judged() -> FraudWorld {
            var activity = FraudActivity()
            activity.returned = returned
            let from = Timestamp(microseconds: FraudWorldTests.base)
            let to = Timestamp(microseconds: FraudWorldTests.base + FraudWorldTests.window + 3 * 86_400_000_000)
            activity.until = to.microseconds
            return FraudWorld(installs, app: "game", FraudSettings(), activity, from: from, to: to)
        }
    }

    /// Rejected, or sold by a publisher that a pattern was found of.
    private static func isFound(_ decided: FraudDecisions) -> Bool {
        let patterns: Set<FraudCode> = [.injectionPattern, .floodingPattern, .noActivity]
        return decided.install.outcome == .rejected
            || decided.touches.contains { $0.outcome == .rejected || !patterns.isDisjoint(with: $0.codes) }
    }

    @Test func `a world with a tenth of fraud of five kinds: recall and precision`() {
        let seed: UInt64 = 20_261_122
        var maker = Maker(seed: seed)
        for number in 0..<9000 {
            let publisher = number % 5 == 0 ? nil : "honest-\(number % 12)"
            let delay = maker.honestDelay()
            maker.add(.honest, publisher: publisher, delay: delay)
        }
        for _ in 0..<250 {
            let delay = 2 + maker.uniform() * 7
            maker.add(.injection, publisher: "injector", delay: delay)
        }
        for _ in 0..<250 {
            let delay = 60 + maker.uniform() * 6.9 * 86_400
            maker.add(.flooding, publisher: "flooder", delay: delay)
        }
        for number in 0..<200 {
            let delay = maker.honestDelay()
            let start = Self.base + Self.window / 2 + Int64(number) * 12_000_000
            maker.add(.farm, publisher: "farmer", delay: delay, at: start, address: "farm", returns: 0.25)
        }
        for number in 0..<150 {
            maker.add(.burst, publisher: "honest-\(number % 12)", delay: 300, clicks: 40)
        }
        for number in 0..<150 {
            maker.add(.impossible, publisher: "honest-\(number % 12)", delay: 0.2)
        }
        let world = maker.judged()
        var found: [Kind: (all: Int, hits: Int)] = [:]
        for (kind, decided) in zip(maker.kinds, world.decisions) {
            found[kind, default: (0, 0)].all += 1
            if Self.isFound(decided) { found[kind, default: (0, 0)].hits += 1 }
        }
        var (fraud, hits, wrong) = (0, 0, 0)
        for kind in Kind.allCases {
            let counts = found[kind] ?? (0, 0)
            print("fraud world, seed \(seed): \(kind.rawValue) \(counts.hits) of \(counts.all) found")
            if kind == .honest {
                wrong = counts.hits
            } else {
                #expect(counts.hits > 0, "\(kind.rawValue)")
                (fraud, hits) = (fraud + counts.all, hits + counts.hits)
            }
        }
        let recall = Double(hits) / Double(fraud)
        let precision = Double(hits) / Double(hits + wrong)
        print("fraud world: recall \(recall), precision \(precision)")
        #expect(recall >= 0.92 && precision >= 0.95)
        let grades = Dictionary(uniqueKeysWithValues: world.shares.map { ($0.source.publisher, $0.grade) })
        #expect(grades["injector"] == .deny && grades["farmer"] == .deny)
        for pattern in world.patterns {
            #expect(pattern.n >= 200 && (pattern.p ?? 1) < 0.001, "\(pattern)")
        }
        #expect(world.patterns.contains { $0.code == .floodingPattern && $0.publisher == "flooder" })
        // The order in which facts came means nothing.
        var other = maker
        (other.installs, other.kinds) = (maker.installs.reversed(), maker.kinds.reversed())
        let again = other.judged()
        #expect(Array(again.decisions.reversed()) == world.decisions && again.patterns == world.patterns)
    }

    @Test func `in a hundred worlds without fraud hardly any publisher is flagged`() {
        var (publishers, flagged) = (0, 0)
        for seed in 1...100 {
            var maker = Maker(seed: UInt64(seed))
            let returns = 0.05 + maker.uniform() * 0.4
            for number in 0..<1500 {
                let delay = maker.honestDelay()
                maker.add(.honest, publisher: "p-\(number % 5)", delay: delay, returns: returns)
            }
            let world = maker.judged()
            publishers += 5
            flagged += Set(world.patterns.map(\.publisher)).count
        }
        print("fraud-free worlds: \(flagged) of \(publishers) publishers flagged")
        #expect(flagged * 100 <= publishers)
    }

    @Test func `a publisher whose people never come back is found, and one with too many clicks`() {
        var maker = Maker(seed: 7)
        for number in 0..<2000 {
            let delay = maker.honestDelay()
            maker.add(
                .honest, publisher: "p-\(number % 5)", delay: delay, returns: number % 5 == 0 ? 0.01 : 0.4)
        }
        let world = maker.judged()
        let dead = world.patterns.filter { $0.code == .noActivity }
        #expect(dead.map(\.publisher) == ["p-0"] && dead.first?.n == 400)
        var activity = FraudActivity()
        let source = FraudSource(network: "net", publisher: "p-1")
        let (from, to) = (Timestamp(microseconds: Self.base), Timestamp(microseconds: Self.base + Self.window))
        for (clicks, count) in [(400 * 10_000, 0), (400 * 10_000 + 1, 1)] {
            activity.clicks[source] = clicks
            let world = FraudWorld(
                maker.installs, app: "game", FraudSettings(), activity, from: from, to: to)
            let ratio = world.patterns.filter { $0.test == "ratio" }
            #expect(ratio.count == count && ratio.allSatisfy { $0.code == .floodingPattern && $0.publisher == "p-1" })
        }
    }
}
