internal import ArgumentParser
internal import Database
internal import Foundation
internal import Logging
internal import Telemetry
internal import Validation

/// Checks a running server from outside.
struct ValidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate", abstract: "Check a server from outside and report what was measured.",
        discussion: """
            --spawn starts this binary as a server of its own with fakes and a temporary folder; --target checks \
            another one.
            Exit 0 all passed, 1 a failure, 2 void, 3 wrong use, 4 target unreachable.
            """,
        subcommands: [Run.self, List.self], defaultSubcommand: Run.self)

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Run checks.")

        @Flag(name: .long, help: "Start an own server in a temporary folder.")
        var spawn = false
        @Option(name: .long, help: "URL of a running server.")
        var target: String?
        @Option(name: .long, help: "File with that server's admin token.")
        var tokenFile: String?
        @Option(name: .long, help: "Metrics URL of that server.")
        var metrics: String?
        @Option(name: .long, help: "smoke, standard, full, or tiny (the event scenarios in seconds, judging no speed).")
        var profile = "smoke"
        @Option(
            name: .long, help: "Only these phases, separated by commas, for example load,spike,endurance,resilience.")
        var phase: String?
        @Option(
            name: .long,
            help: "Events a second that the event scenarios offer instead of their bar, or calibrated.")
        var rate: String?
        @Option(name: .long, help: "Only checks of this area.")
        var suite: String?
        @Option(name: .long, help: "Only these ids, separated by commas.")
        var check: String?
        @Option(name: .long, help: "Folder of the reports.")
        var out = "reports/validate"
        @Option(name: .long, help: "Seed.")
        var seed: UInt64 = 7

        func run() async throws {
            guard let profile = ValidationProfile(rawValue: profile) else {
                throw wrongUse("--profile is smoke, standard, full or tiny")
            }
            let (phases, rate) = try (chosenPhases(), chosenRate())
            FileLimit.raise()
            guard spawn != (target != nil) else { throw wrongUse("give either --spawn or --target URL") }
            LoggingSystem.bootstrap { StructuredLogHandler(label: $0, level: .warning, format: .pretty) }
            let server = spawn ? SpawnedServer(environment: Self.environment) : nil
            let facts: ValidationTarget
            do {
                facts = try await address(server)
            } catch let error as ExitCode { throw error } catch {
                Output.error("the server cannot be reached: \(error)")
                throw ExitCode(4)
            }
            let run = ValidationRun(
                target: facts, profile: profile, suite: suite,
                checks: check?.split(separator: ",").map(String.init) ?? [], phases: phases, rate: rate,
                out: out, server: server, postgres: KillablePostgres.starter, seed: seed,
                command: CommandLine.arguments.dropFirst().joined(separator: " "),
                build: BuildFacts(version: Release.version, commit: Release.commit, mode: Release.mode),
                logger: Logger(label: "validate"),
                progress: { Output.line("\($0.id)  \($0.verdict.rawValue)") })
            let report = await run.run()
            await server?.stop()
            Output.line(report.summary)
            if report.exitCode != 0 { throw ExitCode(report.exitCode) }
        }

        private func chosenPhases() throws -> [String] {
            let phases = phase?.split(separator: ",").map(String.init) ?? []
            for phase in phases where !ValidationRun.phases.contains(phase) {
                throw wrongUse("no phase \(phase); phases are \(ValidationRun.phases.joined(separator: ", "))")
            }
            return phases
        }

        private func chosenRate() throws -> LoadRate? {
            guard let rate else { return nil }
            if rate == "calibrated" { return .calibrated }
            guard let number = Double(rate), number >= 1, number.isFinite else {
                throw wrongUse("--rate is a number of events a second, or calibrated")
            }
            return .perSecond(number)
        }

        private func address(_ server: SpawnedServer?) async throws -> ValidationTarget {
            if let server { return try await server.start() }
            guard let target, let tokenFile, let token = try? String(contentsOfFile: tokenFile, encoding: .utf8) else {
                throw wrongUse("--target needs --token-file with the admin token")
            }
            return ValidationTarget(
                url: target, adminToken: token.trimmingCharacters(in: .whitespacesAndNewlines), metricsURL: metrics,
                pid: nil)
        }

        private func wrongUse(_ sentence: String) -> ExitCode {
            Output.error(sentence)
            return ExitCode(3)
        }

        /// A machine that talks to itself has one address: its limit must not be a household's.
        private static let environment = [
            "AURUM_CHAT_CONVERSATIONS_PER_ADDRESS_HOUR": "100000", "AURUM_CHAT_MESSAGES_PER_TEN_SECONDS": "1000",
            "AURUM_EVENTS_PER_KEY_SECOND": "10000000",
        ]
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the checks.")

        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() throws {
            if json { return try Output.json(ValidationRun.list) }
            for listing in ValidationRun.list {
                Output.line("\(listing.id)  \(listing.phase)  \(listing.threshold)")
            }
        }
    }
}

/// A PostgreSQL server of this machine for one check, which kills it.
private struct KillablePostgres: OutsideServer {
    private let local: LocalPostgres

    /// Starts one; nil where its programs are not installed.
    static var starter: (@Sendable () async throws -> any OutsideServer)? {
        guard LocalPostgres.isInstalled else { return nil }
        return { KillablePostgres(local: try await LocalPostgres.start(isDurable: true)) }
    }

    var settings: [String: String] { ["AURUM_DATABASE_URL": local.url(schema: "public")] }

    func kill() async throws { try await local.kill() }
    func start() async throws { try await local.comeBack() }
    func end() async { await local.endApart() }
}
