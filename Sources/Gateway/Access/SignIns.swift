package import Accounts
package import AurumCore
internal import HTTPTypes
internal import Hummingbird
package import Runtime

/// Sign-ins of people by cookie. A person is whoever holds an admin token; ending the token ends their sessions.
package struct SignIns: Sendable {
    static let cookieName = "aurum_session"
    /// As long as no session outlives it, the server decides.
    private static let cookieSeconds = Int(SessionRules.absolute.seconds)

    let sessions: Sessions
    private let keys: KeyStore

    package init(sessions: Sessions, keys: KeyStore) {
        self.sessions = sessions
        self.keys = keys
    }

    /// Starts a session and answers its cookie.
    func start(_ principal: Principal, userAgent: String?) async throws -> String {
        let token = try await sessions.start(
            org: principal.org, person: principal.keyID, device: Device.name(userAgent ?? ""))
        return Self.cookie(token)
    }

    func end(cookies header: String?) async throws {
        guard let token = Self.token(header) else { return }
        try await sessions.end(token)
    }

    /// The session of a request and who it is; by what is remembered.
    func session(cookies header: String?) -> (principal: Principal, id: UID)? {
        guard let token = Self.token(header), let record = sessions.record(token),
            let principal = keys.principal(keyID: record.person, org: record.org)
        else { return nil }
        return (principal, record.id)
    }

    func principal(cookies header: String?) -> Principal? { session(cookies: header)?.principal }

    /// Whether a socket may go on: its key was not revoked and the session it began with, if any, still lives; an open
    /// page counts as its use.
    package func keepsAlive(_ id: UID?, _ principal: Principal) async -> Bool {
        guard keys.principal(keyID: principal.keyID, org: principal.org) != nil else { return false }
        guard let id else { return true }
        return (try? await sessions.keepAlive(id)) ?? true
    }

    static func token(_ header: String?) -> SessionToken? {
        value(of: cookieName, in: header).flatMap { SessionToken($0) }
    }

    static func cookie(_ token: SessionToken) -> String {
        "\(cookieName)=\(token.text); Path=/; HttpOnly; SameSite=Strict; Max-Age=\(cookieSeconds)"
    }

    /// 32 random bytes as hex.
    static func randomToken() -> String { SessionToken().text }

    static func value(of name: String, in header: String?) -> String? {
        guard let header else { return nil }
        for pair in header.split(separator: ";") {
            let parts = pair.split(separator: "=", maxSplits: 1)
            if parts.count == 2, parts[0].filter({ $0 != " " }) == name { return String(parts[1].filter { $0 != " " }) }
        }
        return nil
    }
}

/// What a browser is called in the list of sessions: enough to recognise one's own.
enum Device {
    static func name(_ userAgent: String) -> String {
        let browsers = [("Edg", "Edge"), ("Firefox", "Firefox"), ("Chrom", "Chrome"), ("Safari", "Safari")]
        let systems = [
            ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac", "macOS"),
            ("Linux", "Linux"),
        ]
        let browser = browsers.first { userAgent.contains($0.0) }?.1
        let system = systems.first { userAgent.contains($0.0) }?.1
        return [browser ?? "a program", system].compactMap(\.self).joined(separator: " on ")
    }
}

/// Ends what has run out before a route sees it, and gives a new id to a session that is due for one.
struct SessionMiddleware: RouterMiddleware {
    typealias Context = GatewayContext

    let signIns: SignIns

    func handle(
        _ request: Request, context: GatewayContext,
        next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard let cookies = request.headers[.cookie], let token = SignIns.token(cookies) else {
            return try await next(request, context)
        }
        // A database that does not answer leaves what is remembered.
        _ = try? await signIns.sessions.use(token, mayRotate: false)
        var response = try await next(request, context)
        let hasCookie = response.headers[values: .setCookie].contains { $0.hasPrefix(SignIns.cookieName) }
        // What others may keep must not carry anybody's id.
        let isPublic = response.headers[values: .cacheControl].contains { $0.lowercased().contains("public") }
        if !hasCookie, !isPublic, let use = try? await signIns.sessions.use(token, mayRotate: true),
            let fresh = use.replacement
        {
            response.headers[values: .setCookie].append(SignIns.cookie(fresh))
        }
        return response
    }
}
