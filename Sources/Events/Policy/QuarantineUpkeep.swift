package import Logging
internal import ServiceLifecycle

/// Counts the quarantine at start and every hour, and forgets what is past its time.
package struct QuarantineUpkeep: Service {
    private let desk: QuarantineDesk
    private let logger: Logger
    private static let interval = Duration.seconds(3600)

    package init(desk: QuarantineDesk, logger: Logger) {
        self.desk = desk
        self.logger = logger
    }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await desk.tend()
                } catch { logger.warning("the quarantine cannot be counted", metadata: ["error": "\(error)"]) }
                guard (try? await Task.sleep(for: Self.interval)) != nil else { return }
            }
        }
    }
}
