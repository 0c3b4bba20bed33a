internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Matching installs on SQLite in a temporary folder: a log of clicks is followed to its end, by how many touches a
/// second it is read; then installs are matched among all of them by every method, one by one and many at a time.
package struct InstallBench: Sendable {
    /// Touches that installs are matched with; the specification's bar is of 10 million.
    package var candidates = 1_000_000
    /// Installs that come one by one.
    package var singles = 1200
    /// Installs that come together.
    package var together = 20_000
    /// Pages that people look at in an app, a few a request.
    package var pages = 12_000
    package var tiny = false
    package var seed: UInt64 = 7
    package init() {}

    private static let org = "bench"
    private static let batch = 2000
    private static let millisecondsMax = 10.0
    /// Clicks come from so long ago until so short: none looks like fraud.
    private static let clicksFrom: Duration = .seconds(21 * 3600)
    private static let clicksUntil: Duration = .seconds(3600)
    /// One click in so many names a user, and the others a device.
    private static let userEvery = 8
    private static let clicksADevice = 4
    private static let pagesARequest = 3
    private static let visitors = 2000
    /// Pages between two looks at the log.
    private static let pagesALook = 600

    package func run() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var bench = self
        if tiny { (bench.candidates, bench.singles, bench.together, bench.pages) = (400, 12, 96, 60) }
        return try await bench.run(folder)
    }

    private func run(_ folder: String) async throws -> [BenchRow] {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let database = try Database.openSQLite(at: folder + "/installs.db", registry: registry, clock: clock)
        let log = try EventLog.open(
            directory: folder + "/events", registry: registry, health: HealthRegistry(clock: clock), clock: clock,
            logger: .silent)
        let attribution = InstallAttribution(
            database: database, source: log.store, log: log.store.logIdentity,
            judge: FraudJudge(database: database, registry: registry), clock: clock, registry: registry,
            logger: .silent)
        let follower = InstallFollower(attribution)
        let start = clock.now - Self.clicksFrom
        let apart = (Self.clicksFrom - Self.clicksUntil).microseconds / Int64(candidates)
        try await send(log, 0..<candidates) { number in
            let at = start + .microseconds(Int64(number) * apart)
            let person =
                number % Self.userEvery == 0 ? "\"user_id\":\"u-\(number)\"" : "\"device_id\":\"\(device(number))\""
            return "{\"id\":\"t-\(number)\",\"type\":\"click\",\"ts\":\"\(at.rfc3339)\","
                + "\"click_id\":\"c-\(number)\",\(person)}"
        }
        let began = ContinuousClock.now
        try await follower.catchUp()
        let read = (ContinuousClock.now - began).seconds
        let times = try await oneByOne(log, follower, registry)
        try await send(log, singles..<(singles + together)) { install($0, clock.now) }
        let matching = ContinuousClock.now
        try await follower.catchUp()
        let took = (ContinuousClock.now - matching).seconds
        try await check(attribution, registry)
        let used = try await use(log, follower)
        await log.close()
        try database.close()
        return rows(read: read, times, together: took, used: used)
    }

    /// Milliseconds of each install.
    private struct Times {
        /// Finding and judging, as the metric has it.
        var match: [Double] = []
        /// The fraud rules' part of it.
        var fraud: [Double] = []
        /// From its place in the log to its durable decision.
        var whole: [Double] = []
    }

    private func oneByOne(
        _ log: EventLog, _ follower: InstallFollower, _ registry: MetricRegistry
    ) async throws -> Times {
        let (match, fraud) = (
            registry.histogram(.attributionMatchSeconds), registry.histogram(.fraudDecisionSeconds)
        )
        var times = Times()
        for number in 0..<singles {
            try await send(log, number..<(number + 1)) { install($0, SystemWallClock().now) }
            let before = (match.snapshot.sum, fraud.snapshot.sum)
            let began = ContinuousClock.now
            try await follower.catchUp()
            times.whole.append((ContinuousClock.now - began).seconds * 1000)
            times.match.append((match.snapshot.sum - before.0) * 1000)
            times.fraud.append((fraud.snapshot.sum - before.1) * 1000)
        }
        return times
    }

    /// Seconds in which pages of an app that people installed are read, a few devices' at a time, as a server does.
    private func use(_ log: EventLog, _ follower: InstallFollower) async throws -> Double {
        var took = Duration.zero
        for start in stride(from: 0, to: pages, by: Self.pagesALook) {
            let look = start..<min(pages, start + Self.pagesALook)
            for first in stride(from: look.lowerBound, to: look.upperBound, by: Self.pagesARequest) {
                try await send(log, first..<min(look.upperBound, first + Self.pagesARequest)) { number in
                    "{\"id\":\"p-\(number)\",\"type\":\"page\",\"ts\":\"\(SystemWallClock().now.rfc3339)\","
                        + "\"url\":\"https://a.example/\(number % 50)\",\"device_id\":\"v-\(number % Self.visitors)\"}"
                }
            }
            let began = ContinuousClock.now
            try await follower.catchUp()
            took += ContinuousClock.now - began
        }
        return took.seconds
    }

    private func device(_ click: Int) -> String { "d-\(click % max(1, candidates / Self.clicksADevice))" }

    /// An install that is matched by one method, each in its turn.
    private func install(_ number: Int, _ now: Timestamp) -> String {
        var random = SeededRandom(seed: seed &+ UInt64(number))
        let click = Int.random(in: 0..<candidates, using: &random)
        let methods = InstallMethod.allCases
        // An install names its device, or how it came; no click is of this one.
        let stranger = "\"device_id\":\"new-\(number)\""
        let fact =
            switch methods[number % methods.count] {
            // Clicks of odd numbers name devices.
            case .deviceID: "\"device_id\":\"\(device(max(1, click - 1 + click % 2)))\""
            case .clickID: "\"click_id\":\"c-\(click)\""
            case .installReferrer: "\"install_referrer\":\"click_id=c-\(click)&utm_source=google\""
            case .deepLink: "\"url\":\"https://a.example/open?click_id=c-\(click)\",\(stranger)"
            case .userID: "\"user_id\":\"u-\(click - click % Self.userEvery)\",\(stranger)"
            case .organic: stranger
            }
        return "{\"id\":\"i-\(number)\",\"type\":\"install\",\"ts\":\"\(now.rfc3339)\",\(fact)}"
    }

    /// Every install was decided by its own method.
    private func check(_ attribution: InstallAttribution, _ registry: MetricRegistry) async throws {
        let report = try await attribution.summary(org: Self.org, InstallFilter())
        let total = singles + together
        guard report["totals"]?["installs"]?.integer == Int64(total) else {
            throw BenchFailure("installs were lost: \(report["totals"]?.canonical ?? "")")
        }
        for (place, method) in InstallMethod.allCases.enumerated() {
            let expected = (0..<total).count { $0 % InstallMethod.allCases.count == place }
            let found = FraudVerdict.Outcome.allCases.reduce(0) {
                $0 + registry.counter(.attributionMatches, method.rawValue, $1.rawValue).value
            }
            guard found == expected else {
                throw BenchFailure("\(found) of \(expected) installs were matched by \(method.rawValue)")
            }
        }
    }

    private func rows(read: Double, _ times: Times, together took: Double, used: Double) -> [BenchRow] {
        func row(_ name: String, _ milliseconds: [Double], isJudged: Bool, _ note: String) -> BenchRow {
            BenchRow(
                name: name, value: Percentile.of(milliseconds, 0.95), unit: "ms",
                bar: tiny || !isJudged ? nil : Self.millisecondsMax, n: milliseconds.count,
                note: note + String(format: "; p50 %.2f ms", Percentile.of(milliseconds, 0.5)))
        }
        let among = "among \(candidates) candidates, by every method in turn"
        return [
            BenchRow(
                name: "installs.touches read", value: Double(candidates) / read, unit: "touches/s",
                higherIsBetter: true, n: candidates, note: "from the log into the tables of record"),
            row("installs.match p95", times.match, isJudged: true, "finding and judging one install \(among)"),
            row("installs.fraud p95", times.fraud, isJudged: true, "the fraud rules' part of it, durable"),
            row("installs.follow p95", times.whole, isJudged: false, "one install, from the log to its decision"),
            BenchRow(
                name: "installs.match mean", value: took * 1000 / Double(together), unit: "ms",
                bar: tiny ? nil : Self.millisecondsMax, n: together,
                note: "\(candidates) candidates; reading, finding, judging and writing of one install, in a row"),
            BenchRow(
                name: "installs.uses read", value: Double(pages) / used, unit: "events/s", higherIsBetter: true,
                n: pages,
                note: "pages of an installed app in requests of \(Self.pagesARequest), \(Self.pagesALook) at a time"),
        ]
    }

    private func send(_ log: EventLog, _ numbers: Range<Int>, _ line: (Int) -> String) async throws {
        for start in stride(from: numbers.lowerBound, to: numbers.upperBound, by: Self.batch) {
            let part = start..<min(numbers.upperBound, start + Self.batch)
            let body = part.map(line).joined(separator: "\n")
            let receipt = try await log.capture.submit(
                Array(body.utf8), format: .ndjson, source: CaptureSource(org: Self.org, app: "shop"),
                receivedAt: SystemWallClock().now)
            guard receipt.stored + receipt.late == part.count else {
                throw BenchFailure("\(receipt.stored) of \(part.count) events were stored")
            }
        }
    }
}
