package import AurumCore
internal import Foundation

/// What conversions are made of.
package enum UploadKind: String, Sendable, CaseIterable, Codable, CodingKeyRepresentable {
    /// A lead that a buyer took, with its price.
    case sale
    /// A lead that may be sold, without a value.
    case lead
}

package enum UploadNetwork: String, Sendable, CaseIterable, Codable {
    /// Meta Conversions API.
    case meta
    /// Google Data Manager API.
    case google
}

/// When a sale is told.
package enum UploadMoment: String, Sendable, CaseIterable, Codable {
    /// At once; what is given back later is taken back.
    case sale
    /// When its return window has passed and the ledger counts it as earned. Meta takes nothing older than seven days.
    case recognised
}

/// Where conversions go, as its organisation set it.
package struct UploadSettings: Sendable, Equatable, Codable {
    /// Meta: the pixel or dataset. Google: the id of the operating account.
    package var account: String
    /// Google: the account whose credentials these are, where it is another.
    package var loginAccount: String?
    /// Which conversions are sent. Meta: the name of the event. Google: the id of the conversion action.
    package var conversions: [UploadKind: String]
    package var moment: UploadMoment
    /// Meta: where conversions happened, one of `actionSources`.
    package var actionSource: String
    /// Only of persons who allowed advertising in words.
    package var requiresConsent: Bool
    /// Conversions of one request, at most what the network takes.
    package var batchMax: Int
    /// Base of the network's addresses.
    package var endpoint: String

    /// Source: Meta, Conversions API, server event parameters, `action_source`.
    package static let actionSources = [
        "email", "website", "app", "phone_call", "chat", "physical_store", "system_generated", "business_messaging",
        "other",
    ]

    package static func endpoint(_ network: UploadNetwork) -> String {
        switch network {
        case .meta: "https://graph.facebook.com/v21.0"
        case .google: "https://datamanager.googleapis.com"
        }
    }
}

/// How we show a network who we are: a token, or for Google what gets tokens. Never logged, never answered.
package struct UploadCredentials: Sendable, Codable, Equatable {
    package var accessToken: String?
    package var clientID: String?
    package var clientSecret: String?
    package var refreshToken: String?

    package init(
        accessToken: String? = nil, clientID: String? = nil, clientSecret: String? = nil, refreshToken: String? = nil
    ) {
        (self.accessToken, self.clientID) = (accessToken, clientID)
        (self.clientSecret, self.refreshToken) = (clientSecret, refreshToken)
    }
}

extension UploadCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "<secret>" }
    package var debugDescription: String { "<secret>" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// A destination with what it takes to reach it.
package struct UploadTarget: Sendable {
    package var org: String
    package var id: UID
    package var network: UploadNetwork
    package var settings: UploadSettings
    package var credentials: UploadCredentials

    package init(
        org: String, id: UID, network: UploadNetwork, settings: UploadSettings, credentials: UploadCredentials
    ) {
        (self.org, self.id, self.network) = (org, id, network)
        (self.settings, self.credentials) = (settings, credentials)
    }
}

/// What is wrong with a member of a body.
package struct UploadProblem: Sendable, Equatable {
    package var field: String
    package var detail: String
}

/// Why a request about uploads is refused.
package enum UploadError: Error, Equatable, Sendable {
    case invalid([UploadProblem])
    case unknownDestination
    case unknownItem
    case nameTaken
    case tooManyDestinations
    /// The conversion can be restated to nobody any more; its state.
    case settled(UploadState)
    /// The stored credentials open with no key of this installation.
    case sealedByOther

    package var sentence: String {
        switch self {
        case .invalid(let problems): problems.map { "\($0.field): \($0.detail)" }.joined(separator: "; ")
        case .unknownDestination: "There is no such destination."
        case .unknownItem: "There is no such upload."
        case .nameTaken: "Another destination has this name."
        case .tooManyDestinations: "An organisation has at most \(UploadStore.destinationsMax) destinations."
        case .settled(let state): "The conversion is \(state.rawValue) and cannot be restated."
        case .sealedByOther:
            "The credentials were sealed with a key that this installation does not have; set them again."
        }
    }
}

/// A destination as a body asks for it, or the changes to one that a body holds.
struct UploadDraft: Sendable {
    var name = ""
    var network = UploadNetwork.meta
    var isPaused = false
    var isDryRun = true
    var settings: UploadSettings
    /// nil: as they are.
    var credentials: UploadCredentials?

    /// - Parameters:
    ///   - known: what a change starts from; nil for a new one.
    ///   - allowLoopback: plain HTTP to this machine is permitted; elsewhere endpoints must be HTTPS.
    /// - Throws: `UploadError.invalid` with all problems.
    init(_ body: JSONValue, from known: UploadDraft?, allowLoopback: Bool) throws(UploadError) {
        var reader = UploadReader(body: body, isNew: known == nil)
        reader.checkNames()
        let network = reader.choice("network", UploadNetwork.self, known?.network) ?? .meta
        if let known, known.network != network { reader.report("network", "cannot be changed") }
        if let known, let account = body["account"], account != .string(known.settings.account) {
            reader.report("account", "cannot be changed: what was sent is known there; make another destination")
        }
        let old = known?.settings
        settings = UploadSettings(
            account: reader.account(network, old?.account), loginAccount: reader.login(network, old?.loginAccount),
            conversions: reader.conversions(network, old?.conversions),
            moment: reader.choice("moment", UploadMoment.self, old?.moment ?? .sale) ?? .sale,
            actionSource: reader.word("action_source", UploadSettings.actionSources, old?.actionSource)
                ?? "system_generated",
            requiresConsent: reader.flag("requires_consent", old?.requiresConsent ?? false),
            batchMax: reader.batchMax(network, old?.batchMax),
            endpoint: reader.endpoint(network, old?.endpoint, allowLoopback: allowLoopback))
        name = reader.name(known?.name)
        self.network = network
        isPaused =
            reader.word("state", ["active", "paused"], known?.isPaused == true ? "paused" : "active") == "paused"
        isDryRun = reader.flag("dry_run", known?.isDryRun ?? true)
        credentials = reader.credentials(network)
        // Whoever may change where they are sent does not get to see the ones that are stored.
        if let old, settings.endpoint != old.endpoint, credentials == nil {
            reader.report("credentials", "must be given again with another endpoint")
        }
        if !reader.problems.isEmpty { throw .invalid(reader.problems) }
    }

    init(name: String, network: UploadNetwork, isPaused: Bool, isDryRun: Bool, settings: UploadSettings) {
        (self.name, self.network, self.isPaused, self.isDryRun) = (name, network, isPaused, isDryRun)
        self.settings = settings
    }
}

/// Reads the members of a body and notes everything that is wrong.
private struct UploadReader {
    let body: JSONValue
    let isNew: Bool
    var problems: [UploadProblem] = []

    private static let known: Set = [
        "name", "network", "state", "dry_run", "account", "login_account", "conversions", "moment", "action_source",
        "requires_consent", "batch_max", "endpoint", "credentials",
    ]
    private static let secrets: [UploadNetwork: Set<String>] = [
        .meta: ["access_token"], .google: ["access_token", "client_id", "client_secret", "refresh_token"],
    ]

    mutating func report(_ field: String, _ detail: String) {
        problems.append(UploadProblem(field: field, detail: detail))
    }

    mutating func checkNames() {
        guard let members = body.object else { return report("", "the body must be an object") }
        for name in members.keys.sorted() where !Self.known.contains(name) {
            report(String(name.prefix(40)), "unknown field")
        }
    }

    /// A text of printable ASCII characters; nil where there is none.
    private mutating func text(_ field: String, _ value: JSONValue?, bytesMax: Int = 200) -> String? {
        guard let value, value != .null else { return nil }
        if let text = value.string, (1...bytesMax).contains(text.utf8.count),
            text.utf8.allSatisfy({ (33...126).contains($0) })
        {
            return text
        }
        report(field, "must be 1 to \(bytesMax) printable ASCII characters without spaces")
        return nil
    }

    mutating func name(_ known: String?) -> String {
        guard let value = body["name"] else {
            if known == nil { report("name", "is required") }
            return known ?? ""
        }
        guard let name = value.string, (1...100).contains(name.count), name.utf8.count <= 400,
            name.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
        else {
            report("name", "must be a text of 1 to 100 characters")
            return ""
        }
        return name
    }

    mutating func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ field: String, _ type: Choice.Type, _ known: Choice?
    ) -> Choice? {
        guard let value = body[field] else {
            if known == nil { report(field, "is required") }
            return known
        }
        let choice = value.string.flatMap { Choice(rawValue: $0) }
        if choice == nil { report(field, "must be " + Choice.allCases.map(\.rawValue).joined(separator: " or ")) }
        return choice
    }

    mutating func word(_ field: String, _ words: [String], _ known: String?) -> String? {
        guard let value = body[field] else { return known }
        if let word = value.string, words.contains(word) { return word }
        report(field, "must be one of \(words.joined(separator: ", "))")
        return nil
    }

    mutating func flag(_ field: String, _ known: Bool) -> Bool {
        guard let value = body[field] else { return known }
        if value.bool == nil { report(field, "must be true or false") }
        return value.bool ?? known
    }

    mutating func account(_ network: UploadNetwork, _ known: String?) -> String {
        let account = digits("account", known)
        if account == nil, body["account"] == nil {
            report("account", network == .meta ? "is required: the pixel's id" : "is required: the account's id")
        }
        return account ?? ""
    }

    mutating func login(_ network: UploadNetwork, _ known: String?) -> String? {
        if body["login_account"] == .some(.null) { return nil }
        if network == .meta, body["login_account"] != nil { report("login_account", "is for Google only") }
        return digits("login_account", known)
    }

    /// Ids of both networks are numbers; they stand in addresses.
    private mutating func digits(_ field: String, _ known: String?) -> String? {
        guard let value = body[field] else { return known }
        if let text = value.string, (1...32).contains(text.utf8.count),
            text.utf8.allSatisfy({ (48...57).contains($0) })
        {
            return text
        }
        report(field, "must be a text of 1 to 32 digits")
        return nil
    }

    mutating func conversions(_ network: UploadNetwork, _ known: [UploadKind: String]?) -> [UploadKind: String] {
        guard let value = body["conversions"] else {
            if known == nil { report("conversions", "is required, for example {\"sale\": \"Purchase\"}") }
            return known ?? [:]
        }
        var found: [UploadKind: String] = [:]
        for (name, value) in (value.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            let field = "conversions.\(name.prefix(40))"
            guard let kind = UploadKind(rawValue: name) else {
                report(field, "must be sale or lead")
                continue
            }
            guard let event = text(field, value, bytesMax: 50) else {
                if value == .null { report(field, "must be a text") }
                continue
            }
            if network == .google, !event.utf8.allSatisfy({ (48...57).contains($0) }) {
                report(field, "must be the id of a conversion action: digits")
            }
            found[kind] = event
        }
        if value.object?.isEmpty ?? true { report("conversions", "must name at least one of sale and lead") }
        return found
    }

    mutating func batchMax(_ network: UploadNetwork, _ known: Int?) -> Int {
        let most = 1000
        guard let value = body["batch_max"] else { return known ?? most }
        if let number = value.integer, (1...Int64(most)).contains(number) { return Int(number) }
        report("batch_max", "must be a whole number from 1 to \(most)")
        return most
    }

    mutating func endpoint(_ network: UploadNetwork, _ known: String?, allowLoopback: Bool) -> String {
        let standard = known ?? UploadSettings.endpoint(network)
        guard let given = body["endpoint"] else { return standard }
        if given == .null { return UploadSettings.endpoint(network) }
        guard var text = text("endpoint", given, bytesMax: 500) else { return standard }
        while text.hasSuffix("/") { text.removeLast() }
        guard let url = URL(string: text), let scheme = url.scheme, let host = url.host, !host.isEmpty,
            url.user == nil, url.password == nil, url.query == nil, url.fragment == nil
        else {
            report("endpoint", "must be an absolute URL without user, password and query")
            return standard
        }
        if !PlainAddress.isAllowed(scheme: scheme, host: host, allowLoopback: allowLoopback) {
            report("endpoint", "must be https: conversions are personal data")
        }
        return text
    }

    mutating func credentials(_ network: UploadNetwork) -> UploadCredentials? {
        guard let value = body["credentials"], value != .null else {
            if isNew { report("credentials", "is required") }
            return nil
        }
        let allowed = Self.secrets[network] ?? []
        for name in (value.object ?? [:]).keys.sorted() where !allowed.contains(name) {
            report("credentials.\(name.prefix(40))", "unknown field; known are \(allowed.sorted())")
        }
        func secret(_ name: String) -> String? {
            text("credentials.\(name)", value[name], bytesMax: 4000)
        }
        let found = UploadCredentials(
            accessToken: secret("access_token"), clientID: secret("client_id"), clientSecret: secret("client_secret"),
            refreshToken: secret("refresh_token"))
        let isRefreshing = found.clientID != nil && found.clientSecret != nil && found.refreshToken != nil
        if found.accessToken == nil, !isRefreshing, problems.allSatisfy({ !$0.field.hasPrefix("credentials") }) {
            report(
                "credentials",
                network == .meta
                    ? "must hold access_token" : "must hold access_token, or client_id, client_secret and refresh_token"
            )
        }
        return found
    }
}
