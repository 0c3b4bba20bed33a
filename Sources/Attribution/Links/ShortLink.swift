package import AurumCore
internal import Events
internal import Foundation

/// Why a link is refused, or a click's payload not given.
package enum LinkError: Error, Sendable, Equatable {
    /// Members of the body, and what is wrong with each.
    case invalid([LinkProblem])
    case unknown
    case slugTaken
    case tooMany
    /// The target is a link of this server.
    case redirectLoop
    case clickUnknown
    case clickExpired
    case alreadyResolved

    /// Stable tag.
    package var tag: String {
        switch self {
        case .invalid: "invalid_fields"
        case .unknown: "link_unknown"
        case .slugTaken: "slug_taken"
        case .tooMany: "too_many_links"
        case .redirectLoop: "redirect_loop"
        case .clickUnknown: "link_click_unknown"
        case .clickExpired: "link_click_expired"
        case .alreadyResolved: "already_resolved"
        }
    }

    package var sentence: String {
        switch self {
        case .invalid(let problems): "\(problems.count) field(s) are wrong."
        case .unknown: "There is no such link."
        case .slugTaken: "A link of this slug exists on this server; choose another."
        case .tooMany: "There may be no more than \(LinkStore.linksMax) links."
        case .redirectLoop: "The link leads to a link of this server."
        case .clickUnknown: "No click on a link is known by what was sent."
        case .clickExpired: "The click is older than payloads are given for."
        case .alreadyResolved: "The payload of this click was given before; it is given once."
        }
    }
}

package struct LinkProblem: Sendable, Equatable {
    package var field: String
    package var detail: String

    package init(field: String, detail: String) { (self.field, self.detail) = (field, detail) }
}

/// A short address that leads to an app or to the web.
package struct ShortLink: Sendable, Equatable {
    /// Where a visitor is sent.
    package enum Target: String, Sendable, CaseIterable { case ios, android, web }

    package struct App: Sendable, Equatable {
        /// Number in Apple's store, or the name of the package.
        package var id: String
        /// Where to go inside the app, told when the payload is asked for.
        package var path: String?
    }

    package var slug: String
    package var org: String
    /// The app that clicks are recorded for.
    package var app: String
    package var webURL: String
    package var ios: App?
    package var android: App?
    /// Names of the contract.
    package var campaign: [String: String] = [:]
    package var payload = JSONValue.object([:])
    package var expiresAt: Timestamp?
    package var createdAt = Timestamp(microseconds: 0)

    package static let path = "/l/"
    package static let payloadBytesMax = 2048
    static let urlBytesMax = 2000
    static let campaignNames = [
        "id", "name", "source", "medium", "term", "content", "network", "ad_group_id", "creative_id", "placement_id",
        "keyword", "publisher_id",
    ]

    private static let campaignParameters: [(name: String, parameter: String)] = [
        ("source", "utm_source"), ("medium", "utm_medium"), ("name", "utm_campaign"),
    ]

    /// Where the visitor goes: to the store of the system that the browser names, where the link has the app, else to
    /// the web; an expired link leads to the web.
    package func target(userAgent: String?, now: Timestamp) -> Target {
        if isExpired(now) { return .web }
        switch userAgent.flatMap({ UserAgentFacts($0).os }) {
        case "iOS", "iPadOS": return ios == nil ? .web : .ios
        case "Android", "HarmonyOS": return android == nil ? .web : .android
        default: return .web
        }
    }

    package func isExpired(_ now: Timestamp) -> Bool { expiresAt.map { $0 <= now } ?? false }

    /// The address of a target.
    /// - Parameter click: nil for a visitor whose click does not count.
    package func location(_ target: Target, click: String?) -> String? {
        guard let click else { return RedirectTarget(webURL)?.text }
        switch target {
        case .web:
            // The page that is reached says by itself which campaign it belongs to.
            let told = Self.campaignParameters.reduce(webURL) { address, pair in
                campaign[pair.name].flatMap { RedirectTarget(address)?.adding(pair.parameter, $0) } ?? address
            }
            return RedirectTarget(told)?.adding(AdvertisingLink.own, click)
        case .ios:
            return ios.flatMap {
                RedirectTarget("https://apps.apple.com/app/id\($0.id)")?.adding(AdvertisingLink.own, click)
            }
        case .android:
            guard let android else { return nil }
            var referrer = "\(AdvertisingLink.own)=\(click.percentEncoded)"
            for (name, parameter) in Self.campaignParameters {
                if let value = campaign[name] { referrer += "&\(parameter)=\(value.percentEncoded)" }
            }
            // Play hands the referrer to the app that it installs.
            return RedirectTarget("https://play.google.com/store/apps/details?id=\(android.id)")?
                .adding("referrer", referrer)
        }
    }

    /// The query that records a click on the link: what comes first in it counts.
    package func query(click: String, at: Timestamp) -> String {
        var pairs = [("id", click), ("ts", "\(at.milliseconds)"), ("link", slug)]
        for name in Self.campaignNames {
            guard let value = campaign[name] else { continue }
            let parameter =
                switch name {
                case "id": "campaign_id"
                case "name": "campaign"
                default: name
                }
            pairs.append((parameter, value))
        }
        return pairs.map { "\($0.0)=\($0.1.percentEncoded)" }.joined(separator: "&")
    }

    /// The slug that an address would name on a server of links, whatever its host; nil for other addresses.
    package static func slug(inAddress address: String) -> String? {
        guard let target = RedirectTarget(address) else { return nil }
        let rest = target.text.drop { $0 != ":" }.dropFirst(3).drop { $0 != "/" && $0 != "?" && $0 != "#" }
        let path = rest.prefix { $0 != "?" && $0 != "#" }
        let parts = path.split(separator: "/").map { String($0).removingPercentEncoding ?? String($0) }
            .filter { $0 != "." }
        guard parts.count >= 2, let last = parts.last, parts[parts.count - 2] == "l" else { return nil }
        return last
    }

    var members: [String: JSONValue] {
        func app(_ app: App?, _ name: String) -> JSONValue {
            guard let app else { return .null }
            return [name: .string(app.id), "path": app.path.map { .string($0) } ?? .null]
        }
        return [
            "web_url": .string(webURL), "ios": app(ios, "app"), "android": app(android, "package"),
            "campaign": .object(campaign.mapValues { .string($0) }), "payload": payload,
        ]
    }

    package var json: JSONValue {
        var all = members
        all["slug"] = .string(slug)
        all["app"] = .string(app)
        all["path"] = .string(Self.path + slug)
        all["expires"] = expiresAt.map { .string($0.rfc3339) } ?? .null
        all["created_at"] = .string(createdAt.rfc3339)
        return .object(all)
    }
}
