import Attribution
import AurumCore
import Database
import Events
import Telemetry
import TestSupport
import Testing

/// Uses of apps that one follower reads in many small parts, and how much of them it writes.
struct UseBufferTests {
    private typealias World = InstallFollowTests.World
    private static let day = InstallFollowTests.day
    private static let now = 40 * day

    private static func event(_ type: String, _ id: String, _ at: Int64, device: String = "d") -> JSONValue {
        var members: [String: JSONValue] = ["device_id": .string(device), "anonymous_id": .string(device)]
        if type == "screen" { members["screen"] = "home" }
        return InstallFollowTests.event(type, id, at, members)
    }

    private static func link(_ id: String, _ at: Int64, device: String = "d") -> JSONValue {
        let members: [String: JSONValue] = [
            "device_id": .string(device), "anonymous_id": .string(device),
            "url": "shop://offer?utm_source=mail&utm_campaign=autumn",
        ]
        return InstallFollowTests.event("open", id, at, members)
    }

    /// The newest use that the table holds, in milliseconds after the start.
    private static func last(_ world: World) async throws -> Int64? {
        let last = try await world.open.database.read("test.last") { tx in
            try tx.value(Timestamp.self, "SELECT MAX(last_at) FROM device_activity")
        }
        return last.map { $0.microseconds / 1000 - InstallFollowTests.start }
    }

    @Test func `the end of a visit moves every ten minutes, and at once where an open asks for it`() async throws {
        let world = try World()
        let follower = InstallFollower(world.installs())
        try await world.send([Self.event("install", "i", 0)])
        try await follower.catchUp()
        let minute: Int64 = 60_000
        /// A use of now.
        func use(_ minutes: Int64, device: String = "d") async throws {
            world.open.clock.advance(by: .seconds(60))
            let id = "s\(minutes)"
            try await world.send([Self.event("screen", id, Self.now + minutes * minute, device: device)])
            try await follower.catchUp()
        }
        try await use(1)
        #expect(try await Self.last(world) == Self.now + minute)
        for minutes in 2...9 {
            try await use(Int64(minutes))
            #expect(try await Self.last(world) == Self.now + minute, "\(minutes)")
        }
        try await use(10)
        try await use(11)
        #expect(try await Self.last(world) == Self.now + 11 * minute)
        try await use(12)
        #expect(try await Self.last(world) == Self.now + 11 * minute)
        // Nothing more of the device comes: it is written when its time is up.
        world.open.clock.advance(by: .seconds(599))
        try await follower.catchUp()
        #expect(try await Self.last(world) == Self.now + 11 * minute)
        world.open.clock.advance(by: .seconds(1))
        try await follower.catchUp()
        #expect(try await Self.last(world) == Self.now + 12 * minute)
        await world.log.close()
    }

    @Test(arguments: [false, true], [-1, 0])
    func `a session is counted to the millisecond by an open that comes while its end waits`(
        isStopped: Bool, late: Int64
    ) async throws {
        let world = try World()
        var follower = InstallFollower(world.installs())
        let rule: JSONValue = ["inactive_days": 1, "starts_at": "2025-01-01"]
        _ = try await world.installs().saveReEngagementRule(rule, org: "o")
        try await world.send([Self.event("install", "i", 0)])
        try await follower.catchUp()
        let begin = Self.now - 600_000
        for (number, at) in [begin, begin + 300_000 + late].enumerated() {
            try await world.send([Self.event("screen", "s\(number)", at)])
            try await follower.catchUp()
        }
        #expect(try await Self.last(world) == begin)
        // A process that ends takes what waits with it.
        if isStopped { follower = InstallFollower(world.installs()) }
        world.open.clock.advance(by: .seconds(86_400))
        try await world.send([Self.link("o", begin + Self.day + 300_000)])
        try await follower.catchUp()
        let found = try await world.installs().reEngagement(org: "o", id: "o") ?? .null
        #expect(found["outcome"]?.string == (late < 0 ? "re_engagement" : "session_before"), "\(found.canonical)")
        let last = Timestamp(milliseconds: InstallFollowTests.start + begin + 300_000 + late)
        #expect(found["last_session_at"]?.string == last.rfc3339)
        await world.log.close()
    }

    @Test func `an erased device does not come back with what waited`() async throws {
        let world = try World()
        let follower = InstallFollower(world.installs())
        try await world.send([Self.event("install", "i", 0), Self.event("install", "e", 0, device: "e")])
        try await follower.catchUp()
        for number in 0..<2 {
            let at = Self.now - 1000 + Int64(number)
            try await world.send(["d", "e"].map { Self.event("screen", "\($0)\(number)", at, device: $0) })
            try await follower.catchUp()
        }
        let person = PersonIdentifier(.device, "d")
        try await world.installs().forget(org: "o", person, persons: world.log.store.personKeys(org: "o", of: person))
        world.open.clock.advance(by: .seconds(600))
        try await follower.catchUp()
        let devices = try await world.open.database.read("test.devices") { tx in
            try tx.value(Int.self, "SELECT COUNT(DISTINCT device_key) FROM device_activity")
        }
        #expect(devices == 1)
        #expect(try await Self.last(world) == Self.now - 999)
        await world.log.close()
    }

    @Test func `what an erased device does afterwards is kept, and nothing of before beside it`() async throws {
        let world = try World()
        let follower = InstallFollower(world.installs())
        try await world.send([Self.event("install", "i", 0)])
        try await follower.catchUp()
        func use(_ id: String, _ at: Int64) async throws {
            try await world.send([Self.event("screen", id, Self.now + at)])
            try await follower.catchUp()
        }
        try await use("first", -1000)
        try await use("waits", -900)
        // An install of another device keeps the app known.
        try await world.send([Self.event("install", "e", 0, device: "e")])
        try await follower.catchUp()
        let person = PersonIdentifier(.device, "d")
        try await world.installs().forget(org: "o", person, persons: world.log.store.personKeys(org: "o", of: person))
        try await use("earlier", -2000)
        #expect(try await Self.last(world) == Self.now - 2000)
        try await use("later", -800)
        #expect(try await Self.last(world) == Self.now - 800)
        await world.log.close()
    }
}
