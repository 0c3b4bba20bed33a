package import AurumCore

/// What the demo's campaigns cost, and how many sales their networks claim, as those would report it: a month up to
/// today, through the public API.
package struct DemoSpend: Sendable {
    private let baseURL: String
    private let key: String
    private let seed: UInt64

    /// Days that are imported, today's included.
    package static let days = 30
    /// What a network says that a hundredth of a sale is worth.
    private static let claimedCents = 58

    /// - Parameter key: with `campaigns:write`.
    package init(baseURL: String, key: String, seed: UInt64) {
        (self.baseURL, self.key, self.seed) = (baseURL, key, seed)
    }

    /// Sends the month. The same day and seed give the same rows, so that a second start changes nothing.
    /// - Throws: when the server cannot be reached or refuses.
    package func send(today: CivilDate) async throws {
        let answer = try await APIClient(baseURL, key: key).send(
            "POST", "/v1/spend?timezone=UTC", body: Array(Self.csv(today: today, seed: seed).utf8),
            contentType: "text/csv")
        guard answer.status == 200 else { throw DemoError.refused(status: answer.status, code: answer.code) }
    }

    /// A month of rows: cost in proportion to visitors, clicks a bit more, impressions by a click rate of each network,
    /// and of the clicks as many claimed as sales as the network dares to. Advertisements for the app cost about the
    /// same every day, and nobody claims their purchases.
    package static func csv(today: CivilDate, seed: UInt64) -> String {
        var text = "date,network,campaign,country,currency,spend,impressions,clicks,conversions,value\n"
        for back in (0..<days).reversed() {
            let date = CivilDate(daysSince1970: today.daysSince1970 - back)
            // Each day is drawn by itself: tomorrow, today's rows are the same.
            var random = SeededRandom(seed: seed &+ UInt64(bitPattern: Int64(date.daysSince1970)))
            var claims = SeededRandom(seed: seed &+ 0x43_4c_41_49 &+ UInt64(bitPattern: Int64(date.daysSince1970)))
            let isWeekend = [2, 3].contains((date.daysSince1970 % 7 + 7) % 7)
            for campaign in DemoCampaign.all {
                guard let name = campaign.campaign, let price = campaign.clickPriceCents else { continue }
                let usual = Double(campaign.weight) * (isWeekend ? 0.7 : 1)
                let clicks = Int(usual * Double.random(in: 0.8...1.2, using: &random) / 8) + 1
                let cents = (0..<clicks).reduce(Int64(0)) { sum, _ in
                    sum + Int64.random(in: (price * 7 / 10)...(price * 13 / 10), using: &random)
                }
                let impressions = clicks * Int.random(in: 28...60, using: &random)
                text += "\(date),\(campaign.network ?? campaign.source ?? "other"),\(name),US,USD,"
                text += "\(Money.usd(cents: cents).decimal),\(impressions),\(clicks),"
                text += claim(campaign, clicks: clicks, &claims) + "\n"
            }
            for (advertiser, usual) in DemoPhones.dailyCents {
                let cents = Int64.random(in: (usual * 7 / 10)...(usual * 13 / 10), using: &claims)
                let clicks = Int.random(in: 2...6, using: &claims)
                text += "\(date),\(advertiser.network),\(advertiser.campaign),US,USD,"
                text += "\(Money.usd(cents: cents).decimal),\(clicks * 40),\(clicks),,\n"
            }
        }
        return text
    }

    /// The cells `conversions` and `value`: networks claim parts of sales.
    private static func claim(_ campaign: DemoCampaign, clicks: Int, _ random: inout SeededRandom) -> String {
        guard let percent = campaign.claimedPercent else { return "," }
        let hundredths = clicks * Int.random(in: percent, using: &random)
        let value = Money.usd(cents: Int64(hundredths * claimedCents)).decimal
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100),\(value)"
    }
}
