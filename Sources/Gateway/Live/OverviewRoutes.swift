internal import Accounts
internal import AurumCore
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// The dashboard's figures and the path of one dollar.
struct OverviewRoutes: Sendable {
    let access: Access
    let feed: OverviewFeed
    let explainer: Explainer

    func register(in book: RouteBook) {
        book.get(
            "/v1/overview", RouteDescription("The dashboard's document.", tag: "reports", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let text = try await feed.document(org: principal.org)
            return Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: .init(byteBuffer: ByteBuffer(string: text)))
        }
        book.get(
            "/v1/explain/{leg}",
            RouteDescription("The path that earned one dollar.", tag: "reports", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let missing = Problem.notFound(code: "leg_unknown", detail: "There is no such sale.")
            let leg = try RequestInput.uid("leg", context, missing: missing)
            guard let document = try await explainer.document(org: principal.org, leg: leg) else { throw missing }
            return .json(document)
        }
        book.get(
            "/v1/explain/{leg}/credit",
            RouteDescription(
                "The touches that were looked at for the credit of one sale, why some earn nothing, and the formulas.",
                tag: "reports", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let missing = Problem.notFound(code: "leg_unknown", detail: "There is no such sale.")
            let leg = try RequestInput.uid("leg", context, missing: missing)
            guard let credit = try await explainer.credit(org: principal.org, leg: leg) else { throw missing }
            return .json(credit)
        }
    }
}
