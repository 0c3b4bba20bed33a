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
    /// Whether advice within all guard rails is decided without a person.
    package var isAuto: Bool
    /// Whether stop rules may decide that the campaign is to be paused.
    package var mayPause: Bool
    /// Whether what is decided without a person is kept as what would have been decided, and nothing else.
    package var isDryRun: Bool

    /// What is aimed at where nobody said: what is spent comes back.
    package static let standardTarget: Int64 = 1_000_000
    package static let targetsAllowed: ClosedRange<Int64> = 10_000...1_000_000_000
    package static let minorMax: Int64 = 1_000_000_000_000
    /// Of one organisation.
    package static let budgetsMax = 1000

    package init(
        campaign: String, currency: Currency, targetMillionths: Int64 = standardTarget, capMinor: Int64? = nil,
        floorMinor: Int64 = 0, isAuto: Bool = false, mayPause: Bool = false, isDryRun: Bool = true
    ) {
        (self.campaign, self.currency, self.targetMillionths) = (campaign, currency, targetMillionths)
        (self.capMinor, self.floorMinor) = (capMinor, floorMinor)
        (self.isAuto, self.mayPause, self.isDryRun) = (isAuto, mayPause, isDryRun)
    }

    package var json: JSONValue {
        [
            "campaign": .string(campaign), "currency": .string(currency.code),
            "target_roas": .millionths(targetMillionths), "cap_minor": .whole(capMinor),
            "floor_minor": .integer(floorMinor), "auto": .bool(isAuto), "may_pause": .bool(mayPause),
            "dry_run": .bool(isDryRun),
        ]
    }
}

extension GrowthReports {
    /// Keeps what somebody wants of a campaign's budget, under the name that reports give the campaign.
    /// - Returns: what is kept.
    /// - Throws: `GrowthError.badBudget`; `QueryError`; database errors.
    @discardableResult
    package func set(_ wanted: CampaignBudget, org: String) async throws -> CampaignBudget {
        guard CampaignBudget.targetsAllowed.contains(wanted.targetMillionths) else {
            throw GrowthError.badBudget(field: "target_roas", detail: "must be from 0.01 to 1000")
        }
        for (name, minor) in [("cap_minor", wanted.capMinor ?? 0), ("floor_minor", wanted.floorMinor)]
        where !(0...CampaignBudget.minorMax).contains(minor) {
            throw GrowthError.badBudget(
                field: name, detail: "must be from 0 to \(CampaignBudget.minorMax) minor units")
        }
        if let cap = wanted.capMinor, cap < wanted.floorMinor {
            throw GrowthError.badBudget(field: "cap_minor", detail: "must not be below floor_minor")
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
                    field: "campaign",
                    detail: "is one too many: there are \(CampaignBudget.budgetsMax) budgets already, which is the most"
                )
            }
            try transaction.run(
                """
                INSERT INTO campaign_budgets
                    (org, campaign, currency, target_millionths, cap_minor, floor_minor, is_auto, may_pause,
                     is_dry_run, updated_at, created_at)
                VALUES (\(org), \(budget.campaign), \(budget.currency), \(budget.targetMillionths),
                        \(budget.capMinor), \(budget.floorMinor), \(budget.isAuto), \(budget.mayPause),
                        \(budget.isDryRun), \(transaction.now), \(transaction.now))
                ON CONFLICT (org, campaign, currency) DO UPDATE
                SET target_millionths = excluded.target_millionths, cap_minor = excluded.cap_minor,
                    floor_minor = excluded.floor_minor, is_auto = excluded.is_auto,
                    may_pause = excluded.may_pause, is_dry_run = excluded.is_dry_run,
                    updated_at = excluded.updated_at
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

    func budgets(org: String, _ book: CampaignBook) async throws -> [CampaignBudget] {
        let rows = try await database.read("growth.budgets") { try CampaignBudget.rows(org: org, in: $0) }
        return Array(CampaignBudget.newest(rows) { book.name(ofLabel: $0) ?? $0 }.values)
    }
}

extension CampaignBudget {
    /// All of an organisation as they are stored, those that were set last at the end.
    static func rows(org: String, in transaction: Transaction) throws -> [CampaignBudget] {
        try transaction.all(
            CampaignBudget.self,
            """
            SELECT campaign, currency, target_millionths, cap_minor, floor_minor, is_auto, may_pause, is_dry_run
            FROM campaign_budgets WHERE org = \(org) ORDER BY updated_at, campaign, currency
            """)
    }

    /// One of each campaign and currency: of those that were set under several of its names, the newest.
    /// - Parameter name: that reports give to whoever has a label.
    static func newest(
        _ rows: [CampaignBudget], _ name: (_ label: String) -> String
    ) -> [CampaignPlace: CampaignBudget] {
        var newest: [CampaignPlace: CampaignBudget] = [:]
        for row in rows {
            var budget = row
            budget.campaign = name(row.campaign)
            newest[CampaignPlace(budget.campaign, budget.currency)] = budget
        }
        return newest
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
            floorMinor: try row.get("floor_minor"), isAuto: try row.get("is_auto"),
            mayPause: try row.get("may_pause"), isDryRun: try row.get("is_dry_run"))
    }
}
