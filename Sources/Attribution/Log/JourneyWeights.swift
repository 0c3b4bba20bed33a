internal import Foundation

/// The weights of `JourneyCredit` and the parts of `Apportionment` in buffers that are reused, for runs over millions
/// of journeys. The sums are the same in the same order, so that the results are the same to the last bit.
package struct JourneyWeights: ~Copyable {
    package static let touchesMax = Journey.touchesMax
    private let weights: UnsafeMutablePointer<Double>
    private let shares: UnsafeMutablePointer<UInt64>
    private let remainders: UnsafeMutablePointer<UInt64>
    private let parts: UnsafeMutablePointer<Int64>
    /// Touches of each channel.
    private let counts: UnsafeMutablePointer<Int32>
    private static let unitsOfOne = 1_099_511_627_776.0

    package init() {
        weights = .allocate(capacity: Self.touchesMax)
        weights.initialize(repeating: 0, count: Self.touchesMax)
        (shares, remainders) = (.allocate(capacity: Self.touchesMax), .allocate(capacity: Self.touchesMax))
        shares.initialize(repeating: 0, count: Self.touchesMax)
        remainders.initialize(repeating: 0, count: Self.touchesMax)
        parts = .allocate(capacity: Self.touchesMax)
        parts.initialize(repeating: 0, count: Self.touchesMax)
        counts = .allocate(capacity: 32)
        counts.initialize(repeating: 0, count: 32)
    }

    deinit {
        weights.deallocate()
        shares.deallocate()
        remainders.deallocate()
        parts.deallocate()
        counts.deallocate()
    }

    /// A journey of `count` touches, 1 to `touchesMax`, oldest first.
    package struct Facts {
        package var count: Int
        /// Microseconds since 1970.
        package var times: UnsafePointer<Int64>
        package var labels: UnsafePointer<UInt32>
        /// The last touch at or before the milestone; -1 without one.
        package var milestone = -1
        /// Seconds.
        package var halfLife = JourneyCredit.halfLifeSeconds

        package init(count: Int, times: UnsafePointer<Int64>, labels: UnsafePointer<UInt32>) {
            (self.count, self.times, self.labels) = (count, times, labels)
        }
    }

    /// The weights that were asked for last; valid until the next call.
    var weighed: UnsafePointer<Double> { UnsafePointer(weights) }

    /// The weights of a model; valid until the next call.
    /// - Parameter isRaw: as the formula has them, before they are made to add up to 1.
    @discardableResult
    package mutating func weigh(
        _ model: CreditModel, _ facts: Facts, isRaw: Bool = false
    ) -> UnsafePointer<Double> {
        let n = facts.count
        for index in 0..<n { weights[index] = 0 }
        switch model {
        case .first: weights[0] = 1
        case .last: weights[n - 1] = 1
        case .lastNonDirect:
            var place = n - 1
            while place >= 0, TouchLabel.channel(facts.labels[place]) == TouchChannel.direct { place -= 1 }
            weights[place < 0 ? n - 1 : place] = 1
        case .linear: for index in 0..<n { weights[index] = 1 / Double(n) }
        case .timeDecay:
            decay(facts)
            if !isRaw { normalise(n) }
        case .position:
            if n == 1 {
                weights[0] = 1
            } else if n == 2 {
                (weights[0], weights[1]) = (0.5, 0.5)
            } else {
                for index in 1..<(n - 1) { weights[index] = 0.2 / Double(n - 2) }
                (weights[0], weights[n - 1]) = (0.4, 0.4)
            }
        case .wShaped:
            if facts.milestone >= 0 {
                anchors(0.3, 0, 0.3, 0.4, facts)
            } else if n == 1 {
                weights[0] = 1
            } else {
                (weights[0], weights[n - 1]) = (3.0 / 7, 4.0 / 7)
            }
        case .wShaped30303010:
            let custom = CustomWeights.example
            anchors(custom.first, custom.middle, custom.milestone, custom.last, facts)
            if !isRaw { normalise(n) }
        }
        return UnsafePointer(weights)
    }

    /// Custom weights; valid until the next call.
    /// - Parameter isRaw: before they are made to add up to 1.
    @discardableResult
    package mutating func weigh(
        _ custom: ChannelWeights, _ facts: Facts, isRaw: Bool = false
    ) -> UnsafePointer<Double> {
        for index in 0..<facts.count { weights[index] = 0 }
        let parts = custom.weights
        anchors(parts.first, parts.middle, parts.milestone, parts.last, facts)
        for index in 0..<facts.count { weights[index] *= custom.factors[Int(TouchLabel.channel(facts.labels[index]))] }
        if !isRaw { normalise(facts.count) }
        return UnsafePointer(weights)
    }

    /// The weights of a fitted model: every channel of the journey weighs its effect, shared equally by its touches.
    /// All effects 0 makes it linear.
    /// - Returns: false where it had to be linear.
    mutating func weigh(effects: UnsafePointer<Double>, _ facts: Facts) -> Bool {
        let n = facts.count
        for channel in 0..<32 { counts[channel] = 0 }
        for index in 0..<n { counts[Int(TouchLabel.channel(facts.labels[index]))] &+= 1 }
        // In the order of channels, so that the order of touches does not change the sum.
        var sum = 0.0
        for channel in 0..<32 where counts[channel] > 0 { sum += effects[channel] }
        for index in 0..<n {
            let channel = Int(TouchLabel.channel(facts.labels[index]))
            weights[index] = sum > 0 ? effects[channel] / sum / Double(counts[channel]) : 1 / Double(n)
        }
        return sum > 0
    }

    private func decay(_ facts: Facts) {
        let n = facts.count
        guard facts.halfLife > 0 else {
            for index in 0..<n { weights[index] = 1 }
            return
        }
        let newest = facts.times[n - 1]
        for index in 0..<n {
            // What `Duration.seconds` says, without making one.
            let (whole, rest) = (newest - facts.times[index]).quotientAndRemainder(dividingBy: 1_000_000)
            let age = Double(whole) + Double(rest &* 1_000_000_000_000) * 1e-18
            weights[index] = exp2(-age / facts.halfLife)
        }
    }

    private func anchors(
        _ first: Double, _ middle: Double, _ milestone: Double, _ last: Double, _ facts: Facts
    ) {
        let n = facts.count
        weights[0] += first
        if facts.milestone >= 0 { weights[facts.milestone] += milestone }
        weights[n - 1] += last
        var others = 0
        for index in 0..<n where index > 0 && index < n - 1 && index != facts.milestone { others += 1 }
        for index in 0..<n where index > 0 && index < n - 1 && index != facts.milestone {
            weights[index] += middle / Double(others)
        }
    }

    private func normalise(_ n: Int) {
        var sum = 0.0
        for index in 0..<n { sum += weights[index] }
        for index in 0..<n { weights[index] = sum > 0 ? weights[index] / sum : 1 / Double(n) }
    }

    /// `total` divided by the weights that were asked for last; valid until the next call.
    package mutating func divide(_ total: Int64, count n: Int) -> UnsafePointer<Int64> {
        var whole: UInt64 = 0
        for index in 0..<n {
            shares[index] = UInt64(Int64((weights[index] * Self.unitsOfOne).rounded()))
            whole &+= shares[index]
        }
        guard whole > 0 else {
            for index in 0..<n { parts[index] = 0 }
            return UnsafePointer(parts)
        }
        let magnitude = total.magnitude
        var missing = magnitude
        for index in 0..<n {
            let (quotient, remainder) = Self.quotient(magnitude, shares[index], whole)
            shares[index] = quotient
            remainders[index] = remainder
            missing &-= quotient
        }
        // Fewer are missing than there are touches; the largest remainder gets one first, of equal ones the later.
        while missing > 0 {
            var best = 0
            for index in 1..<n where remainders[index] >= remainders[best] { best = index }
            // The remainders add up to as many wholes as are missing: there is always one above 0.
            guard remainders[best] > 0 else { break }
            shares[best] &+= 1
            remainders[best] = 0
            missing &-= 1
        }
        for index in 0..<n {
            let part = Int64(truncatingIfNeeded: shares[index])
            parts[index] = total < 0 ? 0 &- part : part
        }
        return UnsafePointer(parts)
    }

    /// What refunds took of `total`, by the weights that were asked for last; no touch gives back more than it has.
    /// - Parameter returned: from 0 to `total`.
    mutating func divide(returned: Int64, of total: Int64, count n: Int) -> [Int64] {
        let whole = Array(UnsafeBufferPointer(start: divide(total, count: n), count: n))
        var parts = Array(UnsafeBufferPointer(start: divide(returned, count: n), count: n))
        // Largest remainders do not grow with every unit: what is past a touch's own goes to the latest with room.
        var rest: Int64 = 0
        for index in parts.indices where parts[index] > whole[index] {
            rest += parts[index] - whole[index]
            parts[index] = whole[index]
        }
        for index in parts.indices.reversed() where rest > 0 {
            let more = min(rest, whole[index] - parts[index])
            parts[index] += more
            rest -= more
        }
        return parts
    }

    @inline(__always)
    private static func quotient(_ total: UInt64, _ share: UInt64, _ whole: UInt64) -> (UInt64, UInt64) {
        let (product, isOver) = total.multipliedReportingOverflow(by: share)
        if !isOver { return (product / whole, product % whole) }
        return whole.dividingFullWidth(total.multipliedFullWidth(by: share))
    }
}
