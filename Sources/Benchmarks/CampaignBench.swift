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
    package var reports = 200
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
        return try await bench.imports(folder) + bench.monthly(folder) + bench.fraud(folder)
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
        var rows: [BenchRow] = []
        let kinds: [(String, [CreditModel], Double?)] = [
            ("report", [.linear], 180), ("compare", CreditModel.allCases, nil),
        ]
        for (name, models, bar) in kinds {
            var question = CampaignQuestion(models: models)
            question.days = days + 1
            var milliseconds: [Double] = []
            for _ in 0..<count(of: name) {
                let began = ContinuousClock.now
                let report = try await reports.report(org: Self.org, question)
                milliseconds.append((ContinuousClock.now - began).seconds * 1000)
                let sums = report.models.map { $0.totals.reduce(0) { $0 + $1.bookedMinor } }
                guard sums.allSatisfy({ $0 == revenue }) else { throw BenchFailure("a model lost money: \(sums)") }
            }
            rows.append(
                BenchRow(
                    name: "campaigns.\(name) p95", value: Percentile.of(milliseconds, 0.95), unit: "ms",
                    bar: tiny ? nil : bar, n: milliseconds.count,
                    note: String(
                        format: "%d campaigns, %d days, %d sales of 3 touches, %d visits; p50 %.1f ms", campaigns, days,
                        salesPerDay * days, visitsPerDay * days, Percentile.of(milliseconds, 0.5))))
        }
        await log.close()
        try database.close()
        return rows
    }

    private func count(of name: String) -> Int { name == "report" ? reports : max(1, reports / 20) }

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
