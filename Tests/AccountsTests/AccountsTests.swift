import Accounts
import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

struct AccountsTests {
    @Test func `a key works until it is revoked, and its secret is nowhere on disk`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let made = try await store.create(KeyRequest(scopes: [.eventsWrite, .eventsRead]))
        #expect(store.principal(forKey: made.text.exposed)?.scopes == [.eventsWrite, .eventsRead])
        #expect(made.text.exposed.hasPrefix("sk_") && made.text.exposed.utf8.count == 2 + 1 + 8 + 1 + 43)
        let reopened = try await KeyStore(database: open.database, clock: open.clock)
        #expect(reopened.principal(forKey: made.text.exposed) != nil)
        for name in try FileManager.default.contentsOfDirectory(atPath: open.folder.path) {
            let data = try Data(contentsOf: URL(fileURLWithPath: open.folder.file(name)))
            #expect(data.range(of: Data(made.text.secret.exposed.utf8)) == nil)
        }
        try await reopened.revoke(id: made.summary.id, org: "default")
        #expect(reopened.principal(forKey: made.text.exposed) == nil)
        await #expect(throws: KeyError.unknownKey) { try await reopened.revoke(id: made.summary.id, org: "default") }
    }

    @Test func `the rate of a key is kept, changed and taken away, and one out of bounds is refused`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let made = try await store.create(KeyRequest(scopes: [.eventsWrite], eventsPerSecond: 20))
        let reopened = try await KeyStore(database: open.database, clock: open.clock)
        #expect(reopened.principal(forKey: made.text.exposed)?.eventsPerSecond == 20)
        let changed = try await store.setRate(7, id: made.summary.id, org: "default")
        #expect(changed.eventsPerSecond == 7 && store.list(org: "default").first?.eventsPerSecond == 7)
        #expect(store.principal(forKey: made.text.exposed)?.eventsPerSecond == 7)
        for rate in [0, -1, 10_000_001] {
            await #expect(throws: KeyError.badRate(rate)) {
                try await store.setRate(rate, id: made.summary.id, org: "default")
            }
            await #expect(throws: KeyError.badRate(rate)) {
                try await store.create(KeyRequest(scopes: [.eventsWrite], eventsPerSecond: rate))
            }
        }
        await #expect(throws: KeyError.unknownKey) { try await store.setRate(1, id: made.summary.id, org: "rival") }
        _ = try await store.setRate(nil, id: made.summary.id, org: "default")
        #expect(store.principal(forKey: made.text.exposed)?.eventsPerSecond == nil)
    }

    @Test func `the rate of a key that another process made is set, and known at once`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let other = try await KeyStore(database: open.database, clock: open.clock)
        let made = try await other.create(KeyRequest(scopes: [.eventsWrite]))
        #expect(store.principal(forKey: made.text.exposed) == nil)
        let changed = try await store.setRate(7, id: made.summary.id, org: "default")
        #expect(changed.eventsPerSecond == 7)
        #expect(store.principal(forKey: made.text.exposed)?.eventsPerSecond == 7)
    }

    @Test func `whatever changes and reads a key at once, what the database kept is what holds`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let made = try await store.create(KeyRequest(scopes: [.eventsWrite]))
        let id = made.summary.id
        for round in 1...150 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for rate in 1...3 {
                    group.addTask { _ = try await store.setRate(round * 10 + rate, id: id, org: "default") }
                    group.addTask { try await store.reload() }
                }
                try await group.waitForAll()
            }
            let kept = try await open.database.read("test.rate") { transaction in
                try transaction.value(Int.self, "SELECT events_per_second FROM api_keys WHERE id = \(id)")
            }
            let known = store.principal(forKey: made.text.exposed)?.eventsPerSecond
            #expect(known == kept && store.list(org: "default").first?.eventsPerSecond == kept, "round \(round)")
            if known != kept { return }
        }
    }

    @Test func `a key that one process revokes works in no other for long`() async throws {
        let folder = TemporaryFolder()
        let clock = ManualWallClock()
        let databases = try (0..<2).map { _ in
            try Database.forTest(at: folder.file("keys.db"), on: .postgres, registry: MetricRegistry(), clock: clock)
        }
        let mine = try await KeyStore(database: databases[0], clock: clock)
        let other = try await KeyStore(database: databases[1], clock: clock)
        let own = KeyText(kind: .admin)
        other.addForThisRun(
            own,
            principal: Principal(
                org: "default", app: "default", keyID: own.id, kind: .admin, scopes: [.eventsRead], origins: [],
                historical: false))
        let made = try await mine.create(KeyRequest(scopes: [.eventsWrite]))
        #expect(other.principal(forKey: made.text.exposed) == nil)
        try await other.reload()
        #expect(other.principal(forKey: made.text.exposed) != nil)
        #expect(other.principal(forKey: own.exposed) != nil, "a key of this run is lost")
        let deadline = ContinuousClock.now + .seconds(20)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await other.follow { Issue.record($0) } }
            do {
                try await mine.revoke(id: made.summary.id, org: "default")
                while other.principal(forKey: made.text.exposed) != nil {
                    guard ContinuousClock.now < deadline else { throw KeyError.unknownKey }
                    await Task.yield()
                }
            } catch { Issue.record(error, "the key still works") }
            group.cancelAll()
        }
        #expect(other.principal(forKey: own.exposed) != nil)
    }

    @Test func `a wrong secret, a wrong kind and noise are nobody`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let made = try await store.create(KeyRequest(scopes: [.eventsWrite]))
        let text = made.text.exposed
        let flipped = String(text.dropLast()) + (text.hasSuffix("a") ? "b" : "a")
        for wrong in [flipped, "wk_" + text.dropFirst(3), String(text.dropLast()), text + "a", "", "sk__", "sk_a_b"] {
            #expect(store.principal(forKey: wrong) == nil, "\(wrong.count) characters")
        }
    }

    @Test(arguments: [
        (KeyRequest(scopes: []), KeyError.noScope),
        (KeyRequest(kind: .publishable, scopes: [.eventsRead]), .scopeTooWide(.eventsRead)),
        (KeyRequest(org: "a b", scopes: [.eventsRead]), .badName("a b")),
        (KeyRequest(app: "", scopes: [.eventsRead]), .badName("")),
        (
            KeyRequest(kind: .publishable, scopes: [.eventsWrite], origins: ["https://a.com/x"]),
            .badOrigin("https://a.com/x")
        ),
        (KeyRequest(kind: .publishable, scopes: [.eventsWrite], origins: ["a.com"]), .badOrigin("a.com")),
    ])
    func `a key that must not exist is refused`(request: KeyRequest, error: KeyError) async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        await #expect(throws: error) { try await store.create(request) }
        #expect(store.list(org: request.org).isEmpty)
    }

    @Test func `organisations see only their own keys`() async throws {
        let open = try OpenDatabase()
        let store = try await KeyStore(database: open.database, clock: open.clock)
        let first = try await store.create(KeyRequest(org: "one", scopes: [.eventsRead]))
        _ = try await store.create(KeyRequest(org: "two", scopes: [.eventsRead]))
        #expect(store.list(org: "one").map(\.id) == [first.summary.id])
        await #expect(throws: KeyError.unknownKey) { try await store.revoke(id: first.summary.id, org: "two") }
        #expect(store.principal(forKey: first.text.exposed) != nil)
    }
}
