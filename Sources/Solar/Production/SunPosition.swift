internal import Foundation

/// Where the sun stands at one place, by the Astronomical Almanac's approximation.
///
/// Source: J. Michalsky, "The Astronomical Almanac's algorithm for approximate solar position", Solar Energy 40 (1988).
/// Angles are radians unless a name says otherwise; good to about 0.01 degrees.
struct SunPosition {
    /// From the zenith, refraction included.
    let zenith: Double
    /// From north over east.
    let azimuth: Double
    let declination: Double
    /// Apparent minus mean solar time, hours.
    let equationOfTime: Double

    /// - Parameters:
    ///   - hour: local standard time, 0 ..< 24, with fraction.
    ///   - dayOfYear: 1 on 1 January, leap days counted.
    init(year: Int, dayOfYear: Int, hour: Double, facts: StationFacts) {
        let degree = Double.pi / 180
        var universal = hour - facts.utcOffsetHours
        var day = dayOfYear
        if universal < 0 {
            universal += 24
            day -= 1
        } else if universal >= 24 {
            universal -= 24
            day += 1
        }
        let years = year - 1949
        let leapDays = Int((Double(years) / 4).rounded(.down))
        let days = 32916.5 + Double(365 * years + leapDays + day) + universal / 24 - 51545

        let meanLongitude = wrapped(280.46 + 0.9856474 * days, 360)
        let anomaly = wrapped(357.528 + 0.9856003 * days, 360) * degree
        let longitude = (meanLongitude + 1.915 * sin(anomaly) + 0.020 * sin(2 * anomaly)) * degree
        let obliquity = (23.439 - 4e-7 * days) * degree
        var ascension = atan2(cos(obliquity) * sin(longitude), cos(longitude))
        if ascension < 0 { ascension += 2 * .pi }
        declination = asin(sin(obliquity) * sin(longitude))

        let sidereal = wrapped(6.697375 + 0.0657098242 * days + universal, 24) + facts.longitude / 15
        var hourAngle = wrapped(sidereal, 24) * 15 * degree - ascension
        if hourAngle > .pi { hourAngle -= 2 * .pi }
        if hourAngle < -.pi { hourAngle += 2 * .pi }

        let latitude = facts.latitude * degree
        let sine = sin(declination) * sin(latitude) + cos(declination) * cos(latitude) * cos(hourAngle)
        let elevation = asin(min(1, max(-1, sine)))
        azimuth =
            atan2(sin(hourAngle), cos(hourAngle) * sin(latitude) - tan(declination) * cos(latitude)) + .pi
        zenith = (90 - min(90, elevation / degree + SunPosition.refraction(elevation / degree))) * degree

        var equation = (meanLongitude - ascension / degree) / 15
        if equation < -0.33 { equation += 24 }
        if equation > 0.33 { equation -= 24 }
        equationOfTime = equation
    }

    /// Degrees by which the air lifts the sun that stands `elevation` degrees high.
    private static func refraction(_ elevation: Double) -> Double {
        guard elevation > -0.56 else { return 0.56 }
        let squared = elevation * elevation
        return 3.51561 * (0.1594 + 0.0196 * elevation + 0.00002 * squared)
            / (1 + 0.505 * elevation + 0.0845 * squared)
    }
}

/// Sunrise and sunset of one day in local standard hours.
struct SunDay {
    let sunrise: Double
    let sunset: Double

    /// From the sun's place at noon. `horizonDegrees` is the altitude at which the sun counts as risen.
    init(year: Int, dayOfYear: Int, facts: StationFacts, horizonDegrees: Double) {
        let degree = Double.pi / 180
        let noon = SunPosition(year: year, dayOfYear: dayOfYear, hour: 12, facts: facts)
        let latitude = facts.latitude * degree
        let cosine =
            (sin(horizonDegrees * degree) - sin(latitude) * sin(noon.declination))
            / (cos(latitude) * cos(noon.declination))
        let half = acos(min(1, max(-1, cosine))) / degree / 15
        let middle = 12 - (facts.longitude / 15 - facts.utcOffsetHours) - noon.equationOfTime
        sunrise = middle - half
        sunset = middle + half
    }
}

/// `value` brought into 0 ..< `period`.
private func wrapped(_ value: Double, _ period: Double) -> Double {
    let rest = value.truncatingRemainder(dividingBy: period)
    return rest < 0 ? rest + period : rest
}
