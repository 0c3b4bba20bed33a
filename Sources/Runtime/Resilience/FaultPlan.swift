package import AurumCore

/// Which calls of which dependency meet which fault, decided by a seed: the same plan strikes the same calls. Pure.
///
/// Its text is a list of `;`-separated rules: `seed=7; buyer:* latency 0.2 300; network:meta@* drop 0.05`. A rule is
/// the name of a dependency (as `aurum breakers list` shows it, or `redis`; `*` at its end for all that begin so), a
/// kind, a rate from 0 to 1, and for some kinds a time in milliseconds. Of rules that strike the same call the first
/// counts.
package struct FaultPlan: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// So many calls begin later by the time given.
        case latency
        /// So many calls are not sent and fail.
        case error
        /// So many calls are sent, and their answer is lost.
        case drop
        /// So many calls are sent twice, one after the other.
        case duplicate
        /// For such a share of the time, in stretches of the time given, no call is sent: all fail at once.
        case partition
        /// For such a share of the time, in stretches of the time given, calls wait for the end of the stretch.
        case pause

        /// Whether it needs a time, and strikes stretches or calls.
        var isTimed: Bool { self == .latency || isStretch }
        var isStretch: Bool { self == .partition || self == .pause }
    }

    package struct Rule: Sendable, Equatable {
        package let dependency: String
        package let kind: Kind
        /// From 0 to 1.
        package let rate: Double
        /// Zero for kinds without a time.
        package let time: Duration

        func matches(_ name: String) -> Bool {
            dependency.last == "*" ? name.hasPrefix(dependency.dropLast()) : name == dependency
        }

        package var text: String {
            "\(dependency) \(kind.rawValue) \(rate)" + (kind.isTimed ? " \(time.microseconds / 1000)" : "")
        }
    }

    /// What a call meets.
    package struct Fault: Sendable, Equatable {
        package let kind: Kind
        /// How long it waits before it is sent.
        package let wait: Duration
    }

    /// A sentence about what is wrong with a text.
    package struct Problem: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    package static let textBytesMax = 4096
    package static let rulesMax = 32
    package static let milliseconds = 1...600_000
    static let seedStandard: UInt64 = 1

    package let seed: UInt64
    package let rules: [Rule]

    package init(_ text: String) throws(Problem) {
        guard text.utf8.count <= Self.textBytesMax else {
            throw Problem(description: "must have at most \(Self.textBytesMax) bytes")
        }
        var (seed, rules) = (Self.seedStandard, [Rule]())
        for part in text.split(separator: ";") {
            let words = part.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let first = words.first else { continue }
            if first.hasPrefix("seed="), words.count == 1 {
                guard let number = UInt64(first.dropFirst("seed=".count)) else {
                    throw Problem(description: "names a seed that is no whole number")
                }
                seed = number
            } else {
                rules.append(try Self.rule(words, number: rules.count + 1))
            }
        }
        guard (1...Self.rulesMax).contains(rules.count) else {
            throw Problem(description: "must have 1 to \(Self.rulesMax) rules such as “buyer:* latency 0.2 300”")
        }
        (self.seed, self.rules) = (seed, rules)
    }

    private static func rule(_ words: [String], number: Int) throws(Problem) -> Rule {
        let kinds = Kind.allCases.map(\.rawValue).joined(separator: ", ")
        guard words.count >= 3, let kind = Kind(rawValue: words[1]) else {
            throw Problem(description: "rule \(number) must be NAME KIND RATE [MILLISECONDS], KIND one of \(kinds)")
        }
        guard let rate = Double(words[2]), (0...1).contains(rate) else {
            throw Problem(description: "rule \(number) must have a rate from 0 to 1")
        }
        guard kind.isTimed else {
            guard words.count == 3 else { throw Problem(description: "rule \(number): \(kind.rawValue) has no time") }
            return Rule(dependency: words[0], kind: kind, rate: rate, time: .zero)
        }
        guard words.count == 4, let time = Int(words[3]), milliseconds.contains(time) else {
            throw Problem(
                description: "rule \(number): \(kind.rawValue) must have a time from \(milliseconds.lowerBound) to "
                    + "\(milliseconds.upperBound) milliseconds")
        }
        return Rule(dependency: words[0], kind: kind, rate: rate, time: .milliseconds(time))
    }

    package var text: String { (["seed=\(seed)"] + rules.map(\.text)).joined(separator: "; ") }

    /// What call number `call` of a dependency meets at `now`; nil for most.
    package func fault(_ dependency: String, call: UInt64, at now: Timestamp) -> Fault? {
        for (index, rule) in rules.enumerated() where rule.matches(dependency) {
            let length = rule.time.microseconds
            // Every call of one stretch draws the same number.
            let turn = rule.kind.isStretch ? UInt64(bitPattern: now.microseconds / length) : call
            guard draw(dependency, rule: index, turn) < rule.rate else { continue }
            let wait: Duration =
                switch rule.kind {
                case .latency: rule.time
                case .pause: .microseconds(length - now.microseconds % length)
                case .error, .drop, .duplicate, .partition: .zero
                }
            return Fault(kind: rule.kind, wait: wait)
        }
        return nil
    }

    /// Evenly from 0 to 1, by seed, dependency, rule and turn. The name is hashed by FNV-1a, which is the same in every
    /// process.
    private func draw(_ dependency: String, rule: Int, _ turn: UInt64) -> Double {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in dependency.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var own = SeededRandom(seed: seed &+ hash &+ UInt64(rule))
        var random = SeededRandom(seed: own.next() ^ turn)
        return Double(random.next() >> 11) * 0x1p-53
    }
}
