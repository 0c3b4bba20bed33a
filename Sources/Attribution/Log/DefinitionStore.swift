package import AurumCore
package import Database

/// A definition as it was saved: each change is a version, and a conversion goes by the newest version that had begun
/// at its own time, or by the first where none had. One that was ended and saved again begins with the new version.
package struct SavedDefinition: Sendable, Equatable {
    package var definition: ConversionDefinition?
    package var name: String
    /// From 1 up; 0 for what is built in.
    package var version: Int
    package var startsAt: Timestamp

    /// nil where the version says that there is no such conversion any more.
    package var json: JSONValue? {
        guard var members = definition?.json.object else { return nil }
        members["version"] = .integer(Int64(version))
        members["built_in"] = .bool(version == 0)
        if version > 0 { members["starts_at"] = .string(startsAt.rfc3339) }
        return .object(members)
    }
}

/// What counts as a conversion for each organisation.
package struct DefinitionStore: Sendable {
    private let database: Database
    /// Versions of one conversion.
    package static let versionsMax = 100
    private static let removed = "null"

    package init(database: Database) { self.database = database }

    /// The newest version of every conversion, built-in ones among them, by name.
    package func current(org: String) async throws -> [SavedDefinition] {
        let all = try await versions(org: org)
        return Dictionary(grouping: all, by: \.name).values
            .compactMap { $0.max { $0.version < $1.version } }
            .filter { $0.definition != nil }.sorted { $0.name < $1.name }
    }

    /// Every version of every conversion, or of one, by name and version.
    package func versions(org: String, name: String? = nil) async throws -> [SavedDefinition] {
        let rows = try await database.read("attribution.definitions") { transaction in
            try transaction.all(
                DefinitionRow.self,
                """
                SELECT name, version, starts_at, body, created_at FROM attribution_definitions
                WHERE org = \(org) ORDER BY name, version
                """)
        }
        let builtIn = ConversionDefinition.builtIn.map {
            SavedDefinition(definition: $0, name: $0.name, version: 0, startsAt: Timestamp(microseconds: 0))
        }
        let saved = try rows.map { try $0.definition }
        return (builtIn + saved).filter { name == nil || $0.name == name }
            .sorted { ($0.name, $0.version) < ($1.name, $1.version) }
    }

    /// The versions of some conversions with the times that each is in force.
    /// - Parameter names: nil takes all.
    /// - Throws: `unknownConversion`; database errors.
    package func inForce(org: String, names: [String]?) async throws -> [DefinitionInForce] {
        let all = Dictionary(grouping: try await versions(org: org), by: \.name)
        var found: [DefinitionInForce] = []
        for name in names ?? all.keys.sorted() {
            let made = Self.inForce(all[name] ?? [])
            guard names == nil || !made.isEmpty else { throw LogAttributionError.unknownConversion(name) }
            found += made
        }
        return found
    }

    /// Whether there is such a conversion now, in the transaction of what depends on it.
    static func exists(_ name: String, org: String, in transaction: Transaction) throws -> Bool {
        let newest = try transaction.value(
            String.self,
            """
            SELECT body FROM attribution_definitions WHERE org = \(org) AND name = \(name)
            ORDER BY version DESC LIMIT 1
            """)
        guard let newest else { return ConversionDefinition.builtIn.contains { $0.name == name } }
        return newest != removed
    }

    static func inForce(_ versions: [SavedDefinition]) -> [DefinitionInForce] {
        let versions = versions.sorted { $0.version < $1.version }
        guard versions.last?.definition != nil else { return [] }
        // The first holds for all time before the others, and so does the end of a conversion.
        func start(_ place: Int) -> Int64 {
            place == 0 || versions[place].definition == nil ? .min : versions[place].startsAt.microseconds
        }
        let bounds = Set(versions.indices.map(start)).sorted()
        var found: [DefinitionInForce] = []
        for (place, from) in bounds.enumerated() {
            let to = place + 1 < bounds.count ? bounds[place + 1] : .max
            guard let newest = versions.indices.last(where: { start($0) <= from }),
                let definition = versions[newest].definition
            else { continue }
            found.append(DefinitionInForce(definition, version: versions[newest].version, from: from, to: to))
        }
        return found
    }

    /// Saves a new version.
    /// - Parameter body: what `ConversionDefinition.json` writes, and `starts_at`, the time the version holds from: now
    ///   unless told.
    /// - Throws: `LogAttributionError.invalid`; database errors.
    package func save(_ body: JSONValue, name: String, org: String, now: Timestamp) async throws -> SavedDefinition {
        let definition = try ConversionDefinition(body, name: name, now: now)
        var startsAt = now
        if let member = body["starts_at"] {
            guard let text = member.string, let time = Timestamp(rfc3339: text) ?? Self.midnight(text) else {
                throw LogAttributionError.invalid("starts_at", "must be a date or RFC 3339.")
            }
            startsAt = time
        }
        return try await add(definition, name: name, org: org, startsAt: startsAt)
    }

    /// Ends a conversion: a version that says that there is none, whatever the time. Its schedule goes with it.
    /// - Throws: `unknownConversion`; database errors.
    package func remove(name: String, org: String) async throws {
        guard try await current(org: org).contains(where: { $0.name == name }) else {
            throw LogAttributionError.unknownConversion(name)
        }
        _ = try await add(nil, name: name, org: org, startsAt: Timestamp(microseconds: -Timestamp.end.microseconds + 1))
    }

    private func add(
        _ definition: ConversionDefinition?, name: String, org: String, startsAt: Timestamp
    ) async throws -> SavedDefinition {
        let body = definition?.json.canonical ?? Self.removed
        let version = try await database.write("attribution.define") { transaction in
            let last = try transaction.value(
                Int.self,
                "SELECT MAX(version) FROM attribution_definitions WHERE org = \(org) AND name = \(name)")
            let version = (last ?? 0) + 1
            guard version <= Self.versionsMax else {
                throw LogAttributionError.tooLarge(
                    "\(name) has \(Self.versionsMax) versions; save it under a new name.")
            }
            try transaction.run(
                """
                INSERT INTO attribution_definitions (org, name, version, starts_at, body, created_at)
                VALUES (\(org), \(name), \(version), \(startsAt), \(body), \(transaction.now))
                """)
            if definition == nil { try RunScheduleStore.remove(name, org, in: transaction) }
            return version
        }
        return SavedDefinition(definition: definition, name: name, version: version, startsAt: startsAt)
    }

    static func midnight(_ text: String) -> Timestamp? {
        CivilDate(text).map { Timestamp(microseconds: Int64($0.daysSince1970) * 86_400_000_000) }
    }
}

private struct DefinitionRow: RowDecodable, Sendable {
    let name: String
    let version: Int
    let startsAt: Timestamp
    let body: String
    let createdAt: Timestamp

    init(row: Row) throws {
        (name, version) = (try row.get("name"), try row.get("version"))
        (startsAt, body, createdAt) = (try row.get("starts_at"), try row.get("body"), try row.get("created_at"))
    }

    var definition: SavedDefinition {
        get throws {
            let body = JSONValue(sqlValue: .text(body)) ?? .null
            let definition = body == .null ? nil : try ConversionDefinition(body, name: name, now: createdAt)
            return SavedDefinition(definition: definition, name: name, version: version, startsAt: startsAt)
        }
    }
}
