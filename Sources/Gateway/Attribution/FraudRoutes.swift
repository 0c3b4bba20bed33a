internal import Accounts
package import Attribution
package import AurumCore
internal import Hummingbird

/// The fraud rules, and how a look at all installs is asked for.
package struct FraudParts: Sendable {
    package var desk: FraudDesk
    /// Makes a job that looks at all installs of an organisation; answers its id.
    package var enqueue: @Sendable (_ org: String) async throws -> UID?

    package init(_ desk: FraudDesk, enqueue: @escaping @Sendable (_ org: String) async throws -> UID? = { _ in nil }) {
        (self.desk, self.enqueue) = (desk, enqueue)
    }
}

/// What the fraud rules are, what they decided, and what people decide on it.
package struct FraudRoutes: Sendable {
    private let access: Access
    private let parts: FraudParts

    package init(access: Access, parts: FraudParts) { (self.access, self.parts) = (access, parts) }

    private static let limitMax = 1000
    private static let codes = FraudCode.allCases.map(\.rawValue).joined(separator: ", ")
    private static let rulesExample: JSONValue = [
        "limits": ["ctit_fast_seconds": 12, "device_clicks_per_minute": 30], "off": ["emulator"],
        "overrides": [["network": "acme-ads", "limits": ["ctit_long_days": 14]]], "starts_at": "2026-11-01",
    ]
    private static let entryExample: JSONValue = [
        "list": "deny", "kind": "publisher", "network": "acme-ads", "value": "pub-17", "note": "sells bot installs",
    ]
    private static let replayExample: JSONValue = ["rules": ["limits": ["ctit_fast_seconds": 20]], "days": 14]
    private static let missingEntry = Problem(FraudError.unknownEntry)
    private static let missingProposal = Problem(FraudError.unknownProposal)

    package func register(in book: RouteBook) {
        registerVerdicts(in: book)
        registerRules(in: book)
        registerLists(in: book)
        registerProposals(in: book)
        book.post(
            "/v1/fraud/replay",
            RouteDescription(
                "What a set of rules would have decided on the installs of the last days, beside what holds; nothing "
                    + "is stored.", tag: "fraud", scope: .campaignsWrite, body: Self.replayExample)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.mapped { .json(try await parts.desk.replay(body, org: principal.org)) }
        }
        book.post(
            "/v1/fraud/review",
            RouteDescription(
                "Looks at all installs of the last \(FraudDesk.referenceDays) days again, as a job.", tag: "fraud",
                scope: .campaignsWrite, success: 202)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let job = try await parts.enqueue(principal.org)
            return .json(["job": job.map { .string($0.hex) } ?? .null], status: .accepted)
        }
        book.get(
            "/v1/fraud/audit",
            RouteDescription(
                "Who changed rules and lists and decided on proposals, newest first.", tag: "fraud",
                scope: .analyticsRead, query: ["limit": "1 to \(Self.limitMax), 100 unless told."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            return .json(["audit": .array(try await parts.desk.audit(org: principal.org, limit: limit))])
        }
    }

    // MARK: verdicts

    private func registerVerdicts(in book: RouteBook) {
        book.get(
            "/v1/fraud/verdicts",
            RouteDescription(
                "Verdicts of installs and their touches, newest installs first.", tag: "fraud", scope: .analyticsRead,
                query: [
                    "subject": "The event id of an install or a touch.", "code": "\(Self.codes).",
                    "outcome": "\(GrowthRoutes.names(FraudVerdict.Outcome.self)).", "publisher": "A publisher's id.",
                    "from": "Installs of this date or RFC 3339 time, or later.", "to": "Installs before it.",
                    "history": "true shows replaced verdicts of the subject too.",
                    "after": "`next` of the page before.",
                    "limit": "1 to \(FraudVerdictFilter.limitMax), 100 unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let filter = try Self.filter(request)
            return .json(try await parts.desk.verdicts(org: principal.org, filter))
        }
        book.get(
            "/v1/fraud/publishers",
            RouteDescription(
                "Installs that publishers claim, how many were rejected, and the patterns that stand.", tag: "fraud",
                scope: .analyticsRead, query: ["limit": "1 to \(Self.limitMax), 100 unless told."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            return .json(try await parts.desk.publishers(org: principal.org, limit: limit))
        }
    }

    private static func filter(_ request: Request) throws(Problem) -> FraudVerdictFilter {
        var filter = FraudVerdictFilter()
        if let text = RequestInput.text("subject", request) {
            filter.subject = UID.ofEvent(text)
        }
        if let text = RequestInput.text("code", request) {
            guard let code = FraudCode(rawValue: text) else {
                throw .badQuery(name: "code", detail: "must be one of \(codes).")
            }
            filter.code = code
        }
        if let text = RequestInput.text("outcome", request) {
            guard let outcome = FraudVerdict.Outcome(rawValue: text) else {
                throw .badQuery(
                    name: "outcome", detail: "must be one of \(GrowthRoutes.names(FraudVerdict.Outcome.self)).")
            }
            filter.outcome = outcome
        }
        filter.publisher = try GrowthRoutes.text("publisher", request)
        (filter.from, filter.to) = (try moment("from", request), try moment("to", request))
        if let from = filter.from, let to = filter.to, from >= to {
            throw .badQuery(name: "to", detail: "must be later than from.")
        }
        if let text = RequestInput.text("history", request) {
            guard ["true", "false"].contains(text) else {
                throw .badQuery(name: "history", detail: "must be true or false.")
            }
            filter.history = text == "true"
            guard !filter.history || filter.subject != nil else {
                throw .badQuery(name: "history", detail: "needs a subject.")
            }
        }
        if let text = RequestInput.text("after", request) {
            guard let cursor = FraudVerdictFilter.Cursor(text) else {
                throw .badQuery(name: "after", detail: "must be `next` of the page before.")
            }
            filter.after = cursor
        }
        filter.limit = try RequestInput.integer(
            "limit", request, in: 1...FraudVerdictFilter.limitMax, standard: filter.limit)
        return filter
    }

    private static func moment(_ name: String, _ request: Request) throws(Problem) -> Timestamp? {
        do throws(LogAttributionError) {
            return try LogAttribution.Wish.moment(name, RequestInput.text(name, request))
        } catch { throw .badQuery(name: name, detail: "must be a date or RFC 3339.") }
    }

    // MARK: rules and lists

    private func registerRules(in book: RouteBook) {
        book.get(
            "/v1/fraud/rules",
            RouteDescription(
                "The rules: their standard numbers, and every version that was saved, newest first.", tag: "fraud",
                scope: .analyticsRead, query: ["limit": "Versions, 1 to \(Self.limitMax), 100 unless told."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            let versions = try await parts.desk.rules(org: principal.org, limit: limit)
            return .json([
                "standard": FraudRules.standard.effective,
                "codes": .array(FraudCode.rules.map { .string($0.rawValue) }),
                "versions": .array(versions.map(\.json)),
            ])
        }
        book.put(
            "/v1/fraud/rules",
            RouteDescription(
                "Saves a new version of the rules, which holds from starts_at, now unless told; then all installs are "
                    + "looked at again.", tag: "fraud", scope: .campaignsWrite, body: Self.rulesExample)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.mapped {
                let saved = try await parts.desk.save(body, org: principal.org, actor: principal.keyID)
                _ = try await parts.enqueue(principal.org)
                return .json(saved.json)
            }
        }
    }

    private func registerLists(in book: RouteBook) {
        book.get(
            "/v1/fraud/lists",
            RouteDescription("What is allowed, denied and suspended.", tag: "fraud", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(["entries": .array(try await parts.desk.entries(org: principal.org).map(\.json))])
        }
        book.post(
            "/v1/fraud/lists",
            RouteDescription(
                "Puts a network, publisher, address or device on a list; one that is there stays as it is.",
                tag: "fraud", scope: .campaignsWrite, success: 201, body: Self.entryExample)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            return try await Self.mapped {
                let wish = try FraudEntryWish(body, org: principal.org)
                let entry = try await parts.desk.add(wish, org: principal.org, actor: principal.keyID)
                _ = try await parts.enqueue(principal.org)
                return .json(entry.json, status: .created)
            }
        }
        book.delete(
            "/v1/fraud/lists/{id}",
            RouteDescription("Takes an entry off its list.", tag: "fraud", scope: .campaignsWrite)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingEntry)
            return try await Self.mapped {
                try await parts.desk.remove(id, org: principal.org, actor: principal.keyID)
                _ = try await parts.enqueue(principal.org)
                return .json(["removed": .string(id.hex)])
            }
        }
    }

    // MARK: proposals

    private func registerProposals(in book: RouteBook) {
        book.get(
            "/v1/fraud/proposals",
            RouteDescription(
                "What the figures of publishers ask for, newest first.", tag: "fraud", scope: .analyticsRead,
                query: [
                    "state": "\(GrowthRoutes.names(FraudProposal.State.self)); all unless told.",
                    "limit": "1 to \(Self.limitMax), 100 unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
            var state: FraudProposal.State?
            if let text = RequestInput.text("state", request) {
                guard let known = FraudProposal.State(rawValue: text) else {
                    throw Problem.badQuery(
                        name: "state", detail: "must be one of \(GrowthRoutes.names(FraudProposal.State.self)).")
                }
                state = known
            }
            let proposals = try await parts.desk.proposals(org: principal.org, state: state, limit: limit)
            return .json(["proposals": .array(proposals.map(\.json))])
        }
        book.post(
            "/v1/fraud/proposals/{id}",
            RouteDescription(
                "Confirms or dismisses a proposal, or undoes that; then all installs are looked at again.",
                tag: "fraud", scope: .campaignsWrite, body: ["decision": "confirm"])
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context, missing: Self.missingProposal)
            let body = try await RequestInput.json(request)
            guard let decision = body["decision"]?.string.flatMap(FraudProposal.Decision.init(rawValue:)) else {
                let names = GrowthRoutes.names(FraudProposal.Decision.self)
                throw Problem.invalid([FieldProblem(field: "decision", detail: "must be one of \(names)")])
            }
            return try await Self.mapped {
                let proposal = try await parts.desk.decide(
                    id, decision, org: principal.org, actor: principal.keyID)
                _ = try await parts.enqueue(principal.org)
                return .json(proposal.json)
            }
        }
    }

    private static func mapped(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as FraudError { throw Problem(error) } catch let error
            as LogAttributionError
        {
            guard error == .busy else { throw error }
            throw Problem.unavailable(
                code: "fraud_busy", detail: "Other looks at installs work and wait. Try again in a minute.")
        }
    }
}

extension Problem {
    fileprivate init(_ error: FraudError) {
        switch error {
        case .invalid(let field, let detail): self = .invalid([FieldProblem(field: field, detail: detail)])
        case .unknownEntry, .unknownProposal: self = .notFound(code: error.tag, detail: error.sentence)
        case .decided, .tooMany: self = .conflict(code: error.tag, detail: error.sentence)
        }
    }
}
