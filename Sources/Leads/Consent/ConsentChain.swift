package import AurumCore
internal import Crypto
internal import Foundation

/// The hash chain over what a person saw and did: h₀ = SHA-256(session id ‖ start) with the start as RFC 3339 text,
/// hₙ = SHA-256(hₙ₋₁ ‖ canonical(eventₙ)). Changing, dropping or moving one event changes every later link.
package enum ConsentChain {
    /// Links h₀…hₙ in lower-case hex, one more than there are events.
    package static func links(sessionID: String, start: String, events: [JSONValue]) -> [String] {
        var link = Array(SHA256.hash(data: Data((sessionID + start).utf8)))
        var links = [Hex.encode(link)]
        for event in events {
            link = Array(SHA256.hash(data: Data(link + Array(event.canonical.utf8))))
            links.append(Hex.encode(link))
        }
        return links
    }
}
