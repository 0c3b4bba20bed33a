/// A fixed array whose yearly output is wanted. Every value is checked when it is made.
package struct ProductionRequest: Sendable, Hashable {
    /// How the panels are fixed: close to the roof, or on racks in rows that shade each other.
    package enum Mount: String, Sendable, Hashable, Codable, CaseIterable { case roof, rack }

    /// The module: standard (about 19 % efficient) or premium (about 20 to 21 %).
    package enum Module: String, Sendable, Hashable, Codable, CaseIterable { case standard, premium }

    package let station: WeatherStation
    /// Degrees from horizontal, 0…90.
    package let tilt: Double
    /// Degrees from north over east, 0…360.
    package let azimuth: Double
    /// Panel power at standard conditions (DC nameplate).
    package let kilowatts: Double
    /// Panel power over inverter power.
    package let dcAcRatio: Double
    /// Losses before the inverter (soiling, shade, wiring …), percent.
    package let lossesPercent: Double
    package let inverterEfficiencyPercent: Double
    package let mount: Mount
    package let module: Module
    /// Ground coverage ratio: panel area over ground area. Matters for racks only.
    package let groundCoverage: Double

    /// Losses with 3 % shade, as PVWatts adds them up.
    package static let defaultLossesPercent = 14.08

    package init(
        station: WeatherStation, tilt: Double, azimuth: Double, kilowatts: Double, dcAcRatio: Double = 1.2,
        lossesPercent: Double = ProductionRequest.defaultLossesPercent, inverterEfficiencyPercent: Double = 96,
        mount: Mount = .roof, module: Module = .standard, groundCoverage: Double = 0.3
    ) throws(ProductionError) {
        self.station = station
        self.tilt = try checked("tilt", tilt, 0...90, "from 0 to 90 degrees")
        self.azimuth = try checked("azimuth", azimuth, 0...360, "from 0 to 360 degrees")
        guard kilowatts.isFinite, kilowatts > 0, kilowatts <= 500_000 else {
            throw .outOfRange(field: "kilowatts", value: shown(kilowatts), range: "above 0 and at most 500000")
        }
        self.kilowatts = kilowatts
        guard dcAcRatio.isFinite, dcAcRatio > 0, dcAcRatio <= 10 else {
            throw .outOfRange(field: "dc-ac", value: shown(dcAcRatio), range: "above 0 and at most 10")
        }
        self.dcAcRatio = dcAcRatio
        self.lossesPercent = try checked("losses", lossesPercent, 0...99, "from 0 to 99 percent")
        self.inverterEfficiencyPercent = try checked(
            "inverter-efficiency", inverterEfficiencyPercent, 90...99.5, "from 90 to 99.5 percent")
        self.mount = mount
        self.module = module
        self.groundCoverage = try checked("gcr", groundCoverage, 0.01...0.99, "from 0.01 to 0.99")
    }

    /// From option names and text, as a command line or a query string gives them: `station tilt azimuth kilowatts`
    /// are required; `dc-ac losses inverter-efficiency mount module gcr` have defaults. Other names are refused.
    package init(options: [String: String]) throws(ProductionError) {
        let names: Set = [
            "station", "tilt", "azimuth", "kilowatts", "dc-ac", "losses", "inverter-efficiency", "mount", "module",
            "gcr",
        ]
        if let unknown = options.keys.filter({ !names.contains($0) }).min() { throw .unknownOption(unknown) }
        func number(_ field: String, _ fallback: Double? = nil) throws(ProductionError) -> Double {
            guard let text = options[field] else {
                if let fallback { return fallback }
                throw .missing(field: field)
            }
            guard let value = Double(text), value.isFinite else { throw .notANumber(field: field, value: text) }
            return value
        }
        guard let id = options["station"] else { throw .missing(field: "station") }
        guard let station = WeatherStation(rawValue: id) else { throw .unknownStation(id) }
        try self.init(
            station: station, tilt: try number("tilt"), azimuth: try number("azimuth"),
            kilowatts: try number("kilowatts"), dcAcRatio: try number("dc-ac", 1.2),
            lossesPercent: try number("losses", ProductionRequest.defaultLossesPercent),
            inverterEfficiencyPercent: try number("inverter-efficiency", 96),
            mount: try choice("mount", options["mount"], .roof),
            module: try choice("module", options["module"], .standard), groundCoverage: try number("gcr", 0.3))
    }
}

private func checked(
    _ field: String, _ value: Double, _ range: ClosedRange<Double>, _ words: String
) throws(ProductionError) -> Double {
    guard range.contains(value) else { throw .outOfRange(field: field, value: shown(value), range: words) }
    return value
}

private func shown(_ value: Double) -> String {
    value.rounded() == value && abs(value) < 1e15 ? String(Int64(value)) : String(value)
}

private func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ field: String, _ text: String?, _ fallback: Choice
) throws(ProductionError) -> Choice {
    guard let text else { return fallback }
    guard let value = Choice(rawValue: text) else {
        throw .unknownChoice(field: field, value: text, choices: Choice.allCases.map(\.rawValue))
    }
    return value
}

/// What an array gives in a typical year (AC, after the inverter).
package struct Production: Sendable, Hashable, Codable {
    package let annualKilowattHours: Double
    /// January to December.
    package let monthlyKilowattHours: [Double]
}
