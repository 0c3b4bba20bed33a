internal import AurumCore
internal import Foundation

/// The method's own proof: 28 arrays whose output NREL's program gave, run again.
package enum SolarReference {
    package struct Row: Sendable {
        package let station: String
        package let tilt: Double
        package let azimuth: Double
        /// kWh a year by the reference and by this method.
        package let expected: Double
        package let actual: Double
        package let annualErrorPercent: Double
        /// The largest error of any month, without sign.
        package let worstMonthErrorPercent: Double
        package var passed: Bool {
            abs(annualErrorPercent) <= SolarReference.annualBarPercent
                && worstMonthErrorPercent <= SolarReference.monthBarPercent
        }
    }

    package static let annualBarPercent = 0.2
    package static let monthBarPercent = 0.5

    private static let file = "solar/reference.json"
    private static let caseCount = 28

    /// Runs every case. A missing or short reference file is an error, never a pass.
    package static func verify() throws -> [Row] {
        struct Case: Decodable {
            var station: String
            var tilt: Double
            var azimuth: Double
            var annual: Double
            var monthly: [Double]
        }
        struct File: Decodable { var cases: [Case] }
        let cases = try JSONDecoder().decode(File.self, from: Data(Asset.text(file).utf8)).cases
        guard cases.count == caseCount, cases.allSatisfy({ $0.monthly.count == 12 && $0.annual > 0 }) else {
            throw SolarDataError(file: file, row: "document", problem: "needs 28 cases with 12 months each")
        }
        return try cases.map { reference in
            guard let station = WeatherStation(rawValue: reference.station) else {
                throw ProductionError.unknownStation(reference.station)
            }
            // The inputs of the reference: 7 kW and the defaults of PVWatts.
            let request = try ProductionRequest(
                station: station, tilt: reference.tilt, azimuth: reference.azimuth, kilowatts: 7)
            let production = try PVWatts.produce(request)
            let months = zip(production.monthlyKilowattHours, reference.monthly).map { abs($0 / $1 - 1) * 100 }
            return Row(
                station: reference.station, tilt: reference.tilt, azimuth: reference.azimuth,
                expected: reference.annual, actual: production.annualKilowattHours,
                annualErrorPercent: (production.annualKilowattHours / reference.annual - 1) * 100,
                worstMonthErrorPercent: months.max() ?? .infinity)
        }
    }
}
