package import AurumCore
internal import Events

/// What budget advice is asked.
package struct AdviceQuestion: Sendable, Hashable {
    package var model = CreditModel.last
    /// nil: that of the accounts.
    package var timezone: String?
    /// Days after which what a day earned is taken as final; younger ones are left out.
    package var maturityDays = 7
    /// nil for all campaigns.
    package var campaign: String?

    package init() {}
}

/// Advice on one campaign in one currency.
package struct CampaignAdvice: Sendable {
    package var campaign: String
    package var currency: Currency
    package var state: BudgetState
    package var decision: BudgetDecision
    package var alerts: [BudgetAlert]
    /// nil where no curve was needed.
    package var saturation: SaturationAnswer?
    package var hasOwnTarget: Bool
}

/// Advice on all campaigns: a proposal that changes nothing.
package struct AdviceReport: Sendable {
    package var question: AdviceQuestion
    /// Largest spend first.
    package var rows: [CampaignAdvice]
    /// Campaigns beyond `campaignsMax`, those with least spend.
    package var leftOut: Int
    /// The mature days, `matureFrom` ≤ day < `matureTo`.
    package var matureFrom: CivilDate
    package var matureTo: CivilDate
    package var today: Int
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    package static let campaignsMax = 100
    /// Mature days that are added up.
    package static let matureDays = 30
    package static let expiry: Duration = .seconds(86_400)
}

extension GrowthReports {
    /// - Throws: `SpendError.unknownTimeZone`; `QueryError`; database errors.
    package func advice(org: String, _ question: AdviceQuestion) async throws -> AdviceReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let today = calendar.today
            let matureTo = today - question.maturityDays
            var report = AdviceReport(
                question: question, rows: [], leftOut: 0,
                matureFrom: CivilDate(daysSince1970: matureTo - AdviceReport.matureDays),
                matureTo: CivilDate(daysSince1970: matureTo), today: today, timezone: calendar.timezone,
                isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
            let spent = try await spentAndSold(org: org, question, calendar)
            let budgets = Dictionary(
                try await budgets(org: org).map { (CampaignPlace($0.campaign, $0.currency), $0) },
                uniquingKeysWith: { $1 })
            let decided = try await decided(org: org, day: today)
            report.leftOut = max(0, spent.count - AdviceReport.campaignsMax)
            for (place, days) in spent.prefix(AdviceReport.campaignsMax) {
                let budget = budgets[place] ?? CampaignBudget(campaign: place.campaign, currency: place.currency)
                report.rows.append(
                    try await advice(
                        place, days, budget, matureTo: matureTo, today: today, isDecided: decided.contains(place),
                        hasOwnTarget: budgets[place] != nil))
            }
            return report
        }
    }

    /// What was decided on advice. It must be what is advised now.
    /// - Throws: `GrowthError`; what `advice` throws.
    package func decide(
        org: String, campaign: String, currency: Currency, action: BudgetAction, toMinor: Int64,
        verdict: AdviceDecision.Verdict, actor: String, _ question: AdviceQuestion
    ) async throws -> AdviceDecision {
        var one = question
        one.campaign = campaign
        let report = try await advice(org: org, one)
        guard let row = report.rows.first(where: { $0.campaign == campaign && $0.currency == currency }) else {
            throw GrowthError.unknownCampaign
        }
        if row.decision.reason == .decidedToday { throw GrowthError.decidedToday }
        guard row.decision.action == action, action != .hold, row.decision.toMinor == toMinor else {
            throw GrowthError.adviceChanged
        }
        let decision = AdviceDecision(
            campaign: campaign, currency: currency, action: action, fromMinor: row.state.currentMinor,
            toMinor: toMinor, verdict: verdict, actor: actor, decidedAt: report.asOf, inputs: row.json)
        try await keep(decision, org: org, day: report.today)
        return decision
    }

    /// A day's spend with what was sold and earned.
    private struct Day {
        var spend: SpendDay
        var millionths: Int64 = 0
        var revenueMinor: Int64 = 0
    }

    /// The 90 days before today, and today, of each campaign with spend; those with most spend first.
    private func spentAndSold(
        org: String, _ question: AdviceQuestion, _ calendar: Calendar
    ) async throws -> [(CampaignPlace, [Day])] {
        let book = try await campaigns.book(org: org, .campaign)
        let from = calendar.today - (SaturationModel.windows.last ?? 0)
        let to = calendar.today + 1
        var found: [CampaignPlace: [Int: Day]] = [:]
        for sum in try await campaigns.spend.sums(org: org, from: from, to: to, byDay: true) {
            guard let name = book.name(of: sum.campaign), question.campaign == nil || question.campaign == name,
                let day = sum.day
            else { continue }
            let place = CampaignPlace(name, sum.currency)
            found[place, default: [:]][day, default: Day(spend: SpendDay(day: day, spendMinor: 0, results: 0))]
                .spend.spendMinor += sum.figures.spendMinor
        }
        let span = ResultSpan(
            model: question.model, campaign: question.campaign, from: from, to: to, zone: calendar.zone,
            timezone: calendar.timezone)
        for sold in try await attribution.soldDays(org: org, span) {
            guard let currency = sold.currency else { continue }
            let place = CampaignPlace(sold.campaign, currency)
            guard found[place] != nil else { continue }
            var day =
                found[place]?[sold.day] ?? Day(spend: SpendDay(day: sold.day, spendMinor: 0, results: 0))
            day.millionths += sold.millionths
            day.revenueMinor += sold.revenueMinor
            day.spend.results = Double(day.millionths) / 1_000_000
            found[place]?[sold.day] = day
        }
        return found.map { ($0, $1.values.sorted { $0.spend.day < $1.spend.day }) }.sorted { one, other in
            let (left, right) = (
                one.1.reduce(0) { $0 + $1.spend.spendMinor }, other.1.reduce(0) { $0 + $1.spend.spendMinor }
            )
            return (right, one.0.campaign, one.0.currency.code) < (left, other.0.campaign, other.0.currency.code)
        }
    }

    private func advice(
        _ place: CampaignPlace, _ days: [Day], _ budget: CampaignBudget, matureTo: Int, today: Int, isDecided: Bool,
        hasOwnTarget: Bool
    ) async throws -> CampaignAdvice {
        let mature = days.filter {
            $0.spend.day >= matureTo - AdviceReport.matureDays && $0.spend.day < matureTo
        }
        let newest = days.filter {
            $0.spend.day >= today - SaturationModel.usualDays && $0.spend.day < today && $0.spend.spendMinor > 0
        }
        let current = newest.isEmpty ? 0 : newest.reduce(0) { $0 + $1.spend.spendMinor } / Int64(newest.count)
        var state = BudgetState(
            currentMinor: current, capMinor: budget.capMinor, floorMinor: budget.floorMinor,
            targetMillionths: budget.targetMillionths,
            spendMinor: mature.reduce(0) { $0 + $1.spend.spendMinor },
            revenueMinor: mature.reduce(0) { $0 + $1.revenueMinor },
            conversionsMillionths: mature.reduce(0) { $0 + $1.millionths }, isDecidedToday: isDecided)
        var decision = BudgetRule.decide(state)
        var saturation: SaturationAnswer?
        // A curve takes its time, and only a raise asks for one.
        if decision.reason == .noCurve {
            saturation = try await self.saturation(days.map(\.spend), today: today)
            state.fit = saturation?.fit
            decision = BudgetRule.decide(state)
        }
        return CampaignAdvice(
            campaign: place.campaign, currency: place.currency, state: state, decision: decision,
            alerts: BudgetAlert.alerts(days.map(\.spend), capMinor: budget.capMinor, currency: place.currency),
            saturation: saturation, hasOwnTarget: hasOwnTarget)
    }
}

extension CampaignAdvice {
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "campaign": .string(campaign), "currency": .string(currency.code),
            "action": .string(decision.action.rawValue), "reason": .string(decision.reason.rawValue),
            "from_minor": .integer(state.currentMinor), "to_minor": .whole(decision.toMinor),
            "roas": .millionths(state.returnOnSpend), "target_roas": .millionths(state.targetMillionths),
            "target_from": .string(hasOwnTarget ? "budget" : "standard"), "spend_minor": .integer(state.spendMinor),
            "revenue_minor": .integer(state.revenueMinor), "conversions": .millionths(state.conversionsMillionths),
            "worst_roas": .rounded(decision.worstReturn), "cap_minor": .whole(state.capMinor),
            "floor_minor": .integer(state.floorMinor), "alerts": .array(alerts.map { .string($0.rawValue) }),
            "saturation_state": saturation.map { .string($0.state.rawValue) } ?? .null, "saturation": .null,
            "cost_band_minor": .null,
        ]
        if let fit = state.fit {
            let at = Double(decision.toMinor ?? state.currentMinor)
            let band = fit.costBand(at: at)
            members["saturation"] = .rounded(fit.curve.saturation(at: Double(state.currentMinor)))
            members["cost_band_minor"] = [.minor(band.lowerBound), .minor(band.upperBound)]
        }
        return .object(members)
    }
}

extension AdviceReport {
    package var json: JSONValue {
        [
            "dry_run": true, "model": .string(question.model.rawValue), "rows": .array(rows.map(\.json)),
            "left_out": .integer(Int64(leftOut)), "mature_from": .string(matureFrom.description),
            "mature_to": .string(matureTo.description), "maturity_days": .integer(Int64(question.maturityDays)),
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "expires_at": .string((asOf + Self.expiry).rfc3339),
        ]
    }
}
