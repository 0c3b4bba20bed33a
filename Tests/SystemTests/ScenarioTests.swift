import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The event scenarios against a real server, small.
@Suite(.serialized) struct ScenarioTests {
    @Test func `load, ramp, spike, endurance, crash and slow clients all run and account for every event`() async throws
    {
        let folder = TemporaryFolder()
        let answer = try await AurumBinary.run(
            ["validate", "--spawn", "--profile", "tiny", "--out", folder.path], within: .seconds(240))
        #expect(answer.status == 0, "\(answer.output)")
        let report = try JSONDecoder().decode(
            ValidationReport.self, from: Data(contentsOf: URL(fileURLWithPath: folder.file("report.json"))))
        let verdicts = Dictionary(uniqueKeysWithValues: report.results.map { ($0.id, $0.verdict) })
        for id in ["T01", "T02", "T03", "T07", "R09", "R10", "O1"] {
            #expect(verdicts[id] == .pass, "\(id): \(report.results.first { $0.id == id }?.findings ?? ["not run"])")
        }
    }

    @Test func `phases and rates are checked before anything starts`() async throws {
        let phase = try await AurumBinary.run(["validate", "--spawn", "--phase", "lode"])
        #expect(phase.status == 3 && phase.output.contains("no phase lode"), "\(phase.output)")
        let rate = try await AurumBinary.run(["validate", "--spawn", "--rate", "fast"])
        #expect(rate.status == 3 && rate.output.contains("--rate is a number"), "\(rate.output)")
    }

    @Test func `what is too much is refused with Retry-After and everything else is stored`() async throws {
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: ["AURUM_EVENTS_BYTES_IN_FLIGHT_MAX": "200000", "AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(["events:write", "events:read"])
        var plan = LoadPlan(target: target.url, keys: [key.key])
        plan.batch = 200
        plan.connections = 48
        plan.seconds = 2
        plan.warmUpSeconds = 0
        let report = try await EventLoad(plan).run()
        #expect(report.refused > 0, "\(report.statuses)")
        #expect(report.refusedWithoutRetryAfter == 0)
        #expect(Set(report.statuses.keys).isSubset(of: ["202", "429", "503"]), "\(report.statuses)")
        let refused = report.refused * plan.batch
        #expect(report.offered == report.outcomes.total + refused && report.unanswered == 0)
        #expect(report.outcomes.stored == report.outcomes.total && report.outcomes.total > 0)
        await server.stop()
    }

    @Test func `the comparison with ClickHouse's engine runs on a few events`() async throws {
        let folder = TemporaryFolder()
        let script = try ChildProcess(
            AurumBinary.root + "/scripts/bench-peers", ["--tiny", "--out", folder.path], directory: AurumBinary.root)
        let status = try await script.exit(within: .seconds(400))
        #expect(status == 0, "\(script.output)")
        for way in ["insert a body, fsync", "aurum, the files", "aurum, POST /v1/events"] {
            #expect(script.output.contains(way), "\(way) is not in \(script.output)")
        }
        #expect(!script.output.contains("DIFFERENT"), "\(script.output)")
        let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(left == ["report.json"], "\(left)")
    }
}
