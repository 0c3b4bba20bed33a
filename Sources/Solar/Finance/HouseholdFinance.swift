/// What a household pays and gets over the years, for one set of inputs.
///
/// Floating point inside; every year's row is rounded to the cent and totals add up the rounded rows. Nothing here
/// enters the ledger.
package struct HouseholdFinance: Sendable {
    /// One corner of the inputs.
    package struct Input: Sendable {
        package var kilowatts: Double
        /// kWh of year 1 and use of a year.
        package var production: Double
        package var usage: Double
        package var pricePerWatt: Double
        /// Grants whose payment is not certain.
        package var uncertainGrants: Bool
        /// Dollars a year.
        package var stateTax: Double
        package var propertyTax: Double
        package var avoidedRate: Double
        package var chargePerKilowattMonth: Double

        package init(
            kilowatts: Double, production: Double, usage: Double, pricePerWatt: Double, uncertainGrants: Bool,
            stateTax: Double, propertyTax: Double, avoidedRate: Double, chargePerKilowattMonth: Double
        ) {
            self.kilowatts = kilowatts
            self.production = production
            self.usage = usage
            self.pricePerWatt = pricePerWatt
            self.uncertainGrants = uncertainGrants
            self.stateTax = stateTax
            self.propertyTax = propertyTax
            self.avoidedRate = avoidedRate
            self.chargePerKilowattMonth = chargePerKilowattMonth
        }
    }

    /// Dollars; what a rule gives stands beside what follows from it.
    package struct Outcome: Sendable {
        package var grossCost: Double
        package var grant: Double
        package var federalCredit: Double
        package var stateCredit: Double
        package var abatementPerYear: Double
        package var abatement: Double
        package var netCost: Double
        package var valueYear1: Double
        package var systemChargeYear1: Double
        package var maintenanceYear1: Double
        package var savingsYear1: Double
        /// Cash of years 1, 2, 3 …
        package var cashByYear: [Double]
        package var kilowattHours: Double
        /// Years until the cash adds up to the cost; nil when that does not happen in the years looked at.
        package var paybackYears: Double?
        /// All years together, the cost taken off.
        package var total: Double
    }

    let terms: Terms

    /// The numbers of the rules, read once for all corners.
    struct Terms: Sendable {
        let years: Int
        let degradation: Double
        let growth: Double
        let surplusRate: Double
        let grantPerWatt: Double
        let grantCounted: Rule.Counted
        let federalRate: Double
        let stateRate: Double
        let stateCap: Double
        let stateYears: Int
        let abatementRate: Double
        let abatementYears: Int
        let abatementCap: Double
        let upkeepPerKilowatt: Double
        let inverterPerWatt: Double
        let inverterYear: Int
    }

    /// The rules of the day; systems above a rule's size limit get nothing from it.
    package init(rules: EstimateRules, kilowatts: Double) throws(EstimateError) {
        let grant = rules.first(.grant)
        let state = rules.promised(.cappedCredit)
        let federal = rules.promised(.percentOfNetCost)
        let abatement = rules.promised(.yearlyAbatement)
        let upkeep = try rules.one(.maintenance)
        let small = { (rule: AppliedRule?) in kilowatts <= (rule?.parameter("maximumKilowatts")?.likely ?? .infinity) }
        terms = Terms(
            years: Int(try rules.value(SolarRuleID.sizing, "years")),
            degradation: try rules.value(SolarRuleID.sizing, "degradationPerYear"),
            growth: try rules.parameter(rules.one(.tariff), "growthPerYear").likely,
            surplusRate: try rules.parameter(rules.one(.netMetering), "surplusRate").likely,
            grantPerWatt: small(grant) ? grant?.parameter("rate")?.likely ?? 0 : 0,
            grantCounted: grant?.counted ?? .no,
            federalRate: federal?.parameter("rate")?.likely ?? 0,
            stateRate: small(state) ? state?.parameter("rate")?.likely ?? 0 : 0,
            stateCap: state?.parameter("cap")?.likely ?? 0,
            stateYears: 1 + Int(state?.parameter("carryOverYears")?.likely ?? 0),
            abatementRate: abatement?.parameter("rate")?.likely ?? 0,
            abatementYears: Int(abatement?.parameter("years")?.likely ?? 0),
            abatementCap: abatement?.parameter("capPerYear")?.likely ?? 0,
            upkeepPerKilowatt: try rules.parameter(upkeep, "perKilowattYear").likely,
            inverterPerWatt: try rules.parameter(upkeep, "inverterPerWatt").likely,
            inverterYear: Int(try rules.parameter(upkeep, "inverterYear").likely))
    }

    package func outcome(_ input: Input) -> Outcome {
        let watts = input.kilowatts * 1000
        let gross = cents(watts * input.pricePerWatt)
        let counts = terms.grantCounted == .yes || (terms.grantCounted == .range && input.uncertainGrants)
        let grant = counts ? min(gross, cents(watts * terms.grantPerWatt)) : 0
        let basis = gross - grant
        let federal = cents(basis * terms.federalRate)
        let stateCredits = spread(
            min(terms.stateCap, cents(basis * terms.stateRate)), perYear: input.stateTax, years: terms.stateYears)
        let perYear = max(0, min(cents(basis * terms.abatementRate), terms.abatementCap, input.propertyTax))
        let charge = cents(input.chargePerKilowattMonth * input.kilowatts * 12)
        let upkeep = cents(terms.upkeepPerKilowatt * input.kilowatts)

        var rows: [Double] = []
        var energy = 0.0
        var price = input.avoidedRate
        var valueYear1 = 0.0
        for year in 1...max(1, terms.years) {
            let produced = input.production * (1 - terms.degradation * Double(year - 1))
            let used = min(produced, input.usage)
            let value = used * price + (produced - used) * terms.surplusRate
            if year == 1 { valueYear1 = cents(value) }
            // The parts are rounded once, as a row.
            var row = value - input.chargePerKilowattMonth * input.kilowatts * 12
            row -= terms.upkeepPerKilowatt * input.kilowatts
            if year == terms.inverterYear { row -= terms.inverterPerWatt * watts }
            if year <= stateCredits.count { row += stateCredits[year - 1] }
            if year <= terms.abatementYears { row += perYear }
            if year == 1 { row += federal }
            rows.append(cents(row))
            energy += produced
            price *= 1 + terms.growth
        }
        let state = cents(stateCredits.reduce(0, +))
        let abatement = perYear * Double(terms.abatementYears)
        return Outcome(
            grossCost: gross, grant: grant, federalCredit: federal, stateCredit: state, abatementPerYear: perYear,
            abatement: abatement, netCost: cents(basis - federal - state - abatement), valueYear1: valueYear1,
            systemChargeYear1: charge, maintenanceYear1: upkeep, savingsYear1: cents(valueYear1 - charge - upkeep),
            cashByYear: rows, kilowattHours: energy, paybackYears: payback(cost: basis, rows: rows),
            total: cents(rows.reduce(-basis, +)))
    }

    /// A credit used up year by year as far as the tax of a year reaches; the rest lapses.
    private func spread(_ credit: Double, perYear: Double, years: Int) -> [Double] {
        var left = max(0, credit)
        return (0..<max(0, years)).map { _ in
            let used = min(left, max(0, perYear))
            left -= used
            return used
        }
    }

    /// The moment at which the cash adds up to the cost, inside its year on a straight line.
    private func payback(cost: Double, rows: [Double]) -> Double? {
        var left = cost
        guard left > 0 else { return 0 }
        for (index, row) in rows.enumerated() {
            if row >= left { return Double(index) + left / row }
            left -= row
        }
        return nil
    }
}

/// Rounded half up to the cent.
func cents(_ dollars: Double) -> Double { (dollars * 100).rounded(.toNearestOrAwayFromZero) / 100 }
