internal import Accounts
package import Attribution
internal import AurumCore
internal import Hummingbird
internal import NIOCore
package import Runtime

/// Receivers of Apple's postbacks, and what came in. Devices send without a key, so the verdict is in the signature; a
/// device is told 200 whatever it is, because anything else makes it try again for nine days.
package struct PostbackRoutes: Sendable {
    private let access: Access
    private let store: PostbackStore
    private let limiter: any RateLimiter
    /// Postbacks of one address.
    private let perAddress: RateLimit

    private static let receivers = [
        "/.well-known/skadnetwork/report-attribution", "/.well-known/appattribution/report-attribution",
        "/v1/postbacks/skadnetwork", "/v1/postbacks/adattributionkit",
    ]
    private static let example: JSONValue = [
        "version": "4.0", "ad-network-id": "com.example", "source-identifier": "5239", "app-id": 525_463_029,
        "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e30", "redownload": false, "source-domain": "example.com",
        "fidelity-type": 1, "did-win": true, "postback-sequence-index": 0, "conversion-value": 63,
        "attribution-signature":
            "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo=",
    ]

    private static let schemaExample: JSONValue = [
        "starts_at": "2026-11-01", "currency": "USD",
        "fine": [
            ["from": 0, "events": ["install"], "revenue_max_minor": 0],
            ["from": 1, "to": 31, "events": ["signup"], "revenue_max_minor": 0],
            ["from": 32, "to": 63, "events": ["purchase"], "revenue_min_minor": 100, "revenue_max_minor": 5000],
        ],
        "coarse": [
            ["value": "low", "events": ["open"]],
            ["value": "high", "window": 1, "events": ["purchase"], "revenue_max_minor": 9900],
        ],
    ]

    package init(
        access: Access, store: PostbackStore, limiter: any RateLimiter,
        perAddress: RateLimit = .gcra("postback_address", 200, in: .seconds(1), burst: 4000)
    ) {
        (self.access, self.store, self.limiter, self.perAddress) = (access, store, limiter, perAddress)
    }

    package func register(in book: RouteBook) {
        for path in Self.receivers {
            book.post(
                path,
                RouteDescription(
                    "Stores a postback of SKAdNetwork or AdAttributionKit; 200 once it is on disk, valid or not.",
                    tag: "attribution", body: Self.example)
            ) { try await receive($0, $1) }
        }
        book.get(
            "/v1/attribution/postbacks",
            RouteDescription(
                "Postbacks with their verdicts and what their values mean, newest first, a page at a time, and counts.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "state": "counted, duplicate, conflict or refused.", "verdict": "valid, invalid or unverifiable.",
                    "app_id": "The advertised app.", "network": "As the postback calls it.",
                    "limit": "1 to 1000, 100 unless told.", "after": "`next` of the page before.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await store.document(org: principal.org, try filter(request)))
        }
        registerSummary(in: book)
        registerSchemas(in: book)
    }

    private func registerSummary(in book: RouteBook) {
        book.get(
            "/v1/attribution/postbacks/summary",
            RouteDescription(
                "Counted postbacks of production: won and lost, values, events and the range of revenue they mean.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "group_by": "\(GrowthRoutes.names(PostbackQuestion.Dimension.self)); campaign unless told.",
                    "app_id": "The advertised app.", "from": "A date of UTC; postbacks that came in then or later.",
                    "to": "A date, not included, at most \(PostbackQuestion.daysMax) days after from.",
                    "days": "So many days before to, in place of from; 30 unless told.",
                ]
            ).bulk
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.question(request)
            do { return .json(try await store.summary(org: principal.org, question)) } catch let error
                as PostbackSummaryError
            {
                switch error {
                case .badRange(let name, let detail): throw Problem.badQuery(name: name, detail: detail)
                }
            }
        }
    }

    private func registerSchemas(in book: RouteBook) {
        let path = "/v1/attribution/postbacks/schemas"
        book.get(
            path,
            RouteDescription(
                "What conversion values mean: the newest schema of every app.", tag: "attribution",
                scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(["schemas": .array(try await store.schemas.newest(org: principal.org).map(\.json))])
        }
        book.get(
            path + "/{app}",
            RouteDescription(
                "Every version of an app's schema, newest first.", tag: "attribution", scope: .analyticsRead,
                query: ["limit": "1 to 1000, 100 unless told."])
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...1000, standard: 100)
            let versions = try await store.schemas.versions(
                org: principal.org, appID: try Self.app(context), limit: limit)
            return .json(["versions": .array(versions.map(\.json))])
        }
        book.put(
            path + "/{app}",
            RouteDescription(
                "Saves a new version of an app's schema, which holds from starts_at, today in UTC unless told.",
                tag: "attribution", scope: .campaignsWrite, body: Self.schemaExample)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let app = try Self.app(context)
            let body = try await RequestInput.json(request, limit: 65_536)
            do {
                let saved = try await store.schemas.save(
                    body, org: principal.org, appID: app, actor: principal.keyID)
                return .json(saved.json)
            } catch let error as ConversionSchemaError { throw Problem(error) }
        }
    }

    private static func app(_ context: GatewayContext) throws(Problem) -> Int64 {
        guard let app = context.parameters.get("app").flatMap({ Int64($0) }), app > 0 else {
            throw .invalid([FieldProblem(field: "app_id", detail: "must be a whole number from 1.")])
        }
        return app
    }

    private static func question(_ request: Request) throws(Problem) -> PostbackQuestion {
        var question = PostbackQuestion()
        question.dimension = try GrowthRoutes.choice("group_by", request, standard: question.dimension)
        question.appID = try appID(request)
        (question.from, question.to) = (try GrowthRoutes.date("from", request), try GrowthRoutes.date("to", request))
        if question.from != nil, RequestInput.text("days", request) != nil {
            throw .badQuery(name: "days", detail: "must not stand beside from.")
        }
        question.days = try RequestInput.integer(
            "days", request, in: 1...PostbackQuestion.daysMax, standard: question.days)
        return question
    }

    private static func appID(_ request: Request) throws(Problem) -> Int64? {
        guard let text = RequestInput.text("app_id", request) else { return nil }
        guard let app = Int64(text) else { throw .badQuery(name: "app_id", detail: "must be a whole number.") }
        return app
    }

    private func receive(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await limiter.check(RateRequest(perAddress, .net, context.clientAddress))
        let body = try await RequestInput.body(request, limit: PostbackVerifier.bodyBytesMax)
        do {
            let receipt = try await store.receive(Array(body.readableBytesView))
            return .json([
                "verdict": .string(receipt.postback.verdict.rawValue), "reason": .string(receipt.postback.reason),
                "state": .string(receipt.state.rawValue),
            ])
        } catch is PostbackError {
            throw Problem.malformedBody(offset: nil)
        } catch {
            throw Problem.unavailable(
                code: "storage_failed", detail: "The postback could not be stored; send it again.")
        }
    }

    private func filter(_ request: Request) throws(Problem) -> PostbackFilter {
        var filter = PostbackFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...1000, standard: 100)
        if let text = RequestInput.text("state", request) {
            guard let state = PostbackReceipt.State(rawValue: text) else {
                throw .badQuery(name: "state", detail: "must be counted, duplicate, conflict or refused.")
            }
            filter.state = state
        }
        if let text = RequestInput.text("verdict", request) {
            guard let verdict = Postback.Verdict(rawValue: text) else {
                throw .badQuery(name: "verdict", detail: "must be valid, invalid or unverifiable.")
            }
            filter.verdict = verdict
        }
        filter.appID = try Self.appID(request)
        filter.adNetwork = try GrowthRoutes.text("network", request)
        if let text = RequestInput.text("after", request) {
            guard let mark = PostbackPageMark(text) else {
                throw .badQuery(name: "after", detail: "must be the `next` of a page.")
            }
            filter.after = mark
        }
        return filter
    }
}

extension Problem {
    init(_ error: ConversionSchemaError) {
        switch error {
        case .invalid(let field, let detail): self = .invalid([FieldProblem(field: field, detail: detail)])
        case .tooMany: self = .conflict(code: "postback_schemas_full", detail: error.sentence)
        }
    }
}
