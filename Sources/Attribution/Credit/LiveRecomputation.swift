package import AurumCore
package import Logging

/// Looks again at the credit of every live lead and sale of a time range because somebody asks, those from before the
/// credit was followed among them. May be given up and begun again at any moment: what is restated stays, and doing it
/// once more changes nothing.
package struct LiveRecomputation: Sendable {
    /// Leads and sales of an organisation at `from` or later and before `to`, the newest first, no more than asked for.
    package typealias Page =
        @Sendable (_ org: String, _ from: Timestamp, _ to: Timestamp, _ limit: Int) async throws -> [LiveCredit]

    private let attribution: AttributionService
    private let page: Page
    private let logger: Logger
    /// Leads and sales of one page.
    package static let pageSize = 500

    package init(_ attribution: AttributionService, page: @escaping Page, logger: Logger) {
        (self.attribution, self.page, self.logger) = (attribution, page, logger)
    }

    /// Removes older versions of credit that are kept no longer.
    package func purge() async throws { try await attribution.purgeRestated() }

    /// - Parameter progress: told how many leads and sales were looked at, after each page.
    /// - Returns: how many were looked at, and how many have other credit now.
    /// - Throws: database errors and what the log throws; what was done stays done.
    @discardableResult
    package func run(
        org: String, from: Timestamp?, to: Timestamp?, pageSize: Int = LiveRecomputation.pageSize,
        progress: @Sendable (Int) async throws -> Void = { _ in }
    ) async throws -> (looked: Int, changed: Int) {
        let from = from ?? Timestamp(microseconds: 0)
        var to = to ?? Timestamp.end
        var (looked, changed) = (0, 0)
        // Of the oldest moment of the page before: they come once more with the next.
        var seen: Set<UID> = []
        while true {
            let found = try await page(org, from, to, pageSize + seen.count)
            let all = found.filter { !seen.contains($0.item) }
            for live in all {
                try Task.checkCancellation()
                if try await restate(live) { changed += 1 }
            }
            looked += all.count
            try await progress(looked)
            guard found.count == pageSize + seen.count, let oldest = found.last?.at else { break }
            let next = Timestamp(microseconds: oldest.microseconds + 1)
            let ofOldest = found.lazy.filter { $0.at == oldest }.map(\.item)
            seen = next == to ? seen.union(ofOldest) : Set(ofOldest)
            to = next
        }
        logger.info(
            "credit of leads and sales was looked at again",
            metadata: [
                "code": "credit_recomputed", "org": "\(org)", "looked_at": "\(looked)", "changed": "\(changed)",
            ])
        return (looked, changed)
    }

    private func restate(_ live: LiveCredit) async throws -> Bool {
        do { return try await attribution.restate(live, cause: .late) == .restated } catch let error as CreditError {
            // One that does not add up keeps no other from it.
            logger.error(
                "credit could not be restated",
                metadata: ["code": "credit_unbalanced", "org": "\(live.org)", "error": "\(error)"])
            return false
        }
    }
}
