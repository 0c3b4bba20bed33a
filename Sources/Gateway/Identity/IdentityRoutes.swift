internal import Accounts
internal import AurumCore
internal import Events
internal import Hummingbird

/// Who is who: looking at a person, merging two by hand, taking a merge back.
struct IdentityRoutes: Sendable {
    let access: Access
    let identity: IdentityService
    let store: any EventStore
    let clock: any WallClock
    let limits: EventLimits
    /// Gives identifiers the form in which the log keeps them.
    let policies: EventPolicies

    private static let valueBytesMax = 1000
    private static let reasonBytesMax = 500
    private static let journeyDaysMax = 400
    private static let namespaces = "anonymous, user, device, distinct, group"
    private static let who = [
        "namespace": "One of \(namespaces).", "value": "The identifier as it was sent.",
        "org": "Organisation, for the administrator.",
    ]
    private static let mergeExample: JSONValue = [
        "a": ["namespace": "anonymous", "value": "visitor-1"], "b": ["namespace": "user", "value": "u1"],
        "reason": "the customer called and proved both",
    ]

    func register(in book: RouteBook) {
        book.get(
            "/v1/identity",
            RouteDescription(
                "The person behind an identifier: all identifiers, and what linked them.", tag: "identity",
                scope: .eventsRead, query: Self.who)
        ) { request, _ in try await show(request) }
        book.get(
            "/v1/identity/journey",
            RouteDescription(
                "Advertising touches of the person behind an identifier, oldest first.", tag: "identity",
                scope: .eventsRead,
                query: Self.who.merging(["days": "How far back, 1 to \(Self.journeyDaysMax); 30 unless told."]) { $1 })
        ) { request, _ in try await journey(request) }
        book.post(
            "/v1/identity/merge",
            RouteDescription(
                "Makes two persons one. Can be taken back.", tag: "identity", scope: .keysManage, success: 201,
                body: Self.mergeExample)
        ) { request, _ in try await merge(request) }
        book.post(
            "/v1/identity/unmerge",
            RouteDescription(
                "Takes one link out again, whatever made it.", tag: "identity", scope: .keysManage,
                body: ["merge_id": "mrg_00000000000000000000000000000000", "reason": "a shared computer"])
        ) { request, _ in try await unmerge(request) }
    }

    // MARK: looking

    private func show(_ request: Request) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let identifier = try Self.identifier(request)
        let org = Self.org(request, principal)
        return .json(try await identity.person(org: org, policies.storedForm(identifier, org: org)).json)
    }

    private func journey(_ request: Request) async throws -> Response {
        let principal = try access.require(.eventsRead, request)
        let identifier = try Self.identifier(request)
        let days = try RequestInput.integer("days", request, in: 1...Self.journeyDaysMax, standard: 30)
        let touches = try await store.journey(
            JourneyQuery(
                org: Self.org(request, principal), traceID: nil, identifiers: [identifier], until: clock.now,
                lookback: .seconds(days * 86_400)))
        return .json(["touches": .array(touches.map(\.json))])
    }

    private static func identifier(_ request: Request) throws(Problem) -> PersonIdentifier {
        guard let namespace = RequestInput.text("namespace", request).flatMap({ PersonIdentifier.Namespace(name: $0) })
        else { throw .badQuery(name: "namespace", detail: "must be one of \(namespaces).") }
        guard let value = RequestInput.text("value", request), (1...valueBytesMax).contains(value.utf8.count) else {
            throw .badQuery(name: "value", detail: "must be 1 to \(valueBytesMax) bytes.")
        }
        return PersonIdentifier(namespace, value)
    }

    /// The administrator may look at any organisation.
    private static func org(_ request: Request, _ principal: Principal) -> String {
        guard principal.kind == .admin, let org = RequestInput.text("org", request) else { return principal.org }
        return org
    }

    // MARK: changing

    private func merge(_ request: Request) async throws -> Response {
        let principal = try access.require(.keysManage, request)
        let body = try await RequestInput.json(request)
        var problems = Self.unknown(body, ["a", "b", "reason"])
        let a = Self.identifier(body, "a", &problems)
        let b = Self.identifier(body, "b", &problems)
        let reason = Self.reason(body, &problems)
        guard problems.isEmpty, let a, let b else { throw Problem.invalid(problems) }
        let org = Self.org(request, principal)
        do {
            let (a, b) = (policies.storedForm(a, org: org), policies.storedForm(b, org: org))
            let merge = try await identity.merge(org: org, a, b, reason: reason, actor: principal.keyID)
            let persons = identity.persons.snapshot(org: org)
            return .json(
                [
                    "merge_id": .string(merge.text),
                    "person": .string(KeyText.hex(persons.person(identity.key(org: org, a)))),
                    "version": .integer(Int64(persons.version)),
                ], status: .created)
        } catch { throw problem(error) }
    }

    private func unmerge(_ request: Request) async throws -> Response {
        let principal = try access.require(.keysManage, request)
        let body = try await RequestInput.json(request)
        var problems = Self.unknown(body, ["merge_id", "reason"])
        let merge = body["merge_id"]?.string.flatMap { MergeID($0) }
        if merge == nil { problems.append(FieldProblem(field: "merge_id", detail: "must be mrg_ and 32 hex digits")) }
        let reason = Self.reason(body, &problems)
        guard problems.isEmpty, let merge else { throw Problem.invalid(problems) }
        let org = Self.org(request, principal)
        do {
            try await identity.unmerge(org: org, merge, reason: reason, actor: principal.keyID)
        } catch { throw problem(error) }
        let version = identity.persons.snapshot(org: org).version
        return .json(["merge_id": .string(merge.text), "version": .integer(Int64(version))])
    }

    private static func unknown(_ body: JSONValue, _ known: Set<String>) -> [FieldProblem] {
        guard let members = body.object else { return [FieldProblem(field: "", detail: "the body must be an object")] }
        return members.keys.sorted().filter { !known.contains($0) }.map {
            FieldProblem(field: String($0.prefix(40)), detail: "unknown field")
        }
    }

    private static func identifier(
        _ body: JSONValue, _ field: String, _ problems: inout [FieldProblem]
    ) -> PersonIdentifier? {
        guard let namespace = body[field]?["namespace"]?.string.flatMap({ PersonIdentifier.Namespace(name: $0) }) else {
            problems.append(FieldProblem(field: "\(field).namespace", detail: "must be one of \(namespaces)"))
            return nil
        }
        guard let value = body[field]?["value"]?.string, value.utf8.count <= valueBytesMax else {
            problems.append(FieldProblem(field: "\(field).value", detail: "must be text of at most 1000 bytes"))
            return nil
        }
        return PersonIdentifier(namespace, value)
    }

    private static func reason(_ body: JSONValue, _ problems: inout [FieldProblem]) -> String {
        let reason = body["reason"]?.string ?? ""
        if reason.isEmpty || reason.utf8.count > reasonBytesMax {
            problems.append(FieldProblem(field: "reason", detail: "must be text of 1 to \(reasonBytesMax) bytes"))
        }
        return reason
    }

    private func problem(_ error: any Error) -> any Error {
        switch error {
        case IdentityError.refused(let refusal): Problem.conflict(code: refusal.rawValue, detail: refusal.detail)
        case IdentityError.sameIdentifier:
            Problem.invalid([FieldProblem(field: "b", detail: "must be another identifier than a")])
        case IdentityError.unknownMerge:
            Problem.notFound(code: "merge_unknown", detail: "There is no such merge, or it was taken back before.")
        case let error as CaptureError: Problem(error, limits: limits)
        default: error
        }
    }
}

extension Touch {
    /// For journeys; absent facts are left out.
    fileprivate var json: JSONValue {
        let texts: [(String, String?)] = [
            ("event_id", eventID), ("at", at.rfc3339), ("kind", "\(kind)"), ("app", app), ("trace_id", traceID.hex),
            ("channel", channel.rawValue), ("campaign", campaign), ("source", source), ("medium", medium),
            ("network", network), ("ad_group", ad.adGroup), ("creative", ad.creative), ("keyword", ad.keyword),
            ("publisher", ad.publisher), ("click_id", clickID), ("cost", cost?.decimal), ("currency", currency),
            ("landing", landing), ("referrer", referrer),
        ]
        var members = texts.reduce(into: [String: JSONValue]()) { members, pair in
            if let text = pair.1 { members[pair.0] = .string(text) }
        }
        if refusesAdvertising { members["refuses_advertising"] = .bool(true) }
        return .object(members)
    }
}
