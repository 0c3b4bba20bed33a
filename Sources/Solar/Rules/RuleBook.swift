package import AurumCore

/// Every reason why a rule file cannot be used; it stops the start.
package struct RuleBookError: Error, Equatable, CustomStringConvertible {
    package let problems: [String]

    package var description: String { problems.joined(separator: "\n") }
}

/// A rule whose check is due.
package struct RuleAlert: Sendable, Hashable {
    package enum State: String, Sendable, Hashable, Codable {
        /// To be checked within 30 days.
        case dueSoon
        /// Past its day; still shown, marked with the day it was last checked.
        case overdue
        /// More than 90 days past: promised money no longer counts, amounts widen.
        case lapsed
    }

    package let rule: Rule
    package let state: State
}

/// A rule as it counts on one day.
package struct AppliedRule: Sendable, Hashable {
    package let rule: Rule
    package let counted: Rule.Counted
    package let state: RuleAlert.State?

    /// A parameter of the rule's formula; the loader made sure that it is there.
    func parameter(_ name: String) -> Span? {
        guard let span = rule.parameters[name] else { return nil }
        return state == .lapsed && rule.kind.widens ? span.widened(by: RuleBook.lapsedWidening) : span
    }
}

/// All rules, checked as a whole: no overlap, no gap, no rule without a source or a day by which to check it again.
package struct RuleBook: Sendable {
    static let file = "rules/solar-rules.json"
    static let alertDays = 30
    static let lapseDays = 90
    static let lapsedWidening = 0.1

    package let rules: [Rule]

    /// The embedded rules.
    package init() throws(RuleBookError) { try self.init(json: Asset.text(RuleBook.file)) }

    /// Rules as JSON text; the error lists all problems at once.
    package init(json: String) throws(RuleBookError) {
        var problems: [String] = []
        rules = RuleFile.read(json, file: RuleBook.file, problems: &problems)
        problems += RuleBook.conflicts(rules)
        guard problems.isEmpty else { throw RuleBookError(problems: problems) }
    }

    /// What holds on a day for one utility and class of property, in file order.
    package func applicable(
        on date: CivilDate, utility: Utility, propertyClass: PropertyClass
    ) -> [AppliedRule] {
        rules.filter { $0.applies(on: date) && $0.applies(to: utility, propertyClass) }.map { applied($0, on: date) }
    }

    /// Rules in force on a day whose check is due or past, the most urgent first.
    package func alerts(on date: CivilDate) -> [RuleAlert] {
        rules.filter { $0.applies(on: date) }
            .compactMap { rule in Self.state(rule, on: date).map { RuleAlert(rule: rule, state: $0) } }
            .sorted { ($0.rule.verifyBy, $0.rule.citation) < ($1.rule.verifyBy, $1.rule.citation) }
    }

    private func applied(_ rule: Rule, on date: CivilDate) -> AppliedRule {
        let state = Self.state(rule, on: date)
        let lapsed = state == .lapsed && rule.kind.isPromise
        return AppliedRule(rule: rule, counted: lapsed ? .no : rule.counted, state: state)
    }

    private static func state(_ rule: Rule, on date: CivilDate) -> RuleAlert.State? {
        let past = date.daysSince1970 - rule.verifyBy.daysSince1970
        if past > lapseDays { return .lapsed }
        if past > 0 { return .overdue }
        return past >= -alertDays ? .dueSoon : nil
    }

    // MARK: Whole-file checks

    /// From this day on, every needed kind must have exactly one rule.
    private static let coveredFrom = CivilDate(daysSince1970: 20_454)  // 2026-01-01

    private static func conflicts(_ rules: [Rule]) -> [String] {
        var problems: [String] = []
        let ids = Set(rules.map(\.id)).sorted()
        for id in ids {
            for utility in Utility.allCases {
                for propertyClass in PropertyClass.allCases {
                    let own = rules.filter { $0.id == id && $0.applies(to: utility, propertyClass) }
                    problems += overlaps(own, what: "\(id) (\(utility.rawValue), class \(propertyClass.rawValue))")
                }
            }
        }
        for utility in Utility.allCases {
            let kinds: [Rule.Kind] = [.tariff, .charge, .netMetering, .maintenance]
            for kind in kinds {
                let own = rules.filter { $0.kind == kind && ($0.utility == nil || $0.utility == utility) }
                let what = "\(kind.rawValue) (\(utility.rawValue))"
                problems += gaps(own, what: what) + overlaps(own, what: what)
            }
        }
        for id in SolarRuleID.needed { problems += gaps(rules.filter { $0.id == id }, what: id) }
        var seen = Set<String>()
        return problems.filter { seen.insert($0).inserted }
    }

    private static func overlaps(_ rules: [Rule], what: String) -> [String] {
        let sorted = rules.sorted { ($0.effectiveFrom ?? .distantPast) < ($1.effectiveFrom ?? .distantPast) }
        var problems: [String] = []
        for (earlier, later) in zip(sorted, sorted.dropFirst()) {
            let end = earlier.effectiveTo ?? .distantFuture
            if (later.effectiveFrom ?? .distantPast) < end {
                problems.append("\(file), \(what): \(earlier.citation) and \(later.citation) overlap")
            }
        }
        return problems
    }

    private static func gaps(_ rules: [Rule], what: String) -> [String] {
        var reached = coveredFrom
        for rule in rules.sorted(by: { ($0.effectiveFrom ?? .distantPast) < ($1.effectiveFrom ?? .distantPast) }) {
            guard (rule.effectiveFrom ?? .distantPast) <= reached else { break }
            guard let end = rule.effectiveTo else { return [] }
            reached = max(reached, end)
        }
        return ["\(file), \(what): no rule from \(reached)"]
    }
}

/// Ids that the estimate asks for by name.
enum SolarRuleID {
    static let panel = "panel"
    static let sizing = "sizing"
    static let losses = "production.losses"
    static let taxes = "taxes.unknown"
    static let flat = "roof.flat"
    static let canopy = "roof.canopy"
    static let pitched = "roof.pitched"
    static let pricePitched = "price.pitched"
    static let priceFlat = "price.flat"
    static let priceCanopy = "price.canopy"

    static func defaultRoof(_ home: String) -> String { "roof.default.\(home)" }

    static let needed = [
        panel, sizing, losses, taxes, flat, canopy, pitched, pricePitched, priceFlat, priceCanopy,
        defaultRoof("rowhouse"), defaultRoof("oneFamily"), defaultRoof("twoToFour"),
    ]
}

extension CivilDate {
    fileprivate static let distantPast = CivilDate(daysSince1970: -719_000)
    fileprivate static let distantFuture = CivilDate(daysSince1970: 2_000_000)
}
