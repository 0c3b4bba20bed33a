package import AurumCore
internal import Crypto
internal import Foundation

/// A sealed consent: one JSON file in canonical form.
package struct Certificate: Sendable, Equatable {
    package let id: UID
    package let keyID: String
    /// `{"certificate":{…},"hash":hex,"signature":hex}` in canonical form (RFC 8785).
    package let file: JSONValue
    /// 16 bytes that make the contact hashes impossible to guess; kept beside the certificate, never in it.
    package let salt: [UInt8]
    package let expires: Timestamp
}

/// Why a signing key cannot be used.
package enum SigningKeyError: Error, Equatable, CustomStringConvertible {
    case unreadable(path: String, reason: String)
    case readableByOthers(path: String)
    case malformed(path: String)

    package var description: String {
        switch self {
        case .unreadable(let path, let reason): "the signing key \(path) cannot be opened: \(reason)"
        case .readableByOthers(let path): "the signing key \(path) can be read by others; run chmod 600 on it"
        case .malformed(let path): "\(path) is not a signing key; restore it from a backup"
        }
    }
}

/// Seals consent certificates with the organisation's Ed25519 key. The private key never leaves its file and this type.
package struct CertificateIssuer: Sendable {
    /// A certificate can be checked for five years.
    static let validity: Duration = .seconds(5 * 365 * 86_400)

    private let key: Curve25519.Signing.PrivateKey
    private let issuer: String
    private let clock: any WallClock
    /// First 16 hex digits of the public key's SHA-256.
    package let keyID: String

    private init(key: Curve25519.Signing.PrivateKey, issuer: String, clock: any WallClock) {
        self.key = key
        self.issuer = issuer
        self.clock = clock
        keyID = String(Hex.encode(SHA256.hash(data: key.publicKey.rawRepresentation)).prefix(16))
    }

    /// Reads the key at `path`, or makes one there at the first start (32 bytes as hex, mode 0600).
    package static func open(
        keyFile path: String, issuer: String, clock: any WallClock
    ) throws(SigningKeyError) -> CertificateIssuer {
        try makeKeyIfAbsent(path)
        let text: String
        do {
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            guard let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue, mode & 0o077 == 0 else {
                throw SigningKeyError.readableByOthers(path: path)
            }
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch let error as SigningKeyError {
            throw error
        } catch {
            throw .unreadable(path: path, reason: error.localizedDescription)
        }
        guard let bytes = Hex.decode(text.trimmingCharacters(in: .whitespacesAndNewlines)), bytes.count == 32,
            let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: bytes)
        else { throw .malformed(path: path) }
        return CertificateIssuer(key: key, issuer: issuer, clock: clock)
    }

    /// Creates the file with its final mode and contents; an existing one is left alone.
    private static func makeKeyIfAbsent(_ path: String) throws(SigningKeyError) {
        guard !FileManager.default.fileExists(atPath: path) else { return }
        let bytes = Array(Curve25519.Signing.PrivateKey().rawRepresentation)
        let handle = unsafeOpen(path)
        guard handle >= 0 else {
            if errno == EEXIST { return }
            throw .unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        let file = FileHandle(fileDescriptor: handle, closeOnDealloc: true)
        do {
            try file.write(contentsOf: Data((Hex.encode(bytes) + "\n").utf8))
            try file.synchronize()
        } catch {
            throw .unreadable(path: path, reason: error.localizedDescription)
        }
    }

    private static func unsafeOpen(_ path: String) -> Int32 {
        Foundation.open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
    }

    /// Public keys as `CertificateVerifier` takes them: id to 64 hex digits.
    package var publicKeys: [String: String] { [keyID: Hex.encode(key.publicKey.rawRepresentation)] }

    /// Seals what `consent` says for `lead`. Contact appears as salted hashes only.
    package func seal(_ consent: ConsentGiven, lead: UID, contact: LeadContact) throws -> Certificate {
        let issued = clock.now
        let id = UID(now: issued)
        let salt = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
        let expires = issued + Self.validity
        var body = fields(consent)
        body["id"] = .string(id.hex)
        body["issuer"] = .string(issuer)
        body["keyID"] = .string(keyID)
        body["leadID"] = .string(lead.hex)
        body["issued"] = .string(issued.rfc3339)
        body["expires"] = .string(expires.rfc3339)
        body["contact"] = .object(CertificateContact.hashes(contact, salt: salt))
        body["version"] = 1
        body["digests"] = .object(CertificateVerifier.digests(of: body))
        let hash = Array(SHA256.hash(data: Data(JSONValue.object(body).canonical.utf8)))
        let signature = try key.signature(for: Data(hash))
        let file: JSONValue = [
            "certificate": .object(body), "hash": .string(Hex.encode(hash)),
            "signature": .string(Hex.encode(signature)),
        ]
        return Certificate(id: id, keyID: keyID, file: file, salt: salt, expires: expires)
    }

    private func fields(_ consent: ConsentGiven) -> [String: JSONValue] {
        let events = Array(consent.events.prefix(ConsentGiven.eventsMax))
        let start = consent.sessionStart.rfc3339
        let links = ConsentChain.links(sessionID: consent.sessionID, start: start, events: events)
        var body: [String: JSONValue] = [
            "disclosure": [
                "text": .string(consent.text), "version": .string(consent.version),
                "language": .string(consent.language),
            ],
            "control": .string(consent.control), "given": .string(consent.at.rfc3339),
            "channels": .array(consent.channels.map(JSONValue.string)),
            "purposes": .array(consent.purposes.map(JSONValue.string)),
            "session": [
                "id": .string(consent.sessionID), "start": .string(start),
                "end": .string((consent.sessionEnd ?? consent.at).rfc3339),
            ],
            "chain": [
                "events": .array(events), "links": .array(links.map(JSONValue.string)),
                "head": .string(links[links.count - 1]),
            ],
        ]
        if consent.sellers.isEmpty {
            body["scope"] = consent.scope.map(JSONValue.string)
        } else {
            body["sellers"] = .array(consent.sellers.map { ["code": .string($0.code), "name": .string($0.name)] })
        }
        var page: [String: JSONValue] = [:]
        page["url"] = consent.pageURL.map(JSONValue.string)
        page["title"] = consent.pageTitle.map(JSONValue.string)
        if !page.isEmpty { body["page"] = .object(page) }
        body["ipPrefix"] = consent.ipPrefix.map(JSONValue.string)
        body["userAgentFamily"] = consent.userAgentFamily.map(JSONValue.string)
        return body
    }
}

/// Salted hashes that let a holder of phone or address confirm a certificate without its file telling them.
package enum CertificateContact {
    static func hashes(_ contact: LeadContact, salt: [UInt8]) -> [String: JSONValue] {
        var hashes: [String: JSONValue] = [:]
        hashes["phone"] = contact.phone.map { .string(hash($0.exposed, salt: salt)) }
        hashes["email"] = contact.email.map { .string(hash($0.normalized, salt: salt)) }
        return hashes
    }

    /// SHA-256(salt ‖ normalised value) in hex.
    package static func hash(_ value: String, salt: [UInt8]) -> String {
        Hex.encode(SHA256.hash(data: Data(salt + Array(value.utf8))))
    }
}
