internal import Foundation

/// PVWatts v8 for a fixed array: the hourly energy of a typical year at one station.
///
/// The method is NREL's (System Advisor Model, `pvwattsv8`), written anew: sun, Perez sky, cover, air mass, cell
/// temperature, single diode, losses, inverter. It holds to NREL's own figures within 0.2 % a year and 0.5 % a month.
package struct PVWatts: Sendable {
    private let year: WeatherYear

    package init(station: WeatherStation) throws(ProductionError) {
        do {
            year = try WeatherYear.of(station)
        } catch {
            throw .data(error)
        }
    }

    /// The year of the array's own station.
    package static func produce(_ request: ProductionRequest) throws(ProductionError) -> Production {
        try PVWatts(station: request.station).run(request)
    }

    /// Energy of the year and its months. The request must name this instance's station.
    package func run(_ request: ProductionRequest) throws(ProductionError) -> Production {
        var months = [Double](repeating: 0, count: 12)
        try forEachHour(request) { hour, watts in months[hour.month] += watts / 1000 }
        return Production(annualKilowattHours: months.reduce(0, +), monthlyKilowattHours: months)
    }

    /// Energy of each of the 8,760 hours, Wh.
    package func hourly(_ request: ProductionRequest) throws(ProductionError) -> [Double] {
        var hours = [Double](repeating: 0, count: WeatherYear.hoursInYear)
        try forEachHour(request) { hour, watts in hours[hour.index] = watts }
        return hours
    }

    private func forEachHour(
        _ request: ProductionRequest, _ body: (WeatherYear.Hour, Double) -> Void
    ) throws(ProductionError) {
        guard request.station == year.facts.station else { throw .unknownStation(request.station.rawValue) }
        let array = FixedArray(request, facts: year.facts)
        for hour in year.hours { body(hour, array.watts(hour)) }
    }
}

/// One array with everything that does not change from hour to hour.
private struct FixedArray {
    private static let roofNominalTemperature = 49.0
    private static let rackNominalTemperature = 45.0
    /// Part of the inverter's power it needs before it starts. PVWatts compares watts with limits meant as kilowatts,
    /// so from 1 kW of panels on it takes the value of large plants; kept, because its figures are the reference.
    private static let smallStartPart = 0.002478
    private static let startPart = 0.004931

    private let facts: StationFacts
    private let sky: SkyLight
    private let cover: ModuleCover
    private let module: PhotovoltaicModule
    private let rows: RowShading?
    private let nominalTemperature: Double
    /// Array watts after losses for one module watt.
    private let scale: Double
    private let inverterWatts: Double
    private let inverterInput: Double
    private let inverterStart: Double

    init(_ request: ProductionRequest, facts: StationFacts) {
        let degree = Double.pi / 180
        let watts = request.kilowatts * 1000
        self.facts = facts
        module = request.module == .premium ? .premium : .standard
        sky = SkyLight(tilt: request.tilt * degree, azimuth: request.azimuth * degree)
        cover = ModuleCover(tilt: request.tilt)
        switch request.mount {
        case .roof:
            nominalTemperature = FixedArray.roofNominalTemperature
            rows = nil
        case .rack:
            nominalTemperature = FixedArray.rackNominalTemperature
            rows = RowShading(
                tilt: request.tilt * degree, azimuth: request.azimuth * degree, coverage: request.groundCoverage,
                dcWatts: watts, module: module)
        }
        scale = watts / module.ratedWatts * (1 - request.lossesPercent / 100)
        inverterWatts = watts / request.dcAcRatio
        inverterInput = inverterWatts / (request.inverterEfficiencyPercent / 100)
        inverterStart = inverterWatts * (watts < 1000 ? FixedArray.smallStartPart : FixedArray.startPart)
    }

    /// AC watts of one hour.
    func watts(_ hour: WeatherYear.Hour) -> Double {
        let cosine = sky.cosIncidence(zenith: hour.sunZenith, sunAzimuth: hour.sunAzimuth)
        let albedo = facts.albedoByMonth[hour.month]
        var light = sky.light(hour, cosIncidence: cosine, albedo: albedo)
        if let rows { light = rows.shaded(light, hour: hour, albedo: albedo) }
        guard light.total > 0 else { return 0 }
        let effective =
            max(0, cover.transmitted(light, incidence: acos(cosine)))
            * ModuleCover.airMassModifier(zenith: hour.sunZenith, elevation: facts.elevationMetres)
        let cell = module.cellTemperature(
            light: effective, air: hour.temperature, wind: hour.wind, nominalOperating: nominalTemperature)
        return inverted(module.maximumPower(light: effective, cellTemperature: cell) * scale)
    }

    /// Sandia inverter without curvature: starts at its own need, straight up to its rating, then clips.
    private func inverted(_ direct: Double) -> Double {
        guard direct > inverterStart else { return 0 }
        return min(inverterWatts, inverterWatts * (direct - inverterStart) / (inverterInput - inverterStart))
    }
}
