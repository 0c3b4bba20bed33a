internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Matching installs on SQLite in a temporary folder: a log of clicks and installs is followed to its end, by how
/// many touches a second it is read, and what one install takes.
package struct InstallBench: Sendable {
    package var clicks = 1_000_000
    package var installs = 20_000
    package var tiny = false
    package var seed: UInt64 = 7
    package init() {}

    private static let org = "bench"
    private static let batch = 2000

    package func run() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var bench = self
        if tiny { (bench.clicks, bench.installs) = (400, 100) }
        return try await bench.run(folder)
    }

    private func run(_ folder: String) async throws -> [BenchRow] {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let database = try Database.openSQLite(at: folder + "/installs.db", registry: registry, clock: clock)
        let log = try EventLog.open(
            directory: folder + "/events", registry: registry, health: HealthRegistry(clock: clock), clock: clock,
            logger: .silent)
        let attribution = InstallAttribution(
            database: database, source: log.store, log: log.store.logIdentity, clock: clock, registry: registry,
            logger: .silent)
        let follower = InstallFollower(attribution)
        let start = clock.now - .seconds(86_400)
        var random = SeededRandom(seed: seed)
        try await send(log, count: clicks) { number in
            let at = start + .microseconds(Int64(number) * 40_000)
            return "{\"id\":\"t-\(number)\",\"type\":\"click\",\"ts\":\"\(at.rfc3339)\","
                + "\"click_id\":\"c-\(number)\",\"device_id\":\"d-\(number % max(1, clicks / 4))\"}"
        }
        let began = ContinuousClock.now
        try await follower.catchUp()
        let read = (ContinuousClock.now - began).seconds
        try await send(log, count: installs) { number in
            let click = Int.random(in: 0..<clicks, using: &random)
            return "{\"id\":\"i-\(number)\",\"type\":\"install\",\"ts\":\"\(clock.now.rfc3339)\","
                + "\"click_id\":\"c-\(click)\",\"device_id\":\"d-\(click % max(1, clicks / 4))\"}"
        }
        let matching = ContinuousClock.now
        try await follower.catchUp()
        let took = (ContinuousClock.now - matching).seconds
        let report = try await attribution.summary(org: Self.org, InstallFilter())
        guard report["totals"]?["installs"]?.integer == Int64(installs), report["totals"]?["organic"] == 0 else {
            throw BenchFailure("installs were lost: \(report["totals"]?.canonical ?? "")")
        }
        await log.close()
        try database.close()
        return [
            BenchRow(
                name: "installs.touches read", value: Double(clicks) / read, unit: "touches/s", higherIsBetter: true,
                n: clicks, note: "from the log into the tables of record"),
            BenchRow(
                name: "installs.match mean", value: took * 1000 / Double(installs), unit: "ms", bar: tiny ? nil : 10,
                n: installs,
                note: "\(clicks) candidates; reading, finding, judging and writing of one install, in a row"),
        ]
    }

    private func send(_ log: EventLog, count: Int, _ line: (Int) -> String) async throws {
        var sent = 0
        while sent < count {
            let part = min(Self.batch, count - sent)
            let body = (sent..<sent + part).map(line).joined(separator: "\n")
            let receipt = try await log.capture.submit(
                Array(body.utf8), format: .ndjson, source: CaptureSource(org: Self.org, app: "shop"),
                receivedAt: SystemWallClock().now)
            guard receipt.stored + receipt.late == part else {
                throw BenchFailure("\(receipt.stored) of \(part) events were stored")
            }
            sent += part
        }
    }
}
