import Attribution
import AurumCore
import Database
import Foundation
import TestSupport
import Testing

/// What imported experiments measured, and which of them are taken.
struct UpliftTests {
    private static func region(
        _ name: String, _ isTreated: Bool, _ conversions: Int64, size: Int64 = 1, spend: Int64 = 0
    ) -> Experiment.Region {
        Experiment.Region(
            name: name, isTreated: isTreated, conversions: conversions, spendMinor: spend, size: size)
    }

    /// Ten regions a side, which differ in size and habit; chance is on top. The lift is a quarter.
    private static func world(seed: UInt64) -> [Experiment.Region] {
        var random = SeededRandom(seed: seed)
        func uniform() -> Double { Double(random.next() >> 11) * 0x1p-53 }
        /// Nearly normal: twelve even numbers added up.
        func normal() -> Double { (0..<12).reduce(-6) { sum, _ in sum + uniform() } }
        return (0..<20).map { number in
            let size = 2000 + Int64(uniform() * 18_000)
            let habit = exp(0.15 * normal() - 0.01125)
            let mean = 0.01 * Double(size) * habit * (number < 10 ? 1.25 : 1)
            let made = max(0, (mean + mean.squareRoot() * normal()).rounded())
            return region("r\(number)", number < 10, Int64(made), size: size)
        }
    }

    @Test func `the interval holds the true lift in 95 of 100 experiments`() throws {
        let seeds = max(200, soakCount(1000))
        let inside = try (1...seeds).count { seed in
            let lift = try Uplift(Self.world(seed: UInt64(seed))).lift
            return lift.low <= 0.25 && 0.25 <= lift.high
        }
        let share = Double(inside) / Double(seeds)
        // Of 1,000 the specification allows 930 to 970; chance allows fewer seeds more.
        #expect(abs(share - 0.95) <= (seeds < 1000 ? 0.035 : 0.02), "\(inside) of \(seeds), seeds from 1")
    }

    @Test func `one seed gives one interval, and another seed nearly the same`() throws {
        let regions = Self.world(seed: 7)
        let (first, again, other) = (try Uplift(regions), try Uplift(regions), try Uplift(regions, seed: 2))
        #expect(first == again && first.lift != other.lift && first.lift.value == other.lift.value)
        #expect(abs(first.lift.low - other.lift.low) < 0.05 && abs(first.lift.high - other.lift.high) < 0.05)
        #expect(first.lift.low < first.lift.value && first.lift.value < first.lift.high)
        #expect(first.incremental.low < first.incremental.value && first.incremental.value < first.incremental.high)
    }

    @Test func `regions that are all alike have a lift without doubt`() throws {
        let sizes: [Int64] = [100, 100, 200, 200]
        var regions = sizes.enumerated().map { Self.region("t\($0)", true, $1 / 100, size: $1, spend: $1) }
        regions += (0..<4).map { Self.region("c\($0)", false, 2, size: 300, spend: 100) }
        let uplift = try Uplift(regions)
        for estimate in [uplift.lift.value, uplift.lift.low, uplift.lift.high] { #expect(abs(estimate - 0.5) < 1e-12) }
        #expect(abs(uplift.incremental.value - 2) < 1e-12)
        // 600 on the treated side; the control spent 400 on twice the size.
        #expect(uplift.spendMinor == 400 && uplift.json["cost_per_incremental_minor"] == 200, "\(uplift.json)")
    }

    @Test func `fewer than four regions on a side say nothing, and neither do sides without conversions`() throws {
        let four = (0..<4).map { Self.region("t\($0)", true, 10 + Int64($0)) }
        let three = (0..<3).map { Self.region("c\($0)", false, 10 + Int64($0)) }
        #expect(throws: ExperimentError.notEnoughRegions(treated: 4, control: 3)) { try Uplift(four + three) }
        #expect(throws: ExperimentError.notEnoughRegions(treated: 0, control: 3)) { try Uplift(three) }
        let none = (0..<4).map { Self.region("c\($0)", false, 0) }
        #expect(throws: ExperimentError.notEnoughConversions) { try Uplift(four + none) }
        #expect(ExperimentError.notEnoughRegions(treated: 4, control: 3).tag == "not_enough_regions")
    }

    // MARK: what is taken

    /// Eight regions with a lift of a half; 2 incremental conversions.
    static func body(
        _ name: String = "autumn", _ change: (inout [String: JSONValue]) -> Void = { _ in }
    ) -> JSONValue {
        let sizes: [Int64] = [100, 100, 200, 200]
        let treated = sizes.enumerated().map { index, size -> JSONValue in
            [
                "region": .string("t\(index)"), "side": "treated", "conversions": .integer(size / 100),
                "size": .integer(size), "spend_minor": 100,
            ]
        }
        let control = (0..<4).map { index -> JSONValue in
            ["region": .string("c\(index)"), "side": "control", "conversions": 2, "size": 300]
        }
        var members: [String: JSONValue] = [
            "name": .string(name), "channel": "paid_search", "from": "2026-11-21", "to": "2026-11-22",
            "regions": .array(treated + control),
        ]
        change(&members)
        return .object(members)
    }

    private static func row(_ members: [String: JSONValue]) -> JSONValue {
        .object(["region": "x", "side": "control", "conversions": 1, "size": 1].merging(members) { $1 })
    }

    private static let bad: [(String, [String: JSONValue])] = [
        ("name", ["name": "No spaces"]), ("name", ["name": .null]), ("channel", ["channel": "television"]),
        ("method", ["method": "guess"]), ("conversion", ["conversion": "No"]), ("from", ["from": "yesterday"]),
        ("to", ["to": "2026-11-21"]), ("to", ["to": "2028-01-01"]), ("currency", ["currency": "dollars"]),
        ("colour", ["colour": "red"]), ("regions", ["regions": []]), ("regions", ["regions": .null]),
        ("regions[0].side", ["regions": [row(["side": "left"])]]),
        ("regions[0].conversions", ["regions": [row(["conversions": -1])]]),
        ("regions[0].size", ["regions": [row(["size": 0])]]),
        ("regions[0].region", ["regions": [row(["region": ""])]]),
        ("regions[0].people", ["regions": [row(["people": 3])]]),
        ("regions[1].region", ["regions": [row([:]), row([:])]]),
        ("regions", ["regions": [row([:]), row(["region": "y", "size": .null])]]),
    ]

    @Test func `a bad member is named`() {
        for (field, change) in Self.bad {
            do throws(ExperimentError) {
                _ = try Experiment(Self.body { $0.merge(change) { $1 } })
                Issue.record("taken: \(change)")
            } catch {
                guard case .invalid(field, _) = error else {
                    Issue.record("\(field): \(error)")
                    continue
                }
            }
        }
    }

    @Test func `only ghost ads have a region on both sides`() throws {
        func experiment(_ method: String) throws -> Experiment {
            try Experiment(
                Self.body {
                    $0["method"] = .string(method)
                    $0["regions"] = [Self.row([:]), Self.row(["side": "treated"])]
                })
        }
        #expect(try experiment("ghost_ads").regions.map(\.isTreated) == [false, true])
        let detail = "stands on the other side in regions[0]; only ghost_ads have such regions."
        #expect(throws: ExperimentError.invalid("regions[1].region", detail)) { try experiment("geo_holdout") }
    }

    @Test func `regions are read from CSV, and a bad row is named`() throws {
        func read(_ text: String) throws -> JSONValue { try ExperimentFile.regions(Array(text.utf8), currency: .usd) }
        let rows = try read(
            "Region, side,conversions,spend,size\n\"New York, NY\",treated,12,100.5,9000\nOhio,control,3,,7\n")
        #expect(
            rows == [
                [
                    "region": "New York, NY", "side": "treated", "conversions": 12, "spend_minor": 10_050,
                    "size": 9000,
                ],
                ["region": "Ohio", "side": "control", "conversions": 3, "size": 7],
            ])
        let bad = BadRow(line: 2, column: "conversions", reason: "“many” is no such number")
        #expect(throws: InputError.badRow(bad)) { try read("region,side,conversions\na,treated,many\n") }
        #expect(throws: InputError.self) { try read("region,side\na,treated\n") }
        #expect(throws: InputError.self) { try read("region,side,conversions,colour\na,treated,1,red\n") }
        #expect(throws: InputError.self) { try read("region,side,conversions\na,treated\n") }
    }

    @Test(arguments: Dialect.allCases)
    func `an experiment is kept once, for its organisation alone, until it is removed`(engine: Dialect) async throws {
        let open = try OpenDatabase(clock: ManualWallClock(), on: engine)
        let store = ExperimentStore(database: open.database)
        let saved = try await store.add(Self.body(), org: "o")
        let measured = saved.json["measured"]
        #expect(abs((measured?["lift"]?["value"]?.double ?? 0) - 0.5) < 1e-12, "\(saved.json)")
        #expect(abs(saved.incremental.value - 2) < 1e-12 && saved.json["conversion"] == "purchase")
        open.clock.advance(by: .seconds(60))
        #expect(try await store.add(Self.body(), org: "o") == saved)
        await #expect(throws: ExperimentError.nameTaken) {
            try await store.add(Self.body { $0["channel"] = "email" }, org: "o")
        }
        await #expect(throws: LogAttributionError.unknownConversion("nothing")) {
            try await store.add(Self.body("other") { $0["conversion"] = "nothing" }, org: "o")
        }
        await #expect(throws: ExperimentError.notEnoughRegions(treated: 0, control: 1)) {
            try await store.add(Self.body("other") { $0["regions"] = [Self.row([:])] }, org: "o")
        }
        await #expect(throws: ExperimentError.invalid("to", "must not lie ahead: the experiment is not over.")) {
            try await store.add(Self.body("other") { $0["to"] = "2026-11-23" }, org: "o")
        }
        let summer = try await store.add(
            Self.body("summer") { ($0["from"], $0["to"]) = ("2026-06-01", "2026-07-01") }, org: "o")
        #expect(try await store.all(org: "o") == [saved, summer])
        #expect(try await store.all(org: "o", conversion: "lead").isEmpty)
        #expect(try await store.read("autumn", org: "o")["regions"]?.array?.count == 8)
        // Another organisation sees and removes nothing, and may use the name.
        #expect(try await store.all(org: "p").isEmpty)
        await #expect(throws: ExperimentError.unknown) { try await store.read("autumn", org: "p") }
        await #expect(throws: ExperimentError.unknown) { try await store.remove("autumn", org: "p") }
        _ = try await store.add(Self.body { $0["channel"] = "email" }, org: "p")
        try await store.remove("autumn", org: "o")
        #expect(try await store.all(org: "o") == [summer])
        #expect(try await store.all(org: "p").count == 1)
        await #expect(throws: ExperimentError.unknown) { try await store.remove("autumn", org: "o") }
    }
}
