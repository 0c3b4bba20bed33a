internal import Foundation

/// How much light passes the module's coated glass, and how the air's thickness changes its colour.
///
/// Source: W. De Soto et al., "Improvement and validation of a model for photovoltaic array performance", Solar Energy
/// 80 (2006), with the anti-reflective coating of NREL's implementation (its asymmetric indices included).
struct ModuleCover {
    private static let glassIndex = 1.526
    private static let glassMetres = 0.002
    private static let coatingIndex = 1.3
    private static let coatingMetres = 0.00002
    private static let extinction = 4.0
    private static let degree = Double.pi / 180

    private let normal: Double
    private let skyFactor: Double
    private let groundFactor: Double

    /// `tilt` in degrees, which sets the effective angle of light from sky and ground.
    init(tilt: Double) {
        let coating = ModuleCover.coating(1 * ModuleCover.degree)
        let through = coating.transmittance * ModuleCover.glass(coating.angle, from: 1)
        normal = through
        func factor(_ degrees: Double) -> Double {
            min(1, ModuleCover.glass(degrees * ModuleCover.degree, from: 1) / through)
        }
        skyFactor = factor(59.7 - 0.1388 * tilt + 0.001497 * tilt * tilt)
        groundFactor = factor(90 - 0.5788 * tilt + 0.002693 * tilt * tilt)
    }

    /// Light behind the cover, W/m².
    func transmitted(_ light: PlaneLight, incidence: Double) -> Double {
        let angle = min(89 * ModuleCover.degree, max(ModuleCover.degree, incidence))
        let coating = ModuleCover.coating(angle)
        let through = coating.transmittance * ModuleCover.glass(coating.angle, from: ModuleCover.coatingIndex)
        return light.beam * min(1, through / normal) + light.sky * skyFactor + light.ground * groundFactor
    }

    /// The spectral correction for the sun at `zenith` radians, `elevation` metres above the sea.
    static func airMassModifier(zenith: Double, elevation: Double) -> Double {
        let degrees = min(86, zenith / degree)
        let mass = exp(-0.0001184 * elevation) / (cos(degrees * degree) + 0.5057 * pow(96.080 - degrees, -1.634))
        let high = 0.002816 - 0.000126 * mass
        return max(0, 0.918093 + mass * (0.086257 + mass * (-0.024459 + mass * high)))
    }

    private static func coating(_ angle: Double) -> (transmittance: Double, angle: Double) {
        passage(angle, from: 1, into: coatingIndex, metres: coatingMetres)
    }

    private static func glass(_ angle: Double, from index: Double) -> Double {
        passage(angle, from: index, into: glassIndex, metres: glassMetres).transmittance
    }

    /// Snell, Fresnel and Bouguer through one layer; also the angle inside it.
    private static func passage(
        _ angle: Double, from outer: Double, into inner: Double, metres: Double
    ) -> (transmittance: Double, angle: Double) {
        let refracted = asin(outer / inner * sin(angle))
        let difference = refracted - angle
        let sum = refracted + angle
        let crossed = sin(difference) / sin(sum)
        let along = tan(difference) / tan(sum)
        let reflected = 0.5 * (crossed * crossed + along * along)
        return ((1 - reflected) * exp(-extinction * metres / cos(refracted)), refracted)
    }
}
