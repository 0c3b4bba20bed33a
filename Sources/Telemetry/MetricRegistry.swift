internal import Synchronization

/// All series of one process. Ask for a handle once and keep it: a handle costs nothing to use, a look-up takes a lock.
package final class MetricRegistry: Sendable {
    /// Series a metric may have; one more is counted under `overflow="true"`.
    package static let seriesMax = 2000

    private enum Series: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)
    }

    private struct Key: Hashable { let name: String; let values: [String] }

    private struct State: Sendable {
        var series: [String: [[String]: Series]] = [:]
        var definitions: [String: MetricDefinition] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    package func counter(_ definition: MetricDefinition, _ values: String...) -> Counter {
        precondition(definition.kind == .counter, "\(definition.name) is no counter")
        guard case .counter(let counter) = series(definition, values, make: { .counter(Counter()) }) else {
            preconditionFailure("\(definition.name) is declared twice")
        }
        return counter
    }

    package func gauge(_ definition: MetricDefinition, _ values: String...) -> Gauge {
        precondition(definition.kind == .gauge, "\(definition.name) is no gauge")
        guard case .gauge(let gauge) = series(definition, values, make: { .gauge(Gauge()) }) else {
            preconditionFailure("\(definition.name) is declared twice")
        }
        return gauge
    }

    package func histogram(_ definition: MetricDefinition, _ values: String...) -> Histogram {
        precondition(definition.kind == .histogram, "\(definition.name) is no histogram")
        let bounds = definition.name.hasSuffix("_seconds") ? Histogram.latencyBounds : Histogram.countBounds
        guard
            case .histogram(let histogram) = series(definition, values, make: { .histogram(Histogram(bounds: bounds)) })
        else { preconditionFailure("\(definition.name) is declared twice") }
        return histogram
    }

    private func series(_ definition: MetricDefinition, _ values: [String], make: () -> Series) -> Series {
        precondition(
            values.count == definition.labels.count, "\(definition.name) takes \(definition.labels.count) labels")
        return state.withLock { state in
            state.definitions[definition.name] = definition
            if let existing = state.series[definition.name]?[values] { return existing }
            let full = (state.series[definition.name]?.count ?? 0) >= Self.seriesMax
            let key = full ? values.map { _ in Self.overflow } : values
            if let existing = state.series[definition.name]?[key] { return existing }
            let made = make()
            state.series[definition.name, default: [:]][key] = made
            return made
        }
    }

    /// Sets every series of a gauge to 0, before those that still have something are set.
    package func zero(_ definition: MetricDefinition) {
        let all = state.withLock { $0.series[definition.name] ?? [:] }
        for case .gauge(let gauge) in all.values { gauge.set(0) }
    }

    /// Counters and gauges of some metrics, by their series as they stand in the text: `name{label="value"}`.
    package func readings(
        of definitions: [MetricDefinition]
    ) -> (counters: [String: Int64], gauges: [String: Double]) {
        let all = state.withLock { $0.series }
        var readings: (counters: [String: Int64], gauges: [String: Double]) = ([:], [:])
        for definition in definitions {
            for (values, one) in all[definition.name] ?? [:] {
                let series = definition.name + braced(labels(definition, values))
                switch one {
                case .counter(let counter): readings.counters[series] = counter.value
                case .gauge(let gauge): readings.gauges[series] = gauge.value
                case .histogram: continue
                }
            }
        }
        return readings
    }

    private static let overflow = "overflow"

    /// Prometheus text exposition format 0.0.4, metrics and series in a stable order.
    package func prometheusText() -> String {
        let (definitions, all) = state.withLock { ($0.definitions, $0.series) }
        var text = ""
        for name in definitions.keys.sorted() {
            guard let definition = definitions[name], let series = all[name] else { continue }
            text += "# HELP \(name) \(definition.help)\n# TYPE \(name) \(definition.kind.rawValue)\n"
            for (values, one) in series.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
                text += lines(name, labels(definition, values), one)
            }
        }
        return text
    }

    private func lines(_ name: String, _ labels: [String], _ series: Series) -> String {
        switch series {
        case .counter(let counter): return "\(name)\(braced(labels)) \(counter.value)\n"
        case .gauge(let gauge): return "\(name)\(braced(labels)) \(Self.number(gauge.value))\n"
        case .histogram(let histogram):
            let snapshot = histogram.snapshot
            var text = ""
            var total: Int64 = 0
            for (index, count) in snapshot.buckets.enumerated() {
                total += count
                let bound = index < histogram.bounds.count ? Self.number(histogram.bounds[index]) : "+Inf"
                text += "\(name)_bucket\(braced(labels + ["le=\"\(bound)\""])) \(total)\n"
            }
            return text
                + "\(name)_sum\(braced(labels)) \(Self.number(snapshot.sum))\n\(name)_count\(braced(labels)) \(total)\n"
        }
    }

    private func labels(_ definition: MetricDefinition, _ values: [String]) -> [String] {
        zip(definition.labels, values).map { "\($0)=\"\(escaped($1))\"" }
    }

    private func braced(_ labels: [String]) -> String {
        labels.isEmpty ? "" : "{" + labels.joined(separator: ",") + "}"
    }

    /// A value as the text shows it.
    package static func number(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e15 ? String(Int64(value)) : "\(value)"
    }

    private func escaped(_ value: String) -> String {
        var text = ""
        for character in value {
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
        return text
    }
}
