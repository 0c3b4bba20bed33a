internal import Attribution
internal import AurumCore
internal import Conversation
internal import Events
internal import Leads
internal import Synchronization
internal import Telemetry

/// The dashboard's document, made at most once a second for each organisation however many people watch.
final class OverviewFeed: Sendable {
    private struct Cached: Sendable {
        let at: ContinuousClock.Instant
        let text: String
    }

    static let freshFor: Duration = .milliseconds(900)
    private let parts: GatewayParts
    private let cache = Mutex<[String: Cached]>([:])

    init(_ parts: GatewayParts) { self.parts = parts }

    /// The document of `/v1/overview`.
    func document(org: String) async throws -> String {
        let now = ContinuousClock.now
        if let cached = cache.withLock({ $0[org] }), now - cached.at < Self.freshFor { return cached.text }
        let text = try await make(org: org).canonical
        cache.withLock { $0[org] = Cached(at: now, text: text) }
        return text
    }

    private func make(org: String) async throws -> JSONValue {
        let totals = parts.events.store.totals(org: org)
        let conversations = try await parts.conversations.summary(org: org)
        let leads = try await parts.leads.overview(org: org)
        let legs = leads.recent.compactMap(\.leg)
        let campaigns = try await parts.attribution.firstCampaigns(org: org, legs: legs)
        var attribution: [String: JSONValue] = [:]
        for model in CreditModel.allCases {
            let rows = try await parts.attribution.revenue(org: org, model: model)
            attribution[model.rawValue] = .array(
                rows.filter { $0.currency == leads.currency.code }.map(Self.row))
        }
        let recent: [JSONValue] = leads.recent.map { lead in
            var members = lead.json.object ?? [:]
            if let leg = lead.leg, let campaign = campaigns[leg] { members["campaign"] = .string(campaign) }
            return .object(members)
        }
        var leadMembers = leads.leadsJSON.object ?? [:]
        leadMembers["recent"] = .array(recent)
        return [
            "as_of": .string(parts.clock.now.rfc3339), "currency": .string(leads.currency.code),
            "events": [
                "total": .integer(Int64(totals.events)), "per_second": .number(totals.perSecond),
                "series": .array(
                    totals.series.map { ["at": .string($0.at.rfc3339), "count": .integer(Int64($0.count))] }),
            ],
            "conversations": [
                "open": .integer(Int64(conversations.open)), "started": .integer(Int64(conversations.started)),
                "qualified": .integer(Int64(conversations.qualified)),
            ],
            "leads": .object(leadMembers), "revenue": leads.revenueJSON, "attribution": .object(attribution),
            "fallbacks": .array(
                parts.health.snapshot.compactMap { name, component in component.fallback.map { "\(name): \($0)" } }
                    .sorted().map { .string($0) }),
        ]
    }

    private static func row(_ revenue: CampaignRevenue) -> JSONValue {
        [
            "campaign": .string(revenue.campaign), "source": .string(revenue.source), "medium": .string(revenue.medium),
            "channel": .string(revenue.channel), "sales": .integer(Int64(revenue.sales)),
            "revenue_minor": .integer(revenue.revenueMinor),
        ]
    }
}
