internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import Telemetry

/// Visitors of short links: their click is stored, then they are sent to the app's store or to the web.
struct LinkVisits: Sendable {
    let desk: CaptureDesk
    let links: LinkParts

    func register(in book: RouteBook) {
        book.get(
            ShortLink.path + "{slug}",
            RouteDescription(
                "Stores a click on a short link and redirects to the app's store or the web by the user agent, with "
                    + "the click id appended as `\(ClickRoutes.parameter)`.",
                tag: "links", success: 302,
                query: ["…": "Names of the contract, such as device_id; anything else goes to props."])
        ) { try await visit($0, $1) }
    }

    private func visit(_ request: Request, _ context: GatewayContext) async throws -> Response {
        guard let link = try await links.store.link(slug: context.parameters.get("slug") ?? "") else {
            throw Problem(LinkError.unknown)
        }
        // Only we append it: who comes with it was sent here by a link, under whatever name of this server.
        if request.uri.queryParameters[Substring(ClickRoutes.parameter)] != nil {
            links.clicks("loop")
            throw Problem(LinkError.redirectLoop)
        }
        let now = desk.clock.now
        guard !link.isExpired(now) else {
            links.clicks("expired")
            return try redirect(link.location(.web, click: nil), nil)
        }
        let target = link.target(userAgent: request.headers[.userAgent], now: now)
        let clickID = UID(now: now).hex
        guard let location = link.location(target, click: clickID) else { throw Problem.internalError }
        // Who only asks where a link leads clicked on nothing.
        guard request.method != .head else { return try redirect(location, nil) }
        links.clicks(target.rawValue)
        let click = LinkClick(id: clickID, at: now, target: target)
        let receipt = await record(click, link, location, request, context)
        return try redirect(location, receipt?.id)
    }

    private func redirect(_ location: String?, _ receipt: String?) throws(Problem) -> Response {
        guard let location else { throw .internalError }
        var headers = HTTPFields()
        headers[.location] = location
        headers[.cacheControl] = "no-store"
        headers[.aurumReceipt] = receipt
        return Response(status: .found, headers: headers)
    }

    /// Durable when it returns: in the log, then where a first open asks for it. The visitor goes on whatever they say;
    /// a click that could not be stored is counted and reported.
    private func record(
        _ click: LinkClick, _ link: ShortLink, _ location: String, _ request: Request, _ context: GatewayContext
    ) async -> Receipt? {
        do {
            let visitor = Principal(
                org: link.org, app: link.app, keyID: "link:" + link.slug, kind: .publishable, scopes: [.eventsWrite])
            try await desk.admit(visitor, context)
            try await desk.charge(visitor, events: 1)
            var event = try desk.query(request, first: link.query(click: click.id, at: click.at))
            (event.type, event.clickID, event.url) = ("click", click.id, location)
            event.referrer = request.headers[.referer]
            let receipt = try await desk.submit(event.line, .click, desk.source(visitor, request))
            var kept = click
            (kept.deviceID, kept.advertisingID) = (event["device_id"], event["advertising_id"])
            try await links.store.keep(kept, on: link)
            return receipt
        } catch {
            desk.unrecordedClicks.increment()
            desk.logger.error(
                "a click on a link was redirected but not recorded",
                metadata: [
                    "code": .string((error as? Problem)?.code ?? "internal_error"), "org": .string(link.org),
                    "app": .string(link.app), "link": .string(link.slug), "request_id": .string(context.requestID),
                ])
            return nil
        }
    }
}
