internal import Accounts
package import Attribution
package import AurumCore
internal import Foundation
internal import Hummingbird

/// Installs with what led to them, and how a recomputation is asked for.
package struct InstallParts: Sendable {
    package var installs: InstallAttribution
    /// Makes a job that decides anew; answers its id.
    package var enqueue: @Sendable (_ wish: InstallWish, _ org: String) async throws -> UID?

    package init(
        _ installs: InstallAttribution,
        enqueue: @escaping @Sendable (_ wish: InstallWish, _ org: String) async throws -> UID?
    ) {
        (self.installs, self.enqueue) = (installs, enqueue)
    }
}

/// Installs of the event log and the decisions about them.
package struct InstallDecisionRoutes: Sendable {
    private let access: Access
    private let parts: InstallParts

    private static let limitMax = 1000
    private static let methods = InstallMethod.allCases.map(\.rawValue).joined(separator: ", ")
    private static let range = [
        "from": "First opens at this time or later: a date or RFC 3339.", "to": "First opens before this time.",
        "app": "Only of this app.",
    ]

    package init(access: Access, parts: InstallParts) { (self.access, self.parts) = (access, parts) }

    package func register(in book: RouteBook) {
        book.get(
            "/v1/attribution/installs",
            RouteDescription(
                "Installs with what led to each, newest first, a page at a time.", tag: "attribution",
                scope: .analyticsRead,
                query: Self.range.merging([
                    "method": "\(Self.methods).", "campaign": "Of the touch that led to the install.",
                    "limit": "1 to \(Self.limitMax), 100 unless told.",
                    "after": "`next` of the page before.",
                ]) { $1 })
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await parts.installs.list(org: principal.org, try filter(request)))
        }
        book.get(
            "/v1/attribution/installs/campaigns",
            RouteDescription(
                "Installs by campaign: all, organic, reinstalls, rejected and suspect ones.", tag: "attribution",
                scope: .analyticsRead, query: Self.range)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return .json(try await parts.installs.summary(org: principal.org, try filter(request)))
        }
        registerCohorts(in: book)
        book.get(
            "/v1/attribution/installs/{id}",
            RouteDescription(
                "One install by its event id: touch, method, why other touches lost, and what brought the device back.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "app": "Where several apps have one of this id.", "version": "An older decision.",
                    "at": "Whose a conversion is at this time, now unless told: a date or RFC 3339.",
                ])
        ) { request, context in try await install(request, context) }
        book.post(
            "/v1/attribution/installs/recompute",
            RouteDescription(
                "Reads the log again and decides installs anew, as a job; what changes is a new version. With credit a "
                    + "run over the log follows.",
                tag: "attribution", scope: .campaignsWrite, success: 202,
                body: ["from": "2026-11-01", "to": "2026-11-08", "credit": true])
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let body = try await RequestInput.json(request)
            let wish: InstallWish
            do throws(LogAttributionError) { wish = try InstallWish(body) } catch {
                guard case .invalid(let field, let detail) = error else { throw Problem.internalError }
                throw Problem.invalid([FieldProblem(field: field, detail: detail)])
            }
            let job = try await parts.enqueue(wish, principal.org)
            return .json(["job": job.map { .string($0.hex) } ?? .null], status: .accepted)
        }
    }

    private func registerCohorts(in book: RouteBook) {
        let (periods, dimensions) = (
            GrowthRoutes.names(CohortQuestion.Period.self), GrowthRoutes.names(InstallCohortQuestion.Dimension.self)
        )
        book.get(
            "/v1/attribution/installs/cohorts",
            RouteDescription(
                "Installs, or re-engagements, by period and campaign with who came back and what they brought, read "
                    + "from the event log.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "of": "\(GrowthRoutes.names(InstallCohortQuestion.Beginning.self)); install unless told.",
                    "by": "\(periods); week unless told.", "group_by": "\(dimensions); campaign unless told.",
                    "conversion": "Whose values are revenue; purchase unless told.", "app": "Only of this app.",
                    "from": "A date.",
                    "to": "A date, not included, at most \(InstallCohortQuestion.daysMax) days after from.",
                    "days": "So many days before to, in place of from; 90 unless told.",
                    "timezone": "UTC unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.cohortQuestion(request)
            return try await Self.mapped {
                .json(try await parts.installs.cohorts(org: principal.org, question))
            }
        }
    }

    private static func mapped(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let error as LogAttributionError {
            switch error {
            case .invalid(let name, let detail): throw Problem.badQuery(name: name, detail: detail)
            case .busy:
                throw Problem.unavailable(
                    code: error.tag, detail: "Other cohorts are worked out and wait. Try again in a minute.")
            default: throw Problem(error)
            }
        }
    }

    private static func cohortQuestion(_ request: Request) throws(Problem) -> InstallCohortQuestion {
        var question = InstallCohortQuestion()
        question.beginning = try GrowthRoutes.choice("of", request, standard: question.beginning)
        question.period = try GrowthRoutes.choice("by", request, standard: question.period)
        question.dimension = try GrowthRoutes.choice("group_by", request, standard: question.dimension)
        question.conversion = try GrowthRoutes.text("conversion", request) ?? question.conversion
        question.app = try plain("app", request)
        (question.from, question.to) = (try GrowthRoutes.date("from", request), try GrowthRoutes.date("to", request))
        if question.from != nil, RequestInput.text("days", request) != nil {
            throw .badQuery(name: "days", detail: "must not stand beside from.")
        }
        question.days = try RequestInput.integer(
            "days", request, in: 1...InstallCohortQuestion.daysMax, standard: question.days)
        question.timezone = try GrowthRoutes.text("timezone", request) ?? question.timezone
        return question
    }

    private func install(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.analyticsRead, request)
        let (id, app) = (Self.eventID(context), try Self.plain("app", request))
        let (version, at) = (try Self.version(request), try Self.moment("at", request))
        let found =
            id.utf8.contains(0)
            ? nil : try await parts.installs.install(org: principal.org, id: id, app: app, version: version, at: at)
        guard let found else {
            throw Problem.notFound(
                code: "install_unknown", detail: "There is no install of this id, or no such version of its decision.")
        }
        return .json(found)
    }

    private func filter(_ request: Request) throws(Problem) -> InstallFilter {
        var filter = InstallFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...Self.limitMax, standard: 100)
        (filter.from, filter.to) = (try Self.moment("from", request), try Self.moment("to", request))
        filter.app = try Self.plain("app", request)
        filter.campaign = try Self.plain("campaign", request)
        if let text = RequestInput.text("method", request) {
            guard let method = InstallMethod(rawValue: text) else {
                throw .badQuery(name: "method", detail: "must be one of \(Self.methods).")
            }
            filter.method = method
        }
        filter.after = try Self.mark(request)
        return filter
    }

    static func plain(_ name: String, _ request: Request) throws(Problem) -> String? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard !text.utf8.contains(0), text.utf8.count <= 500 else {
            throw .badQuery(name: name, detail: "must be text of at most 500 bytes without NUL.")
        }
        return text
    }

    /// The id in the path, as events have it.
    static func eventID(_ context: GatewayContext) -> String {
        let text = context.parameters.get("id") ?? ""
        return text.removingPercentEncoding ?? text
    }

    /// Which decision is asked for; nil for the one that holds.
    static func version(_ request: Request) throws(Problem) -> Int? {
        guard RequestInput.text("version", request) != nil else { return nil }
        return try RequestInput.integer("version", request, in: 1...Int(Int32.max), standard: 1)
    }

    /// Where the page before ended.
    static func mark(_ request: Request) throws(Problem) -> InstallPageMark? {
        guard let text = RequestInput.text("after", request) else { return nil }
        guard let mark = InstallPageMark(text) else {
            throw .badQuery(name: "after", detail: "must be the `next` of a page.")
        }
        return mark
    }

    static func moment(_ name: String, _ request: Request) throws(Problem) -> Timestamp? {
        do throws(LogAttributionError) {
            return try LogAttribution.Wish.moment(name, RequestInput.text(name, request))
        } catch { throw .badQuery(name: name, detail: "must be a date or RFC 3339.") }
    }
}
