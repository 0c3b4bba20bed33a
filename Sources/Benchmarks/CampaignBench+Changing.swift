internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Logging
internal import Telemetry

extension CampaignBench {
    /// Reports of a month with many sales, each asked after one of them has changed. The first, which reads all of it,
    /// is told apart.
    func changing(_ folder: String) async throws -> [BenchRow] {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let database = try Database.openSQLite(at: folder + "/changing.db", registry: registry, clock: clock)
        let log = try EventLog.open(
            directory: folder + "/no-events", registry: registry, health: HealthRegistry(clock: clock), clock: clock,
            logger: .silent)
        let attribution = AttributionService(database: database, events: log.store, registry: registry)
        let reports = CampaignReports(
            attribution: attribution, spend: SpendStore(database: database, clock: clock, registry: registry),
            engine: QueryEngine(source: log.store, registry: registry, clock: clock, logger: .silent), clock: clock,
            registry: registry)
        let perDay = tiny ? 10 : 10_000
        let revenue = try await manySales(database, perDay, from: clock.now - .seconds(86_400 * days))
        var question = CampaignQuestion(models: [.linear])
        question.days = days + 1
        var random = SeededRandom(seed: seed)
        var milliseconds: [Double] = []
        var recognised: [UID: Int64] = [:]
        for _ in 0..<(tiny ? 3 : 301) {
            let began = ContinuousClock.now
            let report = try await reports.report(org: "bench", question)
            milliseconds.append((ContinuousClock.now - began).seconds * 1000)
            let totals = report.models.first?.totals ?? []
            guard totals.reduce(0, { $0 + $1.bookedMinor }) == revenue,
                totals.reduce(0, { $0 + $1.recognisedMinor }) == recognised.values.reduce(0, +)
            else { throw BenchFailure("the report lost money of many sales") }
            let (day, number) = (Int.random(in: 0..<days, using: &random), Int.random(in: 0..<perDay, using: &random))
            let leg = Self.leg(day, number)
            try await attribution.recognise(org: "bench", leg: leg, at: clock.now)
            recognised[leg] = Self.cents(number)
        }
        await log.close()
        try database.close()
        let later = Array(milliseconds.dropFirst())
        return [
            BenchRow(
                name: "campaigns.changing p95", value: Percentile.of(later, 0.95), unit: "ms", bar: tiny ? nil : 180,
                n: later.count,
                note: "\(perDay * days) sales in \(days) days, one changed before each report; "
                    + "p50 \(Percentile.of(later, 0.5).rounded()) ms, the first \(milliseconds[0].rounded()) ms")
        ]
    }

    private static func leg(_ day: Int, _ number: Int) -> UID { UID(high: UInt64(day + 1), low: UInt64(number)) }

    private static func cents(_ number: Int) -> Int64 { Int64(100 + number * 7 % 30_000) }

    /// Three credits a sale under one model, a day's sales spread over it; answers the revenue.
    private func manySales(_ database: Database, _ perDay: Int, from start: Timestamp) async throws -> Int64 {
        var (random, revenue) = (SeededRandom(seed: seed &+ 2), Int64(0))
        for first in stride(from: 0, to: perDay * days, by: 2000) {
            let sales = (first..<min(perDay * days, first + 2000)).map { place in
                (place / perDay, place % perDay, (0..<3).map { _ in Int.random(in: 0..<campaigns, using: &random) })
            }
            revenue += sales.reduce(0) { $0 + Self.cents($1.1) }
            try await database.write("bench.manySales") { transaction in
                for (day, number, touched) in sales {
                    let at =
                        start + .seconds(day * 86_400) + .microseconds(Int64(number) * 86_400_000_000 / Int64(perDay))
                    let parts = Apportionment.divide(Self.cents(number), shares: [1, 1, 1])
                    for (position, campaign) in touched.enumerated() {
                        try transaction.run(
                            """
                            INSERT INTO attribution_credits
                                (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                                 share_ppm, amount_minor, currency, sold_at, created_at)
                            VALUES ('bench', \(Self.leg(day, number)), 'linear', \(position), 'e',
                                \("campaign-\(campaign)"), 'google', 'cpc', 'paid_search', \(at),
                                \(Int64(position == 2 ? 333_334 : 333_333)), \(parts[position]), 'USD', \(at), \(at))
                            """)
                    }
                }
            }
        }
        return revenue
    }
}
