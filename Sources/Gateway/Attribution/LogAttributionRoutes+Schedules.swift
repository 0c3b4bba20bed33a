internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird

extension LogAttributionRoutes {
    private static let plan: JSONValue = ["daily_at": "03:30", "timezone": "America/New_York"]

    func registerSchedules(in book: RouteBook) {
        book.get(
            "/v1/attribution/schedules",
            RouteDescription(
                "Conversions that are credited from the log by themselves, and how their last runs ended.",
                tag: "attribution", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let all = try await parts.attribution.schedules.all(org: principal.org)
            return .json(["schedules": .array(all.map(\.json))])
        }
        book.put(
            "/v1/attribution/conversions/{name}/schedule",
            RouteDescription(
                "Credits a conversion from the log by itself: every_hours, or daily_at with a timezone (UTC).",
                tag: "attribution", scope: .campaignsWrite, body: Self.plan)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.mapped {
                let plan = try RunPlan(body)
                return .json(
                    try await parts.attribution.schedule(plan, conversion: Self.name(context), org: principal.org).json)
            }
        }
        book.delete(
            "/v1/attribution/conversions/{name}/schedule",
            RouteDescription(
                "Credits a conversion only when somebody asks; results stay.", tag: "attribution",
                scope: .campaignsWrite, success: 204)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            return try await Self.mapped {
                try await parts.attribution.schedules.remove(conversion: Self.name(context), org: principal.org)
                return Response(status: .noContent)
            }
        }
    }
}
