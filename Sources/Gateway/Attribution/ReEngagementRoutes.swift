internal import Accounts
package import Attribution
internal import AurumCore
internal import Foundation
internal import Hummingbird

/// Re-engagements, and the rule that makes them.
package struct ReEngagementRoutes: Sendable {
    private let access: Access
    private let installs: InstallAttribution

    private static let limitMax = 1000
    private static let outcomes = ReEngagementFilter.outcomes.joined(separator: ", ")
    private static let range = [
        "from": "Opens at this time or later: a date or RFC 3339.", "to": "Opens before this time.",
        "app": "Only of this app.",
    ]
    private static let rule: JSONValue = [
        "app": "shop", "inactive_days": 7, "click_hours": 720, "view_hours": 24, "starts_at": "2026-11-01",
    ]

    package init(access: Access, installs: InstallAttribution) { (self.access, self.installs) = (access, installs) }

    package func register(in book: RouteBook) {
        book.get(
            "/v1/attribution/re-engagements",
            RouteDescription(
                "Re-engagements with what led to each, newest first, a page at a time.", tag: "attribution",
                scope: .analyticsRead,
                query: Self.range.merging([
                    "outcome": "\(Self.outcomes); re_engagement unless told.",
                    "campaign": "Of the touch that led to the open.",
                    "limit": "1 to \(Self.limitMax), 100 unless told.", "after": "`next` of the page before.",
                ]) { $1 })
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await installs.reEngagements(org: principal.org, try Self.filter(request)))
        }
        book.get(
            "/v1/attribution/re-engagements/campaigns",
            RouteDescription(
                "Re-engagements by campaign, and what else opens by clicks and links were.", tag: "attribution",
                scope: .analyticsRead, query: Self.range)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await installs.reEngagementSummary(org: principal.org, try Self.filter(request)))
        }
        book.get(
            "/v1/attribution/re-engagements/{id}",
            RouteDescription(
                "One open by its event id: whether it is a re-engagement, touch, and why other touches lost.",
                tag: "attribution", scope: .analyticsRead,
                query: ["app": "Where several apps have one of this id.", "version": "An older decision."])
        ) { request, context in try await open(request, context) }
        registerRules(in: book)
    }

    private func registerRules(in book: RouteBook) {
        book.get(
            "/v1/attribution/windows/re-engagement",
            RouteDescription(
                "Every version of what makes a re-engagement, by app.", tag: "attribution", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await installs.reEngagementRules(org: principal.org))
        }
        book.put(
            "/v1/attribution/windows/re-engagement",
            RouteDescription(
                "Saves a version of what makes a re-engagement, of one app or of all others, which holds for opens "
                    + "from starts_at on, now unless told.",
                tag: "attribution", scope: .campaignsWrite, body: Self.rule)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await LogAttributionRoutes.mapped {
                .json(try await installs.saveReEngagementRule(body, org: principal.org))
            }
        }
    }

    private func open(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.analyticsRead, request)
        let (id, app) = (InstallDecisionRoutes.eventID(context), try InstallDecisionRoutes.plain("app", request))
        let version = try InstallDecisionRoutes.version(request)
        let found =
            id.utf8.contains(0)
            ? nil : try await installs.reEngagement(org: principal.org, id: id, app: app, version: version)
        guard let found else {
            throw Problem.notFound(
                code: "open_unknown",
                detail: "There is no open by a click or a link of this id, or no such version of its decision.")
        }
        return .json(found)
    }

    private static func filter(_ request: Request) throws(Problem) -> ReEngagementFilter {
        var filter = ReEngagementFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...limitMax, standard: 100)
        filter.from = try InstallDecisionRoutes.moment("from", request)
        filter.to = try InstallDecisionRoutes.moment("to", request)
        filter.app = try InstallDecisionRoutes.plain("app", request)
        filter.campaign = try InstallDecisionRoutes.plain("campaign", request)
        if let text = RequestInput.text("outcome", request) {
            guard ReEngagementFilter.outcomes.contains(text) else {
                throw .badQuery(name: "outcome", detail: "must be one of \(outcomes).")
            }
            filter.outcome = text
        }
        filter.after = try InstallDecisionRoutes.mark(request)
        return filter
    }
}
