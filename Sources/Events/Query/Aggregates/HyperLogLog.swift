internal import Foundation

/// An estimate of how many distinct keys were added: 2^14 registers, standard error 0.81 %.
///
/// Source: Flajolet et al. 2007; the estimator is that of Ertl, "New cardinality estimation algorithms for HyperLogLog
/// sketches", 2017, which needs no table of corrections.
struct HyperLogLog: Sendable {
    static let bits: UInt64 = 14
    static let byteCount = 1 << 14
    private var registers = [UInt8](repeating: 0, count: HyperLogLog.byteCount)

    mutating func insert(_ key: UInt64) {
        let hash = Self.mixed(key)
        let index = Int(truncatingIfNeeded: hash &>> (64 - Self.bits))
        let rest = hash &<< Self.bits
        let rank = UInt8(truncatingIfNeeded: min(rest.leadingZeroBitCount, 64 - Int(Self.bits)) + 1)
        registers[index] = max(registers[index], rank)
    }

    mutating func formUnion(_ other: HyperLogLog) {
        for index in registers.indices { registers[index] = max(registers[index], other.registers[index]) }
    }

    var estimate: Double {
        let (size, top) = (Double(Self.byteCount), 64 - Int(Self.bits))
        var counts = [Double](repeating: 0, count: top + 2)
        for register in registers { counts[Int(register)] += 1 }
        var sum = size * Self.tau(1 - counts[top + 1] / size)
        for rank in stride(from: top, through: 1, by: -1) { sum = 0.5 * (sum + counts[rank]) }
        sum += size * Self.sigma(counts[0] / size)
        return size / (2 * log(2)) * size / sum
    }

    private static func sigma(_ share: Double) -> Double {
        guard share < 1 else { return .infinity }
        var (power, weight, sum) = (share, 1.0, share)
        while true {
            let before = sum
            power *= power
            sum += power * weight
            weight += weight
            if sum == before { return sum }
        }
    }

    private static func tau(_ share: Double) -> Double {
        guard share > 0, share < 1 else { return 0 }
        var (root, weight, sum) = (share, 1.0, 1 - share)
        while true {
            let before = sum
            root = root.squareRoot()
            weight *= 0.5
            sum -= (1 - root) * (1 - root) * weight
            if sum == before { return sum / 3 }
        }
    }

    /// Keys may come from a resolver: spread them. Source: SplitMix64's finaliser.
    private static func mixed(_ key: UInt64) -> UInt64 {
        var mixed = key &+ 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed &>> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed &>> 31)
    }
}

/// Distinct keys of one group: all of them, or an estimate once memory ran out.
struct DistinctKeys: Sendable {
    /// Beside an estimate those that came since: they go into it as the persons that they are by then.
    private(set) var keys = KeySet()
    private(set) var estimated: HyperLogLog?

    /// Below this many keys a list is smaller than the registers.
    static let exactMax = 1024

    var byteCount: Int { keys.byteCount + (estimated == nil ? 0 : HyperLogLog.byteCount) }

    mutating func insert(_ key: UInt64) { keys.insert(key) }

    mutating func formUnion(_ other: DistinctKeys, resolved: (UInt64) -> UInt64) {
        if let theirs = other.estimated {
            estimate(resolved: resolved)
            estimated?.formUnion(theirs)
        }
        if estimated == nil {
            keys.formUnion(other.keys)
        } else {
            other.keys.forEach { estimated?.insert(resolved($0)) }
        }
    }

    /// Gives up the keys for an estimate. Merges of persons are taken into account as they are known now.
    mutating func estimate(resolved: (UInt64) -> UInt64) {
        var sketch = estimated ?? HyperLogLog()
        estimated = nil
        keys.forEach { sketch.insert(resolved($0)) }
        estimated = sketch
        keys = KeySet()
    }

    /// How many there are after merges.
    func count(_ resolver: (any PersonResolver)?) -> Int {
        if var sketch = estimated {
            keys.forEach { sketch.insert(resolver?.person($0) ?? $0) }
            return Int(sketch.estimate.rounded())
        }
        guard let resolver else { return keys.count }
        var count = 0
        var moved = KeySet()
        keys.forEach { key in
            let person = resolver.person(key)
            if person == key { count += 1 } else if !moved.contains(person) { moved.insert(person) }
        }
        // A person whose own key is there was counted already.
        moved.forEach { person in
            if !(keys.contains(person) && resolver.person(person) == person) { count += 1 }
        }
        return count
    }
}
