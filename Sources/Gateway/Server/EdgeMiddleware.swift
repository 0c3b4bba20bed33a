package import AurumCore
package import Database
internal import Foundation
internal import HTTPTypes
package import Hummingbird
internal import Logging
package import Telemetry

/// Around every request: id, metrics, security headers, and the one place where errors become problem documents.
package struct EdgeMiddleware: RouterMiddleware {
    package typealias Context = GatewayContext

    private let registry: MetricRegistry
    private let clock: any WallClock
    private let inFlight: Gauge
    /// Told which statements a request ran again and again.
    private let repeats: RepeatedStatements?
    /// Shows problems to people; without it everybody reads documents.
    private let pages: PageRenderer?
    /// Where refusals may be read by pages of other origins; the book of the routes fills it.
    package let crossOrigin = CrossOriginRoutes()

    package init(
        registry: MetricRegistry, clock: any WallClock, pages: PageRenderer? = nil, repeats: RepeatedStatements? = nil
    ) {
        self.registry = registry
        self.clock = clock
        self.pages = pages
        self.repeats = repeats
        inFlight = registry.gauge(.httpRequestsInFlight)
    }

    package func handle(
        _ request: Request, context: GatewayContext,
        next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let started = ContinuousClock.now
        var context = context
        context.requestID = RequestID.choose(request.headers[RequestID.header], now: clock.now)
        context.logger[metadataKey: "request_id"] = .string(context.requestID)
        begin()
        let scope = repeats.map { _ in RequestScope() }
        var response: Response
        do {
            response = try await RequestScope.$current.withValue(scope) { [context] in
                try await next(request, context)
            }
        } catch {
            let problem = Problem(error, request: request)
            report(
                problem, error, method: request.method, route: context.endpointPath ?? "unmatched", context.logger)
            response = problem.response(requestID: context.requestID)
            if var page = page(problem, request) {
                for name in [HTTPField.Name.allow, .retryAfter, .wwwAuthenticate] {
                    page.headers[name] = response.headers[name]
                }
                response = page
            }
            if crossOrigin.hold(request, endpoint: context.endpointPath) {
                CrossOriginRoutes.allow(request, &response.headers)
            }
        }
        Self.finish(&response.headers, requestID: context.requestID)
        if request.method == .head { response = response.withoutBody }
        let route = context.endpointPath ?? "unmatched"
        settle(request.method, route: route, response.status, since: started)
        if let scope { repeats?.settle(scope, route: "\(request.method.rawValue) \(route)") }
        return response
    }

    /// A problem as a page, for a browser that came for one; the API answers documents to everybody.
    private func page(_ problem: Problem, _ request: Request) -> Response? {
        guard let pages, request.headers[.accept]?.contains("text/html") == true,
            !request.uri.path.hasPrefix("/v1/")
        else { return nil }
        let words: [String: JSONValue] = [
            "heading": .string(problem.status.reasonPhrase), "detail": .string(problem.detail),
        ]
        return try? pages.page("problem", words, status: problem.status)
    }

    /// A refusal in metrics and log.
    func report(
        _ problem: Problem, _ error: any Error, method: HTTPRequest.Method, route: String, _ logger: Logger
    ) {
        registry.counter(.httpRejected, route, problem.code).increment()
        logger.log(
            level: problem.logLevel, "request refused",
            metadata: [
                "code": .string(problem.code), "method": .string(method.rawValue), "route": .string(route),
                "error": .string(problem == .internalError ? "\(error)" : ""),
            ])
    }

    /// A request is being answered: `settle` or `abandon` follows.
    func begin() { inFlight.add(1) }

    /// Its client left before it had come whole.
    func abandon() { inFlight.add(-1) }

    /// A request was answered.
    func settle(
        _ method: HTTPRequest.Method, route: String, _ status: HTTPResponse.Status,
        since started: ContinuousClock.Instant
    ) {
        inFlight.add(-1)
        registry.counter(.httpRequests, route, method.rawValue, "\(status.code / 100)xx").increment()
        registry.histogram(.httpRequestDuration, route, method.rawValue).observe(ContinuousClock.now - started)
    }

    /// What every answer carries.
    static func finish(_ headers: inout HTTPFields, requestID: String) {
        headers[RequestID.header] = requestID
        headers[.xContentTypeOptions] = "nosniff"
        headers[.referrerPolicy] = "no-referrer"
        headers[.crossOriginOpenerPolicy] = "same-origin"
        headers[.permissionsPolicy] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
    }
}

extension Response {
    /// The answer to HEAD: the headers of the answer to GET, its length among them.
    fileprivate var withoutBody: Response {
        var answer = createHeadResponse()
        // The compressor would send the frame of an empty file; `UpgradeChannel` takes the mark off.
        answer.headers[.bodyless] = "1"
        return answer
    }
}

extension HTTPField.Name {
    static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
    static let crossOriginOpenerPolicy = HTTPField.Name("Cross-Origin-Opener-Policy")!
    static let crossOriginResourcePolicy = HTTPField.Name("Cross-Origin-Resource-Policy")!
    static let permissionsPolicy = HTTPField.Name("Permissions-Policy")!
    static let aurumReceipt = HTTPField.Name("Aurum-Receipt")!
    /// Marks answers to HEAD on their way to the connection; no client sees it.
    static let bodyless = HTTPField.Name("Aurum-Bodyless")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let writeKey = HTTPField.Name("X-Write-Key")!
    static let globalPrivacyControl = HTTPField.Name("Sec-GPC")!
}

extension Problem {
    /// The problem of whatever a route threw. What nobody foresaw is an internal error and says no more.
    init(_ error: any Error, request: Request) {
        switch error {
        case let problem as Problem: self = problem
        case let error as HTTPError where error.status == .notFound:
            let path = request.uri.path
            let versioned = path.range(of: "^/v[0-9]+(/|$)", options: .regularExpression) != nil
            self =
                versioned && !path.hasPrefix("/v1")
                ? .unknownVersion : .notFound(code: "not_found", detail: "There is nothing at this path.")
        case let error as HTTPError where error.status == .contentTooLarge: self = .bodyTooLarge(limitBytes: 0)
        case let error as HTTPError where error.status == .badRequest: self = .malformedBody(offset: nil)
        case SQLError.commitUnknown:
            self = .unavailable(
                code: "commit_unknown",
                detail: "Whether this was stored is not known. Send it again with the same idempotency key.")
        case let error as BulkWrites.Refused: self = Problem(error)
        case is IdempotencyKeyReused:
            self = .conflict(
                code: "idempotency_key_reused", detail: "This key was used before with another request.")
        case SQLError.diskFull:
            self = .unavailable(
                code: "disk_full", detail: "The disk is full and nothing of this was stored. Reads go on.")
        case let error as SQLError where error.isTemporary:
            self = .unavailable(
                code: "database_unavailable", detail: "The database does not take this now. Try again in a moment.")
        case is DecodingError, is BrokenRequest: self = .malformedBody(offset: nil)
        default: self = .internalError
        }
    }
}

extension Problem {
    init(_ refused: BulkWrites.Refused) { self = .unavailable(code: "disk_nearly_full", detail: refused.sentence) }
}
