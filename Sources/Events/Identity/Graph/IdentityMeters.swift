internal import Logging
internal import Synchronization
internal import Telemetry

/// Metrics and health of the identity graph.
final class IdentityMeters: Sendable {
    private let identifiers: Gauge
    private let links: Gauge
    private let merges: [Counter]
    private let unmerges: Counter
    private let refusals: [LinkRefusal: Counter]
    private let health: HealthRegistry
    private let logger: Logger
    private let wasFull = Atomic<Bool>(false)

    init(_ registry: MetricRegistry, _ health: HealthRegistry, _ logger: Logger) {
        identifiers = registry.gauge(.identityIdentifiers)
        links = registry.gauge(.identityLinks)
        merges = LinkCause.allCases.map { registry.counter(.identityMerges, $0.name) }
        unmerges = registry.counter(.identityUnmerges)
        refusals = Dictionary(
            uniqueKeysWithValues: LinkRefusal.allCases.map { ($0, registry.counter(.identityRefused, $0.rawValue)) })
        self.health = health
        self.logger = logger
    }

    func merged(_ cause: LinkCause) { merges[Int(cause.rawValue) - 1].increment() }

    func unmerged() { unmerges.increment() }

    func refused(_ reason: LinkRefusal) { refusals[reason]?.increment() }

    func report(identifiers count: Int, links linkCount: Int, limits: IdentityLimits) {
        identifiers.set(Double(count))
        links.set(Double(linkCount))
        let isFull = count >= limits.identifiersMax
        if isFull, !wasFull.exchange(true, ordering: .relaxed) {
            logger.warning(
                "the identity graph is full: links of new identifiers are refused",
                metadata: ["code": "identity_full", "identifiers": "\(count)"])
        } else if !isFull {
            wasFull.store(false, ordering: .relaxed)
        }
        health.report(
            "identity", isFull ? .degraded : .ok, required: false, reason: isFull ? LinkRefusal.full.rawValue : nil,
            numbers: [
                "identifiers": Double(count), "identifiers_max": Double(limits.identifiersMax),
                "links": Double(linkCount),
            ])
    }
}
