internal import Foundation

/// Light on the tilted plane, W/m², by where it comes from.
struct PlaneLight {
    var beam: Double
    var sky: Double
    var ground: Double

    var total: Double { beam + sky + ground }
}

/// Splits the measured light onto a tilted plane.
///
/// Source: R. Perez et al., "Modeling daylight availability and irradiance components from direct and global
/// irradiance", Solar Energy 44 (1990), in the form NREL's PVWatts uses.
struct SkyLight {
    private static let brightness: [(f11: Double, f12: Double, f13: Double, f21: Double, f22: Double, f23: Double)] = [
        (-0.0083117, 0.5877285, -0.0620636, -0.0596012, 0.0721249, -0.0220216),
        (0.1299457, 0.6825954, -0.1513752, -0.0189325, 0.0659650, -0.0288748),
        (0.3296958, 0.4868735, -0.2210958, 0.0554140, -0.0639588, -0.0260542),
        (0.5682053, 0.1874525, -0.2951290, 0.1088631, -0.1519229, -0.0139754),
        (0.8730280, -0.3920403, -0.3616149, 0.2255647, -0.4620442, 0.0012448),
        (1.1326077, -1.2367284, -0.4118494, 0.2877813, -0.8230357, 0.0558651),
        (1.0601591, -1.5999137, -0.3589221, 0.2642124, -1.1272340, 0.1310694),
        (0.6777470, -0.3272588, -0.2504286, 0.1561313, -1.3765031, 0.2506212),
    ]
    private static let clearnessSteps = [1.065, 1.23, 1.5, 1.95, 2.8, 4.5, 6.2]

    let sinTilt: Double
    let cosTilt: Double
    let azimuth: Double

    /// `tilt` and `azimuth` in radians.
    init(tilt: Double, azimuth: Double) {
        sinTilt = sin(tilt)
        cosTilt = cos(tilt)
        self.azimuth = azimuth
    }

    /// Cosine of the angle between the sun and the plane's normal.
    func cosIncidence(zenith: Double, sunAzimuth: Double) -> Double {
        min(1, max(-1, sin(zenith) * cos(sunAzimuth - azimuth) * sinTilt + cos(zenith) * cosTilt))
    }

    func light(_ hour: WeatherYear.Hour, cosIncidence: Double, albedo: Double) -> PlaneLight {
        let degrees = hour.sunZenith * 180 / .pi
        let facing = max(0, cosIncidence)
        let isotropic = hour.diffuse * (1 + cosTilt) / 2
        if degrees > 87.5 {
            return PlaneLight(beam: degrees >= 90 ? 0 : hour.beam * facing, sky: isotropic, ground: 0)
        }
        let cosZenith = cos(hour.sunZenith)
        let beam = hour.beam * facing
        guard hour.diffuse > 0 else { return PlaneLight(beam: beam, sky: 0, ground: 0) }

        let airMass = 1 / (cosZenith + 0.15 * pow(93.9 - degrees, -1.253))
        let delta = hour.diffuse * airMass / 1367
        let cubed = 5.534e-6 * degrees * degrees * degrees
        let clearness = ((hour.beam + hour.diffuse) / hour.diffuse + cubed) / (1 + cubed)
        var bin = 0
        for step in SkyLight.clearnessSteps where clearness > step { bin += 1 }
        let row = SkyLight.brightness[bin]
        let circumsolar = max(0, row.f11 + row.f12 * delta + row.f13 * hour.sunZenith)
        let horizon = row.f21 + row.f22 * delta + row.f23 * hour.sunZenith
        let sky =
            isotropic * (1 - circumsolar)
            + hour.diffuse * (circumsolar * facing / max(cosZenith, 0.0871557) + horizon * sinTilt)
        let ground = albedo * (hour.beam * cosZenith + hour.diffuse) * (1 - cosTilt) / 2
        return PlaneLight(beam: beam, sky: sky, ground: ground)
    }
}
