package import AurumCore

/// The rules of one day, utility and class of property, asked for by kind or id.
package struct EstimateRules: Sendable {
    let date: CivilDate
    let applied: [AppliedRule]

    package init(book: RuleBook, date: CivilDate, utility: Utility, propertyClass: PropertyClass) {
        self.date = date
        applied = book.applicable(on: date, utility: utility, propertyClass: propertyClass)
    }

    func first(_ kind: Rule.Kind) -> AppliedRule? { applied.first { $0.rule.kind == kind } }

    /// The money rule with this formula, when it still counts.
    func promised(_ formula: Rule.Formula) -> AppliedRule? {
        applied.first { $0.rule.formula == formula && $0.counted == .yes }
    }

    package func one(_ kind: Rule.Kind) throws(EstimateError) -> AppliedRule {
        guard let rule = first(kind) else { throw .noRule(kind.rawValue, date) }
        return rule
    }

    package func rule(_ id: String) throws(EstimateError) -> AppliedRule {
        guard let rule = applied.first(where: { $0.rule.id == id }) else { throw .noRule(id, date) }
        return rule
    }

    package func parameter(_ rule: AppliedRule, _ name: String) throws(EstimateError) -> Span {
        guard let span = rule.parameter(name) else { throw .noRule("\(rule.rule.id).\(name)", date) }
        return span
    }

    /// The likely value of a parameter of the rule `id`.
    package func value(_ id: String, _ name: String) throws(EstimateError) -> Double {
        try parameter(rule(id), name).likely
    }
}
