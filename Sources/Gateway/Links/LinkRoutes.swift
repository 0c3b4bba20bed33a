internal import Accounts
package import Attribution
internal import AurumCore
package import Events
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
package import Telemetry

/// Short links: where they stand, and which apps may open them.
package struct LinkParts: Sendable {
    package var store: LinkStore
    /// Settings of every app.
    package var apps: @Sendable () -> [AppSettings]
    let clicks: @Sendable (String) -> Void
    let resolutions: @Sendable (String) -> Void

    package init(
        store: LinkStore, registry: MetricRegistry, apps: @escaping @Sendable () -> [AppSettings] = { [] }
    ) {
        (self.store, self.apps) = (store, apps)
        clicks = { registry.counter(.linkClicks, $0).increment() }
        resolutions = { registry.counter(.linkResolutions, $0).increment() }
    }
}

/// Makes, shows and removes short links, and gives the payload of a click to the app that it led to.
struct LinkRoutes: Sendable {
    let desk: CaptureDesk
    let links: LinkParts

    private static let example: JSONValue = [
        "slug": "spring", "web_url": "https://www.shop.example/spring",
        "ios": ["app": "525463029", "path": "/offer/7"],
        "android": ["package": "com.example.shop", "path": "/offer/7"],
        "campaign": ["name": "spring", "network": "newsletter"], "payload": ["coupon": "SPRING"],
        "expires": "2027-06-01",
    ]
    private static let question: JSONValue = ["referrer": "aurum_click=0190f2a4c3d87b61a5e2f01c9d3b4a56"]
    private static let limitMax = 1000

    func register(in book: RouteBook) {
        book.post(
            "/v1/links",
            RouteDescription(
                "Makes a short link to an app or the web; its host is one of the app's redirect_hosts. The same "
                    + "Idempotency-Key gives the first answer.", tag: "links",
                scope: .campaignsWrite, success: 201, body: Self.example)
        ) { request, _ in try await Self.mapped { try await make(request) } }
        book.get(
            "/v1/links",
            RouteDescription(
                "Short links, newest first.", tag: "links", scope: .analyticsRead,
                query: [
                    "limit": "1 to \(Self.limitMax), 100 unless told.",
                    "after": "The slug that the page before ended with.",
                ])
        ) { request, _ in
            let principal = try desk.access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            let after = RequestInput.text("after", request)
            if let after, !ShortLink.isSlug(after) { throw Problem.badQuery(name: "after", detail: "must be a slug.") }
            let found = try await links.store.list(org: principal.org, limit: limit, after: after)
            let next = found.count == limit ? found.last?.slug : nil
            return .json([
                "links": .array(found.map(\.json)), "next": next.map { .string($0) } ?? .null,
            ])
        }
        book.get(
            "/v1/links/{slug}", RouteDescription("One short link.", tag: "links", scope: .analyticsRead)
        ) { request, context in
            let principal = try desk.access.require(.analyticsRead, request)
            let found = try await links.store.link(slug: context.parameters.get("slug") ?? "")
            guard let found, found.org == principal.org else { throw Problem(LinkError.unknown) }
            return .json(found.json)
        }
        book.delete(
            "/v1/links/{slug}",
            RouteDescription(
                "Removes a short link; clicks stay.", tag: "links", scope: .campaignsWrite, success: 204)
        ) { request, context in
            let principal = try desk.access.require(.campaignsWrite, request)
            return try await Self.mapped {
                try await links.store.remove(slug: context.parameters.get("slug") ?? "", org: principal.org)
                return Response(status: .noContent)
            }
        }
        book.post(
            "/v1/links/resolve",
            RouteDescription(
                "At a first open: payload and campaign of the click that led to it, once. Takes referrer, click_id, "
                    + "device_id or advertising_id, and a write key.",
                tag: "links", scope: .eventsWrite, body: Self.question)
        ) { try await resolve($0, $1) }
        book.preflight("/v1/links/resolve") { desk.preflight($0) }
        registerFiles(in: book)
    }

    private func make(_ request: Request) async throws -> Response {
        let principal = try desk.access.require(.campaignsWrite, request)
        let body = try await RequestInput.json(request)
        let now = desk.clock.now
        let link = try ShortLink(
            body, org: principal.org, app: principal.app, made: Self.slug(), now: now)
        guard let target = RedirectTarget(link.webURL) else { throw Problem.internalError }
        let isHere = target.authority == request.head.authority?.lowercased()
        var owner = principal
        owner.app = link.app
        // A link to ourselves is refused as what it is.
        let isLoop = isHere && ShortLink.slug(inAddress: link.webURL) != nil
        guard isLoop || target.isAllowed(by: desk.redirectHosts(owner)) else {
            throw LinkError.invalid([
                LinkProblem(
                    field: "web_url", detail: "must be on one of the app's redirect_hosts or its keys' origins.")
            ])
        }
        let key = try request.idempotencyKey("POST /v1/links", org: principal.org, body: body)
        return .json(try await links.store.add(link, isHere: isHere, once: key), status: .created)
    }

    /// Ten letters and digits: 51 bits.
    private static func slug() -> String {
        let letters = Array("abcdefghijkmnpqrstuvwxyz23456789".utf8)
        var random = SystemRandomNumberGenerator()
        let made = (0..<10).map { _ in letters[Int.random(in: 0..<letters.count, using: &random)] }
        return String(decoding: made, as: UTF8.self)
    }

    // MARK: first open

    private func resolve(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try desk.access.requireCapture(request, bodyKey: nil)
        try await desk.admit(principal, context)
        try await desk.charge(principal, events: 1)
        let body = try await RequestInput.json(request, limit: 16_384)
        var question = LinkStore.Question()
        question.clickID = body["click_id"]?.string
        question.referrer = body["referrer"]?.string
        question.deviceID = body["device_id"]?.string
        question.advertisingID = body["advertising_id"]?.string
        guard !question.isEmpty else {
            throw Problem.invalid([
                FieldProblem(
                    field: "body",
                    detail: "must have click_id, device_id, advertising_id or a referrer with one.")
            ])
        }
        let hours = desk.settings(principal.org, principal.app).linkResolveHours
        do {
            let found = try await links.store.resolve(question, org: principal.org, hours: hours)
            links.resolutions("resolved")
            var answer = Response.json(found)
            CrossOriginRoutes.allow(request, &answer.headers)
            return answer
        } catch let error as LinkError {
            links.resolutions(error.tag)
            throw Problem(error)
        }
    }

    // MARK: files of the stores

    private func registerFiles(in book: RouteBook) {
        book.get(
            "/.well-known/apple-app-site-association",
            RouteDescription("The iOS apps that open short links, from the apps' settings.", tag: "links")
        ) { _, _ in
            let ids = Set(links.apps().flatMap(\.iosApps)).sorted()
            let details = ids.map { id -> JSONValue in
                [
                    "appID": .string(id), "appIDs": [.string(id)], "paths": [.string(ShortLink.path + "*")],
                    "components": [["/": .string(ShortLink.path + "*")]],
                ]
            }
            return .json(["applinks": ["apps": [], "details": .array(details)]])
        }
        book.get(
            "/.well-known/assetlinks.json",
            RouteDescription("The Android apps that open short links, from the apps' settings.", tag: "links")
        ) { _, _ in
            var prints: [String: Set<String>] = [:]
            for app in links.apps().flatMap(\.androidApps) { prints[app.name, default: []].formUnion(app.fingerprints) }
            let statements = prints.sorted { $0.key < $1.key }.map { name, prints -> JSONValue in
                [
                    "relation": ["delegate_permission/common.handle_all_urls"],
                    "target": [
                        "namespace": "android_app", "package_name": .string(name),
                        "sha256_cert_fingerprints": .array(prints.sorted().map { .string($0) }),
                    ],
                ]
            }
            return .json(.array(statements))
        }
    }

    private static func mapped(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as LinkError { throw Problem(error) }
    }
}

extension Problem {
    init(_ error: LinkError) {
        switch error {
        case .invalid(let problems):
            self = .invalid(problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
        case .unknown, .clickUnknown: self = .notFound(code: error.tag, detail: error.sentence)
        case .clickExpired: self = .gone(code: error.tag, detail: error.sentence)
        case .slugTaken, .tooMany, .redirectLoop, .alreadyResolved:
            self = .conflict(code: error.tag, detail: error.sentence)
        }
    }
}
