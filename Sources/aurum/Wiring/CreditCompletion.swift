internal import Attribution
internal import AurumCore
internal import Leads
internal import Logging
internal import ServiceLifecycle

/// Gives sales that an earlier release credited to the first and last touch alone their credit under the other models,
/// once, while the server runs; then waits for its end.
struct CreditCompletion: Service {
    let attribution: AttributionService
    let leads: LeadReads
    let logger: Logger

    func run() async throws {
        do {
            let count = try await runOnce()
            if count > 0 { logger.info("credits completed", metadata: ["sales": "\(count)"]) }
        } catch {
            logger.error(
                "credits could not be completed", metadata: ["code": "credits_incomplete", "error": "\(error)"])
        }
        try? await gracefulShutdown()
    }

    /// Answers how many sales were completed.
    func runOnce() async throws -> Int {
        var (count, last) = (0, UID?.none)
        while !Task.isShuttingDownGracefully {
            let sales = try await attribution.incompleteSales(after: last)
            guard let newest = sales.last else { break }
            for sale in sales {
                if Task.isShuttingDownGracefully { break }
                do {
                    try await complete(sale)
                    count += 1
                } catch {
                    // One sale that cannot be completed keeps no other from it; the next start tries again.
                    logger.error(
                        "credits of a sale could not be completed",
                        metadata: ["code": "credits_incomplete", "leg": "\(sale.leg)", "error": "\(error)"])
                }
            }
            last = newest.leg
        }
        return count
    }

    private func complete(_ sale: IncompleteSale) async throws {
        let known = try await leads.explain(org: sale.org, leg: sale.leg)
        try await attribution.complete(
            Sale(
                org: sale.org, leg: sale.leg, traceID: known?["trace_id"]?.string.flatMap { UID($0) },
                visitorID: known?["visitor_id"]?.string, price: sale.price, at: sale.at,
                milestoneAt: known?["lead"]?["created_at"]?.string.flatMap { Timestamp(rfc3339: $0) }))
    }
}
