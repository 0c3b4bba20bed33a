import Attribution
import AurumCore
import Database
import Events
import Telemetry
import TestSupport
import Testing

/// Cohorts of installs of a real log against figures made by hand.
struct InstallCohortTests {
    private typealias World = InstallFollowTests.World
    private static let day = InstallFollowTests.day

    private static func event(
        _ type: String, _ id: String, _ at: Int64, _ device: String, _ members: [String: JSONValue] = [:]
    ) -> JSONValue {
        // One person is one device here, whatever else the contract wants of an event.
        let own: [String: JSONValue] = ["device_id": .string(device), "anonymous_id": .string(device)]
        return InstallFollowTests.event(type, id, at, members.merging(own) { $1 })
    }

    private static func purchase(
        _ id: String, _ at: Int64, _ device: String, _ value: Double, order: String? = nil
    ) -> JSONValue {
        var members: [String: JSONValue] = [
            "name": "purchase", "value": .number(value), "currency": "USD",
        ]
        members["order_id"] = order.map { .string($0) }
        return event("track", id, at, device, members)
    }

    /// Two installs of the campaign spring and an organic one, all on the first day.
    private static func fill(_ world: World) async throws {
        try await world.send([
            event("click", "c1", 0, "d1", ["campaign": InstallFollowTests.campaign("spring")]),
            event("click", "c2", 0, "d2", ["campaign": InstallFollowTests.campaign("spring")]),
            event("install", "i1", 1000, "d1"), event("install", "i2", 1000, "d2"),
            event("install", "i3", 1000, "d3"),
            // d1 is back on days 0, 1 and 7, d2 on day 30, d3 on day 2 alone.
            event("open", "o1", 2000, "d1"), event("open", "o2", 1000 + day, "d1"),
            event("open", "o3", 999 + 8 * day, "d1"), event("open", "o4", 1000 + 30 * day, "d2"),
            event("open", "o5", 1000 + 2 * day, "d3"),
            // 10.00 within a day; the same order again counts once; 5.50 on day 6; 20 on day 29; 99 too late.
            purchase("p1", 3000, "d1", 10, order: "a"), purchase("p2", 4000, "d1", 10, order: "a"),
            purchase("p3", 1000 + 6 * day, "d1", 5.5), purchase("p4", 1000 + 29 * day, "d2", 20, order: "b"),
            purchase("p5", 1000 + 30 * day, "d2", 99, order: "c"),
            // Before the install it is nobody's.
            purchase("p6", 500, "d2", 7, order: "d"),
        ])
        try await world.follow()
    }

    private static func question(_ change: (inout InstallCohortQuestion) -> Void = { _ in }) -> InstallCohortQuestion {
        var question = InstallCohortQuestion()
        question.period = .day
        change(&question)
        return question
    }

    @Test(arguments: Dialect.allCases)
    func `retention and revenue of a campaign are those made by hand`(engine: Dialect) async throws {
        let world = try World(on: engine)
        try await Self.fill(world)
        let answer = try await world.installs().cohorts(org: "o", Self.question())
        let lines = answer["lines"]?.array ?? []
        #expect(lines.map { $0["campaign"]?.string } == ["spring", "(organic)"], "\(answer.canonical)")
        let spring = lines.first
        #expect(spring?["installs"] == 2 && spring?["start"]?.string == "2025-10-09")
        #expect(spring?["retention"]?.array?.map { $0["persons"]?.integer } == [1, 1, 1, 1], "\(answer.canonical)")
        #expect(spring?["retention"]?.array?.map { $0["share"]?.double } == [0.5, 0.5, 0.5, 0.5])
        #expect(spring?["retention"]?.array?.allSatisfy { $0["mature"] == true } == true)
        #expect(spring?["revenue"]?.array?.map { $0["revenue_minor"]?.integer } == [1000, 1550, 3550])
        #expect(spring?["revenue"]?.array?.map { $0["ltv_minor"]?.integer } == [500, 775, 1775])
        #expect(lines.last?["retention"]?.array?.map { $0["persons"]?.integer } == [0, 0, 0, 0])
        #expect(lines.last?["revenue"] == [])
        let channels = try await world.installs().cohorts(org: "o", Self.question { $0.dimension = .channel })
        #expect(channels["lines"]?.array?.map { $0["installs"]?.integer } == [2, 1])
        await world.log.close()
    }

    @Test func `what is too young is not mature, and other apps and ranges are left out`() async throws {
        let world = try World()
        try await Self.fill(world)
        let fresh = 39 * Self.day
        try await world.send([Self.event("install", "late", fresh, "d9")], app: "game")
        try await world.follow()
        let all = try await world.installs().cohorts(org: "o", Self.question())
        let newest = all["lines"]?.array?.first
        #expect(newest?["retention"]?.array?.map { $0["mature"]?.bool } == [false, false, false, false])
        let game = try await world.installs().cohorts(org: "o", Self.question { $0.app = "game" })
        #expect(game["lines"]?.array?.map { $0["installs"]?.integer } == [1])
        let none = try await world.installs().cohorts(
            org: "o", Self.question { ($0.from, $0.to) = (CivilDate("2025-01-01"), CivilDate("2025-02-01")) })
        #expect(none["lines"] == [])
        #expect(try await world.installs().cohorts(org: "other", Self.question())["lines"] == [])
        await world.log.close()
    }

    @Test func `what a re-engagement takes over is its own and no install's, from the open on`() async throws {
        let world = try World()
        let back = 10 * Self.day
        func bought(_ id: String, _ at: Int64, _ value: Double, device: String = "d1") -> JSONValue {
            Self.event("conversion", id, at, device, ["name": "purchase", "value": .number(value), "currency": "USD"])
        }
        try await world.send([
            Self.event("click", "c1", 0, "d1", ["campaign": InstallFollowTests.campaign("spring")]),
            Self.event("install", "i1", 1000, "d1"), bought("p1", 5 * Self.day, 5),
            InstallFollowTests.event(
                "click", "t", back - 60_000, ["click_id": "c", "campaign": InstallFollowTests.campaign("back")]),
            Self.event("open", "o", back, "d1", ["click_id": "c"]), bought("p2", back - 1, 1),
            bought("p3", back, 2), bought("p4", back + 3_600_000, 7),
            // Of somebody who was never away.
            Self.event("install", "i2", 1000, "d2"), bought("p5", back, 11, device: "d2"),
        ])
        try await world.follow()
        let installs = try await world.installs().cohorts(org: "o", Self.question())
        #expect(installs["of"] == "install")
        let spring = installs["lines"]?.array?.first { $0["campaign"] == "spring" }
        #expect(
            spring?["revenue"]?.array?.map { $0["revenue_minor"]?.integer } == [0, 500, 600], "\(installs.canonical)")
        let organic = installs["lines"]?.array?.first { $0["campaign"] == "(organic)" }
        #expect(organic?["revenue"]?.array?.map { $0["revenue_minor"]?.integer } == [0, 0, 1100])
        #expect(installs["lines"]?.array?.count == 2)
        let answer = try await world.installs().cohorts(
            org: "o", Self.question { $0.beginning = .reEngagement })
        let lines = answer["lines"]?.array ?? []
        #expect(lines.map { $0["campaign"]?.string } == ["back"], "\(answer.canonical)")
        #expect(lines.first?["re_engagements"] == 1 && lines.first?["installs"] == nil)
        #expect(lines.first?["revenue"]?.array?.map { $0["revenue_minor"]?.integer } == [900, 900, 900])
        // Who takes is bounded apart from who is counted: two installs and one re-engagement.
        let most = Self.question { ($0.countedMax, $0.takersMax) = (2, 1) }
        #expect(try await world.installs().cohorts(org: "o", most)["lines"] == installs["lines"])
        for (counted, takers) in [(1, 1), (2, 0)] {
            let less = Self.question { ($0.countedMax, $0.takersMax) = (counted, takers) }
            await #expect(throws: LogAttributionError.self, "\(counted) \(takers)") {
                try await world.installs().cohorts(org: "o", less)
            }
        }
        await world.log.close()
    }

    @Test func `a newer install takes from a re-engagement, and nobody from nobody`() async throws {
        let world = try World()
        let back = 10 * Self.day
        func bought(_ id: String, _ at: Int64, _ value: Double) -> JSONValue {
            Self.event("conversion", id, at, "d1", ["name": "purchase", "value": .number(value), "currency": "USD"])
        }
        try await world.send([Self.event("install", "i1", 1000, "d1")])
        try await world.follow()
        let none = Self.question { ($0.beginning, $0.takersMax) = (.reEngagement, 0) }
        #expect(try await world.installs().cohorts(org: "o", none)["lines"] == [])
        try await world.send([
            InstallFollowTests.event(
                "click", "t", back - 60_000, ["click_id": "c", "campaign": InstallFollowTests.campaign("back")]),
            Self.event("open", "o", back, "d1", ["click_id": "c"]), bought("p1", back + 1000, 3),
            Self.event("install", "again", back + 2000, "d1"), bought("p2", back + 3000, 5),
        ])
        try await world.follow()
        let answer = try await world.installs().cohorts(
            org: "o", Self.question { $0.beginning = .reEngagement })
        let lines = answer["lines"]?.array ?? []
        #expect(lines.map { $0["campaign"]?.string } == ["back"], "\(answer.canonical)")
        #expect(lines.first?["revenue"]?.array?.map { $0["revenue_minor"]?.integer } == [300, 300, 300])
        await world.log.close()
    }

    @Test func `what cannot be asked is named`() async throws {
        let world = try World()
        let installs = world.installs()
        for (question, name) in [
            (Self.question { $0.timezone = "Mars" }, "timezone"),
            (Self.question { ($0.from, $0.to) = (CivilDate("2025-02-01"), CivilDate("2025-02-01")) }, "to"),
            (Self.question { ($0.from, $0.to) = (CivilDate("2023-02-01"), CivilDate("2025-02-01")) }, "to"),
        ] {
            do {
                _ = try await installs.cohorts(org: "o", question)
                Issue.record("\(name) was taken")
            } catch LogAttributionError.invalid(let field, _) { #expect(field == name) }
        }
        await #expect(throws: LogAttributionError.unknownConversion("nothing")) {
            try await installs.cohorts(org: "o", Self.question { $0.conversion = "nothing" })
        }
        await world.log.close()
    }
}
