package import AurumCore
package import Database

/// That a stop rule held for a campaign: one a campaign, currency, rule and day.
package struct StopAlert: Sendable, Equatable {
    package let id: UID
    package var campaign: String
    package var currency: Currency
    package var finding: StopFinding
    /// Whose days are meant: that of the accounts that the campaign's spend comes from, UTC where they differ.
    package var timezone: String
    /// What the rule saw when it was raised.
    package var inputs: JSONValue
    package var raisedAt: Timestamp
    /// nil as long as the rule holds.
    package var clearedAt: Timestamp?

    package var json: JSONValue {
        [
            "id": .string(id.hex), "campaign": .string(campaign), "currency": .string(currency.code),
            "rule": .string(finding.rule.rawValue), "open": .bool(clearedAt == nil),
            "day": .string(CivilDate(daysSince1970: finding.day).description), "timezone": .string(timezone),
            "spend_minor": .integer(finding.spendMinor), "limit_minor": .integer(finding.limitMinor),
            "raised_at": .string(raisedAt.rfc3339),
            "cleared_at": clearedAt.map { .string($0.rfc3339) } ?? .null, "inputs": inputs,
        ]
    }
}

extension GrowthReports {
    /// Alerts of one answer.
    package static let stopsMax = 500

    /// Alerts of stop rules, newest first.
    /// - Parameter isOpen: those alone whose rule holds.
    package func stops(org: String, isOpen: Bool, limit: Int = stopsMax) async throws -> [StopAlert] {
        let all = isOpen ? 0 : 1
        return try await database.read("growth.stops") { transaction in
            try transaction.all(
                StopAlert.self,
                """
                SELECT id, campaign, currency, rule, day, timezone, spend_minor, limit_minor, inputs, raised_at,
                    cleared_at
                FROM stop_alerts WHERE org = \(org) AND (\(all) = 1 OR cleared_at IS NULL)
                ORDER BY raised_at DESC, id DESC LIMIT \(limit)
                """)
        }
    }
}

extension StopAlert {
    /// Those whose rule holds, and those of some days.
    static func known(org: String, days: [Int], in transaction: Transaction) throws -> [StopAlert] {
        try transaction.all(
            StopAlert.self,
            """
            SELECT id, campaign, currency, rule, day, timezone, spend_minor, limit_minor, inputs, raised_at, cleared_at
            FROM stop_alerts WHERE org = \(org) AND (cleared_at IS NULL OR day IN (\(list: days)))
            ORDER BY raised_at, id
            """)
    }

    /// - Returns: false where the campaign has such an alert of the day.
    func insert(org: String, in transaction: Transaction) throws -> Bool {
        let rows = try transaction.run(
            """
            INSERT INTO stop_alerts
                (org, id, campaign, currency, rule, day, timezone, spend_minor, limit_minor, inputs, raised_at,
                 cleared_at, created_at)
            VALUES (\(org), \(id), \(campaign), \(currency), \(finding.rule.rawValue), \(finding.day), \(timezone),
                    \(finding.spendMinor), \(finding.limitMinor), \(inputs), \(raisedAt), NULL, \(transaction.now))
            ON CONFLICT DO NOTHING
            """)
        return rows == 1
    }

    /// - Parameter at: when its rule ceased to hold; nil where it holds again.
    func setCleared(_ at: Timestamp?, org: String, in transaction: Transaction) throws {
        try transaction.run("UPDATE stop_alerts SET cleared_at = \(at) WHERE org = \(org) AND id = \(id)")
    }
}

extension StopAlert: RowDecodable {
    package init(row: Row) throws {
        guard let rule = BudgetAlert(rawValue: try row.get("rule")) else { throw UnknownWord(column: "rule") }
        self.init(
            id: try row.get("id"), campaign: try row.get("campaign"), currency: try row.get("currency"),
            finding: StopFinding(
                rule: rule, day: try row.get("day"), spendMinor: try row.get("spend_minor"),
                limitMinor: try row.get("limit_minor")),
            timezone: try row.get("timezone"), inputs: try row.get("inputs"), raisedAt: try row.get("raised_at"),
            clearedAt: try row.optional("cleared_at"))
    }
}
