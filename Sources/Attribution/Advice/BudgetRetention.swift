internal import AurumCore
internal import Database
internal import Logging
internal import Telemetry

/// How long alerts of stop rules and decisions about budgets are kept.
extension BudgetWatch {
    /// From when they were over: an alert was cleared, a decision was acknowledged, withdrawn or never to be carried
    /// out. Stop rules look 90 days back, so that none of them ever asks for what went.
    package static let kept: Duration = .seconds(400 * 86_400)
    /// Rows of one transaction.
    private static let purged = 500

    /// Removes what has been over for long, a few rows at a time. Alerts whose rule holds and approved decisions that
    /// nobody acknowledged stay, however old they are.
    /// - Returns: how many rows went.
    /// - Throws: `CancellationError`; database errors. What was removed until then stays removed.
    @discardableResult
    package func purge() async throws -> Int {
        let bound = reports.clock.now - Self.kept
        let orgs = try await reports.database.read("growth.purgeOrgs", limit: .report) { transaction in
            try transaction.values(
                String.self,
                """
                SELECT org FROM stop_alerts WHERE raised_at < \(bound)
                UNION SELECT org FROM advice_decisions WHERE decided_at < \(bound)
                UNION SELECT org FROM automatic_decisions WHERE decided_at < \(bound)
                ORDER BY org
                """)
        }
        var (alerts, decisions) = (0, 0)
        for org in orgs {
            alerts += try await inBatches("alert") { try await purgeAlerts(org, before: bound) }
            decisions += try await inBatches("decision") { try await purgeDecisions(org, before: bound) }
            decisions += try await inBatches("decision") { try await purgeAutomatic(org, before: bound) }
        }
        if alerts + decisions > 0 {
            logger.info(
                "old stop alerts and decisions about budgets were removed",
                metadata: ["code": "budget_history_purged", "alerts": "\(alerts)", "decisions": "\(decisions)"])
        }
        return alerts + decisions
    }

    private func inBatches(_ kind: String, _ batch: () async throws -> Int) async throws -> Int {
        var (all, last) = (0, Self.purged)
        while last == Self.purged {
            try Task.checkCancellation()
            last = try await batch()
            all += last
            reports.campaigns.registry.counter(.budgetHistoryPurged, kind).increment(by: last)
        }
        return all
    }

    // What was raised or decided after the bound cannot have been over before it: the indexes by time find the rest.

    private func purgeAlerts(_ org: String, before bound: Timestamp) async throws -> Int {
        try await reports.database.write("growth.purgeAlerts") { transaction in
            try transaction.run(
                """
                DELETE FROM stop_alerts WHERE org = \(org) AND id IN (
                    SELECT id FROM stop_alerts
                    WHERE org = \(org) AND raised_at < \(bound) AND cleared_at < \(bound)
                    ORDER BY raised_at LIMIT \(Self.purged))
                """)
        }
    }

    private func purgeDecisions(_ org: String, before bound: Timestamp) async throws -> Int {
        try await reports.database.write("growth.purgeDecisions") { transaction in
            try transaction.run(
                """
                DELETE FROM advice_decisions WHERE org = \(org) AND id IN (
                    SELECT id FROM advice_decisions
                    WHERE org = \(org) AND decided_at < \(bound)
                        AND (decision <> 'approved' OR acknowledged_at < \(bound))
                    ORDER BY decided_at LIMIT \(Self.purged))
                """)
        }
    }

    private func purgeAutomatic(_ org: String, before bound: Timestamp) async throws -> Int {
        try await reports.database.write("growth.purgeAutomatic") { transaction in
            try transaction.run(
                """
                DELETE FROM automatic_decisions WHERE org = \(org) AND id IN (
                    SELECT id FROM automatic_decisions
                    WHERE org = \(org) AND decided_at < \(bound)
                        AND (decision <> 'approved' OR acknowledged_at < \(bound) OR withdrawn_at < \(bound))
                    ORDER BY decided_at LIMIT \(Self.purged))
                """)
        }
    }
}
