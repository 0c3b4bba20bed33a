package import AurumCore
internal import Events

/// Windows of the touches of one network or one campaign, which go before those of the conversion's definition. Each
/// change is a version: a conversion goes by the newest one that had begun at its own time, and by none before.
package struct WindowOverride: Sendable, Equatable {
    /// A campaign's goes before its network's.
    package enum Scope: String, Sendable, CaseIterable { case network, campaign }

    package var scope: Scope
    /// In lower case: touches find it whatever theirs is.
    package var name: String
    /// From 1 up; 0 before it is saved.
    package var version = 0
    package var startsAt: Timestamp
    /// nil leaves the window to what comes after: the network, then the definition. Both nil: the override ends.
    package var click: Duration?
    package var view: Duration?

    package static let nameBytesMax = 256

    package init(_ scope: Scope, _ name: String, startsAt: Timestamp) {
        (self.scope, self.name, self.startsAt) = (scope, name.lowercased(), startsAt)
    }

    package var isEnded: Bool { click == nil && view == nil }

    /// Reads what `json` writes.
    /// - Parameter now: the time it holds from where `starts_at` is left out.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    package init(_ body: JSONValue, now: Timestamp) throws(LogAttributionError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known: Set = ["scope", "name", "click_hours", "view_hours", "starts_at", "version", "ended"]
        guard known.isSuperset(of: members.keys) else {
            throw .invalid("body", "has other members than \(known.sorted().joined(separator: ", ")).")
        }
        var startsAt = now
        if let member = members["starts_at"] {
            startsAt = try LogAttribution.Wish.moment("starts_at", member.string ?? "") ?? now
        }
        try self.init(members["scope"]?.string, members["name"]?.string, startsAt: startsAt)
        version = members["version"]?.integer.flatMap { Int(exactly: $0) } ?? 0
        click = try Self.hours("click_hours", members, ConversionDefinition.clickHours)
        view = try Self.hours("view_hours", members, ConversionDefinition.viewHours)
        guard !isEnded || members["ended"] == true else {
            throw .invalid("click_hours", "or view_hours must be there; DELETE ends an override.")
        }
    }

    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    package init(_ scope: String?, _ name: String?, startsAt: Timestamp) throws(LogAttributionError) {
        guard let scope = scope.flatMap({ Scope(rawValue: $0) }) else {
            throw .invalid("scope", "must be network or campaign.")
        }
        guard let name, !name.isEmpty, name.utf8.count <= Self.nameBytesMax, !name.utf8.contains(0) else {
            throw .invalid("name", "must be 1 to \(Self.nameBytesMax) bytes of text.")
        }
        self.init(scope, name, startsAt: startsAt)
    }

    static func hours(
        _ name: String, _ members: [String: JSONValue], _ range: ClosedRange<Double>
    ) throws(LogAttributionError) -> Duration? {
        guard let member = members[name], member != .null else { return nil }
        guard let hours = member.double, range.contains(hours) else {
            throw .invalid(name, "must be from \(Int(range.lowerBound)) to \(Int(range.upperBound)) hours.")
        }
        return .milliseconds(Int64((hours * 3_600_000).rounded()))
    }

    package var json: JSONValue {
        [
            "scope": .string(scope.rawValue), "name": .string(name), "version": .integer(Int64(version)),
            "starts_at": .string(startsAt.rfc3339), "ended": .bool(isEnded),
            "click_hours": click.map { .number($0.seconds / 3600) } ?? .null,
            "view_hours": view.map { .number($0.seconds / 3600) } ?? .null,
        ]
    }
}

/// What overrides say at one moment: microseconds, -1 where they say nothing.
struct WindowPair: Sendable {
    var click: Int64 = -1
    var view: Int64 = -1

    init() {}

    init(_ override: WindowOverride) {
        (click, view) = (override.click?.microseconds ?? -1, override.view?.microseconds ?? -1)
    }

    @inline(__always)
    func of(_ kind: UInt8) -> Int64 { kind == LogRecord.Kind.view ? view : click }
}

/// The overrides of an organisation with the numbers that a run gives to campaigns and networks. Made once all blocks
/// are read: campaigns have their numbers then.
struct WindowEras: Sendable {
    /// A time between two changes.
    final class Era: Sendable {
        let networks: [UInt32: WindowPair]
        let campaigns: [UInt32: WindowPair]
        /// The longest of them.
        let reach: Int64

        init(networks: [UInt32: WindowPair], campaigns: [UInt32: WindowPair]) {
            (self.networks, self.campaigns) = (networks, campaigns)
            let all = Array(networks.values) + Array(campaigns.values)
            reach = all.reduce(-1) { max($0, $1.click, $1.view) }
        }
    }

    private let starts: [Int64]
    private let eras: [Era]

    init(_ plan: LogRunPlan) {
        let overrides = plan.request.windows
        starts = Set(overrides.map(\.startsAt.microseconds)).sorted()
        guard !starts.isEmpty else {
            eras = []
            return
        }
        var campaigns: [String: [UInt32]] = [:]
        for (number, _) in plan.campaigns.ranks.enumerated() {
            guard let name = plan.campaigns.text(UInt32(number)) else { continue }
            campaigns[name.lowercased(), default: []].append(UInt32(number))
        }
        let targets = Dictionary(grouping: overrides) { $0.scope.rawValue + " " + $0.name }.values.map {
            $0.sorted { $0.version < $1.version }
        }
        eras = starts.map { start in
            var (byNetwork, byCampaign): ([UInt32: WindowPair], [UInt32: WindowPair]) = ([:], [:])
            for versions in targets {
                guard let known = versions.last(where: { $0.startsAt.microseconds <= start }), !known.isEnded else {
                    continue
                }
                switch known.scope {
                case .network: byNetwork[plan.networkNumber(known.name)] = WindowPair(known)
                case .campaign: for number in campaigns[known.name] ?? [] { byCampaign[number] = WindowPair(known) }
                }
            }
            return Era(networks: byNetwork, campaigns: byCampaign)
        }
    }

    /// nil where no override had begun.
    func era(at time: Int64) -> Era? {
        guard let place = starts.lastIndex(where: { $0 <= time }) else { return nil }
        return eras[place]
    }
}

/// Windows of every kind of touch at one conversion. Source of the order: the specification of attribution, section 1.
struct TouchWindows {
    /// Microseconds of the definition; those of clicks are those of visits.
    var click: Int64
    var view: Int64
    /// What goes before.
    var era: WindowEras.Era?
    /// No window is longer.
    var most = Int64.max

    var reach: Int64 { min(most, max(click, view, era?.reach ?? -1)) }

    /// The definition's.
    @inline(__always)
    func defined(_ kind: UInt8) -> Int64 { min(most, kind == LogRecord.Kind.view ? view : click) }

    /// What overrides say of a touch; nil where they leave it to the definition.
    func overridden(kind: UInt8, label: UInt32, network: UInt32) -> Int64? {
        guard let era else { return nil }
        if let known = era.campaigns[TouchLabel.campaign(label)]?.of(kind), known >= 0 { return min(most, known) }
        if network != 0, let known = era.networks[network]?.of(kind), known >= 0 { return min(most, known) }
        return nil
    }
}
