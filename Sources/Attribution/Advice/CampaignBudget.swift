package import AurumCore
package import Database

/// What a person set for a campaign's budget in one currency.
package struct CampaignBudget: Sendable, Equatable {
    package var campaign: String
    package var currency: Currency
    /// Revenue ÷ spend that is aimed at, in millionths.
    package var targetMillionths: Int64
    /// A day, in minor units; nil without a cap.
    package var capMinor: Int64?
    package var floorMinor: Int64

    /// What is aimed at where nobody said: what is spent comes back.
    package static let standardTarget: Int64 = 1_000_000
    package static let targetsAllowed: ClosedRange<Int64> = 10_000...1_000_000_000
    package static let minorMax: Int64 = 1_000_000_000_000
    /// Of one organisation.
    package static let budgetsMax = 1000

    package init(
        campaign: String, currency: Currency, targetMillionths: Int64 = standardTarget, capMinor: Int64? = nil,
        floorMinor: Int64 = 0
    ) {
        (self.campaign, self.currency, self.targetMillionths) = (campaign, currency, targetMillionths)
        (self.capMinor, self.floorMinor) = (capMinor, floorMinor)
    }

    package var json: JSONValue {
        [
            "campaign": .string(campaign), "currency": .string(currency.code),
            "target_roas": .millionths(targetMillionths), "cap_minor": .whole(capMinor),
            "floor_minor": .integer(floorMinor),
        ]
    }
}

/// What somebody decided on advice.
package struct AdviceDecision: Sendable, Equatable {
    package enum Verdict: String, Sendable, CaseIterable { case approved, rejected }

    package var campaign: String
    package var currency: Currency
    package var action: BudgetAction
    package var fromMinor: Int64
    package var toMinor: Int64
    package var verdict: Verdict
    /// The key that decided.
    package var actor: String
    package var decidedAt: Timestamp
    /// The advice as it was answered.
    package var inputs: JSONValue

    package var json: JSONValue {
        [
            "campaign": .string(campaign), "currency": .string(currency.code), "action": .string(action.rawValue),
            "from_minor": .integer(fromMinor), "to_minor": .integer(toMinor), "decision": .string(verdict.rawValue),
            "actor": .string(actor), "decided_at": .string(decidedAt.rfc3339), "inputs": inputs,
        ]
    }
}

extension GrowthReports {
    /// Decisions of one answer, newest first.
    package static let decisionsMax = 500

    /// Keeps what somebody wants of a campaign's budget, under the name that reports give the campaign.
    /// - Returns: what is kept.
    /// - Throws: `GrowthError.badBudget`; `QueryError`; database errors.
    @discardableResult
    package func set(_ wanted: CampaignBudget, org: String) async throws -> CampaignBudget {
        guard CampaignBudget.targetsAllowed.contains(wanted.targetMillionths) else {
            throw GrowthError.badBudget("target_roas must be from 0.01 to 1000.")
        }
        guard (0...CampaignBudget.minorMax).contains(wanted.floorMinor),
            (0...CampaignBudget.minorMax).contains(wanted.capMinor ?? 0)
        else { throw GrowthError.badBudget("cap_minor and floor_minor must be from 0 to \(CampaignBudget.minorMax).") }
        if let cap = wanted.capMinor, cap < wanted.floorMinor {
            throw GrowthError.badBudget("cap_minor must not be below floor_minor.")
        }
        let book = try await campaigns.book(org: org, .campaign)
        var resolved = wanted
        resolved.campaign = (book.name(ofLabel: wanted.campaign) ?? wanted.campaign).storable
        let budget = resolved
        try await database.write("growth.setBudget") { transaction in
            // A budget from before the campaign was known may stand under another of its names.
            let others = try transaction.values(
                String.self,
                """
                SELECT campaign FROM campaign_budgets
                WHERE org = \(org) AND currency = \(budget.currency) AND campaign <> \(budget.campaign)
                """)
            for other in others where book.name(ofLabel: other) == budget.campaign {
                try transaction.run(
                    """
                    DELETE FROM campaign_budgets
                    WHERE org = \(org) AND currency = \(budget.currency) AND campaign = \(other)
                    """)
            }
            let count = try transaction.value(
                Int.self,
                """
                SELECT COUNT(*) FROM campaign_budgets
                WHERE org = \(org) AND NOT (campaign = \(budget.campaign) AND currency = \(budget.currency))
                """)
            guard count ?? 0 < CampaignBudget.budgetsMax else {
                throw GrowthError.badBudget(
                    "There are \(CampaignBudget.budgetsMax) budgets already, which is the most.")
            }
            try transaction.run(
                """
                INSERT INTO campaign_budgets
                    (org, campaign, currency, target_millionths, cap_minor, floor_minor, updated_at, created_at)
                VALUES (\(org), \(budget.campaign), \(budget.currency), \(budget.targetMillionths),
                        \(budget.capMinor), \(budget.floorMinor), \(transaction.now), \(transaction.now))
                ON CONFLICT (org, campaign, currency) DO UPDATE
                SET target_millionths = excluded.target_millionths, cap_minor = excluded.cap_minor,
                    floor_minor = excluded.floor_minor, updated_at = excluded.updated_at
                """)
        }
        return budget
    }

    /// In order of name and currency, under the names that reports give the campaigns.
    /// - Throws: `QueryError`; database errors.
    package func budgets(org: String) async throws -> [CampaignBudget] {
        let book = try await campaigns.book(org: org, .campaign)
        return try await budgets(org: org, book).sorted {
            ($0.campaign, $0.currency.code) < ($1.campaign, $1.currency.code)
        }
    }

    /// One of each campaign and currency: of those that were set under several of its names, the newest.
    func budgets(org: String, _ book: CampaignBook) async throws -> [CampaignBudget] {
        let rows = try await database.read("growth.budgets") { transaction in
            try transaction.all(
                CampaignBudget.self,
                """
                SELECT campaign, currency, target_millionths, cap_minor, floor_minor FROM campaign_budgets
                WHERE org = \(org) ORDER BY updated_at, campaign, currency
                """)
        }
        var newest: [CampaignPlace: CampaignBudget] = [:]
        for row in rows {
            var budget = row
            budget.campaign = book.name(ofLabel: row.campaign) ?? row.campaign
            newest[CampaignPlace(budget.campaign, budget.currency)] = budget
        }
        return Array(newest.values)
    }

    /// The newest decisions first.
    package func decisions(org: String, limit: Int = decisionsMax) async throws -> [AdviceDecision] {
        try await database.read("growth.decisions") { transaction in
            try transaction.all(
                AdviceDecision.self,
                """
                SELECT campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs
                FROM advice_decisions WHERE org = \(org) ORDER BY decided_at DESC, id DESC LIMIT \(limit)
                """)
        }
    }

    /// Campaigns and currencies whose change was approved on a day of UTC, under the names that reports give them.
    func decided(org: String, day: Int, _ book: CampaignBook) async throws -> Set<CampaignPlace> {
        let places = try await database.read("growth.decided") { transaction in
            try transaction.all(
                CampaignPlace.self,
                """
                SELECT campaign, currency FROM advice_decisions
                WHERE org = \(org) AND decision = 'approved' AND day = \(day)
                """)
        }
        return Set(places.map { CampaignPlace(book.name(ofLabel: $0.campaign) ?? $0.campaign, $0.currency) })
    }

    /// Keeps a decision. An approved one is the only one of its day.
    /// - Parameter day: of UTC.
    func keep(_ decision: AdviceDecision, org: String, day: Int) async throws {
        let id = UID(now: decision.decidedAt)
        let kept = try await database.write("growth.decide") { transaction in
            try transaction.run(
                """
                INSERT INTO advice_decisions
                    (org, id, campaign, currency, day, action, from_minor, to_minor, decision, actor, inputs,
                     decided_at, created_at)
                VALUES (\(org), \(id), \(decision.campaign), \(decision.currency), \(day),
                        \(decision.action.rawValue), \(decision.fromMinor), \(decision.toMinor),
                        \(decision.verdict.rawValue), \(decision.actor), \(decision.inputs), \(decision.decidedAt),
                        \(transaction.now))
                ON CONFLICT (org, campaign, currency, day) WHERE decision = 'approved' DO NOTHING
                """)
        }
        guard kept == 1 else { throw GrowthError.decidedToday }
    }
}

/// A campaign in one currency.
struct CampaignPlace: Hashable, Sendable, RowDecodable {
    let campaign: String
    let currency: Currency

    init(_ campaign: String, _ currency: Currency) { (self.campaign, self.currency) = (campaign, currency) }

    init(row: Row) throws { (campaign, currency) = (try row.get("campaign"), try row.get("currency")) }
}

extension CampaignBudget: RowDecodable {
    package init(row: Row) throws {
        self.init(
            campaign: try row.get("campaign"), currency: try row.get("currency"),
            targetMillionths: try row.get("target_millionths"), capMinor: try row.optional("cap_minor"),
            floorMinor: try row.get("floor_minor"))
    }
}

/// A word of a table that this release does not know.
private struct UnknownWord: Error {
    let column: String
}

extension AdviceDecision: RowDecodable {
    package init(row: Row) throws {
        guard let action = BudgetAction(rawValue: try row.get("action")) else { throw UnknownWord(column: "action") }
        guard let verdict = Verdict(rawValue: try row.get("decision")) else { throw UnknownWord(column: "decision") }
        self.init(
            campaign: try row.get("campaign"), currency: try row.get("currency"), action: action,
            fromMinor: try row.get("from_minor"), toMinor: try row.get("to_minor"), verdict: verdict,
            actor: try row.get("actor"), decidedAt: try row.get("decided_at"), inputs: try row.get("inputs"))
    }
}
