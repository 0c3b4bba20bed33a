package import AurumCore
package import Database

/// Results of runs. One is written a chunk at a time and becomes visible at once, with the row that says it is done:
/// a run that ends half-way leaves the result before it. What is replaced or was never finished is only marked then,
/// and removed a piece at a time: there may be millions of rows, and no transaction may take long.
struct LogResultStore: Sendable {
    let database: Database
    /// Rows of one statement.
    static let chunkRows = 5000
    /// Rows that one transaction removes. On PostgreSQL each piece passes over what those before it removed, and no
    /// other write waits for it.
    static func sweptRows(_ dialect: Dialect) -> Int { dialect == .postgres ? 20_000 : 2000 }
    /// Results of a conversion that can be asked for, the newest first.
    static let versionsKept = 5

    /// Why, and over what, a run was made.
    struct Occasion: Sendable {
        var run: UID
        var cause: String
        var from: Timestamp?
        var to: Timestamp?
        var settings: JSONValue
    }

    /// Stores a result and makes it the one that answers.
    /// - Returns: the version of each conversion.
    func store(
        _ result: LogRunResult, org: String, _ occasion: Occasion, facts: [String: JSONValue]
    ) async throws -> [String: Int] {
        let names = result.results.map(\.name)
        let versions = try await begin(names, org: org, occasion, position: result.position, facts: facts)
        for found in result.results {
            guard let version = versions[found.name] else { continue }
            var chunk: [LogCreditRow] = []
            for row in found.rows {
                chunk.append(row)
                guard chunk.count == Self.chunkRows else { continue }
                try await add(chunk, org, found.name, version)
                chunk.removeAll(keepingCapacity: true)
            }
            if !chunk.isEmpty { try await add(chunk, org, found.name, version) }
            let paths = Self.json(found.paths)
            try await database.write("attribution.storePaths") { transaction in
                try Self.hold(org, found.name, version, in: transaction)
                try transaction.run(Self.insertPaths(paths, org, found.name, version))
            }
        }
        try await commit(versions, org: org)
        return versions
    }

    private func add(_ rows: [LogCreditRow], _ org: String, _ name: String, _ version: Int) async throws {
        let json = Self.json(rows)
        try await database.write("attribution.storeCredits") { transaction in
            try Self.hold(org, name, version, in: transaction)
            try transaction.run(Self.insert(json, org, name, version))
        }
    }

    /// Takes a version of each conversion. What another run was writing for them is given up.
    private func begin(
        _ names: [String], org: String, _ occasion: Occasion, position: String?, facts: [String: JSONValue]
    ) async throws -> [String: Int] {
        try await database.write("attribution.beginRun") { transaction in
            var versions: [String: Int] = [:]
            for name in names {
                try transaction.run(
                    """
                    UPDATE attribution_runs SET state = 'old'
                    WHERE org = \(org) AND conversion = \(name) AND state = 'writing'
                    """)
                let last = try transaction.value(
                    Int.self,
                    "SELECT MAX(version) FROM attribution_runs WHERE org = \(org) AND conversion = \(name)")
                let version = (last ?? 0) + 1
                try transaction.run(
                    """
                    INSERT INTO attribution_runs
                        (org, conversion, version, run, state, cause, from_at, to_at, position, settings, facts,
                         created_at)
                    VALUES (\(org), \(name), \(version), \(occasion.run), 'writing', \(occasion.cause),
                            \(occasion.from), \(occasion.to), \(position), \(occasion.settings),
                            \(facts[name] ?? .null), \(transaction.now))
                    """)
                versions[name] = version
            }
            return versions
        }
    }

    /// Makes the versions answer, and marks what is older than the newest that are kept.
    private func commit(_ versions: [String: Int], org: String) async throws {
        try await database.write("attribution.commitRun") { transaction in
            for (name, version) in versions {
                try Self.hold(org, name, version, in: transaction)
                try transaction.run(
                    """
                    UPDATE attribution_runs SET state = 'done', finished_at = \(transaction.now)
                    WHERE org = \(org) AND conversion = \(name) AND version = \(version)
                    """)
                try transaction.run(
                    """
                    UPDATE attribution_runs SET state = 'old'
                    WHERE org = \(org) AND conversion = \(name) AND state = 'done' AND version NOT IN (
                        SELECT version FROM attribution_runs
                        WHERE org = \(org) AND conversion = \(name) AND state = 'done'
                        ORDER BY version DESC LIMIT \(Self.versionsKept))
                    """)
            }
        }
    }

    /// Removes what was replaced and what was never finished, a piece a transaction. What is left when it ends early is
    /// removed the next time.
    func sweep(org: String) async throws {
        var isOver = false
        while !isOver {
            isOver = try await database.write("attribution.sweepRuns") { transaction in
                let old = try transaction.all(
                    OldResult.self,
                    """
                    SELECT conversion, version FROM attribution_runs WHERE org = \(org) AND state = 'old'
                    ORDER BY conversion, version LIMIT 1
                    """)
                guard let old = old.first else { return true }
                let piece = Self.sweptRows(transaction.dialect)
                let removed = try transaction.run(Self.removePiece(org, old.conversion, old.version, piece))
                if removed < piece { try Self.removeHead(org, old.conversion, old.version, in: transaction) }
                return false
            }
        }
    }

    private static func removePiece(
        _ org: String, _ name: String, _ version: Int, _ rows: Int
    ) -> SQLStatement {
        .dialect(
            sqlite: """
                DELETE FROM attribution_log_credits WHERE rowid IN (
                    SELECT rowid FROM attribution_log_credits
                    WHERE org = \(org) AND conversion = \(name) AND version = \(version) LIMIT \(rows))
                """,
            postgres: """
                DELETE FROM attribution_log_credits WHERE ctid = ANY(ARRAY(
                    SELECT ctid FROM attribution_log_credits
                    WHERE org = \(org) AND conversion = \(name) AND version = \(version) LIMIT \(rows)))
                """)
    }

    /// Holds a result that is being written until the transaction ends.
    /// - Throws: `cancelled` when a later run has taken its place.
    private static func hold(_ org: String, _ name: String, _ version: Int, in transaction: Transaction) throws {
        let held = try transaction.run(
            """
            UPDATE attribution_runs SET state = state
            WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND state = 'writing'
            """)
        guard held == 1 else { throw LogAttributionError.cancelled }
    }

    /// Removes what is left of a result without credits.
    private static func removeHead(_ org: String, _ name: String, _ version: Int, in transaction: Transaction) throws {
        try transaction.run(
            "DELETE FROM attribution_log_paths WHERE org = \(org) AND conversion = \(name) AND version = \(version)")
        try transaction.run(
            """
            DELETE FROM attribution_runs
            WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND state = 'old'
            """)
    }

    // MARK: chunks

    /// `[[model, campaign, channel, day, currency, credit, amount, returned], …]`.
    private static func json(_ rows: [LogCreditRow]) -> String {
        let items = rows.map { row in
            "[\(JSONValue.quoted(row.model)),\(JSONValue.quoted(row.campaign)),\(JSONValue.quoted(row.channel)),"
                + "\(row.day),\(JSONValue.quoted(row.currency)),\(row.creditPPM),\(row.amountMinor),"
                + "\(row.returnedMinor)]"
        }
        return "[" + items.joined(separator: ",") + "]"
    }

    private static func json(_ paths: [LogPath]) -> String {
        let items = paths.enumerated().map { "[\($0),\(JSONValue.quoted($1.path)),\($1.conversions)]" }
        return "[" + items.joined(separator: ",") + "]"
    }

    private static func insert(_ json: String, _ org: String, _ name: String, _ version: Int) -> SQLStatement {
        .dialect(
            sqlite: """
                INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day, currency,
                    credit_ppm, amount_minor, returned_minor)
                SELECT \(org), \(name), \(version), json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                    json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),
                    json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]')
                FROM json_each(\(json))
                """,
            postgres: """
                INSERT INTO attribution_log_credits (org, conversion, version, model, campaign, channel, day, currency,
                    credit_ppm, amount_minor, returned_minor)
                SELECT \(org), \(name), \(version), value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT),
                    value->>4, CAST(value->>5 AS BIGINT), CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                """)
    }

    private static func insertPaths(_ json: String, _ org: String, _ name: String, _ version: Int) -> SQLStatement {
        .dialect(
            sqlite: """
                INSERT INTO attribution_log_paths (org, conversion, version, place, path, conversions)
                SELECT \(org), \(name), \(version), json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                    json_extract(value, '$[2]')
                FROM json_each(\(json))
                """,
            postgres: """
                INSERT INTO attribution_log_paths (org, conversion, version, place, path, conversions)
                SELECT \(org), \(name), \(version), CAST(value->>0 AS BIGINT), value->>1, CAST(value->>2 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                """)
    }
}

/// What is known of one result.
package struct LogResultHead: Sendable, Equatable {
    package var conversion: String
    package var version: Int
    package var run: UID
    package var cause: String
    package var from: Timestamp?
    package var to: Timestamp?
    package var position: String?
    package var settings: JSONValue
    package var facts: JSONValue
    package var finishedAt: Timestamp?

    /// In lists and beside reports: without the windows of networks and campaigns, of which there may be hundreds.
    package var json: JSONValue {
        guard var members = whole.object, let facts = facts.object else { return whole }
        members["facts"] = .object(facts.filter { $0.key != LogAttribution.windowsFact })
        return .object(members)
    }

    /// All that is kept of it.
    package var whole: JSONValue {
        [
            "conversion": .string(conversion), "version": .integer(Int64(version)), "run": .string(run.hex),
            "cause": .string(cause), "from": from.map { .string($0.rfc3339) } ?? .null,
            "to": to.map { .string($0.rfc3339) } ?? .null, "position": position.map { .string($0) } ?? .null,
            "settings": settings, "facts": facts, "finished_at": finishedAt.map { .string($0.rfc3339) } ?? .null,
        ]
    }
}

extension LogResultHead: RowDecodable {
    package init(row: Row) throws {
        (conversion, version, run) = (try row.get("conversion"), try row.get("version"), try row.get("run"))
        (cause, from, to) = (try row.get("cause"), try row.optional("from_at"), try row.optional("to_at"))
        (position, settings) = (try row.optional("position"), try row.get("settings"))
        (facts, finishedAt) = (try row.get("facts"), try row.optional("finished_at"))
    }
}

/// What a report over results is grouped by.
package enum LogDimension: String, Sendable, CaseIterable { case channel, campaign, day }

/// Credit of one group.
package struct LogReportLine: Sendable, Equatable {
    package var key: String
    package var currency: String
    package var creditPPM: Int64
    package var amountMinor: Int64
    /// What refunds took of it.
    package var returnedMinor: Int64

    /// What is left. Nothing more is ever returned than there was.
    package var netMinor: Int64 { amountMinor &- returnedMinor }

    package var json: JSONValue {
        [
            "key": .string(key), "currency": .string(currency),
            "conversions": .number(Double(creditPPM) / 1_000_000), "amount_minor": .integer(amountMinor),
            "returned_minor": .integer(returnedMinor), "net_minor": .integer(netMinor),
        ]
    }
}

extension LogResultStore {
    static let linesMax = 10_000

    /// Results that are done, newest first.
    func heads(org: String, conversion: String? = nil, limit: Int) async throws -> [LogResultHead] {
        try await database.read("attribution.runs") { transaction in
            if let conversion {
                return try transaction.all(
                    LogResultHead.self,
                    """
                    SELECT conversion, version, run, cause, from_at, to_at, position, settings, facts, finished_at
                    FROM attribution_runs
                    WHERE org = \(org) AND conversion = \(conversion) AND state = 'done'
                    ORDER BY version DESC LIMIT \(limit)
                    """)
            }
            return try transaction.all(
                LogResultHead.self,
                """
                SELECT conversion, version, run, cause, from_at, to_at, position, settings, facts, finished_at
                FROM attribution_runs WHERE org = \(org) AND state = 'done'
                ORDER BY finished_at DESC, conversion, version DESC LIMIT \(limit)
                """)
        }
    }

    /// Results of one run, by conversion.
    func heads(org: String, run: UID) async throws -> [LogResultHead] {
        try await database.read("attribution.runResults") { transaction in
            try transaction.all(
                LogResultHead.self,
                """
                SELECT conversion, version, run, cause, from_at, to_at, position, settings, facts, finished_at
                FROM attribution_runs WHERE org = \(org) AND run = \(run) AND state = 'done' ORDER BY conversion
                """)
        }
    }

    /// Credits by group, the largest first; days in their order.
    /// - Parameters:
    ///   - from: the first day, since 1970.
    ///   - to: the day that days lie before.
    /// - Throws: `tooLarge` where a sum does not fit 64 bits; database errors.
    func lines(
        _ head: LogResultHead, org: String, model: String, by dimension: LogDimension, from: Int?, to: Int?
    ) async throws -> [LogReportLine] {
        let query = Self.sums(head, org, model, dimension, from ?? 0, to ?? Int(Int32.max))
        let rows = try await database.read("attribution.logReport", limit: .report) { transaction in
            try transaction.all(CreditSum.self, query)
        }
        let lines = try rows.map { row in
            LogReportLine(
                key: dimension == .day ? CivilDate(daysSince1970: row.day).description : row.name,
                currency: row.currency, creditPPM: row.creditPPM, amountMinor: try row.amountMinor,
                returnedMinor: try row.returnedMinor)
        }
        return lines.sorted(by: dimension.isBefore)
    }

    /// Amounts are added up as thousand millions and the rest, so that no sum is too large for a database.
    private static func sums(
        _ head: LogResultHead, _ org: String, _ model: String, _ dimension: LogDimension, _ from: Int, _ to: Int
    ) -> SQLStatement {
        let (name, version) = (head.conversion, head.version)
        switch dimension {
        case .channel:
            return """
                SELECT channel AS name, 0 AS day, currency, CAST(SUM(credit_ppm) AS BIGINT) AS credit,
                       CAST(SUM(amount_minor / 1000000000) AS BIGINT) AS high,
                       CAST(SUM(amount_minor % 1000000000) AS BIGINT) AS low,
                       CAST(SUM(returned_minor / 1000000000) AS BIGINT) AS returned_high,
                       CAST(SUM(returned_minor % 1000000000) AS BIGINT) AS returned_low
                FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model = \(model)
                    AND day >= \(from) AND day < \(to)
                GROUP BY channel, currency
                """
        case .campaign:
            return """
                SELECT campaign AS name, 0 AS day, currency, CAST(SUM(credit_ppm) AS BIGINT) AS credit,
                       CAST(SUM(amount_minor / 1000000000) AS BIGINT) AS high,
                       CAST(SUM(amount_minor % 1000000000) AS BIGINT) AS low,
                       CAST(SUM(returned_minor / 1000000000) AS BIGINT) AS returned_high,
                       CAST(SUM(returned_minor % 1000000000) AS BIGINT) AS returned_low
                FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model = \(model)
                    AND day >= \(from) AND day < \(to)
                GROUP BY campaign, currency
                """
        case .day:
            return """
                SELECT '' AS name, day, currency, CAST(SUM(credit_ppm) AS BIGINT) AS credit,
                       CAST(SUM(amount_minor / 1000000000) AS BIGINT) AS high,
                       CAST(SUM(amount_minor % 1000000000) AS BIGINT) AS low,
                       CAST(SUM(returned_minor / 1000000000) AS BIGINT) AS returned_high,
                       CAST(SUM(returned_minor % 1000000000) AS BIGINT) AS returned_low
                FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model = \(model)
                    AND day >= \(from) AND day < \(to)
                GROUP BY day, currency
                """
        }
    }

    func paths(_ head: LogResultHead, org: String, limit: Int) async throws -> [LogPath] {
        let (name, version) = (head.conversion, head.version)
        return try await database.read("attribution.logPaths") { transaction in
            try transaction.all(
                LogPath.self,
                """
                SELECT path, conversions FROM attribution_log_paths
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) ORDER BY place LIMIT \(limit)
                """)
        }
    }
}

private struct CreditSum: RowDecodable, Sendable {
    let name: String
    let day: Int
    let currency: String
    let creditPPM: Int64
    private let high: Int64
    private let low: Int64
    private let returnedHigh: Int64
    private let returnedLow: Int64

    init(row: Row) throws {
        (name, day, currency) = (try row.get("name"), try row.get("day"), try row.get("currency"))
        (creditPPM, high, low) = (try row.get("credit"), try row.get("high"), try row.get("low"))
        (returnedHigh, returnedLow) = (try row.get("returned_high"), try row.get("returned_low"))
    }

    var amountMinor: Int64 { get throws(LogAttributionError) { try Self.joined(high, low) } }
    var returnedMinor: Int64 { get throws(LogAttributionError) { try Self.joined(returnedHigh, returnedLow) } }

    private static func joined(_ high: Int64, _ low: Int64) throws(LogAttributionError) -> Int64 {
        let (product, isOver) = high.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, isPast) = product.addingReportingOverflow(low)
        guard !isOver, !isPast else { throw CreditTally.pastSums }
        return sum
    }
}

private struct OldResult: RowDecodable, Sendable {
    let conversion: String
    let version: Int

    init(row: Row) throws { (conversion, version) = (try row.get("conversion"), try row.get("version")) }
}

extension LogPath: RowDecodable {
    package init(row: Row) throws { self.init(path: try row.get("path"), conversions: try row.get("conversions")) }
}
