package import AurumCore

/// One thing wrong with one member of a document that an operator sent.
package struct PolicyProblem: Sendable, Equatable {
    package var field: String
    package var detail: String

    package init(_ field: String, _ detail: String) {
        self.field = field
        self.detail = detail
    }
}

/// Why settings, a plan or a replay was refused.
package enum PolicyError: Error, Equatable, Sendable {
    case invalid([PolicyProblem])
    case unknownPlanVersion
    /// The organisation has as many apps as it may.
    case tooManyApps
    case replayRunning
}

/// What an organisation decides about the events of one app.
package struct AppSettings: Sendable, Equatable {
    /// Whether sessions come from the client's `session_id` or from gaps in time.
    package enum SessionSource: String, Sendable, CaseIterable { case client, derived }
    /// What happens to an event that breaks the tracking plan.
    package enum PlanMode: String, Sendable, CaseIterable { case off, warn, enforce }

    /// Currency of money that names none; nil leaves the route's own default.
    package var defaultCurrency: String?
    /// Hosts that are the app itself: a referrer among them is no referral. Lower case, without `www.`.
    package var ownHosts: [String] = []
    /// Hosts that the click redirect may send visitors to.
    package var redirectHosts: [String] = []
    /// Events older than this at their receipt are `late`.
    package var latenessHours = 24
    package var sessionGapMinutes = 30
    package var sessions = SessionSource.derived
    package var defaultConsent = ConsentState()
    package var planMode = PlanMode.off
    package var retentionDays = 400
    package var retentionDaysByType: [EventType: Int] = [:]
    /// Names in `traits` and `props` that are sealed beside the built-in ones.
    package var personalKeys: [String] = []
    /// Apps that open short links on iOS: team and bundle, for example `ABCDE12345.com.example.shop`.
    package var iosApps: [String] = []
    /// Apps that open short links on Android.
    package var androidApps: [AndroidApp] = []
    /// For how long after a click on a short link its payload may be asked for.
    package var linkResolveHours = 24

    package init() {}

    package struct AndroidApp: Sendable, Equatable {
        package var name: String
        /// SHA-256 of its signing certificates: 32 bytes in upper-case hexadecimal with colons between.
        package var fingerprints: [String]

        package init(name: String, fingerprints: [String]) {
            (self.name, self.fingerprints) = (name, fingerprints)
        }
    }

    package static let linkedAppsMax = 20

    package static let hostsMax = 100
    package static let personalKeysMax = 100

    /// Days that events of a type are kept.
    package func retentionDays(of type: EventType) -> Int { retentionDaysByType[type] ?? retentionDays }

    /// Whether a host, or the domain above it, is the app itself.
    package func isOwn(host: String) -> Bool {
        ownHosts.contains { host == $0 || host.hasSuffix("." + $0) }
    }

    /// Whether the click redirect may send a visitor to this host.
    package func mayRedirect(toHost host: String) -> Bool {
        let host = host.lowercased()
        return redirectHosts.contains { host == $0 || host.hasSuffix("." + $0) }
    }
}

// MARK: the document

extension AppSettings {
    /// The document of `GET /v1/apps/{app}`.
    package var json: JSONValue {
        [
            "default_currency": defaultCurrency.map(JSONValue.string) ?? .null,
            "own_hosts": .array(ownHosts.map(JSONValue.string)),
            "redirect_hosts": .array(redirectHosts.map(JSONValue.string)),
            "lateness_hours": .integer(Int64(latenessHours)),
            "session_gap_minutes": .integer(Int64(sessionGapMinutes)),
            "sessions": .string(sessions.rawValue), "default_consent": defaultConsent.json,
            "plan_mode": .string(planMode.rawValue), "retention_days": .integer(Int64(retentionDays)),
            "retention_days_by_type": .object(
                Dictionary(
                    uniqueKeysWithValues: retentionDaysByType.map { ($0.key.name, JSONValue.integer(Int64($0.value))) })
            ),
            "personal_keys": .array(personalKeys.map(JSONValue.string)),
            "ios_app_ids": .array(iosApps.map(JSONValue.string)),
            "android_apps": .array(
                androidApps.map {
                    [
                        "package": .string($0.name),
                        "sha256_cert_fingerprints": .array($0.fingerprints.map(JSONValue.string)),
                    ]
                }), "link_resolve_hours": .integer(Int64(linkResolveHours)),
        ]
    }

    /// Reads a document; members that are absent or null have their defaults.
    /// - Throws: `PolicyError.invalid` with every problem found.
    package init(_ document: JSONValue) throws(PolicyError) {
        self.init()
        guard let members = document.object else {
            throw .invalid([PolicyProblem("", "the settings must be a JSON object")])
        }
        var reader = SettingsReader()
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            if case .null = value { continue }
            read(name, value, &reader)
        }
        guard reader.problems.isEmpty else { throw .invalid(reader.problems) }
    }

    private mutating func read(_ name: String, _ value: JSONValue, _ reader: inout SettingsReader) {
        switch name {
        case "default_currency": defaultCurrency = reader.currency(name, value) ?? defaultCurrency
        case "own_hosts": ownHosts = reader.hosts(name, value)
        case "redirect_hosts": redirectHosts = reader.hosts(name, value)
        case "lateness_hours": latenessHours = reader.number(name, value, 1...9600) ?? latenessHours
        case "session_gap_minutes": sessionGapMinutes = reader.number(name, value, 1...240) ?? sessionGapMinutes
        case "sessions": sessions = reader.word(name, value, SessionSource.self) ?? sessions
        case "default_consent": defaultConsent = reader.consent(name, value)
        case "plan_mode": planMode = reader.word(name, value, PlanMode.self) ?? planMode
        case "retention_days": retentionDays = reader.number(name, value, 1...3650) ?? retentionDays
        case "retention_days_by_type": retentionDaysByType = reader.daysByType(name, value)
        case "personal_keys": personalKeys = reader.keys(name, value)
        case "ios_app_ids": iosApps = reader.iosApps(name, value)
        case "android_apps": androidApps = reader.androidApps(name, value)
        case "link_resolve_hours": linkResolveHours = reader.number(name, value, 1...168) ?? linkResolveHours
        default: reader.problems.append(PolicyProblem(String(name.prefix(40)), "is no setting"))
        }
    }
}

/// Reads members of settings and collects what is wrong with them.
private struct SettingsReader {
    var problems: [PolicyProblem] = []

    private mutating func problem(_ field: String, _ detail: String) {
        problems.append(PolicyProblem(field, detail))
    }

    mutating func number(_ name: String, _ value: JSONValue, _ range: ClosedRange<Int64>) -> Int? {
        guard let number = value.integer, range.contains(number) else {
            problem(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return Int(number)
    }

    mutating func word<Word: RawRepresentable & CaseIterable>(
        _ name: String, _ value: JSONValue, _ type: Word.Type
    ) -> Word? where Word.RawValue == String {
        if let word = value.string.flatMap(Word.init(rawValue:)) { return word }
        problem(name, "must be one of \(Word.allCases.map(\.rawValue).joined(separator: ", "))")
        return nil
    }

    mutating func currency(_ name: String, _ value: JSONValue) -> String? {
        if let code = value.string, code.utf8.count == 3, code.utf8.allSatisfy({ (65...90).contains($0) }) {
            return code
        }
        problem(name, "must be three upper-case letters, as in ISO 4217")
        return nil
    }

    mutating func hosts(_ name: String, _ value: JSONValue) -> [String] {
        guard let list = value.array, list.count <= AppSettings.hostsMax else {
            problem(name, "must be a list of at most \(AppSettings.hostsMax) hosts")
            return []
        }
        return list.enumerated().compactMap { index, item in
            guard let text = item.string?.lowercased(), Self.isHost(text) else {
                problem("\(name)[\(index)]", "must be a host such as shop.example.com, without scheme, port or path")
                return nil
            }
            return text.hasPrefix("www.") ? String(text.dropFirst(4)) : text
        }
    }

    private static func isHost(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 253 && !text.hasPrefix(".") && !text.hasSuffix(".")
            && text.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46 }
    }

    mutating func consent(_ name: String, _ value: JSONValue) -> ConsentState {
        var state = ConsentState()
        guard let members = value.object else {
            problem(name, "must be an object of analytics, ads and personalisation")
            return state
        }
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let purpose = ConsentPurpose(rawValue: key) else {
                problem("\(name).\(key.prefix(40))", "must be analytics, ads or personalisation")
                continue
            }
            guard let choice = value.string.flatMap(ConsentChoice.init(word:)) else {
                problem("\(name).\(key)", "must be granted, denied or unknown")
                continue
            }
            state[purpose] = choice
        }
        return state
    }

    mutating func daysByType(_ name: String, _ value: JSONValue) -> [EventType: Int] {
        guard let members = value.object else {
            problem(name, "must be an object from event type to days")
            return [:]
        }
        var days: [EventType: Int] = [:]
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let type = EventType(name: key) else {
                problem("\(name).\(key.prefix(40))", "is no event type")
                continue
            }
            if let number = number("\(name).\(key)", value, 1...3650) { days[type] = number }
        }
        return days
    }

    mutating func keys(_ name: String, _ value: JSONValue) -> [String] {
        guard let list = value.array, list.count <= AppSettings.personalKeysMax else {
            problem(name, "must be a list of at most \(AppSettings.personalKeysMax) names")
            return []
        }
        return list.enumerated().compactMap { index, item in
            guard let text = item.string, !text.isEmpty, text.utf8.count <= 128 else {
                problem("\(name)[\(index)]", "must be a name of 1 to 128 bytes")
                return nil
            }
            return text
        }
    }

    mutating func iosApps(_ name: String, _ value: JSONValue) -> [String] {
        guard let list = value.array, list.count <= AppSettings.linkedAppsMax else {
            problem(name, "must be a list of at most \(AppSettings.linkedAppsMax) app ids")
            return []
        }
        return list.enumerated().compactMap { index, item in
            let parts = item.string?.split(separator: ".", maxSplits: 1) ?? []
            guard let text = item.string, parts.count == 2, parts[0].utf8.count == 10, Self.isBundle(text) else {
                problem("\(name)[\(index)]", "must be team and bundle, such as ABCDE12345.com.example.shop")
                return nil
            }
            return text
        }
    }

    mutating func androidApps(_ name: String, _ value: JSONValue) -> [AppSettings.AndroidApp] {
        guard let list = value.array, list.count <= AppSettings.linkedAppsMax else {
            problem(name, "must be a list of at most \(AppSettings.linkedAppsMax) apps")
            return []
        }
        return list.enumerated().compactMap { index, item in
            let prints = item["sha256_cert_fingerprints"]?.array ?? []
            let texts = prints.compactMap { $0.string?.uppercased() }
            guard let bundle = item["package"]?.string, Self.isBundle(bundle), bundle.contains("."),
                (1...AppSettings.linkedAppsMax).contains(texts.count), texts.count == prints.count,
                texts.allSatisfy(Self.isFingerprint)
            else {
                problem(
                    "\(name)[\(index)]",
                    "must have package and sha256_cert_fingerprints, each of 32 bytes such as AB:CD:…")
                return nil
            }
            return AppSettings.AndroidApp(name: bundle, fingerprints: texts)
        }
    }

    private static func isBundle(_ text: String) -> Bool {
        (3...255).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 45 || $0 == 46 || $0 == 95
            }
    }

    private static func isFingerprint(_ text: String) -> Bool {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 32 && parts.allSatisfy { $0.utf8.count == 2 && Hex.decode($0) != nil }
    }
}
