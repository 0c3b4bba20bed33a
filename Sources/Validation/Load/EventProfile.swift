internal import AurumCore
internal import Foundation

/// Which events a load is made of. Both are the data that the throughput bars are stated for.
package enum EventProfile: String, Sendable, Codable, CaseIterable {
    /// 50,000 persons with Zipf 0.9, half of them by user id; 400 campaigns; 3,000 URLs; about 342 bytes an event.
    case standard
    /// Every person an anonymous UUID, 400,000 nearly uniform; 20,000 URLs.
    case harsh
}

/// Draws 0..<count with probability proportional to 1 / (rank + 1)^exponent.
struct ZipfDistribution {
    private let cumulative: [Double]

    init(count: Int, exponent: Double) {
        var sum = 0.0
        var sums: [Double] = []
        sums.reserveCapacity(count)
        for rank in 1...max(1, count) {
            sum += 1 / pow(Double(rank), exponent)
            sums.append(sum)
        }
        cumulative = sums
    }

    func draw(_ random: inout SeededRandom) -> Int {
        let target = Double.random(in: 0..<1, using: &random) * (cumulative.last ?? 1)
        var low = 0
        var high = cumulative.count - 1
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] > target { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// The population that standard events are drawn from, seeded.
struct EventPopulation {
    private let persons: ZipfDistribution
    private let names = ZipfDistribution(count: EventPopulation.names.count, exponent: 1)
    private let campaigns = ZipfDistribution(count: 400, exponent: 1.1)
    private let urls: ZipfDistribution
    private let referrers = ZipfDistribution(count: EventPopulation.referrers.count, exponent: 1)
    private let currencies = ZipfDistribution(count: EventPopulation.currencies.count, exponent: 1.5)
    private let contexts: [(full: String, bare: String)]
    private let paths: [String]
    private let profile: EventProfile
    private let identitySeed: UInt64

    init(_ profile: EventProfile, seed: UInt64) {
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

    /// Appends one event as a line; the places of its id (36 bytes) and time (24 bytes) in `body` are returned.
    func append(to body: inout [UInt8], _ random: inout SeededRandom) -> (id: Int, time: Int) {
        let name = EventPopulation.names[names.draw(&random)]
        body.append(contentsOf: #"{"type":"track","event":"\#(name)","messageId":""#.utf8)
        let id = body.count
        body.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: EventPopulation.idBytes))
        body.append(contentsOf: #"",\#(person(&random)),"timestamp":""#.utf8)
        let time = body.count
        body.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: EventPopulation.timeBytes))
        let context = contexts[campaigns.draw(&random)]
        body.append(contentsOf: #"","context":{"#.utf8)
        body.append(contentsOf: (Bool.random(using: &random) ? context.full : context.bare).utf8)
        body.append(contentsOf: #"},"properties":{"url":"https://shop.example.com\#(paths[urls.draw(&random)])""#.utf8)
        if Double.random(in: 0..<1, using: &random) < 0.55 {
            body.append(contentsOf: #","referrer":"\#(EventPopulation.referrers[referrers.draw(&random)])""#.utf8)
        }
        if Double.random(in: 0..<1, using: &random) < 0.20 {
            let currency = EventPopulation.currencies[currencies.draw(&random)]
            body.append(contentsOf: #","revenue":\#(revenue(&random)),"currency":"\#(currency)""#.utf8)
        }
        body.append(contentsOf: "}}\n".utf8)
        return (id, time)
    }

    static let idBytes = 36
    static let timeBytes = 24

    private func person(_ random: inout SeededRandom) -> String {
        let rank = persons.draw(&random)
        var identity = SeededRandom(seed: identitySeed &+ UInt64(rank) &* 0x9E37_79B9)
        let high = identity.next()
        if profile == .standard, high & 1 == 0 {
            let digits = String(rank * 7919 % 1_000_003)
            return #""userId":"user_\#(String(repeating: "0", count: max(0, 6 - digits.utf8.count)) + digits)""#
        }
        var text = [UInt8](repeating: 0, count: EventPopulation.idBytes)
        let low = identity.next()
        text.withUnsafeMutableBytes { writeUUID(high, low, into: $0.baseAddress.unsafelyUnwrapped) }
        return #""anonymousId":"\#(String(decoding: text, as: UTF8.self))""#
    }

    /// Log-normal with mean exponent 4 and deviation 0.8, two digits: what baskets look like.
    private func revenue(_ random: inout SeededRandom) -> String {
        var sum = 0.0
        for _ in 0..<12 { sum += Double.random(in: 0..<1, using: &random) }
        return decimal(exp(4 + 0.8 * (sum - 6)), 2)
    }

    private static let names = [
        "Page Viewed", "Product Viewed", "Product Added", "Checkout Started", "Order Completed", "Signup Completed",
        "Search Performed", "CTA Clicked", "Video Played", "Form Submitted", "Coupon Applied", "Email Opened",
    ]
    private static let channels = [
        "paid_search", "organic", "email", "social", "direct", "affiliate", "display", "push",
    ]
    private static let sources = [
        "google", "facebook", "newsletter", "bing", "tiktok", "partner", "instagram", "linkedin", "reddit", "x",
    ]
    private static let media = ["cpc", "social", "email", "organic", "affiliate", "display"]
    private static let currencies = ["USD", "EUR", "GBP", "JPY"]
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
