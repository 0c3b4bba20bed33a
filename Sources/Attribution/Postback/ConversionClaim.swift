internal import AurumCore

/// What a postback says its conversion is worth. It travels beside the signature and can be forged on a valid postback.
package enum ConversionClaim: Hashable, Sendable {
    package enum Coarse: String, Sendable, CaseIterable { case low, medium, high }

    /// No value: too few people did the same for Apple to tell, or the app never set one.
    case none
    case fine(Int)
    case coarse(Coarse)
    /// What no device sends.
    case unknown

    /// As tables keep it; what is no such text is unknown.
    init(stored text: String) {
        if text.isEmpty {
            self = .none
        } else if let coarse = Coarse(rawValue: text) {
            self = .coarse(coarse)
        } else if let fine = Int(text), ConversionSchema.fineValues.contains(fine) {
            self = .fine(fine)
        } else {
            self = .unknown
        }
    }

    var stored: String {
        switch self {
        case .none: ""
        case .fine(let value): String(value)
        case .coarse(let value): value.rawValue
        case .unknown: "unknown"
        }
    }

    /// `none`, `fine`, `coarse` or `unknown`.
    package var kind: String {
        switch self {
        case .none: "none"
        case .fine: "fine"
        case .coarse: "coarse"
        case .unknown: "unknown"
        }
    }

    var json: JSONValue {
        switch self {
        case .none, .unknown: .null
        case .fine(let value): .integer(Int64(value))
        case .coarse(let value): .string(value.rawValue)
        }
    }
}

extension Postback {
    /// The value that it claims. Later windows carry coarse values only.
    package var claimedValue: ConversionClaim {
        if let value = unsigned["conversion-value"], value != .null {
            guard sequenceIndex == 0, let fine = value.integer, let number = Int(exactly: fine),
                ConversionSchema.fineValues.contains(number)
            else { return .unknown }
            return .fine(number)
        }
        guard let value = unsigned["coarse-conversion-value"], value != .null else { return .none }
        return value.string.flatMap(ConversionClaim.Coarse.init(rawValue:)).map(ConversionClaim.coarse) ?? .unknown
    }

    /// What the network calls the campaign: source identifier or campaign id; empty without one.
    package var source: String { sourceIdentifier ?? value("campaign-id")?.integer.map { String($0) } ?? "" }

    var timing: PostbackTiming { PostbackTiming(hasWindows: tier != nil, window: sequenceIndex) }
}

/// How long before its reception the window of a postback opened, in days of 24 hours. Windows close 2, 7 and 35 days
/// after the first launch or when the app locks them, and postbacks leave 24–48 h after the first and 24–144 h after
/// the others, and are tried again for 9 days. Source: Apple, "Receiving postbacks in multiple conversion windows".
struct PostbackTiming: Hashable, Sendable {
    /// A window that was not locked, and a postback that came in at once.
    let usual: Int64
    /// nil for versions up to 3, whose timer an app may restart.
    let longest: Int64?
    static let shortest: Int64 = 1

    /// - Parameter hasWindows: false for versions up to 3, whose timer runs for 24 hours.
    init(hasWindows: Bool, window: Int) {
        switch (hasWindows, window) {
        case (true, 0): (usual, longest) = (3, 13)
        case (true, 1): (usual, longest) = (6, 20)
        case (true, 2): (usual, longest) = (29, 43)
        default: (usual, longest) = (1, nil)
        }
    }
}
