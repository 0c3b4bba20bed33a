import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

/// What the credit of one sale follows from.
struct CreditBasisTests {
    @Test(arguments: Dialect.allCases)
    func `each touch that was looked at has its place or the reason that it earns nothing`(
        engine: Dialect
    ) async throws {
        let world = try CampaignWorld(on: engine)
        let (clock, hour) = (world.open.clock, Int64(3_600_000))
        func visit(_ id: String, hoursAgo: Int64, _ campaign: String, _ members: String = "") async throws {
            let line =
                "{\"id\":\"\(id)\",\"type\":\"page\",\"ts\":\(clock.now.milliseconds - hoursAgo * hour),"
                + "\"anonymous_id\":\"v\",\(members)\"url\":\"https://a.example/?utm_source=s&utm_medium=cpc"
                + "&utm_campaign=\(campaign)\"}\n"
            let receipt = try await world.log.capture.submit(
                Array(line.utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
                receivedAt: clock.now)
            #expect(receipt.stored == 1)
        }
        try await visit("old", hoursAgo: 0, "old")
        clock.advance(by: .seconds(31 * 86_400))
        try await visit("refused", hoursAgo: 3, "refused", "\"consent\":{\"ads\":\"denied\"},")
        try await visit("first", hoursAgo: 2, "spring")
        try await visit("again", hoursAgo: 2, "spring")
        try await visit("last", hoursAgo: 1, "summer")
        let sale = Sale(
            org: "o", leg: UID(high: 1, low: 1), traceID: nil, visitorID: "v", price: .usd(cents: 100), at: clock.now,
            milestoneAt: clock.now)
        try await world.attribution.credit(sale)
        let basis = try await world.attribution.basis(of: sale)
        var reasons: [String: String] = [:]
        for touch in basis["touches"]?.array ?? [] {
            #expect(touch["eligible"]?.bool == (touch["reason"] == .null))
            reasons[touch["event"]?.string ?? ""] = touch["reason"]?.string ?? "earns"
        }
        // Of two of one moment the first in the order of their ids stands.
        #expect(
            reasons == [
                "old": "outside_window", "refused": "no_consent", "again": "earns", "first": "same_touchpoint",
                "last": "earns",
            ])
        #expect(basis["version"] == 1 && basis["versions_before"] == [])
        #expect(basis["formulas"]?["linear"] == "1/n" && basis["formulas"]?.object?.count == CreditModel.allCases.count)
        #expect(basis["inputs"]?["click_hours"]?.double == 720 && basis["inputs"]?["view_hours"]?.double == 24)
        #expect(basis["inputs"]?["half_life_seconds"]?.double == 604_800)
        await world.log.close()
    }
}
