internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird

extension LogAttributionRoutes {
    private static let window: JSONValue = [
        "scope": "campaign", "name": "spring sale", "click_hours": 72, "view_hours": 12, "starts_at": "2026-11-01",
    ]

    func registerWindows(in book: RouteBook) {
        book.get(
            "/v1/attribution/windows",
            RouteDescription(
                "Every version of the windows of networks and campaigns.", tag: "attribution", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let all = try await parts.attribution.windows.versions(org: principal.org)
            return .json(["windows": .array(all.map(\.json))])
        }
        book.put(
            "/v1/attribution/windows",
            RouteDescription(
                "Saves a version of the windows of a network or campaign, which holds from starts_at, now unless told. "
                    + "Runs over the log go by it.",
                tag: "attribution", scope: .campaignsWrite, body: Self.window)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            let now = clock.now
            return try await Self.mapped {
                let window = try WindowOverride(body, now: now)
                guard !window.isEnded else {
                    throw LogAttributionError.invalid(
                        "click_hours", "or view_hours must be there; DELETE ends an override.")
                }
                return .json(try await parts.attribution.windows.save(window, org: principal.org).json)
            }
        }
        book.delete(
            "/v1/attribution/windows",
            RouteDescription(
                "Ends the windows of a network or campaign from starts_at on, now unless told.", tag: "attribution",
                scope: .campaignsWrite,
                query: [
                    "scope": "network or campaign.", "name": "Of the network or campaign.",
                    "starts_at": "A date or RFC 3339.",
                ])
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let now = clock.now
            return try await Self.mapped {
                let start = try LogAttribution.Wish.moment("starts_at", RequestInput.text("starts_at", request))
                let window = try WindowOverride(
                    RequestInput.text("scope", request), RequestInput.text("name", request), startsAt: start ?? now)
                return .json(try await parts.attribution.windows.save(window, org: principal.org).json)
            }
        }
    }
}
