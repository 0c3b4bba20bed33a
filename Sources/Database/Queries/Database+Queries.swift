package import AurumCore

/// How statements are ordered in a report.
package enum QueryOrder: String, Sendable, CaseIterable {
    case total, p95, calls, errors

    fileprivate func comesBefore(_ left: StatementSnapshot, _ right: StatementSnapshot) -> Bool {
        switch self {
        case .total: (left.total, right.name) > (right.total, left.name)
        case .p95: (left.p95, right.name) > (right.p95, left.name)
        case .calls: (left.calls, right.name) > (right.calls, left.name)
        case .errors: (left.errorCount, right.name) > (right.errorCount, left.name)
        }
    }
}

extension Database {
    /// Statements in one report unless told otherwise.
    package static let statementsShown = 100

    /// What the database does: statements by name, slow calls with their plans, connections, open transactions, error
    /// rates and statements that single requests ran again and again. Times are milliseconds.
    package func queryReport(
        by order: QueryOrder = .total, statements limit: Int = Database.statementsShown, slow slowLimit: Int = 100
    ) -> JSONValue {
        let now = ContinuousClock.now
        let all = queries.statements.filter { $0.calls > 0 }.sorted(by: order.comesBefore)
        var windows: [String: JSONValue] = [:]
        for (name, seconds) in QueryTracker.windows { windows[name] = queries.rates(last: seconds, at: now).json }
        return [
            "engine": .string(dialect.rawValue),
            "slow_after_ms": queries.slowAfter.shownMilliseconds,
            "pool": figures.json,
            "errors": .object(windows),
            "open": .array(openTransactions(at: now)),
            "statements_total": .integer(Int64(all.count)),
            "statements": .array(all.prefix(limit).map(\.json)),
            "slow": .array(queries.slowCalls(slowLimit).map(\.json)),
            "n_plus_one": queries.repeats.json,
        ]
    }

    /// Transactions that are open, oldest first.
    private func openTransactions(at now: ContinuousClock.Instant) -> [JSONValue] {
        let open = queries.openTracks.map { ($0, $0.now) }.filter { $0.1.lastBegun != nil }
        return open.sorted { ($0.1.lastBegun ?? now) < ($1.1.lastBegun ?? now) }.map { track, state in
            [
                "name": .string(track.statement.name), "kind": .string(track.kind.rawValue),
                "age_ms": max(.zero, now - (state.lastBegun ?? now)).shownMilliseconds,
                "statements": .integer(Int64(state.statements)),
                "list": .array(state.lines.map { .string(String($0.text.prefix(200))) }),
            ]
        }
    }

    // MARK: Plans

    /// Asks for the plans of slow statements that wait for it. Nothing is run that a plan is asked of.
    package func takePlans() async {
        while let wish = queries.takeWish() {
            let sql = wish.sql
            let dialect = dialect
            let plan: String
            do {
                // Not counted: a plan of a plan helps nobody.
                plan = try await engine.read(SQLRequest(name: "database.plan")) { transaction in
                    try dialect == .sqlite ? Self.sqlitePlan(sql, transaction) : Self.postgresPlan(sql, transaction)
                }
            } catch { plan = "no plan: \(CallOutcome(error).rawValue)" }
            queries.keep(plan: String(plan.prefix(Self.planMax)), of: wish)
        }
    }

    /// Longest plan that is kept, in characters.
    private static let planMax = 8000

    /// The tree of SQLite's steps, one a line.
    private static func sqlitePlan(_ sql: SQLStatement, _ transaction: Transaction) throws -> String {
        var depths: [Int64: Int] = [:]
        var lines: [String] = []
        let explain = SQLStatement(unsafe: "EXPLAIN QUERY PLAN " + sql.text, values: sql.values)
        try transaction.rows(explain, columns: ["id", "parent", "detail"]) { values in
            guard case .integer(let id) = values[0], case .integer(let parent) = values[1],
                case .text(let detail) = values[2]
            else { return }
            let depth = depths[parent].map { $0 + 1 } ?? 0
            depths[id] = depth
            lines.append(String(repeating: "  ", count: depth) + detail)
        }
        return lines.isEmpty ? "no step" : lines.joined(separator: "\n")
    }

    /// PostgreSQL's plan for whatever the parameters are, as JSON: with their values given, NULLs would change it.
    private static func postgresPlan(_ sql: SQLStatement, _ transaction: Transaction) throws -> String {
        let name = "aurum_plan_\(UInt64.random(in: 0...UInt64.max))"
        let types = sql.values.map(\.postgresTypeName).joined(separator: ", ")
        let nulls = sql.values.map { _ in "NULL" }.joined(separator: ", ")
        // For this transaction alone.
        _ = try transaction.value(String.self, "SELECT set_config('plan_cache_mode', 'force_generic_plan', true)")
        try transaction.run(
            SQLStatement(unsafe: "PREPARE \(name)\(types.isEmpty ? "" : "(\(types))") AS \(sql.text)"))
        let lines = try transaction.values(
            String.self,
            SQLStatement(unsafe: "EXPLAIN (FORMAT JSON) EXECUTE \(name)\(nulls.isEmpty ? "" : "(\(nulls))")"))
        try transaction.run(SQLStatement(unsafe: "DEALLOCATE \(name)"))
        return lines.joined(separator: "\n")
    }
}

extension SQLValue {
    /// The type that a parameter of this kind has, as PostgreSQL names it.
    fileprivate var postgresTypeName: String {
        switch self {
        case .null: "unknown"
        case .integer: "bigint"
        case .real: "double precision"
        case .text: "text"
        case .bytes: "bytea"
        }
    }
}

extension EngineFigures {
    /// The pool as it stands in the API.
    package var json: JSONValue {
        [
            "connections": .integer(Int64(connections)), "max": .integer(Int64(connectionsMax)),
            "in_use": .integer(Int64(busy)), "idle": .integer(Int64(max(0, connections - busy))),
            "waiting": .integer(Int64(waiting)), "acquire_timeouts": .integer(Int64(acquireTimeouts)),
        ]
    }
}

extension OutcomeRates {
    var json: JSONValue {
        let rates = errors.keys.map { ($0.rawValue, JSONValue.number((rate($0) * 1e6).rounded() / 1e6)) }
        return [
            "calls": .integer(Int64(calls)), "fault_rate": .number((faultRate * 1e6).rounded() / 1e6),
            "errors": errors.json, "rates": .object([String: JSONValue](uniqueKeysWithValues: rates)),
        ]
    }
}
