internal import Attribution
internal import AurumCore
internal import Conversation
internal import Events
internal import Leads
internal import Runtime
internal import Telemetry

/// The dashboard's document, made about once a second for each organisation however many people watch on this node. It
/// holds figures of this node's log, so it is no other node's document: its names in the cache and among the channels
/// are those of this process.
final class OverviewFeed: Sendable {
    private static let policy = CachePolicy(freshFor: .milliseconds(900), staleFor: .zero)
    private let parts: GatewayParts
    private let node: String

    init(_ parts: GatewayParts) {
        self.parts = parts
        node = UID(now: parts.clock.now).hex
    }

    /// The document of `/v1/overview`. Whoever makes a new one tells everybody who watches here.
    func document(org: String) async throws -> String {
        let key = CacheKey(org: org, cache: "overview", name: node)
        let cached = try await parts.runtime.cache.get(key, Self.policy, tags: []) { [self] in
            let document = Array(try await make(org: org).canonical.utf8)
            // What is too large to be sent around is fetched by those who hear of it.
            let news = document.count <= PubSubLimits.payloadBytesMax ? document : []
            try? await parts.runtime.pubSub.publish(news, to: channel(org))
            return document
        }
        return String(decoding: cached.value ?? [], as: UTF8.self)
    }

    /// New documents of an organisation as they are made; an empty message and a gap say to ask for the newest.
    func news(org: String) -> PubSubMessages { parts.runtime.pubSub.subscribe([.channel(channel(org))]) }

    private func channel(_ org: String) -> String { "aurum:{\(org)}:overview:\(node)" }

    private func make(org: String) async throws -> JSONValue {
        let totals = parts.events.store.totals(org: org)
        let conversations = try await parts.conversations.summary(org: org)
        let leads = try await parts.leads.overview(org: org)
        let legs = leads.recent.compactMap(\.leg)
        let campaigns = try await parts.attribution.firstCampaigns(org: org, legs: legs)
        var attribution: [String: JSONValue] = [:]
        let revenue = try await parts.attribution.revenue(org: org)
        for model in CreditModel.allCases {
            attribution[model.rawValue] = .array(
                (revenue[model] ?? []).filter { $0.currency == leads.currency.code }.map(Self.row))
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
