package import AurumCore
internal import Synchronization
internal import Telemetry

/// Everything counted of the calls of one name.
final class StatementStats: Sendable {
    struct Totals: Sendable {
        var kind: CallKind
        var calls = 0
        var statements = 0
        var rows = 0
        var total = Duration.zero
        var most = Duration.zero
        var parts = CallParts()
        var errors: [CallOutcome: Int] = [:]
        var slow = 0
        var long = 0
        /// When a slow call was last written to the log, and how many were not since.
        var loggedAt: ContinuousClock.Instant?
        var unlogged = 0
        /// When a plan was last asked for, and the last one with the text it is of.
        var askedAt: ContinuousClock.Instant?
        var plan: (text: String, plan: String)?
    }

    let name: String
    private let durations: Histogram
    private let rows: Counter
    private let totals: Mutex<Totals>

    init(_ name: String, _ kind: CallKind, registry: MetricRegistry) {
        self.name = name
        durations = registry.histogram(.databaseDuration, name)
        rows = registry.counter(.databaseRows, name)
        totals = Mutex(Totals(kind: kind))
    }

    func count(_ track: CallTrack, _ outcome: CallOutcome, to now: ContinuousClock.Instant) {
        let (state, took) = (track.now, now - track.started)
        let parts = state.parts(from: track.started, to: now)
        durations.observe(took)
        if state.rows > 0 { rows.increment(by: state.rows) }
        totals.withLock { totals in
            totals.calls += 1
            totals.statements += state.statements
            totals.rows += state.rows
            totals.total += took
            totals.most = max(totals.most, took)
            totals.parts += parts
            if outcome != .ok { totals.errors[outcome, default: 0] += 1 }
        }
    }

    /// Changes the totals, and answers what `body` does.
    func with<Value: Sendable>(_ body: (inout Totals) -> Value) -> Value { totals.withLock { body(&$0) } }

    /// What is known of one name at one moment.
    var snapshot: StatementSnapshot {
        let totals = totals.withLock { $0 }
        return StatementSnapshot(name, totals, durations)
    }
}

/// The calls of one name, in figures. Percentiles are upper edges of the histogram, never above the longest call.
package struct StatementSnapshot: Sendable {
    package let name: String
    package let kind: CallKind
    package let calls: Int
    package let statements: Int
    package let rows: Int
    package let total: Duration
    package let p50: Duration
    package let p95: Duration
    package let most: Duration
    package let parts: CallParts
    package let errors: [CallOutcome: Int]
    package let slow: Int
    package let long: Int

    init(_ name: String, _ totals: StatementStats.Totals, _ durations: Histogram) {
        self.name = name
        (kind, calls, statements, rows) = (totals.kind, totals.calls, totals.statements, totals.rows)
        (total, most, parts) = (totals.total, totals.most, totals.parts)
        (errors, slow, long) = (totals.errors, totals.slow, totals.long)
        let (snapshot, bounds) = (durations.snapshot, durations.bounds)
        p50 = Self.quantile(0.5, snapshot, bounds, most)
        p95 = Self.quantile(0.95, snapshot, bounds, most)
    }

    private static func quantile(
        _ part: Double, _ snapshot: Histogram.Snapshot, _ bounds: [Double], _ most: Duration
    ) -> Duration {
        let wanted = Int64((part * Double(snapshot.count)).rounded(.up))
        var seen: Int64 = 0
        for (index, bound) in bounds.enumerated() {
            seen += snapshot.buckets[index]
            if seen >= wanted { return min(.seconds(bound), most) }
        }
        return most
    }

    package var errorCount: Int { errors.values.reduce(0, +) }

    package var json: JSONValue {
        var members = parts.json
        members["name"] = .string(name)
        members["kind"] = .string(kind.rawValue)
        for (key, value) in [
            ("calls", calls), ("statements", statements), ("rows", rows), ("error_count", errorCount), ("slow", slow),
            ("long", long),
        ] {
            members[key] = .integer(Int64(value))
        }
        members["total_ms"] = total.shownMilliseconds
        members["p50_ms"] = p50.shownMilliseconds
        members["p95_ms"] = p95.shownMilliseconds
        members["max_ms"] = most.shownMilliseconds
        members["errors"] = errors.json
        return .object(members)
    }
}

extension [CallOutcome: Int] {
    /// Counts by the name of the outcome.
    var json: JSONValue {
        .object([String: JSONValue](uniqueKeysWithValues: map { ($0.key.rawValue, .integer(Int64($0.value))) }))
    }
}
