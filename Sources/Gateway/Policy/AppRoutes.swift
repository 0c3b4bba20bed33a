internal import Accounts
internal import AurumCore
internal import Events
internal import Hummingbird

/// What an organisation decides about the events of its apps: settings and tracking plans.
struct AppRoutes: Sendable {
    let access: Access
    let apps: AppBook

    private static let settingsExample: JSONValue = [
        "default_currency": "USD", "own_hosts": ["example.com"], "lateness_hours": 24, "session_gap_minutes": 30,
        "sessions": "derived", "default_consent": ["analytics": "unknown"], "plan_mode": "warn",
        "retention_days": 400, "personal_keys": ["nickname"],
    ]
    private static let planExample: JSONValue = [
        "unknown_names": "refuse",
        "names": [
            "Signed Up": [
                "type": "object", "required": ["plan"],
                "properties": [
                    "plan": ["type": "string", "enum": ["free", "pro"]], "seats": ["type": "integer", "minimum": 1],
                ],
            ]
        ],
    ]

    func register(in book: RouteBook) {
        book.get(
            "/v1/apps", RouteDescription("Apps with settings or a plan.", tag: "apps", scope: .eventsRead)
        ) { request, _ in
            let principal = try access.require(.eventsRead, request)
            return .json(["apps": .array(apps.list(org: principal.org).map(\.json))])
        }
        book.get(
            "/v1/apps/{app}", RouteDescription("Settings of an app.", tag: "apps", scope: .eventsRead)
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            return .json(apps.state(org: principal.org, app: Self.app(context)).json)
        }
        book.put(
            "/v1/apps/{app}",
            RouteDescription(
                "Replaces the settings of an app; members left out have their defaults.", tag: "apps",
                scope: .policiesWrite, body: Self.settingsExample)
        ) { request, context in
            let principal = try access.require(.policiesWrite, request)
            let body = Self.settings(try await RequestInput.json(request))
            return try await Self.answering {
                .json(try await apps.put(org: principal.org, app: Self.app(context), body).json)
            }
        }
        registerPlans(in: book)
    }

    private func registerPlans(in book: RouteBook) {
        book.get(
            "/v1/apps/{app}/plan",
            RouteDescription(
                "The tracking plan of an app.", tag: "apps", scope: .eventsRead,
                query: ["version": "A version; the newest unless told."])
        ) { request, context in
            let principal = try access.require(.eventsRead, request)
            let version = try RequestInput.integer("version", request, in: 0...1_000_000_000, standard: 0)
            let app = Self.app(context)
            guard let record = try await apps.plan(org: principal.org, app: app, version: version > 0 ? version : nil)
            else { throw Problem.notFound(code: "plan_unknown", detail: "The app has no such plan.") }
            return .json(Self.json(record, apps.state(org: principal.org, app: app)))
        }
        book.put(
            "/v1/apps/{app}/plan",
            RouteDescription(
                "Adds a version of an app's tracking plan and puts it in force. `mode` sets the app's plan mode.",
                tag: "apps", scope: .policiesWrite, body: Self.planExample)
        ) { request, context in
            let principal = try access.require(.policiesWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.answering { try await putPlan(body, principal, Self.app(context)) }
        }
    }

    private func putPlan(_ body: JSONValue, _ principal: Principal, _ app: String) async throws -> Response {
        var members = body.object
        let mode = members?.removeValue(forKey: "mode")
        if let mode, mode.string.flatMap(AppSettings.PlanMode.init(rawValue:)) == nil {
            throw PolicyError.invalid([PolicyProblem("mode", "must be off, warn or enforce")])
        }
        let plan = try await apps.putPlan(org: principal.org, app: app, members.map(JSONValue.object) ?? body)
        if let mode {
            var settings = apps.state(org: principal.org, app: app).settings.json.object ?? [:]
            settings["plan_mode"] = mode
            _ = try await apps.put(org: principal.org, app: app, .object(settings))
        }
        guard let record = try await apps.plan(org: principal.org, app: app, version: plan.version) else {
            throw Problem.internalError
        }
        return .json(Self.json(record, apps.state(org: principal.org, app: app)))
    }

    private static func json(_ record: PlanRecord, _ state: AppState) -> JSONValue {
        var members = record.document.object ?? [:]
        members["version"] = .integer(Int64(record.version))
        members["created_at"] = .string(record.createdAt.rfc3339)
        members["mode"] = .string(state.settings.planMode.rawValue)
        return .object(members)
    }

    /// What `GET` adds may come back in a `PUT`.
    private static func settings(_ body: JSONValue) -> JSONValue {
        guard var members = body.object else { return body }
        for name in ["app", "version", "updated_at", "plan_version"] { members[name] = nil }
        return .object(members)
    }

    private static func app(_ context: GatewayContext) -> String { context.parameters.get("app") ?? "" }

    static func answering(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as PolicyError { throw Problem(error) }
    }
}

extension Problem {
    init(_ error: PolicyError) {
        switch error {
        case .invalid(let problems): self = .invalid(problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
        case .unknownPlanVersion:
            self = .notFound(code: "plan_unknown", detail: "The app has no such version of a plan.")
        case .tooManyApps:
            self = .conflict(code: "too_many_apps", detail: "There may be no more than \(AppBook.appsMax) apps.")
        case .replayRunning:
            self = .conflict(code: "replay_running", detail: "Another replay is running; try again when it is done.")
        }
    }
}
