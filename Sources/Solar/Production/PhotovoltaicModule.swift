internal import Foundation

/// A module by its six CEC parameters: heat and light in, watts out.
///
/// Sources: W. De Soto et al. (2006) for the single-diode equations; parameters of the CEC module library as NREL's
/// PVWatts v8 fixes them for its two crystalline types.
struct PhotovoltaicModule: Sendable {
    let powerVolts: Double
    let powerAmperes: Double
    let alphaShortCircuit: Double
    let diodeVolts: Double
    let lightAmperes: Double
    let saturationAmperes: Double
    let seriesOhms: Double
    let shuntOhms: Double
    let adjustPercent: Double
    let areaSquareMetres: Double
    /// Nominal efficiency, from which PVWatts guesses the size of the modules in a rack.
    let nominalEfficiency: Double

    /// Canadian Solar CS1H-320MS.
    static let standard = PhotovoltaicModule(
        powerVolts: 35.8, powerAmperes: 9.01, alphaShortCircuit: 0.004755, diodeVolts: 1.65916, lightAmperes: 9.51393,
        saturationAmperes: 4.37813e-11, seriesOhms: 0.269953, shuntOhms: 654.059, adjustPercent: 5.79586,
        areaSquareMetres: 1.6864, nominalEfficiency: 0.19)
    /// SunPower SPR-E20-327.
    static let premium = PhotovoltaicModule(
        powerVolts: 54.7, powerAmperes: 5.98, alphaShortCircuit: 0.0026, diodeVolts: 2.45326, lightAmperes: 6.4704,
        saturationAmperes: 2.01784e-11, seriesOhms: 0.421231, shuntOhms: 261.723, adjustPercent: 9.56482,
        areaSquareMetres: 1.6297, nominalEfficiency: 0.21)

    var ratedWatts: Double { powerVolts * powerAmperes }

    /// Cell temperature in °C by nominal operating temperature, for effective light in W/m².
    func cellTemperature(light: Double, air: Double, wind: Double, nominalOperating: Double) -> Double {
        let efficiency = ratedWatts / (1000 * areaSquareMetres)
        let cooling = 9.5 / (5.7 + 3.8 * max(0.001, 0.51 * wind))
        return air + light / 800 * (nominalOperating - 20) * (1 - efficiency / 0.9) * cooling
    }

    /// Most power the module can give, W, at effective light in W/m² and cell temperature in °C.
    ///
    /// With the diode's voltage v as the unknown, current is explicit and power P(v) = I (v − I·Rs) has one peak; the
    /// zero of P′ is found by Newton steps kept inside a bracket.
    func maximumPower(light: Double, cellTemperature: Double) -> Double {
        guard light >= 1 else { return 0 }
        let kelvin = cellTemperature + 273.15
        let reference = 298.15
        let above = kelvin - reference
        let photo = light / 1000 * (lightAmperes + alphaShortCircuit * (1 - adjustPercent / 100) * above)
        let gap = 1.12 * (1 - 0.0002677 * above)
        let ratio = kelvin / reference
        let saturation =
            saturationAmperes * ratio * ratio * ratio * exp((1.12 / reference - gap / kelvin) / 8.618e-5)
        let thermal = diodeVolts * ratio
        let shunt = shuntOhms * 1000 / light
        guard photo > 0, saturation > 0 else { return 0 }

        var low = 0.0
        var high = thermal * log(1 + photo / saturation)
        var volts = high * 0.85
        var best = 0.0
        for _ in 0..<60 {
            let dark = saturation * exp(volts / thermal)
            let current = photo - dark + saturation - volts / shunt
            let slope = -dark / thermal - 1 / shunt
            let inner = volts - 2 * current * seriesOhms
            best = current * (volts - current * seriesOhms)
            let first = slope * inner + current
            if first > 0 { low = volts } else { high = volts }
            let second = -dark / (thermal * thermal) * inner + slope * (2 - 2 * slope * seriesOhms)
            var next = volts - first / second
            if !(next > low && next < high) { next = (low + high) / 2 }
            if abs(next - volts) < 1e-6 { break }
            volts = next
        }
        return max(0, best)
    }
}
