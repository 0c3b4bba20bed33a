internal import CPrefetch

/// The event ids accepted lately: exact, in two generations of equal size.
///
/// Remembers at least the last half and at most all of `identifiersMax` ids. Memory comes with use: 16 bytes a slot,
/// slots between 1.4 and 2.7 times the ids. Confined to the writer thread, in the order of the log, so that a rebuilt
/// index gives the same answers.
struct DeduplicationIndex {
    private var current = IdentifierSet()
    private var previous = IdentifierSet()
    private let generationMax: Int

    init(identifiersMax: Int) { generationMax = max(1, identifiersMax / 2) }

    func deallocate() {
        current.deallocate()
        previous.deallocate()
    }

    var count: Int { current.count + previous.count }

    /// Remembers an id; false when it is known already.
    @inline(__always)
    mutating func insert(_ high: UInt64, _ low: UInt64) -> Bool {
        if previous.count > 0, previous.contains(high, low) { return false }
        guard current.insert(high, low) else { return false }
        if current.count >= generationMax { rotate() }
        return true
    }

    /// Asks for the memory of an id to come, so that it is near when the id is looked up.
    @inline(__always)
    func prefetch(_ high: UInt64, _ low: UInt64) {
        current.prefetch(high)
        if previous.count > 0 { previous.prefetch(high) }
    }

    @inline(never)
    private mutating func rotate() {
        previous.deallocate()
        previous = current
        current = IdentifierSet()
    }
}

/// A set of 128-bit keys in 256 tables, so that no single growth takes long. Open addressing, linear probing.
struct IdentifierSet {
    private struct Table {
        var slots: UnsafeMutablePointer<(UInt64, UInt64)>?
        var mask = 0
        var count = 0
    }

    private static let tableCount = 256
    private static let firstSlots = 16
    private let tables: UnsafeMutablePointer<Table>
    private(set) var count = 0

    init() {
        tables = .allocate(capacity: Self.tableCount)
        tables.initialize(repeating: Table(), count: Self.tableCount)
    }

    func deallocate() {
        for index in 0..<Self.tableCount { tables[index].slots?.deallocate() }
        tables.deallocate()
    }

    /// The key is a keyed hash already: its top bits choose the table, the next ones the slot.
    @inline(__always)
    func contains(_ high: UInt64, _ low: UInt64) -> Bool {
        let table = tables + Int(high &>> 56)
        guard let slots = table.pointee.slots else { return false }
        var slot = Int(truncatingIfNeeded: high) & table.pointee.mask
        while true {
            let key = slots[slot]
            if key.0 == high, key.1 == low { return true }
            if key.0 == 0, key.1 == 0 { return false }
            slot = (slot &+ 1) & table.pointee.mask
        }
    }

    @inline(__always)
    func prefetch(_ high: UInt64) {
        let table = tables + Int(high &>> 56)
        guard let slots = table.pointee.slots else { return }
        aurum_prefetch(slots + (Int(truncatingIfNeeded: high) & table.pointee.mask))
    }

    /// false when the key was there.
    @inline(__always)
    mutating func insert(_ high: UInt64, _ low: UInt64) -> Bool {
        let table = tables + Int(high &>> 56)
        if table.pointee.count &* 4 >= (table.pointee.mask &+ 1) &* 3 || table.pointee.slots == nil { grow(table) }
        guard let slots = table.pointee.slots else { return true }
        var slot = Int(truncatingIfNeeded: high) & table.pointee.mask
        while true {
            let key = slots[slot]
            if key.0 == high, key.1 == low { return false }
            if key.0 == 0, key.1 == 0 { break }
            slot = (slot &+ 1) & table.pointee.mask
        }
        slots[slot] = (high, low)
        table.pointee.count &+= 1
        count &+= 1
        return true
    }

    @inline(never)
    private func grow(_ table: UnsafeMutablePointer<Table>) {
        let old = table.pointee
        let capacity = old.slots == nil ? Self.firstSlots : (old.mask + 1) * 2
        let slots = UnsafeMutablePointer<(UInt64, UInt64)>.allocate(capacity: capacity)
        slots.initialize(repeating: (0, 0), count: capacity)
        if let keys = old.slots {
            for index in 0...old.mask where keys[index].0 != 0 || keys[index].1 != 0 {
                var slot = Int(truncatingIfNeeded: keys[index].0) & (capacity - 1)
                while slots[slot].0 != 0 || slots[slot].1 != 0 { slot = (slot + 1) & (capacity - 1) }
                slots[slot] = keys[index]
            }
            keys.deallocate()
        }
        table.pointee.slots = slots
        table.pointee.mask = capacity - 1
    }
}
