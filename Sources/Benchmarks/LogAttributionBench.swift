internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Synchronization
internal import Telemetry

/// Attribution from the event log: made-up touchpoints are sent through capture into a log on disk, the log is opened
/// anew, and every conversion is credited under all models and stored. Persons have 1 to 20 touchpoints over 30 days in
/// 12 channels, 7 % convert; the events of a person lie far apart in the log.
package struct LogAttributionBench: Sendable {
    package var touchpoints = 2_000_000
    package var tiny = false
    package var seed: UInt64 = 7
    /// Told how far the making of the log is.
    package var progress: @Sendable (String) -> Void = { _ in }
    package init() {}

    private static let org = "bench"
    /// What the specification asks of 100 million touchpoints on two cores, for one of them.
    private static let nanosecondsMax = 600.0
    private static let residentBytesMax = 2.0e9
    private static let definition: JSONValue = [
        "where": "type = conversion and name = purchase", "repeat": "per_order_id", "click_hours": 720,
        "view_hours": 720, "starts_at": "2000-01-01",
    ]

    package func run() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let data = LogTraffic(touchpoints: tiny ? 2000 : touchpoints, seed: seed)
        try await fill(folder, data)
        let (registry, clock) = (MetricRegistry(), SystemWallClock())
        let database = try Database.openSQLite(at: folder + "/bench.db", registry: registry, clock: clock)
        let log = try open(folder)
        let quiet = Logger.silent
        let attribution = LogAttribution(
            database: database, source: log.store, persons: { log.store.persons(org: $0) },
            folder: folder + "/attribution-runs", clock: clock, registry: registry, logger: quiet)
        _ = try await attribution.definitions.save(Self.definition, name: "purchase", org: Self.org, now: clock.now)
        PeakMemory.reset()
        var cost = ProcessCost()
        let summary: LogRunSummary
        do {
            summary = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", reason: "bench"), org: Self.org, id: UID(now: clock.now))
        } catch let error as LogAttributionError { throw BenchFailure(error.sentence) }
        cost.stop()
        let peak = PeakMemory.bytes
        let credited = try await credited(attribution)
        await log.close()
        try database.close()
        return try rows(summary, data, cost, peak: peak, credited: credited)
    }

    /// Conversions that the stored credits of every model add up to.
    private func credited(_ attribution: LogAttribution) async throws -> [Double] {
        var sums: [Double] = []
        for model in LogModel.stored {
            let report = try await attribution.report(
                org: Self.org, conversion: "purchase", model: model, by: .channel)
            sums.append(report["totals"]?["conversions"]?.double ?? 0)
        }
        return sums
    }

    private func rows(
        _ summary: LogRunSummary, _ data: LogTraffic, _ cost: ProcessCost, peak: Int?, credited: [Double]
    ) throws -> [BenchRow] {
        let result = summary.result
        guard let found = result.results.first, result.touches == data.touches, found.conversions == data.conversions
        else {
            throw BenchFailure(
                "the run found \(result.touches) touchpoints and \(result.results.first?.conversions ?? 0) conversions "
                    + "where \(data.touches) and \(data.conversions) were sent")
        }
        let count = Double(max(1, result.touches))
        let phases = result.seconds.map { String(format: "%.1f", $0) }.joined(separator: " + ")
        let note = "\(found.rows.count) credits; read, walk and fit \(phases) s; \(result.spilledBytes) temporary bytes"
        let worst = credited.map { ($0 - Double(found.conversions)).magnitude / Double(max(1, found.conversions)) }
        var speed = BenchRow(
            name: "attribution.log", value: cost.wallSeconds * 1e9 / count, unit: "ns a touchpoint",
            bar: tiny ? nil : Self.nanosecondsMax, n: result.touches, note: note)
        speed.notJudged = cost.disturbance
        let memory = BenchRow(
            name: "attribution.log_memory", value: Double(peak ?? 0) / 1e6, unit: "MB resident at most",
            bar: tiny || peak == nil ? nil : Self.residentBytesMax / 1e6, n: result.touches,
            note: "of the process while it ran, the open log included")
        return [
            BenchRow(
                name: "attribution.log_run", value: cost.wallSeconds, unit: "s", n: result.touches,
                note: String(format: "%.1f s CPU", cost.cpuSeconds)),
            speed, memory,
            BenchRow(
                name: "attribution.log_sums", value: worst.max() ?? 1, unit: "relative", bar: 1e-9, n: credited.count,
                note: "stored credits of every model against \(found.conversions) conversions"),
        ]
    }

    // MARK: the log

    private func open(_ folder: String) throws -> EventLog {
        let clock = SystemWallClock()
        var configuration = EventsConfiguration()
        configuration.limits.freeBytesMin = 256 << 20
        configuration.limits.dedupIdentifiersMax = 1_000_000
        return try EventLog.open(
            directory: folder + "/events", configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger.silent)
    }

    private func fill(_ folder: String, _ data: LogTraffic) async throws {
        let log = try open(folder)
        let (source, clock) = (CaptureSource(org: Self.org, app: "shop"), SystemWallClock())
        let next = NextChunk()
        let progress = progress
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<Self.senders {
                    group.addTask {
                        while true {
                            let chunk = next.take()
                            guard chunk < data.chunks else { return }
                            let body = data.body(chunk)
                            if !body.isEmpty {
                                _ = try await log.capture.submit(
                                    body, format: .ndjson, source: source, receivedAt: clock.now)
                            }
                            if chunk % 4000 == 3999 { progress("\(chunk * 100 / data.chunks) % of the log is made") }
                        }
                    }
                }
                try await group.waitForAll()
            }
        } catch let error as CaptureError {
            await log.close()
            throw BenchFailure("the log does not take the events: \(error)")
        }
        await log.close()
    }

    private static let senders = 4
}

/// Numbers that are given out once each.
private final class NextChunk: Sendable {
    private let next = Atomic(0)
    func take() -> Int { next.add(1, ordering: .relaxed).oldValue }
}

/// Touchpoints and conversions of made-up persons, any part of which can be made by itself.
private struct LogTraffic: Sendable {
    let persons: Int
    let seed: UInt64
    let now = SystemWallClock().now
    let touches: Int
    let conversions: Int
    private static let rounds = 20
    private static let chunkPersons = 1200
    private static let days: Int64 = 30
    private static let campaignsEach = 10

    /// Source and medium of each channel.
    private static let channels: [(source: String, medium: String)] = [
        ("google", "cpc"), ("facebook", "paid_social"), ("youtube.tv", "video"), ("news", "display"),
        ("partner", "affiliate"), ("list", "email"), ("list", "sms"), ("app", "push"), ("radio", "cpc"),
        ("bing", "organic"), ("reddit", "organic"), ("blog", "referral"),
    ]

    init(touchpoints: Int, seed: UInt64) {
        persons = max(1, touchpoints * 2 / 21)
        self.seed = seed
        var (touches, conversions) = (0, 0)
        for person in 0..<persons {
            let bits = Self.bits(person, seed)
            touches += Self.length(bits)
            conversions += Self.converts(bits) ? 1 : 0
        }
        (self.touches, self.conversions) = (touches, conversions)
    }

    private var chunksOfRound: Int { (persons + Self.chunkPersons - 1) / Self.chunkPersons }
    var chunks: Int { chunksOfRound * Self.rounds }

    private static func bits(_ person: Int, _ seed: UInt64) -> UInt64 {
        mixed(UInt64(person) &+ seed &* 0x9E37_79B9_7F4A_7C15)
    }

    private static func mixed(_ number: UInt64) -> UInt64 {
        var word = number &+ 0x9E37_79B9_7F4A_7C15
        word = (word ^ (word &>> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word &>> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word &>> 31)
    }

    private static func length(_ bits: UInt64) -> Int { 1 + Int(bits % UInt64(rounds)) }
    private static func converts(_ bits: UInt64) -> Bool { (bits >> 32) % 100 < 7 }

    /// Some persons' events of one round, as NDJSON.
    func body(_ chunk: Int) -> [UInt8] {
        let (round, part) = (chunk / chunksOfRound, chunk % chunksOfRound)
        let span = Self.days * 86_400_000 / Int64(Self.rounds)
        let start = now.milliseconds - (Self.days + 1) * 86_400_000 + Int64(round) * span
        let range = part * Self.chunkPersons..<min(persons, (part + 1) * Self.chunkPersons)
        var body: [UInt8] = []
        body.reserveCapacity(range.count * 260)
        for person in range {
            let bits = Self.bits(person, seed)
            guard round < Self.length(bits) else { continue }
            let time = start + Int64(person) * span / Int64(persons)
            let pick = Self.mixed(bits ^ UInt64(round) &* 0xD6E8_FEB8_6659_FD93)
            add(touch: person, round, bits, pick, time, to: &body)
            if round == Self.length(bits) - 1, Self.converts(bits) {
                add(conversion: person, bits, pick, time + 3_600_000, to: &body)
            }
        }
        return body
    }

    private func add(
        touch person: Int, _ round: Int, _ bits: UInt64, _ pick: UInt64, _ time: Int64, to body: inout [UInt8]
    ) {
        let channel = Int(pick % UInt64(Self.channels.count))
        let campaign = channel * Self.campaignsEach + Int((pick >> 16) % UInt64(Self.campaignsEach))
        body.append(contentsOf: "{\"id\":\"".utf8)
        Self.uuid(pick, bits ^ UInt64(round) &+ 1, to: &body)
        body.append(contentsOf: "\",\"type\":\"click\",\"ts\":\(time),\"anonymous_id\":\"".utf8)
        Self.uuid(bits, Self.mixed(bits), to: &body)
        body.append(contentsOf: "\",\"campaign\":{\"name\":\"campaign-\(campaign)\",\"source\":\"".utf8)
        body.append(contentsOf: Self.channels[channel].source.utf8)
        body.append(contentsOf: "\",\"medium\":\"".utf8)
        body.append(contentsOf: Self.channels[channel].medium.utf8)
        body.append(contentsOf: "\"}}\n".utf8)
    }

    private func add(conversion person: Int, _ bits: UInt64, _ pick: UInt64, _ time: Int64, to body: inout [UInt8]) {
        body.append(contentsOf: "{\"id\":\"".utf8)
        Self.uuid(~pick, ~bits, to: &body)
        body.append(
            contentsOf: "\",\"type\":\"conversion\",\"name\":\"purchase\",\"ts\":\(time),\"anonymous_id\":\"".utf8)
        Self.uuid(bits, Self.mixed(bits), to: &body)
        let cents = 100 + pick % 20_000
        body.append(contentsOf: "\",\"order_id\":\"order-\(person)\",\"currency\":\"USD\",\"value\":".utf8)
        body.append(contentsOf: "\(cents / 100).\(cents % 100 / 10)\(cents % 10)}\n".utf8)
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private static func uuid(_ high: UInt64, _ low: UInt64, to body: inout [UInt8]) {
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 { body.append(0x2d) }
            let word = index < 16 ? high : low
            body.append(digits[Int(word >> UInt64(60 - 4 * (index & 15)) & 15)])
        }
    }
}

/// The largest resident memory of this process since it was asked to forget what was before.
enum PeakMemory {
    static func reset() {
        guard let file = FileHandle(forWritingAtPath: "/proc/self/clear_refs") else { return }
        try? file.write(contentsOf: Data("5".utf8))
        try? file.close()
    }

    /// nil where /proc does not say.
    static var bytes: Int? {
        guard let data = FileManager.default.contents(atPath: "/proc/self/status") else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line?.split(separator: " ").compactMap { Int($0) }.first.map { $0 << 10 }
    }
}
