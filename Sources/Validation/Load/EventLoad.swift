internal import AurumCore
package import Logging
internal import NIOCore
internal import NIOPosix

/// Runs an event load and measures it.
package struct EventLoad: Sendable {
    private let plan: LoadPlan
    private let logger: Logger
    private let starvedShare: Double

    /// - Parameter starvedShare: share of the time for which the generator's threads are kept from their work: the
    ///   canary that shows that the self-check notices.
    package init(_ plan: LoadPlan, logger: Logger = Logger(label: "aurum.load"), starvedShare: Double = 0) {
        self.plan = plan
        self.logger = logger
        self.starvedShare = starvedShare
    }

    package func run() async throws -> LoadReport { try await measure().0 }

    /// The report, and everything that was counted for it.
    package func measure() async throws -> (LoadReport, LoadTally) {
        guard !plan.keys.isEmpty else { throw LoadError.noKeys }
        let endpoint = try HTTPEndpoint(plan.target)
        guard !endpoint.isTLS else { throw LoadError.badTarget("\(plan.target): load speaks plain HTTP only") }
        var calibration: LoadCalibration?
        if plan.calibrates, let rate = plan.eventsPerSecond {
            calibration = try await LoadCalibration.measure(plan: plan, eventsPerSecond: rate * 2)
        }
        let meter = TargetMeter(metricsURL: plan.metricsURL, pid: plan.targetPID)
        let salt = plan.salt ?? UInt64(bitPattern: SystemWallClock().now.microseconds)
        let settings = LoadSettings(
            warmUpNanoseconds: nanoseconds(plan.lengthSeconds - plan.judgedSeconds),
            graceNanoseconds: nanoseconds(plan.graceSeconds), readsReceipts: true,
            keepsAcknowledged: plan.keepsAcknowledged, starvedShare: starvedShare)
        let bodies = (0..<plan.threads).map { makeBodies(endpoint, salt: salt, thread: $0) }
        logger.info("load begins", metadata: ["target": "\(plan.target)", "seconds": "\(plan.lengthSeconds)"])
        let started = SystemWallClock().now
        let usage = try await meter.during(plan.lengthSeconds, skipping: plan.warmUpSeconds) {
            try await LoadRunner.run(
                executor: plan.executor, endpoint: endpoint, settings: settings, sources: bodies)
        }
        let report = LoadReport(
            plan: plan, salt: salt, started: started, tally: usage.value, target: usage.reading,
            calibration: calibration, bytesPerEvent: bodies.first?.bytesPerEvent ?? 0)
        return (report, usage.value)
    }

    /// One HTTP head a key, still without its length.
    static func heads(_ plan: LoadPlan, _ endpoint: HTTPEndpoint) -> [String] {
        plan.keys.map { key in
            "POST /v1/events HTTP/1.1\r\nHost: \(endpoint.authority)\r\nAuthorization: Bearer \(key)\r\n"
                + "Content-Type: application/x-ndjson\r\n"
        }
    }

    private func makeBodies(_ endpoint: HTTPEndpoint, salt: UInt64, thread: Int) -> EventBodies {
        EventBodies(
            profile: plan.profile, batch: plan.batch,
            count: max(plan.templates, plan.executor.usersMax) / plan.threads + 1,
            heads: Self.heads(plan, endpoint), seed: plan.seed, salt: salt, thread: thread, threads: plan.threads)
    }
}

/// Spreads one load over threads and adds up what they counted.
enum LoadRunner {
    static func run<Source: RequestSource & Sendable>(
        executor: LoadExecutor, endpoint: HTTPEndpoint, settings: LoadSettings, sources: [Source]
    ) async throws -> LoadTally {
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: max(1, sources.count))
        let result: Result<LoadTally, any Error>
        do {
            let address = try SocketAddress.makeAddressResolvingHost(endpoint.host, port: endpoint.port)
            let drivers = sources.enumerated().map { index, source in
                LoadDriver(
                    loop: loops.next(), address: address, settings: settings,
                    schedule: LoadSchedule(
                        executor.share(index, of: sources.count), phase: Double(index) / Double(sources.count)),
                    source: source)
            }
            let tally = try await withThrowingTaskGroup(of: LoadTally.self) { tasks in
                for driver in drivers { tasks.addTask { try await driver.run() } }
                var sum = LoadTally()
                for try await part in tasks { sum.add(part) }
                return sum
            }
            result = .success(tally)
        } catch { result = .failure(error) }
        try await loops.shutdownGracefully()
        return try result.get()
    }
}
