package import AurumCore
internal import Events

/// What budget advice is asked.
package struct AdviceQuestion: Sendable, Hashable {
    package var model = CreditModel.last
    /// nil: that of the accounts.
    package var timezone: String?
    /// Days after which what a day earned is taken as final; younger ones are left out. nil: as long as a sale of the
    /// organisation may come back, which is also the least.
    package var maturityDays: Int?
    /// Any of its names, or its id; nil for all campaigns.
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
    /// What somebody set; nil for what holds otherwise.
    package var budget: CampaignBudget?
    /// The days that `state` counts, from the first to before the other; nil where no mature day has spend.
    package var countedFrom: CivilDate?
    package var countedTo: CivilDate?

    package var hasOwnTarget: Bool { budget != nil }
}

/// Advice on all campaigns: a proposal that changes nothing.
package struct AdviceReport: Sendable {
    package var question: AdviceQuestion
    package var maturityDays: Int
    /// Largest spend first.
    package var rows: [CampaignAdvice]
    /// Campaigns beyond those that were asked for, those with least spend.
    package var leftOut: Int
    /// The mature days, `matureFrom` ≤ day < `matureTo`; of each campaign those are counted that its spend covers.
    package var matureFrom: CivilDate
    package var matureTo: CivilDate
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    package static let campaignsMax = 100
    /// Mature days that are added up.
    package static let matureDays = 30
    /// Where nobody can say how long sales may come back: what a buyer has unless told.
    package static let standardMaturityDays = 14
    package static let expiry: Duration = .seconds(86_400)

    /// The day that a decision counts for. It is that of UTC whatever calendar the advice was asked by: who may choose
    /// the calendar could decide twice a day.
    var decisionDay: Int { asOf.utcDate.daysSince1970 }
}

extension GrowthReports {
    /// - Throws: `SpendError.unknownTimeZone`, `SpendError.figuresTooLarge`; `GrowthError.immature`; `QueryError`;
    ///   `CancellationError`; database errors.
    package func advice(org: String, _ question: AdviceQuestion) async throws -> AdviceReport {
        try await advice(org: org, question, most: AdviceReport.campaignsMax) { _ in true }
    }

    /// Advice on campaigns alone whose budget `isWanted`, those `most` of them that spend most.
    func advice(
        org: String, _ question: AdviceQuestion, most: Int, isWanted: (CampaignBudget?) -> Bool
    ) async throws -> AdviceReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let maturity = try await maturity(org: org, question.maturityDays)
            let matureTo = calendar.today - maturity
            var report = AdviceReport(
                question: question, maturityDays: maturity, rows: [], leftOut: 0,
                matureFrom: CivilDate(daysSince1970: matureTo - AdviceReport.matureDays),
                matureTo: CivilDate(daysSince1970: matureTo), timezone: calendar.timezone,
                isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
            let book = try await campaigns.book(org: org, .campaign)
            let all = try await ledgers(org: org, question, calendar, book, matureTo: matureTo)
            let budgets = Dictionary(
                try await budgets(org: org, book).map { (CampaignPlace($0.campaign, $0.currency), $0) },
                uniquingKeysWith: { $1 })
            let decided = try await decided(org: org, day: report.decisionDay, book)
            let sellsLeads = try await sellsLeads(org: org, since: Self.start(calendar, matureTo: matureTo))
            let ledgers = all.filter { isWanted(budgets[$0.place]) }
            report.leftOut = max(0, ledgers.count - most)
            for ledger in ledgers.prefix(most) {
                try Task.checkCancellation()
                let own = budgets[ledger.place]
                report.rows.append(
                    try await advice(
                        ledger, own, sellsLeads: sellsLeads, matureTo: matureTo, today: calendar.today,
                        isDecided: decided.contains(ledger.place)))
            }
            return report
        }
    }

    /// What was decided on advice. It must be what is advised now.
    /// - Parameter campaign: any of its names, or its id.
    /// - Throws: `GrowthError`; what `advice` throws.
    package func decide(
        org: String, campaign: String, currency: Currency, action: BudgetAction, toMinor: Int64,
        verdict: AdviceDecision.Verdict, actor: String, _ question: AdviceQuestion
    ) async throws -> AdviceDecision {
        var one = question
        one.campaign = campaign
        let report = try await advice(org: org, one)
        // All rows are of the one campaign, under the name that reports give it.
        guard let row = report.rows.first(where: { $0.currency == currency }) else {
            throw GrowthError.unknownCampaign
        }
        if row.decision.reason == .decidedToday { throw GrowthError.decidedToday }
        guard row.decision.action == action, action != .hold, row.decision.toMinor == toMinor else {
            throw GrowthError.adviceChanged
        }
        let decision = AdviceDecision(
            id: UID(now: report.asOf), campaign: row.campaign, currency: currency, action: action,
            fromMinor: row.state.currentMinor,
            toMinor: toMinor, verdict: verdict, actor: actor, decidedAt: report.asOf, inputs: row.json)
        try await keep(decision, org: org, day: report.decisionDay)
        return decision
    }

    /// - Throws: `GrowthError.immature` for less than the time in which sales of the organisation may come back.
    private func maturity(org: String, _ wanted: Int?) async throws -> Int {
        let least = try await returnDays(org) ?? AdviceReport.standardMaturityDays
        guard let wanted else { return least }
        if wanted < least { throw GrowthError.immature(leastDays: least) }
        return wanted
    }

    /// A day's spend with what was sold and earned in the same currency.
    private struct Day {
        var day: Int
        var spendMinor: Int64 = 0
        var millionths: Int64 = 0
        var revenueMinor: Int64 = 0

        var spend: SpendDay {
            SpendDay(day: day, spendMinor: spendMinor, results: Double(millionths) / 1_000_000)
        }
    }

    /// The days of one campaign in one currency.
    private struct Ledger {
        let place: CampaignPlace
        /// Oldest first.
        let days: [Day]
        /// The same days and those with sales in any currency, with the sales of all currencies.
        let allSales: [SpendDay]
        let isCurrencyMixed: Bool
        let spendMinor: Int64
    }

    /// The first moment that is looked at.
    private static func start(_ calendar: Calendar, matureTo: Int) -> Timestamp {
        calendar.zone.start(ofDay: CivilDate(daysSince1970: matureTo - (SaturationModel.windows.last ?? 0)))
    }

    /// From 90 days before `matureTo` to today, of each campaign with spend; those with most spend first.
    private func ledgers(
        org: String, _ question: AdviceQuestion, _ calendar: Calendar, _ book: CampaignBook, matureTo: Int
    ) async throws -> [Ledger] {
        let from = matureTo - (SaturationModel.windows.last ?? 0)
        let to = calendar.today + 1
        let wanted = question.campaign.map { book.name(ofLabel: $0) ?? $0 }
        var found: [CampaignPlace: [Int: Day]] = [:]
        var paid: [String: Set<Currency>] = [:]
        for sum in try await campaigns.spend.sums(org: org, from: from, to: to, byDay: true) {
            guard let name = book.name(of: sum.campaign), wanted == nil || wanted == name, let day = sum.day else {
                continue
            }
            let place = CampaignPlace(name, sum.currency)
            try Figures.add(
                sum.figures.spendMinor, to: &found[place, default: [:]][day, default: Day(day: day)].spendMinor)
            if sum.figures.spendMinor > 0 { paid[name, default: []].insert(sum.currency) }
        }
        let span = ResultSpan(
            model: question.model, labels: wanted.map { book.labels(of: $0) }, from: from, to: to,
            zone: calendar.zone, timezone: calendar.timezone)
        var earned: [String: Set<Currency>] = [:]
        var sales: [String: [Int: Int64]] = [:]
        for sold in try await attribution.soldDays(org: org, span) {
            guard let currency = sold.currency else { continue }
            let name = book.name(ofLabel: sold.campaign) ?? sold.campaign
            let place = CampaignPlace(name, currency)
            earned[name, default: []].insert(currency)
            try Figures.add(sold.millionths, to: &sales[name, default: [:]][sold.day, default: 0])
            guard found[place] != nil else { continue }
            var day = found[place]?[sold.day] ?? Day(day: sold.day)
            try Figures.add(sold.millionths, to: &day.millionths)
            try Figures.add(sold.revenueMinor, to: &day.revenueMinor)
            found[place]?[sold.day] = day
        }
        let ledgers = try found.map { place, days in
            let (paid, earned) = (paid[place.campaign] ?? [], earned[place.campaign] ?? [])
            let sales = sales[place.campaign] ?? [:]
            return Ledger(
                place: place, days: days.values.sorted { $0.day < $1.day },
                allSales: Set(days.keys).union(sales.keys).sorted().map { day in
                    SpendDay(
                        day: day, spendMinor: days[day]?.spendMinor ?? 0,
                        results: Double(sales[day] ?? 0) / 1_000_000)
                },
                isCurrencyMixed: paid.count > 1 || (paid.count == 1 && !earned.isSubset(of: paid)),
                spendMinor: try Figures.sum(days.values.lazy.map(\.spendMinor)))
        }
        return ledgers.sorted { one, other in
            (other.spendMinor, one.place.campaign, one.place.currency.code)
                < (one.spendMinor, other.place.campaign, other.place.currency.code)
        }
    }

    /// The mature days from the first to the last one with spend: what is earned before and after them has no spend
    /// that it could be held against.
    private static func counted(_ days: [Day], matureTo: Int) -> ArraySlice<Day> {
        let inside = days.filter { $0.day >= matureTo - AdviceReport.matureDays && $0.day < matureTo }
        guard let first = inside.firstIndex(where: { $0.spendMinor > 0 }),
            let last = inside.lastIndex(where: { $0.spendMinor > 0 })
        else { return [] }
        return inside[first...last]
    }

    /// - Parameter own: what somebody set; nil for what holds otherwise.
    private func advice(
        _ ledger: Ledger, _ own: CampaignBudget?, sellsLeads: Bool, matureTo: Int, today: Int, isDecided: Bool
    ) async throws -> CampaignAdvice {
        let (place, days) = (ledger.place, ledger.days)
        let budget = own ?? CampaignBudget(campaign: place.campaign, currency: place.currency)
        let mature = Self.counted(days, matureTo: matureTo)
        let newest = days.filter {
            $0.day >= today - SaturationModel.usualDays && $0.day < today && $0.spendMinor > 0
        }
        let current =
            newest.isEmpty ? 0 : try Figures.sum(newest.lazy.map(\.spendMinor)) / Int64(newest.count)
        var state = BudgetState(
            currentMinor: current, capMinor: budget.capMinor, floorMinor: budget.floorMinor,
            targetMillionths: budget.targetMillionths, spendMinor: try Figures.sum(mature.lazy.map(\.spendMinor)),
            revenueMinor: try Figures.sum(mature.lazy.map(\.revenueMinor)),
            conversionsMillionths: try Figures.sum(mature.lazy.map(\.millionths)), isDecidedToday: isDecided,
            isCurrencyMixed: ledger.isCurrencyMixed)
        var decision = BudgetRule.decide(state)
        var saturation: SaturationAnswer?
        // A curve takes its time, and only a raise asks for one. Young days would make results look dear: sales of
        // them are still to come.
        if decision.reason == .noCurve {
            saturation = try await self.saturation(days.map(\.spend), today: matureTo)
            state.fit = saturation?.fit
            decision = BudgetRule.decide(state)
        }
        return CampaignAdvice(
            campaign: place.campaign, currency: place.currency, state: state, decision: decision,
            alerts: BudgetAlert.alerts(
                ledger.allSales, sellsLeads: sellsLeads, capMinor: budget.capMinor, currency: place.currency,
                today: today),
            saturation: saturation, budget: own,
            countedFrom: mature.first.map { CivilDate(daysSince1970: $0.day) },
            countedTo: mature.last.map { CivilDate(daysSince1970: $0.day + 1) })
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
            "cost_band_minor": .null, "counted_from": countedFrom.map { .string($0.description) } ?? .null,
            "counted_to": countedTo.map { .string($0.description) } ?? .null,
            "auto": .bool(budget?.isAuto ?? false), "may_pause": .bool(budget?.mayPause ?? false),
            "dry_run": .bool(budget?.isDryRun ?? true),
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
            "mature_to": .string(matureTo.description), "maturity_days": .integer(Int64(maturityDays)),
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "expires_at": .string((asOf + Self.expiry).rfc3339),
        ]
    }
}
