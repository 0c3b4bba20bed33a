internal import AurumCore

/// Turns answers into an estimate: size, energy, cost, incentives, savings and payback, each a range with its sources.
package struct SolarEstimator: Sendable {
    package let rules: RuleBook

    /// The embedded rules, checked.
    package init() throws(RuleBookError) { rules = try RuleBook() }

    package init(rules: RuleBook) { self.rules = rules }

    /// Throws `EstimateError` with the reason when the answers give no estimate; there is no stand-in figure.
    package func estimate(_ input: EstimateInput) throws(EstimateError) -> SolarEstimate {
        switch input.homeType {
        case .condoUnit, .coopUnit, .commercial: throw .notResidential(input.homeType)
        case .oneFamily, .twoToFour, .rowhouse, .multifamily, .mixedUse: break
        }
        let own = EstimateRules(
            book: rules, date: input.date, utility: input.place.utility, propertyClass: input.homeType.propertyClass)
        var assumptions: [String] = []
        let usage = try Usage(input.usage, rules: own)
        let roof = try RoofPlan(input, rules: own, assumptions: &assumptions)
        let energy = try EnergyYield(input, roof: roof, rules: own, assumptions: &assumptions)
        let size = try SystemSize(usage: usage, roof: roof, yield: energy.perKilowatt, rules: own)
        let ranges = try EstimateRanges(
            input: input, rules: own, usage: usage, roof: roof, energy: energy, size: size,
            assumptions: &assumptions)
        var notes = own.applied.filter { $0.state == .overdue || $0.state == .lapsed }.map {
            "\($0.rule.title): last checked on \($0.rule.checkedOn)."
        }
        if ranges.paybackTooWide {
            notes.append("The payback time ranges too widely to show; the answers listed as assumed would narrow it.")
        }
        let fitting = Double(roof.panels.likely) * size.panelWatts / 1000 * energy.perKilowatt.likely
        let kilowatts = Double(size.panels.likely) * size.panelWatts / 1000
        return SolarEstimate(
            date: input.date.description, panels: size.panels.likely,
            systemWatts: Int(kilowatts * 1000), bound: size.bound, mode: roof.mode,
            annualKilowattHours: Int((kilowatts * energy.perKilowatt.likely).rounded()),
            monthlyKilowattHours: energy.monthlyPerKilowatt.map { $0 * kilowatts },
            roofCoverageBasisPoints: Int(min(1, fitting / usage.perYear.likely) * 10_000),
            figures: ranges.figures, cashByYear: ranges.likely.cashByYear, assumptions: assumptions, notes: notes,
            validUntil: validUntil(own).description)
    }

    private func validUntil(_ own: EstimateRules) -> CivilDate {
        let used = own.applied.filter { $0.rule.kind != .note }
        let ends = used.compactMap(\.rule.effectiveTo) + used.map(\.rule.verifyBy)
        return ends.filter { $0 > own.date }.min() ?? own.date
    }
}

/// Use of a year in kWh, from the bill or the meter.
struct Usage {
    let perYear: Span
    let sources: [String]

    static let billCents: ClosedRange<Int64> = 2_000...200_000
    static let kilowattHours: ClosedRange<Double> = 50...10_000

    init(_ input: UsageInput, rules: EstimateRules) throws(EstimateError) {
        let tariff = try rules.one(.tariff)
        switch input {
        case .monthlyBill(let low, let high):
            for cents in [low, high] where !Usage.billCents.contains(cents) {
                throw .outOfRange(slot: "bill", value: "$\(Double(cents) / 100)", range: "from $20 to $2,000 a month")
            }
            let fixed = try rules.parameter(tariff, "fixedMonthly")
            let rate = try rules.parameter(tariff, "usageRate")
            func year(_ cents: Double, _ fixed: Double, _ rate: Double) -> Double {
                max(0, cents / 100 - fixed) / rate * 12
            }
            perYear = Span(
                low: year(Double(min(low, high)), fixed.high, rate.high),
                likely: year(Double(low + high) / 2, fixed.likely, rate.likely),
                high: year(Double(max(low, high)), fixed.low, rate.low))
            sources = [tariff.rule.citation]
        case .monthlyKilowattHours(let low, let high):
            for value in [low, high] where !Usage.kilowattHours.contains(value) {
                throw .outOfRange(slot: "kwhPerMonth", value: "\(value)", range: "from 50 to 10,000 kWh a month")
            }
            perYear = Span(low: min(low, high) * 12, likely: (low + high) * 6, high: max(low, high) * 12)
            sources = []
        }
        let least = try rules.value(SolarRuleID.sizing, "minimumUsage")
        guard perYear.likely >= least else { throw .tooLittleUsage(kilowattHours: perYear.likely) }
    }
}

/// Whole panels at the low, likely and high end.
struct PanelSpan: Sendable, Hashable {
    let low: Int
    let likely: Int
    let high: Int
}

/// How many panels are suggested, and what holds the number down.
struct SystemSize {
    let panels: PanelSpan
    let panelWatts: Double
    let bound: SolarEstimate.Bound
    let sources: [String]

    init(usage: Usage, roof: RoofPlan, yield: Span, rules: EstimateRules) throws(EstimateError) {
        let watts = try rules.value(SolarRuleID.panel, "watts")
        let offset = try rules.value(SolarRuleID.sizing, "offset")
        let metering = try rules.one(.netMetering)
        let limit = Int((try rules.parameter(metering, "maximumKilowatts").likely / (watts / 1000)).rounded(.down))
        let smallest = try rules.value(SolarRuleID.sizing, "minimumKilowatts")
        let fitting = Double(min(roof.panels.likely, limit)) * watts / 1000
        guard fitting >= smallest else { throw .tooLittleRoom(kilowatts: fitting) }
        func wanted(_ usage: Double, _ yield: Double) -> Int {
            max(1, Int((usage * offset / yield / (watts / 1000) + 0.5).rounded(.down)))
        }
        let likely = wanted(usage.perYear.likely, yield.likely)
        panels = PanelSpan(
            low: max(1, min(wanted(usage.perYear.low, yield.likely), roof.panels.low, limit)),
            likely: min(likely, roof.panels.likely, limit),
            high: min(wanted(usage.perYear.high, yield.likely), roof.panels.high, limit))
        bound =
            likely <= min(roof.panels.likely, limit) ? .usage : roof.panels.likely <= limit ? .roof : .limit
        panelWatts = watts
        sources = try [
            rules.rule(SolarRuleID.sizing).rule.citation, rules.rule(SolarRuleID.panel).rule.citation,
            metering.rule.citation,
        ]
    }
}
