internal import AurumCore
internal import Foundation
internal import TestSupport
import Testing
internal import Validation

/// The generator against real sockets and a server whose delays are known.
@Suite(.serialized) struct LoadMeasurementTests {
    private func load(
        _ delay: ReferenceServer.Delay, rate: Double? = 200, seconds: Double = 1.5, connections: Int = 200,
        starved: Double = 0
    ) async throws -> LoadReport {
        let server = try await ReferenceServer.start(delay: delay, itemsPerRequest: 2)
        var plan = LoadPlan(target: server.url, keys: ["key"])
        plan.eventsPerSecond = rate.map { $0 * 2 }
        plan.batch = 2
        plan.seconds = seconds
        plan.warmUpSeconds = 0.2
        plan.connections = connections
        plan.graceSeconds = 3
        let report = try await EventLoad(plan, starvedShare: starved).run()
        await server.stop()
        return report
    }

    @Test func `every request is counted once, and a fixed delay is seen`() async throws {
        let report = try await load(.fixed(milliseconds: 50))
        #expect(report.requests == 300)
        #expect(report.offered == 600 && report.acknowledged == 600)
        #expect(report.errors == 0 && report.statuses == ["202": 300])
        #expect(report.latency.p50.milliseconds >= 49.5)
        #expect(report.latency.n == 260)
    }

    @Test func `a freeze shows in the open loop and hides in the closed one`() async throws {
        let freeze = ReferenceServer.Delay.freeze(afterMilliseconds: 500, milliseconds: 400)
        let open = try await load(freeze, seconds: 2, connections: 4)
        // A fifth of the arrivals waits between 0 and 400 ms.
        #expect(open.latency.p95.milliseconds > 200, "\(open.latency.p95.text)")
        let closed = try await load(freeze, rate: nil, seconds: 2, connections: 2)
        #expect(closed.latency.p95.milliseconds < 100, "\(closed.latency.p95.text)")
        #expect(!closed.openLoop && closed.table.contains("closed loop"))
    }

    @Test func `a starved generator makes the run void`() async throws {
        let report = try await load(.none, starved: 0.95)
        #expect(report.isVoid && report.exitCode == 2)
        #expect(report.table.contains("VOID"))
    }

    @Test func `users of a ramp connect when they begin, so that no server closes their connections for silence`()
        async throws
    {
        let server = try await ReferenceServer.start(
            delay: .fixed(milliseconds: 5), itemsPerRequest: 2, closesSilentAfter: 300)
        var plan = LoadPlan(target: server.url, keys: ["key"])
        plan.users = [LoadStage(target: 2, seconds: 0.1), LoadStage(target: 20, seconds: 2)]
        plan.batch = 2
        plan.warmUpSeconds = 0
        let (report, tally) = try await EventLoad(plan).measure()
        await server.stop()
        #expect(tally.connectionsLost == 0 && report.errors == 0 && report.unanswered == 0)
        #expect(report.requests > 200 && report.acknowledged == report.requests * 2)
    }

    @Test func `a target that goes away leaves censored arrivals, not silence`() async throws {
        let server = try await ReferenceServer.start(delay: .fixed(milliseconds: 30_000), itemsPerRequest: 1)
        var plan = LoadPlan(target: server.url, keys: ["key"])
        plan.eventsPerSecond = 50
        plan.batch = 1
        plan.seconds = 1
        plan.warmUpSeconds = 0
        plan.connections = 5
        plan.graceSeconds = 0.3
        let report = try await EventLoad(plan).run()
        await server.stop()
        #expect(report.unanswered == 5 && report.neverStarted == 45)
        #expect(report.latency.n == 50 && report.latency.censored == 50)
        #expect(report.latency.p50.atLeast)
        #expect(report.errors == 50 && report.exitCode != 0)
    }

    @Test func `the report hides the keys and reads back`() async throws {
        var plan = LoadPlan(target: "http://127.0.0.1:1", keys: ["sk_very_secret"])
        plan.eventsPerSecond = 20_000
        plan.batch = 100
        plan.seconds = 0.5
        plan.warmUpSeconds = 0.1
        let report = try await NullServerLoad.run(plan)
        #expect(!report.json.contains("sk_very_secret"))
        let decoder = JSONDecoder()
        let again = try decoder.decode(LoadReport.self, from: Data(report.json.utf8))
        #expect(again.acknowledged == report.acknowledged && again.latency == report.latency)
        #expect(report.acknowledged == 10_000)
    }

    @Test func `latency is known second by second, and a spike's seconds apart`() async throws {
        let server = try await ReferenceServer.start(
            delay: .freeze(afterMilliseconds: 1000, milliseconds: 900), itemsPerRequest: 2)
        var plan = LoadPlan(target: server.url, keys: ["key"])
        plan.steps = [RateStep(perSecond: 200, seconds: 1), RateStep(perSecond: 400, seconds: 2)]
        plan.batch = 2
        plan.warmUpSeconds = 0
        plan.connections = 400
        #expect(plan.lengthSeconds == 3)
        let report = try await EventLoad(plan).run()
        await server.stop()
        #expect(report.requests == 500 && report.acknowledged == 1000)
        #expect(report.refused == 0 && report.unanswered == 0)
    }

    @Test func `percentiles of seconds count unanswered requests as endless`() {
        var seconds = SecondLatencies()
        for index in 1...100 { seconds.record(second: 0, microseconds: UInt64(index) * 1000) }
        for index in 1...100 { seconds.record(second: 2, microseconds: index <= 90 ? 5000 : nil) }
        #expect(seconds.samples(0..<1) == 100 && seconds.samples(0..<9) == 200 && seconds.samples(1..<2) == 0)
        #expect(seconds.percentile(0.95, in: 0..<1) == 95)
        #expect(seconds.percentile(0.5, in: 2..<3) == 5)
        #expect(seconds.percentile(0.95, in: 2..<3) == .infinity)
        #expect(seconds.percentile(0.95, in: 1..<2) == nil)
    }

    @Test func `a replay sends every file once and adds up what became of it`() async throws {
        let folder = TemporaryFolder()
        for number in 0..<7 {
            try Data("{\"id\":\"\(number)\"}\n{}\n".utf8).write(
                to: URL(fileURLWithPath: folder.file("b\(number).ndjson")))
        }
        try Data("no events".utf8).write(to: URL(fileURLWithPath: folder.file("readme.txt")))
        let server = try await ReferenceServer.start(delay: .none, itemsPerRequest: 2)
        var replay = EventReplay(target: server.url, keys: ["a", "b"], folder: folder.path)
        replay.threads = 2
        let report = try await replay.run()
        await server.stop()
        #expect(report.files == 7 && report.events == 14 && report.outcomes.stored == 14)
        #expect(report.statuses == ["202": 7] && report.exitCode == 0)
        #expect(report.eventsPerSecond > 0)
        let empty = TemporaryFolder()
        await #expect(throws: LoadError.noData(empty.path)) {
            try await EventReplay(target: "http://127.0.0.1:1", keys: ["a"], folder: empty.path).run()
        }
    }

    @Test func `a load without keys or with a strange address is refused`() async {
        await #expect(throws: LoadError.noKeys) {
            try await EventLoad(LoadPlan(target: "http://127.0.0.1:1", keys: [])).run()
        }
        #expect(throws: LoadError.badTarget("localhost")) { try HTTPEndpoint("localhost") }
        #expect(throws: LoadError.self) { try HTTPEndpoint("http://host:99999/") }
    }
}
