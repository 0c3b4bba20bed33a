internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// What was sent and what became of it: through the server when one runs, from its folder otherwise.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "List and query stored events, and ask what became of an event or a request.",
        subcommands: [
            List.self, Outcome.self, Outcomes.self, ReceiptCommand.self, EventsQueryCommand.self, Funnel.self,
            Retention.self,
            Cohorts.self, Paths.self, Sessions.self, Verify.self, Inspect.self, Compact.self, Import.self, Export.self,
        ])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stored events, newest first, one JSON object a line.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Only this trace: 32 hex digits.")
        var traceId: String?
        @Option(name: .long, help: "Only this name, for example delivery.accepted.")
        var name: String?
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 20
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            guard (1...1000).contains(limit) else { throw ValidationError("--limit is 1 to 1000") }
            let trace = try traceId.map { text in
                guard let id = UID(text) else { throw ValidationError("--trace-id is 32 hex digits") }
                return id
            }
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let query = ServerClient.query([("limit", "\(limit)"), ("trace_id", trace?.hex), ("name", name)])
                let answer = try await ServerClient(contact: contact).call("GET", "/v1/events" + query)
                for event in answer["events"]?.array ?? [] { Output.line(event.canonical) }
                return
            }
            var filter = EventFilter(org: org)
            filter.limit = limit
            filter.traceID = trace
            if let name { filter.names = [name] }
            let wanted = filter
            try await EventsCommand.withLog(configuration) { log in
                for event in try await log.store.events(wanted) { Output.line(event.json.canonical) }
            }
        }
    }

    struct Outcome: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "What became of one event.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The event's id.")
        var id: String
        @Option(name: .long, help: "App it was sent to.")
        var app = "default"
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let path = "/v1/events/\(id.percentEncoded)/outcome?app=\(app.percentEncoded)"
                let answer = try await ServerClient(contact: contact).call("GET", path)
                return Output.line(answer.canonical)
            }
            let (id, org, app) = (id, org, app)
            try await EventsCommand.withLog(configuration) { log in
                guard let record = try await log.store.outcome(eventID: id, org: org, app: app) else {
                    throw CommandFailure("no event with this id was received in this app")
                }
                Output.line(record.json)
            }
        }
    }

    struct ReceiptCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "receipt", abstract: "What became of one request.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The receipt, rcp_….")
        var receipt: String
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let path = "/v1/receipts/\(receipt.percentEncoded)"
                return Output.line(try await ServerClient(contact: contact).call("GET", path).canonical)
            }
            let (receipt, org) = (receipt, org)
            try await EventsCommand.withLog(configuration) { log in
                guard let found = try await log.store.receipt(receipt, org: org) else {
                    throw CommandFailure("there is no such receipt")
                }
                Output.line(found.json)
            }
        }
    }

    /// Opens the log of an unlocked folder.
    static func withLog(_ configuration: AurumConfiguration, _ body: (EventLog) async throws -> Void) async throws {
        let folder = try DataFolder(path: configuration.dataDirectory)
        let clock = SystemWallClock()
        let log = try Openings.log(
            folder, configuration.events, registry: MetricRegistry(), health: HealthRegistry(clock: clock),
            clock: clock, logLevel: .warning)
        do { try await body(log) } catch {
            await log.close()
            throw error
        }
        await log.close()
    }

    /// The same with what the organisations have decided, and the database that keeps it.
    static func withGovernedLog(
        _ configuration: AurumConfiguration, logLevel: Logger.Level? = nil,
        _ body: (EventLog, EventPolicies, Database) async throws -> Void
    ) async throws {
        let folder = try DataFolder(configuration)
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let database = try await Openings.database(configuration, registry: registry, clock: clock)
        let policies = try await Openings.policies(folder, database, registry: registry)
        let log = try Openings.log(
            folder, configuration.events, registry: registry, health: HealthRegistry(clock: clock), clock: clock,
            policies: policies, logLevel: logLevel)
        let result: Result<Void, any Error>
        do { result = .success(try await body(log, policies, database)) } catch { result = .failure(error) }
        await log.close()
        try database.close()
        try result.get()
    }

    /// The same with the desk of quarantined events.
    static func withDesk(
        _ configuration: AurumConfiguration, _ body: (EventLog, QuarantineDesk) async throws -> Void
    ) async throws {
        try await withGovernedLog(configuration, logLevel: .warning) { log, policies, database in
            let desk = QuarantineDesk(
                policies: policies, log: log, database: database, limits: EventLimits(), clock: SystemWallClock())
            try await body(log, desk)
        }
    }
}
