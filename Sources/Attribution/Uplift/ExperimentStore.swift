package import AurumCore
package import Database

/// An experiment as it is kept, without its regions.
package struct SavedExperiment: Sendable, Equatable {
    package let name: String
    package let channel: String
    package let conversion: String
    /// Days since 1970, UTC.
    package let from: Int
    /// The day that days lie before.
    package let to: Int
    /// Conversions of the treated regions that there would not have been.
    package let incremental: Uplift.Estimate
    fileprivate let members: [String: JSONValue]

    package var json: JSONValue { .object(members) }
}

/// Imported experiments of each organisation. They are told apart by name and never changed: what was measured stays
/// what a report was made with, until it is removed.
package struct ExperimentStore: Sendable {
    private let database: Database
    /// Of one organisation.
    package static let experimentsMax = 500

    package init(database: Database) { self.database = database }

    /// Keeps an experiment with what it measured; one that is there already, to the last number, stays.
    /// - Throws: `ExperimentError`; `LogAttributionError.unknownConversion`; database errors.
    package func add(_ body: JSONValue, org: String) async throws -> SavedExperiment {
        let experiment = try Experiment(body)
        let measured = try Uplift(experiment.regions).json.canonical
        _ = try await DefinitionStore(database: database).inForce(org: org, names: [experiment.conversion])
        let regions = (experiment.json["regions"] ?? .null).canonical
        return try await database.write("attribution.addExperiment") { transaction in
            guard experiment.to <= Int(transaction.now.microseconds.flooredDay) + 1 else {
                throw ExperimentError.invalid("to", "must not lie ahead: the experiment is not over.")
            }
            if let known = try Self.one(experiment.name, org, in: transaction) {
                guard known.isOf(experiment, regions: regions) else { throw ExperimentError.nameTaken }
                return known.saved
            }
            let count = try transaction.value(
                Int.self, "SELECT COUNT(*) FROM attribution_experiments WHERE org = \(org)")
            guard (count ?? 0) < Self.experimentsMax else { throw ExperimentError.tooMany }
            try transaction.run(
                """
                INSERT INTO attribution_experiments (org, name, method, channel, conversion, from_day, to_day, currency,
                    regions, measured, created_at)
                VALUES (\(org), \(experiment.name), \(experiment.method.rawValue), \(experiment.channel),
                    \(experiment.conversion), \(experiment.from), \(experiment.to), \(experiment.currency.code),
                    \(regions), \(measured), \(transaction.now))
                """)
            guard let made = try Self.one(experiment.name, org, in: transaction) else { throw ExperimentError.unknown }
            return made.saved
        }
    }

    /// The newest days first, for one conversion or all.
    package func all(org: String, conversion: String? = nil) async throws -> [SavedExperiment] {
        try await database.read("attribution.experiments") { transaction in
            // Regions are only asked for one at a time.
            try transaction.all(
                ExperimentRow.self,
                """
                SELECT name, method, channel, conversion, from_day, to_day, currency, '[]' AS regions, measured,
                    created_at
                FROM attribution_experiments
                WHERE org = \(org) AND conversion = COALESCE(\(conversion), conversion)
                ORDER BY to_day DESC, from_day DESC, created_at DESC, name
                """
            ).map(\.saved)
        }
    }

    /// One with its regions.
    /// - Throws: `ExperimentError.unknown`; database errors.
    package func read(_ name: String, org: String) async throws -> JSONValue {
        let row = try await database.read("attribution.experiment") { try Self.one(name, org, in: $0) }
        guard let row, var members = row.saved.json.object else { throw ExperimentError.unknown }
        members["regions"] = JSONValue(sqlValue: .text(row.regions)) ?? .array([])
        return .object(members)
    }

    /// - Throws: `ExperimentError.unknown`; database errors.
    package func remove(_ name: String, org: String) async throws {
        let removed = try await database.write("attribution.removeExperiment") { transaction in
            try transaction.run("DELETE FROM attribution_experiments WHERE org = \(org) AND name = \(name)")
        }
        guard removed > 0 else { throw ExperimentError.unknown }
    }

    private static func one(_ name: String, _ org: String, in transaction: Transaction) throws -> ExperimentRow? {
        try transaction.one(
            ExperimentRow.self,
            """
            SELECT name, method, channel, conversion, from_day, to_day, currency, regions, measured, created_at
            FROM attribution_experiments WHERE org = \(org) AND name = \(name)
            """)
    }
}

private struct ExperimentRow: RowDecodable, Sendable {
    let name: String
    let method: String
    let channel: String
    let conversion: String
    let from: Int
    let to: Int
    let currency: String
    let regions: String
    let measured: String
    let createdAt: Timestamp

    init(row: Row) throws {
        (name, method) = (try row.get("name"), try row.get("method"))
        (channel, conversion) = (try row.get("channel"), try row.get("conversion"))
        (from, to, currency) = (try row.get("from_day"), try row.get("to_day"), try row.get("currency"))
        (regions, measured) = (try row.get("regions"), try row.get("measured"))
        createdAt = try row.get("created_at")
    }

    func isOf(_ experiment: Experiment, regions: String) -> Bool {
        (method, channel, conversion, currency)
            == (experiment.method.rawValue, experiment.channel, experiment.conversion, experiment.currency.code)
            && (from, to) == (experiment.from, experiment.to) && self.regions == regions
    }

    var saved: SavedExperiment {
        let measured = JSONValue(sqlValue: .text(measured)) ?? .null
        return SavedExperiment(
            name: name, channel: channel, conversion: conversion, from: from, to: to,
            incremental: Uplift.Estimate(measured["incremental_conversions"]),
            members: [
                "name": .string(name), "method": .string(method), "channel": .string(channel),
                "conversion": .string(conversion), "from": .string(CivilDate(daysSince1970: from).description),
                "to": .string(CivilDate(daysSince1970: to).description), "currency": .string(currency),
                "measured": measured, "created_at": .string(createdAt.rfc3339),
            ])
    }
}
