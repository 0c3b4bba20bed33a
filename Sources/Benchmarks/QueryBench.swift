package import AurumCore
package import Events
internal import Logging
internal import Telemetry

/// The dashboard's questions over a log, Q1…Q8: the first time, and again as a dashboard asks them.
///
/// - Parameters:
///   - now: what "today" and "last 7d" mean.
///   - rounds: how often each is asked again.
///   - beforeRound: what happens to the log between two times: nothing, unless events keep coming in.
package func queryBench(
    _ source: any ColumnSource, org: String, now: Timestamp, rounds: Int, beforeRound: (Int) -> Void = { _ in }
) async throws -> [BenchRow] {
    let rowCount = try source.segments().reduce(0) { $0 + $1.blocks.reduce(0) { $0 + $1.rowCount } }
    let engine = QueryBench.engine(source) { _ in }
    var rows: [BenchRow] = []
    for (name, text) in QueryBench.dashboard {
        let query = try QueryTextParser.query(text, now: now)
        beforeRound(0)
        let first = try await QueryBench.milliseconds { _ = try await engine.answer(query, org: org) }
        var again: [Double] = []
        for round in 1...max(1, rounds) {
            beforeRound(round)
            again.append(try await QueryBench.milliseconds { _ = try await engine.answer(query, org: org) })
        }
        again.sort()
        rows.append(BenchRow(name: "query.\(name).first", value: first, unit: "ms", n: 1))
        rows.append(
            BenchRow(
                name: "query.\(name).p95", value: again[min(again.count - 1, again.count * 95 / 100)], unit: "ms",
                // The bar is meant for a hundred million events.
                bar: rowCount >= 100_000_000 ? 180 : nil, n: again.count))
    }
    return rows
}

/// The dashboard's questions over a hundred million made-up events, with 24,000 new ones between two times.
package func queryDashboardBench(tiny: Bool, seed: UInt64) async throws -> [BenchRow] {
    let rounds = tiny ? 2 : 125
    let blocks = (tiny ? 4 : 4200) + rounds
    let source = SyntheticColumns(blocks: blocks, blocksPerSegment: tiny ? 2 : 400, days: tiny ? 2 : 45, seed: seed)
    return try await queryBench(source, org: SyntheticColumns.org, now: source.now, rounds: rounds) { round in
        source.show(blocks: blocks - rounds + round)
    }
}

/// What one core scans a second: a group-by over one dictionary column, columns in memory and nothing kept.
package func queryScanBench(tiny: Bool, seed: UInt64) async throws -> [BenchRow] {
    let source = SyntheticColumns(
        blocks: tiny ? 4 : 1000, blocksPerSegment: tiny ? 2 : 400, days: tiny ? 2 : 45, seed: seed)
    let engine = QueryBench.engine(source) { limits in
        limits.threads = 1
        limits.keptBytesMax = 0
    }
    var rows: [BenchRow] = []
    for (name, text, bar) in QueryBench.scans {
        let query = try QueryTextParser.query(text, now: source.now)
        var best = Double.infinity
        for _ in 0..<(tiny ? 1 : 5) {
            let time = try await QueryBench.milliseconds {
                _ = try await engine.answer(query, org: SyntheticColumns.org)
            }
            best = min(best, time)
        }
        rows.append(
            BenchRow(
                name: "query.scan.\(name)", value: Double(source.rowCount) / best * 1000, unit: "rows/s/core", bar: bar,
                higherIsBetter: true, n: source.rowCount))
    }
    return rows
}

private enum QueryBench {
    static let dashboard: [(name: String, text: String)] = [
        ("q1_events_by_hour", "count per hour last 7d"),
        ("q2_persons_by_day", "unique(person) per day last 30d"),
        ("q3_top_channels", "count by channel order by count desc limit 20"),
        ("q4_value_by_campaign", "sum(value), count by campaign.name last 30d order by sum(value) desc limit 50"),
        ("q5_top_pages", "count by url where url exists order by count desc limit 50"),
        ("q6_devices", "count, unique(person) by context.platform"),
        ("q7_outcomes", "count by outcome outcomes all"),
        ("q8_today", "count, unique(person), sum(value) today"),
    ]

    static let scans: [(name: String, text: String, bar: Double?)] = [
        ("count", "count", nil),
        ("by_one_column", "count by url", 100_000_000),
        ("by_column_and_day", "count by channel per day", nil),
        ("by_three_columns", "count by channel, campaign.name, name", nil),
        ("filtered", "count where url contains \"item-1\" and channel != channel-3 by name", nil),
        ("persons_by_day", "unique(person) per day", nil),
        ("value_by_campaign", "sum(value) by campaign.name", nil),
    ]

    static func engine(_ source: any ColumnSource, _ change: (inout QueryLimits) -> Void) -> QueryEngine {
        var limits = QueryLimits()
        limits.duration = .seconds(600)
        limits.slow = .seconds(600)
        change(&limits)
        return QueryEngine(
            source: source, limits: limits, registry: MetricRegistry(), clock: SystemWallClock(),
            logger: Logger(label: "bench"))
    }

    static func milliseconds(_ work: () async throws -> Void) async rethrows -> Double {
        let began = ContinuousClock.now
        try await work()
        return (ContinuousClock.now - began).seconds * 1000
    }
}
