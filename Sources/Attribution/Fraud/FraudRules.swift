package import AurumCore

/// What a rule found, by its stable code.
package enum FraudCode: String, Sendable, CaseIterable {
    case allowListed = "allow_listed"
    case clickAfterInstallStart = "click_after_install_start"
    case clickVelocity = "click_velocity"
    case ctitFast = "ctit_fast"
    case ctitImpossible = "ctit_impossible"
    case ctitLong = "ctit_long"
    case datacentreIP = "datacentre_ip"
    case denyListed = "deny_listed"
    case deviceFarm = "device_farm"
    case emulator
    case floodingPattern = "flooding_pattern"
    case injectionPattern = "injection_pattern"
    case installVelocity = "install_velocity"
    case noActivity = "no_activity"
    case suspended
    case userAgentMismatch = "ua_mismatch"

    /// Codes that rules speak; the others are those of the lists, which no setting switches off.
    package static let rules = allCases.filter { ![.allowListed, .denyListed, .suspended].contains($0) }

    /// Whether a touch that is rejected for this is one that nothing may be credited to. A click of another moment than
    /// the install's, and an install that is one too many, say nothing against the touch itself.
    var barsTouch: Bool { self != .ctitLong && self != .installVelocity }
}

/// The numbers of the rules: names as the API has them, the specification's values, and what may be set.
/// Source: the specification of attribution, section 9.
package enum FraudLimit: String, Sendable, CaseIterable {
    case impossibleSeconds = "ctit_impossible_seconds"
    case fastSeconds = "ctit_fast_seconds"
    case longDays = "ctit_long_days"
    case injectionP = "injection_p"
    case injectionInstalls = "injection_installs_min"
    case injectionRatio = "injection_ratio"
    case floodingP = "flooding_p"
    case floodingStrength = "flooding_cramers_v"
    case floodingHours = "flooding_late_hours"
    case floodingInstalls = "flooding_installs_min"
    case clicksPerInstall = "flooding_clicks_per_install"
    case deviceMinute = "device_clicks_per_minute"
    case deviceHour = "device_clicks_per_hour"
    case addressMinute = "address_clicks_per_minute"
    case farmDevices = "farm_devices_per_hour"
    case deviceInstalls = "device_installs_per_day"
    case suspects = "suspects_reject"
    case activityRatio = "activity_ratio"
    case activityInstalls = "activity_installs_min"
    case activityP = "activity_p"
    case shareInstalls = "share_installs_min"
    case warnShare = "share_warn"
    case suspendShare = "share_suspend"
    case denyShare = "share_deny"

    package var standard: Double {
        switch self {
        case .impossibleSeconds: 1
        case .fastSeconds: 10
        case .longDays: 30
        case .injectionP, .floodingP, .activityP: 0.001
        case .injectionInstalls, .floodingInstalls, .activityInstalls: 200
        case .injectionRatio: 3
        case .floodingStrength: 0.3
        case .floodingHours: 2
        case .clicksPerInstall: 10_000
        case .deviceMinute: 20
        case .deviceHour: 200
        case .addressMinute: 100
        case .farmDevices: 100
        case .deviceInstalls: 5
        case .suspects: 3
        case .activityRatio: 0.2
        case .shareInstalls: 50
        case .warnShare: 0.05
        case .suspendShare: 0.15
        case .denyShare: 0.3
        }
    }

    package var range: ClosedRange<Double> {
        switch self {
        case .impossibleSeconds: 0...60
        case .fastSeconds: 0...3600
        case .longDays: 1...365
        case .injectionP, .floodingP, .activityP: 1e-12...0.05
        case .injectionInstalls, .floodingInstalls, .activityInstalls, .shareInstalls: 20...1_000_000
        case .injectionRatio: 1.1...100
        case .floodingStrength: 0.05...1
        case .floodingHours: 0.1...168
        case .clicksPerInstall: 10...1_000_000_000
        case .deviceMinute, .deviceHour, .addressMinute, .farmDevices, .deviceInstalls: 1...1_000_000
        case .suspects: 1...20
        case .activityRatio: 0.01...0.9
        case .warnShare, .suspendShare, .denyShare: 0.001...1
        }
    }

    var isWhole: Bool {
        switch self {
        case .injectionInstalls, .floodingInstalls, .activityInstalls, .shareInstalls, .deviceMinute, .deviceHour,
            .addressMinute, .farmDevices, .deviceInstalls, .suspects, .clicksPerInstall:
            true
        default: false
        }
    }
}

/// Why something asked of the fraud rules cannot be done.
package enum FraudError: Error, Sendable, Equatable {
    /// A member of the body and what is wrong with it.
    case invalid(String, String)
    case unknownEntry
    case unknownProposal
    /// The state of the proposal, which does not allow the decision.
    case decided(String)
    /// A bound, as a sentence.
    case tooMany(String)

    package var tag: String {
        switch self {
        case .invalid: "bad_fraud_settings"
        case .unknownEntry: "fraud_entry_unknown"
        case .unknownProposal: "fraud_proposal_unknown"
        case .decided: "fraud_proposal_decided"
        case .tooMany: "fraud_too_many"
        }
    }

    package var sentence: String {
        switch self {
        case .invalid(let member, let detail): "\(member) \(detail)"
        case .unknownEntry: "There is no such entry on a list."
        case .unknownProposal: "There is no such proposal."
        case .decided(let state): "The proposal is \(state), which does not allow this decision."
        case .tooMany(let sentence): sentence
        }
    }
}

/// The numbers that hold for one app and network.
struct FraudLimits: Sendable, Equatable {
    private var values: [Double]
    private(set) var off: Set<FraudCode> = []

    init() { values = FraudLimit.allCases.map(\.standard) }

    subscript(limit: FraudLimit) -> Double { values[Self.places[limit] ?? 0] }

    func count(_ limit: FraudLimit) -> Int { Int(self[limit]) }

    /// Microseconds of a number of so many microseconds each; the ranges of `FraudLimit` keep it far from overflow.
    func span(_ limit: FraudLimit, _ unit: Int64) -> Int64 { Int64((self[limit] * Double(unit)).rounded()) }

    private static let places = Dictionary(uniqueKeysWithValues: zip(FraudLimit.allCases, FraudLimit.allCases.indices))

    mutating func apply(_ changes: FraudRules.Changes) {
        for (limit, value) in changes.limits { values[Self.places[limit] ?? 0] = value }
        off.formUnion(changes.off)
        off.subtract(changes.on)
    }
}

/// A set of rules as somebody saved it: what differs from the standard, for all and for some apps and networks.
package struct FraudRules: Sendable, Equatable {
    package struct Changes: Sendable, Equatable {
        package var limits: [FraudLimit: Double] = [:]
        package var off: Set<FraudCode> = []
        package var on: Set<FraudCode> = []
    }

    package struct Override: Sendable, Equatable {
        /// nil means every app or network. What names both wins over what names the network alone, that over what
        /// names the app alone.
        package var app: String?
        package var network: String?
        package var changes: Changes

        fileprivate var rank: Int { (network == nil ? 0 : 2) + (app == nil ? 0 : 1) }
    }

    package var changes = Changes()
    package var overrides: [Override] = []
    package static let overridesMax = 500
    static let nameBytesMax = 200

    package static let standard = FraudRules()

    package init() {}

    func limits(app: String, network: String?) -> FraudLimits {
        var limits = FraudLimits()
        limits.apply(changes)
        let fitting = overrides.filter {
            ($0.app == nil || $0.app == app) && ($0.network == nil || $0.network == network)
        }
        for override in fitting.sorted(by: { $0.rank < $1.rank }) { limits.apply(override.changes) }
        return limits
    }
}

extension FraudRules {
    package var json: JSONValue {
        var members = Self.json(changes)
        members["overrides"] = .array(
            overrides.map { override in
                var members = Self.json(override.changes)
                if let app = override.app { members["app"] = .string(app) }
                if let network = override.network { members["network"] = .string(network) }
                return .object(members)
            })
        return .object(members)
    }

    private static func json(_ changes: Changes) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "limits": .object(
                Dictionary(uniqueKeysWithValues: changes.limits.map { ($0.key.rawValue, .number($0.value)) }))
        ]
        if !changes.off.isEmpty { members["off"] = .array(changes.off.map(\.rawValue).sorted().map { .string($0) }) }
        if !changes.on.isEmpty { members["on"] = .array(changes.on.map(\.rawValue).sorted().map { .string($0) }) }
        return members
    }

    /// Every number as it holds without any override, for answers.
    package var effective: JSONValue {
        var limits = FraudLimits()
        limits.apply(changes)
        return .object(
            Dictionary(uniqueKeysWithValues: FraudLimit.allCases.map { ($0.rawValue, .number(limits[$0])) }))
    }

    /// Reads what `json` writes; `more` are members of the same object that the caller reads.
    /// - Throws: `FraudError.invalid`.
    package init(_ body: JSONValue, more: Set<String> = []) throws(FraudError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known = more.union(["limits", "off", "on", "overrides"])
        if let other = members.keys.sorted().first(where: { !known.contains($0) }) {
            throw .invalid(String(other.prefix(40)), "is no member of a set of rules.")
        }
        changes = try Self.changes(body, "")
        if let items = members["overrides"], items != .null { overrides = try Self.overrides(items) }
        try Self.checkOrder(limits(app: "", network: ""))
        for override in overrides {
            try Self.checkOrder(limits(app: override.app ?? "", network: override.network ?? ""))
        }
    }

    private static func overrides(_ value: JSONValue) throws(FraudError) -> [Override] {
        guard let items = value.array, items.count <= overridesMax else {
            throw .invalid("overrides", "must be a list of at most \(overridesMax).")
        }
        var made: [Override] = []
        var seen: Set<[String?]> = []
        for (index, item) in items.enumerated() {
            let place = "overrides[\(index)]."
            guard let members = item.object,
                Set(["app", "network", "limits", "off", "on"]).isSuperset(of: members.keys)
            else { throw .invalid("overrides[\(index)]", "has app, network, limits, off and on.") }
            let app = try name(item["app"], place + "app")
            let network = try name(item["network"], place + "network")
            guard app != nil || network != nil else { throw .invalid(place + "app", "or network is missing.") }
            guard seen.insert([app, network]).inserted else {
                throw .invalid("overrides[\(index)]", "is about an app and network that another one is about.")
            }
            made.append(Override(app: app, network: network, changes: try changes(item, place)))
        }
        return made
    }

    private static func checkOrder(_ limits: FraudLimits) throws(FraudError) {
        guard limits[.impossibleSeconds] <= limits[.fastSeconds] else {
            throw .invalid("ctit_fast_seconds", "must not be below ctit_impossible_seconds.")
        }
        guard limits[.warnShare] <= limits[.suspendShare], limits[.suspendShare] <= limits[.denyShare] else {
            throw .invalid("share_deny", "must not be below share_suspend, nor that below share_warn.")
        }
    }

    private static func name(_ value: JSONValue?, _ place: String) throws(FraudError) -> String? {
        guard let value, value != .null else { return nil }
        guard let text = value.string, (1...nameBytesMax).contains(text.utf8.count), !text.utf8.contains(0) else {
            throw .invalid(place, "must be a text of 1 to \(nameBytesMax) bytes.")
        }
        return text
    }

    private static func changes(_ body: JSONValue, _ place: String) throws(FraudError) -> Changes {
        var changes = Changes()
        if let given = body["limits"], given != .null {
            guard let members = given.object else { throw .invalid(place + "limits", "must be an object.") }
            for (name, value) in members.sorted(by: { $0.key < $1.key }) {
                guard let limit = FraudLimit(rawValue: name) else {
                    throw .invalid(place + "limits." + String(name.prefix(40)), "is no number of the rules.")
                }
                guard let number = value.double, limit.range.contains(number),
                    !limit.isWhole || number == number.rounded()
                else {
                    throw .invalid(
                        place + "limits." + name,
                        "must be a \(limit.isWhole ? "whole " : "")number from \(limit.range.lowerBound) to "
                            + "\(limit.range.upperBound).")
                }
                changes.limits[limit] = number
            }
        }
        changes.off = try codes(body["off"], place + "off")
        changes.on = try codes(body["on"], place + "on")
        guard changes.off.isDisjoint(with: changes.on) else {
            throw .invalid(place + "on", "names a rule that off names.")
        }
        return changes
    }

    private static func codes(_ value: JSONValue?, _ place: String) throws(FraudError) -> Set<FraudCode> {
        guard let value, value != .null else { return [] }
        guard let items = value.array, items.count <= FraudCode.rules.count else {
            throw .invalid(place, "must be a list of codes.")
        }
        var codes: Set<FraudCode> = []
        for item in items {
            guard let code = item.string.flatMap(FraudCode.init(rawValue:)), FraudCode.rules.contains(code) else {
                throw .invalid(place, "must hold codes: \(FraudCode.rules.map(\.rawValue).joined(separator: ", ")).")
            }
            codes.insert(code)
        }
        return codes
    }
}
