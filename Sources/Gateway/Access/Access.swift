package import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOHTTP1

/// Who is asking. Keys come in `Authorization: Bearer`, in Basic (key as user name), in `X-Write-Key`, or, for the
/// capture routes and sockets only, in the query; people come with a session cookie.
package struct Access: Sendable {
    let keys: KeyStore
    let sessions: SignIns

    package init(keys: KeyStore, sessions: SignIns) {
        self.keys = keys
        self.sessions = sessions
    }

    /// The principal of a request, which must hold `scope`.
    /// - Throws: `unknownKey` without a valid key or session, `scopeMissing` when it may not do this.
    func require(_ scope: Scope, _ request: Request) throws(Problem) -> Principal {
        guard let principal = principal(request) else { throw .unknownKey }
        guard principal.has(scope) else { throw .scopeMissing(scope) }
        return principal
    }

    /// The principal of a capture request: also from the query or the body's own write key.
    func requireCapture(_ request: Request, bodyKey: String?) throws(Problem) -> Principal {
        let query = request.uri.queryParameters["key"].map(String.init)
        let found = principal(request) ?? (query ?? bodyKey).flatMap { keys.principal(forKey: $0) }
        return try writer(found, request)
    }

    /// The principal of a capture request that names its key in the query or the body: that key counts, whatever
    /// headers and cookies say. Without one the headers count.
    func requireCapture(_ request: Request, explicit key: String?) throws(Problem) -> Principal {
        guard let key else { return try requireCapture(request, bodyKey: nil) }
        return try writer(keys.principal(forKey: key), request)
    }

    private func writer(_ found: Principal?, _ request: Request) throws(Problem) -> Principal {
        guard let found else { throw .unknownKey }
        guard found.has(.eventsWrite) else { throw .scopeMissing(.eventsWrite) }
        try checkOrigin(request.headers[.origin], found, host: request.head.authority)
        return found
    }

    /// A publishable key works from the origins it is bound to and from pages that we serve ourselves.
    func checkOrigin(_ origin: String?, _ principal: Principal, host: String?) throws(Problem) {
        guard principal.kind == .publishable, let origin else { return }
        if principal.origins.contains(origin) { return }
        if let host, origin == "http://\(host)" || origin == "https://\(host)" { return }
        throw .originNotAllowed
    }

    func principal(_ request: Request) -> Principal? {
        if let header = request.headers[.authorization] { return principal(authorization: header) }
        if let key = request.headers[.writeKey] { return keys.principal(forKey: key) }
        return sessions.principal(cookies: request.headers[.cookie])
    }

    func principal(authorization header: String) -> Principal? {
        let parts = header.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1)
        guard parts.count == 2 else { return nil }
        let credentials = String(decoding: parts[1], as: UTF8.self)
        switch String(decoding: parts[0], as: UTF8.self).lowercased() {
        case "bearer": return keys.principal(forKey: credentials)
        case "basic":
            guard let data = Data(base64Encoded: credentials),
                let user = String(decoding: data, as: UTF8.self).split(separator: ":").first
            else { return nil }
            return keys.principal(forKey: String(user))
        default: return nil
        }
    }
}
