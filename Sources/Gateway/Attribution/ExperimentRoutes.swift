internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird

extension LogAttributionRoutes {
    private static let experimentPath = "/v1/attribution/experiments"
    private static let experimentBytesMax = 1 << 20
    private static let example: JSONValue = [
        "name": "search-october", "method": "geo_holdout", "channel": "paid_search", "conversion": "purchase",
        "from": "2026-10-01", "to": "2026-10-29", "currency": "USD",
        "regions": [
            ["region": "Albany", "side": "treated", "conversions": 120, "spend_minor": 100_000, "size": 9000],
            ["region": "Buffalo", "side": "treated", "conversions": 240, "spend_minor": 190_000, "size": 17_000],
            ["region": "Rochester", "side": "treated", "conversions": 150, "spend_minor": 120_000, "size": 11_000],
            ["region": "Syracuse", "side": "treated", "conversions": 160, "spend_minor": 130_000, "size": 12_000],
            ["region": "Dayton", "side": "control", "conversions": 80, "size": 8000],
            ["region": "Akron", "side": "control", "conversions": 140, "size": 13_000],
            ["region": "Toledo", "side": "control", "conversions": 100, "size": 10_000],
            ["region": "Canton", "side": "control", "conversions": 90, "size": 9500],
        ],
    ]

    func registerExperiments(in book: RouteBook) {
        book.post(
            Self.experimentPath,
            RouteDescription(
                "Imports an incrementality experiment: answers its lift and 95 % interval; data_driven goes by it.",
                tag: "attribution", scope: .campaignsWrite, success: 201, body: Self.example)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request, limit: Self.experimentBytesMax)
            return try await Self.tried {
                .json(try await parts.attribution.experiments.add(body, org: principal.org).json, status: .created)
            }
        }
        book.get(
            Self.experimentPath,
            RouteDescription(
                "Imported experiments and what they measured, the newest days first.", tag: "attribution",
                scope: .analyticsRead, query: ["conversion": "Only those that counted this conversion."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let name = try Self.conversion(request, standard: nil)
            let all = try await parts.attribution.experiments.all(org: principal.org, conversion: name)
            return .json(["experiments": .array(all.map(\.json))])
        }
        book.get(
            Self.experimentPath + "/{name}",
            RouteDescription(
                "One experiment with its regions, and what it leaves of its channel's credit in the newest run.",
                tag: "attribution", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            return try await Self.tried {
                .json(try await parts.attribution.experiment(Self.name(context), org: principal.org))
            }
        }
        book.delete(
            Self.experimentPath + "/{name}",
            RouteDescription(
                "Removes an experiment: reports from now on go without it.", tag: "attribution",
                scope: .campaignsWrite, success: 204)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            return try await Self.tried {
                try await parts.attribution.experiments.remove(Self.name(context), org: principal.org)
                return Response(status: .noContent)
            }
        }
    }

    private static func tried(_ body: () async throws -> Response) async throws -> Response {
        try await mapped {
            do { return try await body() } catch let error as ExperimentError { throw Problem(error) }
        }
    }
}

extension Problem {
    init(_ error: ExperimentError) {
        switch error {
        case .invalid(let field, let detail): self = .invalid([FieldProblem(field: field, detail: detail)])
        case .unknown: self = .notFound(code: error.tag, detail: error.sentence)
        case .notEnoughRegions, .notEnoughConversions, .nameTaken, .tooMany:
            self = .conflict(code: error.tag, detail: error.sentence)
        }
    }
}
