internal import AurumCore
internal import Solar
internal import TestSupport
import Testing

@Suite struct FinanceTests {
    private let rules: EstimateRules
    private let finance: HouseholdFinance

    init() throws {
        let date = try #require(CivilDate("2026-11-21"))
        rules = EstimateRules(book: try RuleBook(), date: date, utility: .conEdison, propertyClass: .class1)
        finance = try HouseholdFinance(rules: rules, kilowatts: 7)
    }

    /// 7 kW on a pitched roof, 20 degrees south at Central Park, with prices and rates from the rules.
    private func checkA(_ change: (inout HouseholdFinance.Input) -> Void = { _ in }) throws -> HouseholdFinance.Outcome
    {
        let request = try ProductionRequest(station: .centralPark, tilt: 20, azimuth: 180, kilowatts: 7)
        let taxes = try rules.rule("taxes.unknown")
        var input = HouseholdFinance.Input(
            kilowatts: 7, production: try PVWatts.produce(request).annualKilowattHours, usage: 10_000,
            pricePerWatt: try rules.value("price.pitched", "rate"), uncertainGrants: true,
            stateTax: try rules.parameter(taxes, "statePerYear").likely,
            propertyTax: try rules.parameter(taxes, "propertyPerYear").likely,
            avoidedRate: try rules.parameter(rules.one(.tariff), "avoided").likely,
            chargePerKilowattMonth: try rules.parameter(rules.one(.charge), "rate").likely)
        change(&input)
        return finance.outcome(input)
    }

    private func near(_ own: Double?, _ wanted: Double, _ slack: Double, _ what: String) {
        guard let own else {
            Issue.record("\(what) is absent")
            return
        }
        #expect(abs(own - wanted) <= slack, "\(what) is \(own), not \(wanted)")
    }

    @Test func `worked check A: seven kilowatts on a pitched roof`() throws {
        let own = try checkA()
        near(own.grossCost, 24_500, 0.01, "cost")
        near(own.grant, 1400, 0.01, "grant")
        near(own.federalCredit, 0, 0, "federal credit")
        near(own.stateCredit, 5000, 0.01, "state credit")
        near(own.abatementPerYear, 1732.5, 0.01, "abatement a year")
        near(own.netCost, 11_170, 0.01, "net cost")
        near(own.valueYear1, 2942.94, 1, "value of year 1")
        near(own.systemChargeYear1, 80.64, 0.01, "charge")
        near(own.maintenanceYear1, 105, 0.01, "upkeep")
        for (year, wanted) in [(1, 9489.80), (2, 4562.94), (5, 3060.42), (13, 2358.54), (25, 5078.87)] {
            near(own.cashByYear[year - 1], wanted, 1, "cash of year \(year)")
        }
        near(own.paybackYears, 3.94, 0.01, "payback")
        // The target's figure is for 9,196.7 kWh; a kilowatt-hour more a year is about 11 dollars over 25 years.
        near(own.total, 82_832, 10, "25-year sum")
        near(own.kilowattHours, 216_122, 10, "25-year energy")
    }

    @Test func `worked check C: small taxes hold the incentives down, and what cannot be used lapses`() throws {
        let own = try checkA {
            $0.stateTax = 700
            $0.propertyTax = 900
        }
        near(own.stateCredit, 4200, 0.01, "state credit")
        near(own.abatementPerYear, 900, 0.01, "abatement a year")
        near(own.netCost, 15_300, 0.01, "net cost")
        for (year, wanted) in [(1, 4357.30), (2, 4430.44), (5, 3760.42)] {
            near(own.cashByYear[year - 1], wanted, 1, "cash of year \(year)")
        }
        near(own.paybackYears, 5.38, 0.01, "payback")
        near(own.total, 78_702, 10, "25-year sum")
    }

    @Test func `the rules of November 2026 never pay check A back in less than 3 point 9 years`() throws {
        let payback = try #require(try checkA().paybackYears)
        #expect(payback >= 3.9)
    }

    @Test func `a higher price never shortens payback, a lower tax never raises incentives`() throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<soakCount(10_000) {
            let input = HouseholdFinance.Input(
                kilowatts: .random(in: 2...25, using: &random), production: .random(in: 1500...32_000, using: &random),
                usage: .random(in: 1500...40_000, using: &random), pricePerWatt: .random(in: 2...6, using: &random),
                uncertainGrants: .random(using: &random), stateTax: .random(in: 0...8000, using: &random),
                propertyTax: .random(in: 0...20_000, using: &random),
                avoidedRate: .random(in: 0.15...0.4, using: &random),
                chargePerKilowattMonth: .random(in: 0.9...1.6, using: &random))
            let base = finance.outcome(input)
            var higher = input
            higher.pricePerWatt += 0.5
            let dearer = finance.outcome(higher)
            var lower = input
            lower.stateTax *= 0.7
            lower.propertyTax *= 0.7
            let poorer = finance.outcome(lower)
            let what: Comment = "seed 3: \(input)"
            // Credits grow with the price, but by less than the price does.
            #expect(dearer.netCost >= base.netCost, what)
            #expect(poorer.stateCredit <= base.stateCredit && poorer.abatement <= base.abatement, what)
            #expect((poorer.paybackYears ?? .infinity) >= (base.paybackYears ?? .infinity) - 1e-4, what)
            #expect((dearer.paybackYears ?? .infinity) >= (base.paybackYears ?? .infinity) - 0.01, what)
        }
    }
}
