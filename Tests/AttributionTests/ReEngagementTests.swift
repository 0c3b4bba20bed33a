import Attribution
import AurumCore
import Database
import Events
import Telemetry
import TestSupport
import Testing

/// Re-engagements of a real log, decided in a real database.
struct ReEngagementTests {
    private typealias World = InstallFollowTests.World
    private static let day = InstallFollowTests.day
    private static let opened = 35 * day

    /// One person is one device here.
    private static func event(
        _ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue] = [:], device: String = "d"
    ) -> JSONValue {
        let own: [String: JSONValue] = ["device_id": .string(device), "anonymous_id": .string(device)]
        return InstallFollowTests.event(type, id, at, own.merging(members) { $1 })
    }

    private static func click(_ id: String, _ at: Int64, campaign: String = "back") -> JSONValue {
        // A site elsewhere: nothing but the click id says whose it is.
        InstallFollowTests.event(
            "click", id, at, ["click_id": .string("of-" + id), "campaign": InstallFollowTests.campaign(campaign)])
    }

    private static func link(_ id: String, _ at: Int64, click: String, device: String = "d") -> JSONValue {
        event("open", id, at, ["click_id": .string("of-" + click)], device: device)
    }

    private static func found(_ world: World, _ id: String = "o", version: Int? = nil) async throws -> JSONValue {
        try await world.installs().reEngagement(org: "o", id: id, version: version) ?? .null
    }

    @Test(arguments: [7, 1, 30, 0], [-1, 0, 1])
    func `a session in the days before, to the millisecond, is no re-engagement`(days: Int, late: Int64) async throws {
        let world = try World()
        if days != 7 {
            let body: JSONValue = ["inactive_days": .integer(Int64(days)), "starts_at": "2025-01-01"]
            #expect(try await world.installs().saveReEngagementRule(body, org: "o")["version"] == 1)
        }
        let session = Self.opened - Int64(days) * Self.day + late
        try await world.send([
            Self.event("install", "i", 0),
            // With no days asked for the only session is half an hour before.
            Self.event("screen", "s", days == 0 ? Self.opened - 1_800_000 : session, ["screen": "home"]),
            Self.click("c", Self.opened - 60_000), Self.link("o", Self.opened, click: "c"),
        ])
        try await world.follow()
        let found = try await Self.found(world)
        let isBack = days == 0 || late < 0
        #expect(found["outcome"]?.string == (isBack ? "re_engagement" : "session_before"), "\(found.canonical)")
        #expect(found["inactive_days"]?.integer == Int64(days) && found["install"] == "i")
        #expect(found["campaign"] == "back" && found["method"] == "click_id" && found["version"] == 1)
        await world.log.close()
    }

    @Test(arguments: ["click", "impression"], [-1, 0, 1])
    func `a touch is eligible to the end of its window`(kind: String, late: Int64) async throws {
        let world = try World()
        let window = kind == "click" ? 30 * Self.day : Self.day
        let touch = InstallFollowTests.event(
            kind, "t", Self.opened - window - late,
            ["user_id": "u", "click_id": "c", "campaign": InstallFollowTests.campaign("back")])
        try await world.send([
            Self.event("install", "i", 0), touch,
            Self.event("open", "o", Self.opened, ["user_id": "u", "click_id": "c"]),
        ])
        try await world.follow()
        let found = try await Self.found(world)
        #expect(found["outcome"]?.string == (late <= 0 ? "re_engagement" : "no_touch"), "\(found.canonical)")
        #expect(found["touch"]?["id"]?.string == (late <= 0 ? "t" : nil))
        await world.log.close()
    }

    @Test func `only a device with an install that was before can come back, and only by a click or a link`()
        async throws
    {
        let world = try World()
        try await world.send([
            Self.event("install", "i", 0), Self.event("install", "new", Self.opened - 2000, device: "n"),
            Self.click("c", Self.opened - 60_000), Self.link("o", Self.opened, click: "c"),
            Self.link("stranger", Self.opened, click: "c", device: "s"),
            Self.link("fresh", Self.opened, click: "c", device: "n"),
            Self.event("install", "p", 0, device: "p"), Self.event("open", "plain", Self.opened, device: "p"),
            Self.event("install", "b", 0, device: "b"),
            Self.event("open", "bare", Self.opened, ["url": "shop://offer"], device: "b"),
            Self.event("install", "q", 0, device: "q"),
            Self.event(
                "open", "named", Self.opened, ["url": "shop://offer?utm_source=mail&utm_campaign=autumn"], device: "q"),
        ])
        try await world.follow()
        #expect(try await Self.found(world, "plain") == .null)
        let outcomes = [
            "o": "re_engagement", "stranger": "no_install", "fresh": "session_before", "bare": "no_touch",
            "named": "re_engagement",
        ]
        for (id, outcome) in outcomes {
            let found = try await Self.found(world, id)
            #expect(found["outcome"]?.string == outcome, "\(id) \(found.canonical)")
        }
        let named = try await Self.found(world, "named")
        #expect(named["campaign"] == "autumn" && named["method"] == "deep_link" && named["touch"]?["id"] == "named")
        let summary = try await world.installs().reEngagementSummary(org: "o", ReEngagementFilter())
        #expect(summary["lines"]?.array?.map { $0["campaign"]?.string } == ["autumn", "back"])
        #expect(summary["outcomes"]?["no_touch"] == 1 && summary["waiting"] == 0, "\(summary.canonical)")
        await world.log.close()
    }

    @Test(arguments: [10_000, 10_001])
    func `what the app does in the seconds before the link belongs to the same session`(before: Int64) async throws {
        let world = try World()
        try await world.send([
            Self.event("install", "i", 0), Self.click("c", Self.opened - 60_000),
            Self.event("open", "start", Self.opened - before), Self.link("o", Self.opened, click: "c"),
            Self.link("again", Self.opened + 3_600_000, click: "c"),
        ])
        try await world.follow()
        let outcome = before == 10_000 ? "re_engagement" : "session_before"
        #expect(try await Self.found(world)["outcome"]?.string == outcome)
        #expect(try await Self.found(world, "again")["outcome"] == "session_before")
        await world.log.close()
    }

    @Test func `what a device saw before its last session led to that one`() async throws {
        let world = try World()
        func touch(_ id: String, _ at: Int64) -> JSONValue {
            Self.event("click", id, at, ["campaign": InstallFollowTests.campaign(id)])
        }
        try await world.send([
            Self.event("install", "i", 0), touch("before", 20 * Self.day - 1),
            Self.event("screen", "s", 20 * Self.day, ["screen": "home"]),
            Self.event("open", "o", Self.opened, ["url": "shop://offer"]),
        ])
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "no_touch")
        // It comes late, and the open is decided anew by itself.
        try await world.send([touch("after", 20 * Self.day + 1)])
        try await world.follow()
        let found = try await Self.found(world)
        #expect(found["outcome"] == "re_engagement" && found["campaign"] == "after" && found["version"] == 2)
        let last = Timestamp(milliseconds: InstallFollowTests.start + 20 * Self.day)
        #expect(found["last_session_at"]?.string == last.rfc3339)
        #expect(try await Self.found(world, version: 1)["outcome"] == "no_touch")
        #expect(try await Self.found(world, version: 3) == .null)
        await world.log.close()
    }

    @Test func `late installs, sessions and clicks restate, and what says the same makes no version`() async throws {
        let world = try World()
        try await world.send([
            Self.event("install", "other", 0, device: "e"), Self.link("o", Self.opened, click: "c"),
        ])
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "no_install")
        let steps: [(JSONValue, String, Int64)] = [
            (Self.event("install", "i", 0), "no_touch", 2),
            (Self.click("c", Self.opened - 60_000), "re_engagement", 3),
            // Older than the days that are asked for: the same decision but for the last session.
            (Self.event("screen", "s1", 20 * Self.day, ["screen": "home"]), "re_engagement", 4),
            (Self.event("screen", "s0", 19 * Self.day, ["screen": "home"]), "re_engagement", 4),
            (Self.event("screen", "after", Self.opened + 1, ["screen": "home"]), "re_engagement", 4),
            (Self.event("screen", "s2", Self.opened - Self.day, ["screen": "home"]), "session_before", 5),
        ]
        for (event, outcome, version) in steps {
            try await world.send([event])
            try await world.follow()
            let found = try await Self.found(world)
            #expect(found["outcome"]?.string == outcome && found["version"]?.integer == version, "\(found.canonical)")
            #expect(found["state"] == "decided")
        }
        #expect(world.open.registry.counter(.attributionReEngagements, "restated").value == 4)
        await world.log.close()
    }

    @Test func `a changed rule counts from its time on, and a recomputation decides by it`() async throws {
        let world = try World()
        try await world.send([
            Self.event("install", "i", 0), Self.event("screen", "s", Self.opened - 3 * Self.day, ["screen": "home"]),
            Self.click("c", Self.opened - 60_000), Self.link("o", Self.opened, click: "c"),
        ])
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "session_before")
        let after = Timestamp(milliseconds: InstallFollowTests.start + Self.opened + 1)
        let before = Timestamp(milliseconds: InstallFollowTests.start + Self.opened)
        for (start, app, version) in [(after, "shop", 1), (before, "else", 1), (before, "shop", 2)] {
            let body: JSONValue = [
                "app": .string(app), "inactive_days": 2, "starts_at": .string(start.rfc3339),
            ]
            let saved = try await world.installs().saveReEngagementRule(body, org: "o")
            #expect(saved["version"]?.integer == Int64(version))
            let answer = try await world.installs().recompute(InstallWish(), org: "o", run: UID(high: 1, low: 2))
            #expect(answer.changed == (version == 2 ? 1 : 0))
        }
        let found = try await Self.found(world)
        #expect(found["outcome"] == "re_engagement" && found["window"]?["version"] == 2 && found["versions"] == [2, 1])
        #expect(found["cause"]?.string == "recomputed \(UID(high: 1, low: 2).hex)")
        let rules = try await world.installs().reEngagementRules(org: "o")
        #expect(rules["rules"]?.array?.count == 3 && rules["standard"]?["inactive_days"] == 7)
        await world.log.close()
    }

    @Test(arguments: [
        #"[]"#, #"{"inactive_days":31}"#, #"{"inactive_days":-1}"#, #"{"inactive_days":1.5}"#, #"{"click_hours":0}"#,
        #"{"view_hours":721}"#, #"{"app":7}"#, #"{"starts_at":"soon"}"#, #"{"colour":1}"#, #"{"version":1}"#,
        #"{"starts_at":"9999-12-31T23:59:59-23:59"}"#, #"{"starts_at":"0001-01-01T00:00:00+23:59"}"#,
    ])
    func `a rule that cannot be is refused`(text: String) throws {
        let body = try #require(JSONValue(sqlValue: .text(text)))
        #expect(throws: LogAttributionError.self) {
            try ReEngagementRule(body, now: Timestamp(microseconds: 0))
        }
    }

    @Test(arguments: [-1, 0, 1])
    func `conversions are a re-engagement's for thirty days, and the install's before and after`(late: Int64)
        async throws
    {
        let world = try World()
        try await world.send([
            Self.event("click", "t", 0, ["campaign": InstallFollowTests.campaign("spring")]),
            Self.event("install", "i", 1000), Self.click("c", Self.opened - 60_000),
            Self.link("o", Self.opened, click: "c"),
        ])
        try await world.follow()
        func inForce(_ at: Int64) async throws -> JSONValue {
            let at = Timestamp(milliseconds: InstallFollowTests.start + at)
            return try await world.installs().install(org: "o", id: "i", at: at)?["in_force"] ?? .null
        }
        let end = try await inForce(Self.opened + 30 * Self.day + late)
        #expect(end["source"]?.string == (late <= 0 ? "re_engagement" : "install"), "\(end.canonical)")
        #expect(end["campaign"]?.string == (late <= 0 ? "back" : "spring"))
        let begin = try await inForce(Self.opened + late)
        #expect(begin["source"]?.string == (late >= 0 ? "re_engagement" : "install"), "\(begin.canonical)")
        #expect(begin["id"]?.string == (late >= 0 ? "o" : "i"))
        #expect(try await inForce(999)["source"] == "none")
        let device = try await world.install("i")
        #expect(device["re_engagements"]?.array?.map { $0["id"]?.string } == ["o"])
        await world.log.close()
    }

    @Test func `whoever was installed last has what follows, also after a re-engagement`() async throws {
        let world = try World()
        let again = Self.opened + Self.day
        try await world.send([
            Self.event("install", "i", 1000), Self.click("c", Self.opened - 60_000),
            Self.link("o", Self.opened, click: "c"),
            Self.event("click", "t", again - 1000, ["campaign": InstallFollowTests.campaign("spring")]),
            Self.event("install", "r", again),
        ])
        try await world.follow()
        for (at, source, id, campaign) in [
            (again - 1, "re_engagement", "o", "back"), (again, "install", "r", "spring"),
        ] {
            let at = Timestamp(milliseconds: InstallFollowTests.start + at)
            for install in ["i", "r"] {
                let found = try await world.installs().install(org: "o", id: install, at: at)?["in_force"] ?? .null
                #expect(found["source"]?.string == source && found["id"]?.string == id, "\(found.canonical)")
                #expect(found["campaign"]?.string == campaign)
            }
        }
        await world.log.close()
    }

    @Test func `the link that was opened is a click, and comes before any view`() async throws {
        let world = try World()
        let named: [String: JSONValue] = ["url": "shop://offer?utm_source=mail&utm_campaign=autumn"]
        try await world.send([
            Self.event("install", "i", 0),
            Self.event("impression", "v", Self.opened - 60_000, ["campaign": InstallFollowTests.campaign("seen")]),
            Self.event("open", "o", Self.opened, named),
        ])
        try await world.follow()
        let found = try await Self.found(world)
        #expect(found["campaign"] == "autumn" && found["method"] == "deep_link", "\(found.canonical)")
        #expect(found["runners_up"]?.array?.map { $0["id"]?.string } == ["v"])
        #expect(found["runners_up"]?.array?.first?["reason"] == "view_after_click")
        await world.log.close()
    }

    /// An event without any identifier but these.
    private static func bare(_ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue]) -> JSONValue {
        InstallFollowTests.event(type, id, at, members)
    }

    @Test(arguments: [false, true])
    func `a session is one whichever identifier of the device it names`(isLate: Bool) async throws {
        let world = try World()
        let session = Self.bare("screen", "s", Self.opened - Self.day, ["device_id": "d", "screen": "home"])
        try await world.send(
            [
                Self.bare("install", "i", 0, ["device_id": "d", "advertising_id": "ad"]),
                Self.click("c", Self.opened - 60_000),
                Self.bare(
                    "open", "o", Self.opened, ["device_id": "d2", "advertising_id": "ad", "click_id": "of-c"]),
            ] + (isLate ? [] : [session]))
        try await world.follow()
        if isLate {
            #expect(try await Self.found(world)["outcome"] == "re_engagement")
            try await world.send([session])
            try await world.follow()
        }
        let found = try await Self.found(world)
        #expect(found["outcome"] == "session_before", "\(found.canonical)")
        #expect(found["version"]?.integer == (isLate ? 2 : 1))
        await world.log.close()
    }

    @Test func `fraud that bars a click bars what it brought back`() async throws {
        let world = try World()
        let bad = UID(high: 1, low: 1)
        try await world.send([
            Self.event("install", "i", 0),
            // A second after a click an install of another device has it barred.
            InstallFollowTests.event(
                "click", bad.hex, Self.opened - 60_000,
                ["click_id": "of-c", "campaign": InstallFollowTests.campaign("back")]),
            Self.event("install", "j", Self.opened - 59_500, ["click_id": "of-c"], device: "e"),
            Self.link("o", Self.opened, click: "c"),
        ])
        try await world.follow(FraudJudge(database: world.open.database, registry: world.open.registry))
        let found = try await Self.found(world)
        #expect(found["outcome"] == "no_touch", "\(found.canonical)")
        #expect(found["runners_up"]?.array?.first?["reason"] == "fraud:barred")
        await world.log.close()
    }

    @Test func `an erased person leaves nothing behind, and what is too old goes`() async throws {
        let world = try World()
        try await world.send([
            Self.event("install", "i", 0), Self.event("install", "e", 0, device: "e"),
            Self.click("c", Self.opened - 60_000), Self.link("o", Self.opened, click: "c"),
            Self.link("kept", Self.opened, click: "c", device: "e"),
        ])
        try await world.follow()
        func count(_ table: String) async throws -> Int? {
            try await world.open.database.read("test.left") { tx in
                switch table {
                case "opens": try tx.value(Int.self, "SELECT COUNT(*) FROM reengagements")
                case "keys": try tx.value(Int.self, "SELECT COUNT(DISTINCT event_id) FROM reengagement_keys")
                case "decisions": try tx.value(Int.self, "SELECT COUNT(*) FROM reengagement_decisions")
                default: try tx.value(Int.self, "SELECT COUNT(*) FROM device_activity")
                }
            }
        }
        #expect(try await count("activity") == 4)
        // The installs' own half days are 40 days old.
        _ = try await world.installs().purge()
        #expect(try await count("activity") == 2)
        let person = PersonIdentifier(.device, "d")
        try await world.installs().forget(org: "o", person, persons: world.log.store.personKeys(org: "o", of: person))
        #expect(try await Self.found(world) == .null)
        for table in ["opens", "keys", "decisions", "activity"] { #expect(try await count(table) == 1, "\(table)") }
        world.open.clock.advance(by: .seconds(500 * 86_400))
        #expect(try await world.installs().purgeInstalls() == 1)
        for table in ["opens", "keys", "decisions"] { #expect(try await count(table) == 0, "\(table)") }
        await world.log.close()
    }
}
