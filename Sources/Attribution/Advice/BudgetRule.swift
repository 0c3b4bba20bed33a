package import AurumCore

/// What is known of one campaign's money in one currency, and what its budget may do.
package struct BudgetState: Sendable {
    /// Daily spend now, minor units.
    package var currentMinor: Int64
    /// Daily spend that must not be passed; nil without one.
    package var capMinor: Int64?
    /// Daily spend below which it must not go.
    package var floorMinor: Int64 = 0
    /// Revenue ÷ spend that is aimed at.
    package var targetMillionths: Int64
    /// Of the mature days alone, revenue net of returns.
    package var spendMinor: Int64
    package var revenueMinor: Int64
    package var conversionsMillionths: Int64
    /// nil where the days carry no curve.
    package var fit: SaturationFit?
    /// A change was approved today.
    package var isDecidedToday: Bool
    /// The campaign spends or sells in another currency too, so that its returns on this one cannot be told.
    package var isCurrencyMixed: Bool

    package init(
        currentMinor: Int64, capMinor: Int64? = nil, floorMinor: Int64 = 0, targetMillionths: Int64,
        spendMinor: Int64, revenueMinor: Int64, conversionsMillionths: Int64, fit: SaturationFit? = nil,
        isDecidedToday: Bool = false, isCurrencyMixed: Bool = false
    ) {
        (self.currentMinor, self.capMinor, self.floorMinor) = (currentMinor, capMinor, floorMinor)
        (self.targetMillionths, self.spendMinor, self.revenueMinor) = (targetMillionths, spendMinor, revenueMinor)
        (self.conversionsMillionths, self.fit, self.isDecidedToday) = (conversionsMillionths, fit, isDecidedToday)
        self.isCurrencyMixed = isCurrencyMixed
    }

    /// Revenue ÷ spend of the mature days in millionths; nil without spend.
    package var returnOnSpend: Int64? { Ratio.of(revenueMinor, by: spendMinor, scale: 1_000_000) }

    /// Revenue ÷ spend at another daily spend, were a conversion to cost what the upper end of the band says: revenue a
    /// conversion ÷ that cost. nil without a curve or conversions.
    package func worstReturn(at spend: Int64) -> Double? {
        guard let fit, conversionsMillionths > 0 else { return nil }
        let worth = Double(revenueMinor) / (Double(conversionsMillionths) / 1_000_000)
        let cost = fit.costBand(at: Double(spend)).upperBound
        return cost > 0 ? worth / cost : nil
    }
}

/// Advice is all but `pause`, which stop rules alone decide.
package enum BudgetAction: String, Sendable, CaseIterable { case raise, lower, hold, pause }

/// Why advice is what it is.
package enum BudgetReason: String, Sendable, CaseIterable {
    /// ROAS is at least 1.3 times the target, and the worse end of the band meets it at the new spend.
    case earnsMore = "earns_more"
    /// ROAS is below 0.85 of the target.
    case earnsLess = "earns_less"
    /// ROAS is between the two.
    case nearTarget = "near_target"
    case decidedToday = "decided_today"
    /// It spends in more than one currency, or sells in one that it does not spend in.
    case mixedCurrencies = "mixed_currencies"
    /// Nothing was spent on mature days, or nothing is spent now.
    case noSpend = "no_spend"
    /// The days carry no curve to raise on.
    case noCurve = "no_curve"
    /// CPI ÷ L is 0.6 or more, now or at the new spend.
    case saturated
    /// The worse end of the band misses the target at every raise.
    case uncertain
    /// Fewer than 30 conversions on mature days.
    case fewConversions = "few_conversions"
    case atCap = "at_cap"
    /// More is spent than the cap allows: somebody has to look.
    case overCap = "over_cap"
    case atFloor = "at_floor"
    /// Steps of the rule are less than a minor unit here.
    case tooSmall = "too_small"
}

/// What the rule says of one state.
package struct BudgetDecision: Sendable, Equatable {
    package var action: BudgetAction
    package var reason: BudgetReason
    /// The advised daily spend; nil to hold.
    package var toMinor: Int64?
    /// `BudgetState.worstReturn` there.
    package var worstReturn: Double?

    static func hold(_ reason: BudgetReason) -> BudgetDecision {
        BudgetDecision(action: .hold, reason: reason, toMinor: nil, worstReturn: nil)
    }
}

/// The guard rails of budget advice. Pure; whatever the state, what it answers keeps all of them:
/// - raise by at most 20 %, and only if ROAS ≥ 1.3 × target, saturation < 0.6 and the band's worst end meets
///   the target;
/// - lower by 10 to 20 %, and only if ROAS < 0.85 × target on at least 30 conversions;
/// - never above the cap, never below the floor, at most one change a day.
package enum BudgetRule {
    package static let raisePercents: [Int64] = [20, 15, 10, 5]
    package static let saturationMax = 0.6
    package static let conversionsMin: Int64 = 30_000_000

    package static func decide(_ state: BudgetState) -> BudgetDecision {
        guard !state.isDecidedToday else { return .hold(.decidedToday) }
        guard !state.isCurrencyMixed else { return .hold(.mixedCurrencies) }
        guard state.currentMinor > 0, state.spendMinor > 0, state.targetMillionths > 0 else { return .hold(.noSpend) }
        if let cap = state.capMinor, state.currentMinor > cap { return .hold(.overCap) }
        // ROAS against parts of the target, in whole numbers: revenue × 10⁶ × 100 against spend × target × percent.
        let earned = Int128(state.revenueMinor) * 100_000_000
        let aimed = Int128(state.spendMinor) * Int128(state.targetMillionths)
        if earned >= aimed * 130 { return raise(state) }
        if earned < aimed * 85 { return lower(state) }
        return .hold(.nearTarget)
    }

    private static func raise(_ state: BudgetState) -> BudgetDecision {
        guard state.conversionsMillionths >= conversionsMin else { return .hold(.fewConversions) }
        guard let fit = state.fit else { return .hold(.noCurve) }
        let (current, target) = (state.currentMinor, Double(state.targetMillionths) / 1_000_000)
        guard fit.curve.saturation(at: Double(current)) < saturationMax else { return .hold(.saturated) }
        var refusal = BudgetReason.tooSmall
        for percent in raisePercents {
            let step = current / 100 * percent + current % 100 * percent / 100
            guard step > 0 else { continue }
            let (raised, isTooLarge) = current.addingReportingOverflow(step)
            if isTooLarge { return .hold(.atCap) }
            let wanted = min(raised, state.capMinor ?? .max)
            guard wanted > current else { return .hold(.atCap) }
            // A floor above what is spent now is met by no raise of 20 % or less: it is for people to look at.
            guard wanted >= state.floorMinor else { return .hold(.atFloor) }
            guard fit.curve.saturation(at: Double(wanted)) < saturationMax else {
                refusal = .saturated
                continue
            }
            guard let worst = state.worstReturn(at: wanted), worst >= target else {
                refusal = .uncertain
                continue
            }
            return BudgetDecision(action: .raise, reason: .earnsMore, toMinor: wanted, worstReturn: worst)
        }
        return .hold(refusal)
    }

    private static func lower(_ state: BudgetState) -> BudgetDecision {
        guard state.conversionsMillionths >= conversionsMin else { return .hold(.fewConversions) }
        let current = state.currentMinor
        // The least and the most that 10 to 20 % are in whole minor units.
        let (least, most) = (current / 10 + (current % 10 == 0 ? 0 : 1), current / 5)
        guard least <= most else { return .hold(.tooSmall) }
        // 10 % just below 0.85 of the target, 20 % from half of it on.
        let part = max(0, Double(state.returnOnSpend ?? 0)) / Double(state.targetMillionths)
        let share = 0.1 + 0.1 * min(1, max(0, (0.85 - part) / 0.35))
        let cut = min(most, max(least, Int64((Double(current) * share).rounded())))
        let wanted = max(state.floorMinor, current - cut)
        guard current - wanted >= least else { return .hold(.atFloor) }
        return BudgetDecision(
            action: .lower, reason: .earnsLess, toMinor: wanted, worstReturn: state.worstReturn(at: wanted))
    }
}

/// What somebody should look at now, whatever the advice.
package enum BudgetAlert: String, Sendable, CaseIterable {
    /// More than 1.1 × the cap was spent on the newest day with spend, which is at most three days ago.
    case overCap = "over_cap"
    /// At least 1,000 units of the currency were spent since the last conversion, in an organisation that sells leads.
    case noConversion = "no_conversion"

    private static let unitsWithoutConversion: Int64 = 1000
    /// Files come days late; what was spent longer ago nobody can look at now.
    private static let capDays = 3

    /// - Parameters:
    ///   - days: one a day, oldest first, today's as far as it is known; results whatever their currency.
    ///   - sellsLeads: as of `findings`.
    ///   - today: the day that is not over, as days since 1970-01-01.
    package static func alerts(
        _ days: [SpendDay], sellsLeads: Bool, capMinor: Int64?, currency: Currency, today: Int
    ) -> [BudgetAlert] {
        let last = days.last { $0.results > 0 }?.day
        return findings(
            days, lastConversion: last, sellsLeads: sellsLeads, capMinor: capMinor, currency: currency, today: today
        ).map(\.rule)
    }

    /// Which rules hold, and of what.
    /// - Parameters:
    ///   - days: one a day, oldest first; their spend alone is looked at.
    ///   - lastConversion: its day; what was spent on that day may have been before it, and is left out.
    ///   - sellsLeads: whether the organisation sold any lead in these days, whatever became of it. Where none was,
    ///     what campaigns bring is in the log alone, and that a campaign sold nothing says nothing of it.
    package static func findings(
        _ days: [SpendDay], lastConversion: Int?, sellsLeads: Bool, capMinor: Int64?, currency: Currency, today: Int
    ) -> [StopFinding] {
        guard let newest = days.last(where: { $0.spendMinor > 0 }) else { return [] }
        var findings: [StopFinding] = []
        if let capMinor, today - newest.day <= capDays, Int128(newest.spendMinor) * 10 > Int128(capMinor) * 11 {
            findings.append(
                StopFinding(
                    rule: .overCap, day: newest.day, spendMinor: newest.spendMinor,
                    limitMinor: Int64(clamping: Int128(capMinor) * 11 / 10)))
        }
        guard sellsLeads else { return findings }
        let since = days.reversed().prefix { $0.day > lastConversion ?? .min }
            .reduce(Int128(0)) { $0 + Int128($1.spendMinor) }
        let unit = (0..<currency.fractionDigits).reduce(Int64(1)) { unit, _ in unit * 10 }
        if since >= Int128(unitsWithoutConversion * unit) {
            findings.append(
                StopFinding(
                    rule: .noConversion, day: newest.day, spendMinor: Int64(clamping: since),
                    limitMinor: unitsWithoutConversion * unit))
        }
        return findings
    }
}

/// A stop rule that holds for a campaign in one currency.
package struct StopFinding: Sendable, Equatable {
    package var rule: BudgetAlert
    /// The newest day with spend, as days since 1970-01-01 by the campaign's calendar.
    package var day: Int
    /// Of that day, or since the last conversion.
    package var spendMinor: Int64
    /// Above it, or from it on, the rule holds: 1.1 × the cap, or 1,000 units of the currency.
    package var limitMinor: Int64
}
