internal import AurumCore
package import Database

/// When advice is decided without a person. Pure.
package enum AutomaticAdvice {
    /// - Parameters:
    ///   - budget: what somebody set; without it nothing is decided.
    ///   - alerts: stop rules that hold for the campaign: no raise goes past one.
    /// - Returns: nil where a person has to decide, or nobody.
    package static func verdict(
        _ decision: BudgetDecision, _ budget: CampaignBudget?, alerts: [BudgetAlert]
    ) -> AdviceDecision.Verdict? {
        guard let budget, budget.isAuto, decision.toMinor != nil else { return nil }
        switch decision.action {
        case .hold, .pause: return nil
        case .raise where !alerts.isEmpty: return nil
        case .raise, .lower: return budget.isDryRun ? .dryRun : .approved
        }
    }
}

extension GrowthReports {
    /// Decides advice where somebody allowed it, at most once a day and campaign. Running it again on the same day
    /// decides nothing more.
    /// - Parameter hold: the first statement of each transaction, which throws to have nothing of it kept.
    /// - Returns: what was kept.
    /// - Throws: what `advice` and `hold` throw; database errors.
    package func decideAutomatically(
        org: String, hold: @escaping @Sendable (Transaction) throws -> Void = { _ in }
    ) async throws -> [AdviceDecision] {
        let head = try await campaigns.spend.head(org: org)
        let report = try await advice(org: org, AdviceQuestion(), most: CampaignBudget.budgetsMax) {
            $0?.isAuto ?? false
        }
        guard !report.rows.isEmpty else { return [] }
        // Names are those of the report, but for campaigns that somebody came from since.
        let book = try await campaigns.book(org: org, .campaign)
        var made: [AdviceDecision] = []
        for row in report.rows {
            try Task.checkCancellation()
            guard let verdict = AutomaticAdvice.verdict(row.decision, row.budget, alerts: row.alerts),
                let toMinor = row.decision.toMinor
            else { continue }
            let decision = AdviceDecision(
                id: UID(now: report.asOf), campaign: row.campaign, currency: row.currency,
                action: row.decision.action, fromMinor: row.state.currentMinor, toMinor: toMinor, verdict: verdict,
                actor: AdviceDecision.auto, decidedAt: report.asOf, inputs: row.json)
            let (budget, day) = (row.budget, report.decisionDay)
            let isKept = try await database.write("growth.decideAuto") { transaction in
                try hold(transaction)
                guard try SpendStore.head(org: org, in: transaction) == head,
                    try Self.mayDecide(decision, budget, org: org, day: day, book, in: transaction)
                else { return false }
                return try decision.insert(org: org, day: day, in: transaction)
            }
            guard isKept else { continue }
            count(decision)
            made.append(decision)
        }
        return made
    }

    /// Whether all that the decision was made on but its figures is still so: the budget as somebody set it, no word
    /// of a person on the campaign today, and for a raise no stop rule that holds.
    private static func mayDecide(
        _ decision: AdviceDecision, _ budget: CampaignBudget?, org: String, day: Int, _ book: CampaignBook,
        in transaction: Transaction
    ) throws -> Bool {
        func name(_ label: String) -> String { book.name(ofLabel: label) ?? label }
        let place = CampaignPlace(decision.campaign, decision.currency)
        let budgets = CampaignBudget.newest(try CampaignBudget.rows(org: org, in: transaction), name)
        guard budgets[place] == budget else { return false }
        let decided = try transaction.all(
            CampaignPlace.self,
            "SELECT campaign, currency FROM advice_decisions WHERE org = \(org) AND day = \(day)")
        guard !decided.contains(where: { CampaignPlace(name($0.campaign), $0.currency) == place }) else {
            return false
        }
        guard decision.action == .raise else { return true }
        let stopped = try transaction.all(
            CampaignPlace.self,
            "SELECT campaign, currency FROM stop_alerts WHERE org = \(org) AND cleared_at IS NULL")
        return !stopped.contains { CampaignPlace(name($0.campaign), $0.currency) == place }
    }
}
