/// The five boroughs. The raw value is the name people use.
package enum Borough: String, Sendable, Hashable, Codable, CaseIterable {
    case manhattan = "Manhattan"
    case brooklyn = "Brooklyn"
    case queens = "Queens"
    case bronx = "Bronx"
    case statenIsland = "Staten Island"
}

/// Who delivers the electricity. The raw value is the code that leads and rules carry.
package enum Utility: String, Sendable, Hashable, Codable, CaseIterable {
    case conEdison = "coned"
    case psegLongIsland = "psegli"

    package var name: String {
        switch self {
        case .conEdison: "Con Edison"
        case .psegLongIsland: "PSEG Long Island"
        }
    }
}

/// A ZIP code that is served, with what follows from it.
package struct ServedPlace: Sendable, Hashable, Codable {
    package let zip: String
    package let borough: Borough
    /// The post office's name of the area, for example `Far Rockaway`.
    package let city: String
    package let utility: Utility
    /// The nearest weather station.
    package let station: WeatherStation

    package init(zip: String, borough: Borough, city: String, utility: Utility, station: WeatherStation) {
        self.zip = zip
        self.borough = borough
        self.city = city
        self.utility = utility
        self.station = station
    }
}

/// What to ask about a ZIP code that crosses a border.
package struct TerritoryQuestion: Sendable, Hashable {
    package enum Ask: String, Sendable, Hashable, Codable { case borough, utility }

    package let zip: String
    package let ask: Ask
    /// The places it may be, the likeliest first.
    package let choices: [ServedPlace]
    /// True where the answer "none of these" means outside the city.
    package let canBeOutside: Bool
    package let why: String
}

package enum TerritoryAnswer: Sendable, Hashable {
    case served(ServedPlace)
    /// The ZIP crosses a border: ask, then take the choice.
    case askBorough(TerritoryQuestion)
    /// A PO box or one organisation's ZIP: ask which ZIP the house is in.
    case mailbox(zip: String, borough: Borough)
    case outside(zip: String)
    /// Not a ZIP code; the text as it was given.
    case invalid(String)
}
