package import AurumCore

/// Languages in which every shipped text exists.
package enum Language: String, Sendable, Codable, CaseIterable, Comparable {
    case english = "en"
    case spanish = "es"

    package static func < (left: Language, right: Language) -> Bool { left.rawValue < right.rawValue }
}

/// What kind of answer a slot holds.
package enum SlotType: String, Sendable, Codable, CaseIterable {
    case text, choice, boolean, integer, money, postalCode, phone, email, personName

    /// Whether values of this type say who somebody is. They never enter events or logs.
    package var isPersonal: Bool {
        switch self {
        case .phone, .email, .personName, .text: true
        case .choice, .boolean, .integer, .money, .postalCode: false
        }
    }
}

/// An amount in cents. A spoken range ("200 to 250") keeps both ends; `cents` is their midpoint.
package struct MoneyRange: Hashable, Sendable, Codable {
    package var cents: Int64
    package var lowCents: Int64
    package var highCents: Int64

    package init(cents: Int64) {
        self.cents = cents
        lowCents = cents
        highCents = cents
    }

    package init(lowCents: Int64, highCents: Int64) {
        self.lowCents = min(lowCents, highCents)
        self.highCents = max(lowCents, highCents)
        cents = (self.lowCents + self.highCents) / 2
    }

    package var isRange: Bool { lowCents != highCents }
}

/// A typed answer. Printing one shows a mask where the type is personal.
package enum SlotValue: Hashable, Sendable {
    case text(String)
    case choice(String)
    case boolean(Bool)
    case integer(Int64)
    case money(MoneyRange)
    /// Five digits.
    case postalCode(String)
    /// E.164.
    case phone(String)
    case email(String)
    case personName(String)

    package var type: SlotType {
        switch self {
        case .text: .text
        case .choice: .choice
        case .boolean: .boolean
        case .integer: .integer
        case .money: .money
        case .postalCode: .postalCode
        case .phone: .phone
        case .email: .email
        case .personName: .personName
        }
    }

    /// The value without its type, for the API and for attributes: money as integer cents.
    package var plain: JSONValue {
        switch self {
        case .text(let text), .choice(let text), .postalCode(let text), .phone(let text), .email(let text),
            .personName(let text):
            .string(text)
        case .boolean(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .money(let range): .integer(range.cents)
        }
    }

    /// The words of a textual value; nil for numbers and yes/no.
    package var string: String? { plain.string }

    /// With its type, as it is stored: `{"type":"money","value":20000,"low":…,"high":…}`.
    package var json: JSONValue {
        var members: [String: JSONValue] = ["type": .string(type.rawValue), "value": plain]
        if case .money(let range) = self, range.isRange {
            members["low"] = .integer(range.lowCents)
            members["high"] = .integer(range.highCents)
        }
        return .object(members)
    }

    /// Reads what `json` wrote; nil for anything else.
    package init?(json: JSONValue) {
        guard let type = json["type"]?.string.flatMap(SlotType.init(rawValue:)), let value = json["value"] else {
            return nil
        }
        switch (type, value) {
        case (.text, .string(let text)): self = .text(text)
        case (.choice, .string(let text)): self = .choice(text)
        case (.postalCode, .string(let text)): self = .postalCode(text)
        case (.phone, .string(let text)): self = .phone(text)
        case (.email, .string(let text)): self = .email(text)
        case (.personName, .string(let text)): self = .personName(text)
        case (.boolean, .bool(let value)): self = .boolean(value)
        case (.integer, .integer(let value)): self = .integer(value)
        case (.money, .integer(let cents)):
            if let low = json["low"]?.integer, let high = json["high"]?.integer {
                self = .money(MoneyRange(lowCents: low, highCents: high))
            } else {
                self = .money(MoneyRange(cents: cents))
            }
        default: return nil
        }
    }
}

extension SlotValue: Codable {
    package init(from decoder: any Decoder) throws {
        let json = try JSONValue(from: decoder)
        guard let value = SlotValue(json: json) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "not a slot value"))
        }
        self = value
    }

    package func encode(to encoder: any Encoder) throws { try json.encode(to: encoder) }
}

extension SlotValue: CustomStringConvertible {
    package var description: String { type.isPersonal ? "<\(type.rawValue)>" : plain.canonical }
}
