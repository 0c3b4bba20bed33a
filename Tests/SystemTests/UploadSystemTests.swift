import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// Destinations of conversions over the real command and server.
@Suite struct UploadSystemTests {
    @Test func `a destination is made, tested and set to work by the command, and the page is there`() async throws {
        try await FakesServer.withRunning(buyers: []) { _, url in
            let folder = TemporaryFolder()
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: ["AURUM_LOG_LEVEL": "error", "AURUM_EGRESS_ALLOW_LOOPBACK": "true"],
                dataDirectory: folder.file("data"))
            let target = try await server.start()
            let token = folder.file("token")
            try FakeNetwork.token.write(toFile: token, atomically: true, encoding: .utf8)
            func uploads(_ arguments: String...) async throws -> (status: Int32, output: String) {
                let answer = try await AurumBinary.run(
                    ["uploads"] + arguments, environment: ["AURUM_DATA_DIR": folder.file("data")])
                return (answer.status, answer.output)
            }
            let made = try await uploads(
                "add", "meta", "1234567", "--name", "Solar, Meta", "--sale", "Purchase", "--credentials", token,
                "--endpoint", url + "/meta/v21.0")
            #expect(made.status == 0 && made.output.contains("dry run  Solar, Meta"), "\(made)")
            #expect(!made.output.contains(FakeNetwork.token))
            let id = String(made.output.prefix { $0 != " " })
            let again = try await uploads(
                "add", "meta", "1234567", "--name", "Solar, Meta", "--sale", "Purchase", "--credentials", token)
            #expect(again.status != 0 && again.output.contains("Another destination has this name"), "\(again)")
            let wrong = try await uploads("add", "google", "12-34", "--name", "x", "--sale", "Purchase")
            #expect(wrong.status != 0 && wrong.output.contains("account: must be a text of 1 to 32 digits"), "\(wrong)")
            let works = try await uploads("test", id)
            #expect(works.status == 0 && works.output.contains("works"), "\(works)")
            let live = try await uploads("change", id, "--dry-run", "false")
            #expect(live.status == 0 && live.output.contains("active  live  Solar, Meta"), "\(live)")
            let items = try await uploads("items", "--destination", id)
            #expect(items.status == 0 && items.output.isEmpty, "\(items)")
            let admin = TestClient(url: target.url, key: target.adminToken)
            let page = try await admin.get("/uploads")
            #expect(page.status == 200 && page.text.contains("/uploads\""), "\(page.text)")
            let script = try await admin.get("/assets/uploads.js")
            #expect(script.status == 200 && script.text.contains("/v1/uploads/destinations"))
            let bad = try await admin.get("/v1/uploads/items?state=lost")
            #expect(bad.status == 400, "\(bad.text)")
            let gone = try await uploads("remove", id)
            #expect(gone.status == 0 && gone.output.contains("removed"), "\(gone)")
            let missing = try await uploads("test", id)
            #expect(missing.status != 0 && missing.output.contains("There is no such destination"), "\(missing)")
            await server.stop()
        }
    }
}
