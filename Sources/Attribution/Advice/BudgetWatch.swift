package import AurumCore
package import Database
internal import Events
package import Logging
internal import Runtime
internal import Synchronization
internal import Telemetry

/// Looks at stop rules, and decides advice where somebody allowed that. It keeps alerts and decisions, and calls no
/// network: whoever changes campaigns there reads the decisions and acknowledges them.
///
/// What a look changes of one organisation is one transaction, so that one that ended in the middle has changed
/// nothing, and one that is repeated changes nothing more.
package struct BudgetWatch: Sendable {
    let reports: GrowthReports
    let logger: Logger
    private let memory = SightingMemory()
    private let lastLook = LastLook()

    package init(reports: GrowthReports, logger: Logger) { (self.reports, self.logger) = (reports, logger) }

    private var registry: MetricRegistry { reports.campaigns.registry }

    /// Throws inside a transaction to have nothing of it kept.
    package typealias Hold = @Sendable (Transaction) throws -> Void

    /// Looks at the stop rules of every organisation. What one has wrong keeps no other from being looked at, is logged
    /// and waits for the next look.
    /// - Parameters:
    ///   - due: when it should have been done; a look that began since then stands for it.
    ///   - hold: the first statement of each transaction.
    /// - Throws: `CancellationError`; `JobError.staleFence` of `hold`; what the database says of the list.
    package func lookAtAll(due: Timestamp? = nil, hold: @escaping Hold = { _ in }) async throws {
        guard lastLook.begins(due: due, now: reports.clock.now) else { return }
        let began = ContinuousClock.now
        for org in try await reports.campaigns.spend.organisations() {
            try await guarded(org, "stop_rules_failed", .stopLooks) { try await look(org: org, hold: hold) }
        }
        try await showOpen()
        registry.histogram(.stopLookSeconds).observe(ContinuousClock.now - began)
    }

    /// Decides advice of every organisation in which somebody allowed it.
    /// - Throws: as `lookAtAll`.
    package func decideForAll(hold: @escaping Hold = { _ in }) async throws {
        let orgs = try await reports.database.read("growth.automatic") { transaction in
            try transaction.values(
                String.self, "SELECT DISTINCT org FROM campaign_budgets WHERE is_auto = 1 ORDER BY org")
        }
        for org in orgs {
            try await guarded(org, "auto_advice_failed", .autoLooks) {
                for decision in try await reports.decideAutomatically(org: org, hold: hold) { log(decision, org) }
            }
        }
    }

    private func guarded(
        _ org: String, _ code: String, _ counter: MetricDefinition, _ body: () async throws -> Void
    ) async throws {
        do {
            try await body()
            registry.counter(counter, "done").increment()
        } catch {
            registry.counter(counter, "failed").increment()
            if Task.isCancelled || error is CancellationError { throw error }
            if case JobError.staleFence = error { throw error }
            logger.warning(
                "budgets of an organisation could not be looked at; the next look tries again",
                metadata: ["code": "\(code)", "org": "\(org)", "error": "\(type(of: error))"])
        }
    }

    // MARK: stop rules

    /// Looks at the stop rules of one organisation. Doing it again changes nothing.
    /// - Throws: `QueryError` when the log cannot be asked; what `hold` throws; database errors.
    package func look(org: String, hold: @escaping Hold = { _ in }) async throws {
        let ledgers = try await reports.stopLedgers(org: org, memory)
        // Most looks change nothing, and keep nobody from writing.
        let isQuiet = try await reports.database.read("growth.stopChanges") { transaction in
            try StopChanges(ledgers, org: org, in: transaction).isEmpty
        }
        if isQuiet { return }
        let changes = try await reports.database.write("growth.stop") { transaction -> StopChanges? in
            try hold(transaction)
            // What was read may have been replaced by now; the next look sees what did so.
            guard try SpendStore.head(org: org, in: transaction) == ledgers.head else { return nil }
            var changes = try StopChanges(ledgers, org: org, in: transaction)
            try changes.write(org: org, in: transaction)
            return changes
        }
        if let changes { tell(changes, org) }
    }

    private func tell(_ changes: StopChanges, _ org: String) {
        for alert in changes.raised {
            registry.counter(.stopAlerts, alert.finding.rule.rawValue).increment()
            log("a stop rule holds", "stop_alert_raised", .warning, alert, org)
        }
        for alert in changes.again { log("a stop rule holds again", "stop_alert_again", .warning, alert, org) }
        for alert in changes.cleared { log("a stop rule no longer holds", "stop_alert_cleared", .info, alert, org) }
        for (decision, _) in changes.paused {
            reports.count(decision)
            log(decision, org)
        }
        for (ids, code) in [(changes.withdrawn, "pause_withdrawn"), (changes.restored, "pause_restored")] {
            for id in ids {
                logger.info("a pause changed", metadata: ["code": "\(code)", "org": "\(org)", "decision": "\(id.hex)"])
            }
        }
        if changes.leftOut > 0 {
            logger.warning(
                "more stop rules hold than alerts are kept",
                metadata: ["code": "stop_alerts_left_out", "org": "\(org)", "alerts": "\(changes.leftOut)"])
        }
    }

    private func log(_ sentence: String, _ code: String, _ level: Logger.Level, _ alert: StopAlert, _ org: String) {
        logger.log(
            level: level, "\(sentence)",
            metadata: [
                "code": "\(code)", "org": "\(org)", "alert": "\(alert.id.hex)",
                "rule": "\(alert.finding.rule.rawValue)",
                "currency": "\(alert.currency.code)", "spend_minor": "\(alert.finding.spendMinor)",
                "limit_minor": "\(alert.finding.limitMinor)",
            ])
    }

    private func log(_ decision: AdviceDecision, _ org: String) {
        logger.info(
            "a budget was decided on without a person",
            metadata: [
                "code": "advice_decided", "org": "\(org)", "decision": "\(decision.verdict.rawValue)",
                "action": "\(decision.action.rawValue)", "from_minor": "\(decision.fromMinor)",
                "to_minor": "\(decision.toMinor)", "key": "\(decision.actor)", "id": "\(decision.id.hex)",
            ])
    }

    private struct OpenCount: RowDecodable {
        let rule: String
        let count: Int

        init(row: Row) throws { (rule, count) = (try row.get("rule"), try row.get("alerts")) }
    }

    /// Of all organisations.
    private func showOpen() async throws {
        let open = try await reports.database.read("growth.openStops") { transaction in
            try transaction.all(
                OpenCount.self,
                "SELECT rule, COUNT(*) AS alerts FROM stop_alerts WHERE cleared_at IS NULL GROUP BY rule")
        }
        for rule in BudgetAlert.allCases {
            let count = open.first { $0.rule == rule.rawValue }?.count ?? 0
            registry.gauge(.stopAlertsOpen, rule.rawValue).set(Double(count))
        }
    }
}

extension StopChanges {
    /// What was there already, under a name that has come to mean another campaign, is left out.
    mutating func write(org: String, in transaction: Transaction) throws {
        raised = try raised.filter { try $0.insert(org: org, in: transaction) }
        for alert in again + cleared { try alert.setCleared(alert.clearedAt, org: org, in: transaction) }
        paused = try paused.filter { try $0.decision.insert(org: org, day: $0.day, in: transaction) }
        for (ids, at) in [(withdrawn, transaction.now as Timestamp?), (restored, nil)] {
            for id in ids {
                try transaction.run(
                    "UPDATE automatic_decisions SET withdrawn_at = \(at) WHERE org = \(org) AND id = \(id)")
            }
        }
    }
}

/// When the last look of this process began. Looks that take long make no queue of others behind them.
private final class LastLook: Sendable {
    private let at = Mutex<Timestamp?>(nil)

    func begins(due: Timestamp?, now: Timestamp) -> Bool {
        at.withLock { at in
            if let due, let at, due <= at { return false }
            at = now
            return true
        }
    }
}
