import Attribution
import AurumCore
import Foundation
import Testing

/// Each fraud rule at its edges, and the tests behind the rules about publishers.
struct FraudRuleTests {
    static let base = Timestamp(milliseconds: 1_760_000_000_000)
    private static let second: Int64 = 1_000_000
    private static let day: Int64 = 86_400_000_000

    static func id(_ high: UInt64, _ low: Int) -> UID { UID(high: high, low: UInt64(low)) }

    private static func install(
        number: Int = 1, at: Int64 = 0, device: String? = "d-1", address: String? = nil, _ touches: [CandidateTouch],
        change: (inout InstallFacts) -> Void = { _ in }
    ) -> FraudInstall {
        var facts = InstallFacts(
            org: "o", app: "game", id: id(1, number), at: Timestamp(microseconds: base.microseconds + at))
        (facts.deviceID, facts.addressHash) = (device, address)
        change(&facts)
        return FraudInstall(facts, touches)
    }

    private static func touch(
        _ number: Int = 1, at: Int64, kind: CandidateTouch.Kind = .click, publisher: String = "p",
        device: String? = nil,
        address: String? = nil
    ) -> CandidateTouch {
        var touch = CandidateTouch(
            id: id(2, number), at: Timestamp(microseconds: base.microseconds + at), kind: kind)
        (touch.network, touch.publisher, touch.deviceID, touch.addressHash) = ("net", publisher, device, address)
        return touch
    }

    private static func world(_ installs: [FraudInstall], _ rules: FraudRules = .standard) -> FraudWorld {
        FraudWorld(
            installs, app: "game", FraudSettings(rules), FraudActivity(), from: base - .seconds(40 * 86_400),
            to: base + .seconds(86_400))
    }

    private static func decide(_ install: FraudInstall, _ rules: FraudRules = .standard) -> FraudDecisions {
        world([install], rules).decisions[0]
    }

    // MARK: rules

    @Test(
        arguments: [
            (999_999, "rejected", "ctit_impossible"), (1_000_000, "suspect", "ctit_fast"),
            (0, "rejected", "ctit_impossible"),
            (10_000_000, "suspect", "ctit_fast"), (10_000_001, "clean", ""), (30 * 86_400_000_000, "clean", ""),
            (30 * 86_400_000_000 + 1, "rejected", "ctit_long"), (-1, "rejected", "ctit_long"),
        ] as [(Int64, String, String)])
    func `the time from click to install has its edges`(delay: Int64, outcome: String, code: String) {
        let decided = Self.decide(Self.install([Self.touch(at: -delay)]))
        #expect(decided.touches[0].outcome.rawValue == outcome)
        #expect(decided.touches[0].codes.map(\.rawValue) == (code.isEmpty ? [] : [code]))
        #expect(decided.install.outcome == .clean)
        let view = Self.decide(Self.install([Self.touch(at: -delay, kind: .view)]))
        #expect(view.touches[0].outcome == .clean, "the rules are about clicks")
    }

    @Test func `a click of another moment is rejected for this install, and nowhere else`() {
        #expect(!Self.decide(Self.install([Self.touch(at: 5)])).touches[0].isBarred)
        #expect(Self.decide(Self.install([Self.touch(at: -5)])).touches[0].isBarred)
    }

    @Test func `a click after the store began to install is rejected, one at that moment is not`() {
        for (offset, rejects) in [(-1, false), (0, false), (1, true)] as [(Int64, Bool)] {
            let click = -60 * Self.second
            let install = Self.install([Self.touch(at: click)]) {
                $0.installBeganAt = Timestamp(microseconds: Self.base.microseconds + click - offset)
            }
            let codes = Self.decide(install).touches[0].codes
            #expect(codes.contains(.clickAfterInstallStart) == rejects, "\(offset)")
        }
    }

    @Test func `three suspect codes reject, two do not`() {
        var touch = Self.touch(at: -60 * Self.second)
        touch.system = "android"
        func decide(_ isEmulator: Bool, _ fast: Bool) -> FraudDecisions {
            var touch = touch
            if fast { touch.at = Timestamp(microseconds: Self.base.microseconds - 5 * Self.second) }
            return Self.decide(
                Self.install([touch]) { ($0.isEmulator, $0.isFromDataCentre, $0.system) = (isEmulator, true, "ios") })
        }
        #expect(decide(false, false).touches[0].codes == [.datacentreIP, .userAgentMismatch])
        #expect(decide(false, false).touches[0].outcome == .suspect)
        #expect(decide(true, false).touches[0].outcome == .rejected)
        #expect(decide(true, true).touches[0].codes == [.ctitFast, .datacentreIP, .emulator, .userAgentMismatch])
        #expect(decide(true, false).install.outcome == .suspect)
        var same = touch
        same.system = "iOS"
        #expect(Self.decide(Self.install([same]) { $0.system = "ios" }).touches[0].outcome == .clean)
    }

    @Test func `the twenty-first click of a device in a minute is one too many`() {
        func clicks(_ count: Int, _ span: Int64) -> FraudInstall {
            Self.install(
                (0..<count).map {
                    Self.touch($0, at: -3600 * Self.second + span * Int64($0) / Int64(count - 1), device: "d-1")
                })
        }
        let fitting = Self.decide(clicks(20, 59 * Self.second))
        #expect(fitting.touches.allSatisfy { $0.outcome == .clean })
        let many = Self.decide(clicks(21, 59 * Self.second))
        #expect(many.touches.last?.outcome == .rejected)
        #expect(many.touches.dropLast().allSatisfy { $0.outcome == .suspect && $0.codes == [.clickVelocity] })
        let slow = Self.decide(clicks(21, 60 * Self.second))
        #expect(slow.touches.allSatisfy { $0.outcome == .clean }, "a minute does not hold its own end")
    }

    @Test func `clicks are counted by the hour and by address too, and each of them once`() {
        let hour = (0..<201).map { Self.touch($0, at: -7200 * Self.second + 17 * Self.second * Int64($0), device: "d") }
        let decided = Self.decide(Self.install(hour))
        #expect(decided.touches.filter { $0.outcome == .rejected }.count == 1)
        let near = (0..<101).map { Self.touch($0, at: -3600 * Self.second + Int64($0) * 500_000, address: "a") }
        #expect(Self.decide(Self.install(near)).touches.filter { $0.outcome == .rejected }.count == 1)
        // The same clicks may have led to several installs.
        let first = Array(near.prefix(60))
        let twice = Self.world([Self.install(number: 1, first), Self.install(number: 2, at: 1, device: "d-2", first)])
        #expect(twice.decisions.allSatisfy { $0.touches.allSatisfy { $0.outcome == .clean } })
    }

    @Test func `more than a hundred devices behind one address within an hour are a farm`() {
        func farm(_ count: Int, _ span: Int64) -> FraudWorld {
            Self.world(
                (0..<count).map { number in
                    Self.install(
                        number: number, at: span * Int64(number) / Int64(count - 1), device: "d-\(number)",
                        address: "a", [])
                })
        }
        #expect(farm(100, 600 * Self.second).decisions.allSatisfy { $0.install.outcome == .clean })
        #expect(farm(101, 3599 * Self.second).decisions.allSatisfy { $0.install.codes == [.deviceFarm] })
        #expect(farm(101, 3600 * Self.second).decisions.allSatisfy { $0.install.outcome == .clean })
        let one = Self.world((0..<200).map { Self.install(number: $0, at: Int64($0), device: nil, address: "a", []) })
        #expect(one.decisions.allSatisfy { $0.install.outcome == .clean }, "nobody knows how many devices these are")
    }

    @Test func `the sixth install of a device within a day is one too many`() {
        func installs(_ span: Int64) -> [FraudDecisions] {
            Self.world((0..<6).map { Self.install(number: $0, at: span * Int64($0) / 5, []) }).decisions
        }
        #expect(
            installs(Self.day - 5).map(\.install.outcome.rawValue) == Array(repeating: "clean", count: 5) + ["rejected"]
        )
        #expect(installs(Self.day).allSatisfy { $0.install.outcome == .clean })
        let zeros = (0..<9).map {
            Self.install(number: $0, at: Int64($0), device: "00000000-0000-0000-0000-000000000000", [])
        }
        #expect(Self.world(zeros).decisions.allSatisfy { $0.install.outcome == .clean }, "zeros name no device")
    }

    // MARK: settings

    @Test func `numbers are set for all, for an app, for a network and for both, the narrowest wins`() throws {
        let body: JSONValue = [
            "limits": ["ctit_fast_seconds": 20],
            "overrides": [
                ["app": "game", "limits": ["ctit_fast_seconds": 30]],
                ["network": "net", "limits": ["ctit_fast_seconds": 40], "off": ["emulator"]],
                ["app": "other", "network": "net", "limits": ["ctit_fast_seconds": 90]],
            ],
        ]
        let rules = try FraudRules(body)
        #expect(try FraudRules(rules.json) == rules)
        func codes(_ delay: Int64, network: String) -> [FraudCode] {
            var touch = Self.touch(at: -delay * Self.second)
            touch.network = network
            return Self.decide(Self.install([touch]) { $0.isEmulator = true }, rules).touches[0].codes
        }
        #expect(codes(40, network: "net") == [.ctitFast])
        #expect(codes(41, network: "net") == [])
        #expect(codes(30, network: "x") == [.ctitFast, .emulator] && codes(31, network: "x") == [.emulator])
    }

    @Test(arguments: [
        #"[]"#, #"{"limit":{}}"#, #"{"limits":{"ctit":1}}"#, #"{"limits":{"ctit_fast_seconds":"1"}}"#,
        #"{"limits":{"ctit_fast_seconds":1e300}}"#, #"{"limits":{"device_clicks_per_minute":1.5}}"#,
        #"{"off":["deny_listed"]}"#, #"{"off":["emulator"],"on":["emulator"]}"#, #"{"overrides":[{}]}"#,
        #"{"overrides":[{"app":"a"},{"app":"a"}]}"#, #"{"limits":{"ctit_impossible_seconds":11}}"#,
        #"{"limits":{"share_warn":0.2}}"#, #"{"overrides":[{"app":"a","extra":1}]}"#,
        #"{"overrides":[{"app":"a","limits":{"ctit_impossible_seconds":11}}]}"#,
    ])
    func `a wrong set of rules is refused`(text: String) throws {
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        #expect(throws: FraudError.self) { try FraudRules(body) }
    }

    @Test func `numbers are checked in their order also where no override stands`() {
        #expect(throws: FraudError.self) { try FraudRules(["limits": ["ctit_impossible_seconds": 11]]) }
    }

    // MARK: statistics

    /// The sum of all terms, each by products alone.
    private static func naiveTail(_ k: Int, _ n: Int, _ p: Double) -> Double {
        (k...n).reduce(0.0) { sum, value in
            var term = 1.0
            for step in 0..<value { term *= Double(n - step) / Double(value - step) * p }
            return sum + term * pow(1 - p, Double(n - value))
        }
    }

    @Test func `binomial tails are those of a plain sum, and of what is known`() {
        #expect(abs(FraudStatistics.binomialUpperTail(8, of: 10, 0.5) - 56.0 / 1024) < 1e-15)
        #expect(FraudStatistics.binomialUpperTail(0, of: 10, 0.1) == 1)
        #expect(FraudStatistics.binomialUpperTail(11, of: 10, 0.1) == 0)
        #expect(abs(FraudStatistics.binomialUpperTail(10, of: 10, 0.1) - 1e-10) < 1e-22)
        for n in [1, 2, 7, 40, 150] {
            for p in [0.001, 0.05, 0.3, 0.5, 0.9] {
                for k in stride(from: 1, through: n, by: max(1, n / 13)) {
                    let (tail, naive) = (FraudStatistics.binomialUpperTail(k, of: n, p), Self.naiveTail(k, n, p))
                    #expect(abs(tail - naive) <= 1e-10 * naive + 1e-14, "n \(n) p \(p) k \(k): \(tail) \(naive)")
                    let lower = FraudStatistics.binomialLowerTail(k - 1, of: n, p)
                    #expect(abs(lower + tail - 1) < 1e-12)
                }
            }
        }
    }

    @Test func `a binomial tail stays exact with ten million trials`() {
        let n = 10_000_000
        // P(X ≥ n/2) = 1/2 + P(X = n/2)/2, and P(X = n/2) = √(2/πn)·(1 − 1/4n + …).
        let middle = (2 / (Double.pi * Double(n))).squareRoot() * (1 - 1 / (4 * Double(n)))
        #expect(abs(FraudStatistics.binomialUpperTail(n / 2, of: n, 0.5) - (0.5 + middle / 2)) < 1e-12)
        let far = FraudStatistics.binomialUpperTail(n / 2 + 20_000, of: n, 0.5)
        // By symmetry the same as the other side.
        let other = FraudStatistics.binomialLowerTail(n / 2 - 20_000, of: n, 0.5)
        #expect(far > 0 && far < 1e-30 && abs(far / other - 1) < 1e-9)
    }

    @Test func `tails of χ² and Cramér's V are what tables say`() {
        for (statistic, freedom, p) in [
            (3.841_458_820_694_124, 1, 0.05), (24.995_790_139_728_616, 15, 0.05), (37.697_298_218_353_83, 15, 0.001),
            (50, 2, exp(-25)), (0.1, 2, exp(-0.05)),
        ] as [(Double, Int, Double)] {
            let tail = FraudStatistics.chiSquareTail(statistic, freedom: freedom)
            #expect(abs(tail / p - 1) < 1e-9, "\(statistic) \(freedom): \(tail)")
        }
        #expect(FraudStatistics.chiSquareTail(0, freedom: 3) == 1)
        let apart = FraudStatistics.compare([10, 0], [0, 10])
        #expect(apart.statistic == 20 && apart.freedom == 1 && apart.strength == 1)
        let alike = FraudStatistics.compare([5, 10, 0], [10, 20, 0])
        #expect(alike.statistic == 0 && alike.freedom == 1 && alike.p == 1 && alike.strength == 0)
        #expect(FraudStatistics.compare([0, 0], [1, 2]).p == 1)
    }
}
