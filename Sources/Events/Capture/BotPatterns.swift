/// Whether a user agent names itself as a program. The verdict is data: the event is stored and flagged.
///
/// The words are the self-descriptions that crawlers, monitors and HTTP libraries document for themselves.
struct BotPatterns {
    private static let words: [StaticString] = [
        "crawler", "spider", "slurp", "headlesschrome", "phantomjs", "python-requests", "python-urllib", "aiohttp",
        "curl/", "wget/", "go-http-client", "okhttp/", "java/", "libwww-perl", "scrapy", "facebookexternalhit",
        "mediapartners-google", "lighthouse", "pingdom", "uptimerobot", "statuscake", "bingpreview", "ia_archiver",
        "selenium", "puppeteer", "playwright", "node-fetch", "axios/", "apache-httpclient",
    ]

    /// Remembered verdicts, by a hash of the agent: bodies repeat few agents.
    private static let memoSlots = 64
    private let memo: UnsafeMutablePointer<(hash: UInt64, count: Int, isBot: Bool)>

    init() {
        memo = .allocate(capacity: Self.memoSlots)
        memo.initialize(repeating: (0, -1, false), count: Self.memoSlots)
    }

    func deallocate() { memo.deallocate() }

    /// An empty agent is a bot; so is one with a listed word, or with `bot` at the end of a word.
    func isBot(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        guard count > 0 else { return true }
        let hash = SipHash(key: (0x626f_7473, 0x7061_7474)).hash(bytes, count)
        let slot = memo + Int(hash.low & UInt64(Self.memoSlots - 1))
        if slot.pointee.hash == hash.high, slot.pointee.count == count { return slot.pointee.isBot }
        let verdict = Self.matches(bytes, count)
        slot.pointee = (hash.high, count, verdict)
        return verdict
    }

    private static func matches(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        for index in 0..<count {
            if isBotWord(bytes, count, index) { return true }
            for word in words where has(word, at: index, bytes, count) { return true }
        }
        return false
    }

    private static func lowered(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    private static func has(
        _ word: StaticString, at index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> Bool {
        guard index + word.utf8CodeUnitCount <= count else { return false }
        for offset in 0..<word.utf8CodeUnitCount where lowered(bytes[index + offset]) != word.utf8Start[offset] {
            return false
        }
        return true
    }

    /// `bot` that ends a word, as in `Googlebot/2.1`; the telephone brand Cubot is not meant.
    private static func isBotWord(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ index: Int) -> Bool {
        guard has("bot", at: index, bytes, count) else { return false }
        if index + 3 < count, lowered(bytes[index + 3]) &- 0x61 < 26 { return false }
        return index < 2 || lowered(bytes[index - 1]) != 0x75 || lowered(bytes[index - 2]) != 0x63
    }
}
