internal import AurumCore
internal import Foundation

/// Why traffic is not taken for a person's.
package enum BotReason: String, Sendable, CaseIterable {
    case uaListed = "ua_listed"
    case uaEmpty = "ua_empty"
    case headless
    case datacentreIP = "datacentre_ip"
    /// The page's script saw neither focus nor scroll.
    case noFocus = "no_focus"
    /// More than 60 events of one identifier in 10 seconds.
    case rate
    /// Something was filled in or followed that no person sees.
    case honeypot

    /// Whether the reason alone says that it is a program.
    var isCertain: Bool {
        switch self {
        case .uaListed, .uaEmpty, .headless, .honeypot: true
        case .datacentreIP, .noFocus, .rate: false
        }
    }
}

/// What the reasons together say: one certain reason or two others make a bot, one other makes a suspect.
package enum BotVerdict: String, Sendable, CaseIterable {
    case human, suspect, bot

    package init(_ reasons: some Collection<BotReason>) {
        if reasons.isEmpty {
            self = .human
        } else {
            self = reasons.contains { $0.isCertain } || Set(reasons).count > 1 ? .bot : .suspect
        }
    }
}

package enum DeviceClass: String, Sendable, CaseIterable {
    case desktop, mobile, tablet, tv, console, watch, bot, other
}

/// What a user agent says of browser, system and device. A pure function of the text, so that it can be kept by
/// distinct agent.
package struct UserAgentFacts: Sendable, Equatable {
    package var browser: String?
    /// The number before the first dot.
    package var browserMajor: Int?
    package var os: String?
    package var device: DeviceClass
    package var reasons: [BotReason]

    package var verdict: BotVerdict { BotVerdict(reasons) }

    /// Marks of browsers in the order in which they decide: derived browsers name what they derive from.
    private static let browsers: [(mark: String, name: String)] = [
        ("edg/", "Edge"), ("edga/", "Edge"), ("edgios/", "Edge"), ("edge/", "Edge"), ("opr/", "Opera"),
        ("opera mini/", "Opera Mini"), ("opt/", "Opera"), ("opera/", "Opera"), ("samsungbrowser/", "Samsung Internet"),
        ("yabrowser/", "Yandex Browser"), ("vivaldi/", "Vivaldi"), ("ucbrowser/", "UC Browser"),
        ("duckduckgo/", "DuckDuckGo"), ("ddg/", "DuckDuckGo"), ("whale/", "Whale"), ("qqbrowser/", "QQ Browser"),
        ("miuibrowser/", "Mi Browser"), ("huaweibrowser/", "Huawei Browser"), ("silk/", "Silk"), ("brave/", "Brave"),
        ("fbav/", "Facebook"), ("fban/", "Facebook"), ("instagram ", "Instagram"), ("musical_ly", "TikTok"),
        ("bytedancewebview", "TikTok"), ("pinterest/", "Pinterest"), ("snapchat/", "Snapchat"), ("line/", "Line"),
        ("micromessenger/", "WeChat"), ("linkedinapp", "LinkedIn"), ("gsa/", "Google App"), ("fxios/", "Firefox"),
        ("focus/", "Firefox"), ("firefox/", "Firefox"), ("crios/", "Chrome"), ("headlesschrome/", "Chrome"),
        ("; wv)", "Android WebView"), ("chromium/", "Chrome"), ("chrome/", "Chrome"), ("trident/", "Internet Explorer"),
        ("msie ", "Internet Explorer"),
    ]

    private static let systems: [(mark: String, name: String)] = [
        ("windows phone", "Windows Phone"), ("xbox", "Xbox"), ("windows", "Windows"), ("ipad", "iPadOS"),
        ("apple watch", "watchOS"), ("watchos", "watchOS"), ("appletv", "tvOS"), ("apple tv", "tvOS"),
        ("tvos", "tvOS"), ("iphone", "iOS"), ("ipod", "iOS"), ("cros ", "ChromeOS"), ("kaios", "KaiOS"),
        ("harmonyos", "HarmonyOS"), ("tizen", "Tizen"), ("web0s", "webOS"), ("webos", "webOS"), ("roku", "Roku"),
        ("playstation", "PlayStation"), ("nintendo", "Nintendo"), ("android", "Android"), ("mac os x", "macOS"),
        ("macintosh", "macOS"), ("cfnetwork", "iOS"), ("linux", "Linux"), ("x11", "Linux"),
    ]

    private static let televisions = [
        "smarttv", "smart-tv", "smart tv", "appletv", "apple tv", "tvos", "googletv", "google tv", "android tv",
        "bravia", "roku", "crkey", "web0s", "hbbtv", "netcast", "viera", "aquosbrowser", "; aft", "tizen 2.4; tv",
        "tv safari",
    ]
    private static let tablets = [
        "ipad", "tablet", "kindle", "playbook", "; kf", "sm-t", "sm-x", "nexus 7", "nexus 10",
    ]
    private static let phones = ["iphone", "ipod", "windows phone", "kaios", "opera mini", "cfnetwork", "mobile"]

    package init(_ agent: String) {
        let text = String(decoding: agent.utf8.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }, as: UTF8.self)
        reasons = UserAgentRules.reasons(text)
        let mark = Self.browsers.first { text.contains($0.mark) }
        browser = mark?.name
        browserMajor = mark.flatMap { Self.number(behind: $0.mark, text) }
        if browser == nil, text.contains("safari/"), text.contains("applewebkit") {
            browser = "Safari"
            browserMajor = Self.number(behind: "version/", text)
        }
        if browser == "Internet Explorer" { browserMajor = Self.number(behind: "rv:", text) ?? browserMajor }
        os = Self.systems.first { text.contains($0.mark) }?.name
        device = Self.device(text, os)
        if reasons.contains(.uaListed) || reasons.contains(.uaEmpty) { device = .bot }
    }

    private static func device(_ text: String, _ os: String?) -> DeviceClass {
        if text.contains("watch") { return .watch }
        if televisions.contains(where: text.contains) { return .tv }
        switch os {
        case "Xbox", "PlayStation", "Nintendo": return .console
        case "Tizen" where text.contains("tv"), "webOS" where !text.contains("mobile"): return .tv
        default: break
        }
        if tablets.contains(where: text.contains) { return .tablet }
        if phones.contains(where: text.contains) { return .mobile }
        // Android without `Mobile` is how tablets have said it since 2011; an app's own agent says neither.
        if os == "Android" || os == "HarmonyOS" { return text.contains("dalvik/") ? .mobile : .tablet }
        switch os {
        case "Windows", "macOS", "Linux", "ChromeOS": return .desktop
        default: return .other
        }
    }

    private static func number(behind mark: String, _ text: String) -> Int? {
        guard let range = text.range(of: mark) else { return nil }
        return Int(text[range.upperBound...].prefix { ("0"..."9").contains($0) })
    }
}

/// Which user agents name themselves as programs.
///
/// The words are the self-descriptions that crawlers, monitors and HTTP libraries document for themselves.
enum UserAgentRules {
    private static let listed: [StaticString] = [
        "crawler", "spider", "slurp", "python-requests", "python-urllib", "python-httpx", "aiohttp", "curl/", "wget/",
        "go-http-client", "okhttp/", "java/", "libwww-perl", "scrapy", "facebookexternalhit", "facebookcatalog",
        "mediapartners-google", "lighthouse", "pingdom", "uptimerobot", "statuscake", "bingpreview", "ia_archiver",
        "node-fetch", "axios/", "apache-httpclient", "google-inspectiontool", "google-read-aloud", "feedfetcher",
        "adsbot", "storebot", "gptbot", "chatgpt-user", "ccbot", "perplexity", "bytespider", "whatsapp/", "guzzlehttp",
        "httpie/", "postmanruntime", "insomnia/", "ruby", "php/", "winhttp", "headlesscrawl", "gtmetrix", "site24x7",
        "newrelicpinger", "datadog", "masscan", "zgrab", "nmap", "semrush", "embedly", "skypeuripreview", "vkshare",
    ]
    private static let headless: [StaticString] = [
        "headlesschrome", "phantomjs", "selenium", "puppeteer", "playwright", "cypress", "webdriver", "slimerjs",
        "electron-headless",
    ]

    static func reasons(_ agent: String) -> [BotReason] {
        let bytes = Array(agent.utf8)
        return bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress, !buffer.isEmpty else { return [.uaEmpty] }
            return reasons(start, buffer.count)
        }
    }

    static func reasons(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> [BotReason] {
        guard count > 0, (0..<count).contains(where: { bytes[$0] != 0x20 }) else { return [.uaEmpty] }
        var isListed = false
        var isHeadless = false
        for index in 0..<count {
            isListed = isListed || isBotWord(bytes, count, index)
            for word in listed where !isListed && has(word, at: index, bytes, count) { isListed = true }
            for word in headless where !isHeadless && has(word, at: index, bytes, count) { isHeadless = true }
        }
        return (isListed ? [.uaListed] : []) + (isHeadless ? [.headless] : [])
    }

    private static func lowered(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// A word that begins here, and in the middle of no other.
    private static func has(
        _ word: StaticString, at index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> Bool {
        guard index + word.utf8CodeUnitCount <= count, lowered(bytes[index]) == word.utf8Start[0] else { return false }
        for offset in 1..<word.utf8CodeUnitCount where lowered(bytes[index + offset]) != word.utf8Start[offset] {
            return false
        }
        // Short words such as `java/` or `ruby` stand at the front of a name, not inside `rubyred`.
        guard word.utf8CodeUnitCount < 6 else { return true }
        if index > 0, lowered(bytes[index - 1]) &- 0x61 < 26 { return false }
        let end = index + word.utf8CodeUnitCount
        return word.utf8Start[word.utf8CodeUnitCount - 1] == 0x2f || end == count || lowered(bytes[end]) &- 0x61 >= 26
    }

    /// `bot` that ends a word, as in `Googlebot/2.1`; the telephone brand Cubot is not meant.
    private static func isBotWord(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ index: Int) -> Bool {
        guard index + 3 <= count, lowered(bytes[index]) == 0x62, lowered(bytes[index + 1]) == 0x6f,
            lowered(bytes[index + 2]) == 0x74
        else { return false }
        if index + 3 < count, lowered(bytes[index + 3]) &- 0x61 < 26 { return false }
        return index < 2 || lowered(bytes[index - 1]) != 0x75 || lowered(bytes[index - 2]) != 0x63
    }
}
