package import AurumCore
internal import Foundation

/// What was found of one publisher of an app, with the test that found it.
package struct FraudPattern: Sendable, Equatable {
    package var code: FraudCode
    package var app: String
    package var network: String
    package var publisher: String
    /// `binomial`, `chi_square` or `ratio`.
    package var test: String
    package var statistic: Double
    /// Installs that were looked at.
    package var n: Int
    /// Of the test; nil for a plain ratio.
    package var p: Double?
    /// What the publisher has, and what it was held against.
    package var share: Double
    package var reference: Double
    /// The reference window, microseconds since 1970.
    package var from: Timestamp
    package var to: Timestamp

    var source: FraudSource { FraudSource(network: network, publisher: publisher) }

    package var json: JSONValue {
        [
            "code": .string(code.rawValue), "app": .string(app), "network": .string(network),
            "publisher": .string(publisher), "test": .string(test), "statistic": .number(statistic),
            "n": .integer(Int64(n)), "p": p.map { .number($0) } ?? .null, "share": .number(share),
            "reference": .number(reference), "from": .string(from.rfc3339), "to": .string(to.rfc3339),
        ]
    }
}

/// What the log says beside the installs themselves.
package struct FraudActivity: Sendable, Equatable {
    /// Clicks of each publisher in the reference window.
    package var clicks: [FraudSource: Int] = [:]
    /// Installs whose person did something 24 to 48 hours after them; nil where the log was not read.
    package var returned: Set<UID>?
    /// Events are known up to here.
    package var until: Int64 = .max

    package init() {}
}

/// Counts of one publisher, or of everybody.
struct FraudCounts: Sendable, Equatable {
    static let bins = 16
    /// Bins of the histogram: 1 s to 7 d, equal in the logarithm.
    private static let firstSecond = 1.0
    private static let lastSecond = 604_800.0

    var clicks = 0
    var fast = 0
    var late = 0
    var histogram = [Int](repeating: 0, count: bins)
    /// Installs old enough that their second day is over, and those of them with anything on it.
    var cohort = 0
    var returned = 0

    /// The bin of a time from click to install; nil outside all of them.
    static func bin(_ microseconds: Int64) -> Int? {
        let seconds = Double(microseconds) / 1e6
        guard seconds >= firstSecond, seconds <= lastSecond else { return nil }
        return min(bins - 1, Int(log(seconds / firstSecond) / log(lastSecond / firstSecond) * Double(bins)))
    }

    mutating func addClaim(_ delay: Int64, _ limits: FraudLimits) {
        clicks += 1
        if delay <= limits.span(.fastSeconds, 1_000_000) { fast += 1 }
        if delay >= limits.span(.floodingHours, FraudVelocity.hour) { late += 1 }
        if let bin = Self.bin(delay) { histogram[bin] += 1 }
    }

    func without(_ other: FraudCounts) -> FraudCounts {
        var rest = self
        (rest.clicks, rest.fast, rest.late) = (clicks - other.clicks, fast - other.fast, late - other.late)
        rest.histogram = zip(histogram, other.histogram).map { $0 - $1 }
        (rest.cohort, rest.returned) = (cohort - other.cohort, returned - other.returned)
        return rest
    }
}

/// The rules that look at a publisher as a whole.
enum FraudPatterns {
    /// - Parameters:
    ///   - installs: of one app in the reference window.
    ///   - limits: that hold for a network now.
    /// - Returns: what was found, in the order of publishers and codes.
    static func find(
        _ installs: [FraudInstall], app: String, _ activity: FraudActivity, from: Timestamp, to: Timestamp,
        _ limits: (_ network: String?) -> FraudLimits
    ) -> [FraudPattern] {
        var all = FraudCounts()
        var sources: [FraudSource: FraudCounts] = [:]
        for install in installs {
            let isOld = install.at <= activity.until - 2 * FraudVelocity.day
            let came = activity.returned?.contains(install.id) ?? false
            let touch = install.claim.map { install.touches[$0] }
            let limits = limits(touch?.network)
            func count(_ counts: inout FraudCounts) {
                if let touch, touch.kind == .click, let delay = install.delay(touch) { counts.addClaim(delay, limits) }
                guard isOld, activity.returned != nil else { return }
                counts.cohort += 1
                if came { counts.returned += 1 }
            }
            count(&all)
            if let source = touch?.source { count(&sources[source, default: FraudCounts()]) }
        }
        var found: [FraudPattern] = []
        for (source, counts) in sources.sorted(by: { $0.key < $1.key }) {
            let limits = limits(source.network)
            let others = all.without(counts)
            func add(
                _ code: FraudCode, _ test: String, _ statistic: Double, _ n: Int, _ p: Double?, _ share: Double,
                _ reference: Double
            ) {
                guard !limits.off.contains(code) else { return }
                found.append(
                    FraudPattern(
                        code: code, app: app, network: source.network, publisher: source.publisher, test: test,
                        statistic: statistic, n: n, p: p, share: share, reference: reference, from: from, to: to))
            }
            if let flood = flooding(counts, others, activity.clicks[source], limits) {
                add(.floodingPattern, flood.test, flood.statistic, counts.clicks, flood.p, flood.share, flood.reference)
            }
            if let test = injection(counts, others, limits) {
                add(
                    .injectionPattern, "binomial", Double(counts.fast), counts.clicks, test.p, test.share,
                    test.reference)
            }
            if let test = inactivity(counts, all, limits) {
                add(.noActivity, "binomial", Double(counts.returned), counts.cohort, test.p, test.share, test.reference)
            }
        }
        return found
    }

    /// Share of installs right after the click above the others': one-sided exact binomial.
    private static func injection(
        _ counts: FraudCounts, _ others: FraudCounts, _ limits: FraudLimits
    ) -> (p: Double, share: Double, reference: Double)? {
        guard counts.clicks >= limits.count(.injectionInstalls), others.clicks > 0 else { return nil }
        let share = Double(counts.fast) / Double(counts.clicks)
        // Others without a single one are not certain never to have one.
        let reference = max(Double(others.fast), 0.5) / Double(others.clicks)
        guard share >= limits[.injectionRatio] * reference else { return nil }
        let p = FraudStatistics.binomialUpperTail(counts.fast, of: counts.clicks, min(1, reference))
        return p < limits[.injectionP] ? (p, share, reference) : nil
    }

    private struct Flood {
        var test: String
        var statistic: Double
        var p: Double?
        var share: Double
        var reference: Double
    }

    /// Clicks sent for everybody in the hope that some install anyway: too many clicks an install, or delays that have
    /// little to do with the click.
    private static func flooding(
        _ counts: FraudCounts, _ others: FraudCounts, _ clicks: Int?, _ limits: FraudLimits
    ) -> Flood? {
        if let clicks, counts.clicks > 0 {
            let ratio = Double(clicks) / Double(counts.clicks)
            if ratio > limits[.clicksPerInstall] {
                return Flood(
                    test: "ratio", statistic: ratio, p: nil, share: ratio, reference: limits[.clicksPerInstall])
            }
        }
        guard counts.clicks >= limits.count(.floodingInstalls), others.clicks >= limits.count(.floodingInstalls) else {
            return nil
        }
        let (share, reference) = (
            Double(counts.late) / Double(counts.clicks), Double(others.late) / Double(others.clicks)
        )
        guard share > reference else { return nil }
        let compared = FraudStatistics.compare(counts.histogram, others.histogram)
        guard compared.p < limits[.floodingP], compared.strength >= limits[.floodingStrength] else { return nil }
        return Flood(
            test: "chi_square", statistic: compared.statistic, p: compared.p, share: share, reference: reference)
    }

    /// Hardly anybody comes back on the next day: a fifth of the app's rate, and less than chance leaves.
    private static func inactivity(
        _ counts: FraudCounts, _ all: FraudCounts, _ limits: FraudLimits
    ) -> (p: Double, share: Double, reference: Double)? {
        guard counts.cohort >= limits.count(.activityInstalls), all.cohort > 0 else { return nil }
        let (share, reference) = (
            Double(counts.returned) / Double(counts.cohort), Double(all.returned) / Double(all.cohort)
        )
        guard share < limits[.activityRatio] * reference else { return nil }
        let p = FraudStatistics.binomialLowerTail(counts.returned, of: counts.cohort, reference)
        return p < limits[.activityP] ? (p, share, reference) : nil
    }
}

/// How much of what a publisher sold was rejected by rules, and what that asks for.
package struct FraudShare: Sendable, Equatable {
    package enum Grade: String, Sendable, CaseIterable { case green, warn, suspend, deny }

    package var app: String
    package var source: FraudSource
    /// Installs that it claims, those that a list decided aside.
    package var installs = 0
    var suspect = 0
    package var rejected = 0
    package var grade = Grade.green
    /// Standing patterns.
    var patterns: [FraudCode] = []

    var share: Double { installs == 0 ? 0 : Double(rejected) / Double(installs) }

    mutating func judge(_ limits: FraudLimits) {
        guard installs >= limits.count(.shareInstalls) else { return grade = .green }
        grade =
            share > limits[.denyShare]
            ? .deny : share > limits[.suspendShare] ? .suspend : share >= limits[.warnShare] ? .warn : .green
    }
}

/// Everything that the rules say of one app's installs: a function of facts and settings alone.
package struct FraudWorld: Sendable {
    package private(set) var decisions: [FraudDecisions] = []
    package private(set) var patterns: [FraudPattern] = []
    package private(set) var shares: [FraudShare] = []

    /// - Parameters:
    ///   - installs: of one app in the reference window.
    ///   - from: the window's first moment.
    ///   - to: the moment that the window ends before.
    package init(
        _ installs: [FraudInstall], app: String, _ settings: FraudSettings, _ activity: FraudActivity, from: Timestamp,
        to: Timestamp
    ) {
        var memo = LimitMemo(settings, app: app)
        let now = to.microseconds
        patterns = FraudPatterns.find(installs, app: app, activity, from: from, to: to) { memo.limits($0, now) }
        let standing = Dictionary(grouping: patterns, by: \.source).mapValues { Set($0.map(\.code)) }
        let velocity = FraudVelocity(
            clicks: installs.flatMap { $0.clicks }, installs: installs.map(\.bare)
        ) { memo.limits($0, $1) }
        var bySource: [FraudSource: FraudShare] = [:]
        decisions.reserveCapacity(installs.count)
        for install in installs {
            let decided = FraudJudgement.decide(install, velocity, settings.lists, patterns: standing) {
                memo.limits($0, install.at)
            }
            decisions.append(decided)
            guard let claim = install.claim, let source = install.touches[claim].source,
                decided.touches[claim].reason == nil
            else { continue }
            bySource[source, default: FraudShare(app: app, source: source)].installs += 1
            if decided.touches[claim].outcome == .rejected { bySource[source]?.rejected += 1 }
            if decided.touches[claim].outcome == .suspect { bySource[source]?.suspect += 1 }
        }
        shares = bySource.values.sorted { $0.source < $1.source }.map { share in
            var share = share
            share.judge(memo.limits(share.source.network, now))
            share.patterns = (standing[share.source] ?? []).sorted { $0.rawValue < $1.rawValue }
            return share
        }
    }
}

/// The numbers of an app, worked out once for each network and set of rules.
struct LimitMemo {
    private let settings: FraudSettings
    private let app: String
    private var known: [Int: [String: FraudLimits]] = [:]

    init(_ settings: FraudSettings, app: String) { (self.settings, self.app) = (settings, app) }

    mutating func limits(_ network: String?, _ at: Int64) -> FraudLimits {
        let place = settings.place(at)
        if let limits = known[place]?[network ?? ""] { return limits }
        let limits = settings.rules(place).limits(app: app, network: network)
        known[place, default: [:]][network ?? ""] = limits
        return limits
    }
}

extension FraudInstall {
    /// Its clicks as velocity counts them.
    var clicks: [FraudVelocity.Click] {
        touches.compactMap { touch in
            guard touch.kind == .click else { return nil }
            return FraudVelocity.Click(
                id: touch.id, at: touch.at, device: touch.device, address: touch.address, network: touch.network)
        }
    }

    var bare: FraudVelocity.Install { FraudVelocity.Install(id: id, at: at, device: device, address: address) }
}

/// Everything that is set: the rules by the time that they hold from, and the lists.
package struct FraudSettings: Sendable {
    struct Version: Sendable, Equatable {
        var version: Int
        /// Microseconds since 1970.
        var startsAt: Int64
        var rules: FraudRules
    }

    /// Changes with every change of rules and lists; 0 before the first.
    var version = 0
    /// Oldest first.
    var versions: [Version] = []
    var lists = FraudLists()

    /// - Parameter rules: that hold at any time.
    package init(_ rules: FraudRules = .standard) {
        versions = [Version(version: 0, startsAt: .min, rules: rules)]
    }

    /// The place of the rules that hold at a time: the newest of those that have begun; -1 for the standard ones.
    func place(_ at: Int64) -> Int { versions.lastIndex { $0.startsAt <= at } ?? -1 }

    func rules(_ place: Int) -> FraudRules { place < 0 ? .standard : versions[place].rules }
}
