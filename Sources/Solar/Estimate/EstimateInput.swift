package import AurumCore

/// What somebody uses: from the bill or from the meter; a range keeps both ends.
package enum UsageInput: Sendable, Hashable, Codable {
    /// Cents of an average month's bill.
    case monthlyBill(low: Int64, high: Int64)
    case monthlyKilowattHours(low: Double, high: Double)
}

/// The answers an estimate needs. What is nil or unknown widens ranges and is listed as an assumption.
package struct EstimateInput: Sendable, Hashable {
    package var place: ServedPlace
    /// The day whose rules hold.
    package var date: CivilDate
    package var homeType: HomeType
    package var usage: UsageInput
    package var roofType: RoofType
    package var roof: RoofSize?
    package var roofDirection: RoofDirection
    package var shade: Shade
    package var canopy: Bool
    /// The person wants panels on a side that faces north.
    package var insistNorth: Bool
    /// Grants whose payment is not certain count in the likely figures too.
    package var countUncertainGrants: Bool
    /// Cents a year; nil when not known.
    package var stateTaxPerYear: Int64?
    package var propertyTaxPerYear: Int64?

    package init(
        place: ServedPlace, date: CivilDate, homeType: HomeType, usage: UsageInput, roofType: RoofType = .unknown,
        roof: RoofSize? = nil, roofDirection: RoofDirection = .unknown, shade: Shade = .unknown, canopy: Bool = false,
        insistNorth: Bool = false, countUncertainGrants: Bool = false, stateTaxPerYear: Int64? = nil,
        propertyTaxPerYear: Int64? = nil
    ) {
        self.place = place
        self.date = date
        self.homeType = homeType
        self.usage = usage
        self.roofType = roofType
        self.roof = roof
        self.roofDirection = roofDirection
        self.shade = shade
        self.canopy = canopy
        self.insistNorth = insistNorth
        self.countUncertainGrants = countUncertainGrants
        self.stateTaxPerYear = stateTaxPerYear
        self.propertyTaxPerYear = propertyTaxPerYear
    }
}

/// Why no estimate is given. There is no "typical system" instead.
package enum EstimateError: Error, Equatable, CustomStringConvertible {
    /// The largest system that fits, kW.
    case tooLittleRoom(kilowatts: Double)
    /// kWh a year.
    case tooLittleUsage(kilowattHours: Double)
    /// The side named faces north and the person did not insist on it.
    case facesNorth
    case notResidential(HomeType)
    case missing(slot: String)
    case outOfRange(slot: String, value: String, range: String)
    case noRule(String, CivilDate)
    case production(ProductionError)

    package var description: String {
        switch self {
        case .tooLittleRoom(let kilowatts): "The roof holds only \(kilowatts) kW, too little for a system of its own."
        case .tooLittleUsage(let energy): "A use of \(Int(energy)) kWh a year is too little for a system of its own."
        case .facesNorth: "Panels are not planned on a roof side that faces north."
        case .notResidential(let home): "A home of type \(home.rawValue) has no household estimate."
        case .missing(let slot): "\(slot) is missing."
        case .outOfRange(let slot, let value, let range): "\(slot) is \(value); it must be \(range)."
        case .noRule(let what, let date): "No rule \(what) holds on \(date)."
        case .production(let error): error.description
        }
    }
}
