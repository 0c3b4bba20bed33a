internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// One landing and the channel it belongs to.
struct ChannelRow: Sendable, CustomTestStringConvertible {
    var query: String
    var referrer: String
    var channel: Channel

    init(_ query: String, _ referrer: String, _ channel: Channel) {
        (self.query, self.referrer, self.channel) = (query, referrer, channel)
    }

    var testDescription: String { "\(query) from \(referrer.isEmpty ? "nowhere" : referrer) is \(channel.rawValue)" }
}

private let channelRows: [ChannelRow] = [
    ChannelRow("gclid=1", "", .paidSearch), ChannelRow("gbraid=1", "", .paidSearch),
    ChannelRow("wbraid=1", "", .paidSearch),
    ChannelRow("msclkid=1", "", .paidSearch), ChannelRow("yclid=1", "", .paidSearch),
    ChannelRow("fbclid=1", "", .paidSocial),
    ChannelRow("ttclid=1", "", .paidSocial), ChannelRow("twclid=1", "", .paidSocial),
    ChannelRow("li_fat_id=1", "", .paidSocial), ChannelRow("ScCid=1", "", .paidSocial),
    ChannelRow("rdt_cid=1", "", .paidSocial), ChannelRow("epik=1", "", .paidSocial),
    ChannelRow("dclid=1", "", .display),
    ChannelRow("irclickid=1", "", .affiliate), ChannelRow("gclid=", "", .direct),
    ChannelRow("utm_source=google&utm_medium=cpc", "", .paidSearch),
    ChannelRow("utm_source=bing&utm_medium=PPC", "", .paidSearch),
    ChannelRow("utm_source=google&utm_medium=organic", "", .organicSearch),
    ChannelRow("utm_source=facebook&utm_medium=paid_social", "", .paidSocial),
    ChannelRow("utm_source=instagram&utm_medium=paidsocial", "", .paidSocial),
    ChannelRow("utm_source=facebook&utm_medium=social", "", .organicSocial),
    ChannelRow("utm_source=partner&utm_medium=video", "", .video),
    ChannelRow("utm_source=partner&utm_medium=display", "", .display),
    ChannelRow("utm_source=partner&utm_medium=banner", "", .display),
    ChannelRow("utm_source=partner&utm_medium=cpm", "", .display),
    ChannelRow("utm_source=partner&utm_medium=interstitial", "", .display),
    ChannelRow("utm_source=partner&utm_medium=affiliate", "", .affiliate),
    ChannelRow("utm_source=crm&utm_medium=email", "", .email),
    ChannelRow("utm_source=crm&utm_medium=E-Mail", "", .email),
    ChannelRow("utm_source=crm&utm_medium=newsletter", "", .email),
    ChannelRow("utm_source=crm&utm_medium=sms", "", .sms),
    ChannelRow("utm_source=crm&utm_medium=push", "", .push), ChannelRow("utm_source=crm&utm_medium=phone", "", .call),
    ChannelRow("utm_source=crm&utm_medium=call", "", .call),
    ChannelRow("utm_source=radio&utm_medium=cpc", "", .paidOther),
    ChannelRow("utm_source=radio&utm_medium=paid", "", .paidOther),
    ChannelRow("utm_source=radio&utm_medium=spot", "", .other),
    ChannelRow("utm_campaign=x", "", .other), ChannelRow("", "https://www.google.com/", .organicSearch),
    ChannelRow("", "https://www.google.co.uk/search?q=solar", .organicSearch),
    ChannelRow("", "https://duckduckgo.com/", .organicSearch),
    ChannelRow("", "https://l.instagram.com/", .organicSocial),
    ChannelRow("", "https://t.co/abc", .organicSocial), ChannelRow("", "https://m.facebook.com/", .organicSocial),
    ChannelRow("", "https://blog.example.org/post", .referral), ChannelRow("", "https://www.shop.example/", .direct),
    ChannelRow("", "https://SHOP.example:8443/", .direct), ChannelRow("", "", .direct),
    ChannelRow("", "android-app://com.example", .referral), ChannelRow("x=1#gclid=1", "", .direct),
]

struct EnrichmentTests {
    @Test func `each landing belongs to its channel`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let lines = channelRows.enumerated().map { number, row in
            "{\"id\":\"\(number)\",\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://shop.example/?\(row.query)\","
                + "\"referrer\":\"\(row.referrer)\"}"
        }
        #expect(try await log.send(lines.joined(separator: "\n")).stored == channelRows.count)
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        let events = try await log.store.events(filter)
        for (row, event) in zip(channelRows, events) { #expect(event.channel == row.channel, "\(row.testDescription)") }
        await log.close()
    }

    @Test func `explicit campaign facts win over the URL`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let line = """
            {"id":"a","type":"page","user_id":"u","click_id":"mine","campaign":{"source":"radio","name":"own"},\
            "url":"https://shop.example/?utm_source=google&utm_medium=cpc&utm_campaign=theirs&utm_term=t%2Bx&gclid=g"}
            """
        _ = try await log.send(line)
        let event = try #require(try await log.store.events(EventFilter(org: "acme")).first)
        #expect(event.campaign.source == "radio" && event.campaign.name == "own" && event.campaign.medium == "cpc")
        #expect(event.campaign.term == "t+x" && event.clickID == "mine")
        await log.close()
    }

    @Test(arguments: [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", true), ("", true),
        ("Mozilla/5.0 (compatible; bingbot/2.0)", true), ("AhrefsBot", true), ("curl/8.5.0", true),
        ("python-requests/2.31", true), ("Mozilla/5.0 HeadlessChrome/120.0", true), ("facebookexternalhit/1.1", true),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36", false),
        ("Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20)", false), ("Mozilla/5.0 (Linux; Android 10; CUBOT)", false),
        ("Bothwell/1.0", false), ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)", false),
    ])
    func `a user agent that names itself a program is flagged, and its event is kept`(agent: String, isBot: Bool) {
        let line = trackLine(["context": "{\"user_agent\":\"\(agent)\"}"])
        #expect(verdict(line)?.outcome == (isBot ? .bot : .stored))
    }

    @Test func `an event older than a day is late, unless its request is historical`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let old = trackLine(["ts": "\"2026-11-20T11:59:59Z\""])
        #expect(try await log.send(old).late == 1)
        var source = testSource
        source.isHistorical = true
        let ancient = trackLine(["id": "\"e2\"", "ts": "\"2001-01-01T00:00:00Z\""])
        #expect(try await log.send(ancient, source: source).stored == 1)
        #expect(try await log.send(ancient.replacing("e2", with: "e3")).problems.first?.reason == "ts_too_old")
        await log.close()
    }
}

struct PosixLogTests {
    private func open(_ folder: String) throws -> EventLog {
        let clock = ManualWallClock(testNow)
        var configuration = EventsConfiguration()
        configuration.limits.freeBytesMin = 0
        return try EventLog.open(
            directory: folder, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test func `a log in a real folder serves after a restart`() async throws {
        let folder = TemporaryFolder()
        let log = try open(folder.file("log"))
        let receipts = try await EventStoreConformance.fill(log)
        await log.close()
        await log.close()
        let again = try open(folder.file("log"))
        try await EventStoreConformance(store: again.store, receipts: receipts).run()
        #expect(again.recovery.rows == 11 && again.recovery.cutBytes == 0)
        await #expect(throws: CaptureError.logFailed) { try await log.send(trackLine()) }
        await again.close()
    }

    @Test func `a folder that cannot be made is a sentence`() {
        #expect(throws: EventLogError.self) { _ = try open("/proc/no/such/folder") }
    }

    @Test func `many clients at once lose and double nothing`() async throws {
        let folder = TemporaryFolder()
        let log = try open(folder.file("log"))
        let stored = await withTaskGroup(of: Int.self) { group in
            for client in 0..<32 {
                group.addTask {
                    var stored = 0
                    for round in 0..<10 {
                        let body = (0..<50).map { trackLine(["id": "\"\(client % 16)-\(round)-\($0)\""]) }
                        stored += (try? await log.send(body.joined(separator: "\n")))?.stored ?? 0
                    }
                    return stored
                }
            }
            return await group.reduce(0, +)
        }
        #expect(stored == 16 * 10 * 50)
        #expect(log.store.totals(org: "acme").duplicate == 16 * 10 * 50)
        await log.close()
    }
}
