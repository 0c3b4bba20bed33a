internal import AurumCore
internal import Logging

/// What this generator can do on this machine against a server that does nothing.
package struct LoadCalibration: Sendable, Codable, Hashable {
    package var offeredPerSecond: Double
    package var acknowledgedPerSecond: Double
    package var sendLagP99Milliseconds: Double

    /// At least 99 % of what was offered was answered in time.
    package var kept: Bool { acknowledgedPerSecond >= 0.99 * offeredPerSecond }

    package var sentence: String {
        "\(decimal(acknowledgedPerSecond, 0)) of \(decimal(offeredPerSecond, 0)) events/s offered to it"
    }

    /// Drives the null server with the plan's bodies for `seconds` at `eventsPerSecond`.
    package static func measure(
        plan: LoadPlan, eventsPerSecond: Double, seconds: Double = 1.5
    ) async throws -> LoadCalibration {
        var trial = plan
        trial.eventsPerSecond = eventsPerSecond
        trial.steps = []
        trial.users = []
        trial.seconds = seconds
        trial.warmUpSeconds = seconds / 3
        trial.metricsURL = nil
        trial.targetPID = nil
        trial.calibrates = false
        trial.keepsAcknowledged = false
        trial.graceSeconds = 1
        let report = try await NullServerLoad.run(trial)
        return LoadCalibration(
            offeredPerSecond: eventsPerSecond, acknowledgedPerSecond: report.acknowledgedPerSecond,
            sendLagP99Milliseconds: report.generator.sendLagP99Milliseconds)
    }
}

/// Runs a plan against the built-in null server instead of its target.
package enum NullServerLoad {
    package static func run(_ plan: LoadPlan) async throws -> LoadReport {
        let server = try await ReferenceServer.start(delay: .none, itemsPerRequest: plan.batch)
        var trial = plan
        trial.target = server.url
        var logger = Logger(label: "aurum.load.null")
        logger.logLevel = .error
        let result: Result<LoadReport, any Error>
        do { result = .success(try await EventLoad(trial, logger: logger).run()) } catch { result = .failure(error) }
        await server.stop()
        return try result.get()
    }
}
