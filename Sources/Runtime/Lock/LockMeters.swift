package import Telemetry

/// What is counted of locks.
package struct LockMeters: Sendable {
    let waited: Histogram
    let timedOut: Counter
    let lost: Counter
    let unavailable: Counter
    /// Releases by somebody who did not hold the lock any more.
    let foreignReleases: Counter

    private let registry: MetricRegistry

    package init(registry: MetricRegistry) {
        self.registry = registry
        waited = registry.histogram(.lockWait)
        timedOut = registry.counter(.lockFailures, "timed_out")
        lost = registry.counter(.lockFailures, "lost")
        unavailable = registry.counter(.lockFailures, "unavailable")
        foreignReleases = registry.counter(.lockFailures, "foreign_release")
    }

    /// Writes to `resource`, a word of our own, that were refused because somebody had overtaken the writer.
    package func fenceRefused(_ resource: String) -> Counter { registry.counter(.lockFenceRefused, resource) }

    func acquired(after wait: Duration) { waited.observe(wait) }
}
