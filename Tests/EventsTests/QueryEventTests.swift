internal import AurumCore
internal import Events
import Testing

/// Events that stand in a query, and where clicks may lead.
struct QueryEventTests {
    private func send(_ event: QueryEvent, _ log: EventLog, format: WireFormat = .pixel) async throws -> Receipt {
        try await log.capture.submit(event.line, format: format, source: testSource, receivedAt: testNow)
    }

    @Test func `names of the contract mean themselves, others are kept`() async throws {
        let log = try openEvents(VolatileLogStorage())
        var event = QueryEvent(
            query:
                "k=wk_x&t=click&id=p1&anonymous_id=v%201&utm_source=news&campaign=spring&utm_campaign=other&value=0.0021"
                + "&currency=usd&ts=1795262300000&creative_id=cr&colour=dark+blue&colour=red&empty=&u=https%3A%2F%2Fa.example",
            type: "click")
        event.userAgent = "Mozilla/5.0 (X11; Linux x86_64)"
        event.privacyControl = true
        #expect(try await send(event, log).stored == 1)
        let stored = try #require(try await log.all().first)
        #expect(stored.id == "p1" && stored.type == .click && stored.anonymousID == "v 1")
        #expect(stored.campaign.source == "news" && stored.campaign.name == "spring")
        #expect(stored.campaign.creativeID == "cr")
        #expect(stored.value?.decimal == "0.0021" && stored.currency == "USD")
        #expect(stored.at == Timestamp(milliseconds: 1_795_262_300_000))
        #expect(stored.url == "https://a.example")
        #expect(stored.consent == ["gpc": true])
        #expect(stored.props?["empty"] == "" && stored.props?["k"] == nil && stored.props?["t"] == nil)
        #expect(stored.context?["user_agent"] == "Mozilla/5.0 (X11; Linux x86_64)")
        #expect(stored.format == "pixel")
        await log.close()
    }

    @Test func `nobody behind an impression is a quarantined event`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await send(QueryEvent(query: "k=x&%FF=%00%22&a=%0a", type: "impression"), log)
        #expect(receipt.received == 1 && receipt.problems.first?.reason == "missing_identifier")
        await log.close()
    }

    @Test(arguments: [
        ("https://shop.example/a?b=c#d", "shop.example", "https://shop.example/a?b=c#d"),
        ("HTTPS://Shop.Example", "shop.example", "https://shop.example"),
        ("http://127.0.0.1:8080/x", "127.0.0.1:8080", "http://127.0.0.1:8080/x"),
        ("https://[::1]:443/", "[::1]:443", "https://[::1]:443/"),
        ("https://a.example/ü \"<>", "a.example", "https://a.example/%C3%BC%20%22%3C%3E"),
    ])
    func `an address is read as browsers read it`(text: String, authority: String, escaped: String) {
        let target = RedirectTarget(text)
        #expect(target?.authority == authority)
        #expect(target?.text == escaped)
    }

    @Test(arguments: [
        "", "shop.example", "//shop.example", "/path", "javascript:alert(1)", "https:/shop.example", "https://",
        "https://user@shop.example", "https://shop.example@evil.example", "https://shop.example\\@evil.example",
        "https://evil.example\\.shop.example", "https://shop.example\r\nSet-Cookie: a=b",
        "https://shop.example/\r\nA: b",
        "https://shop.example:port/", "https://shop.example:99999/", "https://shop%2eexample/", "https://shöp.example/",
        "data:text/html,x", "ftp://shop.example/", "https://a:b:c/", "https://[::1/", " https://shop.example",
    ])
    func `an address that could be read in two ways is none`(text: String) { #expect(RedirectTarget(text) == nil) }

    @Test(arguments: [
        ("https://shop.example/", true), ("https://shop.example:8443/", true), ("https://www.shop.example/", false),
        ("https://a.b.wild.example/", true), ("https://wild.example/", false), ("https://notwild.example/", false),
        ("http://127.0.0.1:8080/", true), ("http://127.0.0.1:8081/", false),
        ("https://shop.example.evil.example/", false),
    ])
    func `only hosts of the app are allowed`(text: String, isAllowed: Bool) throws {
        let hosts: Set<String> = ["shop.example", "*.wild.example", "127.0.0.1:8080"]
        #expect(try #require(RedirectTarget(text)).isAllowed(by: hosts) == isAllowed)
    }

    @Test(arguments: [
        ("https://a.example", "https://a.example?c=1%2F2"),
        ("https://a.example/p?x=1#top", "https://a.example/p?x=1&c=1%2F2#top"),
        ("https://a.example/?", "https://a.example/?c=1%2F2"),
        ("https://a.example/?x=1&", "https://a.example/?x=1&c=1%2F2"),
        ("https://a.example/?c=9&x", "https://a.example/?c=9&x"),
        ("https://a.example/#?c=9", "https://a.example/?c=1%2F2#?c=9"),
    ])
    func `the click id is appended once, before the fragment`(text: String, expected: String) throws {
        #expect(try #require(RedirectTarget(text)).adding("c", "1/2") == expected)
    }
}
