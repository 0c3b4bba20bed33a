import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The socket of the page Campaigns of a running server.
@Suite(.serialized) struct CampaignSocketTests {
    @Test func `it ends with the key that it was opened with`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let made = try await admin.post("/v1/keys", ["scopes": ["analytics:read"], "app": "default"])
        let key = try #require(made.body["key"]?.string, "\(made.text)")
        let id = try #require(made.body["id"]?.string)
        let socket = try await WebSocketConnection.connect(
            to: target.url.replacingOccurrences(of: "http://", with: "ws://") + "/v1/live/campaigns?days=30",
            headers: [("Authorization", "Bearer \(key)")])
        guard case .text = try await socket.next(within: .seconds(10)) else {
            Issue.record("no report came")
            return
        }
        #expect(try await admin.call("DELETE", "/v1/keys/\(id)").status == 204)
        var code: UInt16?
        for _ in 0..<20 where code == nil {
            if case .closed(let found) = try await socket.next(within: .seconds(10)) { code = found }
        }
        #expect(code == 1008)
        await #expect(throws: WebSocketError.self) {
            _ = try await WebSocketConnection.connect(
                to: target.url.replacingOccurrences(of: "http://", with: "ws://") + "/v1/live/campaigns?days=30",
                headers: [("Authorization", "Bearer \(key)")])
        }
        #expect(await server.stop() == 0)
    }
}
