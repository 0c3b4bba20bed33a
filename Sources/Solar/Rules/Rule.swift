package import AurumCore

/// One dated rule: an incentive, a tariff, a price or an assumption, with where it was read and until when to trust it.
package struct Rule: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
        case taxCredit, grant, abatement, tariff, charge, netMetering, price, exemption, maintenance, fireAccess
        case assumption, note

        /// Money that would be promised to a household.
        var isPromise: Bool {
            switch self {
            case .taxCredit, .grant, .abatement, .exemption: true
            case .tariff, .charge, .netMetering, .price, .maintenance, .fireAccess, .assumption, .note: false
            }
        }

        /// Amounts whose low and high widen once nobody has checked them for long.
        var widens: Bool {
            switch self {
            case .tariff, .charge, .price: true
            case .taxCredit, .grant, .abatement, .netMetering, .exemption, .maintenance, .fireAccess, .assumption,
                .note:
                false
            }
        }
    }

    /// What an amount's date is measured by.
    package enum Basis: String, Sendable, Hashable, Codable {
        case payment, placedInService, application, constructionBegun
    }

    /// Whether the amount enters the sums: `range` only at the optimistic end, `no` never.
    package enum Counted: String, Sendable, Hashable, Codable { case yes, range, no }

    package enum Confidence: String, Sendable, Hashable, Codable { case high, medium, low }

    /// A named calculation; its parameters carry every number.
    package enum Formula: String, Sendable, Hashable, Codable, CaseIterable {
        case percentOfNetCost, cappedCredit, yearlyAbatement, perWatt, twoPartTariff, perKilowattMonth, oneToOneCredit
        case exempt, pricePerWatt, upkeep, roofDefault, areaDefault, constants, mention

        /// Names that must be there and no others; nil where any are allowed.
        var parameters: Set<String>? {
            switch self {
            case .percentOfNetCost, .perKilowattMonth, .pricePerWatt: ["rate"]
            case .cappedCredit: ["rate", "cap", "carryOverYears", "maximumKilowatts"]
            case .yearlyAbatement: ["rate", "years", "capPerYear"]
            case .perWatt: ["rate", "maximumKilowatts"]
            case .twoPartTariff: ["fixedMonthly", "usageRate", "avoided", "allIn", "growthPerYear"]
            case .oneToOneCredit: ["maximumKilowatts", "surplusRate"]
            case .upkeep: ["perKilowattYear", "inverterPerWatt", "inverterYear"]
            case .roofDefault: ["widthFeet", "depthFeet", "flat"]
            case .areaDefault: ["squareFeet", "flat"]
            case .exempt, .mention: []
            case .constants: nil
            }
        }
    }

    package let id: String
    package let version: Int
    package let kind: Kind
    package let title: String
    package let jurisdiction: String
    /// nil: every utility.
    package let utility: Utility?
    /// Empty: every class.
    package let propertyClasses: Set<PropertyClass>
    /// First day; nil: since ever.
    package let effectiveFrom: CivilDate?
    /// First day on which it no longer holds; nil: open.
    package let effectiveTo: CivilDate?
    package let basis: Basis
    package let formula: Formula
    package let parameters: [String: Span]
    package let counted: Counted
    package let source: RuleSource
    package let confidence: Confidence
    package let checkedOn: CivilDate
    package let verifyBy: CivilDate
    package let note: String

    /// `nys.credit@1`, as figures cite it.
    package var citation: String { "\(id)@\(version)" }

    func applies(on date: CivilDate) -> Bool {
        (effectiveFrom.map { $0 <= date } ?? true) && (effectiveTo.map { date < $0 } ?? true)
    }

    func applies(to own: Utility, _ propertyClass: PropertyClass) -> Bool {
        (utility == nil || utility == own) && (propertyClasses.isEmpty || propertyClasses.contains(propertyClass))
    }
}

/// New York City's classes of real property.
package enum PropertyClass: String, Sendable, Hashable, Codable, CaseIterable {
    /// Houses of one to three families.
    case class1 = "1"
    /// Other housing.
    case class2 = "2"
    /// Everything commercial.
    case class4 = "4"
}

package struct RuleSource: Sendable, Hashable, Codable {
    package let title: String
    package let publisher: String
    package let date: String
}

/// An amount with its low and high end.
package struct Span: Sendable, Hashable, Codable {
    package let low: Double
    package let likely: Double
    package let high: Double

    package init(low: Double, likely: Double, high: Double) {
        self.low = low
        self.likely = likely
        self.high = high
    }

    package init(_ value: Double) { self.init(low: value, likely: value, high: value) }

    func widened(by part: Double) -> Span {
        Span(low: low * (1 - part), likely: likely, high: high * (1 + part))
    }
}
