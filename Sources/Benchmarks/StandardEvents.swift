internal import AurumCore
internal import Foundation

/// The standard event profile: what a shop's pages send. Seeded, so that a run can be repeated.
///
/// 50,000 persons (Zipf 0.9; half known by user id, half anonymous), 400 campaigns, 3,000 pages, 12 names; half of the
/// events carry a campaign, 55 % a referrer, 20 % money.
struct StandardEvents {
    private var random: SeededRandom
    private var moment: Int64 = 1_795_224_568_000
    private let persons: ZipfTable
    private let campaigns: ZipfTable
    private let pages: ZipfTable
    private let names: ZipfTable
    private let anonymous: [String]
    private let campaignText: [String]

    private static let nameWords = [
        "Page Viewed", "Product Viewed", "Product Added", "Checkout Started", "Order Completed", "Signup Completed",
        "Search Performed", "CTA Clicked", "Video Played", "Form Submitted", "Coupon Applied", "Email Opened",
    ]
    private static let sources = [
        "google", "facebook", "newsletter", "bing", "tiktok", "partner", "instagram", "linkedin", "reddit", "x",
    ]
    private static let media = ["cpc", "social", "email", "organic", "affiliate", "display"]
    private static let words = [
        "spring", "summer", "autumn", "winter", "sale", "launch", "promo", "brand", "retarget", "lookalike",
    ]
    private static let referrers = [
        "https://www.google.com/", "https://www.facebook.com/", "https://l.instagram.com/", "https://www.bing.com/",
    ]

    init(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        persons = ZipfTable(50_000, 0.9)
        campaigns = ZipfTable(400, 1.1)
        pages = ZipfTable(3000, 1)
        names = ZipfTable(12, 1)
        anonymous = (0..<50_000).map { _ in Self.uuid(&random) }
        campaignText = (0..<400).map { number in
            func word(_ list: [String]) -> String { list[Int(random.next() % UInt64(list.count))] }
            return "\"utm_source\":\"\(word(Self.sources))\",\"utm_medium\":\"\(word(Self.media))\","
                + "\"utm_campaign\":\"\(word(Self.words))-\(word(Self.words))-\(word(Self.words))-"
                + "\(2024 + number % 3)\""
        }
        self.random = random
    }

    static func uuid(_ random: inout SeededRandom) -> String {
        let hex = UID(high: random.next(), low: random.next()).hex
        let parts = [
            hex.prefix(8), hex.dropFirst(8).prefix(4), hex.dropFirst(12).prefix(4), hex.dropFirst(16).prefix(4),
        ]
        return parts.joined(separator: "-") + "-" + hex.suffix(12)
    }

    private mutating func share() -> Double { Double(random.next() >> 11) * 0x1p-53 }

    mutating func body(_ count: Int) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(count * 350)
        for _ in 0..<count { body.append(contentsOf: line().utf8) }
        return body
    }

    private mutating func line() -> String {
        moment += Int64(random.next() % 3)
        let person = persons.pick(share())
        let who =
            person % 2 == 0
            ? "\"userId\":\"user_\(100_000 + person * 7919 % 900_000)\"" : "\"anonymousId\":\"\(anonymous[person])\""
        let name = Self.nameWords[names.pick(share())]
        var context = "\"channel\":\"paid_search\""
        if share() < 0.5 { context += "," + campaignText[campaigns.pick(share())] }
        var properties = "\"url\":\"https://shop.example.com/products/item-\(pages.pick(share()))\""
        if share() < 0.55 { properties += ",\"referrer\":\"\(Self.referrers[Int(random.next() % 4)])\"" }
        if share() < 0.2 {
            let cents = 1000 + random.next() % 20_000
            properties += ",\"revenue\":\(cents / 100).\(10 + cents % 90),\"currency\":\"USD\""
        }
        return "{\"type\":\"track\",\"event\":\"\(name)\",\"messageId\":\"\(Self.uuid(&random))\",\(who),"
            + "\"timestamp\":\"\(Timestamp(milliseconds: moment).rfc3339)\",\"context\":{\(context)},"
            + "\"properties\":{\(properties)}}\n"
    }
}

/// Picks from 0..<count with weight 1/(rank^exponent).
struct ZipfTable {
    private let cumulative: [Double]

    init(_ count: Int, _ exponent: Double) {
        var total = 0.0
        var sums: [Double] = []
        for rank in 1...count {
            total += pow(Double(rank), -exponent)
            sums.append(total)
        }
        cumulative = sums.map { $0 / total }
    }

    /// - Parameter share: uniform in 0..<1.
    func pick(_ share: Double) -> Int {
        var low = 0
        var high = cumulative.count - 1
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] < share { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
