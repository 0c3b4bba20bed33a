/// The kind of marketing that brought somebody. Raw values are the words in answers.
package enum Channel: String, CaseIterable, Sendable, Codable {
    case paidSearch = "paid_search"
    case paidSocial = "paid_social"
    case video, display, affiliate, email, sms, push, call
    case paidOther = "paid_other"
    case organicSearch = "organic_search"
    case organicSocial = "organic_social"
    case referral, direct, other
}

/// What decides a channel.
struct ChannelFacts {
    var source: String?
    var medium: String?
    /// What the network of the click id sells; nil without a click id.
    var clickMedium: AdvertisingLink.Medium?
    /// Host of the referrer, when it is another than the page's.
    var foreignHost: String?
    var hasCampaign = false
    var network: String?

    private static let searchWords = [
        "google", "bing", "yahoo", "duckduckgo", "baidu", "yandex", "ecosia", "ask", "aol", "brave", "qwant", "naver",
        "microsoft",
    ]
    private static let socialWords = [
        "facebook", "instagram", "twitter", "linkedin", "tiktok", "reddit", "pinterest", "snapchat", "youtube", "meta",
        "threads", "quora", "tumblr", "whatsapp", "telegram", "fb", "ig",
    ]
    /// Hosts whose name alone says it, because they do not hold the network's word.
    private static let socialHosts: Set<String> = [
        "t.co", "x.com", "lnkd.in", "youtu.be", "vk.com", "ok.ru", "wa.me", "t.me",
    ]

    /// The first rule that fits. Source: the channel table of the events specification, section 6.
    var channel: Channel {
        let word = (medium ?? "").lowercased()
        let source = (source ?? "").lowercased()
        let isPaid = ["cpc", "ppc", "cpm", "cpa", "cpv", "cpl", "cpi"].contains(word) || word.hasPrefix("paid")
        let isSearch = Self.names(source, Self.searchWords) || (source.isEmpty && isSearchHost)
        let isSocial =
            Self.names(source, Self.socialWords) || Self.socialHosts.contains(source) || source == "x"
            || (source.isEmpty && isSocialHost)
        if clickMedium == .search || (isSearch && isPaid) { return .paidSearch }
        if clickMedium == .social || (isSocial && isPaid) { return .paidSocial }
        if word == "video" || word == "cpv"
            || (isPaid && (word.contains("video") || (network ?? "").lowercased().contains("video")))
        {
            return .video
        }
        if ["display", "banner", "cpm", "interstitial", "expandable"].contains(word) || clickMedium == .display {
            return .display
        }
        switch word {
        case "affiliate": return .affiliate
        case "email", "e-mail", "newsletter": return .email
        case "sms": return .sms
        case "push": return .push
        case "call", "phone": return .call
        default: break
        }
        if clickMedium == .affiliate { return .affiliate }
        if isPaid { return .paidOther }
        if isSearch { return .organicSearch }
        if isSocial { return .organicSocial }
        if foreignHost != nil { return .referral }
        if source.isEmpty, word.isEmpty, clickMedium == nil, !hasCampaign { return .direct }
        return word == "referral" ? .referral : .other
    }

    private var isSearchHost: Bool { Self.hostNames(foreignHost, Self.searchWords) }

    private var isSocialHost: Bool {
        guard let foreignHost else { return false }
        return Self.socialHosts.contains(foreignHost) || Self.hostNames(foreignHost, Self.socialWords)
    }

    /// Whether a source is one of the words, alone or as the name in a host such as `m.facebook.com`.
    private static func names(_ source: String, _ words: [String]) -> Bool {
        guard !source.isEmpty else { return false }
        return words.contains(source) || hostNames(source, words)
    }

    private static func hostNames(_ host: String?, _ words: [String]) -> Bool {
        guard let host else { return false }
        return host.lowercased().split(separator: ".").dropLast().contains { words.contains(String($0)) }
    }
}
