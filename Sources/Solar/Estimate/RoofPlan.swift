/// The roof as the estimate sees it: how panels are put up, how many fit, and which way they look.
struct RoofPlan {
    let mode: RoofMode
    let panels: PanelSpan
    let tilt: Double
    /// Directions that carry panels, each with the same share.
    let azimuths: [Double]
    /// The direction is not known: low and high are taken from the candidates.
    let directionUnknown: Bool
    let sources: [String]

    static let squareFeet: ClosedRange<Double> = 100...50_000

    init(_ input: EstimateInput, rules: EstimateRules, assumptions: inout [String]) throws(EstimateError) {
        let fallback = try? rules.rule(SolarRuleID.defaultRoof(input.homeType.rawValue))
        let mode = try RoofPlan.mode(input, fallback: fallback, assumptions: &assumptions)
        let ruleID =
            switch mode {
            case .flat: SolarRuleID.flat
            case .canopy: SolarRuleID.canopy
            case .pitched: SolarRuleID.pitched
            }
        var sources = [try rules.rule(ruleID).rule.citation, try rules.rule(SolarRuleID.panel).rule.citation]
        if input.roof == nil, let fallback { sources.append(fallback.rule.citation) }
        let sizes = try RoofPlan.sizes(input, fallback: fallback, rules: rules, assumptions: &assumptions)
        tilt = try rules.value(ruleID, "tilt")

        let south = try rules.value(SolarRuleID.flat, "azimuth")
        var sides = 1
        var azimuths = [south]
        var unknown = false
        switch (mode, input.roofDirection) {
        case (.flat, let side), (.canopy, let side):
            // Rows may follow the edge that looks most nearly south.
            if let edge = side.azimuth, abs(edge - south) <= 45 { azimuths = [edge] }
        case (.pitched, .unknown):
            unknown = true
            assumptions.append("The roof's direction is not known: between the worse of east and west, and south.")
        case (.pitched, let side):
            guard let azimuth = side.azimuth, !side.facesNorth || input.insistNorth else { throw .facesNorth }
            azimuths = [azimuth]
            if side == .east || side == .west {
                azimuths = [90, 270]
                sides = 2
            }
        }
        let fit = RoofFit(rules: rules)
        func count(_ size: (width: Double, depth: Double)) throws(EstimateError) -> Int {
            try fit.panels(mode, width: size.width, depth: size.depth) * sides
        }
        panels = PanelSpan(low: try count(sizes.low), likely: try count(sizes.likely), high: try count(sizes.high))
        self.mode = mode
        self.azimuths = azimuths
        directionUnknown = unknown
        self.sources = sources
    }

    private static func mode(
        _ input: EstimateInput, fallback: AppliedRule?, assumptions: inout [String]
    ) throws(EstimateError) -> RoofMode {
        switch input.roofType {
        case .flat: return input.canopy ? .canopy : .flat
        case .shingle, .metal, .tile, .complex: return .pitched
        case .unknown:
            guard let flat = fallback?.parameter("flat") else { throw .missing(slot: "roofType") }
            assumptions.append(
                "The roof's form is not known: \(flat.likely > 0 ? "flat" : "pitched"), as is usual for such a home.")
            return flat.likely > 0 ? (input.canopy ? .canopy : .flat) : .pitched
        }
    }

    private typealias Feet = (width: Double, depth: Double)

    private static func sizes(
        _ input: EstimateInput, fallback: AppliedRule?, rules: EstimateRules, assumptions: inout [String]
    ) throws(EstimateError) -> (low: Feet, likely: Feet, high: Feet) {
        let rowWidth = try rules.value(SolarRuleID.panel, "rowWidthFeet")
        func square(_ area: Double) -> Feet {
            let width = input.homeType == .rowhouse ? min(rowWidth, area) : area.squareRoot()
            return (width, area / width)
        }
        func checked(_ size: Feet) throws(EstimateError) -> Feet {
            let area = size.width * size.depth
            guard size.width > 0, size.depth > 0, squareFeet.contains(area) else {
                throw .outOfRange(slot: "roofSize", value: "\(area) ft²", range: "from 100 to 50,000 ft²")
            }
            return size
        }
        switch input.roof {
        case .feet(let width, let depth):
            let size = try checked((width, depth))
            return (size, size, size)
        case .squareFeet(let area):
            let size = try checked(square(area))
            return (size, size, size)
        case nil: break
        }
        assumptions.append("The roof's size is not known: a usual one for such a home.")
        if let width = fallback?.parameter("widthFeet"), let depth = fallback?.parameter("depthFeet") {
            return ((width.low, depth.low), (width.likely, depth.likely), (width.high, depth.high))
        }
        guard let area = fallback?.parameter("squareFeet") else { throw .missing(slot: "roofSize") }
        return (square(area.low), square(area.likely), square(area.high))
    }
}

/// kWh a kilowatt of panels gives in year 1 on this roof, with its range.
struct EnergyYield {
    let perKilowatt: Span
    let monthlyPerKilowatt: [Double]
    let sources: [String]

    init(
        _ input: EstimateInput, roof: RoofPlan, rules: EstimateRules, assumptions: inout [String]
    ) throws(EstimateError) {
        let weather: PVWatts
        do {
            weather = try PVWatts(station: input.place.station)
        } catch {
            throw .production(error)
        }
        // Above one kilowatt the output is proportional to the size.
        let kilowatts = 10.0
        func run(_ azimuth: Double, _ losses: Double) throws(EstimateError) -> [Double] {
            do {
                let request = try ProductionRequest(
                    station: input.place.station, tilt: roof.tilt, azimuth: azimuth, kilowatts: kilowatts,
                    lossesPercent: losses)
                return try weather.run(request).monthlyKilowattHours.map { $0 / kilowatts }
            } catch {
                throw .production(error)
            }
        }
        func mean(_ azimuths: [Double], _ losses: Double) throws(EstimateError) -> [Double] {
            var sum = [Double](repeating: 0, count: 12)
            for azimuth in azimuths {
                let months = try run(azimuth, losses)
                for month in 0..<12 { sum[month] += months[month] / Double(azimuths.count) }
            }
            return sum
        }
        let lossRule = try rules.rule(SolarRuleID.losses)
        func losses(_ shade: Shade) throws(EstimateError) -> Double {
            try rules.parameter(lossRule, shade.rawValue).likely
        }
        let spread = try rules.value(SolarRuleID.sizing, "yearToYear")
        let likely = try losses(input.shade)
        var worst = likely
        var best = likely
        if input.shade == .unknown {
            worst = try losses(.heavy)
            best = try losses(.none)
            assumptions.append("Shade is not known: between none and heavy.")
        }
        let months: [Double]
        let ends: (low: Double, high: Double)
        if roof.directionUnknown {
            months = try mean([90, 180, 270], likely)
            ends = (
                min(try run(90, worst).reduce(0, +), try run(270, worst).reduce(0, +)),
                try run(180, best).reduce(0, +)
            )
        } else {
            months = try mean(roof.azimuths, likely)
            let year = months.reduce(0, +)
            ends = (
                worst == likely ? year : try mean(roof.azimuths, worst).reduce(0, +),
                best == likely ? year : try mean(roof.azimuths, best).reduce(0, +)
            )
        }
        monthlyPerKilowatt = months
        perKilowatt = Span(
            low: ends.low * (1 - spread), likely: months.reduce(0, +), high: ends.high * (1 + spread))
        sources = [
            "method:pvwatts-v8", "data:solar/\(input.place.station.rawValue).csv", lossRule.rule.citation,
            try rules.rule(SolarRuleID.sizing).rule.citation,
        ]
    }
}
