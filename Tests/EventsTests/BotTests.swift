internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// An agent, and what it says.
struct AgentRow: Sendable, CustomTestStringConvertible {
    var agent: String
    var browser: String?
    var os: String?
    var device: DeviceClass
    var reasons: [BotReason] = []

    init(_ agent: String, _ browser: String?, _ os: String?, _ device: DeviceClass, _ reasons: [BotReason] = []) {
        (self.agent, self.browser, self.os, self.device, self.reasons) = (agent, browser, os, device, reasons)
    }

    var testDescription: String { agent }
}

private let webKit = "AppleWebKit/537.36 (KHTML, like Gecko)"
private let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) \(webKit)"
private let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) \(webKit)"
private let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
private let tablet = "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"

private func android(_ model: String) -> String { "Mozilla/5.0 (Linux; Android 14; \(model)) \(webKit)" }

private let people: [AgentRow] = [
    AgentRow("\(windows) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Windows", .desktop),
    AgentRow("\(windows) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.87", "Edge", "Windows", .desktop),
    AgentRow("\(windows) Chrome/64.0 Safari/537.36 Edge/17.17134", "Edge", "Windows", .desktop),
    AgentRow("\(windows) Chrome/125.0.0.0 Safari/537.36 OPR/111.0.0.0", "Opera", "Windows", .desktop),
    AgentRow("\(windows) Chrome/124.0 YaBrowser/24.6.0 Safari/537.36", "Yandex Browser", "Windows", .desktop),
    AgentRow("\(windows) Chrome/126.0 Safari/537.36 Vivaldi/6.8", "Vivaldi", "Windows", .desktop),
    AgentRow("\(windows) Chrome/126.0 Whale/3.27 Safari/537.36", "Whale", "Windows", .desktop),
    AgentRow(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox", "Windows",
        .desktop),
    AgentRow(
        "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer", "Windows",
        .desktop),
    AgentRow(
        "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)", "Internet Explorer", "Windows", .desktop),
    AgentRow("Mozilla/5.0 (Windows NT 6.1) \(webKit) Chrome/109.0.0.0 Safari/537.36", "Chrome", "Windows", .desktop),
    AgentRow("\(mac) Chrome/126.0.0.0 Safari/537.36", "Chrome", "macOS", .desktop),
    AgentRow(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
        "Safari", "macOS", .desktop),
    AgentRow(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox", "macOS",
        .desktop),
    AgentRow("\(mac) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge", "macOS", .desktop),
    AgentRow(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15 Ddg/17.5 DuckDuckGo/7",
        "DuckDuckGo", "macOS", .desktop),
    AgentRow("Mozilla/5.0 (X11; Linux x86_64) \(webKit) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Linux", .desktop),
    AgentRow(
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox", "Linux", .desktop),
    AgentRow(
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) \(webKit) Chrome/126.0.0.0 Safari/537.36", "Chrome", "ChromeOS",
        .desktop),
    AgentRow(
        "Mozilla/5.0 (X11; Linux x86_64) \(webKit) Ubuntu Chromium/80.0 Chrome/80.0 Safari/537.36", "Chrome", "Linux",
        .desktop),
    AgentRow("Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18", "Opera", "Windows", .desktop),
    AgentRow("\(phone) Version/17.5 Mobile/15E148 Safari/604.1", "Safari", "iOS", .mobile),
    AgentRow("\(phone) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1", "Chrome", "iOS", .mobile),
    AgentRow("\(phone) FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox", "iOS", .mobile),
    AgentRow("\(phone) EdgiOS/126.0 Version/17.0 Mobile/15E148 Safari/604.1", "Edge", "iOS", .mobile),
    AgentRow("\(phone) GSA/322.0 Mobile/15E148 Safari/604.1", "Google App", "iOS", .mobile),
    AgentRow("\(phone) Mobile/15E148 Instagram 337.0.3.23.85 (iPhone14,5; iOS 17_5)", "Instagram", "iOS", .mobile),
    AgentRow("\(phone) Mobile/15E148 [FBAN/FBIOS;FBAV/470.0.0;FBBV/617]", "Facebook", "iOS", .mobile),
    AgentRow("\(phone) Mobile/15E148 musical_ly_35.1.0 JsSdk/2.0 BytedanceWebview/d8a21c6", "TikTok", "iOS", .mobile),
    AgentRow(
        "\(phone) Mobile/15E148 Snapchat/12.92.0.44 (like Safari/8617.2.4.10.7, panda)", "Snapchat", "iOS", .mobile),
    AgentRow("\(phone) Mobile/15E148 [LinkedInApp]/9.29", "LinkedIn", "iOS", .mobile),
    AgentRow("\(phone) Mobile/15E148 Safari/604.1 [Pinterest/iOS]", "Pinterest", "iOS", .mobile),
    AgentRow("\(phone) Version/17.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15", "DuckDuckGo", "iOS", .mobile),
    AgentRow("\(phone) OPT/4.7.0 Mobile/15E148", "Opera", "iOS", .mobile),
    AgentRow(
        "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_0 like Mac OS X) AppleWebKit/605.1.15 Version/12.0 Mobile/15A372 Safari/604.1",
        "Safari", "iOS", .mobile),
    AgentRow("\(tablet) Version/17.5 Mobile/15E148 Safari/604.1", "Safari", "iPadOS", .tablet),
    AgentRow("\(tablet) CriOS/126.0 Mobile/15E148 Safari/604.1", "Chrome", "iPadOS", .tablet),
    AgentRow("\(android("Pixel 8")) Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome", "Android", .mobile),
    AgentRow(
        "\(android("SM-S921B")) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36", "Samsung Internet",
        "Android", .mobile),
    AgentRow(
        "\(android("Pixel 8; wv")) Version/4.0 Chrome/126.0 Mobile Safari/537.36", "Android WebView", "Android", .mobile
    ),
    AgentRow(
        "\(android("SM-A546B; wv")) Version/4.0 Chrome/126.0 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/470.0.0;]",
        "Facebook", "Android", .mobile),
    AgentRow("\(android("Pixel 7")) Chrome/126.0 Mobile Safari/537.36 EdgA/126.0", "Edge", "Android", .mobile),
    AgentRow(
        "\(android("M2101K6G")) Chrome/100.0 Mobile Safari/537.36 XiaoMi/MiuiBrowser/14.5", "Mi Browser", "Android",
        .mobile),
    AgentRow("\(android("Pixel 7")) Chrome/126.0 Mobile Safari/537.36 OPR/82.0", "Opera", "Android", .mobile),
    AgentRow("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox", "Android", .mobile),
    AgentRow(
        "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) \(webKit) Chrome/126.0 Mobile Safari/537.36", "Chrome",
        "Android", .mobile),
    AgentRow(
        "Mozilla/5.0 (Linux; U; Android 13; en-US; RMX3085) \(webKit) UCBrowser/13.4 Mobile Safari/537.36",
        "UC Browser", "Android", .mobile),
    AgentRow(
        "Opera/9.80 (Android; Opera Mini/36.2/191.300; U; en) Presto/2.12 Version/12.16", "Opera Mini", "Android",
        .mobile),
    AgentRow("Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A)", nil, "Android", .mobile),
    AgentRow(
        "Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00) \(webKit) HuaweiBrowser/12.1 Chrome/99.0 Mobile Safari/537.36",
        "Huawei Browser", "HarmonyOS", .mobile),
    AgentRow("\(android("SM-X910")) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Android", .tablet),
    AgentRow(
        "\(android("SM-T870")) SamsungBrowser/25.0 Chrome/121.0 Safari/537.36", "Samsung Internet", "Android", .tablet),
    AgentRow("Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox", "Android", .tablet),
    AgentRow(
        "Mozilla/5.0 (Linux; Android 9; KFMAWI) \(webKit) Silk/108.1 like Chrome/108.0 Safari/537.36", "Silk",
        "Android", .tablet),
    AgentRow(
        "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) \(webKit) Chrome/52.0 Mobile Safari/537.36 Edge/15.15063",
        "Edge", "Windows Phone", .mobile),
    AgentRow(
        "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "Firefox", "KaiOS", .mobile),
    AgentRow(
        "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) \(webKit) SamsungBrowser/4.0 Chrome/76.0 TV Safari/537.36",
        "Samsung Internet", "Tizen", .tv),
    AgentRow(
        "Mozilla/5.0 (Web0S; Linux/SmartTV) \(webKit) Chrome/87.0 Safari/537.36 WebAppManager", "Chrome", "webOS", .tv),
    AgentRow(
        "Mozilla/5.0 (Linux; Android 9; AFTMM) \(webKit) Silk/108.1 Chrome/108.0 Safari/537.36", "Silk", "Android", .tv),
    AgentRow(
        "Mozilla/5.0 (Linux; Android 10; BRAVIA 4K VH2) \(webKit) Chrome/104.0 Safari/537.36", "Chrome", "Android", .tv),
    AgentRow(
        "Mozilla/5.0 (X11; Linux armv7l) \(webKit) Chrome/110.0 Safari/537.36 CrKey/1.56.500000", "Chrome", "Linux", .tv
    ),
    AgentRow("Roku/DVP-12.5 (12.5.0.4178-88)", nil, "Roku", .tv),
    AgentRow("AppleTV11,1/11.1", nil, "tvOS", .tv),
    AgentRow(
        "Mozilla/5.0 (PlayStation; PlayStation 5/7.61) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
        "Safari", "PlayStation", .console),
    AgentRow(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) \(webKit) Chrome/126.0 Safari/537.36 Edg/126.0",
        "Edge", "Xbox", .console),
    AgentRow(
        "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 (KHTML, like Gecko) NF/6.0 NintendoBrowser/5.1",
        nil, "Nintendo", .console),
    AgentRow("Shop/3.2 (Apple Watch; watchOS 10.5)", nil, "watchOS", .watch),
    AgentRow("Shop/412 CFNetwork/1496.0.7 Darwin/23.5.0", nil, "iOS", .mobile),
    AgentRow("Mozilla/5.0", nil, nil, .other), AgentRow("Bothwell/1.0", nil, nil, .other),
    AgentRow("\(windows) Chrome/126.0.0.0 Safari/537.36 Rubyred/2", "Chrome", "Windows", .desktop),
]

private let programs: [String] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Mozilla/5.0 (compatible; bingbot/2.0)",
    "\(android("Nexus 5X")) Chrome/126.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)", "AhrefsBot/7.0",
    "SemrushBot/7~bl",
    "DuckDuckBot/1.1", "Mozilla/5.0 (compatible; YandexBot/3.0)", "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "MJ12bot/v1.4.8",
    "facebookexternalhit/1.1", "Twitterbot/1.0", "LinkedInBot/1.0", "Slackbot-LinkExpanding 1.0",
    "TelegramBot (like TwitterBot)",
    "WhatsApp/2.23.20.0", "Mozilla/5.0 (compatible; GPTBot/1.2)", "CCBot/2.0",
    "Mozilla/5.0 (compatible; PerplexityBot/1.0)",
    "Bytespider", "Mozilla/5.0 (compatible; PetalBot)", "Yahoo! Slurp", "ia_archiver", "curl/8.5.0", "Wget/1.21.4",
    "python-requests/2.31.0", "Python-urllib/3.11", "python-httpx/0.27.0", "Go-http-client/2.0", "okhttp/4.12.0",
    "Java/17.0.8",
    "axios/1.7.2", "node-fetch/1.0", "Scrapy/2.11", "PostmanRuntime/7.39.0", "Apache-HttpClient/4.5.14",
    "UptimeRobot/2.0",
    "Pingdom.com_bot_version_1.4", "Mozilla/5.0 (compatible; Lighthouse)",
]

struct BotTests {
    @Test func `100 user agents say what they are`() {
        #expect(people.count + programs.count >= 100)
        for row in people {
            let facts = UserAgentFacts(row.agent)
            #expect(
                facts.browser == row.browser && facts.os == row.os && facts.device == row.device,
                "\(row.agent): \(facts)")
            #expect(facts.reasons == row.reasons && facts.verdict == .human, "\(row.agent): \(facts.reasons)")
        }
        for agent in programs {
            let facts = UserAgentFacts(agent)
            #expect(facts.reasons.contains(.uaListed) && facts.verdict == .bot && facts.device == .bot, "\(agent)")
        }
        #expect(UserAgentFacts("").reasons == [.uaEmpty] && UserAgentFacts("  ").verdict == .bot)
        let headless = UserAgentFacts("Mozilla/5.0 (X11; Linux x86_64) \(webKit) HeadlessChrome/126.0 Safari/537.36")
        #expect(headless.reasons == [.headless] && headless.verdict == .bot && headless.browser == "Chrome")
        #expect(UserAgentFacts("\(windows) Chrome/126.0.0.0 Safari/537.36").browserMajor == 126)
    }

    @Test func `one certain reason makes a bot, one other a suspect, two of those a bot`() {
        #expect(BotVerdict([]) == .human && BotVerdict([.rate]) == .suspect && BotVerdict([.noFocus]) == .suspect)
        #expect(BotVerdict([.honeypot]) == .bot && BotVerdict([.rate, .noFocus]) == .bot)
        #expect(BotVerdict([.rate, .rate]) == .suspect && BotVerdict([.datacentreIP]) == .suspect)
    }

    @Test func `pages tell of focus and honeypots, and a browser that is too quick is suspected`() async throws {
        let desk = try await PolicyDesk.open()
        var source = testSource
        source.isBrowser = true
        func page(_ id: String, _ context: String) -> String {
            "{\"id\":\"\(id)\",\"type\":\"page\",\"anonymous_id\":\"\(id.prefix(1))\",\"url\":\"https://a.example/\","
                + "\"context\":{\(context)}}"
        }
        let lines = [
            page("a", "\"locale\":\"en\""), page("b", "\"focus\":false"), page("c", "\"honeypot\":\"filled\""),
            page("d", "\"focus\":true,\"honeypot\":false"),
        ]
        let receipt = try await desk.log.send(lines.joined(separator: "\n"), source: source)
        #expect(receipt.stored == 3 && receipt.bot == 1)
        let burst = (0..<70).map { page("r\($0)", "") }.joined(separator: "\n")
        #expect(try await desk.log.send(burst, source: source).stored == 70)
        #expect(try await desk.log.send(burst.replacing("\"r", with: "\"s")).stored == 70)
        let events = try await desk.events([.stored, .bot])
        let marked = Dictionary(uniqueKeysWithValues: events.map { ($0.id, $0.json) })
        #expect(marked["a"]?["bot_reasons"] == nil && marked["d"]?["bot_reasons"] == nil)
        #expect(marked["b"]?["bot_reasons"] == ["no_focus"] && marked["b"]?["bot"] == "suspect")
        #expect(marked["c"]?["bot_reasons"] == ["honeypot"] && marked["c"]?["bot"] == "bot")
        #expect(marked["r59"]?["bot_reasons"] == nil && marked["r60"]?["bot_reasons"] == ["rate"])
        #expect(marked["s69"]?["bot_reasons"] == nil, "a server's key may send as quickly as it likes")
        await desk.log.close()
    }

    @Test func `an address of a listed data centre is a reason`() async throws {
        let ranges = AddressRanges("# clouds\n203.0.113.0/25\n198.51.100.7\n2001:db8::/32\nnonsense/9\n")
        let desk = try await PolicyDesk.open(datacentres: ranges)
        for (number, address) in ["203.0.113.127", "203.0.113.128", "198.51.100.7", "2001:db8:ffff::1", "2001:db9::1"]
            .enumerated()
        {
            _ = try await desk.log.send(trackLine(["id": "\"\(number)\"", "context": "{\"ip\":\"\(address)\"}"]))
        }
        let reasons = try await desk.events().map { $0.extra["bot_reasons"] }
        #expect(reasons == [["datacentre_ip"], nil, ["datacentre_ip"], ["datacentre_ip"], nil])
        await desk.log.close()
    }

    @Test func `a listed range holds its addresses however many smaller ones lie in it`() async throws {
        let inner = (0..<20).map { "10.0.\($0).0/24\n2001:db8:\($0)::/48\n" }.joined()
        let desk = try await PolicyDesk.open(datacentres: AddressRanges("10.0.0.0/8\n2001:db8::/32\n" + inner))
        let addresses = ["10.0.3.9", "10.200.0.1", "2001:db8:ffff::1", "11.0.0.0", "9.255.255.255", "2001:db9::"]
        for (number, address) in addresses.enumerated() {
            _ = try await desk.log.send(trackLine(["id": "\"\(number)\"", "context": "{\"ip\":\"\(address)\"}"]))
        }
        let reasons = try await desk.events().map { $0.extra["bot_reasons"] }
        #expect(reasons == [["datacentre_ip"], ["datacentre_ip"], ["datacentre_ip"], nil, nil, nil])
        await desk.log.close()
    }
}
