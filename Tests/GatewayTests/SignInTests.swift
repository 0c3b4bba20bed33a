internal import Accounts
internal import AurumCore
internal import Gateway
internal import Runtime
internal import TestSupport
import Testing

struct SignInTests {
    @Test func `an open socket ends with its session, and with its key`() async throws {
        let open = try OpenDatabase()
        let keys = try await KeyStore(database: open.database, clock: open.clock)
        let sessions = try await Sessions(database: open.database, clock: open.clock)
        let signIns = SignIns(sessions: sessions, keys: keys)
        let made = try await keys.create(KeyRequest(org: "acme", kind: .admin, scopes: [.analyticsRead]))
        let principal = try #require(keys.principal(forKey: made.text.exposed))
        let token = try await sessions.start(org: "acme", person: principal.keyID, device: "")
        let id = try #require(sessions.record(token)?.id)
        #expect(await signIns.keepsAlive(nil, principal))
        #expect(await signIns.keepsAlive(id, principal))
        try await sessions.end(token)
        #expect(await !signIns.keepsAlive(id, principal))
        #expect(await signIns.keepsAlive(nil, principal))
        try await keys.revoke(id: principal.keyID, org: "acme")
        #expect(await !signIns.keepsAlive(nil, principal))
    }
}
