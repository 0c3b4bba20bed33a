internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird
internal import Logging

/// What networks claim: sums beside our credit and evidence, and the conversions that several of them may have claimed.
struct ClaimRoutes: Sendable {
    let access: Access
    let reports: GrowthReports
    let logger: Logger

    private static let against = "\(GrowthRoutes.names(ClaimQuestion.Ours.self)); conversions unless told."
    private static let days = "Today and the days before it, 1 to \(ClaimReport.daysMax); 30 unless told."

    func register(in book: RouteBook) {
        registerClaims(in: book)
        registerShared(in: book)
    }

    private func registerClaims(in book: RouteBook) {
        book.get(
            "/v1/attribution/claims",
            RouteDescription(
                "What networks claim, by day, beside what is credited to them and what our conversions' paths hold of "
                    + "them: a click, a view alone, a visit alone, nothing.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "against": Self.against, "model": "\(AttributionRoutes.models).", "days": Self.days,
                    "timezone": GrowthRoutes.timezone,
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            var question = ClaimQuestion()
            question.ours = try GrowthRoutes.choice("against", request, standard: question.ours)
            question.model = try AttributionRoutes.model("model", RequestInput.text("model", request))
            question.days = try RequestInput.integer(
                "days", request, in: 1...ClaimReport.daysMax, standard: question.days)
            question.timezone = RequestInput.text("timezone", request)
            let asked = question
            let report = try await GrowthRoutes.mapped { try await reports.claims(org: principal.org, asked) }
            if let first = report.evidenceFrom {
                logger.notice(
                    "too many conversions to look at the paths of all",
                    metadata: [
                        "code": "claim_evidence_cut", "org": "\(principal.org)",
                        "from": "\(CivilDate(daysSince1970: first))",
                    ])
            }
            return .json(report.json)
        }
    }

    private func registerShared(in book: RouteBook) {
        book.get(
            "/v1/attribution/claims/shared",
            RouteDescription(
                "Our conversions whose paths hold evidence of two or more networks that claim conversions of that day, "
                    + "newest first, a page at a time.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "against": Self.against, "model": "Whose credit stands beside them: \(AttributionRoutes.models).",
                    "days": Self.days, "timezone": GrowthRoutes.timezone,
                    "limit": "1 to \(SharedClaimQuestion.limitMax), 50 unless told.",
                    "after": "`next` of the page before.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            var question = SharedClaimQuestion()
            question.ours = try GrowthRoutes.choice("against", request, standard: question.ours)
            question.model = try AttributionRoutes.model("model", RequestInput.text("model", request))
            question.days = try RequestInput.integer(
                "days", request, in: 1...ClaimReport.daysMax, standard: question.days)
            question.timezone = RequestInput.text("timezone", request)
            question.limit = try RequestInput.integer(
                "limit", request, in: 1...SharedClaimQuestion.limitMax, standard: question.limit)
            if let text = RequestInput.text("after", request) {
                guard let mark = ClaimMark(text) else {
                    throw Problem.badQuery(name: "after", detail: "must be the `next` of a page.")
                }
                question.after = mark
            }
            let asked = question
            let claims = try await GrowthRoutes.mapped { try await reports.sharedClaims(org: principal.org, asked) }
            return .json(claims.json)
        }
    }
}
