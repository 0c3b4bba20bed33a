internal import ArgumentParser
internal import AurumCore
internal import Foundation
internal import Logging
internal import Telemetry
internal import Validation

/// Load against a running server.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Send a load of events to a server and measure it honestly.",
        discussion: """
            Bodies are rendered once and get fresh ids and times before every send, so nothing is a duplicate. With \
            --rate arrivals are scheduled before the run and latency counts from the intended start; a generator that \
            could not keep up voids the run (exit 2).
            """)

    @Option(name: .long, help: "URL of the server, for example http://127.0.0.1:8080.")
    var target = "http://127.0.0.1:8080"
    @Option(name: .long, help: "A key with events:write; repeat for several apps.")
    var key: [String] = []
    @Option(name: .long, help: "Events a second; without it as many as the connections carry.")
    var rate: Double?
    @Option(name: .long, help: "Seconds to measure.")
    var duration = 10.0
    @Option(name: .long, help: "Seconds before measuring.")
    var warmUp = 1.0
    @Option(name: .long, help: "Connections.")
    var connections = 48
    @Option(name: .long, help: "Threads of the generator.")
    var threads = 1
    @Option(name: .long, help: "Events a request.")
    var batch = 800
    @Option(name: .long, help: "standard or harsh.")
    var profile = "standard"
    @Option(name: .long, help: "Seed of the data.")
    var seed: UInt64 = 7
    @Option(name: .long, help: "Metrics URL of the server, for its CPU and memory.")
    var metrics: String?
    @Option(name: .long, help: "Process id of the server, for its CPU.")
    var pid: Int32?
    @Option(name: .long, help: "Send the *.ndjson files of this folder instead, each once.")
    var replay: String?
    @Flag(name: .long, help: "Drive a built-in server that does nothing: what this generator and machine can do.")
    var null = false
    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        guard let profile = LoadPlan.Profile(rawValue: profile) else {
            throw ValidationError("--profile is standard or harsh")
        }
        guard null || !key.isEmpty else { throw ValidationError("--key is missing: a key with events:write") }
        LoggingSystem.bootstrap { StructuredLogHandler(label: $0, level: .warning, format: .pretty) }
        var plan = LoadPlan(target: target, keys: key)
        plan.eventsPerSecond = rate
        plan.seconds = duration
        plan.warmUpSeconds = warmUp
        plan.connections = connections
        plan.threads = threads
        plan.batch = batch
        plan.profile = profile
        plan.seed = seed
        plan.metricsURL = metrics
        plan.targetPID = pid
        if let replay { return try await send(replay) }
        if null { plan.keys = ["null"] }
        let report =
            null
            ? try await NullServerLoad.run(plan) : try await EventLoad(plan, logger: Logger(label: "load")).run()
        Output.line(json ? report.json : report.table)
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }

    private func send(_ folder: String) async throws {
        var replay = EventReplay(target: target, keys: key, folder: folder)
        replay.connections = connections
        replay.threads = threads
        replay.metricsURL = metrics
        replay.targetPID = pid
        let report: ReplayReport
        do { report = try await replay.run(logger: Logger(label: "load")) } catch LoadError.noData(let folder) {
            throw CommandFailure("\(folder) holds no *.ndjson file")
        }
        Output.line(json ? report.json : report.table)
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }
}
