import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// Credit of a sale over a real log and a real database.
struct AttributionServiceTests {
    @Test func `a sale is credited once to its first and last touch, and a return takes the credit back`() async throws
    {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        open.clock.advance(by: .seconds(3600))
        try await visit("2", "utm_source=newsletter&utm_medium=email&utm_campaign=reminder", log, open.clock)
        open.clock.advance(by: .seconds(60))

        let leg = UID(high: 1, low: 2)
        let sale = Sale(
            org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 18_201), at: open.clock.now)
        try await service.credit(sale)
        try await service.credit(sale)
        let first = try await service.revenue(org: "o", model: .first)
        let last = try await service.revenue(org: "o", model: .last)
        #expect(first.map(\.campaign) == ["spring"] && first.first?.revenueMinor == 18_201 && first.first?.sales == 1)
        #expect(last.map(\.campaign) == ["reminder"] && last.first?.revenueMinor == 18_201 && last.first?.sales == 1)
        #expect(first.first?.channel == "paid_search" && last.first?.channel == "email")
        #expect(try await service.revenue(org: "other", model: .first).isEmpty)

        try await service.reverse(org: "o", leg: leg)
        #expect(try await service.revenue(org: "o", model: .first).isEmpty)
        await log.close()
    }

    @Test func `a touch older than the window earns nothing, one at its edge does`() async throws {
        let open = try OpenDatabase(clock: ManualWallClock())
        let log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: Logger(label: "test"))
        let service = AttributionService(database: open.database, events: log.store)
        try await visit("1", "utm_source=google&utm_medium=cpc&utm_campaign=spring", log, open.clock)
        let start = open.clock.now
        let edge = start + LookbackWindow.leadSale.click
        for (low, at, campaign) in [
            (UInt64(1), edge, "spring"), (2, edge + .milliseconds(1), Credit.organic),
        ] {
            let leg = UID(high: 0, low: low)
            let sale = Sale(org: "o", leg: leg, traceID: nil, visitorID: "visitor", price: .usd(cents: 100), at: at)
            try await service.credit(sale)
            #expect(try await service.credits(org: "o", leg: leg, model: .last).map(\.campaign) == [campaign])
        }
        await log.close()
    }

    private func visit(_ id: String, _ query: String, _ log: EventLog, _ clock: ManualWallClock) async throws {
        let line = """
            {"id":"\(id)","type":"page","anonymous_id":"visitor","url":"https://a.example/?\(query)"}
            """
        let receipt = try await log.capture.submit(
            Array((line + "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
            receivedAt: clock.now)
        #expect(receipt.stored == 1)
    }
}
