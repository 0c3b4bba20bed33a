/// What the apps of one organisation call a session.
package struct SessionRules: Sendable, Equatable {
    /// What one app calls a session.
    package struct Rule: Sendable, Hashable {
        package var gapMinutes = 30
        /// The sender's `session_id` says which events belong together; gaps decide nothing.
        package var isClients = false

        package init(gapMinutes: Int = 30, isClients: Bool = false) {
            (self.gapMinutes, self.isClients) = (gapMinutes, isClients)
        }

        init(_ settings: AppSettings) {
            self.init(gapMinutes: settings.sessionGapMinutes, isClients: settings.sessions == .client)
        }

        // In the order of a row: 22 bits of code, eight of the gap, one that says whose sessions they are.
        private static let codeBits: UInt32 = 22
        /// Codes that the bits have room for.
        static let codesMax = 1 << codeBits - 2

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

    /// Of apps that have no rule of their own.
    package var standard = Rule()
    package var apps: [String: Rule] = [:]

    package init(standard: Rule = Rule(), apps: [String: Rule] = [:]) { (self.standard, self.apps) = (standard, apps) }

    /// The settings of an organisation's apps.
    package init(_ states: [AppState]) {
        for state in states { apps[state.app] = Rule(state.settings) }
    }

    func rule(_ app: String) -> Rule { apps[app] ?? standard }

    /// The rules of some apps, or of all.
    func rules(of names: [String]) -> Set<Rule> {
        names.isEmpty ? Set(apps.values).union([standard]) : Set(names.map(rule))
    }

    /// Puts what a question says itself in the place of every app's rule.
    func with(gapMinutes: Int?, isClients: Bool?) -> SessionRules {
        func changed(_ rule: Rule) -> Rule {
            Rule(gapMinutes: gapMinutes ?? rule.gapMinutes, isClients: isClients ?? rule.isClients)
        }
        return SessionRules(standard: changed(standard), apps: apps.mapValues(changed))
    }
}
