/// The campaign of an event: what it says itself, else what its URL says.
package struct Campaign: Sendable, Equatable {
    package var id: String?
    package var name: String?
    package var source: String?
    package var medium: String?
    package var term: String?
    package var content: String?
    package var network: String?
    package var adGroupID: String?
    package var creativeID: String?
    package var placementID: String?
    package var keyword: String?
    package var publisherID: String?
    /// The channel that the sender declared, as it came.
    package var declaredChannel: String?

    package init() {}
}

/// Campaign, click id and channel of an event. Explicit fields win over the URL, the URL over the referrer.
struct AdvertisingFacts {
    var campaign: Campaign
    var clickID: String?
    var channel: Channel

    /// - Parameter isOwn: whether a host is the app's own.
    init(
        campaign explicit: Campaign, clickID explicitClick: String?, url: String?, referrer: String?,
        isOwn: (String) -> Bool = { _ in false }
    ) {
        var campaign = explicit
        var clickID = explicitClick
        var clickMedium: AdvertisingLink.Medium?
        let parameters = Self.parameters(url).filter { !$0.1.isEmpty }
        for (name, value) in parameters {
            switch name {
            case "utm_source": campaign.source = campaign.source ?? value
            case "utm_medium": campaign.medium = campaign.medium ?? value
            case "utm_campaign": campaign.name = campaign.name ?? value
            case "utm_term": campaign.term = campaign.term ?? value
            case "utm_content": campaign.content = campaign.content ?? value
            case "utm_id": campaign.id = campaign.id ?? value
            default:
                guard let known = AdvertisingLink.clickIDs.first(where: { "\($0.parameter)" == name }) else { continue }
                if clickID == nil || clickID == value {
                    clickID = value
                    clickMedium = clickMedium ?? known.medium
                    campaign.network = campaign.network ?? known.network
                }
            }
        }
        if AdParameter.belongToAnAd(parameters) {
            for parameter in AdParameter.allCases {
                if let value = parameter.value(in: parameters) { campaign.fill(parameter, value) }
            }
        }
        let from = Self.host(referrer)
        let to = Self.host(url)
        let foreign = from.flatMap { $0 == to || isOwn($0) ? nil : $0 }
        let facts = ChannelFacts(
            source: campaign.source ?? explicit.network, medium: campaign.medium,
            clickMedium: clickMedium ?? Self.medium(ofNetwork: explicit.network, clickID), foreignHost: foreign,
            hasCampaign: campaign.name != nil || campaign.id != nil || clickID != nil, network: campaign.network)
        self.campaign = campaign
        self.clickID = clickID
        channel = facts.channel
    }

    /// An explicit click id of a known network counts as that network's.
    private static func medium(ofNetwork network: String?, _ clickID: String?) -> AdvertisingLink.Medium? {
        guard let network = network?.lowercased(), clickID != nil else { return nil }
        return AdvertisingLink.clickIDs.first { $0.network == network }?.medium
    }

    static func host(_ url: String?) -> String? {
        guard let url else { return nil }
        let bytes = Array(url.utf8)
        return bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress, let range = AdvertisingLink.host(start, buffer.count) else {
                return nil
            }
            return String(decoding: buffer[range], as: UTF8.self).lowercased()
        }
    }

    /// Names and decoded values of the query.
    static func parameters(_ url: String?) -> [(String, String)] {
        guard let url else { return [] }
        let bytes = Array(url.utf8)
        var found: [(String, String)] = []
        bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return }
            AdvertisingLink.eachParameter(start, buffer.count) { name, nameCount, valueCount in
                let value = UnsafeBufferPointer(start: name + nameCount + 1, count: valueCount)
                found.append(
                    (
                        decoded(UnsafeBufferPointer(start: name, count: nameCount)), decoded(value)
                    ))
                return true
            }
        }
        return found
    }

    /// Percent escapes and `+` resolved; broken escapes stay as they are.
    private static func decoded(_ text: UnsafeBufferPointer<UInt8>) -> String {
        var bytes: [UInt8] = []
        var index = 0
        while index < text.count {
            if text[index] == 0x25, index + 2 < text.count, let high = HexText.digit(text[index + 1]),
                let low = HexText.digit(text[index + 2])
            {
                bytes.append(UInt8(high << 4 | low))
                index += 3
            } else {
                bytes.append(text[index] == 0x2b ? 0x20 : text[index])
                index += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
