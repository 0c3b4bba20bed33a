internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Spend and campaign reports on SQLite in a temporary folder: a large file imported twice, and reports over a month of
/// many campaigns with their visits in a real log and their sales credited under every model.
package struct CampaignBench: Sendable {
    /// Rows of the file that is imported.
    package var rows = 1_000_000
    package var campaigns = 300
    package var days = 30
    package var salesPerDay = 300
    package var visitsPerDay = 3000
    /// Reports under one model and one kind of conversion after the other.
    package var reports = 1000
    package var tiny = false
    package var seed: UInt64 = 7
    package init() {}

    private static let org = "bench"

    package func run() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var bench = self
        if tiny {
            (bench.rows, bench.campaigns, bench.days, bench.salesPerDay) = (2000, 5, 3, 4)
            (bench.visitsPerDay, bench.reports) = (20, 3)
        }
        return try await bench.imports(folder) + bench.monthly(folder) + bench.changing(folder)
            + bench.fraud(folder)
    }

    // MARK: import

    private func imports(_ folder: String) async throws -> [BenchRow] {
        let clock = SystemWallClock()
        let database = try Database.openSQLite(at: folder + "/import.db", registry: MetricRegistry(), clock: clock)
        let store = SpendStore(database: database, clock: clock, registry: MetricRegistry())
        let file = text(rows: rows, campaigns: max(1, rows / 365), days: 365, latest: store.latestDay)
        var answer: [BenchRow] = []
        for (name, expected) in [("first", \SpendReceipt.inserted), ("again", \SpendReceipt.unchanged)] {
            let start = ContinuousClock.now
            let read = try SpendReader.csv(file, latest: store.latestDay)
            let parsed = ContinuousClock.now - start
            let receipt = try await store.store(read, org: Self.org)
            let took = (ContinuousClock.now - start).seconds
            guard receipt[keyPath: expected] == rows else { throw BenchFailure("the import lost rows: \(receipt)") }
            answer.append(
                BenchRow(
                    name: "spend.import.\(name)", value: Double(rows) / took, unit: "rows/s", higherIsBetter: true,
                    n: rows,
                    note: String(
                        format: "%.2f s for %d rows, %d bytes, reading alone %.2f s", took, rows, file.count,
                        parsed.seconds)))
        }
        try database.close()
        return answer
    }

    private func text(rows: Int, campaigns: Int, days: Int, latest: CivilDate) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        var bytes = Array("date,network,campaign_id,campaign,currency,spend,impressions,clicks\n".utf8)
        for row in 0..<rows {
            let date = CivilDate(daysSince1970: latest.daysSince1970 - 1 - row / campaigns % days)
            let campaign = row % campaigns + row / (campaigns * days) * campaigns
            let cents = Int64.random(in: 0...99_999, using: &random)
            let money = Money.usd(cents: cents).decimal
            bytes += Array("\(date),google,c-\(campaign),campaign-\(campaign),USD,\(money),9000,\(cents % 500)\n".utf8)
        }
        return bytes
    }

    // MARK: reports

    private func monthly(_ folder: String) async throws -> [BenchRow] {
        let clock = SystemWallClock()
        let registry = MetricRegistry()
        let quiet = Logger.silent
        let database = try Database.openSQLite(at: folder + "/reports.db", registry: registry, clock: clock)
        let log = try EventLog.open(
            directory: folder + "/events", registry: registry, health: HealthRegistry(clock: clock), clock: clock,
            logger: quiet)
        let attribution = AttributionService(database: database, events: log.store, registry: registry)
        let reports = CampaignReports(
            attribution: attribution, spend: SpendStore(database: database, clock: clock, registry: registry),
            engine: QueryEngine(source: log.store, registry: registry, clock: clock, logger: quiet), clock: clock,
            registry: registry)
        let start = clock.now - .seconds(86_400 * days)
        try await visits(log, from: start)
        let revenue = try await sales(database, from: start)
        let file = text(rows: campaigns * days, campaigns: campaigns, days: days, latest: reports.spend.latestDay)
        _ = try await reports.spend.store(
            try SpendReader.csv(file, latest: reports.spend.latestDay), org: Self.org)
        let live = try await live(reports, revenue: revenue)
        let run = try await ofRun(reports, log, database, folder, from: start)
        await log.close()
        try database.close()
        return live + run
    }

    /// Reports of the running server's sales: under every model in its turn, and under all together.
    private func live(_ reports: CampaignReports, revenue: Int64) async throws -> [BenchRow] {
        let asked = CreditModel.allCases.map { (LogModel.rule($0).name, question([$0])) }
        let one = try await measure(reports, "report", asked, count: self.reports, bar: 180) { report in
            report.models.allSatisfy { $0.totals.reduce(0) { $0 + $1.bookedMinor } == revenue }
        }
        let all = [("all", question(CreditModel.allCases))]
        let compare = try await measure(reports, "compare", all, count: self.reports / 100, bar: nil) { report in
            report.models.allSatisfy { $0.totals.reduce(0) { $0 + $1.bookedMinor } == revenue }
        }
        return one + compare
    }

    /// Reports of conversions of the log, under every model that a run has.
    private func ofRun(
        _ reports: CampaignReports, _ log: EventLog, _ database: Database, _ folder: String, from start: Timestamp
    ) async throws -> [BenchRow] {
        try await purchases(log, from: start)
        let clock = SystemWallClock()
        let attribution = LogAttribution(
            database: database, source: log.store, persons: { log.store.persons(org: $0) },
            folder: folder + "/attribution-runs", clock: clock, registry: MetricRegistry(), logger: .silent)
        let definition: JSONValue = [
            "where": "type = conversion and name = purchase", "repeat": "per_order_id", "click_hours": 720,
            "view_hours": 24, "starts_at": "2000-01-01",
        ]
        do {
            _ = try await attribution.definitions.save(definition, name: "purchase", org: Self.org, now: clock.now)
            _ = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase", reason: "bench"), org: Self.org, id: UID(now: clock.now))
        } catch let error as LogAttributionError { throw BenchFailure(error.sentence) }
        let asked = LogModel.standard.map { model in
            var question = CampaignQuestion(definition: "purchase", models: [model])
            question.days = days + 1
            return (model.name, question)
        }
        let expected = Int64(salesPerDay * days) * 1_000_000
        return try await measure(reports, "purchases", asked, count: self.reports, bar: 180) { report in
            // Credit of a run is rounded for each of its rows.
            report.models.allSatisfy {
                ($0.totals.reduce(0) { $0 + $1.salesMillionths } - expected).magnitude <= UInt64(expected / 1000)
            }
        }
    }

    private func question(_ models: [CreditModel]) -> CampaignQuestion {
        var question = CampaignQuestion(models: models)
        question.days = days + 1
        return question
    }

    /// Asks in turn, and names the slowest of those that were asked.
    private func measure(
        _ reports: CampaignReports, _ name: String, _ asked: [(name: String, question: CampaignQuestion)], count: Int,
        bar: Double?, isWhole: (CampaignReport) -> Bool
    ) async throws -> [BenchRow] {
        var milliseconds = [[Double]](repeating: [], count: asked.count)
        for number in 0..<max(count, asked.count) {
            let place = number % asked.count
            let began = ContinuousClock.now
            let report = try await reports.report(org: Self.org, asked[place].question)
            milliseconds[place].append((ContinuousClock.now - began).seconds * 1000)
            guard isWhole(report) else {
                throw BenchFailure("the report lost conversions or money under \(asked[place].name)")
            }
        }
        let all = milliseconds.flatMap { $0 }
        let slowest = zip(asked, milliseconds).map { ($0.name, Percentile.of($1, 0.95)) }.max { $0.1 < $1.1 }
        return [
            BenchRow(
                name: "campaigns.\(name) p95", value: Percentile.of(all, 0.95), unit: "ms", bar: tiny ? nil : bar,
                n: all.count,
                note: String(
                    format: "%d campaigns, %d days, %d conversions, %d visits; p50 %.1f ms; slowest ", campaigns, days,
                    salesPerDay * days, visitsPerDay * days, Percentile.of(all, 0.5))
                    + (slowest.map { $0.0 + String(format: " p95 %.1f ms", $0.1) } ?? ""))
        ]
    }

    // MARK: data

    /// Conversions of visitors in the log, a day's as many as sales.
    private func purchases(_ log: EventLog, from start: Timestamp) async throws {
        let total = salesPerDay * days
        for first in stride(from: 0, to: total, by: 1000) {
            let numbers = first..<min(total, first + 1000)
            let lines = numbers.map { number in
                // The visitor of a visit a little earlier.
                let visit = number * visitsPerDay / salesPerDay
                let at = start + .seconds(visit * 86_400 / visitsPerDay + 1)
                return "{\"id\":\"b-\(number)\",\"type\":\"conversion\",\"name\":\"purchase\","
                    + "\"ts\":\"\(at.rfc3339)\",\"anonymous_id\":\"p-\(visit)\",\"order_id\":\"o-\(number)\","
                    + "\"currency\":\"USD\",\"value\":\(1 + number % 300)}"
            }
            let receipt = try await log.capture.submit(
                Array(lines.joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: Self.org, app: "site", isHistorical: true), receivedAt: SystemWallClock().now
            )
            guard receipt.stored + receipt.late == numbers.count else {
                throw BenchFailure("purchases were not stored: \(receipt)")
            }
        }
    }

    private func visits(_ log: EventLog, from start: Timestamp) async throws {
        var random = SeededRandom(seed: seed)
        let total = visitsPerDay * days
        var sent = 0
        while sent < total {
            var lines = ""
            let count = min(1000, total - sent)
            for number in sent..<(sent + count) {
                let at = start + .seconds(number * 86_400 / visitsPerDay)
                lines += """
                    {"id":"v-\(number)","type":"page","ts":"\(at.rfc3339)","anonymous_id":"p-\(number)",\
                    "session_id":"s-\(number)","url":"https://a.example/?utm_source=google&utm_medium=cpc\
                    &utm_campaign=campaign-\(Int.random(in: 0..<campaigns, using: &random))"}

                    """
            }
            let receipt = try await log.capture.submit(
                Array(lines.utf8), format: .ndjson,
                source: CaptureSource(org: Self.org, app: "site", isHistorical: true), receivedAt: SystemWallClock().now
            )
            guard receipt.stored + receipt.late == count else {
                throw BenchFailure("visits were not stored: \(receipt)")
            }
            sent += count
        }
    }

    /// Three credits a sale under every model, written as the running server stores them; answers the revenue.
    private func sales(_ database: Database, from start: Timestamp) async throws -> Int64 {
        var random = SeededRandom(seed: seed &+ 1)
        var revenue: Int64 = 0
        for day in 0..<days {
            let sales = (0..<salesPerDay).map { number in
                (
                    UID(high: UInt64(day), low: UInt64(number)), Int64.random(in: 100...30_000, using: &random),
                    (0..<3).map { _ in Int.random(in: 0..<campaigns, using: &random) }
                )
            }
            revenue += sales.reduce(0) { $0 + $1.1 }
            let at = start + .seconds(day * 86_400)
            try await database.write("bench.sales") { transaction in
                for (leg, cents, touched) in sales {
                    for model in CreditModel.allCases {
                        let parts = Apportionment.divide(cents, shares: [1, 1, 1])
                        for (position, campaign) in touched.enumerated() {
                            try transaction.run(
                                """
                                INSERT INTO attribution_credits
                                    (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                                     share_ppm, amount_minor, currency, sold_at, created_at)
                                VALUES (\(Self.org), \(leg), \(model.rawValue), \(position), 'e',
                                    \("campaign-\(campaign)"), 'google', 'cpc', 'paid_search', \(at),
                                    \(Int64(position == 2 ? 333_334 : 333_333)), \(parts[position]), 'USD', \(at),
                                    \(at))
                                """)
                        }
                    }
                }
            }
        }
        return revenue
    }
}
