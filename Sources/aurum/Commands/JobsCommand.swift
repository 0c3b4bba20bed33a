internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Foundation
internal import Runtime
internal import Telemetry

/// Work in the background: through the server when one runs, in its folder otherwise.
struct JobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jobs", abstract: "List, show, cancel and redrive work in the background.",
        discussion: "Jobs on Redis are shown and redriven through a running server.",
        subcommands: [List.self, Show.self, Overview.self, Cancel.self, Redrive.self, Trial.self])

    struct Place: ParsableArguments {
        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Jobs, newest first, one a line.")

        @OptionGroup var place: Place
        @Option(
            name: .long, help: "due, scheduled, waiting, parked, running, done, dead or cancelled.",
            transform: { text in
                guard text == "due" || JobState(rawValue: text) != nil else {
                    throw ValidationError("\(text) is no state of a job")
                }
                return text
            })
        var state: String?
        @Option(name: .long, help: "For example leads.route.")
        var type: String?
        @Option(name: .long, help: "At most this many, 1 to 200.")
        var limit = 20
        @Flag(name: .long, help: "The whole job as JSON, one a line.")
        var json = false

        func run() async throws {
            guard (1...JobLimits.listMax).contains(limit) else { throw ValidationError("--limit is 1 to 200") }
            let path = "/v1/jobs" + ServerClient.query([("limit", "\(limit)"), ("state", state), ("type", type)])
            let (org, state, type, limit) = (place.org, state, type, limit)
            let answer = try await JobsCommand.ask(place, "GET", path, nil) { desk in
                let jobs = try await desk.reads.list(org: org, state: state, type: type, before: nil, limit: limit)
                return ["jobs": .array(jobs.map { $0.json(now: SystemWallClock().now) })]
            }
            for job in answer["jobs"]?.array ?? [] {
                Output.line(json ? job.canonical : JobsCommand.line(job))
            }
            JobsCommand.warn(answer)
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "One job with every failed attempt, as JSON.")

        @OptionGroup var place: Place
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            let (org, id) = (place.org, try JobsCommand.uid(id))
            let job = try await JobsCommand.ask(place, "GET", "/v1/jobs/\(id.hex)", nil) { desk in
                guard let job = try await desk.store.job(id, org: org) else { throw JobError.unknownJob }
                return job.json(now: SystemWallClock().now)
            }
            try Output.json(job)
        }
    }

    struct Overview: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Jobs by type and state, and schedules.")

        @OptionGroup var place: Place

        func run() async throws {
            let org = place.org
            let answer = try await JobsCommand.ask(place, "GET", "/v1/jobs/overview", nil) { desk in
                try await desk.reads.overview(org: org, now: SystemWallClock().now)
            }
            let states = ["due", "scheduled", "waiting", "parked", "running", "dead"]
            for queue in answer["queues"]?.array ?? [] {
                let counts = states.map { "\($0) \(queue[$0]?.integer ?? 0)" }.joined(separator: "  ")
                let home = queue["home"]?.string == JobHome.redis.rawValue ? "  on redis" : ""
                Output.line("\(queue["type"]?.string ?? "")  \(counts)\(home)")
            }
            JobsCommand.warn(answer)
            for schedule in answer["schedules"]?.array ?? [] {
                Output.line(
                    "schedule \(schedule["name"]?.string ?? "")  \(schedule["plan"]?.string ?? "")  next "
                        + (schedule["next_at"]?.string ?? ""))
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a job: at once when it waits, within 30 seconds when it runs.")

        @OptionGroup var place: Place
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            let (org, id) = (place.org, try JobsCommand.uid(id))
            let job = try await JobsCommand.ask(place, "POST", "/v1/jobs/\(id.hex)/cancel", nil) { desk in
                try await desk.store.cancel(id, org: org) { job, tx in
                    if let onCancel = JobWiring.onCancel[job.type] { try onCancel(job, tx) }
                }.json(now: SystemWallClock().now)
            }
            let state = job["state"]?.string ?? ""
            Output.line(state == "cancelled" ? "cancelled" : "\(state); told to stop")
        }
    }

    struct Redrive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take dead jobs up again, with all their attempts and the same ids.")

        @OptionGroup var place: Place
        @Argument(help: "The id of one job; else say which with --type or --all.")
        var id: String?
        @Option(name: .long, help: "Every dead job of this type.")
        var type: String?
        @Flag(name: .long, help: "Every dead job.")
        var all = false
        @Option(name: .long, help: "Only those that died at or after, RFC 3339.")
        var since: String?
        @Option(name: .long, help: "How many a second, for example 10/s.")
        var rate: String?

        func validate() throws {
            guard [id != nil, type != nil, all].filter({ $0 }).count == 1 else {
                throw ValidationError("Say what to redrive: an id, --type, or --all.")
            }
            if id != nil, since != nil || rate != nil { throw ValidationError("--since and --rate go with --type.") }
        }

        func run() async throws {
            let org = place.org
            if let id {
                let uid = try JobsCommand.uid(id)
                _ = try await JobsCommand.ask(place, "POST", "/v1/jobs/\(uid.hex)/redrive", nil) { desk in
                    try await desk.store.redrive(uid, org: org).json(now: SystemWallClock().now)
                }
                return Output.line("redriven 1")
            }
            var body: [String: JSONValue] = [:]
            if let type { body["type"] = .string(type) }
            var from = Timestamp(milliseconds: 0)
            if let since {
                guard let time = Timestamp(rfc3339: since) else { throw ValidationError("--since must be RFC 3339") }
                from = time
                body["since"] = .string(since)
            }
            let perSecond = try rate.map(Self.perSecond)
            if let perSecond { body["rate"] = .number(perSecond) }
            let (type, start) = (type, from)
            let answer = try await JobsCommand.ask(place, "POST", "/v1/jobs/redrive", .object(body)) { desk in
                let count = try await desk.store.redrive(org: org, type: type, since: start, rate: perSecond)
                return ["redriven": .integer(Int64(count))]
            }
            Output.line("redriven \(answer["redriven"]?.integer ?? 0)")
            JobsCommand.warn(answer)
        }

        private static func perSecond(_ text: String) throws -> Double {
            let number = text.hasSuffix("/s") ? text.dropLast(2) : text[...]
            guard let value = Double(number), JobLimits.redriveRates.contains(value) else {
                throw ValidationError("--rate is a number from 0.001 to 10000, such as 10/s")
            }
            return value
        }
    }

    struct Trial: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Enqueue jobs that do nothing, to see the queue work.",
            discussion: "On Redis where the server has one; needs a running server.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "How many, 1 to 10000.")
        var count = 1

        func validate() throws {
            guard JobTrial.counts.contains(count) else { throw ValidationError("--count is 1 to 10000") }
        }

        func run() async throws {
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure("no server runs on \(configuration.dataDirectory): start one with aurum serve")
            }
            let answer = try await ServerClient(contact: contact).call(
                "POST", "/v1/jobs/trial", body: ["count": .integer(Int64(count))])
            Output.line(
                "enqueued \(answer["enqueued"]?.integer ?? 0) \(answer["type"]?.string ?? "") in "
                    + (answer["home"]?.string ?? ""))
        }
    }

    // MARK: both ways

    /// Says which jobs the server could not ask for.
    private static func warn(_ answer: JSONValue) {
        let away = (answer["unavailable"]?.array ?? []).compactMap(\.string)
        if !away.isEmpty { Output.error("without the jobs on \(away.joined(separator: ", ")), which is away") }
    }

    /// The tables of a folder that no server uses.
    struct Desk: Sendable {
        let store: SQLJobStore
        let reads: JobReads
    }

    static func uid(_ text: String) throws -> UID {
        guard let id = UID(text) else { throw ValidationError("\(text) is no id of a job: it has 32 hex digits") }
        return id
    }

    private static func line(_ job: JSONValue) -> String {
        var line = ["id", "type", "state", "priority", "due_at"].map { job[$0]?.string ?? "" }.joined(separator: "  ")
        line += "  attempt \(job["attempt"]?.integer ?? 0) of \(job["attempts_max"]?.integer ?? 0)"
        if job["home"]?.string == JobHome.redis.rawValue { line += "  on redis" }
        if let reason = job["dead_reason"]?.string { line += "  \(reason)" }
        if let last = job["failures"]?.array?.last?["code"]?.string { line += "  (\(last))" }
        return line
    }

    /// The server's answer, or that of the folder when no server runs.
    static func ask(
        _ place: Place, _ method: String, _ path: String, _ body: JSONValue?,
        here: @Sendable (Desk) async throws -> JSONValue
    ) async throws -> JSONValue {
        let configuration = try await place.options.read()
        if let contact = ServerContact.read(folder: configuration.dataDirectory) {
            return try await ServerClient(contact: contact).call(method, path, body: body)
        }
        let registry = MetricRegistry()
        let folder = try DataFolder(configuration)
        let database = try await Openings.database(configuration, registry: registry, clock: SystemWallClock())
        defer {
            try? database.close()
            withExtendedLifetime(folder) {}
        }
        do {
            let store = SQLJobStore(
                database: database, fences: SQLFences(database: database, isShared: true), registry: registry,
                time: DatabaseClock(registry: registry))
            return try await here(Desk(store: store, reads: store.reads))
        } catch let error as JobError { throw CommandFailure(error.sentence) }
    }
}
