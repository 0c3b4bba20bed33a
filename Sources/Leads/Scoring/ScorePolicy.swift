package import AurumCore
internal import Foundation

/// How a type of lead is scored: published factors, tables, gates and bands, as data (`rules/score-*.json`).
package struct ScorePolicy: Sendable, Codable, Equatable {
    /// One test of an attribute. An attribute that is absent fails every test.
    struct Condition: Sendable, Codable, Equatable {
        var attribute: String
        /// Integer attributes: the value is this or more, in the attribute's own unit.
        var atLeast: Int64?
        /// Text attributes: the value is one of these.
        var `in`: [String]?
        var equals: Bool?

        func holds(_ attributes: [String: LeadAttribute]) -> Bool {
            guard let value = attributes[attribute]?.value else { return false }
            if let atLeast { return value.integer.map { $0 >= atLeast } ?? false }
            if let choices = `in` { return value.string.map(choices.contains) ?? false }
            return equals != nil && value.bool == equals
        }
    }

    /// Points of a factor when all conditions hold.
    struct Rule: Sendable, Codable, Equatable {
        var points: Int
        var label: String
        var when: [Condition]
    }

    /// Points added when all conditions hold.
    struct Adjustment: Sendable, Codable, Equatable {
        var add: Int
        var label: String
        var when: [Condition]
    }

    /// Points a unit of an integer attribute.
    struct Term: Sendable, Codable, Equatable {
        var attribute: String
        var perUnit: Int
        var max: Int
        var label: String
    }

    /// First rule that holds, else `otherwise`; then adjustments and terms; never below `missing`, never above 100.
    struct Factor: Sendable, Codable, Equatable {
        var code: String
        var label: String
        /// Basis points; all factors add up to 10,000.
        var weight: Int
        var needs: [String]
        var missing: Int
        var otherwise: Int
        var otherwiseLabel: String
        var rules: [Rule]
        var adjustments: [Adjustment]?
        var terms: [Term]?
    }

    /// Closes when all conditions hold, or when a needed attribute is absent.
    struct Gate: Sendable, Codable, Equatable {
        var code: String
        var label: String
        var when: [Condition]
        var needs: [String]?
    }

    struct Band: Sendable, Codable, Equatable {
        var tier: String
        var atLeast: Int
        /// Lowest price, in minor units, below which the lead is not sold; a buyer's own reserve price wins.
        var reserveMinor: Int64
    }

    /// A point of the map from score to the chance of being accepted and kept.
    struct Anchor: Sendable, Codable, Equatable {
        var score: Int
        var probabilityMillionths: Int64
    }

    /// What an attribute may hold.
    struct Attribute: Sendable, Codable, Equatable {
        enum Kind: String, Sendable, Codable { case integer, choice, text, bool }
        var name: String
        var kind: Kind
        var values: [String]?
        var minimum: Int64?
        var maximum: Int64?
    }

    package let type: String
    package let version: String
    package let label: String
    package let currency: Currency
    let attributes: [Attribute]
    let factors: [Factor]
    let gates: [Gate]
    let bands: [Band]
    let calibration: [Anchor]

    /// Everything that is wrong with the policy; empty when it may be used.
    package var problems: [String] {
        var problems: [String] = []
        let weights = factors.reduce(0) { $0 + $1.weight }
        if weights != 10_000 { problems.append("\(version): weights add up to \(weights) basis points, not 10000") }
        if Set(factors.map(\.code)).count != factors.count { problems.append("\(version): a factor is named twice") }
        for factor in factors {
            let points = [factor.missing, factor.otherwise] + factor.rules.map(\.points)
            if points.contains(where: { !(0...100).contains($0) }) {
                problems.append("\(version): \(factor.code) has points outside 0…100")
            }
            if points.contains(where: { $0 < factor.missing }) {
                problems.append("\(version): \(factor.code) rewards a missing answer")
            }
            if factor.weight < 0 { problems.append("\(version): \(factor.code) has a negative weight") }
        }
        if bands.map(\.atLeast) != bands.map(\.atLeast).sorted(by: >) {
            problems.append("\(version): bands are not in falling order")
        }
        let scores = calibration.map(\.score)
        if scores.first != 0 || scores.last != 100 || zip(scores, scores.dropFirst()).contains(where: { $0 >= $1 }) {
            problems.append("\(version): calibration does not rise from 0 to 100")
        }
        return problems
    }

    /// Chance, in millionths, that a lead of `score` is accepted and kept: the policy's prior table, linear between
    /// its points, rounded half up. Nothing has been fitted to outcomes.
    package func probabilityMillionths(score: Int) -> Int64 {
        guard let upper = calibration.firstIndex(where: { $0.score >= score }), upper > 0 else {
            return calibration.first?.probabilityMillionths ?? 0
        }
        let (low, high) = (calibration[upper - 1], calibration[upper])
        let span = Int64(high.score - low.score)
        let rise = (high.probabilityMillionths - low.probabilityMillionths) * Int64(score - low.score)
        return low.probabilityMillionths + (2 * rise + span) / (2 * span)
    }

    /// Lowest price of a tier in minor units of `currency`; nil for a tier that is not offered.
    package func reserveMinor(tier: String) -> Int64? { bands.first { $0.tier == tier }?.reserveMinor }
}

/// The score policies in force, by lead type.
package struct ScorePolicies: Sendable {
    package enum Failure: Error, Equatable, CustomStringConvertible {
        /// Every problem of every policy.
        case invalid([String])

        package var description: String {
            switch self {
            case .invalid(let problems): "score policies: " + problems.joined(separator: "; ")
            }
        }
    }

    private let policies: [String: ScorePolicy]

    /// - Parameter documents: policies as JSON text.
    package init(documents: [String]) throws(Failure) {
        var problems: [String] = []
        var policies: [String: ScorePolicy] = [:]
        for document in documents {
            do {
                let policy = try JSONDecoder().decode(ScorePolicy.self, from: Data(document.utf8))
                problems += policy.problems
                if policies.updateValue(policy, forKey: policy.type) != nil {
                    problems.append("two policies for \(policy.type)")
                }
            } catch {
                problems.append("not a policy: \(error)")
            }
        }
        guard problems.isEmpty else { throw .invalid(problems) }
        self.policies = policies
    }

    /// The policies carried in the binary.
    package static func embedded() throws(Failure) -> ScorePolicies {
        try ScorePolicies(documents: Asset.names(in: "rules/score-").map(Asset.text))
    }

    package subscript(type: String) -> ScorePolicy? { policies[type] }

    /// Lead types that can be scored, in order.
    package var types: [String] { policies.keys.sorted() }
}
