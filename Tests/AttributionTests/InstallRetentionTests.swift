import Attribution
import AurumCore
import Database
import Events
import Telemetry
import TestSupport
import Testing

/// How long installs of a real log are kept in a real database.
struct InstallRetentionTests {
    private typealias World = InstallFollowTests.World

    private static func event(_ id: String) -> JSONValue { InstallFollowTests.event("install", id, 0) }

    /// The app `shop` keeps installs for 10 days, others for 400.
    private static func installs(_ world: World) -> InstallAttribution {
        InstallAttribution(
            database: world.open.database, source: world.log.store, log: world.log.store.logIdentity,
            clock: world.open.clock, retention: { _, app in app == "shop" ? 10 : 400 },
            registry: world.open.registry, logger: world.quiet)
    }

    private static func count(_ world: World, _ statement: SQLStatement) async throws -> Int {
        try await world.open.database.read("test.count") { try $0.value(Int.self, statement) ?? 0 }
    }

    @Test(arguments: Dialect.allCases)
    func `installs go with their decisions when their app keeps them no longer, and no others`(
        engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.send((0..<601).map { Self.event("s\($0)") })
        try await world.send([Self.event("other")], app: "game")
        try await world.follow()
        let installs = Self.installs(world)
        // They are 40 days old and have just come in.
        #expect(try await installs.purgeInstalls() == 0)
        world.open.clock.advance(by: .seconds(10 * 86_400 + 1))
        try await world.open.database.write("test.wait") { transaction in
            _ = try transaction.run("UPDATE installs SET state = 'waiting' WHERE event_id = 's600'")
        }
        #expect(try await installs.purgeInstalls() == 600)
        #expect(try await Self.count(world, "SELECT COUNT(*) FROM installs") == 2)
        #expect(try await Self.count(world, "SELECT COUNT(*) FROM install_decisions") == 2)
        #expect(world.open.registry.counter(.attributionInstallsPurged).value == 600)
        #expect(try await installs.install(org: "o", id: "s1") == nil)
        #expect(try await installs.install(org: "o", id: "other") != nil)
        #expect(try await installs.purgeInstalls() == 0)
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `what a recomputation held is let go when its time is over`(engine: Dialect) async throws {
        let world = try World(on: engine)
        let now = world.open.clock.now
        try await world.open.database.write("test.hold") { transaction in
            let over = (UID(high: 1, low: 1), now - .seconds(1))
            for (run, until) in [over, (UID(high: 1, low: 2), now + .seconds(60))] {
                _ = try transaction.run(
                    "INSERT INTO install_rebuilds (org, run, reach_at, until_at) VALUES ('o', \(run), 0, \(until))")
            }
        }
        try await Self.installs(world).purgeInstalls()
        #expect(try await Self.count(world, "SELECT COUNT(*) FROM install_rebuilds") == 1)
        await world.log.close()
    }
}
