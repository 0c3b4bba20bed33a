internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Logging
internal import Runtime
internal import Telemetry

/// Attribution from one log.
enum AttributionWiring {
    /// - Parameter freeBytesMin: of the volume: below it no run writes temporary files.
    static func attribution(
        _ dataPath: String, _ events: EventLog, _ database: Database, _ apps: AppBook, registry: MetricRegistry,
        freeBytesMin: Int = EventLimits().freeBytesMin, logLevel: Logger.Level? = nil
    ) -> LogAttribution {
        var logger = Logger(label: "attribution")
        if let logLevel { logger.logLevel = logLevel }
        var attribution = LogAttribution(
            database: database, source: events.store, persons: { events.store.persons(org: $0) },
            sessions: { SessionRules(apps.list(org: $0)) }, folder: DataFolder.attributionPath(in: dataPath),
            clock: SystemWallClock(),
            registry: registry, logger: logger)
        attribution.settings.freeBytesMin = freeBytesMin
        return attribution
    }

    /// The fraud rules of one log; what they change after the fact is credited anew.
    static func fraud(
        _ events: EventLog, _ database: Database, _ jobs: SQLJobStore, registry: MetricRegistry
    ) -> FraudDesk {
        FraudDesk(
            database: database, source: events.store, persons: { events.store.persons(org: $0) },
            restate: { org in
                _ = try await JobWiring.enqueueAttribution(
                    LogAttribution.Wish(reason: "fraud"), org: org, jobs)
            }, clock: SystemWallClock(), registry: registry, logger: Logger(label: "fraud"))
    }
}
