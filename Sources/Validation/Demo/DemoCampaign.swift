internal import AurumCore

/// Where a demo visitor comes from, and how many of all visitors do.
struct DemoCampaign: Sendable {
    var weight: Int
    var source: String?
    var medium: String?
    var campaign: String?
    var term: String?
    /// Name of the click id in the landing URL.
    var clickParameter: String?
    var network: String?
    var referrer: String?
    /// Share of visitors who open the chat, relative to the demo's setting.
    var appetite: Double
    /// What a click costs about; nil where nobody is paid.
    var clickPriceCents: Int64?
    /// Of a hundred clicks, how many its network claims to have led to a sale; nil for one that claims nothing.
    var claimedPercent: ClosedRange<Int>?

    static let all: [DemoCampaign] = [
        DemoCampaign(
            weight: 26, source: "google", medium: "cpc", campaign: "nyc-solar-nonbrand", term: "solar panels brooklyn",
            clickParameter: "gclid", network: "google", referrer: "https://www.google.com/", appetite: 1.1,
            clickPriceCents: 640, claimedPercent: 25...55),
        DemoCampaign(
            weight: 12, source: "google", medium: "cpc", campaign: "nyc-solar-brand", term: "aurum solar",
            clickParameter: "gclid", network: "google", referrer: "https://www.google.com/", appetite: 1.5,
            clickPriceCents: 210, claimedPercent: 40...75),
        DemoCampaign(
            weight: 24, source: "facebook", medium: "paid_social", campaign: "homeowners-queens-video",
            clickParameter: "fbclid", network: "meta", referrer: "https://l.facebook.com/", appetite: 0.8,
            clickPriceCents: 330, claimedPercent: 80...100),
        DemoCampaign(
            weight: 10, source: "newsletter", medium: "email", campaign: "november-tax-credit", appetite: 1.3,
            clickPriceCents: 25),
        DemoCampaign(weight: 16, referrer: "https://www.google.com/", appetite: 0.9),
        DemoCampaign(weight: 12, appetite: 0.7),
    ]

    static func draw(_ random: inout SeededRandom) -> DemoCampaign {
        var left = Int.random(in: 0..<all.reduce(0) { $0 + $1.weight }, using: &random)
        for campaign in all {
            left -= campaign.weight
            if left < 0 { return campaign }
        }
        return all[0]
    }

    /// Another network's campaign whose advertisement the same person may have followed before; nil where this one is
    /// of no network that knows its clicks.
    func rival(_ random: inout SeededRandom) -> DemoCampaign? {
        guard clickParameter != nil else { return nil }
        return Self.all.filter { $0.clickParameter != nil && $0.network != network }.randomElement(using: &random)
    }

    /// The paid campaigns in turn: who comes first shows more than one.
    static func opening(_ number: UInt64) -> DemoCampaign { all[Int(number % 4)] }

    var utm: [String: String] {
        var members: [String: String] = [:]
        members["source"] = source
        members["medium"] = medium
        members["campaign"] = campaign
        members["term"] = term
        return members
    }

    /// The page an advertisement leads to, with its parameters.
    func landing(base: String, clickID: String?) -> String {
        var parameters: [String] = []
        for (name, value) in [("source", source), ("medium", medium), ("campaign", campaign), ("term", term)] {
            if let value { parameters.append("utm_\(name)=\(value.split(separator: " ").joined(separator: "+"))") }
        }
        if let clickParameter, let clickID { parameters.append("\(clickParameter)=\(clickID)") }
        return base + "/" + (parameters.isEmpty ? "" : "?" + parameters.joined(separator: "&"))
    }
}
