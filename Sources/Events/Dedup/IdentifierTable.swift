internal import CProcessor

/// A set of 128-bit hashes whose order in memory is almost their sorted order.
///
/// Open addressing with linear probing, where the top bits of the hash choose the place and nothing wraps around: a
/// scan
/// from front to back meets the keys sorted but for short clusters. So freezing a table into a sorted file needs no
/// sort. Keys must be keyed hashes, never (0, 0), which marks an empty place. Freed by its owner.
struct IdentifierTable {
    typealias Key = (UInt64, UInt64)

    /// Places behind the last home place; the very last stays empty, so that every probe ends.
    private static let slack = 128
    private static let capacityFirst = 256
    private let memory: AnonymousMemory
    private let slots: UnsafeMutablePointer<Key>
    let capacity: Int
    private let skippedBits: UInt64
    private let shift: UInt64
    private(set) var count = 0

    /// A table as a loop looks at it: no reference counts there. The table must outlive it.
    struct View {
        fileprivate let slots: UnsafeMutablePointer<Key>
        fileprivate let skippedBits: UInt64
        fileprivate let shift: UInt64

        @inline(__always)
        fileprivate func home(_ high: UInt64) -> Int { Int(truncatingIfNeeded: (high &<< skippedBits) &>> shift) }

        /// Has the processor fetch the place of a key while other keys are looked up.
        @inline(__always)
        func prefetch(_ high: UInt64) { aurum_prefetch(slots + home(high)) }

        @inline(__always)
        func contains(_ high: UInt64, _ low: UInt64) -> Bool {
            var slot = home(high)
            while true {
                let key = slots[slot]
                if key.0 == high, key.1 == low { return true }
                if key.0 == 0, key.1 == 0 { return false }
                slot &+= 1
            }
        }
    }

    /// - Parameters:
    ///   - capacity: home places, a power of two.
    ///   - skippedBits: top bits that are equal in all keys, for a table of one slice of the hash range.
    ///   - isFilled: whether it is about to hold as many keys as it has room for.
    init(capacity: Int = IdentifierTable.capacityFirst, skippedBits: Int = 0, isFilled: Bool = false) {
        self.capacity = capacity
        self.skippedBits = UInt64(skippedBits)
        shift = UInt64(64 - capacity.trailingZeroBitCount)
        memory = AnonymousMemory(
            byteCount: (capacity + Self.slack) * MemoryLayout<Key>.stride, isFilled: isFilled)
        slots = memory.base.bindMemory(to: Key.self, capacity: capacity + Self.slack)
    }

    func deallocate() { memory.deallocate() }

    var byteCount: Int { memory.byteCount }

    @inline(__always)
    var view: View { View(slots: slots, skippedBits: skippedBits, shift: shift) }

    /// false when the key was there.
    @inline(__always)
    mutating func insert(_ high: UInt64, _ low: UInt64) -> Bool {
        var slot = view.home(high)
        while true {
            let key = slots[slot]
            if key.0 == high, key.1 == low { return false }
            if key.0 == 0, key.1 == 0 { break }
            slot &+= 1
        }
        if count &* 4 >= capacity &* 3 || slot == capacity &+ Self.slack &- 1 {
            grow()
            return insertGrown(high, low)
        }
        slots[slot] = (high, low)
        count &+= 1
        return true
    }

    /// Takes a key in without looking whether it is there.
    @inline(__always)
    mutating func place(_ high: UInt64, _ low: UInt64) {
        if count &* 4 >= capacity &* 3 { grow() }
        var slot = view.home(high)
        while slots[slot].0 != 0 || slots[slot].1 != 0 { slot &+= 1 }
        if slot == capacity &+ Self.slack &- 1 {
            grow()
            return placeGrown(high, low)
        }
        slots[slot] = (high, low)
        count &+= 1
    }

    @inline(never)
    private mutating func placeGrown(_ high: UInt64, _ low: UInt64) { place(high, low) }

    @inline(never)
    private mutating func insertGrown(_ high: UInt64, _ low: UInt64) -> Bool { insert(high, low) }

    /// Moves everything into a table of twice the size: front to back in both, about two nanoseconds a key.
    private mutating func grow() {
        var larger = IdentifierTable(capacity: capacity * 2, skippedBits: Int(skippedBits), isFilled: true)
        forEach { larger.place($0, $1) }
        deallocate()
        self = larger
    }

    /// Every key, almost sorted.
    @inline(__always)
    func forEach(_ body: (UInt64, UInt64) -> Void) {
        for slot in 0..<capacity + Self.slack {
            let key = slots[slot]
            if key.0 != 0 || key.1 != 0 { body(key.0, key.1) }
        }
    }

    /// Forgets the keys and keeps the memory.
    mutating func removeAll() {
        slots.update(repeating: (0, 0), count: capacity + Self.slack)
        count = 0
    }

    // MARK: in sorted order

    /// Where a sorted scan stands.
    struct Scan {
        fileprivate var slot = 0
    }

    /// Appends keys in sorted order until `output` holds `atLeast` of them or the table ends. Reads only.
    func sorted(_ scan: inout Scan, into output: inout IdentifierList, atLeast: Int) {
        let end = capacity + Self.slack
        while scan.slot < end, output.count < atLeast {
            let key = slots[scan.slot]
            guard key.0 != 0 || key.1 != 0 else {
                scan.slot &+= 1
                continue
            }
            // A cluster: every key in it belongs at or before its place, so few steps sort it.
            let start = output.count
            while scan.slot < end {
                let next = slots[scan.slot]
                if next.0 == 0, next.1 == 0 { break }
                output.insertSorted(next, from: start)
                scan.slot &+= 1
            }
        }
    }
}

/// Keys one behind the other, in memory that grows. Freed by its owner.
struct IdentifierList {
    private(set) var base: UnsafeMutablePointer<IdentifierTable.Key>
    private var capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = max(16, capacity)
        base = .allocate(capacity: self.capacity)
    }

    func deallocate() { base.deallocate() }

    mutating func removeAll() { count = 0 }

    @inline(__always)
    mutating func insertSorted(_ key: IdentifierTable.Key, from start: Int) {
        if count == capacity { grow() }
        var place = count
        while place > start {
            let before = base[place &- 1]
            if before.0 < key.0 || (before.0 == key.0 && before.1 < key.1) { break }
            base[place] = before
            place &-= 1
        }
        base[place] = key
        count &+= 1
    }

    @inline(__always)
    mutating func append(_ key: IdentifierTable.Key) {
        if count == capacity { grow() }
        base[count] = key
        count &+= 1
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<IdentifierTable.Key>.allocate(capacity: capacity * 2)
        larger.update(from: base, count: count)
        base.deallocate()
        base = larger
        capacity *= 2
    }
}
