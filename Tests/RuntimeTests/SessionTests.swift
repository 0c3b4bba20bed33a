import AurumCore
import Database
import Runtime
import Telemetry
import TestSupport
import Testing

struct SessionTests {
    private struct Desk {
        let open: OpenDatabase
        let sessions: Sessions
        var clock: ManualWallClock { open.clock }

        init() async throws {
            open = try OpenDatabase()
            sessions = try await Sessions(database: open.database, clock: open.clock)
        }

        func start(_ person: String = "ann") async throws -> SessionToken {
            try await sessions.start(org: "acme", person: person, device: "Firefox on Linux")
        }

        func isIn(_ token: SessionToken, mayRotate: Bool = false) async throws -> Bool {
            try await sessions.use(token, mayRotate: mayRotate) != nil
        }
    }

    @Test func `a session ends half an hour after its last use`() async throws {
        let desk = try await Desk()
        let token = try await desk.start()
        for _ in 0..<4 {
            desk.clock.advance(by: .seconds(29 * 60))
            #expect(try await desk.isIn(token))
        }
        desk.clock.advance(by: .seconds(30 * 60))
        #expect(desk.sessions.record(token) == nil)
        #expect(try await !desk.isIn(token))
        #expect(try await desk.sessions.list(org: "acme", person: "ann").isEmpty)
    }

    @Test func `a session ends twelve hours after the sign-in, however busy`() async throws {
        let desk = try await Desk()
        var token = try await desk.start()
        for _ in 0..<71 {
            desk.clock.advance(by: .seconds(600))
            let use = try #require(try await desk.sessions.use(token, mayRotate: true))
            token = use.replacement ?? token
        }
        #expect(try await desk.isIn(token))
        desk.clock.advance(by: .seconds(600))
        #expect(try await !desk.isIn(token))
    }

    @Test func `after a quarter of an hour the id is replaced, and the old one answers for half a minute`() async throws
    {
        let desk = try await Desk()
        let old = try await desk.start()
        desk.clock.advance(by: .seconds(14 * 60))
        #expect(try await desk.sessions.use(old, mayRotate: true)?.replacement == nil)
        desk.clock.advance(by: .seconds(60))
        // A caller that cannot hand out ids leaves it.
        #expect(try await desk.sessions.use(old, mayRotate: false)?.replacement == nil)
        let new = try #require(try await desk.sessions.use(old, mayRotate: true)?.replacement)
        desk.clock.advance(by: .seconds(29))
        #expect(try await desk.sessions.use(old, mayRotate: true)?.replacement == nil)
        #expect(try await desk.isIn(old))
        #expect(try await desk.isIn(new))
        #expect(try await desk.sessions.list(org: "acme", person: "ann").count == 1)
        desk.clock.advance(by: .seconds(1))
        #expect(desk.sessions.record(old) == nil && desk.sessions.record(new) != nil)
        // Whoever still has the old id is a second party: the session ends for both, and the log hears of it.
        #expect(try await !desk.isIn(old))
        #expect(try await !desk.isIn(new))
        let audit = try await desk.open.database.read("test.audit") {
            try $0.values(String.self, "SELECT props FROM outbox WHERE name = 'session.ended'")
        }
        #expect(audit.count == 1 && audit[0].contains("replayed"))
    }

    @Test func `requests at the same moment get one new id`() async throws {
        let desk = try await Desk()
        let (old, sessions) = (try await desk.start(), desk.sessions)
        desk.clock.advance(by: .seconds(16 * 60))
        let made = try await withThrowingTaskGroup(of: SessionToken?.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    let use = try await sessions.use(old, mayRotate: true)
                    #expect(use != nil)
                    return use?.replacement
                }
            }
            return try await group.reduce(into: []) { if let token = $1 { $0.append(token) } }
        }
        #expect(made.count == 1)
    }

    @Test func `ending all sessions while an id is being replaced leaves none`() async throws {
        let desk = try await Desk()
        let sessions = desk.sessions
        for _ in 0..<50 {
            let old = try await desk.start()
            desk.clock.advance(by: .seconds(16 * 60))
            async let use = sessions.use(old, mayRotate: true)
            async let ended: Void = sessions.revokeAll(org: "acme", person: "ann")
            let new = try await use?.replacement
            try await ended
            #expect(sessions.record(old) == nil)
            if let new { #expect(sessions.record(new) == nil) }
            let left = try await desk.open.database.read("test.left") {
                try $0.value(Int.self, "SELECT COUNT(*) FROM sessions")
            }
            #expect(left == 0)
        }
    }

    @Test func `what ran out and was never presented again is removed by the next sign-in`() async throws {
        let desk = try await Desk()
        let rotated = try await desk.start("bob")
        _ = try await desk.start()
        desk.clock.advance(by: .seconds(16 * 60))
        #expect(try await desk.sessions.use(rotated, mayRotate: true)?.replacement != nil)
        desk.clock.advance(by: .seconds(20 * 60))
        // Of ann's nobody has heard for 36 minutes, of bob's for 20.
        _ = try await desk.start("carol")
        let people = try await desk.open.database.read("test.people") {
            try $0.values(String.self, "SELECT person FROM sessions ORDER BY person")
        }
        #expect(people == ["bob", "bob", "carol"])
    }

    @Test func `another node's new id keeps an open page, and both list the same sessions`() async throws {
        let open = try OpenDatabase()
        let one = try await Sessions(database: open.database, clock: open.clock, isShared: true)
        let other = try await Sessions(database: open.database, clock: open.clock, isShared: true)
        let token = try await one.start(org: "acme", person: "ann", device: "")
        let id = try #require(try await other.use(token, mayRotate: false)?.record.id)
        open.clock.advance(by: .seconds(16 * 60))
        #expect(try await other.use(token, mayRotate: true)?.replacement != nil)
        open.clock.advance(by: .seconds(60))
        for node in [one, other] {
            #expect(try await node.keepAlive(id))
            #expect(try await node.list(org: "acme", person: "ann").map(\.id) == [id])
        }
        try await other.revokeAll(org: "acme", person: "ann")
        #expect(try await !one.keepAlive(id))
    }

    @Test func `the eleventh session ends the oldest, with a notice`() async throws {
        let desk = try await Desk()
        var tokens: [SessionToken] = []
        for _ in 0..<11 {
            tokens.append(try await desk.start())
            desk.clock.advance(by: .seconds(1))
        }
        let other = try await desk.start("bob")
        #expect(desk.sessions.record(tokens[0]) == nil)
        for token in tokens.dropFirst() { #expect(desk.sessions.record(token) != nil) }
        #expect(desk.sessions.record(other) != nil)
        #expect(try await desk.sessions.list(org: "acme", person: "ann").count == 10)
        let notices = try await desk.open.database.read("test.notices") {
            try $0.value(Int.self, "SELECT COUNT(*) FROM outbox WHERE name = 'session.ended'")
        }
        #expect(notices == 1)
    }

    @Test func `a restart keeps sessions, ids that were replaced, and ends`() async throws {
        let desk = try await Desk()
        let (kept, ended, rotated) = (try await desk.start(), try await desk.start(), try await desk.start("bob"))
        try await desk.sessions.end(ended)
        desk.clock.advance(by: .seconds(16 * 60))
        let new = try #require(try await desk.sessions.use(rotated, mayRotate: true)?.replacement)
        let again = try await Sessions(database: desk.open.database, clock: desk.clock)
        #expect(again.record(kept)?.device == "Firefox on Linux")
        #expect(again.record(ended) == nil)
        #expect(again.record(new)?.person == "bob" && again.record(rotated)?.replacedAt != nil)
        desk.clock.advance(by: .seconds(31))
        #expect(try await again.use(rotated, mayRotate: false) == nil)
        #expect(again.record(new) == nil)
        // Nothing in the table signs anybody in by itself.
        let hashes = try await desk.open.database.read("test.hashes") {
            try $0.values([UInt8].self, "SELECT hash FROM sessions")
        }
        #expect(!hashes.isEmpty)
        for hash in hashes { #expect(SessionToken(Hex.encode(hash)).flatMap { again.record($0) } == nil) }
    }

    @Test func `revoking on one node acts on another within a second`() async throws {
        let open = try OpenDatabase()
        let one = try await Sessions(database: open.database, clock: open.clock, isShared: true)
        let other = try await Sessions(database: open.database, clock: open.clock, isShared: true)
        let token = try await one.start(org: "acme", person: "ann", device: "")
        let second = try await one.start(org: "acme", person: "ann", device: "")
        // The other node has never heard of it and finds it in the database.
        #expect(try await other.use(token, mayRotate: false)?.record.person == "ann")
        #expect(try await other.use(second, mayRotate: false) != nil)
        let id = try #require(one.record(second)?.id)
        #expect(try await one.revoke(id, org: "acme", person: "bob") == false)
        #expect(try await one.revoke(id, org: "acme", person: "ann"))
        open.clock.advance(by: .seconds(1))
        #expect(try await other.use(second, mayRotate: false) == nil)
        #expect(try await other.use(token, mayRotate: false) != nil)
        try await one.revokeAll(org: "acme", person: "ann")
        #expect(one.record(token) == nil)
        open.clock.advance(by: .seconds(1))
        #expect(try await other.use(token, mayRotate: false) == nil)
    }

    @Test func `what cannot be a token is none`() {
        #expect(SessionToken("") == nil && SessionToken("zz") == nil)
        #expect(SessionToken(String(repeating: "g", count: 64)) == nil)
        #expect(SessionToken(SessionToken().text) != nil)
    }
}
