/// What a key may do. Names as in the table of permissions; a key holds some of them.
package enum Scope: String, Sendable, Codable, CaseIterable, Comparable {
    case analyticsRead = "analytics:read"
    case buyersWrite = "buyers:write"
    case campaignsWrite = "campaigns:write"
    case conversationsRead = "conversations:read"
    case conversationsReply = "conversations:reply"
    case eventsRead = "events:read"
    case eventsWrite = "events:write"
    case keysManage = "keys:manage"
    case leadsRead = "leads:read"
    case leadsWrite = "leads:write"
    case ledgerRead = "ledger:read"
    case policiesWrite = "policies:write"
    case privacyManage = "privacy:manage"
    case systemRead = "system:read"

    package static func < (left: Scope, right: Scope) -> Bool { left.rawValue < right.rawValue }
}

/// Who is asking: made from a key or a session at the edge, checked by every route.
package struct Principal: Sendable, Equatable {
    package enum Kind: String, Sendable, Codable { case server, publishable, admin }

    package var org: String
    package var app: String
    package var keyID: String
    package var kind: Kind
    package var scopes: Set<Scope>
    /// Web origins a publishable key is bound to; empty means it works from no web page of another origin.
    package var origins: Set<String>
    /// Events may be older than the usual limit.
    package var historical: Bool
    /// Events it may write a second, twice that in a burst; nil for what holds for keys of its kind.
    package var eventsPerSecond: Int?

    package init(
        org: String, app: String, keyID: String, kind: Kind, scopes: Set<Scope>, origins: Set<String> = [],
        historical: Bool = false, eventsPerSecond: Int? = nil
    ) {
        self.eventsPerSecond = eventsPerSecond
        self.org = org
        self.app = app
        self.keyID = keyID
        self.kind = kind
        self.scopes = scopes
        self.origins = origins
        self.historical = historical
    }

    package func has(_ scope: Scope) -> Bool { scopes.contains(scope) }
}
