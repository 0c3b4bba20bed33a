import AurumCore
import Database
import TestSupport
import Testing

/// One effect and equal answers, however often a request with a key arrives.
@Suite struct IdempotencyTests {
    static let engines = Dialect.allCases

    private struct Failed: Error {}

    /// A database that counts effects.
    private struct Desk: Sendable {
        let open: OpenDatabase

        init(_ engine: Dialect) async throws {
            open = try OpenDatabase(on: engine)
            try await open.database.write("test.effectTable") { tx in
                _ = try tx.run("CREATE TABLE effects (id BIGINT PRIMARY KEY, made_by BIGINT NOT NULL)")
            }
        }

        /// A request that makes a row and answers with its number.
        func ask(
            _ caller: Int, key: String? = "k", body: String = "{}", org: String = "o",
            isolation: Isolation = .serializable, fails: Bool = false
        ) async throws -> KeptAnswer {
            let key = key.map { IdempotencyKey(org: org, key: $0, route: "POST /v1/things", body: body) }
            return try await open.database.write("test.effect", isolation: isolation) { tx in
                try tx.once(key) {
                    let id = (try tx.value(Int.self, "SELECT MAX(id) FROM effects") ?? 0) + 1
                    try tx.run("INSERT INTO effects (id, made_by) VALUES (\(id), \(caller))")
                    if fails { throw Failed() }
                    return KeptAnswer(status: 201, body: "{\"id\":\(id)}")
                }
            }
        }

        func effects() async throws -> Int {
            try await open.database.read("test.effects") { tx in
                try tx.value(Int.self, "SELECT COUNT(*) FROM effects") ?? 0
            }
        }
    }

    @Test(arguments: engines) func `a request repeated up to ten times has one effect and one answer`(_ engine: Dialect)
        async throws
    {
        let desk = try await Desk(engine)
        for times in 1...10 {
            var answers: [KeptAnswer] = []
            for number in 0..<times { answers.append(try await desk.ask(number, key: "k\(times)")) }
            #expect(answers.allSatisfy { $0 == KeptAnswer(status: 201, body: "{\"id\":\(times)}") }, "\(answers)")
        }
        #expect(try await desk.effects() == 10)
    }

    @Test(arguments: engines, [Isolation.serializable, .readCommitted])
    func `the same at the same time has one effect and one answer`(_ engine: Dialect, _ isolation: Isolation)
        async throws
    {
        let desk = try await Desk(engine)
        for times in 1...10 {
            let answers = try await withThrowingTaskGroup(of: KeptAnswer.self) { group in
                for number in 0..<times {
                    group.addTask { try await desk.ask(number, key: "k\(times)", isolation: isolation) }
                }
                return try await group.reduce(into: [KeptAnswer]()) { $0.append($1) }
            }
            #expect(answers.count == times)
            #expect(answers.allSatisfy { $0.status == 201 && $0.body == "{\"id\":\(times)}" }, "\(answers)")
        }
        #expect(try await desk.effects() == 10)
    }

    @Test(arguments: engines) func `a key with another request is refused, one of another organisation is its own`(
        _ engine: Dialect
    ) async throws {
        let desk = try await Desk(engine)
        let first = try await desk.ask(1, body: "{\"a\":1}")
        await #expect(throws: IdempotencyKeyReused.self) { try await desk.ask(2, body: "{\"a\":2}") }
        #expect(try await desk.ask(3, body: "{\"a\":1}") == first)
        #expect(try await desk.ask(4, body: "{\"a\":1}", org: "other") != first)
        #expect(try await desk.effects() == 2)
        let one = IdempotencyKey(org: "o", key: "k", route: "POST /v1/a", body: "{}")
        let other = IdempotencyKey(org: "o", key: "k", route: "POST /v1/b", body: "{}")
        #expect(one.requestHash != other.requestHash)
    }

    @Test(arguments: engines) func `a request that failed leaves its key free`(_ engine: Dialect) async throws {
        let desk = try await Desk(engine)
        await #expect(throws: Failed.self) { try await desk.ask(1, fails: true) }
        #expect(try await desk.effects() == 0)
        #expect(try await desk.ask(2, body: "{\"other\":true}").status == 201)
        #expect(try await desk.effects() == 1)
    }

    @Test(arguments: engines) func `without a key every request has its effect`(_ engine: Dialect) async throws {
        let desk = try await Desk(engine)
        for number in 1...3 { _ = try await desk.ask(number, key: nil) }
        #expect(try await desk.effects() == 3)
    }

    @Test(arguments: engines) func `an answer is kept a day, and purged after`(_ engine: Dialect) async throws {
        let desk = try await Desk(engine)
        let clock = desk.open.clock
        let first = try await desk.ask(1)
        _ = try await desk.ask(1, key: "other")
        clock.advance(by: .seconds(86_399))
        #expect(try await desk.ask(2) == first)
        #expect(try await desk.open.database.purgeIdempotency() == 0)
        clock.advance(by: .seconds(1))
        let again = try await desk.ask(3, body: "{\"new\":1}")
        #expect(again != first, "a day later the key is new, also before anybody purged it")
        #expect(try await desk.open.database.purgeIdempotency() == 1, "the other one")
        #expect(try await desk.ask(4, body: "{\"new\":1}") == again)
        #expect(try await desk.effects() == 3)
    }
}
