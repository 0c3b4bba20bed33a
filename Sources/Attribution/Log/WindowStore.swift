internal import AurumCore
package import Database

/// Overrides of windows of each organisation, with all their versions.
package struct WindowStore: Sendable {
    private let database: Database
    /// Versions of all overrides of an organisation.
    package static let versionsMax = 500

    package init(database: Database) { self.database = database }

    /// Every version, by scope, name and version.
    package func versions(org: String) async throws -> [WindowOverride] {
        let rows = try await database.read("attribution.windows") { transaction in
            try transaction.all(
                WindowRow.self,
                """
                SELECT scope, name, version, starts_at, body FROM attribution_windows
                WHERE org = \(org) ORDER BY scope, name, version
                """)
        }
        return try rows.map { try $0.window }
    }

    /// Saves a version; one without windows ends the override from its time on.
    /// - Throws: `unknownWindow` for the end of what has no windows; `tooLarge`; database errors.
    package func save(_ window: WindowOverride, org: String) async throws -> WindowOverride {
        var saved = window
        let (scope, name, body) = (window.scope.rawValue, window.name, window.json.canonical)
        saved.version = try await database.write("attribution.setWindow") { transaction in
            let count = try transaction.value(
                Int.self, "SELECT COUNT(*) FROM attribution_windows WHERE org = \(org)")
            guard (count ?? 0) < Self.versionsMax else {
                throw LogAttributionError.tooLarge(
                    "An organisation has \(Self.versionsMax) versions of windows at most.")
            }
            let last = try transaction.value(
                Int.self,
                """
                SELECT MAX(version) FROM attribution_windows
                WHERE org = \(org) AND scope = \(scope) AND name = \(name)
                """)
            guard last != nil || !window.isEnded else { throw LogAttributionError.unknownWindow }
            let version = (last ?? 0) + 1
            try transaction.run(
                """
                INSERT INTO attribution_windows (org, scope, name, version, starts_at, body, created_at)
                VALUES (\(org), \(scope), \(name), \(version), \(window.startsAt), \(body), \(transaction.now))
                """)
            return version
        }
        return saved
    }
}

private struct WindowRow: RowDecodable, Sendable {
    let version: Int
    let startsAt: Timestamp
    let body: String

    init(row: Row) throws {
        (version, startsAt, body) = (try row.get("version"), try row.get("starts_at"), try row.get("body"))
    }

    var window: WindowOverride {
        get throws {
            var window = try WindowOverride(JSONValue(sqlValue: .text(body)) ?? .null, now: startsAt)
            (window.version, window.startsAt) = (version, startsAt)
            return window
        }
    }
}
