internal import AurumCore
internal import Crypto
internal import Foundation

/// Reads postbacks and checks their signatures. Pure: no clock, no network, no storage.
///
/// Source: Apple, "Verifying an install-validation postback" (SKAdNetwork 2.1, 2.2, 3.0, 4.0: ECDSA over SHA-256 with
/// P-256 of the signed fields joined by U+2063) and AdAttributionKit's postback (compact JWS, ES256, RFC 7515/7518).
package enum PostbackVerifier {
    package static let bodyBytesMax = 16_384
    /// Names and texts of unsigned claims that are kept.
    private static let unsignedMax = 32
    private static let separator = "\u{2063}"

    /// - Throws: `PostbackError` when the body is no JSON object.
    package static func read(
        _ body: [UInt8], keys: PostbackKeys = .apple
    ) throws(PostbackError) -> Postback {
        guard body.count <= bodyBytesMax else { throw .tooLarge }
        // No JSON in UTF-8 holds a zero byte (RFC 8259); UTF-16 does, and could not be read again from its text.
        guard !body.contains(0) else { throw .notJSON }
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(body)) else { throw .notJSON }
        guard let members = value.object else { throw .notAnObject }
        return members["jws-string"] == nil ? skadnetwork(members, keys) : adAttributionKit(members, keys)
    }

    // MARK: SKAdNetwork

    private enum FieldType { case text, integer, boolean }

    private static let types: [String: FieldType] = [
        "version": .text, "ad-network-id": .text, "campaign-id": .integer, "source-identifier": .text,
        "app-id": .integer, "transaction-id": .text, "redownload": .boolean, "source-app-id": .integer,
        "source-domain": .text, "fidelity-type": .integer, "did-win": .boolean, "postback-sequence-index": .integer,
        "postback-identifier": .text, "ad-network-identifier": .text, "advertised-item-identifier": .integer,
        "publisher-item-identifier": .integer, "marketplace-identifier": .text, "impression-type": .text,
        "conversion-type": .text,
    ]
    private static let optional: Set<String> = [
        "source-app-id", "source-domain", "publisher-item-identifier", "marketplace-identifier",
    ]

    /// Signed fields of a version in signing order; nil for a version that cannot be verified.
    private static func order(_ version: String) -> [String]? {
        let old = [
            "version", "ad-network-id", "campaign-id", "app-id", "transaction-id", "redownload", "source-app-id",
        ]
        return switch version {
        case "2.1": old
        case "2.2": old + ["fidelity-type"]
        case "3.0": old + ["fidelity-type", "did-win"]
        case "4.0":
            [
                "version", "ad-network-id", "source-identifier", "app-id", "transaction-id", "redownload",
                "source-app-id", "source-domain", "fidelity-type", "did-win", "postback-sequence-index",
            ]
        default: nil
        }
    }

    private static func skadnetwork(_ members: [String: JSONValue], _ keys: PostbackKeys) -> Postback {
        let version = members["version"]?.string ?? ""
        let order = order(version)
        var postback = postback(.skadnetwork, version, members, order ?? [])
        postback.keyID = order == nil ? nil : PostbackKeys.production
        postback.unsigned["attribution-signature"] = nil
        if let reason = shape(members, version: version, order) {
            (postback.verdict, postback.reason) = reason
            return postback
        }
        let text = postback.signed.map { Self.text($0.value) }.joined(separator: separator)
        guard let encoded = members["attribution-signature"]?.string else {
            postback.reason = "signature_missing"
            return postback
        }
        guard let der = Data(base64Encoded: encoded),
            let signature = try? P256.Signing.ECDSASignature(derRepresentation: der)
        else {
            postback.reason = "signature_malformed"
            return postback
        }
        guard let key = keys[PostbackKeys.production] else {
            (postback.verdict, postback.reason) = (.unverifiable, "key_unknown")
            return postback
        }
        if key.isValidSignature(signature, for: Data(text.utf8)) {
            (postback.verdict, postback.reason) = (.valid, "signature_valid")
        } else {
            postback.reason = "signature_wrong"
        }
        return postback
    }

    /// Why the fields alone decide the verdict; nil when the signature must.
    private static func shape(
        _ members: [String: JSONValue], version: String, _ order: [String]?
    ) -> (Postback.Verdict, String)? {
        guard members["version"] != nil else { return (.invalid, "field_missing:version") }
        guard let order else {
            return (.unverifiable, ["1.0", "2.0"].contains(version) ? "curve_p192_not_available" : "version_unknown")
        }
        if let wrong = wrongField(members, order) { return (.invalid, wrong) }
        if version == "4.0", members["source-app-id"] != nil, members["source-domain"] != nil {
            return (.invalid, "field_excluded:source-domain")
        }
        if members["did-win"] == .bool(false), version == "3.0", members["source-app-id"] != nil {
            return (.invalid, "field_excluded:source-app-id")
        }
        return nil
    }

    /// A signed field that is missing, of the wrong type, or holds the separator.
    private static func wrongField(_ members: [String: JSONValue], _ order: [String]) -> String? {
        for name in order {
            guard let value = members[name] else {
                if optional.contains(name) { continue }
                return "field_missing:\(name)"
            }
            let fits =
                switch types[name] ?? .text {
                case .text: value.string != nil
                case .integer: value.integer != nil
                case .boolean: value.bool != nil
                }
            guard fits else { return "field_type:\(name)" }
            if value.string?.unicodeScalars.contains("\u{2063}") == true { return "field_text:\(name)" }
        }
        return nil
    }

    private static func text(_ value: JSONValue) -> String {
        switch value {
        case .bool(let flag): flag ? "true" : "false"
        case .integer(let number): String(number)
        case .string(let text): text
        case .null, .number, .array, .object: ""
        }
    }

    // MARK: AdAttributionKit

    private static let signedClaims = [
        "postback-identifier", "ad-network-identifier", "advertised-item-identifier", "publisher-item-identifier",
        "marketplace-identifier", "impression-type", "conversion-type", "source-identifier", "postback-sequence-index",
        "did-win",
    ]

    private static func adAttributionKit(_ members: [String: JSONValue], _ keys: PostbackKeys) -> Postback {
        var postback = postback(.adattributionkit, "", members, [])
        postback.unsigned["jws-string"] = nil
        let parts = (members["jws-string"]?.string ?? "").split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = object(parts[0]), let payload = object(parts[1]),
            let raw = base64URL(parts[2])
        else {
            postback.reason = "jws_malformed"
            return postback
        }
        postback.version = "1.0"
        postback.signed = payload.sorted { rank($0.key) < rank($1.key) }.prefix(unsignedMax).map {
            Postback.Field(name: $0.key, value: $0.value)
        }
        guard header["alg"]?.string == "ES256" else {
            postback.reason = "alg_not_es256"
            return postback
        }
        let name = header["kid"]?.string ?? ""
        postback.keyID = name
        if PostbackKeys.isDevelopment(name) { postback.environment = .development }
        guard let key = keys[name] else {
            (postback.verdict, postback.reason) = (.unverifiable, "key_unknown")
            return postback
        }
        guard let signature = try? P256.Signing.ECDSASignature(rawRepresentation: raw) else {
            postback.reason = "signature_malformed"
            return postback
        }
        guard key.isValidSignature(signature, for: Data("\(parts[0]).\(parts[1])".utf8)) else {
            postback.reason = "signature_wrong"
            return postback
        }
        if let wrong = wrongField(payload, signedClaims) {
            postback.reason = wrong
            return postback
        }
        (postback.verdict, postback.reason) = (.valid, "signature_valid")
        return postback
    }

    private static func rank(_ name: String) -> String {
        signedClaims.firstIndex(of: name).map { "\($0 / 10)\($0 % 10)" } ?? "z" + name
    }

    private static func object(_ part: Substring) -> [String: JSONValue]? {
        guard let data = base64URL(part) else { return nil }
        return (try? JSONDecoder().decode(JSONValue.self, from: data))?.object
    }

    /// Base64url without padding, RFC 7515; nil for anything else.
    private static func base64URL(_ text: Substring) -> Data? {
        guard text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "=") })
        else { return nil }
        var standard = String(text).replacing("-", with: "+").replacing("_", with: "/")
        standard += String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: standard) else { return nil }
        // Bits past the last byte must be 0: one signature has one text.
        let again = data.base64EncodedString().filter { $0 != "=" }
        return again == standard.filter { $0 != "=" } ? data : nil
    }

    private static func postback(
        _ kind: Postback.Kind, _ version: String, _ members: [String: JSONValue], _ order: [String]
    ) -> Postback {
        let signed = order.compactMap { name in members[name].map { Postback.Field(name: name, value: $0) } }
        let rest = members.filter { !order.contains($0.key) }.sorted { $0.key < $1.key }.prefix(unsignedMax)
        return Postback(
            kind: kind, version: version, verdict: .invalid, reason: "", environment: .production, keyID: nil,
            signed: signed, unsigned: Dictionary(uniqueKeysWithValues: Array(rest)))
    }
}
