internal import AurumCore
internal import Foundation
internal import Solar
internal import TestSupport
import Testing

@Suite struct EstimateTests {
    private let estimator: SolarEstimator
    private let brooklyn = ServedPlace(
        zip: "11215", borough: .brooklyn, city: "Brooklyn", utility: .conEdison, station: .centralPark)

    init() throws { estimator = try SolarEstimator() }

    private func day(_ text: String) throws -> CivilDate { try #require(CivilDate(text)) }

    private func flat(_ change: (inout EstimateInput) -> Void = { _ in }) throws -> EstimateInput {
        var input = EstimateInput(
            place: brooklyn, date: try day("2026-11-21"), homeType: .rowhouse,
            usage: .monthlyKilowattHours(low: 812.5, high: 812.5), roofType: .flat, roof: .feet(width: 20, depth: 45),
            shade: .none, countUncertainGrants: true, stateTaxPerYear: 600_000, propertyTaxPerYear: 600_000)
        change(&input)
        return input
    }

    private func value(_ estimate: SolarEstimate, _ name: Figure.Name) throws -> Double {
        try #require(estimate.figure(name), "\(name) is absent").value
    }

    @Test func `worked check B: a flat rowhouse roof of 20 by 45 feet`() throws {
        let estimate = try estimator.estimate(flat())
        #expect(estimate.panels == 14)
        #expect(estimate.systemWatts == 5600)
        #expect(estimate.bound == .roof)
        let expected: [(Figure.Name, Double, Double)] = [
            (.annualKilowattHours, 7005.8, 1), (.grossCost, 25_200, 0.01), (.grant, 1120, 0.01), (.federalCredit, 0, 0),
            (.stateCredit, 5000, 0.01), (.abatementPerYear, 1806, 0.01), (.abatement, 7224, 0.01),
            (.netCost, 11_856, 0.01), (.valueYear1, 2241.86, 1), (.systemCharge, 64.51, 0.01),
            (.maintenanceYear1, 84, 0.01), (.paybackYears, 5.34, 0.01),
        ]
        for (name, wanted, slack) in expected {
            let own = try value(estimate, name)
            #expect(abs(own - wanted) <= slack, "\(name) is \(own), not \(wanted)")
        }
        let cash = [(1, 8899.34), (2, 3955.05), (5, 2324.25), (13, 1736.06), (25, 3861.85)]
        for (year, wanted) in cash {
            #expect(abs(estimate.cashByYear[year - 1] - wanted) <= 1, "year \(year): \(estimate.cashByYear[year - 1])")
        }
    }

    @Test func `every figure is a range with sources that exist`() throws {
        let estimate = try estimator.estimate(
            flat {
                $0.shade = .unknown; $0.stateTaxPerYear = nil
            })
        let known = Set(estimator.rules.rules.map(\.citation))
        #expect(estimate.figures.count >= Figure.Name.allCases.count - 1)
        for figure in estimate.figures {
            #expect(figure.low <= figure.value && figure.value <= figure.high, "\(figure)")
            #expect([figure.low, figure.value, figure.high].allSatisfy { $0.isFinite })
            #expect(!figure.sources.isEmpty)
            for source in figure.sources where !source.hasPrefix("data:") && !source.hasPrefix("method:") {
                #expect(known.contains(source) || source == "answer:usage", "\(figure.name) cites \(source)")
            }
        }
        let energy = try #require(estimate.figure(.annualKilowattHours))
        #expect(energy.low < energy.value * 0.95 && energy.high > energy.value * 1.04)
        #expect(estimate.assumptions.count == 2)
        #expect(estimate.validUntil == "2027-01-31")
    }

    @Test func `year 1 energy ranges by five percent when nothing is unknown`() throws {
        let energy = try #require(try estimator.estimate(flat()).figure(.annualKilowattHours))
        #expect(abs(energy.low / energy.value - 0.95) < 1e-9)
        #expect(abs(energy.high / energy.value - 1.05) < 1e-9)
    }

    @Test func `roofs hold the panels that the worked figures say`() throws {
        let canopy = try estimator.estimate(
            flat {
                $0.canopy = true
                $0.usage = .monthlyKilowattHours(low: 5000, high: 5000)
            })
        #expect(canopy.panels == 29)
        #expect(canopy.mode == .canopy)
        func pitched(_ side: RoofDirection) throws -> SolarEstimate {
            try estimator.estimate(
                flat {
                    $0.homeType = .oneFamily
                    $0.roofType = .shingle
                    $0.roof = .squareFeet(900)
                    $0.roofDirection = side
                    $0.usage = .monthlyKilowattHours(low: 5000, high: 5000)
                })
        }
        #expect(try pitched(.south).panels == 16)
        #expect(try pitched(.east).panels == 32)
        #expect(try pitched(.unknown).assumptions.count == 1)
        #expect(throws: EstimateError.facesNorth) { try pitched(.north) }
    }

    @Test func `size follows use, and the limit of net metering caps it`() throws {
        let small = try estimator.estimate(flat { $0.usage = .monthlyKilowattHours(low: 200, high: 200) })
        #expect(small.bound == .usage)
        #expect(small.panels < 14)
        let large = try estimator.estimate(
            flat {
                $0.roof = .feet(width: 100, depth: 100)
                $0.usage = .monthlyKilowattHours(low: 9000, high: 9000)
            })
        #expect(large.bound == .limit)
        #expect(large.systemWatts == 24_800)
        #expect(large.roofCoverageBasisPoints <= 10_000)
    }

    @Test func `a bill becomes use by the tariff, and its range is kept`() throws {
        let estimate = try estimator.estimate(flat { $0.usage = .monthlyBill(low: 25_000, high: 31_000) })
        let usage = try #require(estimate.figure(.usageKilowattHours))
        #expect(abs(usage.value - (280 - 19) / 0.32 * 12) < 1e-6)
        #expect(usage.low < (250 - 19) / 0.32 * 12 + 1 && usage.high > (310 - 19) / 0.32 * 12 - 1)
        #expect(usage.sources.contains("tariff.coned@1"))
    }

    @Test func `what gives no estimate says why`() throws {
        #expect(throws: EstimateError.notResidential(.coopUnit)) {
            try estimator.estimate(flat { $0.homeType = .coopUnit })
        }
        #expect(throws: EstimateError.tooLittleUsage(kilowattHours: 1200)) {
            try estimator.estimate(flat { $0.usage = .monthlyKilowattHours(low: 100, high: 100) })
        }
        let room = #expect(throws: EstimateError.self) {
            try estimator.estimate(flat { $0.roof = .feet(width: 15, depth: 15) })
        }
        if case .tooLittleRoom(let kilowatts) = room {
            #expect(kilowatts < 2)
        } else {
            Issue.record("\(String(describing: room))")
        }
        for usage in [UsageInput.monthlyBill(low: 1, high: 30_000), .monthlyKilowattHours(low: .nan, high: 1)] {
            #expect(throws: EstimateError.self) { try estimator.estimate(flat { $0.usage = usage }) }
        }
        for roof in [RoofSize.squareFeet(.nan), .squareFeet(-1), .feet(width: -30, depth: -30), .squareFeet(1e9)] {
            #expect(throws: EstimateError.self) { try estimator.estimate(flat { $0.roof = roof }) }
        }
        #expect(throws: EstimateError.missing(slot: "roofSize")) {
            try estimator.estimate(
                flat {
                    $0.homeType = .multifamily; $0.roof = nil
                })
        }
    }

    @Test func `a purchase in 2026 gets no federal credit, and a day without a tariff is refused`() throws {
        let now = try estimator.estimate(flat())
        #expect(try value(now, .federalCredit) == 0)
        let before = try day("2025-12-01")
        // Tariffs are known from 2026 on only: earlier days are refused, not guessed.
        #expect(throws: EstimateError.noRule("tariff", before)) { try estimator.estimate(flat { $0.date = before }) }
    }

    @Test func `unknown taxes make the payback too wide to show, and the estimate says so`() throws {
        let estimate = try estimator.estimate(
            flat {
                $0.stateTaxPerYear = nil
                $0.propertyTaxPerYear = nil
                $0.shade = .unknown
            })
        #expect(estimate.figure(.paybackYears) == nil)
        #expect(estimate.notes.contains { $0.contains("payback") })
        #expect(estimate.figure(.stateCredit)?.low == 0)
    }

    @Test func `random answers never give a figure that is not a number, and more shade never raises value`() throws {
        var random = SeededRandom(seed: 5)
        let shades: [Shade] = [.none, .some, .heavy]
        for _ in 0..<soakCount(1000) {
            var input = try flat()
            input.homeType = [.oneFamily, .twoToFour, .rowhouse].randomElement(using: &random) ?? .rowhouse
            input.roofType = RoofType.allCases.randomElement(using: &random) ?? .unknown
            input.roof = Bool.random(using: &random) ? nil : .squareFeet(.random(in: 300...3000, using: &random))
            input.roofDirection = RoofDirection.allCases.randomElement(using: &random) ?? .unknown
            input.insistNorth = true
            let bill = Int64.random(in: 8_000...150_000, using: &random)
            input.usage = .monthlyBill(low: bill, high: bill + Int64.random(in: 0...5000, using: &random))
            var values: [Double] = []
            for shade in shades {
                input.shade = shade
                guard let estimate = try? estimator.estimate(input) else { continue }
                for figure in estimate.figures {
                    let numbers = [figure.low, figure.value, figure.high]
                    #expect(
                        numbers.allSatisfy { $0.isFinite } && numbers == numbers.sorted(),
                        "seed 5: \(figure) of \(input)")
                }
                values.append(Double(estimate.annualKilowattHours) / Double(estimate.systemWatts))
            }
            #expect(values == values.sorted(by: >), "seed 5: \(input)")
        }
    }
}
