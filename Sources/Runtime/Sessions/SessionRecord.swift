package import AurumCore
internal import Crypto

/// One sign-in of a person, under the id that is in use.
package struct SessionRecord: Sendable, Equatable {
    /// Stays the same when the id in the cookie is replaced. No secret.
    package var id: UID
    package var org: String
    package var person: String
    /// What the sign-in came from, as lists show it.
    package var device: String
    package var createdAt: Timestamp
    /// When the id in use was made.
    package var issuedAt: Timestamp
    /// Written at most every `SessionRules.seenEvery`.
    package var seenAt: Timestamp
    /// When another id took over; nil for the one in use.
    package var replacedAt: Timestamp?
}

/// What sessions are bound to.
package enum SessionRules {
    /// Without a request for so long, a session ends.
    package static let idle: Duration = .seconds(30 * 60)
    /// No session lives longer, however busy.
    package static let absolute: Duration = .seconds(12 * 3600)
    /// After so much use the id is replaced.
    package static let rotation: Duration = .seconds(15 * 60)
    /// How long a replaced id still answers, for requests that were under way.
    package static let grace: Duration = .seconds(30)
    /// Sessions of one person; the oldest gives way.
    package static let perPersonMax = 10
    package static let seenEvery: Duration = .seconds(60)
    /// Where other processes write too, what is remembered is believed for so long.
    package static let believedFor: Duration = .seconds(1)
}

/// What a presented id is worth.
enum SessionVerdict: Sendable, Equatable {
    case valid(isDue: Bool)
    case idle
    case expired
    /// An id that was replaced came back after its grace: two parties hold it.
    case replayed

    static func of(_ record: SessionRecord, at now: Timestamp) -> SessionVerdict {
        if now >= record.createdAt + SessionRules.absolute { return .expired }
        if let replaced = record.replacedAt {
            return now < replaced + SessionRules.grace ? .valid(isDue: false) : .replayed
        }
        if now >= record.seenAt + SessionRules.idle { return .idle }
        return .valid(isDue: now >= record.issuedAt + SessionRules.rotation)
    }
}

/// 256 random bits as 64 hex digits: what a cookie holds. Only its hash is remembered or stored.
package struct SessionToken: Sendable, Hashable {
    package let text: String

    package init() {
        var random = SystemRandomNumberGenerator()
        text = Hex.encode((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }

    /// A token that a client sent; nil when it cannot be one.
    package init?(_ text: String) {
        guard text.utf8.count == 64, text.utf8.allSatisfy({ Hex.value($0) != nil }) else { return nil }
        self.text = text
    }

    var hash: [UInt8] { Array(SHA256.hash(data: Array(text.utf8))) }
}
