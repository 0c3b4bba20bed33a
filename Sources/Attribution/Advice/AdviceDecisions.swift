package import AurumCore
package import Database
internal import Telemetry

/// What was decided about a campaign's budget, by a person or without one. It changes nothing anywhere: whoever carries
/// it out says so, and that is kept beside it.
package struct AdviceDecision: Sendable, Equatable {
    package enum Verdict: String, Sendable, CaseIterable {
        case approved, rejected
        /// What would have been approved without a person; it counts for nothing.
        case dryRun = "dry_run"

        /// What a person may say.
        package static let ofPeople: [Verdict] = [.approved, .rejected]
    }

    package let id: UID
    package var campaign: String
    package var currency: Currency
    package var action: BudgetAction
    package var fromMinor: Int64
    /// 0 for a pause.
    package var toMinor: Int64
    package var verdict: Verdict
    /// The key that decided, or `auto`.
    package var actor: String
    package var decidedAt: Timestamp
    /// The advice as it was answered; of a pause, what its stop rule saw.
    package var inputs: JSONValue
    /// When somebody said that it was carried out, and their key.
    package var acknowledgedAt: Timestamp?
    package var acknowledgedBy: String?
    /// When a pause lost its reason before anybody carried it out.
    package var withdrawnAt: Timestamp?

    /// Who decides where no person does.
    package static let auto = "auto"

    /// Changes are meant for the day after the advice they follow; a pause holds until it is withdrawn.
    package var expiresAt: Timestamp? { action == .pause ? nil : decidedAt + AdviceReport.expiry }

    package var json: JSONValue {
        func time(_ moment: Timestamp?) -> JSONValue { moment.map { .string($0.rfc3339) } ?? .null }
        return [
            "id": .string(id.hex), "campaign": .string(campaign), "currency": .string(currency.code),
            "action": .string(action.rawValue), "from_minor": .integer(fromMinor), "to_minor": .integer(toMinor),
            "decision": .string(verdict.rawValue), "actor": .string(actor), "decided_at": time(decidedAt),
            "expires_at": time(expiresAt), "acknowledged_at": time(acknowledgedAt),
            "acknowledged_by": acknowledgedBy.map { .string($0) } ?? .null, "withdrawn_at": time(withdrawnAt),
            "inputs": inputs,
        ]
    }
}

extension GrowthReports {
    /// Decisions of one answer, newest first.
    package static let decisionsMax = 500

    /// The newest decisions first.
    /// - Parameter isOpen: only what somebody has still to carry out: approved, not acknowledged, neither expired nor
    ///   withdrawn.
    package func decisions(
        org: String, isOpen: Bool = false, limit: Int = decisionsMax
    ) async throws -> [AdviceDecision] {
        let (all, since) = (isOpen ? 0 : 1, clock.now - AdviceReport.expiry)
        return try await database.read("growth.decisions") { transaction in
            try transaction.all(
                AdviceDecision.self,
                """
                SELECT id, campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs,
                    acknowledged_at, acknowledged_by, withdrawn_at
                FROM (
                    SELECT id, campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs,
                        acknowledged_at, acknowledged_by, withdrawn_at
                    FROM automatic_decisions WHERE org = \(org)
                    UNION ALL
                    SELECT id, campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs,
                        acknowledged_at, acknowledged_by, NULL
                    FROM advice_decisions WHERE org = \(org)
                ) AS decisions
                WHERE \(all) = 1 OR (decision = 'approved' AND acknowledged_at IS NULL AND withdrawn_at IS NULL
                    AND (action = 'pause' OR decided_at > \(since)))
                ORDER BY decided_at DESC, id DESC LIMIT \(limit)
                """)
        }
    }

    /// Keeps that an approved decision was carried out; saying it again changes nothing.
    /// - Parameter actor: the key of whoever says so.
    /// - Throws: `GrowthError.unknownDecision`, `notApproved`, `withdrawn`; database errors.
    package func acknowledge(_ id: UID, org: String, actor: String) async throws -> AdviceDecision {
        try await database.write("growth.acknowledge") { transaction in
            let known = try transaction.one(
                AdviceDecision.self,
                """
                SELECT id, campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs,
                    acknowledged_at, acknowledged_by, withdrawn_at
                FROM automatic_decisions WHERE org = \(org) AND id = \(id)
                UNION ALL
                SELECT id, campaign, currency, action, from_minor, to_minor, decision, actor, decided_at, inputs,
                    acknowledged_at, acknowledged_by, NULL
                FROM advice_decisions WHERE org = \(org) AND id = \(id)
                """)
            guard var decision = known else { throw GrowthError.unknownDecision }
            guard decision.verdict == .approved else { throw GrowthError.notApproved }
            if decision.acknowledgedAt != nil { return decision }
            guard decision.withdrawnAt == nil else { throw GrowthError.withdrawn }
            (decision.acknowledgedAt, decision.acknowledgedBy) = (transaction.now, actor)
            let at = decision.acknowledgedAt
            // It is in one of both.
            try transaction.run(
                """
                UPDATE advice_decisions SET acknowledged_at = \(at), acknowledged_by = \(actor)
                WHERE org = \(org) AND id = \(id)
                """)
            try transaction.run(
                """
                UPDATE automatic_decisions SET acknowledged_at = \(at), acknowledged_by = \(actor)
                WHERE org = \(org) AND id = \(id)
                """)
            return decision
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

    /// Keeps a person's decision. An approved one is the only one of its day.
    /// - Parameter day: of UTC.
    func keep(_ decision: AdviceDecision, org: String, day: Int) async throws {
        let isKept = try await database.write("growth.decide") { try decision.insert(org: org, day: day, in: $0) }
        guard isKept else { throw GrowthError.decidedToday }
        count(decision)
    }

    func count(_ decision: AdviceDecision) {
        let by = decision.actor == AdviceDecision.auto ? "auto" : "person"
        campaigns.registry.counter(.budgetDecisions, by, decision.action.rawValue, decision.verdict.rawValue)
            .increment()
    }
}

extension AdviceDecision {
    /// - Returns: false where the day has such a decision already.
    func insert(org: String, day: Int, in transaction: Transaction) throws -> Bool {
        if action == .pause || verdict == .dryRun {
            let rows = try transaction.run(
                """
                INSERT INTO automatic_decisions
                    (org, id, campaign, currency, day, action, from_minor, to_minor, decision, actor, inputs,
                     decided_at, created_at)
                VALUES (\(org), \(id), \(campaign), \(currency), \(day), \(action.rawValue), \(fromMinor),
                        \(toMinor), \(verdict.rawValue), \(actor), \(inputs), \(decidedAt), \(transaction.now))
                ON CONFLICT DO NOTHING
                """)
            return rows == 1
        }
        let rows = try transaction.run(
            """
            INSERT INTO advice_decisions
                (org, id, campaign, currency, day, action, from_minor, to_minor, decision, actor, inputs, decided_at,
                 created_at)
            VALUES (\(org), \(id), \(campaign), \(currency), \(day), \(action.rawValue), \(fromMinor), \(toMinor),
                    \(verdict.rawValue), \(actor), \(inputs), \(decidedAt), \(transaction.now))
            ON CONFLICT (org, campaign, currency, day) WHERE decision = 'approved' DO NOTHING
            """)
        return rows == 1
    }
}

/// A word of a table that this release does not know.
struct UnknownWord: Error {
    let column: String
}

extension AdviceDecision: RowDecodable {
    package init(row: Row) throws {
        guard let action = BudgetAction(rawValue: try row.get("action")) else { throw UnknownWord(column: "action") }
        guard let verdict = Verdict(rawValue: try row.get("decision")) else { throw UnknownWord(column: "decision") }
        self.init(
            id: try row.get("id"), campaign: try row.get("campaign"), currency: try row.get("currency"),
            action: action, fromMinor: try row.get("from_minor"), toMinor: try row.get("to_minor"), verdict: verdict,
            actor: try row.get("actor"), decidedAt: try row.get("decided_at"), inputs: try row.get("inputs"),
            acknowledgedAt: try row.optional("acknowledged_at"),
            acknowledgedBy: try row.optional("acknowledged_by"), withdrawnAt: try row.optional("withdrawn_at"))
    }
}
