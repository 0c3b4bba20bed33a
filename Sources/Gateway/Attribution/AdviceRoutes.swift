internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird
internal import Logging

/// Budget advice, what it may do, what was decided on it, and stop rules. Nothing here changes a budget anywhere.
struct AdviceRoutes: Sendable {
    let access: Access
    let reports: GrowthReports
    let logger: Logger

    private static let budgetExample: JSONValue = [
        "campaign": "nyc-solar-brand", "currency": "USD", "target_roas": 1.5, "cap_minor": 50_000, "floor_minor": 5000,
        "auto": true, "may_pause": true, "dry_run": true,
    ]
    private static let decisionExample: JSONValue = [
        "campaign": "nyc-solar-brand", "currency": "USD", "action": "raise", "to_minor": 24_000,
        "decision": "approved",
    ]

    func register(in book: RouteBook) {
        book.get(
            "/v1/attribution/advice",
            RouteDescription(
                "What could be changed about daily budgets, with inputs, interval and expiry; it changes nothing.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "campaign": "Its name or id; all unless told.", "model": "\(AttributionRoutes.models).",
                    "maturity_days":
                        "Days after which a day's earnings are taken as final; unless told, the longest return "
                        + "window of a buyer, which is also the least.",
                    "timezone": GrowthRoutes.timezone,
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.question(request)
            let report = try await GrowthRoutes.mapped { try await reports.advice(org: principal.org, question) }
            return .json(report.json)
        }
        registerDecisions(in: book)
        registerBudgets(in: book)
    }

    private func registerDecisions(in book: RouteBook) {
        book.get(
            "/v1/attribution/advice/decisions",
            RouteDescription(
                "What was decided about budgets, by people and without them, newest first.", tag: "attribution",
                scope: .analyticsRead,
                query: [
                    "state": "all (unless told) or open: approved and neither acknowledged, expired nor withdrawn."
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let isOpen = try Self.isOpen(request, standard: "all")
            let decisions = try await reports.decisions(org: principal.org, isOpen: isOpen)
            return .json(["decisions": .array(decisions.map(\.json))])
        }
        book.post(
            "/v1/attribution/advice/decisions",
            RouteDescription(
                "Keeps that advice was approved or rejected; it must be what is advised now, with the same parameters.",
                tag: "attribution", scope: .campaignsWrite, success: 201,
                query: [
                    "model": "As the advice was asked.", "maturity_days": "As the advice was asked.",
                    "timezone": "As the advice was asked.",
                ], body: Self.decisionExample)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            return try await decide(request, principal)
        }
        book.post(
            "/v1/attribution/advice/decisions/{id}/acknowledge",
            RouteDescription(
                "Keeps that an approved decision was carried out at the network; repeating it changes nothing.",
                tag: "attribution", scope: .campaignsWrite)
        ) { request, context in
            let principal = try access.require(.campaignsWrite, request)
            let id = try RequestInput.uid("id", context)
            let decision = try await GrowthRoutes.mapped {
                try await reports.acknowledge(id, org: principal.org, actor: principal.keyID)
            }
            logger.info(
                "a decision about a budget was acknowledged",
                metadata: [
                    "code": "advice_acknowledged", "org": "\(principal.org)", "id": "\(id.hex)",
                    "action": "\(decision.action.rawValue)", "key": "\(principal.keyID)",
                ])
            return .json(decision.json)
        }
        book.get(
            "/v1/attribution/stops",
            RouteDescription(
                "Alerts of stop rules, newest first: spend of a day above 1.1 caps, or 1,000 units of the currency "
                    + "without a conversion.", tag: "attribution", scope: .analyticsRead,
                query: ["state": "open (unless told): those whose rule holds; or all."])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let isOpen = try Self.isOpen(request, standard: "open")
            let alerts = try await reports.stops(org: principal.org, isOpen: isOpen)
            return .json(["alerts": .array(alerts.map(\.json))])
        }
    }

    private func registerBudgets(in book: RouteBook) {
        book.get(
            "/v1/attribution/budgets",
            RouteDescription(
                "Targets, caps and floors of campaigns, and what is decided without a person.", tag: "attribution",
                scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let budgets = try await GrowthRoutes.mapped { try await reports.budgets(org: principal.org) }
            return .json(["budgets": .array(budgets.map(\.json))])
        }
        book.put(
            "/v1/attribution/budgets",
            RouteDescription(
                "Sets target, cap and floor of one campaign in one currency, and whether advice (auto) and pauses "
                    + "(may_pause) are decided without a person, or only noted (dry_run); members left out have "
                    + "their defaults.",
                tag: "attribution", scope: .campaignsWrite, body: Self.budgetExample)
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            let budget = try Self.budget(try await RequestInput.json(request))
            let kept = try await GrowthRoutes.mapped { try await reports.set(budget, org: principal.org) }
            logger.info(
                "a campaign's budget was set",
                metadata: [
                    "code": "budget_set", "org": "\(principal.org)", "auto": "\(kept.isAuto)",
                    "may_pause": "\(kept.mayPause)", "dry_run": "\(kept.isDryRun)", "key": "\(principal.keyID)",
                ])
            return .json(kept.json)
        }
    }

    private static func isOpen(_ request: Request, standard: String) throws(Problem) -> Bool {
        switch RequestInput.text("state", request) ?? standard {
        case "open": return true
        case "all": return false
        default: throw .badQuery(name: "state", detail: "must be open or all.")
        }
    }

    private static func question(_ request: Request) throws(Problem) -> AdviceQuestion {
        var question = AdviceQuestion()
        question.model = try AttributionRoutes.model("model", RequestInput.text("model", request))
        if RequestInput.text("maturity_days", request) != nil {
            question.maturityDays = try RequestInput.integer("maturity_days", request, in: 0...365, standard: 0)
        }
        question.campaign = try GrowthRoutes.text("campaign", request)
        question.timezone = RequestInput.text("timezone", request)
        return question
    }

    private func decide(_ request: Request, _ principal: Principal) async throws -> Response {
        let question = try Self.question(request)
        let body = FieldReader(try await RequestInput.json(request))
        let (campaign, currency) = (body.text("campaign"), body.currency())
        let action = BudgetAction(rawValue: body.text("action") ?? "")
        if action != .raise && action != .lower { body.refuse("action", "must be raise or lower") }
        let toMinor = body.whole("to_minor")
        if toMinor == nil { body.refuse("to_minor", "must be a whole number of minor units") }
        let word = body.text("decision")
        let verdict = AdviceDecision.Verdict.ofPeople.first { $0.rawValue == word }
        if verdict == nil { body.refuse("decision", "must be approved or rejected") }
        try body.finish()
        guard let campaign, let currency, let action, let toMinor, let verdict else { throw Problem.internalError }
        let decision = try await GrowthRoutes.mapped {
            try await reports.decide(
                org: principal.org, campaign: campaign, currency: currency, action: action, toMinor: toMinor,
                verdict: verdict, actor: principal.keyID, question)
        }
        logger.info(
            "budget advice decided",
            metadata: [
                "code": "advice_decided", "org": "\(principal.org)", "decision": "\(verdict.rawValue)",
                "action": "\(action.rawValue)", "from_minor": "\(decision.fromMinor)", "to_minor": "\(toMinor)",
                "id": "\(decision.id.hex)", "key": "\(principal.keyID)",
            ])
        return .json(decision.json, status: .created)
    }

    private static func budget(_ json: JSONValue) throws(Problem) -> CampaignBudget {
        let body = FieldReader(json)
        let (campaign, currency) = (body.text("campaign"), body.currency())
        var target: Int64?
        if let value = json["target_roas"], value != .null {
            target = value.double.flatMap { Int64(exactly: ($0 * 1_000_000).rounded()) }
            if target == nil { body.refuse("target_roas", "must be a number") }
        }
        let (cap, floor) = (body.whole("cap_minor"), body.whole("floor_minor"))
        for (name, value) in [("cap_minor", cap), ("floor_minor", floor)]
        where value == nil && json[name] ?? .null != .null {
            body.refuse(name, "must be a whole number of minor units")
        }
        let (auto, mayPause, dryRun) = (body.flag("auto"), body.flag("may_pause"), body.flag("dry_run"))
        try body.finish()
        guard let campaign, let currency else { throw .internalError }
        return CampaignBudget(
            campaign: campaign, currency: currency, targetMillionths: target ?? CampaignBudget.standardTarget,
            capMinor: cap, floorMinor: floor ?? 0, isAuto: auto ?? false, mayPause: mayPause ?? false,
            isDryRun: dryRun ?? true)
    }
}

/// Reads members of a small JSON object and says everything that is wrong at once.
private final class FieldReader {
    private let json: JSONValue
    private var problems: [FieldProblem] = []

    init(_ json: JSONValue) { self.json = json }

    func refuse(_ field: String, _ detail: String) { problems.append(FieldProblem(field: field, detail: detail)) }

    func text(_ field: String) -> String? {
        if let text = json[field]?.string, (1...1000).contains(text.utf8.count), !text.utf8.contains(0) { return text }
        refuse(field, "must be a text of 1 to 1000 bytes")
        return nil
    }

    func currency() -> Currency? {
        if let currency = json["currency"]?.string.flatMap({ Currency($0) }) { return currency }
        refuse("currency", "must be three letters")
        return nil
    }

    func whole(_ field: String) -> Int64? { json[field]?.integer }

    /// nil where it is left out.
    func flag(_ field: String) -> Bool? {
        guard let value = json[field], value != .null else { return nil }
        if let flag = value.bool { return flag }
        refuse(field, "must be true or false")
        return nil
    }

    func finish() throws(Problem) { if !problems.isEmpty { throw .invalid(problems) } }
}
