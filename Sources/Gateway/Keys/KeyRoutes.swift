internal import Accounts
internal import AurumCore
internal import Hummingbird

/// Making, listing and ending keys.
struct KeyRoutes: Sendable {
    let access: Access
    let keys: KeyStore

    private static let example: JSONValue = [
        "name": "website", "scopes": ["events:write"], "publishable": true, "origins": ["https://www.example.com"],
        "org": "default", "app": "default", "events_per_second": 5000,
    ]

    func register(in book: RouteBook) {
        book.get("/v1/keys", RouteDescription("Keys of the organisation.", tag: "keys", scope: .keysManage)) {
            request, _ in
            let principal = try access.require(.keysManage, request)
            let org = RequestInput.text("org", request) ?? principal.org
            return try .encoded(["keys": keys.list(org: org)])
        }
        book.post(
            "/v1/keys",
            RouteDescription(
                "Makes a key. Its text is in this answer and nowhere else.", tag: "keys", scope: .keysManage,
                success: 201, body: Self.example)
        ) { request, _ in
            let principal = try access.require(.keysManage, request)
            let body = try await RequestInput.json(request)
            do {
                let made = try await keys.create(try Self.request(body, principal))
                return .json(
                    [
                        "id": .string(made.summary.id), "key": .string(made.text.exposed),
                        "scopes": .array(made.summary.scopes.map { .string($0.rawValue) }),
                        "org": .string(made.summary.org), "app": .string(made.summary.app),
                    ], status: .created)
            } catch let error as KeyError { throw Problem(error) }
        }
        book.patch(
            "/v1/keys/{id}",
            RouteDescription(
                "Holds a key to so many events a second from the next request on; null to what holds for its kind.",
                tag: "keys", scope: .keysManage, body: ["events_per_second": 5000])
        ) { try await setRate($0, $1) }
        book.delete(
            "/v1/keys/{id}", RouteDescription("Ends a key at once.", tag: "keys", scope: .keysManage, success: 204)
        ) {
            request, context in
            let principal = try access.require(.keysManage, request)
            let org = RequestInput.text("org", request) ?? principal.org
            do {
                try await keys.revoke(id: context.parameters.get("id") ?? "", org: org)
            } catch let error as KeyError { throw Problem(error) }
            return Response(status: .noContent)
        }
    }

    private func setRate(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.keysManage, request)
        let org = RequestInput.text("org", request) ?? principal.org
        let body = try await RequestInput.json(request)
        guard let members = body.object, Set(members.keys) == ["events_per_second"] else {
            throw Problem.invalid([FieldProblem(field: "events_per_second", detail: "is the one member to change")])
        }
        do {
            let rate = try Self.rate(body)
            return try .encoded(
                try await keys.setRate(rate, id: context.parameters.get("id") ?? "", org: org))
        } catch let error as KeyError { throw Problem(error) }
    }

    /// nil where none is given.
    private static func rate(_ body: JSONValue) throws(KeyError) -> Int? {
        guard let value = body["events_per_second"], value != .null else { return nil }
        guard let number = value.integer else { throw .badRate(0) }
        return Int(clamping: number)
    }

    private static func request(_ body: JSONValue, _ principal: Principal) throws(Problem) -> KeyRequest {
        var problems: [FieldProblem] = []
        var scopes: Set<Scope> = []
        for value in body["scopes"]?.array ?? [] {
            if let scope = value.string.flatMap(Scope.init(rawValue:)) {
                scopes.insert(scope)
            } else {
                let known = Scope.allCases.map(\.rawValue).joined(separator: ", ")
                problems.append(FieldProblem(field: "scopes", detail: "known scopes are \(known)"))
            }
        }
        let known: Set = ["name", "scopes", "publishable", "origins", "org", "app", "historical", "events_per_second"]
        for field in (body.object ?? [:]).keys.sorted() where !known.contains(field) {
            problems.append(FieldProblem(field: String(field.prefix(40)), detail: "unknown field"))
        }
        if body.object == nil { problems.append(FieldProblem(field: "", detail: "the body must be an object")) }
        guard problems.isEmpty else { throw .invalid(problems) }
        let rate: Int?
        do throws(KeyError) { rate = try Self.rate(body) } catch { throw Problem(error) }
        return KeyRequest(
            org: body["org"]?.string ?? principal.org, app: body["app"]?.string ?? "default",
            name: body["name"]?.string ?? "", kind: body["publishable"]?.bool == true ? .publishable : .server,
            scopes: scopes, origins: Set((body["origins"]?.array ?? []).compactMap(\.string)),
            historical: body["historical"]?.bool ?? false, eventsPerSecond: rate)
    }
}

extension Problem {
    init(_ error: KeyError) {
        switch error {
        case .noScope: self = .invalid([FieldProblem(field: "scopes", detail: "at least one scope is needed")])
        case .scopeTooWide(let scope):
            self = .invalid([
                FieldProblem(
                    field: "scopes",
                    detail:
                        "a publishable key may stand in a page, so it cannot hold \(scope.rawValue), only events:write")
            ])
        case .badName:
            self = .invalid([FieldProblem(field: "org", detail: "org and app are 1 to 64 letters, digits, - or _")])
        case .badOrigin:
            self = .invalid([FieldProblem(field: "origins", detail: "an origin is scheme://host[:port] without a path")]
            )
        case .badRate:
            let (least, most) = (KeyRequest.rates.lowerBound, KeyRequest.rates.upperBound)
            self = .invalid([
                FieldProblem(field: "events_per_second", detail: "must be a whole number from \(least) to \(most)")
            ])
        case .unknownKey:
            self = .notFound(code: "key_unknown", detail: "There is no such key, or it was revoked before.")
        }
    }
}
