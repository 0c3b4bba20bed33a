internal import Synchronization

/// What a metric is: declared once in the catalogue, so that nothing can count under a name nobody documented.
package struct MetricDefinition: Sendable, Hashable {
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    /// `aurum_<group>_<what>[_<unit>][_total]`.
    package let name: String
    package let kind: Kind
    /// One sentence for `# HELP`.
    package let help: String
    /// Label names, in the order in which values are given. Values come from closed sets, never from user text.
    package let labels: [String]

    package init(_ name: String, _ kind: Kind, labels: [String] = [], _ help: String) {
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
    }
}

/// A count that only grows. Incrementing takes no lock and allocates nothing.
package final class Counter: Sendable {
    private let count = Atomic<Int64>(0)

    package func increment(by amount: Int = 1) { count.wrappingAdd(Int64(amount), ordering: .relaxed) }

    package var value: Int64 { count.load(ordering: .relaxed) }
}

/// A number that goes up and down.
package final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    package func add(_ amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = bits.compareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// Counts of observations by upper bound, with their sum. Bounds are in the metric's own unit.
package final class Histogram: Sendable {
    /// Every latency threshold of the product is an edge, so that a bar is counted and never interpolated.
    package static let latencyBounds: [Double] = [
        0.0005, 0.001, 0.0025, 0.005, 0.008, 0.01, 0.025, 0.05, 0.085, 0.1, 0.12, 0.2, 0.25, 0.4, 0.5, 1, 1.5, 2, 2.5,
        5,
        10,
    ]
    /// Edges for counts of things in a batch.
    package static let countBounds: [Double] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000, 10_000, 50_000]

    package struct Snapshot: Sendable {
        package var buckets: [Int64]
        package var sum: Double
        package var count: Int64
    }

    package let bounds: [Double]
    private let state: Mutex<Snapshot>

    init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(Snapshot(buckets: Array(repeating: 0, count: bounds.count + 1), sum: 0, count: 0))
    }

    package func observe(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock {
            $0.buckets[bucket] += 1
            $0.sum += value
            $0.count += 1
        }
    }

    package func observe(_ duration: Duration) {
        observe(Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18)
    }

    package var snapshot: Snapshot { state.withLock { $0 } }
}
