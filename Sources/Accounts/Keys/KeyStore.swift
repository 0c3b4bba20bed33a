package import AurumCore
internal import Crypto
package import Database
internal import Foundation
internal import Synchronization

/// Why a key was not made.
package enum KeyError: Error, Equatable, Sendable {
    case noScope
    /// A publishable key may stand in a web page: it may write events and nothing else.
    case scopeTooWide(Scope)
    case badName(String)
    case badOrigin(String)
    case unknownKey
    /// Outside `KeyRequest.rates`.
    case badRate(Int)
}

/// What a new key is to be.
package struct KeyRequest: Sendable {
    package var org: String
    package var app: String
    package var name: String
    package var kind: Principal.Kind
    package var scopes: Set<Scope>
    package var origins: Set<String>
    package var historical: Bool
    /// nil for what holds for keys of its kind.
    package var eventsPerSecond: Int?

    /// Events a second that a key may be held to.
    package static let rates = 1...10_000_000

    package init(
        org: String = "default", app: String = "default", name: String = "", kind: Principal.Kind = .server,
        scopes: Set<Scope>, origins: Set<String> = [], historical: Bool = false, eventsPerSecond: Int? = nil
    ) {
        self.eventsPerSecond = eventsPerSecond
        self.org = org
        self.app = app
        self.name = name
        self.kind = kind
        self.scopes = scopes
        self.origins = origins
        self.historical = historical
    }
}

/// A key as lists show it: never its secret.
package struct KeySummary: Sendable, Codable, Equatable {
    package var id: String
    package var org: String
    package var app: String
    package var name: String
    package var kind: Principal.Kind
    package var scopes: [Scope]
    package var origins: [String]
    package var eventsPerSecond: Int?
    package var createdAt: Timestamp
    package var revokedAt: Timestamp?

    private enum CodingKeys: String, CodingKey {
        case id, org, app, name, kind, scopes, origins, createdAt, revokedAt
        case eventsPerSecond = "events_per_second"
    }
}

/// Keys by id, held in memory beside the table: a request finds its key without touching the disk, and a revocation
/// acts on the next request; in other processes on the same PostgreSQL once they have heard of it (`follow`).
package final class KeyStore: Sendable {
    private struct Entry: Sendable {
        var hash: [UInt8]
        var principal: Principal
        var summary: KeySummary
        /// The change of this process that wrote it last.
        var change = 0
    }

    /// What is known, and how often this process changed a key that was there.
    private struct Known: Sendable {
        var keys: [String: Entry] = [:]
        var changes = 0
    }

    private let database: Database
    private let clock: any WallClock
    private let known: Mutex<Known>

    /// Loads all keys.
    package init(database: Database, clock: any WallClock) async throws {
        self.database = database
        self.clock = clock
        known = Mutex(Known())
        try await reload()
    }

    /// Takes over what other processes made and revoked. What this one knows to be revoked stays so.
    package func reload() async throws {
        let change = known.withLock { $0.changes }
        let rows = try await database.read("keys.all", limit: .report) { transaction in
            try transaction.all(
                KeyRow.self,
                """
                \(part: KeyRow.all)
                """)
        }
        known.withLock { known in
            for row in rows { Self.take(row, readAfter: change, &known) }
        }
    }

    /// Remembers a row, unless this process changed the key after `change`: then it may be what was there before, and
    /// whoever changed it reads it again.
    private static func take(_ row: KeyRow, readAfter change: Int, _ known: inout Known) {
        let before = known.keys[row.summary.id]
        guard (before?.change ?? 0) <= change else { return }
        var entry = Entry(hash: row.hash, principal: row.principal, summary: row.summary, change: change)
        // The row may have been read before a revocation of this process was committed.
        entry.summary.revokedAt = entry.summary.revokedAt ?? before?.summary.revokedAt
        known.keys[row.summary.id] = entry
    }

    /// Reloads whenever another process on the database made or revoked a key; returns when the database is closed or
    /// the task cancelled, at once on SQLite.
    /// - Parameter failed: called when the keys could not be read; they are read again at the next word.
    package func follow(failed: @Sendable (any Error) -> Void) async {
        for await _ in database.announcements(.keys) {
            do { try await reload() } catch {
                // Whoever follows no longer is told nothing: that is no failure.
                guard !Task.isCancelled else { return }
                failed(error)
            }
        }
    }

    /// The principal of a key as sent by a client; nil when it is unknown, revoked or wrong. Compares in constant time.
    package func principal(forKey text: String) -> Principal? {
        guard let key = KeyText(text) else { return nil }
        guard let entry = known.withLock({ $0.keys[key.id] }), entry.principal.kind == key.kind else { return nil }
        var difference: UInt8 = 0
        for (left, right) in zip(entry.hash, key.hash) { difference |= left ^ right }
        guard difference == 0, entry.summary.revokedAt == nil else { return nil }
        return entry.principal
    }

    /// The principal of a key that works, by its id: for whoever proved to hold it before.
    package func principal(keyID: String, org: String) -> Principal? {
        guard let entry = known.withLock({ $0.keys[keyID] }), entry.summary.revokedAt == nil, entry.principal.org == org
        else { return nil }
        return entry.principal
    }

    /// Makes a key and answers its text, the only time it exists outside the client.
    /// - Throws: `KeyError` for a request that cannot be, database errors.
    package func create(_ request: KeyRequest) async throws -> (text: KeyText, summary: KeySummary) {
        try validate(request)
        let text = KeyText(kind: request.kind)
        let now = clock.now
        let summary = KeySummary(
            id: text.id, org: request.org, app: request.app, name: request.name, kind: request.kind,
            scopes: request.scopes.sorted(), origins: request.origins.sorted(),
            eventsPerSecond: request.eventsPerSecond, createdAt: now, revokedAt: nil)
        let hash = text.hash
        let scopes = summary.scopes.map(\.rawValue).joined(separator: " ")
        let origins = summary.origins.joined(separator: " ")
        try await database.write("keys.create") { transaction in
            _ = try transaction.run(
                """
                INSERT INTO api_keys
                    (org, id, kind, app, name, secret_hash, scopes, origins, historical, events_per_second,
                     created_at)
                VALUES (\(request.org), \(summary.id), \(request.kind.rawValue), \(request.app), \(request.name),
                        \(hash), \(scopes), \(origins), \(request.historical),
                        \(request.eventsPerSecond), \(now))
                """)
        }
        let principal = Principal(
            org: request.org, app: request.app, keyID: text.id, kind: request.kind, scopes: request.scopes,
            origins: request.origins, historical: request.historical, eventsPerSecond: request.eventsPerSecond)
        known.withLock { $0.keys[text.id] = Entry(hash: hash, principal: principal, summary: summary) }
        database.announce(.keys)
        return (text, summary)
    }

    /// Holds a key to so many events a second from the next request on; nil to what holds for keys of its kind. Where
    /// two change one key at once, what the database kept is what holds.
    /// - Throws: `KeyError`, database errors; after one the rate may be kept and obeyed here only once it is set again.
    package func setRate(_ eventsPerSecond: Int?, id: String, org: String) async throws -> KeySummary {
        if let eventsPerSecond, !KeyRequest.rates.contains(eventsPerSecond) { throw KeyError.badRate(eventsPerSecond) }
        let changed = try await database.write("keys.setRate") { transaction in
            try transaction.run(
                """
                UPDATE api_keys SET events_per_second = \(eventsPerSecond)
                WHERE org = \(org) AND id = \(id) AND revoked_at IS NULL
                """)
        }
        guard changed == 1 else { throw KeyError.unknownKey }
        database.announce(.keys)
        let change = known.withLock { known in
            known.changes += 1
            known.keys[id]?.change = known.changes
            return known.changes
        }
        // Read again: answers do not come in the order of commits, and another process may have made the key.
        let row = try await database.read("keys.one") { transaction in
            try transaction.one(
                KeyRow.self,
                """
                \(part: KeyRow.all) WHERE org = \(org) AND id = \(id)
                """)
        }
        guard let row else { throw KeyError.unknownKey }
        known.withLock { Self.take(row, readAfter: change, &$0) }
        return row.summary
    }

    /// Ends a key; requests under way finish, the next one is refused.
    package func revoke(id: String, org: String) async throws {
        let now = clock.now
        let changed = try await database.write("keys.revoke") { transaction in
            try transaction.run(
                "UPDATE api_keys SET revoked_at = \(now) WHERE org = \(org) AND id = \(id) AND revoked_at IS NULL")
        }
        guard changed == 1 else { throw KeyError.unknownKey }
        known.withLock { $0.keys[id]?.summary.revokedAt = now }
        database.announce(.keys)
    }

    /// Keys of one organisation, oldest first.
    package func list(org: String) -> [KeySummary] {
        known.withLock { $0.keys.values.map(\.summary) }.filter { $0.org == org }
            .sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }
    }

    /// Web origins of the keys of one app that still work.
    package func origins(org: String, app: String) -> Set<String> {
        known.withLock { known in
            known.keys.values.reduce(into: []) { origins, entry in
                guard entry.summary.revokedAt == nil, entry.principal.org == org, entry.principal.app == app else {
                    return
                }
                origins.formUnion(entry.principal.origins)
            }
        }
    }

    /// True when some publishable key that still works is bound to this web origin.
    package func isAllowed(origin: String) -> Bool {
        known.withLock { known in
            known.keys.values.contains { $0.summary.revokedAt == nil && $0.principal.origins.contains(origin) }
        }
    }

    /// Accepts `text` as a key of this run only: it is never stored.
    package func addForThisRun(_ text: KeyText, principal: Principal) {
        let summary = KeySummary(
            id: text.id, org: principal.org, app: principal.app, name: "this run", kind: principal.kind,
            scopes: principal.scopes.sorted(), origins: principal.origins.sorted(), createdAt: clock.now, revokedAt: nil
        )
        known.withLock { $0.keys[text.id] = Entry(hash: text.hash, principal: principal, summary: summary) }
    }

    /// True when the installation has no admin token yet.
    package var hasNoAdmin: Bool { known.withLock { !$0.keys.values.contains { $0.principal.kind == .admin } } }

    private func validate(_ request: KeyRequest) throws(KeyError) {
        guard !request.scopes.isEmpty else { throw .noScope }
        if request.kind == .publishable, let wide = request.scopes.first(where: { $0 != .eventsWrite }) {
            throw .scopeTooWide(wide)
        }
        for name in [request.org, request.app] {
            guard !name.isEmpty, name.utf8.count <= 64,
                name.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 45 || $0 == 95 })
            else { throw .badName(name) }
        }
        if let rate = request.eventsPerSecond, !KeyRequest.rates.contains(rate) { throw .badRate(rate) }
        for origin in request.origins where !Origin.isValid(origin) { throw .badOrigin(origin) }
    }
}

/// A web origin: scheme, host and optional port, nothing else.
package enum Origin {
    package static func isValid(_ text: String) -> Bool {
        for scheme in ["https://", "http://"] where text.hasPrefix(scheme) {
            let host = text.dropFirst(scheme.count)
            return !host.isEmpty
                && host.utf8.allSatisfy {
                    (48...57).contains($0) || (97...122).contains($0) || [45, 46, 58, 91, 93].contains($0)
                }
        }
        return false
    }
}

private struct KeyRow: RowDecodable {
    /// Every key, as rows of this.
    static let all: SQLStatement = """
        SELECT org, id, kind, app, name, secret_hash, scopes, origins, historical, events_per_second, created_at,
            revoked_at
        FROM api_keys
        """

    let hash: [UInt8]
    let principal: Principal
    let summary: KeySummary

    init(row: Row) throws {
        guard let kind = Principal.Kind(rawValue: try row.get("kind")) else {
            throw RowError.wrongType(column: "kind", expected: "kind of key", found: "text")
        }
        let scopes = try row.get("scopes", as: String.self).split(separator: " ").compactMap {
            Scope(rawValue: String($0))
        }
        let origins = try row.get("origins", as: String.self).split(separator: " ").map(String.init)
        hash = try row.get("secret_hash")
        principal = Principal(
            org: try row.get("org"), app: try row.get("app"), keyID: try row.get("id"), kind: kind, scopes: Set(scopes),
            origins: Set(origins), historical: try row.get("historical"),
            eventsPerSecond: try row.optional("events_per_second"))
        summary = KeySummary(
            id: principal.keyID, org: principal.org, app: principal.app, name: try row.get("name"), kind: kind,
            scopes: scopes.sorted(), origins: origins, eventsPerSecond: principal.eventsPerSecond,
            createdAt: try row.get("created_at"), revokedAt: try row.optional("revoked_at"))
    }
}
