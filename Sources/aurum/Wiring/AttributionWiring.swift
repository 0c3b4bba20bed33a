internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Leads
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
        let installs = installs(events, database, apps, registry: registry, logLevel: logLevel)
        attribution.joined = { try await installs.joined(org: $0, from: $1, to: $2) }
        return attribution
    }

    /// Installs of one log and what led to them.
    static func installs(
        _ events: EventLog, _ database: Database, _ apps: AppBook, callbacks: CallbackStore? = nil,
        registry: MetricRegistry, logLevel: Logger.Level? = nil
    ) -> InstallAttribution {
        var logger = Logger(label: "attribution")
        if let logLevel { logger.logLevel = logLevel }
        return InstallAttribution(
            database: database, source: events.store, log: events.store.logIdentity,
            judge: FraudJudge(database: database, registry: registry), callbacks: callbacks,
            persons: { events.store.persons(org: $0) }, clock: SystemWallClock(),
            retention: { apps.state(org: $0, app: $1).settings.retentionDays(of: .install) },
            usesRetention: { InstallAttribution.usesDays(apps.state(org: $0, app: $1).settings) }, registry: registry,
            logger: logger)
    }

    /// The fraud rules of one log; what they change after the fact is credited anew.
    static func fraud(
        _ events: EventLog, _ database: Database, _ jobs: SQLJobStore, registry: MetricRegistry
    ) -> FraudDesk {
        FraudDesk(
            database: database, source: events.store, persons: { events.store.persons(org: $0) },
            restate: { org, since in
                // Installs first: the run that the job asks for credits what they say by then.
                // From a day's begin, so that one wish that waits stands for all of its day.
                let day: Int64 = 86_400_000_000
                let wish = InstallWish(
                    from: Timestamp(microseconds: since.microseconds / day * day), credits: true)
                _ = try await JobWiring.enqueueInstalls(wish, org: org, jobs)
            }, clock: SystemWallClock(), registry: registry, logger: Logger(label: "fraud"))
    }

    /// What campaigns bring over time, as routes and jobs ask it.
    static func growth(
        _ attribution: AttributionService, _ queries: QueryEngine, _ buyers: BuyerRegistry, _ database: Database,
        registry: MetricRegistry
    ) -> GrowthReports {
        let clock = SystemWallClock()
        let spend = SpendStore(
            database: database, clock: clock, registry: registry, revision: attribution.revision,
            time: DatabaseClock(registry: registry))
        let campaigns = CampaignReports(
            attribution: attribution, spend: spend, engine: queries, clock: clock, registry: registry)
        return GrowthReports(campaigns: campaigns) { try await buyers.longestReturnDays(org: $0) }
    }
}
