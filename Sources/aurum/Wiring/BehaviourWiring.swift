internal import AurumCore
internal import Connectors
internal import Database
internal import Events
internal import Gateway
internal import Logging
internal import Runtime
internal import Telemetry

/// Questions about behaviour, exports and the live tail over one log.
enum BehaviourWiring {
    static func parts(
        _ configuration: AurumConfiguration, _ folder: DataFolder, _ events: EventLog, _ limits: EventLimits,
        _ database: Database, _ engine: QueryEngine, _ policies: EventPolicies, _ jobs: SQLJobStore,
        caller: ExportCaller, bulk: BulkWrites, registry: MetricRegistry
    ) -> BehaviourParts {
        let apps = policies.apps
        let clock = SystemWallClock()
        let directory = configuration[.exportsDirectory]
        return BehaviourParts(
            questions: BehaviourService(engine: engine, clock: clock, sessions: { SessionRules(apps.list(org: $0)) }),
            exports: ExportService(
                database: database, engine: engine, folder: folder.exportsPath,
                directory: directory == "off" ? nil : directory, freeBytesMin: limits.freeBytesMin, clock: clock,
                logger: Logger(label: "exports"),
                hooks: ExportHooks(
                    allowsLoopback: configuration.egressAllowLoopback, sealer: policies.sealer, registry: registry,
                    enqueue: { id, org, tx in try JobWiring.enqueuePost(id, org: org, jobs, in: tx) },
                    enqueueAgain: { id, org, tx in
                        try JobWiring.enqueuePost(id, org: org, jobs, in: tx, isAgain: true)
                    },
                    send: { await caller.send($0) }),
                bulk: bulk,
                enqueueAgain: { id, org, tx in
                    try JobWiring.enqueueExport(id, org: org, jobs, in: tx, isFollowUp: true)
                },
                enqueue: { id, org, tx in try JobWiring.enqueueExport(id, org: org, jobs, in: tx) }),
            tail: TailFeed(events.store))
    }

    /// For a log without a server.
    static func questions(_ events: EventLog, _ apps: AppBook, registry: MetricRegistry) -> BehaviourService {
        BehaviourService(
            engine: engine(events, registry: registry), clock: SystemWallClock(),
            sessions: { SessionRules(apps.list(org: $0)) })
    }

    static func engine(
        _ events: EventLog, _ quarantine: QuarantineDesk? = nil, registry: MetricRegistry
    ) -> QueryEngine {
        QueryEngine(
            source: events.store, persons: { events.store.persons(org: $0) },
            replayed: { try await quarantine?.replayed(org: $0) ?? ReplayedRows.none }, registry: registry,
            clock: SystemWallClock(), logger: Logger(label: "query"))
    }
}
