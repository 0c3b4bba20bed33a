package import AurumCore
internal import Crypto
internal import Foundation

/// The text of a key: `sk_<id 8>_<43 base62>`. The id finds the row, the secret is compared by its hash.
package struct KeyText: Sendable, Equatable {
    package let kind: Principal.Kind
    package let id: String
    package let secret: Secret

    private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    private static let idLength = 8
    /// 43 base-62 digits hold 256 bits.
    private static let secretLength = 43

    /// A fresh key from the system's random source.
    package init(kind: Principal.Kind) {
        self.kind = kind
        id = Self.random(Self.idLength)
        secret = Secret(Self.random(Self.secretLength))
    }

    /// Reads a key as a client sends it; nil when it cannot be one of ours.
    package init?(_ text: some StringProtocol) {
        let parts = text.utf8.split(separator: UInt8(ascii: "_"), omittingEmptySubsequences: false)
        guard parts.count == 3, let kind = Self.kind(prefix: Substring(decoding: parts[0], as: UTF8.self)),
            parts[1].count == Self.idLength, parts[2].count == Self.secretLength,
            parts[1].allSatisfy(Self.isDigit), parts[2].allSatisfy(Self.isDigit)
        else { return nil }
        self.kind = kind
        id = String(decoding: parts[1], as: UTF8.self)
        secret = Secret(String(decoding: parts[2], as: UTF8.self))
    }

    /// The whole key. Shown once, never stored.
    package var exposed: String { "\(prefix)_\(id)_\(secret.exposed)" }

    /// SHA-256 of the secret: 256 random bits need no slow hash.
    package var hash: [UInt8] { Array(SHA256.hash(data: Data(secret.exposed.utf8))) }

    private var prefix: String {
        switch kind {
        case .server: "sk"
        case .publishable: "wk"
        case .admin: "at"
        }
    }

    private static func kind(prefix: some StringProtocol) -> Principal.Kind? {
        switch prefix {
        case "sk": .server
        case "wk": .publishable
        case "at": .admin
        default: nil
        }
    }

    /// Whether a byte is one of the alphabet.
    private static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default: false
        }
    }

    private static func random(_ count: Int) -> String {
        var generator = SystemRandomNumberGenerator()
        return String(
            decoding: (0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] },
            as: UTF8.self)
    }
}
