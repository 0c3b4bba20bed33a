/// One figure of an estimate with its range and where it comes from.
package struct Figure: Sendable, Hashable, Codable {
    package enum Name: String, Sendable, Hashable, Codable, CaseIterable {
        case panels, systemWatts, usageKilowattHours, annualKilowattHours, shareOfUsage, grossCost, grant
        case federalCredit, stateCredit, abatementPerYear, abatement, netCost, valueYear1, systemCharge
        case maintenanceYear1, savingsYear1, paybackYears
    }

    package let name: Name
    /// `kWh`, `W`, `USD`, `USD/year`, `years`, `panels`, `percent`.
    package let unit: String
    package let value: Double
    package let low: Double
    package let high: Double
    /// Rule citations such as `nys.credit@1`, `data:…` and `method:…`.
    package let sources: [String]
}

/// What a roof could carry, give and cost. Every figure is a range; the assumptions say why it is as wide as it is.
package struct SolarEstimate: Sendable, Hashable, Codable {
    /// What holds the system's size down.
    package enum Bound: String, Sendable, Hashable, Codable { case usage, roof, limit }

    package let date: String
    package let panels: Int
    package let systemWatts: Int
    package let bound: Bound
    package let mode: RoofMode
    /// kWh of year 1, likely.
    package let annualKilowattHours: Int
    package let monthlyKilowattHours: [Double]
    /// Part of a year's use that the roof could cover if it were filled, in hundredths of a percent, at most 10000.
    package let roofCoverageBasisPoints: Int
    package let figures: [Figure]
    /// Cash of years 1, 2, 3 … in dollars, likely.
    package let cashByYear: [Double]
    package let assumptions: [String]
    package let notes: [String]
    /// The first day on which a rule used here ends or must be checked again.
    package let validUntil: String

    package func figure(_ name: Figure.Name) -> Figure? { figures.first { $0.name == name } }
}
