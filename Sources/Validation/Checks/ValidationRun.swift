internal import AurumCore
internal import Foundation
package import Logging
internal import ServiceLifecycle

/// Runs the checks of a profile against one server and writes the reports.
package struct ValidationRun: Sendable {
    private let target: ValidationTarget
    private let profile: ValidationProfile
    private let suite: String?
    private let chosen: [String]
    private let phases: [String]
    private let rate: LoadRate?
    private let out: String
    private let server: SpawnedServer?
    private let postgres: (@Sendable () async throws -> any OutsideServer)?
    private let seed: UInt64
    private let command: String
    private let build: BuildFacts
    private let logger: Logger
    private let progress: @Sendable (CheckResult) -> Void

    /// - Parameters:
    ///   - checks: ids; empty means all of the profile.
    ///   - phases: only checks of these phases; empty means all.
    ///   - rate: what the event scenarios offer instead of their bar.
    ///   - server: the spawned server behind `target`; nil forbids the checks that kill it.
    ///   - postgres: starts a PostgreSQL server for the checks that kill one; nil leaves them void.
    ///   - progress: called after each check.
    package init(
        target: ValidationTarget, profile: ValidationProfile = .smoke, suite: String? = nil, checks: [String] = [],
        phases: [String] = [], rate: LoadRate? = nil, out: String, server: SpawnedServer? = nil,
        postgres: (@Sendable () async throws -> any OutsideServer)? = nil, seed: UInt64 = 7,
        command: String, build: BuildFacts,
        logger: Logger = Logger(label: "aurum.validate"),
        progress: @escaping @Sendable (CheckResult) -> Void = { _ in }
    ) {
        self.target = target
        self.profile = profile
        self.suite = suite
        chosen = checks
        self.phases = phases
        self.rate = rate
        self.out = out
        self.server = server
        self.postgres = postgres
        self.seed = seed
        self.command = command
        self.build = build
        self.logger = logger
        self.progress = progress
    }

    package static var list: [CheckListing] {
        CheckList.all.map {
            CheckListing(
                id: $0.id, title: $0.title, phase: $0.phase, suites: $0.suites.sorted(), threshold: $0.threshold,
                source: $0.source, profiles: $0.profiles.map(\.rawValue).sorted())
        }
    }

    /// Never throws: what goes wrong is in the report, which is also written to `out`.
    package func run() async -> ValidationReport {
        let clock = ContinuousClock()
        let start = clock.now
        let startedAt = SystemWallClock().now
        let runID = UID(now: startedAt).hex
        var results: [CheckResult] = []
        var unreachable = !(await isReachable())
        if !unreachable {
            do { results = try await runAll(runID) } catch {
                logger.error("validation could not begin", metadata: ["error": "\(error)"])
                unreachable = true
            }
        }
        let report = ValidationReport(
            runID: runID, command: command, profile: profile.rawValue, target: target.url, seed: seed, build: build,
            machine: .current, startedAt: startedAt, seconds: (clock.now - start).seconds, unreachable: unreachable,
            results: results)
        do { try report.write(to: out) } catch {
            logger.error("the report cannot be written", metadata: ["folder": "\(out)", "error": "\(error)"])
        }
        return report
    }

    /// Three seconds for somebody to answer at all.
    private func isReachable() async -> Bool {
        for _ in 0..<3 {
            let answer = try? await APIClient(target.url).send(
                "GET", "/health/live", body: nil, timeout: .seconds(1))
            if answer?.status == 200 { return true }
        }
        return false
    }

    /// Phases whose figures a debug build cannot have.
    private static let judgedPhases = ["performance", "load", "spike", "endurance"]

    /// Phases that `phases` may name.
    package static var phases: [String] { Set(CheckList.all.map(\.phase)).sorted() }

    private var selected: [Check] {
        CheckList.all.filter { check in
            guard chosen.isEmpty else { return chosen.contains(check.id) }
            return check.profiles.contains(profile) && (suite.map(check.suites.contains) ?? true)
                && (phases.isEmpty || phases.contains(check.phase))
        }
    }

    private func runAll(_ runID: String) async throws -> [CheckResult] {
        try await FakesServer.withRunning(buyers: CheckList.buyers) { fakes, url in
            var results: [CheckResult] = []
            for check in selected {
                var result = await run(check, runID, fakes, url)
                if let server, await !server.isRunning { result = await revived(server, after: result) }
                results.append(result)
                progress(result)
            }
            if let server { keepOutput(await server.output) }
            return results
        }
    }

    /// The server ended by itself during a check: that check has failed, and the next ones get a new start.
    private func revived(_ server: SpawnedServer, after result: CheckResult) async -> CheckResult {
        var result = result
        let last = await server.output.split(separator: "\n").suffix(12).joined(separator: "\n")
        result.verdict = .fail
        result.findings.append("the server ended during this check; its last lines: \(last)")
        keepOutput(await server.output)
        do { _ = try await server.restart() } catch {
            result.findings.append("it could not be started again: \(error)")
        }
        return result
    }

    private func keepOutput(_ text: String) {
        let folder = URL(fileURLWithPath: out).appendingPathComponent("raw")
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("server.log")
        let earlier = (try? Data(contentsOf: file)) ?? Data()
        try? (earlier + Data(text.utf8)).write(to: file)
    }

    private func run(_ check: Check, _ runID: String, _ fakes: FakesServer, _ url: String) async -> CheckResult {
        let findings = Findings(id: check.id, rawFolder: out + "/raw")
        if build.mode != "release", Self.judgedPhases.contains(check.phase), profile != .tiny {
            findings.isVoid(["a \(build.mode) build cannot be judged"])
        }
        let clock = ContinuousClock()
        let start = clock.now
        if check.needsOwnServer, server == nil {
            var result = findings.result(of: check, seconds: 0, error: nil)
            result.verdict = .notRun
            result.findings = ["it kills the server, which is done only with --spawn"]
            return result
        }
        let context = CheckContext(
            target: (try? await server?.currentTarget()) ?? target, server: server, fakes: fakes, fakesURL: url,
            runID: runID, seed: seed, profile: profile,
            scenario: EventScenario.of(profile, rate: rate), findings: findings, logger: logger,
            postgres: postgres)
        var problem: String?
        let wasStruck = await isStruck()
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await check.body(context, findings) }
                group.addTask {
                    try await Task.sleep(for: .seconds(check.seconds))
                    throw CheckError.tooLong(seconds: check.seconds)
                }
                defer { group.cancelAll() }
                try await group.next()
            }
        } catch { problem = "\(error)" }
        let isStruckNow = await isStruck()
        if wasStruck || isStruckNow {
            findings.isVoid(["the target injects faults on purpose: this says nothing about production"])
        }
        return findings.result(of: check, seconds: (clock.now - start).seconds, error: problem)
    }

    /// Whether the target strikes its own calls by a plan of faults: nothing that passes there may be called a PASS.
    private func isStruck() async -> Bool {
        let target = (try? await server?.currentTarget()) ?? target
        let answer = try? await APIClient(target.url, key: target.adminToken).get("/health")
        return answer?.json["components"]?["faults"]?["reason"] == "active"
    }
}
