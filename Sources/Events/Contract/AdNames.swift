/// What a touch says of its ad below the campaign; nil for what it does not say.
package struct AdNames: Sendable, Hashable, Codable {
    /// An ad group of search, an ad set of social networks.
    package var adGroup: String?
    package var creative: String?
    package var keyword: String?
    /// The site or app that showed the ad.
    package var publisher: String?

    /// Bytes of a name, as many as the contract gives a field of a campaign: a URL may hold longer ones.
    package static let bytesMax = ContractLimits.identifierBytes

    /// Longer names are cut.
    package init(
        adGroup: String? = nil, creative: String? = nil, keyword: String? = nil, publisher: String? = nil
    ) {
        self.adGroup = adGroup.map { Self.cut($0) }
        self.creative = creative.map { Self.cut($0) }
        self.keyword = keyword.map { Self.cut($0) }
        self.publisher = publisher.map { Self.cut($0) }
    }

    package var isEmpty: Bool { self == AdNames() }

    /// Takes from `other` what this one does not say.
    package mutating func fill(from other: AdNames) {
        adGroup = adGroup ?? other.adGroup
        creative = creative ?? other.creative
        keyword = keyword ?? other.keyword
        publisher = publisher ?? other.publisher
    }

    /// The longest beginning that `bytesMax` hold, no character of Unicode cut in two.
    package static func cut(_ text: String) -> String {
        guard text.utf8.count > bytesMax else { return text }
        var kept = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            count += UTF8.width(scalar)
            if count > bytesMax { break }
            kept.append(scalar)
        }
        return String(kept)
    }
}

extension Campaign {
    /// Ids count before the texts of `utm_content` and `utm_term`.
    package var ad: AdNames {
        AdNames(
            adGroup: adGroupID, creative: creativeID ?? content, keyword: keyword ?? term, publisher: publisherID)
    }

    mutating func fill(_ parameter: AdParameter, _ value: String) {
        switch parameter {
        case .adGroup: adGroupID = adGroupID ?? value
        case .creative: creativeID = creativeID ?? value
        case .keyword: keyword = keyword ?? value
        case .publisher: publisherID = publisherID ?? value
        }
    }
}

/// Parameters of ad links that say more than `utm_*` do, by the field of the contract that they fill.
enum AdParameter: String, CaseIterable {
    case adGroup = "ad_group_id"
    case creative = "creative_id"
    case keyword
    case publisher = "publisher_id"

    /// The contract's name, then those of others, the first that has a value counts: ValueTrack's `{adgroupid}`,
    /// `{creative}` and `{keyword}` under their own names, Meta's `{{adset.id}}` and `{{ad.id}}`, Microsoft's
    /// `{AdGroupId}` and `{AdId}`, Adjust's `adgroup` and `creative`, HubSpot's `hsa_`, AppsFlyer's `af_`.
    var names: [String] {
        switch self {
        case .adGroup: Self.adGroupNames
        case .creative: Self.creativeNames
        case .keyword: Self.keywordNames
        case .publisher: Self.publisherNames
        }
    }

    private static let adGroupNames = [
        "ad_group_id", "adgroup_id", "adgroupid", "adset_id", "hsa_grp", "af_adset_id", "af_adset", "adgroup",
    ]
    private static let creativeNames = ["creative_id", "ad_id", "hsa_ad", "af_ad_id", "af_ad", "creative"]
    private static let keywordNames = ["keyword", "hsa_kw", "af_keywords"]
    private static let publisherNames = ["publisher_id", "site_id", "siteid", "af_siteid"]

    /// nil when no parameter has a value.
    func value(in parameters: [(String, String)]) -> String? {
        for name in names {
            if let found = parameters.first(where: { $0.0 == name && !$0.1.isEmpty }) { return found.1 }
        }
        return nil
    }

    /// Whether a page's own URL speaks of an ad: only beside a click id or a campaign, for a page may use such names
    /// for something else.
    /// - Parameter parameters: those of the URL that have a value.
    static func belongToAnAd(_ parameters: [(String, String)]) -> Bool {
        parameters.contains { $0.0.hasPrefix("utm_") || AdvertisingLink.clickIDNames.contains($0.0) }
    }
}
