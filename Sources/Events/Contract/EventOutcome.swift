/// What became of an event. Every event of an accepted request ends in exactly one of these.
package enum EventOutcome: UInt8, CaseIterable, Sendable {
    case stored, duplicate, quarantined, bot, late

    package var name: String { "\(self)" }
}

extension EventOutcome: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let outcome = EventOutcome.allCases.first(where: { $0.name == text }) else {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not an outcome"))
        }
        self = outcome
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(name)
    }
}

/// Why an event was quarantined: the closed list of the contract. Raw values are written to the log and never change.
package enum QuarantineReason: UInt8, CaseIterable, Sendable {
    case none = 0
    case notJSON = 1
    case badUnicode, missingField, badType, tooLong, eventTooLarge, tooDeep, tooManyKeys, badTimestamp, timestampFuture
    case timestampTooOld, badMoney, missingIdentifier, unknownType, reservedType, duplicateKey
    /// The app's tracking plan refuses it: `plan:<rule>`.
    case planRequired = 32
    case planType, planEnum, planPattern, planRange, planLength, planUnknownName, planUnknownProperty

    /// The stable tag; empty for `none`.
    package var tag: String {
        switch self {
        case .none: ""
        case .notJSON: "not_json"
        case .badUnicode: "bad_unicode"
        case .missingField: "missing_field"
        case .badType: "bad_type"
        case .tooLong: "too_long"
        case .eventTooLarge: "event_too_large"
        case .tooDeep: "too_deep"
        case .tooManyKeys: "too_many_keys"
        case .badTimestamp: "bad_ts"
        case .timestampFuture: "ts_future"
        case .timestampTooOld: "ts_too_old"
        case .badMoney: "bad_money"
        case .missingIdentifier: "missing_identifier"
        case .unknownType: "unknown_type"
        case .reservedType: "reserved_type"
        case .duplicateKey: "duplicate_key"
        case .planRequired: "plan:required"
        case .planType: "plan:type"
        case .planEnum: "plan:enum"
        case .planPattern: "plan:pattern"
        case .planRange: "plan:range"
        case .planLength: "plan:length"
        case .planUnknownName: "plan:unknown_name"
        case .planUnknownProperty: "plan:unknown_property"
        }
    }

    /// One sentence for the sender; holds no user text.
    package var detail: String {
        switch self {
        case .none: ""
        case .notJSON: "The event is not a JSON object."
        case .badUnicode: "The text is not valid Unicode."
        case .missingField: "A field that this type of event needs is missing."
        case .badType: "The value has the wrong type or is none of the allowed ones."
        case .tooLong: "The value is longer than the contract allows."
        case .eventTooLarge: "The event is larger than the contract allows."
        case .tooDeep: "The value is nested deeper than 32 levels."
        case .tooManyKeys: "The object has more than 256 keys."
        case .badTimestamp:
            "The time is neither RFC 3339 nor whole milliseconds since 1970, or the date does not exist."
        case .timestampFuture: "The time is more than 24 hours ahead of the time of receipt."
        case .timestampTooOld: "The time is more than 400 days before the time of receipt."
        case .badMoney: "Money takes at most 12 integer and 6 fraction digits, and a three-letter currency."
        case .missingIdentifier: "None of user_id, anonymous_id and device_id is present."
        case .unknownType: "The type is none of the contract's."
        case .reservedType: "Only Aurum itself writes events of this type."
        case .duplicateKey: "A field of the contract is given twice."
        case .planRequired: "A property that the tracking plan requires is missing."
        case .planType: "A property has another type than the tracking plan says."
        case .planEnum: "A property has none of the values that the tracking plan allows."
        case .planPattern: "A property does not match the pattern of the tracking plan."
        case .planRange: "A number lies outside the range of the tracking plan."
        case .planLength: "A text or list is shorter or longer than the tracking plan allows."
        case .planUnknownName: "The tracking plan does not know this event's name."
        case .planUnknownProperty: "The tracking plan does not know one of the properties."
        }
    }
}
