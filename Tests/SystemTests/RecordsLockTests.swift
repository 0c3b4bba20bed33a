import Foundation
import TestSupport
import Testing

/// A SQLite file that the processes of two data folders name.
struct RecordsLockTests {
    private let folder = TemporaryFolder()

    private func environment(_ data: String, _ records: String = "records.db") -> [String: String] {
        [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
            "AURUM_DATA_DIR": folder.file(data), "AURUM_DATABASE_URL": "sqlite://" + folder.file(records),
        ]
    }

    private func serve(_ data: String) async throws -> ChildProcess {
        let process = try ChildProcess(AurumBinary.path, ["serve"], environment: environment(data))
        _ = try await process.line(containing: "Aurum is ready at", within: .seconds(60))
        return process
    }

    @Test func `one process at a time writes to a SQLite file, and who was killed holds it no longer`() async throws {
        let (out, key) = (folder.file("out"), folder.file("one/backup.key"))
        let before = try await serve("one")
        before.terminate()
        #expect(try await before.exit(within: .seconds(60)) == 0)
        let exported = try await AurumBinary.run(["database", "export", out], environment: environment("one"))
        #expect(exported.status == 0, "\(exported.output)")

        let first = try await serve("one")
        let refused = [
            ["serve"], ["keys", "list"], ["database", "export", out + "-2"],
            ["database", "import", out, "--key-file", key], ["restore", "--from", out, "--key-file", key],
        ]
        for command in refused {
            let answer = try await AurumBinary.run(command, environment: environment("two"))
            #expect(answer.status != 0, "\(command): \(answer.output)")
            #expect(
                answer.output.contains("another aurum (process \(first.pid)) uses the records in"),
                "\(command): \(answer.output)")
        }
        // Another name of the same file, and a command that only reads.
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("other.db"), withDestinationPath: folder.file("records.db"))
        let renamed = try await AurumBinary.run(["serve"], environment: environment("two", "other.db"))
        #expect(renamed.status != 0 && renamed.output.contains("(process \(first.pid))"), "\(renamed.output)")
        let status = try await AurumBinary.run(["database", "status"], environment: environment("two"))
        #expect(status.status == 0, "\(status.output)")

        first.kill()
        _ = try await first.exit()
        let second = try await serve("two")
        second.terminate()
        #expect(try await second.exit(within: .seconds(60)) == 0)
    }

    @Test func `migrations by hand wait for nobody and are refused beside who holds the file`() async throws {
        let descriptor = open(folder.file("records.db.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        #expect(flock(descriptor, LOCK_EX | LOCK_NB) == 0 && write(descriptor, "4711", 4) == 4)
        let held = try await AurumBinary.run(["database", "migrate"], environment: environment("one"))
        #expect(held.status != 0 && held.output.contains("another aurum (process 4711)"), "\(held.output)")
        #expect(!FileManager.default.fileExists(atPath: folder.file("records.db")))
        close(descriptor)
        let free = try await AurumBinary.run(["database", "migrate"], environment: environment("one"))
        #expect(free.status == 0 && free.output.contains("applied 0001_records"), "\(free.output)")
    }
}
