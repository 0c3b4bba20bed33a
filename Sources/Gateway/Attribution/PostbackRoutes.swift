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
                "Postbacks with their verdicts, newest first, and counts.", tag: "attribution", scope: .analyticsRead,
                query: [
                    "state": "counted, duplicate, conflict or refused.", "verdict": "valid, invalid or unverifiable.",
                    "app_id": "The advertised app.", "limit": "1 to 1000.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await store.document(org: principal.org, try filter(request)))
        }
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
        if let text = RequestInput.text("app_id", request) {
            guard let app = Int64(text) else { throw .badQuery(name: "app_id", detail: "must be a whole number.") }
            filter.appID = app
        }
        return filter
    }
}
