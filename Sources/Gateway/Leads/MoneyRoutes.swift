internal import Accounts
internal import AurumCore
internal import Hummingbird
internal import Leads

/// Buyers, what they owe, and leads they give back.
struct MoneyRoutes: Sendable {
    let access: Access
    let parts: GatewayParts

    private static let example: JSONValue = [
        "code": "sunco", "name": "SunCo", "state": "active", "ping": "https://buyer.example.com/ping",
        "post": "https://buyer.example.com/post", "leadTypes": ["rooftop"], "exclusive": true, "maxLegs": 1,
        "timeZone": "America/New_York", "currency": "USD", "caps": [["unit": "day", "limit": 50]],
        "returnWindowDays": 14,
    ]

    func register(in book: RouteBook) {
        book.get(
            "/v1/buyers", RouteDescription("Buyers, without their credentials.", tag: "buyers", scope: .buyersWrite)
        ) {
            request, _ in
            let principal = try access.require(.buyersWrite, request)
            return .json(["buyers": .array(try await parts.buyers.list(org: principal.org))])
        }
        book.get("/v1/buyers/{code}", RouteDescription("One buyer.", tag: "buyers", scope: .buyersWrite)) {
            request, context in
            let principal = try access.require(.buyersWrite, request)
            let code = context.parameters.get("code") ?? ""
            guard let buyer = try await parts.buyers.read(org: principal.org, code: code) else {
                throw Problem.notFound(code: "buyer_unknown", detail: "There is no such buyer.")
            }
            return .json(buyer)
        }
        book.put(
            "/v1/buyers/{code}",
            RouteDescription("Makes or changes a buyer.", tag: "buyers", scope: .buyersWrite, body: Self.example)
        ) { request, context in
            let principal = try access.require(.buyersWrite, request)
            let body = try await RequestInput.json(request, limit: 65_536)
            do {
                return .json(
                    try await parts.buyers.put(
                        org: principal.org, code: context.parameters.get("code") ?? "", body: body))
            } catch let error as LeadIntakeError { throw Problem(error) } catch BuyerRegistry.Failure.tooMany {
                throw Problem.conflict(
                    code: "too_many_buyers", detail: "The organisation has as many buyers as it may.")
            }
        }
        book.get(
            "/v1/ledger",
            RouteDescription(
                "Balances and the latest entries.", tag: "money", scope: .ledgerRead, query: ["limit": "1 to 1000."])
        ) { request, _ in
            let principal = try access.require(.ledgerRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...1000, standard: 200)
            return .json(try await parts.ledger.document(org: principal.org, limit: limit))
        }
    }
}
