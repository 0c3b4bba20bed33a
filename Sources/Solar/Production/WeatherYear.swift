internal import AurumCore
internal import Foundation
internal import Synchronization

/// One typical year at one station: the hours in which the sun is up, with sun position and weather.
///
/// It is read from the embedded file at the first use and shared from then on; nights are not kept.
struct WeatherYear: Sendable {
    /// One hour with sun. Irradiance in W/m², the temperature in °C, the wind in m/s, angles in radians.
    struct Hour: Sendable {
        /// 0…8759 in file order.
        let index: Int
        /// 0…11
        let month: Int
        let beam: Double
        let diffuse: Double
        let temperature: Double
        let wind: Double
        let sunZenith: Double
        let sunAzimuth: Double
    }

    static let hoursInYear = 8760

    let facts: StationFacts
    let hours: [Hour]

    private static let shared = Mutex<[WeatherStation: WeatherYear]>([:])

    /// The year of `station`, parsed once for the whole process.
    static func of(_ station: WeatherStation) throws(SolarDataError) -> WeatherYear {
        if let year = shared.withLock({ $0[station] }) { return year }
        let facts = try StationFacts.embedded()
        guard let own = facts[station] else {
            throw SolarDataError(file: StationFacts.file, row: station.rawValue, problem: "is missing")
        }
        let file = "solar/\(station.rawValue).csv"
        let year = try WeatherYear(csv: Asset.text(file), file: file, facts: own)
        shared.withLock { $0[station] = year }
        return year
    }

    /// Reads `year,month,day,hour,ghi,dni,dhi,tdry,wspd` rows (hour 0…23 stands for the hour that follows, in local
    /// standard time); comment lines begin with `#`. Anything but 8,760 full rows in order is refused.
    init(csv: String, file: String, facts: StationFacts) throws(SolarDataError) {
        var hours: [Hour] = []
        hours.reserveCapacity(4800)
        var index = 0
        var line = 0
        var day: SunDay?
        for text in csv.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            line += 1
            if text.isEmpty || text.first == UInt8(ascii: "#") || text.first == UInt8(ascii: "y") { continue }
            guard let row = WeatherRow(text) else {
                throw SolarDataError(file: file, row: "line \(line)", problem: "is not a row of nine numbers in range")
            }
            guard index < WeatherYear.hoursInYear, row.hour == index % 24 else {
                throw SolarDataError(file: file, row: "line \(line)", problem: "hour \(row.hour) is out of order")
            }
            if row.hour == 0 || day == nil {
                day = SunDay(
                    year: row.year, dayOfYear: row.dayOfYear, facts: facts, horizonDegrees: WeatherYear.horizonDegrees)
            }
            if let day, let moment = WeatherYear.sunMoment(hour: Double(row.hour) + 0.5, day: day) {
                let sun = SunPosition(year: row.year, dayOfYear: row.dayOfYear, hour: moment, facts: facts)
                hours.append(
                    Hour(
                        index: index, month: row.month - 1, beam: row.beam, diffuse: row.diffuse,
                        temperature: row.temperature, wind: row.wind, sunZenith: sun.zenith, sunAzimuth: sun.azimuth))
            }
            index += 1
        }
        guard index == WeatherYear.hoursInYear else {
            throw SolarDataError(file: file, row: "line \(line)", problem: "\(index) hours instead of 8760")
        }
        self.facts = facts
        self.hours = hours
    }

    /// Altitude of the sun's centre at sunrise: half a disc and refraction below the horizon (NREL SPA).
    private static let horizonDegrees = -0.8333

    /// The moment whose sun stands for the hour around `hour`: its middle, or that of its sunlit part; nil at night.
    private static func sunMoment(hour: Double, day: SunDay) -> Double? {
        if hour >= day.sunrise - 0.5, hour < day.sunrise + 0.5 { return (day.sunrise + hour + 0.5) / 2 }
        if hour > day.sunset - 0.5, hour <= day.sunset + 0.5 { return (hour - 0.5 + day.sunset) / 2 }
        return hour >= day.sunrise && hour <= day.sunset ? hour : nil
    }
}

/// One line of a weather file, checked.
private struct WeatherRow {
    let year: Int
    let month: Int
    let dayOfYear: Int
    let hour: Int
    let beam: Double
    let diffuse: Double
    let temperature: Double
    let wind: Double

    init?(_ line: Substring.UTF8View) {
        var numbers: [Double] = []
        for field in line.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
            guard let value = decimal(field) else { return nil }
            numbers.append(value)
        }
        guard numbers.count == 9, let year = Int(exactly: numbers[0]), let month = Int(exactly: numbers[1]),
            let day = Int(exactly: numbers[2]), let hour = Int(exactly: numbers[3]), (0...23).contains(hour),
            let date = CivilDate(year: year, month: month, day: day),
            let first = CivilDate(year: year, month: 1, day: 1),
            (0...1500).contains(numbers[5]), (0...1500).contains(numbers[6]), (-60...60).contains(numbers[7]),
            (0...100).contains(numbers[8])
        else { return nil }
        self.year = year
        self.month = month
        self.hour = hour
        dayOfYear = date.daysSince1970 - first.daysSince1970 + 1
        beam = numbers[5]
        diffuse = numbers[6]
        temperature = numbers[7]
        wind = numbers[8]
    }
}

/// Plain decimal text such as `-2.2`; nil for anything else. Exact for the few digits of a weather file.
private func decimal(_ text: Substring.UTF8View.SubSequence) -> Double? {
    var value = 0.0
    var scale = 1.0
    var digits = 0
    var fraction = false
    var negative = false
    for (position, byte) in text.enumerated() {
        switch byte {
        case UInt8(ascii: "-") where position == 0: negative = true
        case UInt8(ascii: ".") where !fraction: fraction = true
        case UInt8(ascii: "0")...UInt8(ascii: "9"):
            value = value * 10 + Double(byte - 48)
            if fraction { scale *= 10 }
            digits += 1
        default: return nil
        }
    }
    guard digits > 0, digits < 16 else { return nil }
    return (negative ? -value : value) / scale
}
