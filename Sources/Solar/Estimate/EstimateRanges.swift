/// Evaluates the corners of what is uncertain and keeps the least and the most of every figure.
struct EstimateRanges {
    let figures: [Figure]
    let likely: HouseholdFinance.Outcome
    let paybackTooWide: Bool

    /// A payback whose ends differ by more than this says nothing.
    private static let widestRatio = 3.0

    init(
        input: EstimateInput, rules: EstimateRules, usage: Usage, roof: RoofPlan, energy: EnergyYield,
        size: SystemSize, assumptions: inout [String]
    ) throws(EstimateError) {
        let corners = try Corners(
            input: input, rules: rules, usage: usage, roof: roof, energy: energy, size: size,
            assumptions: &assumptions)
        let middle = corners.finance.outcome(corners.likely)
        let outcomes = corners.all.map { (input: $0, outcome: corners.finance.outcome($0)) }
        likely = middle
        let cite = Citations(rules: rules, usage: usage, roof: roof, energy: energy, size: size, price: corners.price)

        var figures: [Figure] = []
        func add(_ name: Figure.Name, _ unit: String, _ value: Double, _ ends: [Double], _ sources: [String]) {
            figures.append(
                Figure(
                    name: name, unit: unit, value: value, low: min(value, ends.min() ?? value),
                    high: max(value, ends.max() ?? value), sources: unique(sources)))
        }
        func money(_ name: Figure.Name, _ path: KeyPath<HouseholdFinance.Outcome, Double>, _ own: [String]) {
            add(name, "USD", middle[keyPath: path], outcomes.map { $0.outcome[keyPath: path] }, own)
        }
        let panels = [Double(size.panels.low), Double(size.panels.high)]
        add(.panels, "panels", Double(size.panels.likely), panels, cite.size)
        add(.systemWatts, "W", corners.likely.kilowatts * 1000, panels.map { $0 * size.panelWatts }, cite.size)
        add(
            .usageKilowattHours, "kWh", usage.perYear.likely, [usage.perYear.low, usage.perYear.high],
            usage.sources + ["answer:usage"])
        add(.annualKilowattHours, "kWh", corners.likely.production, outcomes.map(\.input.production), cite.energy)
        add(
            .shareOfUsage, "percent", corners.likely.production / corners.likely.usage * 100,
            outcomes.map { $0.input.production / $0.input.usage * 100 }, cite.energy + usage.sources)
        money(.grossCost, \.grossCost, cite.price)
        money(.grant, \.grant, cite.grant)
        money(.federalCredit, \.federalCredit, cite.federal)
        money(.stateCredit, \.stateCredit, cite.state)
        money(.abatementPerYear, \.abatementPerYear, cite.abatement)
        money(.abatement, \.abatement, cite.abatement)
        money(.netCost, \.netCost, cite.net)
        money(.valueYear1, \.valueYear1, cite.value)
        money(.systemCharge, \.systemChargeYear1, cite.charge)
        money(.maintenanceYear1, \.maintenanceYear1, cite.upkeep)
        money(.savingsYear1, \.savingsYear1, cite.savings)

        let times = outcomes.map(\.outcome.paybackYears)
        let shortest = times.compactMap { $0 }.min() ?? .infinity
        let longest = times.contains { $0 == nil } ? .infinity : times.compactMap { $0 }.max() ?? .infinity
        paybackTooWide = middle.paybackYears == nil || longest > EstimateRanges.widestRatio * shortest
        if !paybackTooWide, let payback = middle.paybackYears {
            add(.paybackYears, "years", payback, [shortest, longest], cite.net + cite.savings)
        }
        self.figures = figures
    }
}

/// The likely inputs and every combination of their ends.
private struct Corners {
    let finance: HouseholdFinance
    let likely: HouseholdFinance.Input
    let all: [HouseholdFinance.Input]
    let price: AppliedRule

    init(
        input: EstimateInput, rules: EstimateRules, usage: Usage, roof: RoofPlan, energy: EnergyYield,
        size: SystemSize, assumptions: inout [String]
    ) throws(EstimateError) {
        let priceID =
            switch roof.mode {
            case .flat: SolarRuleID.priceFlat
            case .canopy: SolarRuleID.priceCanopy
            case .pitched: SolarRuleID.pricePitched
            }
        price = try rules.rule(priceID)
        let rate = try rules.parameter(price, "rate")
        let avoided = try rules.parameter(rules.one(.tariff), "avoided")
        let charge = try rules.parameter(rules.one(.charge), "rate")
        let taxes = try Corners.taxes(input, rules: rules, assumptions: &assumptions)
        let kilowatts = Double(size.panels.likely) * size.panelWatts / 1000
        finance = try HouseholdFinance(rules: rules, kilowatts: kilowatts)
        likely = HouseholdFinance.Input(
            kilowatts: kilowatts, production: kilowatts * energy.perKilowatt.likely, usage: usage.perYear.likely,
            pricePerWatt: rate.likely, uncertainGrants: input.countUncertainGrants, stateTax: taxes.state.likely,
            propertyTax: taxes.property.likely, avoidedRate: avoided.likely, chargePerKilowattMonth: charge.likely)

        var all = [likely]
        func vary(_ values: [Double], _ path: WritableKeyPath<HouseholdFinance.Input, Double>) {
            guard Set(values).count > 1 else { return }
            all = all.flatMap { corner in
                values.map { value in
                    var changed = corner
                    changed[keyPath: path] = value
                    return changed
                }
            }
        }
        vary([size.panels.low, size.panels.high].map { Double($0) * size.panelWatts / 1000 }, \.kilowatts)
        // Energy follows the size: the yield stands in until the size is fixed.
        vary([energy.perKilowatt.low, energy.perKilowatt.high].map { $0 * kilowatts }, \.production)
        all = all.map { corner in
            var changed = corner
            changed.production = corner.production / kilowatts * corner.kilowatts
            return changed
        }
        vary([usage.perYear.low, usage.perYear.high], \.usage)
        vary([rate.low, rate.high], \.pricePerWatt)
        vary([taxes.state.low, taxes.state.high], \.stateTax)
        vary([taxes.property.low, taxes.property.high], \.propertyTax)
        vary([avoided.low, avoided.high], \.avoidedRate)
        vary([charge.low, charge.high], \.chargePerKilowattMonth)
        all = all.flatMap { corner in
            [true, false].map { grants in
                var changed = corner
                changed.uncertainGrants = grants
                return changed
            }
        }
        self.all = all
    }

    /// Dollars a year; unknown taxes reach from nothing to the assumed amount.
    private static func taxes(
        _ input: EstimateInput, rules: EstimateRules, assumptions: inout [String]
    ) throws(EstimateError) -> (state: Span, property: Span) {
        func span(_ known: Int64?, _ slot: String, _ name: String) throws(EstimateError) -> Span {
            if let known {
                guard known >= 0, known <= 100_000_000 else {
                    throw .outOfRange(slot: slot, value: "\(known)", range: "from $0 to $1,000,000 a year")
                }
                return Span(Double(known) / 100)
            }
            let assumed = try rules.value(SolarRuleID.taxes, name)
            let tax = slot == "stateTaxPerYear" ? "New York State income tax" : "property tax"
            assumptions.append("Your \(tax) is not known: between nothing and $\(Int(assumed)) a year.")
            return Span(low: 0, likely: assumed, high: assumed)
        }
        return (
            try span(input.stateTaxPerYear, "stateTaxPerYear", "statePerYear"),
            try span(input.propertyTaxPerYear, "propertyTaxPerYear", "propertyPerYear")
        )
    }
}

/// Which rules stand behind which figure.
private struct Citations {
    let size, energy, price, grant, federal, state, abatement, net, value, charge, upkeep, savings: [String]

    init(
        rules: EstimateRules, usage: Usage, roof: RoofPlan, energy: EnergyYield, size: SystemSize, price: AppliedRule
    ) {
        func kind(_ kind: Rule.Kind) -> [String] { rules.applied.filter { $0.rule.kind == kind }.map(\.rule.citation) }
        func formula(_ formula: Rule.Formula) -> [String] {
            rules.applied.filter { $0.rule.formula == formula }.map(\.rule.citation)
        }
        let taxes = rules.applied.filter { $0.rule.id == SolarRuleID.taxes }.map(\.rule.citation)
        self.size = roof.sources + size.sources + usage.sources
        self.energy = energy.sources + self.size
        self.price = [price.rule.citation] + kind(.exemption) + self.size
        grant = kind(.grant) + self.size
        federal = formula(.percentOfNetCost) + self.price
        state = formula(.cappedCredit) + taxes + self.price
        abatement = formula(.yearlyAbatement) + taxes + self.price
        net = self.price + grant + federal + state + abatement
        value = kind(.tariff) + kind(.netMetering) + self.energy
        charge = kind(.charge) + self.size
        upkeep = kind(.maintenance) + self.size
        savings = value + charge + upkeep
    }
}

private func unique(_ texts: [String]) -> [String] {
    var seen = Set<String>()
    return texts.filter { seen.insert($0).inserted }
}
