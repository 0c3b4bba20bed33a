import Attribution
import AurumCore
import Database
import Events
import Foundation
import Logging
import Telemetry
import TestSupport
import Testing

/// Installs of a real log, matched in a real database.
struct InstallFollowTests {
    static let start: Int64 = 1_760_000_000_000
    static let day: Int64 = 86_400_000

    /// A judge that rejects touches and installs by name.
    struct StrictJudge: TouchJudge {
        var touches: Set<UID> = []
        var installs: Set<UID> = []

        func verdicts(
            of install: InstallFacts, _ candidates: [CandidateTouch]
        ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
            let no = FraudVerdict(outcome: .rejected, codes: ["ctit_impossible"])
            return (
                installs.contains(install.id) ? no : .clean, candidates.map { touches.contains($0.id) ? no : .clean }
            )
        }
    }

    struct World {
        let open: OpenDatabase
        let log: EventLog
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

        init(on engine: Dialect = .ofTestRun) throws {
            open = try OpenDatabase(
                clock: ManualWallClock(
                    Timestamp(milliseconds: InstallFollowTests.start + 40 * InstallFollowTests.day)), on: engine)
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
        }

        func installs(_ judge: any TouchJudge = TrustingJudge()) -> InstallAttribution {
            InstallAttribution(
                database: open.database, source: log.store, log: log.store.logIdentity, judge: judge,
                clock: open.clock, registry: open.registry, logger: quiet)
        }

        func follow(_ judge: any TouchJudge = TrustingJudge()) async throws {
            try await InstallFollower(installs(judge)).catchUp()
        }

        func send(_ events: [JSONValue], app: String = "shop", org: String = "o") async throws {
            for start in stride(from: 0, to: events.count, by: 500) {
                let lines = events[start..<min(events.count, start + 500)].map(\.canonical)
                let receipt = try await log.capture.submit(
                    Array(lines.joined(separator: "\n").utf8), format: .ndjson,
                    source: CaptureSource(org: org, app: app), receivedAt: open.clock.now)
                #expect(receipt.quarantined == 0)
            }
        }

        func install(_ id: String, version: Int? = nil) async throws -> JSONValue {
            try await installs().install(org: "o", id: id, version: version) ?? .null
        }
    }

    /// An event so many milliseconds after the start.
    static func event(_ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue] = [:]) -> JSONValue {
        var all: [String: JSONValue] = [
            "type": .string(type), "id": .string(id), "ts": .integer(start + at), "anonymous_id": .string("of-" + id),
        ]
        // The contract wants one of every install.
        if type == "install" { all["device_id"] = .string("of-" + id) }
        all.merge(members) { $1 }
        return .object(all)
    }

    static func campaign(_ name: String) -> JSONValue {
        [
            "name": .string(name), "network": "net", "publisher_id": "pub", "creative_id": "cre", "ad_group_id": "grp",
        ]
    }

    private static let pairs: [(InstallMethod, touch: [String: JSONValue], install: [String: JSONValue])] = [
        (.deviceID, ["device_id": "Device-1"], ["device_id": "device-1"]),
        (.deviceID, ["advertising_id": "AAAA-1"], ["advertising_id": "aaaa-1"]),
        (.deviceID, ["vendor_id": "vendor-1"], ["vendor_id": "vendor-1"]),
        (.clickID, ["click_id": "click-1"], ["click_id": "click-1"]),
        (.installReferrer, ["click_id": "click-1"], ["install_referrer": "utm_source=x&aurum_click=click-1"]),
        (.deepLink, ["click_id": "click-1"], ["url": "shop://offer?aurum_click=click-1"]),
        (.userID, ["user_id": "user-1"], ["user_id": "user-1"]),
    ]

    @Test(arguments: pairs.indices, ["click", "impression"])
    func `each method finds its touch`(place: Int, kind: String) async throws {
        let world = try World()
        let (method, touch, install) = Self.pairs[place]
        var members = touch
        members["campaign"] = Self.campaign("spring")
        try await world.send([
            Self.event(kind, "t", 0, members), Self.event("install", "i", 3_600_000, install),
            Self.event("install", "nobody", 3_600_000),
        ])
        try await world.follow()
        let found = try await world.install("i")
        #expect(found["method"]?.string == method.rawValue && found["touch"]?["id"] == "t", "\(found.canonical)")
        #expect(found["campaign"] == "spring" && found["network"] == "net" && found["publisher"] == "pub")
        #expect(found["creative"] == "cre" && found["ad_group"] == "grp" && found["confidence"]?.double == 1)
        #expect(found["touch"]?["kind"]?.string == (kind == "click" ? "click" : "view"))
        #expect(try await world.install("nobody")["method"] == "organic")
        await world.log.close()
    }

    @Test func `zeros, other organisations, other apps' devices, refused consent and late clicks lead to nothing`()
        async throws
    {
        let world = try World()
        let zero = "00000000-0000-0000-0000-000000000000"
        try await world.send([
            Self.event("click", "zero", 0, ["device_id": .string(zero), "advertising_id": .string(zero)]),
            Self.event("click", "refused", 0, ["click_id": "refused", "consent": ["ads": "denied"]]),
            Self.event("click", "gpc", 0, ["click_id": "gpc", "consent": ["gpc": true]]),
            Self.event("click", "after", 3_600_001, ["click_id": "after"]),
            Self.event("install", "i0", 3_600_000, ["device_id": .string(zero), "advertising_id": .string(zero)]),
            Self.event("install", "i1", 3_600_000, ["click_id": "refused"]),
            Self.event("install", "i2", 3_600_000, ["click_id": "gpc"]),
            Self.event("install", "i3", 3_600_000, ["click_id": "after"]),
            Self.event("install", "i4", 3_600_000, ["click_id": "foreign"]),
            Self.event("install", "i5", 3_600_000, ["device_id": "shared"]),
            Self.event("install", "i6", 3_600_000, ["click_id": "site"]),
        ])
        try await world.send([Self.event("click", "foreign", 0, ["click_id": "foreign"])], org: "rival")
        try await world.send(
            [
                Self.event("click", "shared", 0, ["device_id": "shared"]),
                Self.event("click", "site", 0, ["click_id": "site"]),
            ], app: "other")
        try await world.follow()
        for id in ["i0", "i1", "i2", "i3", "i4", "i5"] {
            #expect(try await world.install(id)["method"] == "organic", "\(id)")
        }
        // A click id is the same on the site and in the app.
        #expect(try await world.install("i6")["method"] == "click_id")
        #expect(try await world.installs().install(org: "rival", id: "i6") == nil)
        await world.log.close()
    }

    @Test func `the definition in force at the install's time says the window`() async throws {
        let world = try World()
        let name = "install"
        let body: JSONValue = [
            "where": "type = install", "click_hours": 1, "view_hours": 1,
            "starts_at": .string(Timestamp(milliseconds: Self.start + 10 * Self.day).rfc3339),
        ]
        let definitions = DefinitionStore(database: world.open.database)
        _ = try await definitions.save(body, name: name, org: "o", now: world.open.clock.now)
        let hour: Int64 = 3_600_000
        var events: [JSONValue] = []
        for (place, (at, age)) in [
            (Self.day * 9, 7 * Self.day), (Self.day * 9, 7 * Self.day + 1), (Self.day * 11, hour),
            (Self.day * 11, hour + 1),
        ].enumerated() {
            events.append(Self.event("click", "t\(place)", at - age, ["click_id": .string("c\(place)")]))
            events.append(Self.event("install", "i\(place)", at, ["click_id": .string("c\(place)")]))
        }
        try await world.send(events)
        try await world.follow()
        let methods = ["click_id", "organic", "click_id", "organic"]
        for (place, method) in methods.enumerated() {
            let found = try await world.install("i\(place)")
            #expect(found["method"]?.string == method, "\(place) \(found.canonical)")
            #expect(found["window"]?["version"]?.integer == (place < 2 ? 0 : 1))
        }
        await world.log.close()
    }

    @Test func `a process that ended anywhere goes on without a loss or a second decision`() async throws {
        let world = try World()
        try await world.send([
            Self.event("click", "t1", 0, ["click_id": "c1"]), Self.event("install", "i1", 1000, ["click_id": "c1"]),
        ])
        try await world.follow()
        // Ended before anything was written of what comes next: the position is the old one.
        try await world.send([
            Self.event("click", "t2", 0, ["click_id": "c2"]), Self.event("install", "i2", 1000, ["click_id": "c2"]),
        ])
        try await world.follow()
        // Ended between reading and deciding.
        try await world.open.database.write("test.undecide") { transaction in
            try transaction.run("DELETE FROM install_decisions WHERE event_id = 'i2'")
            try transaction.run("UPDATE installs SET state = 'waiting', version = 0 WHERE event_id = 'i2'")
        }
        try await world.follow()
        #expect(try await world.install("i2")["method"] == "click_id")
        // The position was lost altogether, and is that of another log.
        try await world.open.database.write("test.forget") { transaction in
            try transaction.run("DELETE FROM install_positions")
        }
        try await world.follow()
        for id in ["i1", "i2"] {
            let found = try await world.install(id)
            #expect(
                found["version"]?.integer == 1 && found["versions"]?.array?.count == 1 && found["is_reinstall"] == false
            )
        }
        let counts = try await world.open.database.read("test.counts") { transaction in
            [
                try transaction.value(Int.self, "SELECT COUNT(*) FROM installs"),
                try transaction.value(Int.self, "SELECT COUNT(*) FROM install_touches"),
                try transaction.value(Int.self, "SELECT COUNT(*) FROM install_decisions"),
            ]
        }
        #expect(counts == [2, 2, 2])
        await world.log.close()
    }

    @Test func `one follower goes on where it was, over many commits`() async throws {
        let world = try World()
        let follower = InstallFollower(world.installs())
        for round in 0..<5 {
            try await world.send([
                Self.event("click", "t\(round)", 0, ["click_id": .string("c\(round)")]),
                Self.event("install", "i\(round)", 1000, ["click_id": .string("c\(round)")]),
            ])
            try await follower.catchUp()
            try await follower.catchUp()
            #expect(try await world.install("i\(round)")["touch"]?["id"]?.string == "t\(round)")
        }
        await world.log.close()
    }

    @Test func `a late touch changes nothing until it is asked for, and the old decision stays readable`() async throws
    {
        let world = try World()
        try await world.send([Self.event("install", "i", Self.day, ["click_id": "c"])])
        try await world.follow()
        try await world.send([Self.event("click", "t", 0, ["click_id": "c", "campaign": Self.campaign("late")])])
        try await world.follow()
        #expect(try await world.install("i")["method"] == "organic")
        let run = UID(high: 7, low: 7)
        let first = try await world.installs().recompute(InstallWish(), org: "o", run: run)
        #expect(first.installs == 1 && first.changed == 1)
        let found = try await world.install("i")
        #expect(found["campaign"] == "late" && found["version"] == 2 && found["versions"] == [2, 1])
        #expect(found["cause"]?.string == "recomputed \(run.hex)")
        #expect(try await world.install("i", version: 1)["method"] == "organic")
        #expect(try await world.installs().install(org: "o", id: "i", version: 3) == nil)
        // The same once more is no new version, and other times are not looked at.
        let again = try await world.installs().recompute(InstallWish(), org: "o", run: run)
        #expect(again.installs == 1 && again.changed == 0)
        let other = try await world.installs().recompute(
            InstallWish(from: Timestamp(milliseconds: Self.start + Self.day + 1)), org: "o", run: run)
        #expect(other.installs == 0)
        await world.log.close()
    }

    @Test func `touches that no window reaches go, and a recomputation brings them back`() async throws {
        let world = try World()
        try await world.send([
            Self.event("click", "t", 0, ["click_id": "c"]), Self.event("install", "i", 1000, ["click_id": "c"]),
        ])
        try await world.follow()
        #expect(try await world.installs().purge() == 1)
        #expect(try await world.installs().purge() == 0)
        let answer = try await world.installs().recompute(InstallWish(), org: "o", run: UID(high: 1, low: 2))
        #expect(answer.installs == 1 && answer.changed == 0)
        #expect(try await world.install("i")["touch"]?["id"] == "t")
        await world.log.close()
    }

    @Test func `fraud is asked before credit, and reports count what it says`() async throws {
        let world = try World()
        let (bad, farm) = (UID(high: 1, low: 1), UID(high: 1, low: 2))
        var judge = StrictJudge()
        (judge.touches, judge.installs) = ([bad], [farm])
        try await world.send([
            Self.event("click", bad.hex, 5000, ["click_id": "c", "campaign": Self.campaign("bad")]),
            Self.event("click", "good", 0, ["user_id": "u", "campaign": Self.campaign("good")]),
            Self.event("install", "i", 6000, ["click_id": "c", "user_id": "u", "device_id": "d"]),
            Self.event("install", farm.hex, 7000, ["user_id": "u", "device_id": "d"]),
            Self.event("install", "o", 8000),
        ])
        try await world.follow(judge)
        let found = try await world.install("i")
        #expect(found["campaign"] == "good" && found["runners_up"]?.array?.first?["reason"] == "fraud:ctit_impossible")
        let rejected = try await world.install(farm.hex)
        #expect(rejected["fraud"]?["verdict"] == "rejected" && rejected["campaign"] == "good")
        #expect(rejected["is_reinstall"] == true && found["is_reinstall"] == false)
        let report = try await world.installs().summary(org: "o", InstallFilter())
        let good = report["lines"]?.array?.first { $0["campaign"] == "good" }
        #expect(good?["installs"] == 2 && good?["rejected"] == 1 && good?["reinstalls"] == 1)
        #expect(report["totals"]?["installs"] == 3 && report["totals"]?["organic"] == 1)
        #expect(world.open.registry.counter(.attributionMatches, "user_id", "rejected").value == 1)
        let channel = try #require(found["channel"]?.string)
        #expect(world.open.registry.counter(.attributionTouchpoints, channel).value == 2)
        try await world.follow(judge)
        #expect(world.open.registry.counter(.attributionTouchpoints, channel).value == 2, "nothing is read twice")
        await world.log.close()
    }

    @Test func `an erased person leaves nothing behind`() async throws {
        let world = try World()
        try await world.send([
            Self.event("click", "t", 0, ["device_id": "d"]), Self.event("install", "i", 1000, ["device_id": "d"]),
            Self.event("install", "other", 1000, ["device_id": "e"]),
        ])
        try await world.follow()
        let person = PersonIdentifier(.device, "d")
        try await world.installs().forget(
            org: "o", person, persons: world.log.store.personKeys(org: "o", of: person))
        #expect(try await world.install("i") == .null)
        #expect(try await world.install("other")["method"] == "organic")
        let left = try await world.open.database.read("test.left") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM install_touches")
        }
        #expect(left == 0)
        await world.log.close()
    }

    @Test func `facts of fraud rules go with an erased person, and bars of other people's touches stay`() async throws {
        let world = try World()
        try await world.send([
            Self.event("click", "own", 5500, ["device_id": "d", "campaign": Self.campaign("bad")]),
            Self.event("click", "theirs", 5600, ["click_id": "c", "campaign": Self.campaign("bad")]),
            Self.event("install", "i", 6000, ["device_id": "d", "click_id": "c"]),
            Self.event("install", "other", 9000, ["device_id": "e"]),
        ])
        try await world.follow(FraudJudge(database: world.open.database, registry: world.open.registry))
        #expect(try await world.install("i")["method"] == "organic")
        func counts() async throws -> [Int?] {
            try await world.open.database.read("test.facts") { transaction in
                [
                    try transaction.value(Int.self, "SELECT COUNT(*) FROM fraud_installs"),
                    try transaction.value(Int.self, "SELECT COUNT(*) FROM fraud_touches"),
                    try transaction.value(Int.self, "SELECT COUNT(*) FROM fraud_verdicts"),
                ]
            }
        }
        #expect(try await counts() == [2, 2, 4])
        let person = PersonIdentifier(.device, "d")
        for _ in 0..<2 {
            try await world.installs().forget(
                org: "o", person, persons: world.log.store.personKeys(org: "o", of: person))
            #expect(try await counts() == [1, 0, 2])
        }
        await world.log.close()
    }

    @Test func `a look that fails for one organisation keeps no other waiting`() async throws {
        struct Picky: TouchJudge {
            func verdicts(
                of install: InstallFacts, _ candidates: [CandidateTouch]
            ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
                if install.org == "bad" { throw FraudError.unknownEntry }
                return (.clean, candidates.map { _ in .clean })
            }
        }
        let world = try World()
        try await world.send([Self.event("install", "i", 1000)], org: "bad")
        try await world.send([Self.event("install", "i", 1000)])
        await #expect(throws: FraudError.unknownEntry) { try await world.follow(Picky()) }
        #expect(try await world.install("i")["state"] == "decided")
        try await world.follow()
        #expect(try await world.installs().install(org: "bad", id: "i")?["state"] == "decided")
        await world.log.close()
    }

    @Test func `a match joins its touch to the journey of who installed, and runs credit it`() async throws {
        let world = try World()
        try await world.send([
            Self.event("click", "t", 0, ["click_id": "c", "campaign": Self.campaign("spring")]),
            Self.event("install", "i", 1000, ["install_referrer": "aurum_click=c", "device_id": "phone"]),
            Self.event(
                "conversion", "p", 2000,
                ["name": "purchase", "device_id": "phone", "value": 12.5, "currency": "USD", "order_id": "o1"]),
        ])
        try await world.follow()
        let store = world.log.store
        var attribution = LogAttribution(
            database: world.open.database, source: store, persons: { store.persons(org: $0) },
            folder: world.open.folder.file("runs"), clock: world.open.clock, registry: world.open.registry,
            logger: world.quiet)
        func campaigns(_ run: UInt64) async throws -> [String?] {
            _ = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase"), org: "o", id: UID(high: 0, low: run))
            let report = try await attribution.report(
                org: "o", conversion: "purchase", model: .rule(.last), by: .campaign)
            return (report["lines"]?.array ?? []).map { $0["key"]?.string }
        }
        #expect(try await campaigns(1) != ["spring"], "without the match nobody knows whose purchase it is")
        let installs = world.installs()
        attribution.joined = { try await installs.joined(org: $0, from: $1, to: $2) }
        #expect(try await campaigns(2) == ["spring"])
        let journeys = try await attribution.journeys(org: "o", conversion: "purchase", limit: 5)
        #expect(journeys["journeys"]?.array?.count == 1)
        await world.log.close()
    }

    @Test func `pages hold every install once, newest first`() async throws {
        let world = try World()
        try await world.send((0..<25).map { Self.event("install", "i\($0)", Int64($0 / 3)) })
        try await world.follow()
        var (seen, filter): ([String], InstallFilter) = ([], InstallFilter())
        filter.limit = 10
        var isOver = false
        while !isOver {
            let page = try await world.installs().list(org: "o", filter)
            seen += (page["installs"]?.array ?? []).compactMap { $0["id"]?.string }
            filter.after = page["next"]?.string.flatMap { InstallPageMark($0) }
            isOver = filter.after == nil
        }
        #expect(seen.count == 25 && Set(seen).count == 25 && seen.first == "i24")
        filter = InstallFilter()
        filter.method = .deviceID
        #expect(try await world.installs().list(org: "o", filter)["installs"] == [])
        #expect(InstallPageMark("x") == nil && InstallPageMark("[1,2]") == nil)
        await world.log.close()
    }
}
