import AsyncHTTPClient
import AurumCore
import Connectors
import Leads
import Validation

/// Runs `body` with fake buyers on loopback and a client that may, or may not, reach them. The client is shut down
/// before the server, so that no connection is opened while the server stops.
func withBuyers(
    _ fakes: [FakeBuyerConfiguration], allowLoopback: Bool = true,
    _ body: @Sendable (_ server: FakesServer, _ url: String, _ client: HTTPLeadBuyer) async throws -> Void
) async throws {
    let egress = EgressGuard(allowLoopback: allowLoopback)
    let http = HTTPLeadBuyer.makeClient(egress: egress)
    let client = HTTPLeadBuyer(client: http, egress: egress, clock: SystemWallClock())
    try await FakesServer.withRunning(buyers: fakes) { server, url in
        do {
            try await body(server, url, client)
        } catch {
            try await http.shutdown()
            throw error
        }
        try await http.shutdown()
    }
}
