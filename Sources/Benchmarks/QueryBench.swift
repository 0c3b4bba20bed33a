internal import AurumCore
internal import Events
internal import Logging
internal import Telemetry

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
            logger: Logger.silent)
    }

    static func milliseconds(_ work: () async throws -> Void) async rethrows -> Double {
        let began = ContinuousClock.now
        try await work()
        return (ContinuousClock.now - began).seconds * 1000
    }
}
