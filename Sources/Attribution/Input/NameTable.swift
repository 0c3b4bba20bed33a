/// Numbers names in the order in which they come, from their bytes, without a string for each.
package struct NameTable: Sendable {
    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    private var hashes: [UInt64] = []
    private var slots: [UInt32]
    private static let free = UInt32.max

    package init() { slots = [UInt32](repeating: Self.free, count: 64) }

    package var count: Int { ends.count }

    /// The number of a name; a new one when it was not seen before.
    package mutating func number(_ name: UnsafeBufferPointer<UInt8>) -> Int {
        let hash = Self.hash(name)
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != Self.free {
            let candidate = Int(slots[slot])
            if hashes[candidate] == hash, equals(candidate, name) { return candidate }
            slot = (slot + 1) & mask
        }
        slots[slot] = UInt32(truncatingIfNeeded: ends.count)
        bytes.append(contentsOf: name)
        ends.append(bytes.count)
        hashes.append(hash)
        if ends.count * 2 > slots.count { grow() }
        return ends.count - 1
    }

    package func name(_ number: Int) -> String {
        String(decoding: bytes[(number == 0 ? 0 : ends[number - 1])..<ends[number]], as: UTF8.self)
    }

    /// Names in order of their bytes, and the place of each number among them.
    package var sorted: (names: [String], places: [Int]) {
        let order = (0..<count).sorted { slice($0).lexicographicallyPrecedes(slice($1)) }
        var places = [Int](repeating: 0, count: count)
        for (place, number) in order.enumerated() { places[number] = place }
        return (order.map(name), places)
    }

    private func slice(_ number: Int) -> ArraySlice<UInt8> {
        bytes[(number == 0 ? 0 : ends[number - 1])..<ends[number]]
    }

    private func equals(_ number: Int, _ name: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = number == 0 ? 0 : ends[number - 1]
        guard ends[number] - start == name.count else { return false }
        return bytes.withUnsafeBufferPointer { bytes in
            for index in 0..<name.count where bytes[start &+ index] != name[index] { return false }
            return true
        }
    }

    private mutating func grow() {
        slots = [UInt32](repeating: Self.free, count: slots.count * 4)
        let mask = slots.count - 1
        for (number, hash) in hashes.enumerated() {
            var slot = Int(truncatingIfNeeded: hash) & mask
            while slots[slot] != Self.free { slot = (slot + 1) & mask }
            slots[slot] = UInt32(truncatingIfNeeded: number)
        }
    }

    /// Eight bytes at a time, mixed by multiplication. Names of one file only: nobody gains by making them collide.
    private static func hash(_ name: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var state = UInt64(name.count) &* 0x9E37_79B9_7F4A_7C15
        let raw = UnsafeRawBufferPointer(name)
        var at = 0
        while at + 8 <= raw.count {
            state = (state ^ raw.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* 0xBF58_476D_1CE4_E5B9
            state ^= state >> 29
            at += 8
        }
        var tail: UInt64 = 0
        if raw.count >= 8 {
            // The last eight bytes, some of them once more: nothing of the name is left out.
            tail = raw.loadUnaligned(fromByteOffset: raw.count - 8, as: UInt64.self)
        } else {
            for byte in raw { tail = tail << 8 | UInt64(byte) }
        }
        state = (state ^ tail) &* 0x94D0_49BB_1331_11EB
        return state ^ (state >> 32)
    }
}
