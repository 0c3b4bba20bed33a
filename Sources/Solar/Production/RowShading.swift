internal import Foundation

/// What rows of an open rack take from each other: part of the beam, of the sky's light and of the ground's.
///
/// Sources: J. Appelbaum and J. Bany, "Shadow effect of adjacent solar collectors in large scale systems", Solar Energy
/// 23 (1979); C. Deline et al., "A simplified model of uniform shading in large photovoltaic arrays", Solar Energy 96
/// (2013). The square field of two-high portrait rows is PVWatts' own guess at a field's layout.
struct RowShading {
    private let tilt: Double
    private let azimuth: Double
    private let coverage: Double
    private let rows: Double
    /// Length of the sloped side of a row, and of the row itself, metres.
    private let side: Double
    private let rowLength: Double
    private let spacing: Double
    private let wideRows: Bool
    private let skyFactor: Double
    private let sinTilt: Double
    private let cosTilt: Double

    /// `tilt` and `azimuth` in radians.
    init(tilt: Double, azimuth: Double, coverage: Double, dcWatts: Double, module: PhotovoltaicModule) {
        let moduleWatts = 300.0
        let aspect = 1.7
        let high = 2.0
        let width = (moduleWatts / module.nominalEfficiency / 1000 / aspect).squareRoot()
        let count = max(1, (dcWatts / moduleWatts).rounded(.up))
        rows = (count / high).squareRoot().rounded(.up)
        let across = max(1, (count / (rows * high)).rounded(.up))
        side = width * aspect * high
        rowLength = across * width
        spacing = side / coverage
        wideRows = Int(across / 7) > 1
        self.tilt = tilt
        self.azimuth = azimuth
        self.coverage = coverage
        sinTilt = sin(tilt)
        cosTilt = cos(tilt)
        skyFactor = RowShading.skyFactor(tilt: tilt, coverage: coverage)
    }

    func shaded(_ light: PlaneLight, hour: WeatherYear.Hour, albedo: Double) -> PlaneLight {
        var light = light
        light.beam *= 1 - shadedPart(zenith: hour.sunZenith, sunAzimuth: hour.sunAzimuth)
        guard light.sky + light.ground >= 0.1 else { return light }
        light.sky *= skyFactor
        let factor = groundFactor(hour, albedo: albedo)
        if factor >= -0.00001, factor <= 1.00001 { light.ground *= factor }
        return light
    }

    /// Part of the array's area in the shadow of the row before it.
    private func shadedPart(zenith: Double, sunAzimuth: Double) -> Double {
        let off = sunAzimuth - azimuth
        guard zenith < .pi / 2, tilt != 0, abs(off) < .pi / 2 else { return 0 }
        let rise = tan(.pi / 2 - zenith)
        let depth = side * (cosTilt + cos(off) * sinTilt / rise)
        let sideways = side * sinTilt * sin(off) / rise
        guard depth != 0 else { return 0 }
        let gap = wideRows ? 0 : min(rowLength, max(0, spacing * sideways / depth))
        let height = min(side, max(0, side * (1 - spacing / depth)))
        return height * (rowLength - gap) / (side * rowLength)
    }

    private func groundFactor(_ hour: WeatherYear.Hour, albedo: Double) -> Double {
        let elevation = .pi / 2 - hour.sunZenith
        let horizontal = hour.beam * cos(hour.sunZenith)
        let half = sin(tilt / 2)
        let whole = albedo * half * half
        guard whole * (horizontal + hour.diffuse) > 0 else { return 1 }
        let pitch = 1 / coverage
        let lit = max(0.00001, pitch - sin(.pi - elevation - tilt) / sin(elevation))
        func view(_ length: Double) -> Double {
            0.5 * (1 + length - (length * length + 2 * length * cosTilt + 1).squareRoot())
        }
        let beamPart = (whole + (rows - 1) * albedo * view(lit)) / rows
        let diffusePart = (whole + (rows - 1) * albedo * view(pitch)) / rows
        return (beamPart * horizontal + diffusePart * hour.diffuse) / (whole * (horizontal + hour.diffuse))
    }

    /// Mean over a row's height of the sky that the row before it leaves free.
    private static func skyFactor(tilt: Double, coverage: Double) -> Double {
        guard tilt > 0 else { return 1 }
        let steps = 250
        let free = Double.pi + .pi / (1 + tan(tilt) * tan(tilt)).squareRoot()
        var sum = 0.0
        for step in 0..<steps {
            let left = 1 - Double(step) / Double(steps)
            let mask = -.pi / 2 + atan(1 / tan(tilt) - 1 / (coverage * sin(tilt) * left))
            let tangent = tan(tilt + mask)
            var seen = Double.pi + .pi / (1 + tangent * tangent).squareRoot()
            if tilt + mask > .pi / 2 { seen = 2 * .pi - seen }
            sum += seen / free
        }
        return min(1, max(0, sum / Double(steps)))
    }
}
