internal import Accounts
internal import AurumCore
internal import HTTPTypes
internal import Hummingbird
internal import Runtime
internal import Solar

/// Where a ZIP lies and what a roof there yields.
struct SolarRoutes: Sendable {
    let access: Access
    let limiter: any RateLimiter
    /// Calls of one address.
    private static let calls = RateLimit.slidingCounter("solar_address", 600, in: .seconds(60))
    private let territory: Territory?

    init(access: Access, limiter: any RateLimiter) {
        self.access = access
        self.limiter = limiter
        territory = try? Territory()
    }

    func register(in book: RouteBook) {
        book.get(
            "/v1/solar/territory/{zip}",
            RouteDescription(
                "Borough, utility and weather station of a ZIP code.", tag: "solar",
                query: ["key": "A publishable key, unless one is in a header."])
        ) { request, context in
            try await admit(request, context)
            guard let territory else { throw Problem.internalError }
            return try Self.answer(territory.lookup(context.parameters.get("zip") ?? ""))
        }
        book.get(
            "/v1/solar/production",
            RouteDescription(
                "Yearly and monthly energy of a fixed array, by the PVWatts v8 method.", tag: "solar",
                query: [
                    "key": "A publishable key, unless one is in a header.", "station": "725033, 725030 or 744860.",
                    "tilt": "Degrees.", "azimuth": "Degrees from north.", "kilowatts": "DC size.",
                    "dc-ac": "DC to AC ratio.", "losses": "Percent.", "inverter-efficiency": "Percent.",
                    "mount": "roof or rack.",
                ])
        ) { request, context in
            try await admit(request, context)
            var options: [String: String] = [:]
            for (name, value) in request.uri.queryParameters where name != "key" {
                options[String(name)] = String(value)
            }
            do {
                return try .encoded(try PVWatts.produce(try ProductionRequest(options: options)))
            } catch let error as ProductionError {
                throw Problem.invalid([FieldProblem(field: error.field, detail: error.description)])
            }
        }
    }

    private func admit(_ request: Request, _ context: GatewayContext) async throws {
        let queryKey = RequestInput.text("key", request).flatMap { access.keys.principal(forKey: $0) }
        guard let principal = access.principal(request) ?? queryKey else { throw Problem.unknownKey }
        try access.checkOrigin(request.headers[.origin], principal, host: request.head.authority)
        try await limiter.check(RateRequest(Self.calls, .net, context.clientAddress))
    }

    private static func answer(_ answer: TerritoryAnswer) throws -> Response {
        switch answer {
        case .served(let place):
            return .json([
                "answer": "served", "zip": .string(place.zip), "borough": .string(place.borough.rawValue),
                "city": .string(place.city), "utility": .string(place.utility.name),
                "station": .string(place.station.rawValue),
            ])
        case .askBorough(let question):
            return .json([
                "answer": "ask", "zip": .string(question.zip), "why": .string(question.why),
                "choices": .array(
                    question.choices.map {
                        ["borough": .string($0.borough.rawValue), "utility": .string($0.utility.name)]
                    }),
            ])
        case .mailbox(let zip, let borough):
            return .json(["answer": "mailbox", "zip": .string(zip), "borough": .string(borough.rawValue)])
        case .outside(let zip): return .json(["answer": "outside", "zip": .string(zip)])
        case .invalid:
            throw Problem.invalid([FieldProblem(field: "zip", detail: "a ZIP code is five digits")])
        }
    }
}
