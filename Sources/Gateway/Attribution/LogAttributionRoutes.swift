internal import Accounts
package import Attribution
package import AurumCore
internal import Hummingbird

/// Attribution from the log, and how a run of it is asked for.
package struct LogAttributionParts: Sendable {
    package var attribution: LogAttribution
    /// Makes a job that runs; answers its id.
    package var enqueue: @Sendable (_ wish: LogAttribution.Wish, _ org: String) async throws -> UID?
    /// Runs that wait or work now; none where nothing works in the background.
    package var atWork: @Sendable (_ org: String) async throws -> [RunAtWork] = { _ in [] }

    package init(
        _ attribution: LogAttribution,
        enqueue: @escaping @Sendable (_ wish: LogAttribution.Wish, _ org: String) async throws -> UID?
    ) {
        (self.attribution, self.enqueue) = (attribution, enqueue)
    }
}

/// A run over the log that is asked for and not done.
package struct RunAtWork: Sendable, Equatable {
    /// nil means all.
    package var conversion: String?
    package var isRunning: Bool

    package init(conversion: String?, isRunning: Bool) {
        (self.conversion, self.isRunning) = (conversion, isRunning)
    }
}

/// What counts as a conversion, runs over the log, and what they credited.
package struct LogAttributionRoutes: Sendable {
    let access: Access
    let parts: LogAttributionParts
    let clock: any WallClock

    package init(access: Access, parts: LogAttributionParts, clock: any WallClock) {
        (self.access, self.parts, self.clock) = (access, parts, clock)
    }

    static let models = LogModel.allCases.map(\.name).joined(separator: ", ")
    static let storedModels = LogModel.stored.map(\.name).joined(separator: ", ")
    private static let dimensions = LogDimension.allCases.map(\.rawValue).joined(separator: ", ")
    private static let definition: JSONValue = [
        "where": "type = conversion and name = demo_booked",
        "value": ["source": "fixed", "amount": "40.00", "currency": "USD"],
        "repeat": "once_per_person", "preset": "lead_sale", "view_hours": 12, "half_life_hours": 72,
        "custom": ["first": 0.5, "last": 0.5, "channels": ["direct": 0]], "starts_at": "2026-11-01",
    ]
    private static let wish: JSONValue = [
        "conversion": "purchase", "from": "2026-10-01", "to": "2026-11-01", "reason": "new window",
        "only_if_changed": false,
    ]
    private static let limitMax = 1000

    package func register(in book: RouteBook) {
        registerDefinitions(in: book)
        registerSchedules(in: book)
        registerWindows(in: book)
        registerExperiments(in: book)
        registerConversions(in: book)
        registerRuns(in: book)
        book.post(
            "/v1/attribution/recompute",
            RouteDescription(
                "Credits every conversion of the log anew, as a job; the result before it answers until all is done. "
                    + "Without a conversion live leads and sales too, unless live is false.",
                tag: "attribution", scope: .campaignsWrite, success: 202, body: Self.wish)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.mapped {
                let wish = try LogAttribution.Wish(body)
                try await parts.attribution.check(wish, org: principal.org)
                let job = try await parts.enqueue(wish, principal.org)
                return .json(["job": job.map { .string($0.hex) } ?? .null], status: .accepted)
            }
        }
        book.get(
            "/v1/attribution/log-report",
            RouteDescription(
                "Credit of one conversion under one model, from the newest run over the log.", tag: "attribution",
                scope: .analyticsRead,
                query: [
                    "conversion": "The conversion's name; purchase unless told.", "model": "\(Self.models).",
                    "group_by": "\(Self.dimensions); channel unless told.",
                    "version": "Of the result, if not the newest.",
                    "from": "Conversions of this day, UTC, or later: a date or RFC 3339.",
                    "to": "Days before this one.",
                ])
        ) { try await report($0, $1) }
        book.get(
            "/v1/attribution/journeys",
            RouteDescription(
                "The most frequent journeys that converted, from the newest run over the log.", tag: "attribution",
                scope: .analyticsRead,
                query: [
                    "conversion": "The conversion's name; purchase unless told.",
                    "version": "Of the result, if not the newest.", "limit": "1 to \(Self.limitMax), 100 unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            let name = try Self.conversion(request, standard: "purchase") ?? ""
            let version = try Self.version(request)
            return try await Self.mapped {
                .json(
                    try await parts.attribution.journeys(
                        org: principal.org, conversion: name, version: version, limit: limit))
            }
        }
    }

    private func registerRuns(in book: RouteBook) {
        book.get(
            "/v1/attribution/runs",
            RouteDescription(
                "Results of runs over the log, newest first.", tag: "attribution", scope: .analyticsRead,
                query: ["conversion": "Only of this conversion.", "limit": "1 to \(Self.limitMax), 100 unless told."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            let name = try Self.conversion(request, standard: nil)
            let heads = try await parts.attribution.runs(org: principal.org, conversion: name, limit: limit)
            return .json(["runs": .array(heads.map(\.json))])
        }
        book.get(
            "/v1/attribution/runs/{run}",
            RouteDescription(
                "Results of one run over the log, with the windows of networks and campaigns that it obeyed.",
                tag: "attribution", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            var found: [JSONValue] = []
            if let run = context.parameters.get("run").flatMap({ UID($0) }) {
                found = try await parts.attribution.runResults(org: principal.org, run: run)
            }
            guard !found.isEmpty else {
                throw Problem.notFound(code: "run_unknown", detail: "There is no result of a run of this id.")
            }
            return .json(["results": .array(found)])
        }
    }

    private func registerDefinitions(in book: RouteBook) {
        book.get(
            "/v1/attribution/conversions",
            RouteDescription(
                "What counts as a conversion, built-in ones among them, and which are credited by themselves.",
                tag: "attribution", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await parts.attribution.conversionList(org: principal.org))
        }
        book.get(
            "/v1/attribution/conversions/{name}",
            RouteDescription("Every version of one conversion.", tag: "attribution", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let all = try await parts.attribution.definitions.versions(org: principal.org, name: Self.name(context))
            guard !all.isEmpty else { throw Problem(LogAttributionError.unknownConversion("")) }
            return .json(["versions": .array(all.compactMap(\.json))])
        }
        book.put(
            "/v1/attribution/conversions/{name}",
            RouteDescription(
                "Saves a new version of a conversion, which holds from starts_at, now unless told.",
                tag: "attribution", scope: .campaignsWrite, body: Self.definition)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            let now = clock.now
            return try await Self.mapped {
                let saved = try await parts.attribution.definitions.save(
                    body, name: Self.name(context), org: principal.org, now: now)
                return .json(saved.json ?? .null)
            }
        }
        book.delete(
            "/v1/attribution/conversions/{name}",
            RouteDescription(
                "Ends a conversion: runs leave it out; results stay.", tag: "attribution", scope: .campaignsWrite,
                success: 204)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            return try await Self.mapped {
                try await parts.attribution.definitions.remove(name: Self.name(context), org: principal.org)
                return Response(status: .noContent)
            }
        }
    }

    private func report(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.analyticsRead, request)
        guard let model = LogModel(name: RequestInput.text("model", request) ?? CreditModel.last.rawValue) else {
            throw Problem.badQuery(name: "model", detail: "must be one of \(Self.models).")
        }
        guard let dimension = LogDimension(rawValue: RequestInput.text("group_by", request) ?? "channel") else {
            throw Problem.badQuery(name: "group_by", detail: "must be one of \(Self.dimensions).")
        }
        let name = try Self.conversion(request, standard: "purchase") ?? ""
        let version = try Self.version(request)
        let (from, to) = (try Self.moment("from", request), try Self.moment("to", request))
        return try await Self.mapped {
            .json(
                try await parts.attribution.report(
                    org: principal.org, conversion: name, model: model, by: dimension, version: version, from: from,
                    to: to))
        }
    }

    static func name(_ context: GatewayContext) -> String { context.parameters.get("name") ?? "" }

    static func conversion(_ request: Request, standard: String?) throws(Problem) -> String? {
        guard let name = RequestInput.text("conversion", request) else { return standard }
        guard ConversionDefinition.isName(name) else {
            throw .badQuery(name: "conversion", detail: "must be the name of a conversion.")
        }
        return name
    }

    static func version(_ request: Request) throws(Problem) -> Int? {
        guard RequestInput.text("version", request) != nil else { return nil }
        return try RequestInput.integer("version", request, in: 1...Int(Int32.max), standard: 1)
    }

    static func moment(_ name: String, _ request: Request) throws(Problem) -> Timestamp? {
        do throws(LogAttributionError) {
            return try LogAttribution.Wish.moment(name, RequestInput.text(name, request))
        } catch { throw .badQuery(name: name, detail: "must be a date or RFC 3339.") }
    }

    static func mapped(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as LogAttributionError { throw Problem(error) }
    }
}

extension Problem {
    init(_ error: LogAttributionError) {
        switch error {
        case .invalid(let field, let detail): self = .invalid([FieldProblem(field: field, detail: detail)])
        case .unknownConversion, .unknownSchedule, .unknownWindow, .noResult, .unknownEvent:
            self = .notFound(code: error.tag, detail: error.sentence)
        case .erasedEvent: self = .gone(code: error.tag, detail: error.sentence)
        case .tooLarge, .notYetRun, .notCredited, .notFitted, .noCustomWeights:
            self = .conflict(code: error.tag, detail: error.sentence)
        case .storage, .busy: self = .internalError
        case .cancelled, .slow: self = .unavailable(code: error.tag, detail: error.sentence)
        }
    }
}
