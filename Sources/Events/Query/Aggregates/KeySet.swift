/// Distinct 64-bit keys: open addressing in one list, at most four fifths full, of 10 to 14 bytes a key. A copy costs
/// nothing until it changes.
struct KeySet: Sendable {
    /// 0 marks a free place.
    private var slots: [UInt64] = []
    private var used = 0
    private var hasZero = false

    var count: Int { used + (hasZero ? 1 : 0) }
    var byteCount: Int { slots.count * 8 + 16 }

    /// Where the search for a key begins. Source: Lemire, "Fast random integer generation in an interval" (2019).
    @inline(__always)
    private static func place(_ key: UInt64, _ count: Int) -> Int {
        // Keys of persons are hashes already, but a resolver may give any number. Source: Fibonacci hashing, Knuth 6.4.
        Int((key &* 0x9E37_79B9_7F4A_7C15).multipliedFullWidth(by: UInt64(count)).high)
    }

    @inline(__always)
    private static func next(_ index: Int, _ count: Int) -> Int {
        let next = index &+ 1
        return next == count ? 0 : next
    }

    mutating func insert(_ key: UInt64) {
        guard key != 0 else {
            hasZero = true
            return
        }
        if (used &+ 1) &* 5 > slots.count &* 4 { grow(to: max(8, slots.count + slots.count * 3 / 8)) }
        let isNew = slots.withUnsafeMutableBufferPointer { slots in
            var index = Self.place(key, slots.count)
            while slots[index] != 0 {
                if slots[index] == key { return false }
                index = Self.next(index, slots.count)
            }
            slots[index] = key
            return true
        }
        if isNew { used &+= 1 }
    }

    func contains(_ key: UInt64) -> Bool {
        guard key != 0 else { return hasZero }
        guard !slots.isEmpty else { return false }
        return slots.withUnsafeBufferPointer { slots in
            var index = Self.place(key, slots.count)
            while slots[index] != 0 {
                if slots[index] == key { return true }
                index = Self.next(index, slots.count)
            }
            return false
        }
    }

    private mutating func grow(to capacity: Int) {
        var larger = [UInt64](repeating: 0, count: capacity)
        larger.withUnsafeMutableBufferPointer { larger in
            for key in slots where key != 0 {
                var index = Self.place(key, capacity)
                while larger[index] != 0 { index = Self.next(index, capacity) }
                larger[index] = key
            }
        }
        slots = larger
    }

    func forEach(_ body: (UInt64) -> Void) {
        if hasZero { body(0) }
        slots.withUnsafeBufferPointer { slots in
            for key in slots where key != 0 { body(key) }
        }
    }

    mutating func formUnion(_ other: KeySet) {
        if count == 0 {
            self = other
            return
        }
        if other.count > count, other.count > 1024 {
            let mine = self
            self = other
            mine.forEachScattered { insert($0) }
            return
        }
        other.forEachScattered { insert($0) }
    }

    /// In an order that has nothing to do with where the keys stand: keys in the order of one set, put into another,
    /// would fill it from one end and make each search walk over all of them.
    private func forEachScattered(_ body: (UInt64) -> Void) {
        if hasZero { body(0) }
        guard !slots.isEmpty else { return }
        slots.withUnsafeBufferPointer { slots in
            let step = Self.step(slots.count)
            var index = 0
            for _ in 0..<slots.count {
                if slots[index] != 0 { body(slots[index]) }
                index &+= step
                if index >= slots.count { index &-= slots.count }
            }
        }
    }

    /// About the golden share of `count`, and without a common divisor: such steps come to every place, evenly spread.
    private static func step(_ count: Int) -> Int {
        var step = max(1, Int(Double(count) * 0.618))
        while divisor(step, count) != 1 { step += 1 }
        return step
    }

    private static func divisor(_ one: Int, _ other: Int) -> Int {
        var (high, low) = (other, one)
        while low != 0 { (high, low) = (low, high % low) }
        return high
    }
}
