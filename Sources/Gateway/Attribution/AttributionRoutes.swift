internal import Accounts
package import Attribution
internal import AurumCore
internal import Hummingbird

/// What campaigns cost and earned, under one model or all side by side.
package struct AttributionRoutes: Sendable {
    private let access: Access
    private let reports: CampaignReports

    package init(access: Access, reports: CampaignReports) { (self.access, self.reports) = (access, reports) }

    static let models = CreditModel.allCases.map(\.rawValue).joined(separator: ", ")
    private static let dimensions = CreditQuestion.Dimension.allCases.map(\.rawValue).joined(separator: ", ")
    private static let runDimensions = CreditQuestion.Dimension.allCases.filter { $0.isOfRuns }.map(\.rawValue)
        .joined(separator: ", ")
    private static let range = [
        "definition": """
        A conversion of GET /v1/attribution/conversions: the conversions of its newest run over the log in place of \
        leads and sold legs, by days of UTC and \(runDimensions), under \(LogAttributionRoutes.models).
        """,
        "group_by": "\(dimensions); what touches do not say of their ads is \(Credit.notSet).",
        "basis": "booked (default) or recognised; not of a definition.",
        "from": "Sales, leads and spend at or after this date or RFC 3339 time.",
        "to": "Those before this date or RFC 3339 time.", "days": "Today and the days before it, in place of both.",
        "timezone": "Whose days are meant; unless told, that of the accounts.",
        "as_of": "The report as it stood at this RFC 3339 time; `changed` names the figures that are others now.",
    ]

    package func register(in book: RouteBook) {
        book.get(
            "/v1/attribution/report",
            RouteDescription(
                "Spend, clicks, leads, sales and revenue under one credit model.", tag: "attribution",
                scope: .analyticsRead,
                query: Self.range.merging(["model": "\(Self.models).", "format": "json or csv."]) { $1 })
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            if RequestInput.text("compare", request) != nil {
                throw Problem.badQuery(name: "compare", detail: "is not supported; ask /v1/attribution/models/compare.")
            }
            let isCSV = try Self.isCSV(request)
            let question = try Self.question("model", now: reports.clock.now) { RequestInput.text($0, request) }
            let report = try await SpendRoutes.mapped {
                try await reports.report(org: principal.org, question)
            }
            return isCSV ? .csv(report.csv, file: "campaigns.csv") : .json(report.document)
        }
        book.get(
            "/v1/attribution/models/compare",
            RouteDescription(
                "The same under every credit model, side by side.", tag: "attribution", scope: .analyticsRead,
                query: Self.range.merging(["compare_to": "The model that others differ from; last unless told."]) { $1 }
            )
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.question("compare_to", compares: true, now: reports.clock.now) {
                RequestInput.text($0, request)
            }
            let report = try await SpendRoutes.mapped {
                try await reports.report(org: principal.org, question)
            }
            return .json(report.document)
        }
    }

    static func isCSV(_ request: Request) throws(Problem) -> Bool {
        switch RequestInput.text("format", request) {
        case nil, "json"?: return false
        case "csv"?: return true
        default: throw .badQuery(name: "format", detail: "must be json or csv.")
        }
    }

    static func model(_ name: String, _ text: String?) throws(Problem) -> CreditModel {
        guard let model = CreditModel(rawValue: text ?? CreditModel.last.rawValue) else {
            let isOfRuns = text.flatMap { LogModel(name: $0) } != nil
            throw .badQuery(
                name: name, detail: "must be one of \(models)\(isOfRuns ? "; others are those of a definition" : "").")
        }
        return model
    }

    /// The question about one model, or about all beside one.
    /// - Parameters:
    ///   - parameter: the query parameter that names the one.
    ///   - value: a query parameter by name.
    static func question(
        _ parameter: String, compares: Bool = false, now: Timestamp, _ value: (String) -> String?
    ) throws(Problem) -> CampaignQuestion {
        if let definition = value("definition") {
            let text = value(parameter) ?? CreditModel.last.rawValue
            return try question(of: definition, parameter, text, compares: compares, now: now, value)
        }
        let model = try model(parameter, value(parameter))
        var question = CampaignQuestion(models: compares ? CreditModel.allCases : [model])
        if compares { question.base = .rule(model) }
        try read(&question, now: now, value)
        return question
    }

    /// The question about a run over the log, which has other models, fewer keys and days of UTC.
    private static func question(
        of definition: String, _ parameter: String, _ text: String, compares: Bool, now: Timestamp,
        _ value: (String) -> String?
    ) throws(Problem) -> CampaignQuestion {
        guard ConversionDefinition.isName(definition) else {
            throw .badQuery(name: "definition", detail: "must be the name of a conversion.")
        }
        guard let model = LogModel(name: text) else {
            throw .badQuery(name: parameter, detail: "must be one of \(LogAttributionRoutes.models).")
        }
        for name in ["basis", "as_of"] where value(name) != nil {
            throw .badQuery(
                name: name,
                detail: "goes without definition: a run has the revenue of events, less refunds, and keeps no past.")
        }
        guard (value("timezone") ?? "UTC") == "UTC" else {
            throw .badQuery(name: "timezone", detail: "must be UTC with a definition: runs keep days of UTC.")
        }
        var question = CampaignQuestion(definition: definition, models: compares ? LogModel.allCases : [model])
        if compares { question.base = model }
        try read(&question, now: now, value)
        guard question.dimension.isOfRuns else {
            throw .badQuery(
                name: "group_by", detail: "must be one of \(runDimensions) with a definition: runs keep nothing else.")
        }
        for (name, bound) in [("from", question.from), ("to", question.to)] {
            guard case .moment(let moment)? = bound else { continue }
            guard moment.microseconds.isMultiple(of: 86_400_000_000) else {
                throw .badQuery(name: name, detail: "must be a date, or midnight UTC, with a definition.")
            }
        }
        return question
    }

    /// What is asked of any kind of conversions.
    private static func read(
        _ question: inout CampaignQuestion, now: Timestamp, _ value: (String) -> String?
    ) throws(Problem) {
        let name = value("group_by") ?? question.dimension.rawValue
        guard let dimension = CreditQuestion.Dimension(rawValue: name) else {
            throw .badQuery(name: "group_by", detail: "must be one of \(dimensions).")
        }
        guard let basis = RevenueBasis(rawValue: value("basis") ?? question.basis.rawValue) else {
            throw .badQuery(name: "basis", detail: "must be booked or recognised.")
        }
        (question.dimension, question.basis, question.timezone) = (dimension, basis, value("timezone"))
        question.from = try bound("from", value("from"))
        question.to = try bound("to", value("to"))
        if let text = value("days") {
            guard let days = Int(text), (1...CampaignQuestion.daysMax).contains(days), question.from == nil,
                question.to == nil
            else {
                throw .badQuery(
                    name: "days", detail: "must be from 1 to \(CampaignQuestion.daysMax), without from and to.")
            }
            question.days = days
        }
        if let text = value("as_of") {
            guard let asOf = Timestamp(rfc3339: text) else {
                throw .badQuery(name: "as_of", detail: "must be an RFC 3339 time, such as 2026-11-01T12:00:00Z.")
            }
            guard asOf <= now else { throw .badQuery(name: "as_of", detail: "must not lie in the future.") }
            question.asOf = asOf
        }
    }

    private static func bound(_ name: String, _ text: String?) throws(Problem) -> CampaignQuestion.Bound? {
        guard let text else { return nil }
        if let date = CivilDate(text) { return .date(date) }
        guard let time = Timestamp(rfc3339: text) else {
            throw .badQuery(name: name, detail: "must be a date or RFC 3339.")
        }
        return .moment(time)
    }
}
