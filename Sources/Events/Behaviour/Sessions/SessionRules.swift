/// What the apps of one organisation call a session.
package struct SessionRules: Sendable, Equatable {
    /// Of apps that have no rule of their own.
    package var standard = SessionRule()
    package var apps: [String: SessionRule] = [:]

    package init(standard: SessionRule = SessionRule(), apps: [String: SessionRule] = [:]) {
        (self.standard, self.apps) = (standard, apps)
    }

    /// The settings of an organisation's apps.
    package init(_ states: [AppState]) {
        for state in states { apps[state.app] = SessionRule(state.settings) }
    }

    package func rule(_ app: String) -> SessionRule { apps[app] ?? standard }

    /// The rules of some apps, or of all.
    func rules(of names: [String]) -> Set<SessionRule> {
        names.isEmpty ? Set(apps.values).union([standard]) : Set(names.map(rule))
    }

    /// Puts what a question says itself in the place of every app's rule.
    func with(gapMinutes: Int?, isClients: Bool?) -> SessionRules {
        func changed(_ rule: SessionRule) -> SessionRule {
            SessionRule(gapMinutes: gapMinutes ?? rule.gapMinutes, isClients: isClients ?? rule.isClients)
        }
        return SessionRules(standard: changed(standard), apps: apps.mapValues(changed))
    }
}

/// A rule in the order of a row: 22 bits of code, eight of the gap's minutes, one that says whose sessions they are.
extension SessionRule {
    private static let codeBits: UInt32 = 22
    /// Codes that the bits have room for.
    static let codesMax = 1 << codeBits - 2

    init(_ settings: AppSettings) {
        self.init(gapMinutes: settings.sessionGapMinutes, isClients: settings.sessions == .client)
    }

    /// A code of app, or of app and client's session, together with this rule.
    func order(_ code: UInt32) -> UInt32 {
        code | UInt32(gapMinutes) << Self.codeBits | (isClients ? 1 << 30 : 0)
    }

    /// The rule of a row's order.
    init(order: UInt32) {
        self.init(gapMinutes: Int(order >> Self.codeBits & 0xff), isClients: order >> 30 & 1 == 1)
    }

    static func code(order: UInt32) -> UInt32 { order & (1 << codeBits - 1) }
}
