internal import AurumCore

/// Paths of random people: the same for the same seed on every machine. 12 channels, lengths 1 to 20, a quarter of the
/// steps repeat the step before; the chance to convert grows with the channels met.
package struct PathGenerator: Sendable {
    package static let channels = [
        "google_cpc", "google_organic", "facebook", "tiktok", "bing", "email", "affiliate", "display", "direct", "call",
        "sms", "referral",
    ]
    private static let weights = [22, 18, 15, 8, 5, 9, 4, 7, 6, 3, 2, 1]
    private static let pull = [0.9, 1.1, 0.7, 0.5, 0.8, 1.4, 0.6, 0.2, 1.6, 2.5, 1.2, 1.0]
    private static let lengths = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20]
    private static let lengthWeights = [30, 20, 14, 10, 7, 5, 4, 3, 3, 2, 1, 1]

    /// One generated row.
    package struct Row: Sendable {
        package var path: [UInt16] = []
        package var conversions = 0
        /// Hundredths of the unit of value.
        package var cents: Int64 = 0
        package var nulls = 0
    }

    private var random: SeededRandom

    package init(seed: UInt64) { random = SeededRandom(seed: seed) }

    package mutating func next() -> Row {
        var row = Row()
        let length = Self.lengths[pick(Self.lengthWeights)]
        var met = 0
        var chance = 0.0
        for step in 0..<length {
            let repeats = step > 0 && Int.random(in: 0..<4, using: &random) == 0
            let channel = repeats ? Int(row.path[step - 1]) : pick(Self.weights)
            row.path.append(UInt16(channel))
            if met & 1 << channel == 0 { chance += 0.03 * Self.pull[channel] }
            met |= 1 << channel
        }
        let seen = [1, 2, 3, 5][pick([80, 12, 6, 2])]
        for _ in 0..<seen {
            if Double.random(in: 0..<1, using: &random) < min(0.95, chance) {
                row.conversions += 1
                row.cents += Int64.random(in: 500...12_000, using: &random)
            } else {
                row.nulls += 1
            }
        }
        return row
    }

    /// CSV with the columns `path,total_conversions,total_conversion_value,total_null`.
    package static func csv(rows: Int, seed: UInt64) -> [UInt8] {
        var generator = PathGenerator(seed: seed)
        var bytes = Array("path,total_conversions,total_conversion_value,total_null\n".utf8)
        bytes.reserveCapacity(rows * 60)
        let names = channels.map { Array($0.utf8) }
        for _ in 0..<rows {
            let row = generator.next()
            for (index, token) in row.path.enumerated() {
                if index > 0 { bytes += " > ".utf8 }
                bytes += names[Int(token)]
            }
            bytes += ",\(row.conversions),\(row.cents / 100).\(row.cents % 100 < 10 ? "0" : "")\(row.cents % 100)".utf8
            bytes += ",\(row.nulls)\n".utf8
        }
        return bytes
    }

    private mutating func pick(_ weights: [Int]) -> Int {
        var left = Int.random(in: 0..<weights.reduce(0, +), using: &random)
        for (index, weight) in weights.enumerated() {
            if left < weight { return index }
            left -= weight
        }
        return weights.count - 1
    }
}
