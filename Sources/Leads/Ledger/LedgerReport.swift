package import AurumCore
package import Database

/// What the book says.
package struct LedgerReport: Sendable {
    package struct Balance: RowDecodable, Sendable, Equatable {
        package let account: String
        package let currency: Currency
        /// Debit minus credit.
        package let balanceMinor: Int64

        package init(row: Row) throws {
            account = try row.get("account")
            currency = try row.get("currency")
            balanceMinor = try row.get("balance_minor")
        }

        package var json: JSONValue {
            [
                "account": .string(account), "currency": .string(currency.code),
                "balance_minor": .integer(balanceMinor),
            ]
        }
    }

    private let database: Database

    package init(database: Database) { self.database = database }

    /// The sum of all lines of all organisations by currency: zero each.
    package func sums() async throws -> [String: Int64] {
        let rows = try await database.read("ledger.sums") { transaction in
            try transaction.all(
                CurrencySum.self,
                """
                SELECT e.currency, CAST(SUM(l.debit_minor - l.credit_minor) AS BIGINT) AS sum
                FROM ledger_entries e JOIN ledger_lines l ON l.org = e.org AND l.entry_id = e.id GROUP BY e.currency
                """)
        }
        return Dictionary(uniqueKeysWithValues: rows.map { ($0.currency, $0.sum) })
    }

    private struct CurrencySum: RowDecodable {
        let currency: String
        let sum: Int64

        init(row: Row) throws { (currency, sum) = (try row.get("currency"), try row.get("sum")) }
    }

    /// Balances by account; they add up to zero per currency.
    package func accounts(org: String) async throws -> [Balance] {
        try await database.read("ledger.accounts") { tx in try Self.balances(org: org, in: tx) }
    }

    /// The latest lines with their entries, newest first.
    package func entries(org: String, limit: Int = 200) async throws -> [JSONValue] {
        try await database.read("ledger.entries") { tx in
            try tx.all(
                LineRow.self,
                """
                SELECT e.id, e.leg_id, e.kind, e.currency, e.at, l.account, l.debit_minor, l.credit_minor
                FROM ledger_entries e JOIN ledger_lines l ON l.org = e.org AND l.entry_id = e.id
                WHERE e.org = \(org) ORDER BY e.at DESC, e.id DESC, l.line LIMIT \(min(limit, 1000))
                """
            ).map(\.json)
        }
    }

    /// The document of `GET /v1/ledger`.
    package func document(org: String, limit: Int = 200) async throws -> JSONValue {
        [
            "accounts": .array(try await accounts(org: org).map(\.json)),
            "entries": .array(try await entries(org: org, limit: limit)),
        ]
    }

    /// Recounts the book from its lines. Empty when entries, balances and sums agree.
    package func problems(org: String) async throws -> [String] {
        try await database.read("ledger.check", limit: .report) { tx in
            let lopsided = try tx.value(
                Int.self,
                """
                SELECT COUNT(*) FROM (SELECT entry_id FROM ledger_lines WHERE org = \(org) GROUP BY entry_id
                HAVING SUM(debit_minor) <> SUM(credit_minor)) AS lopsided
                """)
            let counted = try tx.all(
                Balance.self,
                """
                SELECT l.account, e.currency, SUM(l.debit_minor) - SUM(l.credit_minor) AS balance_minor
                FROM ledger_lines l JOIN ledger_entries e ON e.org = l.org AND e.id = l.entry_id
                WHERE l.org = \(org) GROUP BY l.account, e.currency ORDER BY l.account, e.currency
                """)
            var problems: [String] = []
            if let lopsided, lopsided > 0 { problems.append("\(lopsided) entries do not balance") }
            if counted != (try Self.balances(org: org, in: tx)) { problems.append("balances differ from the lines") }
            for (currency, rows) in Dictionary(grouping: counted, by: \.currency) {
                let sum = rows.reduce(0) { $0 + $1.balanceMinor }
                if sum != 0 { problems.append("accounts in \(currency) add up to \(sum)") }
            }
            return problems
        }
    }

    static func balances(org: String, in tx: Transaction) throws -> [Balance] {
        try tx.all(
            Balance.self,
            """
            SELECT account, currency, balance_minor FROM ledger_balances WHERE org = \(org)
            ORDER BY account, currency
            """)
    }

    /// Lines of one leg's entries, in order of time.
    static func lines(org: String, leg: UID, in tx: Transaction) throws -> [JSONValue] {
        try tx.all(
            LineRow.self,
            """
            SELECT e.id, e.leg_id, e.kind, e.currency, e.at, l.account, l.debit_minor, l.credit_minor
            FROM ledger_entries e JOIN ledger_lines l ON l.org = e.org AND l.entry_id = e.id
            WHERE e.org = \(org) AND e.leg_id = \(leg) ORDER BY e.at, e.id, l.line
            """
        ).map(\.json)
    }
}

private struct LineRow: RowDecodable {
    let json: JSONValue

    init(row: Row) throws {
        json = [
            "entry": .string(try row.get("id", as: UID.self).hex),
            "leg": .string(try row.get("leg_id", as: UID.self).hex),
            "kind": .string(try row.get("kind")), "currency": .string(try row.get("currency")),
            "at": .string(try row.get("at", as: Timestamp.self).rfc3339), "account": .string(try row.get("account")),
            "debit_minor": .integer(try row.get("debit_minor")), "credit_minor": .integer(try row.get("credit_minor")),
        ]
    }
}
