import Foundation
import TestSupport
import Testing
import Validation

/// Leads are sold while what the server leans on is killed and comes back.
@Suite(.serialized) struct OutageTests {
    /// R04 waits until lost posts are asked again, a minute: for the soak.
    private static let checks = soakCount(25) == 25 ? ["R02", "R03", "R04", "R11"] : ["R02", "R03", "R11"]

    @Test(arguments: checks)
    func `what the server leans on may be killed under load`(_ id: String) async throws {
        let folder = TemporaryFolder()
        let answer = try await AurumBinary.run(
            ["validate", "--spawn", "--profile", "tiny", "--check", id, "--out", folder.path], within: .seconds(500))
        let report = try JSONDecoder().decode(
            ValidationReport.self, from: Data(contentsOf: URL(fileURLWithPath: folder.file("report.json"))))
        let result = try #require(report.results.first, "\(answer.output)")
        #expect(result.id == id && result.verdict == .pass, "\(result.findings) \(result.measures)")
        #expect(answer.status == 0, "\(answer.output)")
    }
}
