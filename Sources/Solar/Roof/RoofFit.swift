internal import Foundation

/// How many panels a roof holds. It bounds an estimate; it is no permit drawing.
///
/// Every number comes from the rules `roof.flat`, `roof.canopy`, `roof.pitched` and `panel`.
struct RoofFit: Sendable {
    let rules: EstimateRules

    /// Usable area of a flat roof in square feet: the paths and the obstructions taken off.
    func usableFlat(width: Double, depth: Double) throws(EstimateError) -> Double {
        let path = try rules.value(SolarRuleID.flat, "pathFeet")
        let every = try rules.value(SolarRuleID.flat, "pathEveryFeet")
        let obstructions = try rules.value(SolarRuleID.flat, "obstructions")
        func clear(_ length: Double) -> Double {
            max(0, length - path * max(1, (length / every).rounded(.up)))
        }
        return clear(width) * clear(depth) * (1 - obstructions)
    }

    /// Panels on a roof of `width` by `depth` feet; for a pitched roof on one side of it.
    func panels(_ mode: RoofMode, width: Double, depth: Double) throws(EstimateError) -> Int {
        let panel = try rules.value(SolarRuleID.panel, "squareFeet")
        let room: Double
        switch mode {
        case .flat:
            let packing = try rules.value(SolarRuleID.flat, "packing")
            room = try usableFlat(width: width, depth: depth) * packing
        case .canopy:
            let usable = try rules.value(SolarRuleID.canopy, "usable")
            room = width * depth * usable * (try rules.value(SolarRuleID.canopy, "packing"))
        case .pitched:
            let tilt = try rules.value(SolarRuleID.pitched, "tilt") * .pi / 180
            room = width * depth / cos(tilt) / 2 * (try rules.value(SolarRuleID.pitched, "access"))
        }
        return Int((room / panel).rounded(.down))
    }
}
