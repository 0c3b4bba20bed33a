internal import Accounts
package import Attribution
internal import AurumCore
internal import Hummingbird
package import Logging

/// Callbacks to networks: templates, and what became of each delivery. No answer holds a secret.
package struct CallbackRoutes: Sendable {
    private let access: Access
    private let desk: CallbackDesk
    private let logger: Logger

    private static let missing = Problem.notFound(
        code: "callback_unknown", detail: CallbackError.unknownCallback.sentence)
    private static let missingDelivery = Problem.notFound(
        code: "callback_delivery_unknown", detail: CallbackError.unknownDelivery.sentence)
    private static let path = "/v1/callbacks"
    private static let example: JSONValue = [
        "network": "everflow", "event": "install", "method": "GET",
        "url": "https://postback.example/?tid={click_id}&amount={value}&id={delivery_id}",
        "secret": "0123456789abcdef", "enabled": true,
    ]

    package init(access: Access, desk: CallbackDesk, logger: Logger) {
        (self.access, self.desk, self.logger) = (access, desk, logger)
    }

    package func register(in book: RouteBook) {
        registerTemplates(in: book)
        registerDeliveries(in: book)
    }

    private func registerTemplates(in book: RouteBook) {
        book.get(
            Self.path,
            RouteDescription(
                "Whom networks' callbacks go to, without secrets.", tag: "callbacks", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(["callbacks": .array(try await desk.store.list(org: principal.org))])
        }
        book.post(
            Self.path,
            RouteDescription(
                "Makes a callback; what comes in from now on is told. The same Idempotency-Key gives the first answer.",
                tag: "callbacks", scope: .campaignsWrite,
                success: 201, body: Self.example)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request, limit: 65_536)
            let key = try request.idempotencyKey("POST " + Self.path, org: principal.org, body: body)
            let made = try await Self.mapped { try await desk.store.create(body, org: principal.org, once: key) }
            log("made", made["id"]?.string ?? "", principal)
            return .json(made, status: .created)
        }
        book.patch(
            Self.path + "/{id}",
            RouteDescription(
                "Changes the members that the body holds.", tag: "callbacks", scope: .campaignsWrite,
                body: ["enabled": false])
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            let body = try await RequestInput.json(request, limit: 65_536)
            let changed = try await Self.mapped { try await desk.store.change(id, body, org: principal.org) }
            log("changed", id.hex, principal)
            return .json(changed)
        }
        book.delete(
            Self.path + "/{id}",
            RouteDescription(
                "Tells nothing more and forgets the secret; its deliveries can still be read.", tag: "callbacks",
                scope: .campaignsWrite, success: 204)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            try await Self.mapped { try await desk.store.remove(id, org: principal.org) }
            log("removed", id.hex, principal)
            return Response(status: .noContent)
        }
        book.post(
            Self.path + "/{id}/test",
            RouteDescription(
                "Fills the callback with an example and shows it; with send it is sent, signed and without a record.",
                tag: "callbacks", scope: .campaignsWrite, body: ["send": false])
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            let buffer = try await RequestInput.body(request, limit: 1024)
            let body = buffer.readableBytes == 0 ? JSONValue.object([:]) : try RequestInput.json(buffer)
            let sends = body["send"] ?? .bool(false)
            guard let flag = sends.bool, let members = body.object, Set(members.keys).isSubset(of: ["send"]) else {
                throw Problem.invalid([FieldProblem(field: "send", detail: "must be true or false, and alone")])
            }
            return .json(try await Self.mapped { try await desk.test(id, org: principal.org, sends: flag) })
        }
    }

    private func registerDeliveries(in book: RouteBook) {
        let path = Self.path + "/deliveries"
        book.get(
            path,
            RouteDescription(
                "What callbacks tell and where each stands, newest first, a page at a time.", tag: "callbacks",
                scope: .analyticsRead,
                query: [
                    "state": "\(Self.states).", "callback": "A callback's id.", "network": "A network's name.",
                    "before": "`next` of the page before.",
                    "limit": "1 to \(CallbackFilter.listMax), 100 unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await desk.store.deliveries(try Self.filter(request), org: principal.org))
        }
        book.get(
            path + "/{id}",
            RouteDescription(
                "One delivery with every attempt, and what would be sent of it now.", tag: "callbacks",
                scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingDelivery)
            return .json(try await Self.mapped { try await desk.read(id, org: principal.org) })
        }
        book.post(
            path + "/{id}/redrive",
            RouteDescription(
                "Sets a delivery to work again that was given up or refused, under the same delivery id.",
                tag: "callbacks", scope: .campaignsWrite)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingDelivery)
            let answer = try await Self.mapped { try await desk.store.redrive(id, org: principal.org) }
            log("redriven", id.hex, principal)
            return .json(answer)
        }
    }

    private static let states = CallbackState.allCases.map(\.rawValue).joined(separator: ", ")

    private static func filter(_ request: Request) throws(Problem) -> CallbackFilter {
        var filter = CallbackFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...CallbackFilter.listMax, standard: 100)
        if let text = RequestInput.text("state", request) {
            guard let state = CallbackState(rawValue: text) else {
                throw .badQuery(name: "state", detail: "must be one of \(states).")
            }
            filter.state = state
        }
        if let text = RequestInput.text("network", request) {
            guard !text.utf8.contains(0), text.utf8.count <= 200 else {
                throw .badQuery(name: "network", detail: "must be text of at most 200 bytes without NUL.")
            }
            filter.network = text
        }
        (filter.callback, filter.before) = (try uid("callback", request), try uid("before", request))
        return filter
    }

    private static func uid(_ name: String, _ request: Request) throws(Problem) -> UID? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard let id = UID(text) else { throw .badQuery(name: name, detail: "must be an id.") }
        return id
    }

    private func log(_ what: String, _ id: String, _ principal: Principal) {
        logger.info(
            "callback \(what)",
            metadata: [
                "code": "callback_\(what)", "org": "\(principal.org)", "id": "\(id)", "key": "\(principal.keyID)",
            ])
    }

    /// Runs `body`; what callbacks refuse becomes a problem.
    private static func mapped<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as CallbackError {
            switch error {
            case .invalid(let problems):
                throw Problem.invalid(problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
            case .unknownCallback: throw missing
            case .unknownDelivery: throw missingDelivery
            case .tooManyCallbacks: throw Problem.conflict(code: "too_many_callbacks", detail: error.sentence)
            case .settled: throw Problem.conflict(code: "callback_settled", detail: error.sentence)
            case .switchedOff: throw Problem.conflict(code: "callback_off", detail: error.sentence)
            case .sealedByOther: throw Problem.conflict(code: "secret_unreadable", detail: error.sentence)
            }
        }
    }
}
