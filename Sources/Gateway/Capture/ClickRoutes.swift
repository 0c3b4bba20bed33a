internal import Accounts
internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import Telemetry

/// Clicks on ads that lead through us: stored, then sent on with a click id.
struct ClickRoutes: Sendable {
    let desk: CaptureDesk

    /// The parameter under which the click id travels on. The enrichment knows it as ours.
    static let parameter = AdvertisingLink.own

    func register(in book: RouteBook) {
        book.get(
            "/v1/click",
            RouteDescription(
                "Stores a click and redirects to `to`, with the click id appended as `\(Self.parameter)`.",
                tag: "events", success: 302,
                query: [
                    "k": "The write key.",
                    "to": "Where to go; its host must be one of the app's or of its publishable keys' origins.",
                    "click_id": "The network's click id; made here when absent.",
                    "…": "Names of the contract, campaign fields and utm_*; anything else goes to props.",
                ])
        ) { try await click($0, $1) }
    }

    private func click(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let query = try desk.query(request)
        let principal = try desk.access.requireCapture(request, explicit: query["k"] ?? "")
        let target = query["to"].flatMap { RedirectTarget($0) }
        let clickID = query["click_id"] ?? UID(now: desk.clock.now).hex
        let location = target.map { $0.adding(Self.parameter, clickID) }
        var event = query
        event.type = "click"
        event.clickID = clickID
        event.url = location ?? query["to"]
        event.referrer = request.headers[.referer]
        guard let location, let target, target.isAllowed(by: desk.redirectHosts(principal)) else {
            if request.method == .head { throw Problem.redirectNotAllowed }
            try await desk.admit(principal, context)
            try await desk.charge(principal, events: 1)
            let receipt = try await desk.submit(event.line, .click, desk.source(principal, request))
            var answer = Problem.redirectNotAllowed.response(requestID: context.requestID)
            answer.headers[.aurumReceipt] = receipt.id
            return answer
        }
        var headers = HTTPFields()
        headers[.location] = location
        headers[.aurumReceipt] = await record(event, request, principal, context)?.id
        return Response(status: .found, headers: headers)
    }

    /// The visitor goes on whatever the log says; a click that could not be stored is counted and reported. Who only
    /// asks where a link leads, with HEAD, clicked on nothing.
    private func record(
        _ event: QueryEvent, _ request: Request, _ principal: Principal, _ context: GatewayContext
    ) async -> Receipt? {
        guard request.method != .head else { return nil }
        do {
            try await desk.admit(principal, context)
            try await desk.charge(principal, events: 1)
            return try await desk.submit(event.line, .click, desk.source(principal, request))
        } catch {
            desk.unrecordedClicks.increment()
            desk.logger.error(
                "a click was redirected but not recorded",
                metadata: [
                    "code": .string((error as? Problem)?.code ?? "internal_error"), "org": .string(principal.org),
                    "app": .string(principal.app), "request_id": .string(context.requestID),
                ])
            return nil
        }
    }
}

extension CaptureDesk {
    /// Hosts that the app's settings name, and those of its publishable keys' origins.
    func redirectHosts(_ principal: Principal) -> Set<String> {
        let origins = principal.origins.union(access.keys.origins(org: principal.org, app: principal.app))
        return settings(principal.org, principal.app).allowedHosts
            .union(origins.compactMap { RedirectTarget.host(ofOrigin: $0) })
    }
}
