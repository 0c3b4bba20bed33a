internal import Accounts
package import AurumCore
internal import Crypto
internal import Foundation
internal import Synchronization

/// Sign-ins of people in this process. A session is a random token in a cookie; only its hash is held here, so a
/// restart signs everybody out.
package final class SessionStore: Sendable {
    static let cookieName = "aurum_session"
    /// Sessions held; the one that ends first gives way.
    static let sessionsMax = 1000
    static let lifetime: Duration = .seconds(12 * 3600)

    private struct Session: Sendable {
        let principal: Principal
        let expires: Timestamp
    }

    private let sessions = Mutex<[[UInt8]: Session]>([:])
    private let clock: any WallClock

    package init(clock: any WallClock) { self.clock = clock }

    /// Starts a session and answers the value of its cookie.
    func start(_ principal: Principal) -> String {
        let token = Self.randomToken()
        let now = clock.now
        sessions.withLock { sessions in
            sessions = sessions.filter { $0.value.expires > now }
            if sessions.count >= Self.sessionsMax,
                let oldest = sessions.min(by: { $0.value.expires < $1.value.expires })
            {
                sessions[oldest.key] = nil
            }
            sessions[Self.hash(token)] = Session(principal: principal, expires: now + Self.lifetime)
        }
        return token
    }

    func end(cookies header: String?) {
        guard let token = Self.value(of: Self.cookieName, in: header) else { return }
        sessions.withLock { $0[Self.hash(token)] = nil }
    }

    func principal(cookies header: String?) -> Principal? {
        guard let token = Self.value(of: Self.cookieName, in: header) else { return nil }
        let session = sessions.withLock { $0[Self.hash(token)] }
        guard let session, session.expires > clock.now else { return nil }
        return session.principal
    }

    /// 32 random bytes as hex.
    static func randomToken() -> String {
        var generator = SystemRandomNumberGenerator()
        return Hex.encode((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    static func value(of name: String, in header: String?) -> String? {
        guard let header else { return nil }
        for pair in header.split(separator: ";") {
            let parts = pair.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            if parts.count == 2, parts[0] == name { return parts[1] }
        }
        return nil
    }

    private static func hash(_ token: String) -> [UInt8] { Array(SHA256.hash(data: Data(token.utf8))) }
}
