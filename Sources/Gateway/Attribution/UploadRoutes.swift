internal import Accounts
package import Attribution
internal import AurumCore
internal import Hummingbird
package import Logging

/// Conversions that are sent to advertising networks: destinations, and what became of each conversion. No answer
/// holds credentials or personal data.
package struct UploadRoutes: Sendable {
    private let access: Access
    private let uploader: Uploader
    private let logger: Logger

    private static let missing = Problem.notFound(
        code: "destination_unknown", detail: UploadError.unknownDestination.sentence)
    private static let missingItem = Problem.notFound(code: "upload_unknown", detail: UploadError.unknownItem.sentence)
    /// What a network is told of a conversion at most, in minor units.
    private static let restatementMax: Int64 = 100_000_000_000
    private static let example: JSONValue = [
        "name": "Solar, Meta", "network": "meta", "account": "123456789012345", "dry_run": true,
        "conversions": ["sale": "Purchase", "lead": "Lead"], "credentials": ["access_token": "EAAB..."],
    ]

    package init(access: Access, uploader: Uploader, logger: Logger) {
        (self.access, self.uploader, self.logger) = (access, uploader, logger)
    }

    package func register(in book: RouteBook) {
        registerDestinations(in: book)
        registerItems(in: book)
    }

    private func registerDestinations(in book: RouteBook) {
        let path = "/v1/uploads/destinations"
        book.get(
            path,
            RouteDescription(
                "Where conversions are sent, with counts by state and what was told; without credentials.",
                tag: "uploads", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(["destinations": .array(try await uploader.store.list(org: principal.org))])
        }
        book.post(
            path,
            RouteDescription(
                "Makes a destination; it keeps what it would send, and sends nothing, until dry_run is false. The same "
                    + "Idempotency-Key gives the first answer.",
                tag: "uploads", scope: .campaignsWrite, success: 201, body: Self.example)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request, limit: 65_536)
            let key = try request.idempotencyKey("POST " + path, org: principal.org, body: body)
            let made = try await Self.mapped { try await uploader.store.create(body, org: principal.org, once: key) }
            log("made", made["id"]?.string ?? "", principal, dryRun: made["dry_run"]?.bool)
            return .json(made, status: .created)
        }
        book.patch(
            path + "/{id}",
            RouteDescription(
                "Changes the members that the body holds.", tag: "uploads", scope: .campaignsWrite,
                body: ["dry_run": false])
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            let body = try await RequestInput.json(request, limit: 65_536)
            let changed = try await Self.mapped { try await uploader.store.change(id, body, org: principal.org) }
            log("changed", id.hex, principal, dryRun: changed["dry_run"]?.bool)
            return .json(changed)
        }
        book.delete(
            path + "/{id}",
            RouteDescription(
                "Sends nothing more there and forgets the credentials; its conversions can still be read.",
                tag: "uploads", scope: .campaignsWrite, success: 204)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            try await Self.mapped { try await uploader.store.remove(id, org: principal.org) }
            log("removed", id.hex, principal, dryRun: nil)
            return Response(status: .noContent)
        }
        book.post(
            path + "/{id}/test",
            RouteDescription(
                "Asks the network whether it takes the credentials and knows the account; no conversion is counted.",
                tag: "uploads", scope: .campaignsWrite)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            let outcome = try await Self.mapped { try await uploader.test(id, org: principal.org) }
            return .json([
                "works": .bool(outcome == .accepted), "outcome": .string(outcome.word),
                "reason": .string(outcome.reason),
            ])
        }
    }

    private func registerItems(in book: RouteBook) {
        book.get(
            "/v1/uploads/items",
            RouteDescription(
                "Conversions for networks and where they stand, newest first.", tag: "uploads", scope: .analyticsRead,
                query: [
                    "state": "\(Self.states).", "destination": "Its id.",
                    "from": "RFC 3339: conversions that happened at this time or later.",
                    "to": "RFC 3339: before this time.", "before": "Only items older than this id.",
                    "limit": "1 to \(UploadFilter.listMax), 100 unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let items = try await uploader.store.items(try Self.filter(request), org: principal.org)
            return .json(["items": .array(items)])
        }
        book.get(
            "/v1/uploads/items/{id}",
            RouteDescription("One conversion with every attempt.", tag: "uploads", scope: .analyticsRead)
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingItem)
            return .json(try await Self.mapped { try await uploader.store.read(id, org: principal.org) })
        }
        book.post(
            "/v1/uploads/items/{id}/restate",
            RouteDescription(
                "Tells the network that a sale is worth something else, for example after a partial credit.",
                tag: "uploads", scope: .campaignsWrite, body: ["value_minor": 9000])
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingItem)
            let body = try await RequestInput.json(request)
            guard let minor = body["value_minor"]?.integer, (0...Self.restatementMax).contains(minor) else {
                throw Problem.invalid([
                    FieldProblem(
                        field: "value_minor", detail: "must be a whole number from 0 to \(Self.restatementMax)")
                ])
            }
            return .json(
                try await Self.mapped { try await uploader.store.restate(id, to: minor, org: principal.org) })
        }
    }

    private static let states = UploadState.allCases.map(\.rawValue).joined(separator: ", ")

    private static func filter(_ request: Request) throws(Problem) -> UploadFilter {
        var filter = UploadFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...UploadFilter.listMax, standard: 100)
        if let text = RequestInput.text("state", request) {
            guard let state = UploadState(rawValue: text) else {
                throw .badQuery(name: "state", detail: "must be one of \(states).")
            }
            filter.state = state
        }
        filter.destination = try uid("destination", request)
        filter.before = try uid("before", request)
        (filter.from, filter.to) = (try time("from", request), try time("to", request))
        return filter
    }

    private static func uid(_ name: String, _ request: Request) throws(Problem) -> UID? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard let id = UID(text) else { throw .badQuery(name: name, detail: "must be an id.") }
        return id
    }

    private static func time(_ name: String, _ request: Request) throws(Problem) -> Timestamp? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard let time = Timestamp(rfc3339: text) else { throw .badQuery(name: name, detail: "must be RFC 3339.") }
        return time
    }

    private func log(_ what: String, _ id: String, _ principal: Principal, dryRun: Bool?) {
        logger.info(
            "upload destination \(what)",
            metadata: [
                "code": "upload_destination_\(what)", "org": "\(principal.org)", "destination": "\(id)",
                "dry_run": "\(dryRun.map(String.init) ?? "")", "key": "\(principal.keyID)",
            ])
    }

    /// Runs `body`; what uploads refuse becomes a problem.
    private static func mapped<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as UploadError {
            switch error {
            case .invalid(let problems):
                throw Problem.invalid(problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
            case .unknownDestination: throw missing
            case .unknownItem: throw missingItem
            case .nameTaken: throw Problem.conflict(code: "destination_name_taken", detail: error.sentence)
            case .tooManyDestinations:
                throw Problem.conflict(code: "too_many_destinations", detail: error.sentence)
            case .settled: throw Problem.conflict(code: "upload_settled", detail: error.sentence)
            case .sealedByOther: throw Problem.conflict(code: "credentials_unreadable", detail: error.sentence)
            }
        }
    }
}
