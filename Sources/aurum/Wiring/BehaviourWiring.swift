internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import Logging

/// Questions about behaviour, exports and the live tail over one log.
enum BehaviourWiring {
    static func parts(
        _ configuration: AurumConfiguration, _ folder: DataFolder, _ events: EventLog, _ limits: EventLimits,
        _ database: Database
    ) -> BehaviourParts {
        let clock = SystemWallClock()
        let directory = configuration[.exportsDirectory]
        return BehaviourParts(
            questions: questions(events),
            exports: ExportService(
                database: database, source: events.store, folder: folder.exportsPath,
                directory: directory == "off" ? nil : directory, freeBytesMin: limits.freeBytesMin, clock: clock,
                logger: Logger(label: "exports"), answerQuery: { _, _ in throw ExportError.query("no_query") }),
            tail: TailFeed(events.store))
    }

    static func questions(_ events: EventLog) -> BehaviourService {
        BehaviourService(source: events.store, clock: SystemWallClock()) { _ in UnmergedPersons() }
    }
}
