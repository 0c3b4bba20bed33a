internal import Crypto
internal import Foundation

/// The public keys by which Apple signs postbacks. They are part of the program: none is ever fetched.
///
/// Source: Apple, "Verifying an install-validation postback" and "Verifying a postback" of AdAttributionKit.
package struct PostbackKeys: Sendable {
    /// The key of SKAdNetwork 2.1 and later, and of AdAttributionKit in production.
    package static let production = "apple-cas-identifier/0"
    package static let apple = PostbackKeys(base64: texts)

    private let known: [String: P256.Signing.PublicKey]

    /// - Parameter texts: P-256 public keys (SubjectPublicKeyInfo, DER, base64) by `kid`; what is no key is left out.
    package init(base64 texts: [String: String]) {
        known = texts.compactMapValues { text in
            Data(base64Encoded: text).flatMap { try? P256.Signing.PublicKey(derRepresentation: $0) }
        }
    }

    subscript(name: String) -> P256.Signing.PublicKey? { known[name] }

    static func isDevelopment(_ name: String) -> Bool { name.hasPrefix("apple-development-identifier/") }

    private static let texts = [
        production:
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWdp8GPcGqmhgzEFj9Z2nSpQVddayaPe4FMzqM9wib1+aHaaIzoHoLN9zW4K8y4SPykE3"
            + "YVK3sVqW6Af0lfx3gg==",
        "apple-development-identifier/0":
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELeEDzpJEP+/qRSE5hJVC1p1J0ssUnQGMzBBbvnACBok8OVGGLgxL0myrKiy6lvRtSlLR"
            + "sWit87i+vftD8AEqeQ==",
        "apple-development-identifier/1":
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YzdO7eM97s/IJ25kdW5CZ3A14USE5IJ5Ha/vhWaxI6UBI1ZxCEvjrKxVluVGe6qWwF1"
            + "BDFq+QHqKfH5u+wxHQ==",
    ]
}
