internal import AurumCore
internal import Foundation

/// Reads rule rows strictly and gathers every problem instead of stopping at the first.
enum RuleFile {
    private static let fields: Set<String> = [
        "id", "version", "kind", "title", "jurisdiction", "utility", "propertyClasses", "effectiveFrom", "effectiveTo",
        "basis", "formula", "parameters", "counted", "source", "confidence", "checkedOn", "verifyBy", "note",
    ]

    static func read(_ json: String, file: String, problems: inout [String]) -> [Rule] {
        guard let document = try? JSONDecoder().decode(JSONValue.self, from: Data(json.utf8)),
            let rows = document["rules"]?.array, !rows.isEmpty
        else {
            problems.append("\(file): is not JSON with a list of rules")
            return []
        }
        var rules: [Rule] = []
        for (index, row) in rows.enumerated() {
            let name = row["id"]?.string.map { "row \(index + 1) (\($0))" } ?? "row \(index + 1)"
            var reader = RuleRow(row: RowFields(file: file, name: name, row: row))
            reader.checkNames(fields)
            let rule = reader.rule()
            problems += reader.problems
            if let rule, reader.problems.isEmpty { rules.append(rule) }
        }
        return rules
    }
}

/// One row on its way to a rule.
private struct RuleRow {
    let row: RowFields
    var problems: [String] = []

    mutating func checkNames(_ names: Set<String>) {
        do { try row.only(names) } catch { problems.append(error.description) }
    }

    private mutating func value<Value>(_ body: (RowFields) throws(SolarDataError) -> Value) -> Value? {
        do {
            return try body(row)
        } catch {
            problems.append(error.description)
            return nil
        }
    }

    /// The rule, or nil with the reasons in `problems`.
    mutating func rule() -> Rule? {
        let id = value { row throws(SolarDataError) in try row.text("id") }
        let kind: Rule.Kind? = value { row throws(SolarDataError) in try row.choice("kind") }
        let basis: Rule.Basis? = value { row throws(SolarDataError) in try row.choice("basis") }
        let formula: Rule.Formula? = value { row throws(SolarDataError) in try row.choice("formula") }
        let counted: Rule.Counted? = value { row throws(SolarDataError) in try row.choice("counted") }
        let confidence: Rule.Confidence? = value { row throws(SolarDataError) in try row.choice("confidence") }
        let title = value { row throws(SolarDataError) in try row.text("title") }
        let jurisdiction = value { row throws(SolarDataError) in try row.text("jurisdiction") }
        let version = value { row throws(SolarDataError) in try row.positive("version") }
        let source = value { row throws(SolarDataError) in try row.source() }
        let checkedOn = value { row throws(SolarDataError) in try row.date("checkedOn") }
        let verifyBy = value { row throws(SolarDataError) in try row.date("verifyBy") }
        let from = value { row throws(SolarDataError) in try row.optionalDate("effectiveFrom") }
        let to = value { row throws(SolarDataError) in try row.optionalDate("effectiveTo") }
        let utility = value { row throws(SolarDataError) in try row.utility() }
        let classes = value { row throws(SolarDataError) in try row.propertyClasses() }
        let parameters = value { row throws(SolarDataError) in try row.parameters(formula) }
        guard let id, let kind, let basis, let formula, let counted, let confidence, let title, let jurisdiction,
            let version, let source, let checkedOn, let verifyBy, let from, let to, let utility, let classes,
            let parameters
        else { return nil }
        if verifyBy <= checkedOn { problems.append(row.error("verifyBy is not after checkedOn").description) }
        if let start = from.date, let end = to.date, end <= start {
            problems.append(row.error("effectiveTo is not after effectiveFrom").description)
        }
        return Rule(
            id: id, version: version, kind: kind, title: title, jurisdiction: jurisdiction, utility: utility.utility,
            propertyClasses: classes, effectiveFrom: from.date, effectiveTo: to.date, basis: basis, formula: formula,
            parameters: parameters, counted: counted, source: source, confidence: confidence, checkedOn: checkedOn,
            verifyBy: verifyBy, note: row.row["note"]?.string ?? "")
    }
}

/// A field that may be null, told apart from one that could not be read.
private struct OptionalDate { let date: CivilDate? }
private struct OptionalUtility { let utility: Utility? }

extension RowFields {
    fileprivate func positive(_ field: String) throws(SolarDataError) -> Int {
        guard let value = row[field]?.integer, value > 0 else { throw error("\(field) is not a whole number above 0") }
        return Int(value)
    }

    fileprivate func date(_ field: String) throws(SolarDataError) -> CivilDate {
        guard let date = CivilDate(try text(field)) else { throw error("\(field) is not a date such as 2026-11-21") }
        return date
    }

    fileprivate func optionalDate(_ field: String) throws(SolarDataError) -> OptionalDate {
        guard let value = row[field] else { throw error("\(field) is missing") }
        return OptionalDate(date: value == .null ? nil : try date(field))
    }

    fileprivate func utility() throws(SolarDataError) -> OptionalUtility {
        guard let value = row["utility"] else { throw error("utility is missing") }
        return OptionalUtility(utility: value == .null ? nil : try choice("utility"))
    }

    fileprivate func propertyClasses() throws(SolarDataError) -> Set<PropertyClass> {
        guard let values = row["propertyClasses"]?.array else { throw error("propertyClasses is missing") }
        var classes = Set<PropertyClass>()
        for value in values {
            guard let own = value.string.flatMap(PropertyClass.init(rawValue:)) else {
                throw error("propertyClasses holds \(value)")
            }
            classes.insert(own)
        }
        return classes
    }

    fileprivate func source() throws(SolarDataError) -> RuleSource {
        guard let value = row["source"] else { throw error("source is missing") }
        let fields = RowFields(file: file, name: "\(name) source", row: value)
        try fields.only(["title", "publisher", "date"])
        return RuleSource(
            title: try fields.text("title"), publisher: try fields.text("publisher"),
            date: try fields.date("date").description)
    }

    fileprivate func parameters(_ formula: Rule.Formula?) throws(SolarDataError) -> [String: Span] {
        guard let members = row["parameters"]?.object else { throw error("parameters are missing") }
        if let wanted = formula?.parameters, wanted != Set(members.keys) {
            throw error("parameters are \(members.keys.sorted()), not \(wanted.sorted())")
        }
        var spans: [String: Span] = [:]
        for (name, value) in members { spans[name] = try span(name, value) }
        return spans
    }

    private func span(_ name: String, _ value: JSONValue) throws(SolarDataError) -> Span {
        if let text = value.string { return Span(try decimal(name, text)) }
        guard let low = value["low"]?.string, let likely = value["likely"]?.string, let high = value["high"]?.string,
            value.object?.count == 3
        else { throw error("\(name) is neither a decimal text nor {low, likely, high}") }
        let span = Span(low: try decimal(name, low), likely: try decimal(name, likely), high: try decimal(name, high))
        guard span.low <= span.likely, span.likely <= span.high else { throw error("\(name) is not in order") }
        return span
    }

    private func decimal(_ name: String, _ text: String) throws(SolarDataError) -> Double {
        guard let value = Millionths(decimal: text) else { throw error("\(name) is \(text), not a decimal") }
        return Double(value.value) / 1_000_000
    }
}
