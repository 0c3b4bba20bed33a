import AurumCore
import Foundation
import TestSupport
import Testing

/// Imported experiments as an operator handles them, with the real binary.
struct ExperimentCommandTests {
    private static let rows = (0..<8).map { "r\($0),\($0 < 4 ? "treated,3,10.00" : "control,2,")\n" }

    @Test(arguments: [false, true])
    func `a file is imported, shown and removed, beside a server and without one`(isServed: Bool) async throws {
        let folder = TemporaryFolder()
        let environment = [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
            "AURUM_DATA_DIR": folder.file("data"),
        ]
        func command(_ arguments: String...) async throws -> (status: Int32, output: String) {
            try await AurumBinary.run(["attribution", "experiments"] + arguments, environment: environment)
        }
        let server = isServed ? try ChildProcess(AurumBinary.path, ["serve"], environment: environment) : nil
        if let server { _ = try await server.line(containing: "Aurum is ready at", within: .seconds(20)) }
        let (good, few, odd) = (folder.file("good.csv"), folder.file("few.csv"), folder.file("odd.csv"))
        let head = "region,side,conversions,spend\n"
        try (head + Self.rows.joined()).write(toFile: good, atomically: true, encoding: .utf8)
        try (head + Self.rows.dropLast().joined()).write(toFile: few, atomically: true, encoding: .utf8)
        try (head + "a,treated,many,1\n").write(toFile: odd, atomically: true, encoding: .utf8)
        let facts = ["--name", "autumn", "--channel", "paid_search", "--from", "2025-10-01", "--to", "2025-10-29"]
        func add(_ file: String, _ more: [String]) async throws -> (status: Int32, output: String) {
            try await AurumBinary.run(
                ["attribution", "experiments", "add", file] + more, environment: environment)
        }
        let added = try await add(good, facts)
        // 12 conversions where 8 were to be expected, for 40.00.
        #expect(added.status == 0 && added.output.contains("lift 50.0 % (50.0 % to 50.0 %)"), "\(added.output)")
        #expect(added.output.contains("4.0 (4.0 to 4.0), each for 10.00"), "\(added.output)")
        let refusals = [
            (few, facts, "needs 4 regions on each side"), (odd, facts, "line 2, column conversions"),
            (good, Array(facts.dropFirst(2)), "is missing"), (folder.file("none.csv"), facts, "cannot be read"),
            (good, facts + ["--currency", "EUR"], "Another experiment has this name"),
        ]
        for (file, more, reason) in refusals {
            let refused = try await add(file, more)
            #expect(refused.status != 0 && refused.output.contains(reason), "\(reason): \(refused.output)")
        }
        let listed = try await command("list")
        #expect(listed.status == 0 && listed.output.contains("autumn"), "\(listed.output)")
        let shown = try await command("show", "autumn")
        #expect(shown.status == 0 && shown.output.contains("there is no run of its conversion"), "\(shown.output)")
        #expect(try await command("remove", "autumn").status == 0)
        let gone = try await command("show", "autumn")
        #expect(gone.status != 0 && gone.output.contains("no experiment of this name"), "\(gone.output)")
        if let server {
            server.terminate()
            #expect(try await server.exit(within: .seconds(30)) == 0)
        }
    }
}
