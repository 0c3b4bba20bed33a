internal import AurumCore
internal import Crypto
internal import Foundation
internal import Synchronization

/// Where a sealed value stands. It opens nowhere else.
package struct SealedPlace: Sendable {
    package var org: String
    /// Name of the member, or what else was sealed.
    package var field: String
    /// The person it is about, in the form the log keeps; nil where nobody is named.
    package var person: PersonIdentifier?

    package init(org: String, field: String, person: PersonIdentifier? = nil) {
        (self.org, self.field, self.person) = (org, field, person)
    }
}

/// Keeps personal fields unreadable in the log. A lost key loses the values it sealed, for good and on purpose.
///
/// Called on the capture path for events that carry personal fields: it must not block.
package protocol PersonalFieldSealer: Sendable {
    /// Text that stands for `value` in the log. The same value in the same place gives the same text.
    func seal(_ value: [UInt8], _ place: SealedPlace) -> String
    /// The value again; nil when the text was altered, moved, or its key is gone.
    func open(_ text: String, _ place: SealedPlace) -> [UInt8]?
    /// The keyed hash by which a value is found: 32 hex digits of `canonical` inside the organisation.
    func lookupHash(_ canonical: String, org: String) -> String
    /// A keyed hash of a network address that nobody can repeat two days later: 16 hex digits.
    func addressHash(_ address: [UInt8], org: String, day: Int) -> String
}

/// Why the installation's key cannot be used.
package enum PersonalKeyError: Error, Equatable, Sendable {
    case unreadable(String)
    case readableByOthers(String)
    case malformed(String)

    package var sentence: String {
        switch self {
        case .unreadable(let path): "the key of personal fields \(path) cannot be read or made"
        case .readableByOthers(let path):
            "the key of personal fields \(path) can be read by others; run chmod 600 on it"
        case .malformed(let path): "\(path) is no key of personal fields; restore it from a backup"
        }
    }
}

/// Seals with one key for the whole installation, kept in a file that only its owner reads: AES-256-GCM with a nonce
/// derived from the value (as in SIV), so that equal values give equal text, and HMAC-SHA-256 for look-ups.
///
/// Per-person keys take its place through the same protocol.
package final class InstallationKeySealer: PersonalFieldSealer {
    package static let prefix = "sealed:v1:"
    private static let nonceBytes = 12

    private let cipherKey: SymmetricKey
    private let nonceKey: SymmetricKey
    private let lookupKey: SymmetricKey
    private let addresses: AddressKeys

    /// - Parameter key: 32 random bytes.
    package convenience init(key: [UInt8]) { self.init(key: key, addressKeyFile: nil) }

    private init(key: [UInt8], addressKeyFile: String?) {
        func derived(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: SymmetricKey(data: key), info: Data("aurum personal \(purpose)".utf8),
                outputByteCount: 32)
        }
        (cipherKey, nonceKey, lookupKey) = (derived("cipher"), derived("nonce"), derived("lookup"))
        addresses = AddressKeys(file: addressKeyFile)
    }

    /// Reads the key at `path`, or makes one there at the first start (32 bytes as hex, mode 0600). The keys of network
    /// addresses, which change daily, lie beside it.
    package static func open(keyFile path: String) throws(PersonalKeyError) -> InstallationKeySealer {
        let files = FileManager.default
        if !files.fileExists(atPath: path) {
            var random = SystemRandomNumberGenerator()
            let key = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            guard KeyFile.write(Hex.encode(key), to: path) else { throw .unreadable(path) }
        }
        guard let mode = (try? files.attributesOfItem(atPath: path))?[.posixPermissions] as? NSNumber,
            let text = try? String(contentsOfFile: path, encoding: .utf8)
        else { throw .unreadable(path) }
        guard mode.intValue & 0o077 == 0 else { throw .readableByOthers(path) }
        guard let key = Hex.decode(text.trimmingCharacters(in: .whitespacesAndNewlines)), key.count == 32 else {
            throw .malformed(path)
        }
        return InstallationKeySealer(key: key, addressKeyFile: path + ".addresses")
    }

    package func seal(_ value: [UInt8], _ place: SealedPlace) -> String {
        let context = Self.context(place)
        let mac = HMAC<SHA256>.authenticationCode(for: context + [0] + value, using: nonceKey)
        guard let nonce = try? AES.GCM.Nonce(data: Array(mac.prefix(Self.nonceBytes))),
            let box = try? AES.GCM.seal(value, using: cipherKey, nonce: nonce, authenticating: context),
            let combined = box.combined
        else { return Self.prefix }  // Cannot happen with keys and nonces of the right size; nothing leaks if it does.
        return Self.prefix + combined.base64EncodedString()
    }

    package func open(_ text: String, _ place: SealedPlace) -> [UInt8]? {
        guard text.hasPrefix(Self.prefix), let data = Data(base64Encoded: String(text.dropFirst(Self.prefix.count))),
            let box = try? AES.GCM.SealedBox(combined: data),
            let value = try? AES.GCM.open(box, using: cipherKey, authenticating: Self.context(place))
        else { return nil }
        return Array(value)
    }

    package func lookupHash(_ canonical: String, org: String) -> String {
        let mac = HMAC<SHA256>.authenticationCode(for: Array(org.utf8) + [0] + Array(canonical.utf8), using: lookupKey)
        return Hex.encode(mac.prefix(16))
    }

    package func addressHash(_ address: [UInt8], org: String, day: Int) -> String {
        let hash = SipHash(key: addresses.key(ofDay: day)).hash(org + "\0" + Hex.encode(address)).high
        return UID(high: 0, low: hash).hex.suffix(16).description
    }

    private static func context(_ place: SealedPlace) -> [UInt8] {
        Array(place.org.utf8) + [0] + Array(place.field.utf8)
    }
}

/// Random keys of network addresses, one a day; only the newest two exist.
private final class AddressKeys: Sendable {
    private let file: String?
    private let keys: Mutex<[Int: [UInt8]]>
    private static let byteCount = 16

    init(file: String?) {
        self.file = file
        var known: [Int: [UInt8]] = [:]
        let text = file.flatMap { try? String(contentsOfFile: $0, encoding: .utf8) } ?? ""
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard parts.count == 2, let day = Int(parts[0]), let key = Hex.decode(String(parts[1])),
                key.count == Self.byteCount
            else { continue }
            known[day] = key
        }
        keys = Mutex(known)
    }

    func key(ofDay day: Int) -> (UInt64, UInt64) {
        let bytes = keys.withLock { keys -> [UInt8] in
            if let key = keys[day] { return key }
            var random = SystemRandomNumberGenerator()
            let key = (0..<Self.byteCount).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            keys[day] = key
            let newest = keys.keys.max() ?? day
            keys = keys.filter { $0.key >= newest - 1 || $0.key == day }
            // Without the file a restart begins the day's hashes anew; capture does not wait for anything else.
            let lines = keys.filter { $0.key >= newest - 1 }.map { "\($0.key) \(Hex.encode($0.value))\n" }
            if let file { _ = KeyFile.write(lines.sorted().joined(), to: file) }
            return key
        }
        return bytes.withUnsafeBytes {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
    }
}

private enum KeyFile {
    /// Writes with mode 0600 and puts the file in place whole.
    static func write(_ text: String, to path: String) -> Bool {
        let files = FileManager.default
        let draft = path + ".new"
        try? files.removeItem(atPath: draft)
        guard files.createFile(atPath: draft, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
        else { return false }
        return rename(draft, path) == 0
    }
}
