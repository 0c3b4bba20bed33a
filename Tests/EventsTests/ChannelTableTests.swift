internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// More than 300 landings by group, each with the channel that the table of the specification gives it.
private struct LandingGroup: Sendable {
    var channel: Channel
    var queries: [String]
    var referrers: [String] = [""]

    var rows: [(query: String, referrer: String)] { queries.flatMap { query in referrers.map { (query, $0) } } }
}

private func campaigns(_ sources: [String], _ media: [String]) -> [String] {
    sources.flatMap { source in media.map { "utm_source=\(source)&utm_medium=\($0)" } }
}

private let search = ["google", "bing", "yahoo", "duckduckgo", "baidu", "yandex", "ecosia", "Google", "www.google.com"]
private let social = [
    "facebook", "instagram", "twitter", "linkedin", "tiktok", "reddit", "pinterest", "fb", "m.facebook.com",
]
private let paid = ["cpc", "ppc", "CPC", "paid", "paid_search", "paidsocial"]
private let searchPages = [
    "https://www.google.com/", "https://www.google.de/search?q=solar", "https://www.bing.com/",
    "https://duckduckgo.com/",
    "https://search.yahoo.com/", "https://yandex.ru/", "https://www.ecosia.org/",
]
private let socialPages = [
    "https://l.facebook.com/", "https://m.facebook.com/", "https://t.co/x", "https://www.linkedin.com/feed",
    "https://lnkd.in/a", "https://www.reddit.com/r/solar", "https://www.youtube.com/", "https://out.reddit.com/",
]
private let otherPages = ["https://blog.example.org/post", "http://news.example:8080/", "android-app://com.example"]
private let ownPages = ["", "https://shop.example/", "https://www.shop.example/faq", "https://SHOP.example:8443/"]

private let groups: [LandingGroup] = [
    LandingGroup(
        channel: .paidSearch, queries: ["gclid=1", "gbraid=1", "wbraid=1", "msclkid=1", "yclid=1"],
        referrers: ownPages + searchPages),
    LandingGroup(channel: .paidSearch, queries: campaigns(search, paid)),
    LandingGroup(
        channel: .paidSocial,
        queries: ["fbclid=1", "ttclid=1", "twclid=1", "li_fat_id=1", "ScCid=1", "rdt_cid=1", "epik=1"],
        referrers: ["", "https://l.facebook.com/"]),
    LandingGroup(channel: .paidSocial, queries: campaigns(social, paid)),
    LandingGroup(channel: .video, queries: campaigns(["partner", "crm"], ["video", "VIDEO", "cpv", "paid_video"])),
    LandingGroup(
        channel: .display,
        queries: campaigns(
            ["partner", "taboola"], ["display", "banner", "cpm", "interstitial", "expandable", "Display"]) + ["dclid=1"]
    ),
    LandingGroup(
        channel: .affiliate, queries: campaigns(["partner", "blog"], ["affiliate", "Affiliate"]) + ["irclickid=1"]),
    LandingGroup(channel: .email, queries: campaigns(["crm", "klaviyo"], ["email", "e-mail", "newsletter", "Email"])),
    LandingGroup(channel: .sms, queries: campaigns(["crm", "twilio"], ["sms", "SMS"])),
    LandingGroup(channel: .push, queries: campaigns(["crm", "onesignal"], ["push", "PUSH"])),
    LandingGroup(channel: .call, queries: campaigns(["crm"], ["call", "phone", "Phone"])),
    LandingGroup(
        channel: .paidOther,
        queries: campaigns(["radio", "partner", "blog"], ["cpc", "ppc", "paid", "paid-placement", "cpa"])),
    LandingGroup(channel: .organicSearch, queries: campaigns(search, ["organic", ""])),
    LandingGroup(channel: .organicSearch, queries: ["", "page=2"], referrers: searchPages),
    LandingGroup(channel: .organicSocial, queries: campaigns(social, ["social", "organic"])),
    LandingGroup(channel: .organicSocial, queries: ["", "page=2"], referrers: socialPages),
    LandingGroup(
        channel: .referral, queries: ["", "page=2", "utm_source=blog", "utm_medium=referral"], referrers: otherPages),
    LandingGroup(channel: .direct, queries: ["", "page=2", "gclid=", "x=1#gclid=1"], referrers: ownPages),
    LandingGroup(
        channel: .other, queries: campaigns(["radio", "flyer", "qr"], ["spot", "print", "qr"]) + ["utm_source=flyer"]),
]

struct ChannelTableTests {
    @Test func `300 landings belong to their channels`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let rows = groups.flatMap { group in group.rows.map { ($0.query, $0.referrer, group.channel) } }
        #expect(rows.count >= 300)
        let lines = rows.enumerated().map { number, row in
            "{\"id\":\"\(number)\",\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://shop.example/?\(row.0)\","
                + "\"referrer\":\"\(row.1)\"}"
        }
        #expect(try await log.send(lines.joined(separator: "\n")).stored == rows.count)
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        filter.limit = 1000
        let events = try await log.store.events(filter)
        #expect(events.count == rows.count)
        for (row, event) in zip(rows, events) {
            #expect(event.channel == row.2, "\(row.0) from \(row.1)")
        }
        await log.close()
    }
}
