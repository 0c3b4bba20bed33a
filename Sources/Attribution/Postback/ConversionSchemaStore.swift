package import AurumCore
package import Database

/// A version of an app's schema as it was saved.
package struct SavedConversionSchema: Sendable, Equatable {
    package var appID: Int64
    /// From 1 up.
    package var version: Int
    /// Midnight UTC.
    package var startsAt: Timestamp
    package var schema: ConversionSchema
    package var actor: String
    package var savedAt: Timestamp

    package var json: JSONValue {
        var members = schema.json.object ?? [:]
        members["app_id"] = .integer(appID)
        members["version"] = .integer(Int64(version))
        members["starts_at"] = .string(startsAt.utcDate.description)
        members["actor"] = .string(actor)
        members["saved_at"] = .string(savedAt.rfc3339)
        return .object(members)
    }
}

/// What the conversion values of each app mean, in versions that hold from a day of UTC on. A later version replaces
/// everything from its day on, also what was to begin after it.
package struct ConversionSchemaStore: Sendable {
    private let database: Database
    private let clock: any WallClock
    /// Versions of one app.
    package static let versionsMax = 100
    /// Apps of one organisation.
    package static let appsMax = 1000

    package init(database: Database, clock: any WallClock) { (self.database, self.clock) = (database, clock) }

    /// The newest version of every app, by app.
    package func newest(org: String) async throws -> [SavedConversionSchema] {
        try await database.read("postbacks.schemas") { transaction in
            try transaction.all(
                SchemaRow.self,
                """
                SELECT app_id, version, starts_at, body, actor, created_at FROM postback_schemas AS saved
                WHERE org = \(org) AND version = (
                    SELECT MAX(version) FROM postback_schemas WHERE org = \(org) AND app_id = saved.app_id)
                ORDER BY app_id LIMIT \(Self.appsMax)
                """
            ).map { try $0.saved }
        }
    }

    /// Versions of one app, newest first.
    package func versions(org: String, appID: Int64, limit: Int) async throws -> [SavedConversionSchema] {
        try await database.read("postbacks.schemaVersions") { transaction in
            try transaction.all(
                SchemaRow.self,
                """
                SELECT app_id, version, starts_at, body, actor, created_at FROM postback_schemas
                WHERE org = \(org) AND app_id = \(appID) ORDER BY version DESC LIMIT \(limit)
                """
            ).map { try $0.saved }
        }
    }

    /// Every version of some apps, for reading values.
    /// - Parameter appIDs: at most as many as one statement may name.
    func book(org: String, appIDs: [Int64]) async throws -> ConversionSchemaBook {
        let saved = try await database.read("postbacks.schemaBook") { transaction in
            try transaction.all(
                SchemaRow.self,
                """
                SELECT app_id, version, starts_at, body, actor, created_at FROM postback_schemas
                WHERE org = \(org) AND app_id IN (\(list: appIDs)) ORDER BY app_id, version
                """
            ).map { try $0.saved }
        }
        return ConversionSchemaBook(saved)
    }

    /// Saves a new version; the newest once more, from the same day, makes none.
    /// - Parameter body: what `ConversionSchema.json` writes, and `starts_at`, the UTC day from which it holds; without
    ///   it, today.
    /// - Throws: `ConversionSchemaError`; database errors.
    package func save(
        _ body: JSONValue, org: String, appID: Int64, actor: String
    ) async throws -> SavedConversionSchema {
        let schema = try ConversionSchema(body, more: ["starts_at"])
        guard appID > 0 else { throw ConversionSchemaError.invalid("app_id", "must be a whole number from 1.") }
        var startsAt = Timestamp(clock.now.utcDate)
        if let member = body["starts_at"], member != .null {
            guard let date = member.string.flatMap({ CivilDate($0) }), (1970...2200).contains(date.year) else {
                throw ConversionSchemaError.invalid("starts_at", "must be a date, like 2026-11-01.")
            }
            startsAt = Timestamp(date)
        }
        let wanted = SavedConversionSchema(
            appID: appID, version: 0, startsAt: startsAt, schema: schema, actor: actor, savedAt: clock.now)
        return try await database.write("postbacks.saveSchema") { try Self.add(wanted, org, in: $0) }
    }

    private static func add(
        _ wanted: SavedConversionSchema, _ org: String, in transaction: Transaction
    ) throws -> SavedConversionSchema {
        let newest = try transaction.one(
            SchemaRow.self,
            """
            SELECT app_id, version, starts_at, body, actor, created_at FROM postback_schemas
            WHERE org = \(org) AND app_id = \(wanted.appID) ORDER BY version DESC LIMIT 1
            """
        ).map { try $0.saved }
        if let newest, newest.schema == wanted.schema, newest.startsAt == wanted.startsAt { return newest }
        let version = (newest?.version ?? 0) + 1
        guard version <= versionsMax else {
            throw ConversionSchemaError.tooMany("The app has \(versionsMax) versions of its schema; there are no more.")
        }
        if newest == nil {
            let apps = try transaction.value(
                Int.self, "SELECT COUNT(DISTINCT app_id) FROM postback_schemas WHERE org = \(org)")
            guard (apps ?? 0) < appsMax else {
                throw ConversionSchemaError.tooMany("\(appsMax) apps have a schema; there are no more.")
            }
        }
        try transaction.run(
            """
            INSERT INTO postback_schemas (org, app_id, version, starts_at, body, actor, created_at)
            VALUES (\(org), \(wanted.appID), \(version), \(wanted.startsAt), \(wanted.schema.json.canonical),
                \(wanted.actor), \(transaction.now))
            """)
        var saved = wanted
        (saved.version, saved.savedAt) = (version, transaction.now)
        return saved
    }
}

/// Versions of schemas by app, to read values with.
struct ConversionSchemaBook: Sendable {
    /// By app, versions rising.
    private let versions: [Int64: [SavedConversionSchema]]
    private static let day: Int64 = 86_400_000_000

    init(_ saved: [SavedConversionSchema]) {
        versions = Dictionary(grouping: saved, by: \.appID).mapValues { $0.sorted { $0.version < $1.version } }
    }

    /// What a claim means.
    struct Reading: Sendable, Equatable {
        enum Gap: String, Sendable, CaseIterable {
            case noValue = "no_value"
            /// What no device sends.
            case unknownValue = "unknown_value"
            /// The app had no schema when the window opened.
            case noSchema = "no_schema"
            /// The schema does not name the value.
            case notInSchema = "not_in_schema"
        }

        var meaning: ConversionSchema.Meaning?
        /// Why there is no meaning.
        var gap: Gap?
        var currency: Currency?
        var version: Int?
        /// Another version may have held when the window opened.
        var isUncertain = false
    }

    /// - Parameter day: of the reception, UTC, days since 1970.
    func read(_ claim: ConversionClaim, appID: Int64?, window: Int, timing: PostbackTiming, day: Int64) -> Reading {
        if claim == .none { return Reading(gap: .noValue) }
        if claim == .unknown { return Reading(gap: .unknownValue) }
        guard let appID, let saved = inForce(appID, day - timing.usual) else { return Reading(gap: .noSchema) }
        var reading = Reading(currency: saved.schema.currency, version: saved.version)
        let latest = inForce(appID, day - PostbackTiming.shortest)?.version
        let earliest = timing.longest.map { inForce(appID, day - $0)?.version } ?? firstIfAlone(appID, latest)
        reading.isUncertain = latest != saved.version || earliest != saved.version
        reading.meaning = saved.schema.meaning(claim, window: window)
        reading.gap = reading.meaning == nil ? .notInSchema : nil
        return reading
    }

    private func inForce(_ appID: Int64, _ day: Int64) -> SavedConversionSchema? {
        versions[appID]?.last { $0.startsAt.microseconds <= day * Self.day }
    }

    /// Of a window that may have opened at any time before: certain where only one version ever held.
    private func firstIfAlone(_ appID: Int64, _ latest: Int?) -> Int? { versions[appID]?.count == 1 ? latest : nil }
}

private struct SchemaRow: RowDecodable {
    let appID: Int64
    let version: Int
    let startsAt: Timestamp
    let body: String
    let actor: String
    let createdAt: Timestamp

    init(row: Row) throws {
        (appID, version) = (try row.get("app_id"), try row.get("version"))
        (startsAt, body) = (try row.get("starts_at"), try row.get("body"))
        (actor, createdAt) = (try row.get("actor"), try row.get("created_at"))
    }

    var saved: SavedConversionSchema {
        get throws {
            SavedConversionSchema(
                appID: appID, version: version, startsAt: startsAt,
                schema: try ConversionSchema(JSONValue(sqlValue: .text(body)) ?? .null), actor: actor,
                savedAt: createdAt)
        }
    }
}
