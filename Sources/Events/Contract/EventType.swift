/// What the structure of an event means: the closed list of contract version 1.
package enum EventType: UInt8, CaseIterable, Sendable, Codable {
    case click = 1
    case impression, install, open, page, screen, track, conversion, identify, group, alias, consent
    case adRevenue, postback, `internal`

    /// The word on the wire.
    package var name: String {
        switch self {
        case .click: "click"
        case .impression: "impression"
        case .install: "install"
        case .open: "open"
        case .page: "page"
        case .screen: "screen"
        case .track: "track"
        case .conversion: "conversion"
        case .identify: "identify"
        case .group: "group"
        case .alias: "alias"
        case .consent: "consent"
        case .adRevenue: "ad_revenue"
        case .postback: "postback"
        case .internal: "internal"
        }
    }

    package init?(name: some StringProtocol) {
        guard let type = EventType.allCases.first(where: { $0.name == name }) else { return nil }
        self = type
    }

    /// Written by Aurum only; refused from outside keys.
    package var isReserved: Bool { self == .postback || self == .internal }
}
