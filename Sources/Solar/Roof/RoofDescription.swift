/// The home as the conversation names it.
package enum HomeType: String, Sendable, Hashable, Codable, CaseIterable {
    case oneFamily, twoToFour, rowhouse, condoUnit, coopUnit, multifamily, mixedUse, commercial

    /// The class of property that decides which incentives apply.
    package var propertyClass: PropertyClass {
        switch self {
        case .oneFamily, .twoToFour, .rowhouse: .class1
        case .condoUnit, .coopUnit, .multifamily, .mixedUse: .class2
        case .commercial: .class4
        }
    }
}

package enum RoofType: String, Sendable, Hashable, Codable, CaseIterable {
    case flat, shingle, metal, tile, complex, unknown
}

/// The side of a pitched roof that carries the panels.
package enum RoofDirection: String, Sendable, Hashable, Codable, CaseIterable {
    case north = "N"
    case northEast = "NE"
    case east = "E"
    case southEast = "SE"
    case south = "S"
    case southWest = "SW"
    case west = "W"
    case northWest = "NW"
    case unknown

    /// Degrees from north over east; nil when unknown.
    var azimuth: Double? {
        switch self {
        case .north: 0
        case .northEast: 45
        case .east: 90
        case .southEast: 135
        case .south: 180
        case .southWest: 225
        case .west: 270
        case .northWest: 315
        case .unknown: nil
        }
    }

    /// Sides that are left empty unless the person insists.
    var facesNorth: Bool {
        switch self {
        case .north, .northEast, .northWest: true
        case .east, .southEast, .south, .southWest, .west, .unknown: false
        }
    }
}

package enum Shade: String, Sendable, Hashable, Codable, CaseIterable {
    case none, some, heavy, unknown
}

/// A roof's size as the person gave it.
package enum RoofSize: Sendable, Hashable, Codable {
    case feet(width: Double, depth: Double)
    case squareFeet(Double)
}

/// How panels are put on the roof.
package enum RoofMode: String, Sendable, Hashable, Codable { case flat, canopy, pitched }
