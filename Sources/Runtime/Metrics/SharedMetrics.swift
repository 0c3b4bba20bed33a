package import Telemetry

/// Counts of the whole installation, for `/metrics/cluster`: counters summed over all nodes that ever were, gauges over
/// those that live. Nodes go on counting in their own registry, and nothing is counted for this alone. A crash may lose
/// a node's last second, so nothing that is billed reads it.
package protocol SharedMetrics: Sendable {
    /// Prometheus text; names begin with `aurum_cluster_`, so that no sum over nodes takes them in.
    func text() async throws(SharedMetricsError) -> String
}

package enum SharedMetricsError: Error, Sendable, Equatable {
    /// The store of the counts does not answer.
    case unavailable
}

/// The text of `/metrics/cluster`, and what is in it: to share a metric, name it here.
enum ClusterText {
    static let definitions: [MetricDefinition] = [
        .conversationsEnded, .conversationsStarted, .eventsOutcome, .eventsReceived, .httpRequestsInFlight,
        .leadsCreated, .leadsRouted, .ledgerEntries, .marketInFlight, .marketPosts, .webSocketConnections,
    ]
    private static let (own, shared) = ("aurum_", "aurum_cluster_")

    /// - Parameters:
    ///   - counters: by series as they stand in a node's own text; those of no shared metric are left out.
    ///   - nodes: how many live.
    static func render(counters: [String: Int64], gauges: [String: Double], nodes: Int) -> String {
        var lines: [String: [String]] = [:]
        for (series, value) in counters { lines[name(series), default: []].append("\(shown(series)) \(value)\n") }
        for (series, value) in gauges {
            lines[name(series), default: []].append("\(shown(series)) \(MetricRegistry.number(value))\n")
        }
        var text = head(.clusterNodes, as: MetricDefinition.clusterNodes.name)
        text += "\(MetricDefinition.clusterNodes.name) \(nodes)\n"
        for definition in definitions {
            guard let found = lines[definition.name] else { continue }
            text += head(definition, as: shown(definition.name)) + found.sorted().joined()
        }
        return text
    }

    private static func head(_ definition: MetricDefinition, as name: String) -> String {
        "# HELP \(name) \(definition.help)\n# TYPE \(name) \(definition.kind.rawValue)\n"
    }

    private static func name(_ series: String) -> String { String(series.prefix { $0 != "{" }) }
    private static func shown(_ series: String) -> String { shared + series.dropFirst(own.count) }
}

/// Counts of this process, which is all there is.
package struct MemorySharedMetrics: SharedMetrics {
    private let registry: MetricRegistry

    package init(registry: MetricRegistry) { self.registry = registry }

    package func text() throws(SharedMetricsError) -> String {
        let readings = registry.readings(of: ClusterText.definitions)
        return ClusterText.render(counters: readings.counters, gauges: readings.gauges, nodes: 1)
    }
}
