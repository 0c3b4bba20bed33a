internal import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Leads
internal import NIOCore
internal import Runtime

/// The pages of the product: landing with chat, sign-in, dashboard, explain-this-dollar, explorer, live events,
/// funnel, and the files they need.
struct PageRoutes: Sendable {
    let pages: PageRenderer
    let keys: KeyStore
    let sessions: SignIns
    let leads: LeadReads
    let site: ChatSiteSettings
    let limiter: any RateLimiter
    let files = StaticFiles()

    private var forms: PageForms { PageForms(pages: pages) }

    func register(in book: RouteBook) {
        book.get("/", RouteDescription("The landing page with its chat.", tag: "pages")) { _, _ in
            try pages.page(
                "landing", ["siteKey": .string(site.publishableKey), "operatorName": .string(site.operatorName)])
        }
        book.get("/login", RouteDescription("The sign-in form.", tag: "pages")) { request, _ in
            try loginPage(next: RequestInput.text("next", request), error: nil)
        }
        book.post("/login", RouteDescription("Signs in with the admin token.", tag: "pages", success: 303)) {
            try await signIn($0, $1)
        }
        book.post("/logout", RouteDescription("Signs out.", tag: "pages", success: 303)) { request, _ in
            try await signOut(request)
        }
        for (name, summary) in Self.boards {
            book.get("/" + name, RouteDescription(summary, tag: "pages", success: 200)) { request, _ in
                guard let reader = reader(request) else { return PageForms.signIn(request) }
                let sets = JSONValue.bool(reader.has(.campaignsWrite))
                return try forms.page(name, ["on-" + name: true, "sets-campaigns": sets], in: request)
            }
        }
        book.get("/explain/{leg}", RouteDescription("The path that earned one dollar.", tag: "pages")) {
            try await explain($0, $1)
        }
        for (path, file) in files.files {
            book.get(path, RouteDescription("A file of the pages.", tag: "assets")) { request, _ in
                files.response(file, request)
            }
        }
    }

    /// Pages that show nothing but what their scripts ask for: template and path, and what they are.
    private static let boards = [
        ("dashboard", "The live dashboard."),
        ("campaigns", "What campaigns cost and earned, under each credit model."),
        ("journeys", "Conversions of runs over the log, and why each was credited as it was."),
        ("cohorts", "Cohorts with their worth and retention, saturation, budget advice and networks' claims."),
        ("uploads", "Conversions that are sent to advertising networks: where to, and what became of each."),
        ("fraud", "What the fraud rules decided, publishers, and proposals that a person decides on."),
        ("explore", "Questions about events, as a chart and a table; the question stands in the link."),
        ("live", "Events as they arrive."),
        ("funnel", "How many persons get from step to step."),
        ("jobs", "Work in the background: what waits, runs and is dead."),
        ("database", "Statements, slow calls with their plans, connections."),
    ]

    /// Who is signed in, if that person may see figures.
    private func reader(_ request: Request) -> Principal? {
        guard let principal = sessions.principal(cookies: request.headers[.cookie]), principal.has(.analyticsRead)
        else { return nil }
        return principal
    }

    private func explain(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let missing = Problem.notFound(code: "leg_unknown", detail: "There is no such sale.")
        let id = try RequestInput.uid("leg", context, missing: missing)
        guard let principal = reader(request) else { return PageForms.redirect("/login?next=/explain/\(id.hex)") }
        guard let leg = try await leads.explain(org: principal.org, leg: id)?["leg"] else { throw missing }
        let currency = leg["currency"]?.string.flatMap { Currency($0) } ?? .usd
        let price = Money(minorUnits: leg["price_minor"]?.integer ?? 0, currency: currency)
        var values: [String: JSONValue] = [
            "leg": .string(id.hex), "amount": .string(currency == .usd ? "$" + price.decimal : price.description),
            "buyer": .string(leg["buyer"]?.string ?? ""), "state": .string(leg["state"]?.string ?? ""),
        ]
        values["soldAt"] = leg["at"]
        return try forms.page("explain", values, in: request)
    }

    // MARK: sign-in

    /// Sign-ins tried from one address, right or wrong.
    private static let attempts = RateLimit.slidingLog(
        "sign_in", 10, in: .seconds(120), degradedMode: .localFull)

    private func loginPage(next: String?, error: String?) throws -> Response {
        var values: [String: JSONValue] = ["next": .string(Self.safe(next))]
        if let error { values["error"] = .string(error) }
        return try forms.page("login", values, status: error == nil ? .ok : .unauthorized, in: nil)
    }

    private func signIn(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await limiter.check(RateRequest(Self.attempts, .net, context.clientAddress))
        let form = try await PageForms.fields(request)
        guard PageForms.isOurs(form, request) else {
            return try loginPage(next: form["next"], error: "The form had expired. Please try again.")
        }
        let token = (form["token"] ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
        guard let principal = keys.principal(forKey: token), principal.kind == .admin else {
            return try loginPage(next: form["next"], error: "That token is not right.")
        }
        var response = PageForms.redirect(Self.safe(form["next"]))
        // A browser that was signed in before gets a new session, never the old one again.
        try await sessions.end(cookies: request.headers[.cookie])
        response.headers[values: .setCookie].append(
            try await sessions.start(principal, userAgent: request.headers[.userAgent]))
        return response
    }

    private func signOut(_ request: Request) async throws -> Response {
        let form = try await PageForms.fields(request)
        guard PageForms.isOurs(form, request) else { throw Problem.formExpired }
        try await sessions.end(cookies: request.headers[.cookie])
        return PageForms.redirect("/login")
    }

    /// Only paths of our own: a sign-in must not send anybody to another site.
    private static func safe(_ next: String?) -> String {
        guard let next, next.hasPrefix("/"), !next.hasPrefix("//"), !next.contains("\\"),
            next.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { return "/dashboard" }
        return next
    }
}

/// The site the landing page's chat belongs to.
package struct ChatSiteSettings: Sendable {
    package var publishableKey: String
    package var operatorName: String
    package var flowID: String

    package init(publishableKey: String, operatorName: String, flowID: String) {
        self.publishableKey = publishableKey
        self.operatorName = operatorName
        self.flowID = flowID
    }
}
