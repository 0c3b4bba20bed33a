package import AurumCore

/// Why one channel gets what it gets: how often it begins, ends and takes part in paths that convert, where people come
/// from and go to, and the arithmetic of its removal effect.
package struct ChannelExplanation: Sendable {
    package let channel: String
    /// Paths through the channel, weighted by conversions and by nulls.
    package private(set) var conversionsThrough = 0.0
    package private(set) var nullsThrough = 0.0
    package private(set) var conversionsFirst = 0.0
    package private(set) var conversionsLast = 0.0
    /// Steps into and out of the channel with their share, largest first. `(start)`, `(conversion)` and `(null)` are
    /// the ends of paths.
    package private(set) var before: [(name: String, share: Double)] = []
    package private(set) var after: [(name: String, share: Double)] = []
    private let results: [ModelResult]
    private let index: Int
    private let totalConversions: Double
    private let hasNulls: Bool
    private static let shownMax = 10

    /// nil when no path knows the channel.
    package init?(_ channel: String, _ table: PathTable, _ run: AttributionRun) {
        guard let index = table.channels.firstIndex(of: channel) else { return nil }
        (self.channel, self.index, results) = (channel, index, run.results)
        totalConversions = table.totalConversions
        hasNulls = table.hasNulls
        let token = UInt16(truncatingIfNeeded: index)
        var (into, out): ([String: Double], [String: Double]) = ([:], [:])
        for row in 0..<table.count {
            let path = table.range(row)
            guard table.tokens[path].contains(token) else { continue }
            let (c, n) = (table.conversions[row], table.nulls[row])
            conversionsThrough += c
            nullsThrough += n
            if table.tokens[path.lowerBound] == token {
                conversionsFirst += c
                into["(start)", default: 0] += c + n
            }
            if table.tokens[path.upperBound - 1] == token {
                conversionsLast += c
                out["(conversion)", default: 0] += c
                out["(null)", default: 0] += n
            }
            for place in path.dropFirst() where table.tokens[place] != table.tokens[place - 1] {
                if table.tokens[place] == token {
                    into[table.channels[Int(table.tokens[place - 1])], default: 0] += c + n
                } else if table.tokens[place - 1] == token {
                    out[table.channels[Int(table.tokens[place])], default: 0] += c + n
                }
            }
        }
        before = Self.shares(into)
        after = Self.shares(out)
    }

    private static func shares(_ counts: [String: Double]) -> [(name: String, share: Double)] {
        let sum = counts.values.reduce(0, +)
        return counts.filter { $0.value > 0 }.map { ($0.key, $0.value / sum) }
            .sorted { ($1.1, $0.0) < ($0.1, $1.0) }
    }

    package var json: JSONValue {
        func list(_ steps: [(name: String, share: Double)]) -> JSONValue {
            .array(steps.map { ["channel": .string($0.name), "share": .number($0.share)] })
        }
        var models: [String: JSONValue] = [:]
        for result in results { models[result.model.key] = .array(sentences(result).map(JSONValue.string)) }
        return [
            "channel": .string(channel), "conversionsThrough": .number(conversionsThrough),
            "nullsThrough": .number(nullsThrough), "conversionsFirst": .number(conversionsFirst),
            "conversionsLast": .number(conversionsLast), "before": list(before), "after": list(after),
            "models": .object(models),
        ]
    }

    package var text: String {
        var lines = [
            "Why \(channel)",
            "  In paths with \(conversionsThrough.formattedShort) of \(totalConversions.formattedShort) conversions"
                + (hasNulls ? " and \(nullsThrough.formattedShort) nulls" : "")
                + "; first in \(conversionsFirst.formattedShort), last in \(conversionsLast.formattedShort).",
        ]
        for (title, steps) in [("Before it", before), ("After it", after)] {
            let shown = steps.prefix(Self.shownMax).map {
                "\($0.name) \(AttributionReport.decimal($0.share * 100, 1)) %"
            }
            lines.append("  \(title): \(shown.joined(separator: ", "))")
        }
        for result in results { lines += sentences(result).map { "  \(result.model.title): \($0)" } }
        return lines.joined(separator: "\n") + "\n"
    }

    private func sentences(_ result: ModelResult) -> [String] {
        if let effects = result.rateEffects {
            return ["it changes the conversion rate by \(effects[index])."]
        }
        let credit = AttributionReport.decimal(result.conversions[index], 6)
        guard let effects = result.removalEffects, let p = result.conversionProbability else {
            return ["\(credit) conversions."]
        }
        let effect = effects[index]
        let sum = effects.reduce(0, +)
        return [
            "a path converts with probability \(p), without this channel with \(p * (1 - effect)): removal effect "
                + "\(effect).",
            "\(totalConversions.formattedShort) × \(effect) / \(sum) (sum of all removal effects) = \(credit) "
                + "conversions.",
        ]
    }
}
