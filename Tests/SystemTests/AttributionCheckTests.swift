import Foundation
import TestSupport
import Testing
import Validation

/// Checks of `aurum validate` whose answers were worked out by hand.
struct AttributionCheckTests {
    @Test(arguments: ["A09", "A10", "A11"])
    func `runs over the log, cohorts and fraud are as by hand`(_ id: String) async throws {
        let folder = TemporaryFolder()
        let answer = try await AurumBinary.run(
            ["validate", "--spawn", "--profile", "tiny", "--check", id, "--out", folder.path], within: .seconds(200))
        let report = try JSONDecoder().decode(
            ValidationReport.self, from: Data(contentsOf: URL(fileURLWithPath: folder.file("report.json"))))
        let result = try #require(report.results.first, "\(answer.output)")
        #expect(result.id == id && result.verdict == .pass, "\(result.findings)")
        #expect(answer.status == 0, "\(answer.output)")
    }
}
