internal import Foundation

/// Which events a load or a benchmark is made of: the data that the throughput and ratio bars are stated for.
package enum EventProfile: String, Sendable, Codable, CaseIterable {
    /// 50,000 persons with Zipf 0.9, half of them by user id; 400 campaigns; 3,000 URLs; about 342 bytes an event.
    case standard
    /// Every person an anonymous UUID, 400,000 nearly uniform; 20,000 URLs.
    case harsh
}

/// Draws 0..<count with probability proportional to 1 / (rank + 1)^exponent.
package struct ZipfDistribution: Sendable {
    private let cumulative: [Double]

    package init(count: Int, exponent: Double) {
        var sum = 0.0
        var sums: [Double] = []
        sums.reserveCapacity(count)
        for rank in 1...max(1, count) {
            sum += 1 / pow(Double(rank), exponent)
            sums.append(sum)
        }
        cumulative = sums
    }

    package func draw(_ random: inout SeededRandom) -> Int {
        rank(at: Double.random(in: 0..<1, using: &random))
    }

    /// The rank below which lies `share` of the weight, 0…1.
    package func rank(at share: Double) -> Int {
        let target = share * (cumulative.last ?? 1)
        var low = 0
        var high = cumulative.count - 1
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] > target { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// The population that standard events are drawn from, seeded: 12 names, a campaign in half of the events, a referrer
/// in 55 %, money in 20 %. The one source of this data for load generator and benchmarks.
package struct EventPopulation: Sendable {
    /// What was drawn for one event, and where its id (36 bytes) and time (24 bytes) stand in the body.
    package struct Drawn: Sendable {
        package var id: Int
        package var time: Int
        /// Place in `EventPopulation.names`.
        package var name: Int
        /// Hundredths of `currency`; nil where the event carries no money.
        package var cents: Int64?
        /// Place in `EventPopulation.currencies`.
        package var currency = 0
    }

    private let persons: ZipfDistribution
    private let nameRanks = ZipfDistribution(count: EventPopulation.names.count, exponent: 1)
    private let campaigns = ZipfDistribution(count: 400, exponent: 1.1)
    private let urls: ZipfDistribution
    private let referrerRanks = ZipfDistribution(count: EventPopulation.referrers.count, exponent: 1)
    private let currencyRanks = ZipfDistribution(count: EventPopulation.currencies.count, exponent: 1.5)
    private let contexts: [(full: String, bare: String)]
    private let paths: [String]
    private let profile: EventProfile
    private let identitySeed: UInt64

    package init(_ profile: EventProfile, seed: UInt64) {
        self.profile = profile
        identitySeed = seed
        persons = ZipfDistribution(
            count: profile == .standard ? 50_000 : 400_000, exponent: profile == .standard ? 0.9 : 0.05)
        let urlCount = profile == .standard ? 3000 : 20_000
        urls = ZipfDistribution(count: urlCount, exponent: 1)
        var random = SeededRandom(seed: seed ^ 3)
        let words = EventPopulation.words
        func pick(_ list: [String]) -> String { list.randomElement(using: &random) ?? "" }
        contexts = (0..<400).map { index in
            let channel = pick(EventPopulation.channels)
            let source = pick(EventPopulation.sources)
            let medium = pick(EventPopulation.media)
            let name = "\(pick(words))-\(pick(words))-\(pick(words))-\(2024 + index % 3)"
            let bare = #""channel":"\#(channel)""#
            let utm = #","utm_source":"\#(source)","utm_medium":"\#(medium)","utm_campaign":"\#(name)""#
            return (bare + utm, bare)
        }
        paths = (0..<urlCount).map {
            "/\(pick(["products", "category", "blog", "collections"]))/\(pick(words))-\(pick(words))-\($0)"
        }
    }

    /// Appends one event as a line, its id and time still to be written over zeros.
    package func append(to body: inout [UInt8], _ random: inout SeededRandom) -> Drawn {
        var drawn = Drawn(id: 0, time: 0, name: nameRanks.draw(&random))
        body.append(contentsOf: #"{"type":"track","event":"\#(Self.names[drawn.name])","messageId":""#.utf8)
        drawn.id = body.count
        body.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: EventPopulation.idBytes))
        body.append(contentsOf: #"",\#(person(&random)),"timestamp":""#.utf8)
        drawn.time = body.count
        body.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: EventPopulation.timeBytes))
        let context = contexts[campaigns.draw(&random)]
        body.append(contentsOf: #"","context":{"#.utf8)
        body.append(contentsOf: (Bool.random(using: &random) ? context.full : context.bare).utf8)
        body.append(contentsOf: #"},"properties":{"url":"https://shop.example.com\#(paths[urls.draw(&random)])""#.utf8)
        if Double.random(in: 0..<1, using: &random) < 0.55 {
            body.append(contentsOf: #","referrer":"\#(Self.referrers[referrerRanks.draw(&random)])""#.utf8)
        }
        if Double.random(in: 0..<1, using: &random) < 0.20 {
            drawn.currency = currencyRanks.draw(&random)
            let cents = revenueCents(&random)
            drawn.cents = cents
            let currency = Self.currencies[drawn.currency]
            body.append(contentsOf: #","revenue":\#(Self.decimal(cents: cents)),"currency":"\#(currency)""#.utf8)
        }
        body.append(contentsOf: "}}\n".utf8)
        return drawn
    }

    package static let idBytes = 36
    package static let timeBytes = 24

    /// `1234` as `12.34`.
    package static func decimal(cents: Int64) -> String {
        let rest = cents % 100
        return "\(cents / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    /// The text of a version 4 UUID made of these bits; six of them are replaced by version and variant.
    package static func uuid(_ high: UInt64, _ low: UInt64) -> String {
        let hex = Array(
            UID(
                high: high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
            ).hex.utf8)
        var text: [UInt8] = []
        text.reserveCapacity(idBytes)
        for (index, digit) in hex.enumerated() {
            if [8, 12, 16, 20].contains(index) { text.append(UInt8(ascii: "-")) }
            text.append(digit)
        }
        return String(decoding: text, as: UTF8.self)
    }

    private func person(_ random: inout SeededRandom) -> String {
        let rank = persons.draw(&random)
        var identity = SeededRandom(seed: identitySeed &+ UInt64(rank) &* 0x9E37_79B9)
        let high = identity.next()
        if profile == .standard, high & 1 == 0 {
            let digits = String(rank * 7919 % 1_000_003)
            return #""userId":"user_\#(String(repeating: "0", count: max(0, 6 - digits.utf8.count)) + digits)""#
        }
        return #""anonymousId":"\#(Self.uuid(high, identity.next()))""#
    }

    /// Log-normal with mean exponent 4 and deviation 0.8: what baskets look like.
    private func revenueCents(_ random: inout SeededRandom) -> Int64 {
        var sum = 0.0
        for _ in 0..<12 { sum += Double.random(in: 0..<1, using: &random) }
        return Int64((exp(4 + 0.8 * (sum - 6)) * 100).rounded())
    }

    package static let names = [
        "Page Viewed", "Product Viewed", "Product Added", "Checkout Started", "Order Completed", "Signup Completed",
        "Search Performed", "CTA Clicked", "Video Played", "Form Submitted", "Coupon Applied", "Email Opened",
    ]
    package static let currencies = ["USD", "EUR", "GBP", "JPY"]
    private static let channels = [
        "paid_search", "organic", "email", "social", "direct", "affiliate", "display", "push",
    ]
    private static let sources = [
        "google", "facebook", "newsletter", "bing", "tiktok", "partner", "instagram", "linkedin", "reddit", "x",
    ]
    private static let media = ["cpc", "social", "email", "organic", "affiliate", "display"]
    private static let referrers = [
        "https://www.google.com/", "https://www.facebook.com/", "https://l.instagram.com/", "https://www.bing.com/",
        "https://t.co/", "https://news.ycombinator.com/", "https://duckduckgo.com/",
    ]
    private static let words = [
        "spring", "summer", "autumn", "winter", "sale", "launch", "promo", "brand", "retarget", "lookalike",
        "prospecting", "us", "eu", "uk", "de", "fr", "video", "carousel", "story", "search", "generic", "competitor",
        "black", "friday", "cyber", "holiday", "vip", "loyalty", "winback", "trial",
    ]
}
