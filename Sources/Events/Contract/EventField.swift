/// Every field of the contract, and where the parser keeps it. Raw values are written to the log and never change.
///
/// Values below 64 are top-level fields, 64…95 fields of `campaign`, `context` and `consent`, from 96 on *fallbacks*:
/// places of Segment-shaped events that stand in for a field that the event does not give itself.
package enum EventField: UInt8, CaseIterable, Sendable {
    case id = 0
    case type, name, timestamp, sentAt, anonymousID, userID, deviceID, sessionID, clickID, orderID, leadID
    case advertisingID, vendorID, installReferrer, referralClickedAt, installBeganAt, url, referrer, title, screen
    case campaign, value, currency, quantity, groupID, previousID, traits, props, context, consent, traceID
    case originalTimestamp

    case campaignID = 64
    case campaignName, campaignSource, campaignMedium, campaignTerm, campaignContent, campaignNetwork, adGroupID
    case creativeID, placementID, keyword, publisherID

    case ip = 76
    case userAgent, locale, timezone, platform, os, osVersion, appVersion, appBuild, deviceModel, deviceMaker
    case screenWidth, screenHeight, library, libraryVersion

    case gpc = 91
    case analytics, ads, personalisation, tcf

    case contextCampaignID = 96
    case contextCampaignName, contextCampaignSource, contextCampaignMedium, contextCampaignTerm
    case contextCampaignContent, contextChannel, pageURL, pageReferrer, pageTitle, contextDeviceID, contextTraits
    case contextAdvertisingID, propertyURL, propertyReferrer, propertyRevenue, propertyValue, propertyTotal
    case propertyCurrency, propertyOrderID, propertyTitle

    /// No field: the whole event is meant.
    case event = 255

    /// The name in answers, for example `context.ip`.
    package var path: String {
        switch self {
        case .event: "event"
        case .propertyURL: "properties.url"
        case .propertyReferrer: "properties.referrer"
        case .propertyRevenue: "properties.revenue"
        case .propertyValue: "properties.value"
        case .propertyTotal: "properties.total"
        case .propertyCurrency: "properties.currency"
        case .propertyOrderID: "properties.order_id"
        case .propertyTitle: "properties.title"
        case .pageURL: "context.page.url"
        case .pageReferrer: "context.page.referrer"
        case .pageTitle: "context.page.title"
        case .contextDeviceID: "context.device.id"
        case .contextAdvertisingID: "context.device.advertisingId"
        case .contextTraits: "context.traits"
        case .contextChannel: "context.channel"
        case .contextCampaignID, .contextCampaignName, .contextCampaignSource, .contextCampaignMedium,
            .contextCampaignTerm, .contextCampaignContent:
            "context.campaign"
        default: FieldNames.path(of: self)
        }
    }
}

/// Wire names of the fields, the one place where they are written.
enum FieldNames {
    /// Top-level names; several may mean one field.
    static let top: [(String, EventField)] = [
        ("id", .id), ("messageId", .id), ("type", .type), ("name", .name), ("event", .name), ("ts", .timestamp),
        ("timestamp", .timestamp), ("originalTimestamp", .originalTimestamp), ("sent_at", .sentAt), ("sentAt", .sentAt),
        ("anonymous_id", .anonymousID), ("anonymousId", .anonymousID), ("user_id", .userID), ("userId", .userID),
        ("device_id", .deviceID), ("session_id", .sessionID), ("click_id", .clickID), ("order_id", .orderID),
        ("lead_id", .leadID), ("advertising_id", .advertisingID), ("vendor_id", .vendorID),
        ("install_referrer", .installReferrer), ("referral_clicked_at", .referralClickedAt),
        ("install_began_at", .installBeganAt), ("url", .url), ("referrer", .referrer), ("title", .title),
        ("screen", .screen), ("campaign", .campaign), ("value", .value), ("currency", .currency),
        ("quantity", .quantity), ("group_id", .groupID), ("groupId", .groupID), ("previous_id", .previousID),
        ("previousId", .previousID), ("traits", .traits), ("props", .props), ("properties", .props),
        ("context", .context), ("consent", .consent), ("trace_id", .traceID),
    ]

    static let campaign: [(String, EventField)] = [
        ("id", .campaignID), ("name", .campaignName), ("source", .campaignSource), ("medium", .campaignMedium),
        ("term", .campaignTerm), ("content", .campaignContent), ("network", .campaignNetwork),
        ("ad_group_id", .adGroupID), ("creative_id", .creativeID), ("placement_id", .placementID),
        ("keyword", .keyword), ("publisher_id", .publisherID),
    ]

    static let context: [(String, EventField)] = [
        ("ip", .ip), ("user_agent", .userAgent), ("userAgent", .userAgent), ("locale", .locale),
        ("timezone", .timezone), ("platform", .platform), ("os", .os), ("os_version", .osVersion),
        ("app_version", .appVersion), ("app_build", .appBuild), ("device_model", .deviceModel),
        ("device_maker", .deviceMaker), ("screen_width", .screenWidth), ("screen_height", .screenHeight),
        ("library", .library), ("library_version", .libraryVersion),
    ]

    /// Names of `context` that only Segment-shaped events use; wrong types there are left alone.
    static let contextFallbacks: [(String, EventField)] = [
        ("utm_id", .contextCampaignID), ("utm_campaign", .contextCampaignName), ("utm_source", .contextCampaignSource),
        ("utm_medium", .contextCampaignMedium), ("utm_term", .contextCampaignTerm),
        ("utm_content", .contextCampaignContent), ("channel", .contextChannel), ("traits", .contextTraits),
    ]

    static let consent: [(String, EventField)] = [
        ("gpc", .gpc), ("analytics", .analytics), ("ads", .ads), ("personalisation", .personalisation), ("tcf", .tcf),
    ]

    /// Properties of Segment-shaped events that stand for a field of the contract.
    static let properties: [(String, EventField)] = [
        ("url", .propertyURL), ("referrer", .propertyReferrer), ("title", .propertyTitle),
        ("revenue", .propertyRevenue), ("value", .propertyValue), ("total", .propertyTotal),
        ("currency", .propertyCurrency), ("order_id", .propertyOrderID),
    ]

    /// The name under which an event would give a field that is a member of its own or of `properties`.
    static func wirePath(of field: EventField) -> (name: String, isProperty: Bool) {
        if let property = properties.first(where: { $0.1 == field }) { return (property.0, true) }
        return (path(of: field), false)
    }

    /// The documented name of `field`: the first of its names.
    static func path(of field: EventField) -> String {
        if field.rawValue < 64 { return top.first { $0.1 == field }?.0 ?? "event" }
        for (prefix, names) in [("campaign.", campaign), ("context.", context), ("consent.", consent)] {
            if let name = names.first(where: { $0.1 == field }) { return prefix + name.0 }
        }
        return "event"
    }
}
