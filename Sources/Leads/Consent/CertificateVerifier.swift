package import AurumCore
internal import Crypto
internal import Foundation

/// What checking a certificate found.
package enum CertificateVerdict: Sendable, Equatable, CustomStringConvertible {
    case valid
    case expired
    case wrongKey
    /// The first part that is not what was sealed.
    case altered(String)
    /// The first link of the consent chain that does not follow from the one before.
    case chainBroken(at: Int)
    case contactMismatch

    package var description: String {
        switch self {
        case .valid: "valid"
        case .expired: "expired"
        case .wrongKey: "wrongKey"
        case .altered(let field): "altered(\(field))"
        case .chainBroken(let at): "chainBroken(at \(at))"
        case .contactMismatch: "contactMismatch"
        }
    }
}

/// Checks a certificate file offline: no network, no database.
package struct CertificateVerifier: Sendable {
    /// Largest file that is read, in bytes.
    package static let fileBytesMax = 4 << 20

    private let keys: [String: String]

    /// - Parameter keys: public keys by id, 64 lower-case hex digits each.
    package init(keys: [String: String]) { self.keys = keys }

    /// - Parameters:
    ///   - file: the bytes of the file; they must be in canonical form, so that no bit of it can change unnoticed.
    ///   - phone: E.164 number to compare with the sealed hash; needs `salt`.
    ///   - email: address to compare, in any case; needs `salt`.
    ///   - salt: the `certificateSalt` in hex.
    package func verify(
        _ file: [UInt8], now: Timestamp, phone: String? = nil, email: String? = nil, salt: String? = nil
    ) -> CertificateVerdict {
        guard file.count <= Self.fileBytesMax,
            let document = try? JSONDecoder().decode(JSONValue.self, from: Data(file)),
            Array(document.canonical.utf8) == file, let members = document.object
        else { return .altered("file") }
        guard Set(members.keys) == ["certificate", "hash", "signature"], let body = members["certificate"]?.object
        else {
            return .altered("file")
        }
        if let broken = brokenLink(body) { return .chainBroken(at: broken) }
        if let field = alteredField(body) { return .altered(field) }
        if let verdict = signatureVerdict(body, members) { return verdict }
        guard let expires = body["expires"]?.string.flatMap({ Timestamp(rfc3339: $0) }) else {
            return .altered("expires")
        }
        if now >= expires { return .expired }
        return matches(body, phone: phone, email: email, salt: salt) ? .valid : .contactMismatch
    }

    /// SHA-256 of the canonical form of every member but `digests`, so that a changed one can be named.
    static func digests(of body: [String: JSONValue]) -> [String: JSONValue] {
        var digests: [String: JSONValue] = [:]
        for (name, value) in body where name != "digests" {
            digests[name] = .string(Hex.encode(SHA256.hash(data: Data(value.canonical.utf8))))
        }
        return digests
    }

    private func alteredField(_ body: [String: JSONValue]) -> String? {
        guard let sealed = body["digests"]?.object else { return "digests" }
        let found = Self.digests(of: body)
        return Set(sealed.keys).union(found.keys).sorted().first { sealed[$0] != found[$0] }
    }

    private func brokenLink(_ body: [String: JSONValue]) -> Int? {
        guard let session = body["session"], let id = session["id"]?.string, let start = session["start"]?.string,
            let chain = body["chain"], let events = chain["events"]?.array, let links = chain["links"]?.array
        else { return 0 }
        let expected = ConsentChain.links(sessionID: id, start: start, events: events)
        for (index, link) in expected.enumerated() where index >= links.count || links[index].string != link {
            return index
        }
        return links.count == expected.count && chain["head"]?.string == expected.last ? nil : expected.count - 1
    }

    private func signatureVerdict(_ body: [String: JSONValue], _ members: [String: JSONValue]) -> CertificateVerdict? {
        let hash = Array(SHA256.hash(data: Data(JSONValue.object(body).canonical.utf8)))
        guard members["hash"]?.string == Hex.encode(hash) else { return .altered("hash") }
        guard let keyID = body["keyID"]?.string, let known = keys[keyID], let bytes = Hex.decode(known),
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: bytes)
        else { return .wrongKey }
        guard let text = members["signature"]?.string, let signature = Hex.decode(text), Hex.encode(signature) == text,
            key.isValidSignature(Data(signature), for: Data(hash))
        else { return .altered("signature") }
        return nil
    }

    private func matches(_ body: [String: JSONValue], phone: String?, email: String?, salt: String?) -> Bool {
        guard phone != nil || email != nil else { return true }
        guard let salt = salt.flatMap({ Hex.decode($0) }) else { return false }
        let contact = body["contact"]
        if let phone {
            let number = PhoneNumber(phone)?.exposed ?? phone
            guard contact?["phone"]?.string == CertificateContact.hash(number, salt: salt) else { return false }
        }
        if let email {
            guard contact?["email"]?.string == CertificateContact.hash(email.lowercased(), salt: salt) else {
                return false
            }
        }
        return true
    }
}
