package import AurumCore

/// A postback of Apple's SKAdNetwork or AdAttributionKit as it was read: signed fields in signing order, unsigned
/// claims apart.
package struct Postback: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable { case skadnetwork, adattributionkit }

    /// What the signature says.
    package enum Verdict: String, Sendable, CaseIterable {
        case valid
        /// The signature does not fit, or a signed field is missing or of the wrong type.
        case invalid
        /// Nobody here can tell: unknown version or key, or a curve that the platform's crypto lacks.
        case unverifiable
    }

    /// Development keys sign test postbacks; they stay out of reports.
    package enum Environment: String, Sendable, CaseIterable { case production, development }

    package var kind: Kind
    package var version: String
    package var verdict: Verdict
    /// Stable tag of why.
    package var reason: String
    package var environment: Environment
    package var keyID: String?
    /// What is signed, in signing order.
    package var signed: [Field]
    /// What travels beside the signature and can be forged on a valid postback.
    package var unsigned: [String: JSONValue]

    package struct Field: Sendable, Equatable {
        package var name: String
        package var value: JSONValue
    }

    package func value(_ name: String) -> JSONValue? { signed.first { $0.name == name }?.value }

    /// Transaction or postback identifier.
    package var transactionID: String? {
        (value("transaction-id") ?? value("postback-identifier"))?.string
    }

    /// Which of up to three postbacks of one conversion; 0 for versions that send one.
    package var sequenceIndex: Int { Int(clamping: value("postback-sequence-index")?.integer ?? 0) }
    package var adNetwork: String? { (value("ad-network-id") ?? value("ad-network-identifier"))?.string }
    package var appID: Int64? { (value("app-id") ?? value("advertised-item-identifier"))?.integer }
    package var didWin: Bool? { value("did-win")?.bool }
    package var sourceIdentifier: String? { value("source-identifier")?.string }

    /// What makes two postbacks the same: environment, identifier and sequence index. nil without an identifier.
    package var claim: String? {
        transactionID.map { "\(kind.rawValue):\(environment.rawValue):\($0.lowercased()):\(sequenceIndex)" }
    }

    /// Crowd anonymity that Apple granted, inferred from what the postback holds: 3 with a source app or domain, 2 with
    /// a fine conversion value, 1 with a coarse one or from a later window, else 0. nil for versions without tiers.
    package var tier: Int? {
        guard kind == .adattributionkit || version.hasPrefix("4.") else { return nil }
        let publisher = (value("source-app-id") ?? value("publisher-item-identifier"))?.integer ?? 0
        if publisher > 0 || value("source-domain") != nil { return 3 }
        if unsigned["conversion-value"]?.integer != nil { return 2 }
        if unsigned["coarse-conversion-value"]?.string != nil || sequenceIndex > 0 { return 1 }
        return 0
    }

    /// First and last moment at which the app may have been opened first, for a postback that came in at `receivedAt`.
    /// Windows close 2, 7 and 35 days after the first launch (earlier when the app locks them) and postbacks leave
    /// 24–48 h after the first and 24–144 h after the others, and are tried again for 9 days. nil for versions up to
    /// 3, whose timer an app may restart.
    package func firstLaunch(receivedAt: Timestamp) -> (earliest: Timestamp, latest: Timestamp)? {
        guard kind == .adattributionkit || version.hasPrefix("4.") else { return nil }
        let day = Duration.seconds(86_400)
        let window: (opens: Duration, closes: Duration, delay: Duration)
        switch sequenceIndex {
        case 0: window = (.zero, day * 2, day * 2)
        case 1: window = (day * 2, day * 7, day * 6)
        case 2: window = (day * 7, day * 35, day * 6)
        default: return nil
        }
        return (receivedAt - (window.closes + window.delay + day * 9), receivedAt - (window.opens + day))
    }

    /// The document of the API and the command line.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "kind": .string(kind.rawValue), "version": .string(version), "verdict": .string(verdict.rawValue),
            "reason": .string(reason), "environment": .string(environment.rawValue),
            "signed": .object(Dictionary(signed.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })),
            "unsigned": .object(unsigned), "sequence_index": .integer(Int64(sequenceIndex)),
        ]
        members["key_id"] = keyID.map(JSONValue.string)
        members["transaction_id"] = transactionID.map(JSONValue.string)
        members["ad_network"] = adNetwork.map(JSONValue.string)
        members["app_id"] = appID.map(JSONValue.integer)
        members["did_win"] = didWin.map(JSONValue.bool)
        members["source_identifier_digits"] = sourceIdentifier.map { .integer(Int64($0.count)) }
        members["tier"] = tier.map { .integer(Int64($0)) }
        return .object(members)
    }
}

/// Why a body is no postback at all.
package enum PostbackError: Error, Sendable, Equatable {
    case notJSON
    case notAnObject
    case tooLarge

    package var code: String {
        switch self {
        case .notJSON: "not_json"
        case .notAnObject: "not_an_object"
        case .tooLarge: "body_too_large"
        }
    }

    package var sentence: String {
        switch self {
        case .notJSON: "The body is not valid JSON."
        case .notAnObject: "The body is no JSON object."
        case .tooLarge: "The body is larger than \(PostbackVerifier.bodyBytesMax) bytes."
        }
    }
}
