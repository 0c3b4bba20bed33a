internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Synchronization
internal import Telemetry

/// Conversions that are offered on a timetable and watched: each is a sold lead as the market commits it, acknowledged
/// when its transaction is durable, taken by the relay to the event log and credited under all models. Two who watch
/// ask for the campaign report meanwhile: one again and again, and one when the live page's socket would make it.
///
/// A report counts conversions and does not name them: the one that was acknowledged as the n-th is taken to be
/// visible when n are counted.
package struct LiveBench: Sendable {
    /// Conversions a second.
    package var rate = 1000
    package var seconds = 30
    package var visitors = 10_000
    package var tiny = false
    package var seed: UInt64 = 7
    package init() {}

    private static let org = "bench"
    private static let touchesEach = 3
    private static let campaigns = 300
    /// How often who asks for the report asks again.
    private static let askEvery: Duration = .milliseconds(200)
    /// Conversions that are sent together.
    private static let tick: Duration = .milliseconds(10)
    /// What is not visible so long after the last acknowledgement is lost.
    private static let lostAfter: Duration = .seconds(60)
    private static let millisecondsMax = 1000.0

    private struct Parts {
        let database: Database
        let log: EventLog
        let attribution: AttributionService
        let reports: CampaignReports
        let relay: OutboxRelay
    }

    package func run() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var bench = self
        if tiny { (bench.rate, bench.seconds, bench.visitors) = (100, 1, 20) }
        return try await bench.run(folder)
    }

    private func run(_ folder: String) async throws -> [BenchRow] {
        let parts = try open(folder)
        try await visits(parts.log)
        let record = LiveRecord()
        var cost = ProcessCost()
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await parts.relay.run()
                return false
            }
            group.addTask {
                try await ask(parts, record)
                return false
            }
            group.addTask {
                try await watch(parts, record)
                return false
            }
            group.addTask {
                await offer(parts, record)
                try await settle(record)
                return true
            }
            // The one that offers ends; the others until then only by what they throw.
            while let isOver = try await group.next(), !isOver {}
            group.cancelAll()
        }
        cost.stop()
        await parts.log.close()
        try parts.database.close()
        return rows(record.taken, cost)
    }

    private func open(_ folder: String) throws -> Parts {
        let (clock, registry, health) = (SystemWallClock(), MetricRegistry(), HealthRegistry(clock: SystemWallClock()))
        let database = try Database.openSQLite(at: folder + "/live.db", registry: registry, clock: clock)
        let log = try EventLog.open(
            directory: folder + "/events", registry: registry, health: health, clock: clock, logger: .silent)
        let attribution = AttributionService(database: database, events: log.store, registry: registry)
        let reports = CampaignReports(
            attribution: attribution,
            spend: SpendStore(
                database: database, clock: clock, registry: registry, revision: attribution.revision),
            engine: QueryEngine(source: log.store, registry: registry, clock: clock, logger: .silent), clock: clock,
            registry: registry)
        let relay = OutboxRelay(database: database, health: health, registry: registry, logger: .silent) { batch in
            try await log.capture.appendInternal(batch.map { InternalEvent($0) })
            try await attribution.follow(batch) { Self.step($0) }
        }
        return Parts(database: database, log: log, attribution: attribution, reports: reports, relay: relay)
    }

    /// A sale as its event tells it; the server reads the visitor from the lead's own row.
    private static func step(_ event: OutboxEvent) -> CreditStep? {
        guard let minor = event.props["price_minor"]?.integer else { return nil }
        return .sale(
            Sale(
                org: event.org, leg: event.id, traceID: nil, visitorID: event.props["anonymous_id"]?.string,
                price: .usd(cents: minor), at: event.at))
    }

    // MARK: load

    private func visits(_ log: EventLog) async throws {
        var random = SeededRandom(seed: seed)
        let (total, now) = (visitors * Self.touchesEach, SystemWallClock().now)
        for start in stride(from: 0, to: total, by: 1000) {
            let count = min(1000, total - start)
            let lines = (start..<start + count).map { number in
                let at = now - .seconds(7200) + .milliseconds(3_600_000 / total * number)
                let campaign = Int.random(in: 0..<Self.campaigns, using: &random)
                return "{\"id\":\"v-\(number)\",\"type\":\"click\",\"ts\":\"\(at.rfc3339)\","
                    + "\"anonymous_id\":\"p-\(number % visitors)\",\"campaign\":{\"name\":\"campaign-\(campaign)\","
                    + "\"source\":\"google\",\"medium\":\"cpc\"}}"
            }
            let receipt = try await log.capture.submit(
                Array(lines.joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: Self.org, app: "site"), receivedAt: SystemWallClock().now)
            guard receipt.stored + receipt.late == count else {
                throw BenchFailure("\(receipt.stored) of \(count) clicks were stored")
            }
        }
    }

    /// Sends every conversion at its own time, whatever became of those before it.
    private func offer(_ parts: Parts, _ record: LiveRecord) async {
        let start = ContinuousClock.now
        let total = rate * seconds
        await withDiscardingTaskGroup { group in
            var sent = 0
            while sent < total, !Task.isCancelled {
                let passed = ContinuousClock.now - start
                let due = min(total, Int(passed.seconds * Double(rate)) + 1)
                for number in sent..<due {
                    let late = passed - .microseconds(Int64(number) * 1_000_000 / Int64(rate))
                    record.offered(late: late)
                    group.addTask { await convert(number, parts, record) }
                }
                sent = due
                try? await Task.sleep(for: Self.tick)
            }
        }
    }

    private func convert(_ number: Int, _ parts: Parts, _ record: LiveRecord) async {
        let id = UID(high: UInt64(seed) &+ 1, low: UInt64(number))
        let event = OutboxEvent(
            id: id, org: Self.org, key: id.hex, name: "delivery.accepted", traceID: nil, at: SystemWallClock().now,
            props: [
                "price_minor": .integer(Int64(100 + number % 5000)),
                "anonymous_id": .string("p-\(number &* 7919 % visitors)"),
            ])
        do {
            try await parts.database.write("bench.sell") { try $0.emit(event) }
            record.acknowledged(at: .now)
        } catch { record.refused("\(error)") }
    }

    /// Waits until everything acknowledged is visible to both who watch, or is lost.
    private func settle(_ record: LiveRecord) async throws {
        let start = ContinuousClock.now
        while !record.isComplete, ContinuousClock.now - start < Self.lostAfter {
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    // MARK: watching

    private func ask(_ parts: Parts, _ record: LiveRecord) async throws {
        while !Task.isCancelled {
            let began = ContinuousClock.now
            let count = try await count(parts)
            record.seen(by: .report, count, at: .now, took: ContinuousClock.now - began)
            do { try await Task.sleep(for: Self.askEvery) } catch { return }
        }
    }

    private func watch(_ parts: Parts, _ record: LiveRecord) async throws {
        var pace = LivePace()
        while !Task.isCancelled {
            let began = ContinuousClock.now
            if pace.isDue(parts.attribution.revision.value, at: began) {
                let count = try await count(parts)
                pace.done(from: began, to: .now)
                record.seen(by: .view, count, at: .now, took: ContinuousClock.now - began)
            }
            do { try await Task.sleep(for: LivePace.lookEvery) } catch { return }
        }
    }

    private func count(_ parts: Parts) async throws -> Int {
        var question = CampaignQuestion(models: [.linear])
        question.days = 30
        let report = try await parts.reports.report(org: Self.org, question)
        return report.models.first?.totals.reduce(0) { $0 + $1.sales } ?? 0
    }

    // MARK: rows

    private func rows(_ taken: LiveRecord.Taken, _ cost: ProcessCost) -> [BenchRow] {
        let late = Percentile.of(taken.lateMilliseconds, 0.95)
        let reason = [
            cost.disturbance, late > 50 ? "conversions were sent late" : nil,
            taken.acknowledged.count < 100 ? "too few" : nil,
        ].compactMap { $0 }.joined(separator: "; ")
        let refusals = taken.refusals.prefix(3).joined(separator: "; ")
        var rows = [
            BenchRow(
                name: "live.offered", value: Double(taken.offered) / Double(max(1, seconds)), unit: "conversions/s",
                n: taken.offered,
                note: String(format: "for %d s, sent late by p95 %.1f ms, %.1f s CPU", seconds, late, cost.cpuSeconds)),
            BenchRow(
                name: "live.not acknowledged", value: Double(taken.offered - taken.acknowledged.count),
                unit: "conversions", bar: 0, n: taken.offered, note: refusals),
        ]
        for (name, looks) in [("report", taken.report), ("view", taken.view)] {
            let waits = looks.waits(taken.acknowledged)
            let times = [0.5, 0.95, 0.99].map { Percentile.of(waits, $0) }
            let made = Percentile.of(looks.milliseconds, 0.95)
            rows.append(
                BenchRow(
                    name: "live.\(name) p95", value: times[1], unit: "ms", bar: tiny ? nil : Self.millisecondsMax,
                    n: waits.count,
                    note: String(
                        format: "from the acknowledgement; p50 %.0f, p99 %.0f ms; %d reports, each p95 %.0f ms",
                        times[0], times[2], looks.milliseconds.count, made), notJudged: reason.isEmpty ? nil : reason))
            rows.append(
                BenchRow(
                    name: "live.\(name) lost", value: Double((taken.acknowledged.count - looks.visible).magnitude),
                    unit: "conversions", bar: 0, n: taken.acknowledged.count,
                    note: "\(looks.visible) visible of \(taken.acknowledged.count) acknowledged"))
        }
        return rows
    }
}

/// What was offered, acknowledged and seen.
private final class LiveRecord: Sendable {
    enum Watcher { case report, view }

    struct Looks {
        /// How many conversions each look found more than any before it, and when.
        var found: [(count: Int, at: ContinuousClock.Instant)] = []
        var milliseconds: [Double] = []
        /// Of the last look: one that counts too many is wrong as well.
        var visible = 0

        mutating func add(_ count: Int, at moment: ContinuousClock.Instant, _ took: Duration) {
            milliseconds.append(took.seconds * 1000)
            if count > found.last?.count ?? 0 { found.append((count, moment)) }
            visible = count
        }

        /// Milliseconds until each acknowledged conversion was counted, of those that were.
        func waits(_ acknowledged: [ContinuousClock.Instant]) -> [Double] {
            var waits: [Double] = []
            let times = acknowledged.sorted()
            for (count, at) in found {
                while waits.count < min(count, times.count) {
                    waits.append(max(0, (at - times[waits.count]).seconds * 1000))
                }
            }
            return waits
        }
    }

    struct Taken {
        var offered = 0
        var lateMilliseconds: [Double] = []
        var acknowledged: [ContinuousClock.Instant] = []
        var refusals: [String] = []
        var report = Looks()
        var view = Looks()
    }

    private let state = Mutex(Taken())

    var taken: Taken { state.withLock { $0 } }

    var isComplete: Bool {
        state.withLock { min($0.report.visible, $0.view.visible) >= $0.acknowledged.count }
    }

    func offered(late: Duration) {
        state.withLock {
            $0.offered += 1
            $0.lateMilliseconds.append(late.seconds * 1000)
        }
    }

    func acknowledged(at moment: ContinuousClock.Instant) { state.withLock { $0.acknowledged.append(moment) } }

    func refused(_ reason: String) { state.withLock { $0.refusals.append(reason) } }

    func seen(
        by who: Watcher, _ count: Int, at moment: ContinuousClock.Instant, took: Duration
    ) {
        state.withLock { taken in
            switch who {
            case .report: taken.report.add(count, at: moment, took)
            case .view: taken.view.add(count, at: moment, took)
            }
        }
    }
}
