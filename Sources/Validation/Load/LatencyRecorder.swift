internal import Histogram

/// Latencies of one run in HDR histograms: 1 µs to 10 min, three digits. Adding two gives the truth of both together;
/// percentiles are never averaged.
package struct LatencyRecorder: Sendable {
    /// Microseconds from the intended start, of everything that got an answer.
    private(set) var latency = LatencyRecorder.empty
    /// Microseconds from the real send: shown beside, uncorrected.
    private(set) var service = LatencyRecorder.empty
    /// What had no answer: how long it had waited at least.
    private(set) var censored = LatencyRecorder.empty

    static var empty: Histogram<UInt64> {
        Histogram(lowestDiscernibleValue: 1, highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)
    }

    package init() {}

    /// Times in nanoseconds on one clock.
    package mutating func finished(intended: UInt64, sent: UInt64, answered: UInt64) {
        _ = latency.record(LatencyRecorder.micros(answered &- intended))
        _ = service.record(LatencyRecorder.micros(answered &- sent))
    }

    /// No answer came, or it never began: it stays in the distribution as "at least this long".
    package mutating func unfinished(waited nanoseconds: UInt64) {
        _ = censored.record(LatencyRecorder.micros(nanoseconds))
    }

    package mutating func add(_ other: LatencyRecorder) {
        latency.add(other.latency)
        service.add(other.service)
        censored.add(other.censored)
    }

    package var count: UInt64 { latency.totalCount + censored.totalCount }
    package var censoredCount: UInt64 { censored.totalCount }

    package var summary: LatencySummary {
        var all = latency
        all.add(censored)
        func point(_ percent: Double, needs: UInt64) -> Percentile {
            let value = all.valueAtPercentile(percent)
            return Percentile(
                microseconds: value, atLeast: censored.totalCount > 0 && censored.min <= value,
                enough: all.totalCount >= needs)
        }
        return LatencySummary(
            n: all.totalCount, censored: censored.totalCount, meanMicroseconds: all.totalCount == 0 ? 0 : all.mean,
            maxMicroseconds: all.totalCount == 0 ? 0 : all.maxRecorded, p50: point(50, needs: 10),
            p90: point(90, needs: 50), p95: point(95, needs: 100), p99: point(99, needs: 1000),
            p999: point(99.9, needs: 10_000),
            serviceP95Microseconds: service.totalCount == 0 ? 0 : service.valueAtPercentile(95))
    }

    /// `[value µs, count]` pairs of everything answered, and of everything that was not: the raw form of reports.
    package var pairs: (answered: [[UInt64]], unfinished: [[UInt64]]) {
        (
            latency.recordedValues().map { [$0.value, UInt64($0.count)] },
            censored.recordedValues().map { [$0.value, UInt64($0.count)] }
        )
    }

    private static func micros(_ nanoseconds: UInt64) -> UInt64 {
        min(max(1, nanoseconds / 1000), 600_000_000)
    }
}

/// One point of a distribution.
package struct Percentile: Sendable, Codable, Hashable {
    package var microseconds: UInt64
    /// The value falls among requests without an answer: the truth is this or more.
    package var atLeast: Bool
    /// Enough samples for this percentile; otherwise it may be shown only as "n too small".
    package var enough: Bool

    package var milliseconds: Double { Double(microseconds) / 1000 }

    /// `12.3 ms`, `≥ 12.3 ms` or `n too small`.
    package var text: String {
        enough ? "\(atLeast ? "≥ " : "")\(decimal(milliseconds, 2)) ms" : "n too small"
    }

    /// True when the value is known and below `limit` milliseconds.
    package func isBelow(_ limit: Double) -> Bool { enough && !atLeast && milliseconds < limit }
}

package struct LatencySummary: Sendable, Codable, Hashable {
    package var n: UInt64
    package var censored: UInt64
    package var meanMicroseconds: Double
    package var maxMicroseconds: UInt64
    package var p50: Percentile
    package var p90: Percentile
    package var p95: Percentile
    package var p99: Percentile
    package var p999: Percentile
    package var serviceP95Microseconds: UInt64

    package var sentence: String {
        "p50 \(p50.text), p95 \(p95.text), p99 \(p99.text), "
            + "max \(decimal(Double(maxMicroseconds) / 1000, 2)) ms, n = \(n)"
    }
}

/// A number with a fixed count of digits after the point, without locale.
func decimal(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "–" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded()
    guard scaled < 9e18 else { return "\(value)" }
    let whole = Int64(scaled / scale)
    guard digits > 0 else { return "\(value < 0 ? "-" : "")\(whole)" }
    let fraction = String(Int64(scaled) - whole * Int64(scale))
    let padding = String(repeating: "0", count: max(0, digits - fraction.utf8.count))
    return "\(value < 0 && scaled > 0 ? "-" : "")\(whole).\(padding)\(fraction)"
}
