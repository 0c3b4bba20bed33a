/// Click ids and campaign parameters of a URL.
package enum AdvertisingLink {
    /// The parameter under which Aurum's own redirects hand a click id on.
    package static let own = "aurum_click"

    /// What a network that sets a click id sells.
    enum Medium: Sendable { case search, social, display, affiliate, own }

    /// Click id parameters, the network that sets each, and what it sells. Source: the networks' documentation of
    /// auto-tagging; `aurum_click` is ours.
    static let clickIDs: [(parameter: StaticString, network: String, medium: Medium)] = [
        ("gclid", "google", .search), ("gbraid", "google", .search), ("wbraid", "google", .search),
        ("dclid", "google", .display), ("msclkid", "microsoft", .search), ("fbclid", "meta", .social),
        ("ttclid", "tiktok", .social), ("twclid", "x", .social), ("li_fat_id", "linkedin", .social),
        ("ScCid", "snapchat", .social), ("rdt_cid", "reddit", .social), ("epik", "pinterest", .social),
        ("yclid", "yandex", .search), ("irclickid", "impact", .affiliate), ("aurum_click", "aurum", .own),
    ]

    /// The parameters, as networks spell them.
    package static let clickIDNames = clickIDs.map { "\($0.parameter)" }

    /// Whether a URL carries a click id or a campaign parameter. Looks at names only; allocates nothing.
    static func carriesCampaign(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var found = false
        eachParameter(bytes, count) { name, nameCount, valueCount in
            guard valueCount > 0 else { return true }
            found = isCampaign(name, nameCount) || clickIDs.contains { equal($0.parameter, name, nameCount) }
            return !found
        }
        return found
    }

    /// `utm_` and something.
    static func isCampaign(_ name: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        count > 4 && name[0] == 0x75 && name[1] == 0x74 && name[2] == 0x6d && name[3] == 0x5f
    }

    static func equal(_ word: StaticString, _ name: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        guard word.utf8CodeUnitCount == count else { return false }
        for index in 0..<count where word.utf8Start[index] != name[index] { return false }
        return true
    }

    /// Calls `body` with each query parameter (name and length, length of the value that follows its `=`) until it
    /// answers false. The fragment ends the query.
    @inline(__always)
    static func eachParameter(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, _ body: (UnsafePointer<UInt8>, Int, Int) -> Bool
    ) {
        var index = 0
        while index < count, bytes[index] != 0x3f, bytes[index] != 0x23 { index += 1 }
        guard index < count, bytes[index] == 0x3f else { return }
        index += 1
        while index < count, bytes[index] != 0x23 {
            let start = index
            var equals = -1
            while index < count, bytes[index] != 0x26, bytes[index] != 0x23 {
                if bytes[index] == 0x3d, equals < 0 { equals = index }
                index += 1
            }
            if equals > start, !body(bytes + start, equals - start, index - equals - 1) { return }
            if index < count, bytes[index] == 0x26 { index += 1 }
        }
    }

    /// Where the host of a URL stands, without `www.`, user and port; nil when it has none.
    static func host(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Range<Int>? {
        var index = 0
        while index + 2 < count, !(bytes[index] == 0x3a && bytes[index + 1] == 0x2f && bytes[index + 2] == 0x2f) {
            if bytes[index] == 0x3f || bytes[index] == 0x23 { return nil }
            index += 1
        }
        guard index + 3 < count else { return nil }
        var start = index + 3
        var end = start
        while end < count, bytes[end] != 0x2f, bytes[end] != 0x3f, bytes[end] != 0x23 {
            if bytes[end] == 0x40 { start = end + 1 }
            end += 1
        }
        var port = start
        while port < end, bytes[port] != 0x3a { port += 1 }
        if port - start > 4, bytes[start] | 0x20 == 0x77, bytes[start + 1] | 0x20 == 0x77,
            bytes[start + 2] | 0x20 == 0x77,
            bytes[start + 3] == 0x2e
        {
            start += 4
        }
        return port > start ? start..<port : nil
    }

    /// Whether a referrer names another host than the page does.
    static func isForeign(
        referrer: UnsafePointer<UInt8>, _ referrerCount: Int, url: UnsafePointer<UInt8>, _ urlCount: Int
    ) -> Bool {
        guard let from = host(referrer, referrerCount) else { return false }
        guard let to = host(url, urlCount), from.count == to.count else { return true }
        for offset in 0..<from.count {
            let left = referrer[from.lowerBound + offset], right = url[to.lowerBound + offset]
            let same = left == right || (left | 0x20 == right | 0x20 && (left | 0x20) &- 0x61 < 26)
            if !same { return true }
        }
        return false
    }
}
