package import AurumCore

/// A score with its reasons.
package struct ScoreExplanation: Sendable, Codable, Equatable {
    package struct Factor: Sendable, Codable, Equatable {
        package var factor: String
        package var label: String
        /// 0…100.
        package var points: Int
        package var weightBasisPoints: Int
        /// Why these points, in words.
        package var reason: String
        /// Where the answers came from: message id and span, or `api`.
        package var evidence: String
        package var missing: Bool

        /// Part of the score, in ten-thousandths of a point.
        package var contribution: Int { points * weightBasisPoints }
    }

    package struct Gate: Sendable, Codable, Equatable {
        package var code: String
        package var label: String
    }

    /// What the score would be if one factor had all its points.
    package struct WhatIf: Sendable, Codable, Equatable {
        package var factor: String
        package var label: String
        package var from: Int
        package var to: Int
    }

    package var policy: String
    package var score: Int
    package var tier: String
    package var probabilityMillionths: Int64
    package var factors: [Factor]
    package var gates: [Gate]
    package var whatIf: [WhatIf]

    /// The document of `GET /v1/leads/{id}/score`.
    package var json: JSONValue {
        [
            "policy": .string(policy), "score": .integer(Int64(score)), "tier": .string(tier),
            "probability": .string(Millionths(value: probabilityMillionths).decimal), "calibration": "uncalibrated",
            "factors": factorsJSON,
            "gates": .array(gates.map { ["code": .string($0.code), "label": .string($0.label)] }),
            "what_if": .array(
                whatIf.map {
                    [
                        "factor": .string($0.factor), "label": .string($0.label), "from": .integer(Int64($0.from)),
                        "to": .integer(Int64($0.to)),
                    ]
                }),
        ]
    }

    /// Factors as the pages show them; `contribution` in points of the score.
    package var factorsJSON: JSONValue {
        .array(
            factors.map {
                [
                    "factor": .string($0.factor), "label": .string($0.label), "points": .integer(Int64($0.points)),
                    "weight_bp": .integer(Int64($0.weightBasisPoints)),
                    "contribution": .number(Double($0.contribution) / 10_000), "reason": .string($0.reason),
                    "evidence": .string($0.evidence), "missing": .bool($0.missing),
                ]
            })
    }
}

extension ScorePolicy {
    /// Tier of leads that are not offered.
    package static let unqualified = "unqualified"

    /// Scores a lead. Pure; integers only.
    /// - Parameter closed: gates found elsewhere (consent, contact, area), shown beside the policy's own.
    package func score(
        _ attributes: [String: LeadAttribute], closed: [ScoreExplanation.Gate] = []
    ) -> ScoreExplanation {
        let parts = factors.map { $0.evaluate(attributes) }
        let score = Self.total(parts.map { ($0.points, $0.weightBasisPoints) })
        let own = gates.filter { $0.isClosed(attributes) }.map { ScoreExplanation.Gate(code: $0.code, label: $0.label) }
        let all = own + closed.filter { other in !own.contains { $0.code == other.code } }
        let tier = all.isEmpty ? bands.first { score >= $0.atLeast }?.tier ?? Self.unqualified : Self.unqualified
        return ScoreExplanation(
            policy: version, score: score, tier: tier, probabilityMillionths: probabilityMillionths(score: score),
            factors: parts, gates: all, whatIf: whatIf(parts, score: score))
    }

    /// Σ weight × points over 10,000, rounded half up.
    package static func total(_ parts: [(points: Int, weightBasisPoints: Int)]) -> Int {
        (parts.reduce(0) { $0 + $1.points * $1.weightBasisPoints } + 5000) / 10_000
    }

    /// The three factors whose full points would raise the score most.
    private func whatIf(_ parts: [ScoreExplanation.Factor], score: Int) -> [ScoreExplanation.WhatIf] {
        let raised = parts.indices.compactMap { index -> ScoreExplanation.WhatIf? in
            var better = parts
            let best = factors[index].best
            better[index].points = max(best.points, parts[index].points)
            let to = Self.total(better.map { ($0.points, $0.weightBasisPoints) })
            guard to > score else { return nil }
            let label = "\(parts[index].label): \(best.label)"
            return ScoreExplanation.WhatIf(factor: parts[index].factor, label: label, from: score, to: to)
        }
        return Array(raised.sorted { ($1.to, $0.factor) < ($0.to, $1.factor) }.prefix(3))
    }
}

extension ScorePolicy.Gate {
    func isClosed(_ attributes: [String: LeadAttribute]) -> Bool {
        if (needs ?? []).contains(where: { attributes[$0] == nil }) { return true }
        return !when.isEmpty && when.allSatisfy { $0.holds(attributes) }
    }
}

extension ScorePolicy.Factor {
    func evaluate(_ attributes: [String: LeadAttribute]) -> ScoreExplanation.Factor {
        let isMissing = needs.contains { attributes[$0] == nil }
        var points = missing
        var reasons = ["not answered"]
        if !isMissing {
            let rule = rules.first { $0.when.allSatisfy { $0.holds(attributes) } }
            points = rule?.points ?? otherwise
            reasons = [rule?.label ?? otherwiseLabel]
            for adjustment in adjustments ?? [] where adjustment.when.allSatisfy({ $0.holds(attributes) }) {
                points += adjustment.add
                reasons.append(adjustment.label)
            }
            for term in terms ?? [] {
                guard let units = attributes[term.attribute]?.value.integer, units > 0 else { continue }
                points += Int(min(units, Int64(term.max)) * Int64(term.perUnit)).clamped(to: 0...term.max)
                reasons.append("\(units) \(term.label)")
            }
        }
        return ScoreExplanation.Factor(
            factor: code, label: label, points: points.clamped(to: missing...100), weightBasisPoints: weight,
            reason: reasons.joined(separator: ", "), evidence: evidence(attributes), missing: isMissing)
    }

    /// Attributes that this factor reads, in order.
    private var inputs: [String] {
        let conditions = rules.flatMap(\.when) + (adjustments ?? []).flatMap(\.when)
        var names: [String] = []
        for name in needs + conditions.map(\.attribute) + (terms ?? []).map(\.attribute) where !names.contains(name) {
            names.append(name)
        }
        return names
    }

    private func evidence(_ attributes: [String: LeadAttribute]) -> String {
        inputs.compactMap { name in attributes[name].map { "\(name): \($0.evidence ?? "not recorded")" } }
            .joined(separator: "; ")
    }

    /// The most points one can have, and how.
    fileprivate var best: (points: Int, label: String) {
        let top = rules.max { $0.points < $1.points }
        var points = max(top?.points ?? otherwise, otherwise)
        var label = top.map { $0.points >= otherwise ? $0.label : otherwiseLabel } ?? otherwiseLabel
        for extra in (adjustments ?? []).filter({ $0.add > 0 }) {
            points += extra.add
            label = extra.label
        }
        for term in terms ?? [] {
            points += term.max
            label += ", \(term.label)"
        }
        return (min(points, 100), label)
    }
}

extension Comparable {
    fileprivate func clamped(to range: ClosedRange<Self>) -> Self {
        min(max(self, range.lowerBound), range.upperBound)
    }
}
