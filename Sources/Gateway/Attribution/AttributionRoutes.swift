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
    private static let range = [
        "group_by": "\(dimensions); what touches do not say of their ads is \(Credit.notSet).",
        "basis": "booked (default) or recognised.",
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
            let question = try Self.question([try Self.model("model", request)], now: reports.clock.now) {
                RequestInput.text($0, request)
            }
            let report = try await SpendRoutes.mapped {
                try await reports.report(org: principal.org, question)
            }
            return isCSV ? .csv(report.csv, file: "campaigns.csv") : .json(report.json)
        }
        book.get(
            "/v1/attribution/models/compare",
            RouteDescription(
                "The same under every credit model, side by side.", tag: "attribution", scope: .analyticsRead,
                query: Self.range.merging(["compare_to": "The model that others differ from; last unless told."]) { $1 }
            )
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let base = try Self.model("compare_to", request)
            let question = try Self.question(CreditModel.allCases, now: reports.clock.now) {
                RequestInput.text($0, request)
            }
            let report = try await SpendRoutes.mapped {
                try await reports.report(org: principal.org, question)
            }
            return .json(report.comparison(base: base))
        }
    }

    static func isCSV(_ request: Request) throws(Problem) -> Bool {
        switch RequestInput.text("format", request) {
        case nil, "json"?: return false
        case "csv"?: return true
        default: throw .badQuery(name: "format", detail: "must be json or csv.")
        }
    }

    private static func model(_ name: String, _ request: Request) throws(Problem) -> CreditModel {
        try model(name, RequestInput.text(name, request))
    }

    static func model(_ name: String, _ text: String?) throws(Problem) -> CreditModel {
        guard let model = CreditModel(rawValue: text ?? CreditModel.last.rawValue) else {
            throw .badQuery(name: name, detail: "must be one of \(models).")
        }
        return model
    }

    /// - Parameter value: a query parameter by name.
    static func question(
        _ models: [CreditModel], now: Timestamp, _ value: (String) -> String?
    ) throws(Problem) -> CampaignQuestion {
        var question = CampaignQuestion(models: models)
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
        return question
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
