import Attribution
import AurumCore
import Database
import Events
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What is decided where not every use of an app is known, and where something comes while a decision is made.
struct ReEngagementHistoryTests {
    private typealias World = InstallFollowTests.World
    private static let day = InstallFollowTests.day
    /// The clock of a world.
    private static let now = 40 * day
    private static let run = UID(high: 1, low: 2)

    private static func event(
        _ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue] = [:], device: String = "d"
    ) -> JSONValue {
        let own: [String: JSONValue] = ["device_id": .string(device), "anonymous_id": .string(device)]
        return InstallFollowTests.event(type, id, at, own.merging(members) { $1 })
    }

    private static func screen(_ id: String, _ at: Int64, device: String = "d") -> JSONValue {
        event("screen", id, at, ["screen": "home"], device: device)
    }

    /// A click elsewhere and the open that it leads to a minute later.
    private static func back(_ id: String, _ at: Int64, device: String = "d") -> [JSONValue] {
        let click: [String: JSONValue] = [
            "click_id": .string("of-" + id), "campaign": InstallFollowTests.campaign("back"),
        ]
        return [
            InstallFollowTests.event("click", "click-" + id, at - 60_000, click),
            event("open", id, at, ["click_id": .string("of-" + id)], device: device),
        ]
    }

    private static func found(_ world: World, _ id: String = "o", org: String = "o") async throws -> JSONValue {
        try await world.installs().reEngagement(org: org, id: id) ?? .null
    }

    private static func change(_ world: World, _ sql: SQLStatement) async throws {
        try await world.open.database.write("test.change") { tx in _ = try tx.run(sql) }
    }

    /// Leaves the tables as a release does that keeps no uses.
    private static func forgetUses(_ world: World) async throws {
        try await change(world, "DELETE FROM device_activity")
        try await change(world, "UPDATE install_positions SET activity_since = NULL")
    }

    // MARK: updates

    @Test func `after an update nobody is said to be back of whom the days before are not known`() async throws {
        let world = try World()
        let visits = (1...39).map { Self.screen("s\($0)", Int64($0) * Self.day) }
        try await world.send([Self.event("install", "i", 0)] + visits)
        try await world.follow()
        try await Self.forgetUses(world)
        world.open.clock.advance(by: .seconds(3600))
        try await world.send(Self.back("o", Self.now + 3_600_000))
        try await world.follow()
        let first = try await Self.found(world)
        #expect(first["outcome"] == "history_unknown" && first["until"] == .null, "\(first.canonical)")
        #expect(first["touch"]?["id"] == "click-o" && first["install"] == "i")
        #expect(world.open.registry.counter(.attributionReEngagements, "history_unknown").value == 1)
        var filter = ReEngagementFilter()
        #expect(try await world.installs().reEngagements(org: "o", filter)["re_engagements"] == [])
        filter.outcome = "history_unknown"
        let listed = try await world.installs().reEngagements(org: "o", filter)["re_engagements"]
        #expect(listed?.array?.map { $0["id"]?.string } == ["o"])
        let summary = try await world.installs().reEngagementSummary(org: "o", filter)
        #expect(summary["outcomes"]?["history_unknown"] == 1 && summary["lines"] == [], "\(summary.canonical)")
        let after = Timestamp(milliseconds: InstallFollowTests.start + Self.now + 7_200_000)
        let install = try await world.installs().install(org: "o", id: "i", at: after)
        #expect(install?["in_force"]?["source"] == "install", "\(install?.canonical ?? "")")
        // It reads the uses back from the log.
        let answer = try await world.installs().recompute(InstallWish(), org: "o", run: Self.run)
        #expect(answer.changed == 1)
        let second = try await Self.found(world)
        #expect(second["outcome"] == "session_before" && second["version"] == 2, "\(second.canonical)")
        await world.log.close()
    }

    @Test(arguments: [-1, 0])
    func `an update counts from the newest request before it, to the millisecond`(late: Int64) async throws {
        let world = try World()
        try await world.send([
            Self.event("install", "i", 0), Self.event("install", "e", 0, device: "e"), Self.screen("s", 30 * Self.day),
        ])
        try await world.follow()
        try await Self.forgetUses(world)
        world.open.clock.advance(by: .seconds(8 * 86_400))
        try await world.send(Self.back("o", Self.now + 7 * Self.day + late))
        try await world.follow()
        let found = try await Self.found(world)
        #expect(found["outcome"]?.string == (late < 0 ? "history_unknown" : "re_engagement"), "\(found.canonical)")
        // What comes later moves the mark no more.
        world.open.clock.advance(by: .seconds(86_400))
        try await world.send(Self.back("next", Self.now + 7 * Self.day, device: "e"))
        try await world.follow()
        #expect(try await Self.found(world, "next")["outcome"] == "re_engagement")
        await world.log.close()
    }

    @Test(arguments: [true, false])
    func `another server of the release before may hold uses that nobody knows of`(isInUse: Bool) async throws {
        let world = try World()
        try await world.send([Self.event("install", "i", 0)] + Self.back("o", 35 * Self.day))
        let newest = Timestamp(milliseconds: InstallFollowTests.start + (isInUse ? 28 : 27) * Self.day)
        try await Self.change(
            world,
            "INSERT INTO install_positions (log, position, received_at) VALUES (\(Int64(77)), \("1:1:1"), \(newest))")
        try await world.follow()
        let outcome = isInUse ? "history_unknown" : "re_engagement"
        #expect(try await Self.found(world)["outcome"]?.string == outcome)
        // Its log is read by nobody here.
        let answer = try await world.installs().recompute(InstallWish(), org: "o", run: Self.run)
        #expect(answer.changed == 0)
        #expect(try await Self.found(world)["version"] == 1)
        await world.log.close()
    }

    @Test func `a recomputation says nothing of days that the log shows no more, and reads back no others' uses`()
        async throws
    {
        let world = try World()
        let others = (31...39).map { Self.screen("e\($0)", Int64($0) * Self.day, device: "e") }
        try await world.send([Self.event("install", "i", 0), Self.event("install", "e", 0, device: "e")] + others)
        try await world.follow()
        try await Self.forgetUses(world)
        world.open.clock.advance(by: .seconds(3600))
        try await world.send(Self.back("o", Self.now + 3_600_000))
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "history_unknown")
        for (days, changed) in [(6, 0), (8, 1)] {
            let installs = InstallAttribution(
                database: world.open.database, source: world.log.store, log: world.log.store.logIdentity,
                clock: world.open.clock, usesRetention: { _, _ in days }, registry: world.open.registry,
                logger: world.quiet)
            #expect(try await installs.recompute(InstallWish(), org: "o", run: Self.run).changed == changed, "\(days)")
        }
        #expect(try await Self.found(world)["outcome"] == "re_engagement")
        // The open itself.
        let uses = try await world.open.database.read("test.uses") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM device_activity")
        }
        #expect(uses == 1)
        await world.log.close()
    }

    @Test func `what an app did before anybody was known to have it is not known`() async throws {
        let world = try World()
        try await world.send([Self.screen("s", 34 * Self.day)])
        try await world.follow()
        // It comes late.
        try await world.send([Self.event("install", "i", 0)] + Self.back("o", 35 * Self.day))
        try await world.follow()
        let first = try await Self.found(world)
        #expect(first["outcome"] == "history_unknown" && first["install"] == "i", "\(first.canonical)")
        world.open.clock.advance(by: .seconds(8 * 86_400))
        try await world.send(Self.back("next", Self.now + 7 * Self.day))
        try await world.follow()
        #expect(try await Self.found(world, "next")["outcome"] == "re_engagement")
        #expect(try await world.installs().recompute(InstallWish(), org: "o", run: Self.run).changed > 0)
        #expect(try await Self.found(world)["outcome"] == "session_before")
        await world.log.close()
    }

    @Test func `a decision outlives its install`() async throws {
        let world = try World()
        try await world.send([Self.event("install", "i", 0)])
        try await world.follow()
        world.open.clock.advance(by: .seconds(20 * 86_400))
        try await world.send(Self.back("o", 59 * Self.day) + [Self.event("install", "e", 0, device: "e")])
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "re_engagement")
        let installs = InstallAttribution(
            database: world.open.database, source: world.log.store, log: world.log.store.logIdentity,
            clock: world.open.clock, retention: { _, _ in 10 }, registry: world.open.registry, logger: world.quiet)
        #expect(try await installs.purgeInstalls() == 1)
        try await world.send([Self.screen("s", 45 * Self.day)])
        try await world.follow()
        let found = try await Self.found(world)
        #expect(found["outcome"] == "re_engagement" && found["version"] == 1, "\(found.canonical)")
        #expect(found["state"] == "decided" && found["install"] == "i")
        await world.log.close()
    }

    // MARK: upkeep

    @Test func `a rule that cannot be read keeps the touches of no other organisation`() async throws {
        let world = try World()
        for org in ["bad", "o"] {
            try await world.send(
                [Self.event("install", "i", 0), Self.event("click", "c", 0, ["click_id": "c"])], org: org)
        }
        try await world.follow()
        try await Self.change(
            world,
            """
            INSERT INTO reengagement_rules (org, app, version, starts_at, body, created_at)
            VALUES ('bad', '', 1, 0, '{"inactive_days":99}', 0)
            """)
        #expect(try await world.installs().purge() == 1)
        let left = try await world.open.database.read("test.left") { tx in
            try tx.values(String.self, "SELECT org FROM install_touches UNION ALL SELECT org FROM device_activity")
        }
        #expect(left == ["bad", "bad"])
        await world.log.close()
    }

    @Test func `who has installs is asked for once a minute, and a new app is met at once`() async throws {
        let world = try World()
        let follower = InstallFollower(world.installs())
        func calls() -> Int {
            Int(world.open.database.queries.statements.first { $0.name == "installs.owners" }?.calls ?? 0)
        }
        try await follower.catchUp()
        for number in 0..<5 {
            let device = "d\(number)"
            try await world.send(
                [Self.event("install", "i\(number)", 0, device: device)], app: "app\(number)")
            try await follower.catchUp()
            try await world.send(Self.back("o\(number)", 35 * Self.day, device: device), app: "app\(number)")
            try await follower.catchUp()
            #expect(try await Self.found(world, "o\(number)")["outcome"] == "re_engagement")
        }
        #expect(calls() == 1)
        world.open.clock.advance(by: .seconds(60))
        try await follower.catchUp()
        #expect(calls() == 2)
        await world.log.close()
    }

    @Test func `what was removed meanwhile leaves decisions as they were, and new ones say that it is gone`()
        async throws
    {
        let world = try World()
        let installs = [Self.event("install", "i", 0), Self.event("install", "e", 0, device: "e")]
        try await world.send(installs + [Self.screen("s", 10 * Self.day)] + Self.back("o", 35 * Self.day))
        try await world.follow()
        _ = try await world.installs().purge()
        #expect(try await Self.found(world)["outcome"] == "re_engagement")
        world.open.clock.advance(by: .seconds(10 * 86_400))
        // It moves on what counts as the newest request.
        try await world.send([Self.screen("far", 50 * Self.day, device: "e")])
        try await world.follow()
        _ = try await world.installs().purge()
        // Of before the days that are asked for: with everything at hand it would be another last session.
        try await world.send([Self.screen("late", 20 * Self.day)] + Self.back("new", 36 * Self.day, device: "e"))
        try await world.follow()
        let kept = try await Self.found(world)
        #expect(kept["outcome"] == "re_engagement" && kept["version"] == 1, "\(kept.canonical)")
        #expect(kept["state"] == "decided")
        #expect(try await Self.found(world, "new")["outcome"] == "history_unknown")
        // A session in those days is one, whatever else there was.
        try await world.send([Self.screen("certain", 34 * Self.day)])
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "session_before")
        let answer = try await world.installs().recompute(InstallWish(), org: "o", run: Self.run)
        #expect(answer.changed == 1)
        #expect(try await Self.found(world, "new")["outcome"] == "re_engagement")
        await world.log.close()
    }

    // MARK: several at once

    /// Ends a turn when everything was kept and nothing decided, as a server that is stopped.
    private struct StoppingJudge: TouchJudge {
        func verdicts(
            of install: InstallFacts, _ candidates: [CandidateTouch]
        ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
            throw CancellationError()
        }
    }

    @Test func `what comes after opens were read is in their decision, whoever decided them meanwhile`() async throws {
        let world = try World()
        let opened = 35 * Self.day
        try await world.send([Self.event("install", "i", 0)])
        try await world.follow()
        func keep(_ events: [JSONValue], _ name: String) async throws {
            try await world.send(events + [Self.event("install", name, 0, device: name)])
            await #expect(throws: CancellationError.self) { try await world.follow(StoppingJudge()) }
        }
        try await keep(Self.back("o", opened), "j")
        let installs = world.installs()
        let read = try await installs.waitingOpens()
        #expect(read.count == 1)
        try await world.follow()
        #expect(try await Self.found(world)["outcome"] == "re_engagement")
        // It waits for nobody any more.
        #expect(try await installs.decideOpens(read, org: "o", cause: "followed") == 0)
        try await keep([Self.screen("s", opened - Self.day)], "k")
        #expect(try await installs.decideOpens(read, org: "o", cause: "anew", anew: true) == 1)
        let found = try await Self.found(world)
        #expect(found["outcome"] == "session_before" && found["state"] == "decided", "\(found.canonical)")
        #expect(found["version"] == 2 && found["cause"] == "anew")
        await world.log.close()
    }

    @Test func `what one organisation has wrong keeps the opens of no other waiting`() async throws {
        struct Picky: TouchJudge {
            func verdicts(
                of install: InstallFacts, _ candidates: [CandidateTouch]
            ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
                if install.org == "bad" { throw FraudError.unknownEntry }
                return (.clean, candidates.map { _ in .clean })
            }
        }
        let world = try World()
        let events = [Self.event("install", "i", 0)] + Self.back("o", 35 * Self.day)
        try await world.send(events, org: "bad")
        try await world.send(events)
        await #expect(throws: FraudError.unknownEntry) { try await world.follow(Picky()) }
        #expect(try await Self.found(world)["outcome"] == "re_engagement")
        #expect(try await world.installs().install(org: "bad", id: "i")?["state"] == "waiting")
        await world.log.close()
    }

    // MARK: small requests

    @Test func `columns of a block are read once however many requests it holds`() async throws {
        let world = try World()
        let count = 24_000
        let screens = (0..<count).map { Self.screen("s\($0)", Int64($0), device: "d\($0 % 50)") }
        try await world.send([Self.event("install", "i", 0)] + screens)
        let source = CountingSource(world.log.store)
        let installs = InstallAttribution(
            database: world.open.database, source: source, log: world.log.store.logIdentity, clock: world.open.clock,
            registry: world.open.registry, logger: world.quiet)
        try await InstallFollower(installs).catchUp()
        let (blocks, columns) = source.counts
        #expect(blocks > 0 && columns <= blocks * 12, "\(columns) columns of \(blocks) blocks")
        let uses = try await world.open.database.read("test.uses") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM device_activity")
        }
        #expect(uses == 51)
        await world.log.close()
    }
}

/// A log of which every event came in a request of its own. It counts which blocks and columns are read.
private final class CountingSource: ColumnSource {
    private let source: any ColumnSource
    private let read = Mutex((blocks: 0, columns: 0))

    init(_ source: any ColumnSource) { self.source = source }

    var counts: (blocks: Int, columns: Int) { read.withLock { $0 } }
    fileprivate func countColumn() { read.withLock { $0.columns += 1 } }

    func segments() throws -> [ColumnSegment] {
        try source.segments().map { segment in
            var counted = segment
            counted.read = { index in
                guard let block = try segment.read(index) else { return nil }
                self.read.withLock { $0.blocks += 1 }
                return CountingBlock(block, self)
            }
            return counted
        }
    }
}

private final class CountingBlock: ColumnBlock {
    private let block: any ColumnBlock
    private let source: CountingSource
    let requests: [RequestSpan]

    init(_ block: any ColumnBlock, _ source: CountingSource) {
        (self.block, self.source) = (block, source)
        requests = block.requests.flatMap { request in
            (0..<request.rowCount).map { row in
                var one = request
                (one.firstRow, one.rowCount) = (request.firstRow + row, 1)
                return one
            }
        }
    }

    var rowCount: Int { block.rowCount }
    var earliest: Int64 { block.earliest }
    var latest: Int64 { block.latest }
    func position(_ row: Int) -> LogPosition { block.position(row) }
    func event(_ row: Int) throws -> StoredEvent? { try block.event(row) }

    private func counted<Column>(_ read: () throws -> Column) rethrows -> Column {
        source.countColumn()
        return try read()
    }

    func times() throws -> [Int64] { try counted { try block.times() } }
    func outcomes() throws -> [UInt8] { try counted { try block.outcomes() } }
    func types() throws -> [UInt8] { try counted { try block.types() } }
    func text(_ column: ColumnName) throws -> TextColumn? { try counted { try block.text(column) } }
    func numbers(_ column: ColumnName) throws -> [Double]? { try counted { try block.numbers(column) } }
    func values() throws -> [Int64]? { try counted { try block.values() } }
    func persons(org: String) throws -> PersonColumn { try counted { try block.persons(org: org) } }
}
