/// What an advertising touch is. Raw values are written to the log and never change.
package enum TouchKind: UInt8, Sendable, Codable { case click = 1, impression, visit }

/// Which events are touchpoints: clicks, impressions, and pages, screens and app opens that carry a click id, a
/// campaign or a referrer from another host.
enum TouchRule {
    @inline(__always)
    static func mayTouch(_ type: Int) -> Bool {
        type == Int(EventType.click.rawValue) || type == Int(EventType.impression.rawValue)
            || (type >= Int(EventType.open.rawValue) && type <= Int(EventType.screen.rawValue))
    }

    /// nil when the event is no touchpoint.
    static func kind(_ parser: EventParser) -> TouchKind? {
        switch EventType(rawValue: UInt8(truncatingIfNeeded: parser.type)) {
        case .click: .click
        case .impression: .impression
        case .page, .screen, .open: carriesOrigin(parser) ? .visit : nil
        default: nil
        }
    }

    private static func carriesOrigin(_ parser: EventParser) -> Bool {
        if parser.isFilled(.clickID) { return true }
        let own = EventField.campaignID.rawValue...EventField.publisherID.rawValue
        let fallback = EventField.contextCampaignID.rawValue...EventField.contextCampaignContent.rawValue
        for range in [own, fallback] {
            for code in range {
                if let field = EventField(rawValue: code), parser.isFilled(field) { return true }
            }
        }
        let url = parser.firstFilled([.url, .propertyURL, .pageURL]).map { parser.decoded(parser.slice($0)) }
        if let url, AdvertisingLink.carriesCampaign(url.0, url.1) { return true }
        guard let referrer = parser.firstFilled([.referrer, .propertyReferrer, .pageReferrer]) else { return false }
        let slice = parser.slice(referrer)
        // Both may hold escapes, and there is one place for decoded text: compare copies.
        let (bytes, count) = parser.decoded(slice)
        let copy = Array(UnsafeBufferPointer(start: bytes, count: count))
        let page = parser.firstFilled([.url, .propertyURL, .pageURL]).map { parser.decoded(parser.slice($0)) }
        return copy.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return false }
            guard let page else { return AdvertisingLink.host(start, count) != nil }
            return AdvertisingLink.isForeign(referrer: start, count, url: page.0, page.1)
        }
    }
}

extension EventParser {
    /// The first of the fields that is present and not empty.
    func firstFilled(_ fields: [EventField]) -> EventField? { fields.first { isFilled($0) } }
}
