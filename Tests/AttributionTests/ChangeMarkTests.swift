import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// Marks of changed credit become few, whenever and however often credit changes, and their sums stay.
struct ChangeMarkTests {
    private struct Marks: Equatable {
        let rows: Int
        let sum: Int64
    }

    private static func marks(_ world: CampaignWorld, org: String = "o") async throws -> Marks {
        try await world.open.database.read("test.marks") { transaction in
            let rows = try transaction.value(
                Int.self, "SELECT COUNT(*) FROM attribution_changes WHERE org = \(org)")
            let sum = try transaction.values(Int64.self, "SELECT mark FROM attribution_changes WHERE org = \(org)")
            return Marks(rows: rows ?? 0, sum: sum.reduce(0, &+))
        }
    }

    /// Rows of one mark each, `apart` seconds from each other.
    private static func insert(
        _ rows: Int, apart: Int, org: String, in world: CampaignWorld
    ) async throws {
        try await world.open.database.write("test.insert") { transaction in
            _ = try transaction.run(
                """
                INSERT INTO attribution_changes (org, slot, width, id, mark, at)
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows))
                SELECT \(org), i * \(apart), 1, i, 7, 0 FROM n
                """)
        }
    }

    /// To the beginning of a quarter of an hour.
    private static func align(_ clock: ManualWallClock) {
        let quarter: Int64 = 900_000_000
        clock.advance(by: .microseconds(quarter - clock.now.microseconds % quarter))
    }

    private static func check(_ asked: AttributionService, _ place: String) async throws {
        let question = CreditQuestion(models: [.linear], dimension: .source)
        var whole = question
        whole.asOf = .end
        let expected = try await asked.report(org: "o", whole)
        #expect(try await asked.report(org: "o", question) == expected, "\(place)")
    }

    @Test(arguments: Dialect.allCases)
    func `a quarter that changes again and again is one mark each time it is quiet`(engine: Dialect) async throws {
        let world = try CampaignWorld(on: engine)
        Self.align(world.open.clock)
        for number in 0..<6 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(1))
        }
        for number in 0..<6 {
            world.open.clock.advance(by: .seconds(700))
            try await world.attribution.compactChanges(org: "o")
            #expect(try await Self.marks(world).rows == 1, "before change \(number)")
            try await Self.check(world.attribution, "before change \(number)")
            try await world.attribution.recognise(
                org: "o", leg: UID(high: 9, low: UInt64(number)), at: world.open.clock.now)
            try await Self.check(world.attribution, "after change \(number)")
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a quarter of yesterday that never is quiet becomes one mark all the same`(engine: Dialect) async throws {
        let world = try CampaignWorld(on: engine)
        Self.align(world.open.clock)
        for number in 0..<35 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(25))
        }
        world.open.clock.advance(by: .seconds(90_000))
        try await Self.check(world.attribution, "before")
        for number in 0..<35 {
            try await world.attribution.recognise(
                org: "o", leg: UID(high: 9, low: UInt64(number)), at: world.open.clock.now)
        }
        let before = try await Self.marks(world)
        #expect(before.rows == 105)
        try await world.attribution.compactChanges(org: "o")
        #expect(try await Self.marks(world) == Marks(rows: 1, sum: before.sum))
        try await Self.check(world.attribution, "after")
        try await world.attribution.reverse(org: "o", leg: UID(high: 9, low: 3))
        try await Self.check(world.attribution, "returned")
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a minute of an hour ago keeps no mark for each second, and a newer one does`(engine: Dialect) async throws {
        let world = try CampaignWorld(on: engine)
        Self.align(world.open.clock)
        for number in 0..<12 {
            try await world.sell(UInt64(number), 100, to: "ann")
            world.open.clock.advance(by: .seconds(1))
        }
        try await world.attribution.compactChanges(org: "o")
        #expect(try await Self.marks(world).rows == 12)
        world.open.clock.advance(by: .seconds(3660))
        // Not quiet.
        try await world.attribution.recognise(org: "o", leg: UID(high: 9, low: 0), at: world.open.clock.now)
        #expect(try await Self.marks(world).rows == 13)
        try await world.attribution.compactChanges(org: "o")
        #expect(try await Self.marks(world).rows == 1)
        try await Self.check(world.attribution, "after")
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `more marks than one transaction or one page has become few, and their sum stays`(engine: Dialect)
        async throws
    {
        let world = try CampaignWorld(on: engine)
        try await Self.insert(2500, apart: 0, org: "same", in: world)
        try await Self.insert(6000, apart: 2, org: "many", in: world)
        world.open.clock.advance(by: .seconds(100 * 86_400))
        try await world.attribution.compactChanges()
        #expect(try await Self.marks(world, org: "same") == Marks(rows: 1, sum: 17_500))
        #expect(try await Self.marks(world, org: "many") == Marks(rows: 1, sum: 42_000))
        await world.log.close()
    }

    @Test func `an organisation whose marks cannot be made fewer keeps no other waiting`() async throws {
        let world = try CampaignWorld(on: .sqlite)
        for org in ["a", "b", "c"] { try await Self.insert(5, apart: 0, org: org, in: world) }
        try await world.open.database.write("test.refuse") { transaction in
            _ = try transaction.run(
                """
                CREATE TRIGGER test_refused BEFORE DELETE ON attribution_changes WHEN OLD.org = 'a'
                BEGIN SELECT RAISE(ABORT, 'refused'); END
                """)
        }
        await #expect(throws: (any Error).self) { try await world.attribution.compactChanges() }
        #expect(try await Self.marks(world, org: "a").rows == 5)
        for org in ["b", "c"] { #expect(try await Self.marks(world, org: org) == Marks(rows: 1, sum: 35)) }
        await world.log.close()
    }
}
