import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// A server that makes backups by itself.
@Suite struct BackupScheduleTests {
    private func names(_ folder: String) throws -> Set<String> {
        Set(try FileManager.default.contentsOfDirectory(atPath: folder))
    }

    @Test func `one is made at the start, the next when it is due, and old ones go`() async throws {
        let folder = TemporaryFolder()
        let backups = folder.file("backups")
        let day = SystemWallClock().now - .seconds(3 * 86_400)
        let date = String(day.rfc3339.prefix(10))
        let (first, last) = (date + "T01-00-00Z", date + "T02-00-00Z")
        for name in [first, last, "2020-01-01T00-00-00Z", "2020-01-01T00-00-01Z.unfinished", "mine"] {
            try FileManager.default.createDirectory(
                atPath: backups + "/" + name, withIntermediateDirectories: true)
        }
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: [
                "AURUM_LOG_LEVEL": "error", "AURUM_BACKUP_DIRECTORY": backups, "AURUM_BACKUP_EVERY_MINUTES": "60",
            ], dataDirectory: folder.file("data"))
        _ = try await server.start()
        let deadline = ContinuousClock.now + .seconds(60)
        while try names(backups).count != 3 || names(backups).contains(first), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(50))
        }
        let made = try names(backups).subtracting([last, "mine"])
        let output = await server.output
        try #require(made.count == 1, "\(made) \(output)")
        let new = try #require(made.first)
        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        let check = try await AurumBinary.run(["backup", "verify", backups + "/" + new], environment: environment)
        #expect(check.status == 0, "\(check.output)")
        // It is not due yet for the next process either.
        _ = try await server.restart()
        await server.stop()
        #expect(try names(backups) == [last, "mine", new])
    }
}
