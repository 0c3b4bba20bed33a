internal import Accounts
package import Attribution
package import AurumCore
package import Events
internal import Hummingbird
package import Logging

/// What campaigns bring over time: saturation, and cohorts with their retention.
package struct GrowthRoutes: Sendable {
    private let access: Access
    private let reports: GrowthReports
    private let behaviour: BehaviourService
    private let clock: any WallClock
    private let logger: Logger

    package init(
        access: Access, reports: GrowthReports, behaviour: BehaviourService, clock: any WallClock, logger: Logger
    ) {
        (self.access, self.reports, self.behaviour) = (access, reports, behaviour)
        (self.clock, self.logger) = (clock, logger)
    }

    static let timezone = "Whose days are meant; unless told, that of the accounts."

    package func register(in book: RouteBook) {
        registerSaturation(in: book)
        registerCohorts(in: book)
        registerRetention(in: book)
        ClaimRoutes(access: access, reports: reports, logger: logger).register(in: book)
        AdviceRoutes(access: access, reports: reports, logger: logger).register(in: book)
    }

    private func registerSaturation(in book: RouteBook) {
        book.get(
            "/v1/attribution/saturation",
            RouteDescription(
                "What a result costs at which daily spend: a logistic curve with its band, or what is missing for one.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "campaign": "Its name or id; needed.", "on": "\(Self.names(ResultKind.self)).",
                    "model": "\(AttributionRoutes.models).", "currency": "Unless told, the one with most spend.",
                    "timezone": Self.timezone,
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            guard let campaign = try Self.text("campaign", request) else {
                throw Problem.badQuery(name: "campaign", detail: "is missing.")
            }
            var question = SaturationQuestion(campaign: campaign)
            question.on = try Self.choice("on", request, standard: question.on)
            question.model = try AttributionRoutes.model("model", RequestInput.text("model", request))
            question.currency = try Self.currency(request)
            question.timezone = RequestInput.text("timezone", request)
            let asked = question
            let report = try await Self.mapped { try await reports.saturation(org: principal.org, asked) }
            return .json(report.json)
        }
    }

    private func registerCohorts(in book: RouteBook) {
        book.get(
            "/v1/attribution/cohorts",
            RouteDescription(
                "People by the period of their first lead or sale, with what they cost and earned: LTV and ROAS.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "on": "\(Self.names(CohortQuestion.Entry.self)); leads unless told.",
                    "by": "\(Self.names(CohortQuestion.Period.self)); week unless told.",
                    "group_by": "\(CohortQuestion.dimensions.map(\.rawValue).joined(separator: ", ")).",
                    "model": "\(CohortQuestion.models.map(\.rawValue).joined(separator: ", ")).",
                    "from": "A date.",
                    "to":
                        "A date, not included, at most \(CampaignQuestion.daysMax) days after from.",
                    "days": "So many days before to, in place of from; 90 unless told.",
                    "timezone": Self.timezone,
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.cohortQuestion(request)
            let report = try await Self.mapped { try await reports.cohorts(org: principal.org, question) }
            return .json(report.json)
        }
    }

    private static func cohortQuestion(_ request: Request) throws(Problem) -> CohortQuestion {
        var question = CohortQuestion()
        question.on = try choice("on", request, standard: question.on)
        question.period = try choice("by", request, standard: question.period)
        question.dimension = try choice("group_by", request, standard: question.dimension)
        guard CohortQuestion.dimensions.contains(question.dimension) else {
            throw .badQuery(name: "group_by", detail: "must be a dimension of campaigns; `by` says the period.")
        }
        question.model = try choice("model", request, standard: question.model)
        guard CohortQuestion.models.contains(question.model) else {
            throw .badQuery(name: "model", detail: "must leave a person whole: first, last or last_non_direct.")
        }
        (question.from, question.to) = (try date("from", request), try date("to", request))
        if question.from != nil, RequestInput.text("days", request) != nil {
            throw .badQuery(name: "days", detail: "must not stand beside from.")
        }
        question.days = try RequestInput.integer("days", request, in: 1...CampaignQuestion.daysMax, standard: 90)
        question.timezone = RequestInput.text("timezone", request)
        return question
    }

    private func registerRetention(in book: RouteBook) {
        book.get(
            "/v1/attribution/retention",
            RouteDescription(
                "How many of those who came from a campaign come back, by the period they came in.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "campaign": "Its name or id; all unless told.",
                    "first": "\(Self.names(CohortRetention.Entry.self)).",
                    "mode": "\(Self.names(RetentionMode.self)).", "by": "\(Self.names(CohortQuestion.Period.self)).",
                    "days": "Today and the days before it; 90 unless told.", "timezone": "UTC unless told.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            var question = CohortRetention()
            let campaign = try Self.text("campaign", request)
            question.entry = try Self.choice("first", request, standard: question.entry)
            question.mode = try Self.choice("mode", request, standard: question.mode)
            question.period = try Self.choice("by", request, standard: question.period)
            question.days = try RequestInput.integer("days", request, in: 1...400, standard: question.days)
            question.timezone = RequestInput.text("timezone", request) ?? question.timezone
            let asked = question
            let answer = try await Self.mapped {
                var asked = asked
                if let campaign { asked.labels = try await reports.labels(org: principal.org, campaign: campaign) }
                do {
                    return try await behaviour.answer(
                        .retention, try asked.body(now: clock.now), org: principal.org)
                } catch let error as BehaviourError { throw Problem(error) }
            }
            return .json(answer)
        }
    }

    // MARK: parameters

    static func names<Choice: RawRepresentable<String> & CaseIterable>(_ type: Choice.Type) -> String {
        type.allCases.map(\.rawValue).joined(separator: ", ")
    }

    static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ request: Request, standard: Choice
    ) throws(Problem) -> Choice {
        guard let text = RequestInput.text(name, request) else { return standard }
        guard let choice = Choice(rawValue: text) else {
            throw .badQuery(name: name, detail: "must be one of \(names(Choice.self)).")
        }
        return choice
    }

    /// A name as tables keep it; nil where there is none.
    static func text(_ name: String, _ request: Request) throws(Problem) -> String? {
        guard let text = RequestInput.text(name, request), !text.isEmpty else { return nil }
        guard text.utf8.count <= 1000, !text.utf8.contains(0) else {
            throw .badQuery(name: name, detail: "must be a text of at most 1000 bytes.")
        }
        return text
    }

    private static func currency(_ request: Request) throws(Problem) -> Currency? {
        guard let text = RequestInput.text("currency", request) else { return nil }
        guard let currency = Currency(text) else {
            throw .badQuery(name: "currency", detail: "must be three letters.")
        }
        return currency
    }

    static func date(_ name: String, _ request: Request) throws(Problem) -> CivilDate? {
        guard let text = RequestInput.text(name, request) else { return nil }
        guard let date = CivilDate(text), (1970...2200).contains(date.year) else {
            throw .badQuery(name: name, detail: "must be a date.")
        }
        return date
    }

    /// Runs `body`; what growth, spend and queries refuse becomes a problem.
    static func mapped<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await SpendRoutes.mapped(body) } catch let error as GrowthError {
            switch error {
            case .unknownCampaign: throw Problem.notFound(code: "campaign_unknown", detail: error.sentence)
            case .adviceChanged: throw Problem.conflict(code: "advice_changed", detail: error.sentence)
            case .decidedToday: throw Problem.conflict(code: "decided_today", detail: error.sentence)
            case .unknownDecision: throw Problem.notFound(code: "decision_unknown", detail: error.sentence)
            case .notApproved: throw Problem.conflict(code: "decision_not_approved", detail: error.sentence)
            case .withdrawn: throw Problem.conflict(code: "decision_withdrawn", detail: error.sentence)
            case .badBudget(let field, let detail):
                throw Problem.invalid([FieldProblem(field: field, detail: detail)])
            case .immature: throw Problem.invalid([FieldProblem(field: "maturity_days", detail: error.sentence)])
            case .badRange(let name, let detail): throw Problem.badQuery(name: name, detail: detail)
            }
        }
    }
}
