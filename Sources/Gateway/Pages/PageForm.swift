internal import Attribution
internal import AurumCore
internal import Foundation
internal import HTTPTypes

/// A form of a page: its fields with what stands in them, and what is wrong with each. Works without a script.
struct PageForm: Sendable {
    struct Field: Sendable {
        enum Kind: Sendable {
            /// Type and placeholder of an input.
            case input(String, String)
            case choice([(value: String, text: String)])
            /// So many rows.
            case area(Int)
        }

        let name: String
        let label: String
        let kind: Kind
        /// What stands in it before anybody fills it.
        var standard = ""
        var hint: String?
    }

    /// Names the form among those of its page; the hidden field `form`.
    let name: String
    let action: String
    let submit: String
    let fields: [Field]
    /// Forms that ask are part of the link.
    var asks = false

    /// - Parameters:
    ///   - input: what somebody filled in; nil shows the standards.
    ///   - refusal: of this form.
    func json(_ input: FormInput?, _ refusal: FormRefusal?) -> JSONValue {
        let place = refusal.flatMap { refusal in fields.first { $0.name == refusal.field } }
        return [
            "form": .string(name), "action": .string(action), "submit": .string(submit), "changes": .bool(!asks),
            "refusal": place == nil ? refusal.map { .string($0.sentence) } ?? false : false,
            "fields": .array(
                fields.map { field in
                    let wrong = place?.name == field.name ? refusal.map { JSONValue.string($0.detail) } : nil
                    return json(field, input.map { $0.values[field.name] ?? "" } ?? field.standard, wrong)
                }),
        ]
    }

    private func json(_ field: Field, _ value: String, _ wrong: JSONValue?) -> JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(field.name), "id": .string(name + "-" + field.name), "label": .string(field.label),
            "value": .string(value), "wrong": wrong ?? false, "hint": field.hint.map { .string($0) } ?? false,
            "is-choice": false, "is-area": false, "is-input": false,
        ]
        switch field.kind {
        case .input(let type, let placeholder):
            members["is-input"] = true
            (members["type"], members["placeholder"]) = (.string(type), .string(placeholder))
        case .choice(let options):
            members["is-choice"] = true
            members["options"] = .array(
                options.map {
                    ["choice": .string($0.value), "text": .string($0.text), "is-chosen": .bool($0.value == value)]
                })
        case .area(let rows):
            members["is-area"] = true
            members["rows"] = .integer(Int64(rows))
        }
        return .object(members)
    }
}

/// What came in a form.
struct FormInput: Sendable {
    let values: [String: String]

    /// Which form of its page it is.
    var form: String { values["form"] ?? "" }

    /// Without white space around it; nil where nothing was filled in.
    subscript(name: String) -> String? {
        let text = (values[name] ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
        return text.isEmpty ? nil : text
    }

    func json(_ name: String) -> JSONValue { self[name].map { .string($0) } ?? .null }

    /// A field that takes a number.
    func number(_ name: String) throws(FormRefusal) -> JSONValue? {
        guard let text = self[name] else { return nil }
        if let whole = Int64(text) { return .integer(whole) }
        guard let number = Double(text), number.isFinite else { throw FormRefusal(name, "must be a number.") }
        return .number(number)
    }
}

/// Why a form is refused.
struct FormRefusal: Error, Sendable, Equatable {
    /// The form's field; of what has none, what the API calls it, or nothing.
    var field: String
    let detail: String
    let status: HTTPResponse.Status

    init(_ field: String, _ detail: String, status: HTTPResponse.Status = .unprocessableContent) {
        (self.field, self.detail, self.status) = (field, detail, status)
    }

    /// nil for what is nobody's mistake.
    init?(_ error: any Error) {
        switch error {
        case let refusal as FormRefusal: self = refusal
        case LogAttributionError.invalid(let field, let detail), ExperimentError.invalid(let field, let detail),
            ConversionSchemaError.invalid(let field, let detail):
            self.init(field, detail)
        case let error as LogAttributionError: self.init("", error.sentence, status: Problem(error).status)
        case let error as ExperimentError: self.init("", error.sentence, status: Problem(error).status)
        case let error as ConversionSchemaError: self.init("", error.sentence, status: Problem(error).status)
        default: return nil
        }
    }

    /// Where it stands apart from its field.
    var sentence: String { field.isEmpty ? detail : field + " " + detail }
}

/// Words of pages that no script writes.
enum PageText {
    /// `2026-11-21 03:30 UTC`; a dash for nothing.
    static func moment(_ moment: Timestamp?) -> String { self.moment(moment?.rfc3339) }

    /// The same of RFC 3339.
    static func moment(_ text: String?) -> String {
        guard let text, text.utf8.count > 16 else { return "—" }
        return text.prefix(16).replacingOccurrences(of: "T", with: " ") + " UTC"
    }

    /// `paid_search` as `Paid search`.
    static func words(_ name: String) -> String {
        let text = name.replacingOccurrences(of: "_", with: " ")
        return text.prefix(1).uppercased() + text.dropFirst()
    }

    /// With as many decimals as asked and no zeros at the end.
    static func number(_ value: Double, decimals: Int = 2) -> String {
        var text = String(format: "%.\(decimals)f", value)
        while text.contains("."), text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text == "-0" ? "0" : text
    }

    /// 0.2 as `20%`.
    static func percent(_ value: Double?) -> String { value.map { number($0 * 100, decimals: 1) + "%" } ?? "—" }

    static func money(_ minor: Int64?, _ currency: String) -> String {
        guard let minor, let currency = Currency(currency) else { return "—" }
        return Money(minorUnits: minor, currency: currency).description
    }
}
