internal import AurumCore
internal import Foundation

/// A weather station whose typical year is carried in the binary. The raw value is its USAF number.
package enum WeatherStation: String, Sendable, Hashable, Codable, CaseIterable {
    case centralPark = "725033"
    case laGuardia = "725030"
    case jfk = "744860"
}

/// Where a station stands and how much light its ground throws back.
struct StationFacts: Sendable {
    let station: WeatherStation
    let name: String
    /// Degrees; north and east are positive.
    let latitude: Double
    let longitude: Double
    /// Hours of local standard time, the same all year.
    let utcOffsetHours: Double
    let elevationMetres: Double
    /// Ground reflectance, January to December.
    let albedoByMonth: [Double]

    static let file = "solar/stations.json"

    /// Reads `solar/stations.json`; every station of `WeatherStation` must be there once, with twelve albedos.
    static func load(_ text: String) throws(SolarDataError) -> [WeatherStation: StationFacts] {
        struct Row: Decodable {
            var id, name, latitude, longitude, utcOffsetHours, elevationMetres: String
            var albedoByMonth: [String]
        }
        struct File: Decodable { var stations: [Row] }
        let decoded: File
        do {
            decoded = try JSONDecoder().decode(File.self, from: Data(text.utf8))
        } catch {
            throw SolarDataError(file: file, row: "document", problem: "\(error)")
        }
        var facts: [WeatherStation: StationFacts] = [:]
        for row in decoded.stations {
            guard let station = WeatherStation(rawValue: row.id), facts[station] == nil else {
                throw SolarDataError(file: file, row: "station \(row.id)", problem: "unknown or listed twice")
            }
            func number(_ text: String, _ field: String, _ range: ClosedRange<Double>) throws(SolarDataError) -> Double
            {
                guard let value = Double(text), range.contains(value) else {
                    throw SolarDataError(file: file, row: "station \(row.id)", problem: "\(field) is \(text)")
                }
                return value
            }
            var albedo: [Double] = []
            for text in row.albedoByMonth { albedo.append(try number(text, "albedoByMonth", 0...1)) }
            guard albedo.count == 12 else {
                throw SolarDataError(file: file, row: "station \(row.id)", problem: "albedoByMonth needs 12 values")
            }
            facts[station] = StationFacts(
                station: station, name: row.name,
                latitude: try number(row.latitude, "latitude", -90...90),
                longitude: try number(row.longitude, "longitude", -180...180),
                utcOffsetHours: try number(row.utcOffsetHours, "utcOffsetHours", -12...14),
                elevationMetres: try number(row.elevationMetres, "elevationMetres", -500...9000),
                albedoByMonth: albedo)
        }
        for station in WeatherStation.allCases where facts[station] == nil {
            throw SolarDataError(file: file, row: "station \(station.rawValue)", problem: "is missing")
        }
        return facts
    }

    /// The stations carried in the binary.
    static func embedded() throws(SolarDataError) -> [WeatherStation: StationFacts] { try load(Asset.text(file)) }
}
