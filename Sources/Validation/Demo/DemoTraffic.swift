internal import AurumCore
package import Logging
internal import ServiceLifecycle

/// Visitors of several campaigns who come to a running Aurum, look at pages and talk with the advisor, until stopped.
///
/// Seeded: who comes, from where and what they answer repeats with the seed; ids and contacts are fresh in each run, so
/// that a second run on the same data makes new people and not duplicates.
package struct DemoTraffic: Service {
    package struct Configuration: Sendable {
        package var baseURL: String
        package var publishableKey: String
        package var zips: [DemoZIP]
        package var seed: UInt64
        package var visitorsPerMinute: Double
        /// Share of visitors who open the chat.
        package var chatShare: Double
        /// Visitors who come first and talk fast, so that sales are seen from the first seconds on.
        package var openingRush: Int

        package init(
            baseURL: String, publishableKey: String, zips: [DemoZIP], seed: UInt64 = 2026,
            visitorsPerMinute: Double = 40, chatShare: Double = 0.4, openingRush: Int = 5
        ) {
            self.baseURL = baseURL
            self.publishableKey = publishableKey
            self.zips = zips
            self.seed = seed
            self.visitorsPerMinute = visitorsPerMinute
            self.chatShare = chatShare
            self.openingRush = openingRush
        }
    }

    private let configuration: Configuration
    private let logger: Logger
    /// Visitors at once; more wait outside.
    private static let visitorsMax = 200

    package init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    package func run() async throws {
        try await cancelWhenGracefulShutdown {
            do { try await stream() } catch is CancellationError {}
        }
    }

    private func stream() async throws {
        var random = SeededRandom(seed: configuration.seed)
        let fresh = UInt64(bitPattern: SystemWallClock().now.microseconds)
        let meanGap = 60 / max(0.1, configuration.visitorsPerMinute)
        try await withThrowingDiscardingTaskGroup { visitors in
            let present = VisitorCount()
            var number: UInt64 = 0
            while !Task.isCancelled {
                let hurries = isHurried(number)
                if present.enter(max: DemoTraffic.visitorsMax) {
                    let visitor = DemoVisitor(
                        configuration, number: fresh &+ number, hurries: hurries,
                        random: SeededRandom(seed: random.next()))
                    visitors.addTask {
                        await come(visitor)
                        present.leave()
                    }
                }
                number += 1
                let gap = number < 2 ? 0.2 : Double.random(in: 0.3...1.7, using: &random) * meanGap
                try await Task.sleep(for: .seconds(gap))
            }
        }
    }

    /// The first two, then every fourth until the opening is over: thoughtful visitors take half a minute to a sale.
    private func isHurried(_ number: UInt64) -> Bool {
        let rush = UInt64(max(0, configuration.openingRush))
        return number < min(2, rush) || (number.isMultiple(of: 4) && number < rush * 4)
    }

    /// A visitor whom the server refuses is logged, and the stream goes on.
    private func come(_ visitor: DemoVisitor) async {
        var visitor = visitor
        do { try await visitor.visit() } catch is CancellationError {} catch {
            logger.warning("a demo visitor had to leave", metadata: ["error": "\(error)"])
        }
    }
}
