package import AurumCore
internal import Database

/// Counts and the latest leads for the dashboard; every figure is counted when it is asked for.
package struct LeadsOverview: Sendable, Equatable {
    package struct Recent: Sendable, Equatable {
        package var id: UID
        package var createdAt: Timestamp
        package var type: String
        package var borough: String?
        package var zip: String?
        package var score: Int
        package var tier: String
        package var state: LeadState
        package var buyer: String?
        package var priceMinor: Int64?
        package var campaign: String?
        package var leg: UID?

        package var json: JSONValue {
            [
                "id": .string(id.hex), "created_at": .string(createdAt.rfc3339), "type": .string(type),
                "borough": borough.map(JSONValue.string) ?? .null, "zip": zip.map(JSONValue.string) ?? .null,
                "score": .integer(Int64(score)), "tier": .string(tier), "state": .string(state.rawValue),
                "buyer": buyer.map(JSONValue.string) ?? .null,
                "price_minor": priceMinor.map(JSONValue.integer) ?? .null,
                "campaign": campaign.map(JSONValue.string) ?? .null, "leg": leg.map { .string($0.hex) } ?? .null,
            ]
        }
    }

    package var total: Int
    package var sold: Int
    package var unsold: Int
    package var disqualified: Int
    /// Being asked, qualified or on sale.
    package var open: Int
    /// Leads with a leg whose answer is not known; each of them is counted under its own state as well.
    package var unknown: Int
    package var recent: [Recent]
    package var currency: Currency
    /// Prices of accepted legs that were not given back: deferred and recognised together.
    package var bookedMinor: Int64
    /// Revenue whose return window has passed, less clawbacks.
    package var recognisedMinor: Int64

    /// Duplicates, returned, nurtured, withdrawn and erased leads.
    package var other: Int { total - sold - unsold - disqualified - open }

    /// The members `leads` of `/v1/overview`. `sold`, `unsold`, `disqualified`, `open` and `other` add up to `total`.
    package var leadsJSON: JSONValue {
        [
            "total": .integer(Int64(total)), "sold": .integer(Int64(sold)), "unsold": .integer(Int64(unsold)),
            "disqualified": .integer(Int64(disqualified)), "open": .integer(Int64(open)),
            "other": .integer(Int64(other)), "unknown": .integer(Int64(unknown)),
            "recent": .array(recent.map(\.json)),
        ]
    }

    /// The member `revenue` of `/v1/overview`.
    package var revenueJSON: JSONValue {
        ["booked_minor": .integer(bookedMinor), "recognised_minor": .integer(recognisedMinor)]
    }
}

extension LeadReads {
    /// Money is that of `currency` alone; sums never mix currencies.
    package func overview(
        org: String, recent: Int = 20, currency: Currency = .usd
    ) async throws -> LeadsOverview {
        try await database.read("leads.overview", limit: .report) { tx in
            let counts = try tx.all(
                StateCount.self, "SELECT state, COUNT(*) AS leads FROM leads WHERE org = \(org) GROUP BY state")
            let unknown = try tx.value(
                Int.self, "SELECT COUNT(DISTINCT lead_id) FROM legs WHERE org = \(org) AND state = 'unknown'")
            let leads = try tx.all(
                RecentRow.self,
                """
                SELECT id, created_at, type, zip, score, tier, state, attributes, source FROM leads
                WHERE org = \(org) ORDER BY id DESC LIMIT \(min(recent, 100))
                """)
            let legs = try tx.all(
                LegRow.self,
                """
                SELECT * FROM legs WHERE org = \(org) AND lead_id IN (\(list: leads.map(\.id)))
                ORDER BY created_at, id
                """)
            let balances = try LedgerReport.balances(org: org, in: tx).filter { $0.currency == currency }
            func balance(_ account: Account) -> Int64 {
                balances.filter { $0.account == account.name }.reduce(0) { $0 + $1.balanceMinor }
            }
            let recognised = -balance(.revenue) - balance(.revenueReturns)
            func leadsIn(_ states: Set<LeadState>) -> Int {
                counts.filter { states.contains($0.state) }.reduce(0) { $0 + $1.leads }
            }
            return LeadsOverview(
                total: leadsIn(Set(LeadState.allCases)), sold: leadsIn([.sold]), unsold: leadsIn([.unsold]),
                disqualified: leadsIn([.disqualified]), open: leadsIn([.collecting, .qualified, .routing]),
                unknown: unknown ?? 0,
                recent: leads.map { lead in lead.joined(legs.filter { $0.lead == lead.id }) }, currency: currency,
                bookedMinor: recognised - balance(.deferredRevenue), recognisedMinor: recognised)
        }
    }
}

/// A row of the list, without anything that the list does not show.
private struct RecentRow: RowDecodable {
    struct Attributes: Decodable {
        struct Member: Decodable { let value: String? }
        let borough: Member?
    }

    private let lead: LeadsOverview.Recent
    var id: UID { lead.id }

    init(row: Row) throws {
        let attributes: Attributes? = try? row.decoded("attributes")
        let source: LeadSource = try row.decoded("source")
        lead = LeadsOverview.Recent(
            id: try row.get("id"), createdAt: try row.get("created_at"), type: try row.get("type"),
            borough: attributes?.borough?.value,
            zip: try row.optional("zip"), score: try row.get("score"), tier: try row.get("tier"),
            state: try row.choice("state"), campaign: source.campaign)
    }

    /// With the leg that matters most: the sold one, else the open one, else the last.
    func joined(_ legs: [LegRow]) -> LeadsOverview.Recent {
        let leg = legs.last { $0.state.isSold } ?? legs.last { $0.state == .unknown } ?? legs.last
        var lead = lead
        lead.buyer = leg?.buyer
        lead.priceMinor = leg?.priceMinor
        lead.leg = leg?.id
        return lead
    }
}

private struct StateCount: RowDecodable {
    let state: LeadState
    let leads: Int

    init(row: Row) throws {
        state = try row.choice("state")
        leads = try row.get("leads")
    }
}
