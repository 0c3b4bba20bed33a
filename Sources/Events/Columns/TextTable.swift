internal import CProcessor

/// The distinct byte strings of one column, numbered from 1 in the order of their first sight.
///
/// Open addressing with linear probing; the strings stand one behind the other. Texts that are looked up must be
/// followed by `ByteScan.padding` readable bytes. Confined to its shard; freed by its owner.
struct TextTable {
    private struct Slot {
        var tag: UInt32
        /// 0 marks an empty slot.
        var number: UInt32
        var offset: UInt32
        var count: UInt32
    }

    private var slots: UnsafeMutablePointer<Slot>
    private var mask: Int
    /// Offset and length of each text, by number less one.
    private var places: RawBytes
    private var texts: RawBytes
    private(set) var count = 0
    /// Random, so that nobody outside can make texts collide.
    private let seed = UInt64.random(in: .min ... .max)
    private static let firstSlots = 64

    init() {
        slots = .allocate(capacity: Self.firstSlots)
        slots.initialize(repeating: Slot(tag: 0, number: 0, offset: 0, count: 0), count: Self.firstSlots)
        mask = Self.firstSlots - 1
        places = RawBytes()
        texts = RawBytes(capacity: 1024)
    }

    func deallocate() {
        slots.deallocate()
        places.deallocate()
        texts.deallocate()
    }

    var byteCount: Int { texts.count + places.count + (mask + 1) * MemoryLayout<Slot>.stride }

    /// 64 bits of the text under this table's seed. May read 15 bytes past the text.
    @inline(__always)
    func hash(_ text: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
        var hash = UInt64(truncatingIfNeeded: count) &* 0x9E37_79B9_7F4A_7C15 ^ seed
        var index = 0
        while index &+ 16 <= count {
            hash = Self.folded(
                ByteScan.word(text + index) ^ 0xA076_1D64_78BD_642F, ByteScan.word(text + (index &+ 8)) ^ hash)
            index &+= 16
        }
        let rest = count &- index
        if rest > 0 {
            let low = ByteScan.word(text + index) & ByteScan.mask(rest)
            let high = rest > 8 ? ByteScan.word(text + (index &+ 8)) & ByteScan.mask(rest &- 8) : 0
            hash = Self.folded(low ^ 0xE703_7ED1_A0B4_28DB, high ^ hash ^ 0x8EBC_6AF0_9C88_C6E3)
        }
        return hash ^ hash &>> 32
    }

    /// A 128-bit product folded to 64 bits. Source: wyhash (Wang Yi), public domain.
    @inline(__always)
    private static func folded(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }

    /// Asks for the slot where a hash is looked for first, so that it is near when `find` comes to it.
    @inline(__always)
    func prefetch(hash: UInt64) {
        aurum_prefetch(slots + (Int(truncatingIfNeeded: UInt32(truncatingIfNeeded: hash)) & mask))
    }

    /// Asks for the text that stands in the slot where a hash is looked for first.
    @inline(__always)
    func prefetchText(hash: UInt64) {
        let slot = slots + (Int(truncatingIfNeeded: UInt32(truncatingIfNeeded: hash)) & mask)
        aurum_prefetch(bytes(slot.pointee.offset))
    }

    /// The number of a text, or 0.
    @inline(__always)
    func find(_ text: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        let tag = UInt32(truncatingIfNeeded: hash)
        var index = Int(truncatingIfNeeded: tag) & mask
        while true {
            let slot = slots + index
            if slot.pointee.number == 0 { return 0 }
            if slot.pointee.tag == tag, Int(slot.pointee.count) == length,
                Self.areEqual(bytes(slot.pointee.offset), text, length)
            {
                return slot.pointee.number
            }
            index = (index &+ 1) & mask
        }
    }

    /// Adds a text that `find` did not find; answers its number.
    @inline(never)
    mutating func add(_ text: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        if count &* 2 > mask { grow() }
        let offset = UInt32(truncatingIfNeeded: texts.count)
        texts.reserve(length + ByteScan.padding)
        texts.append(text, length)
        places.append(offset)
        places.append(UInt32(truncatingIfNeeded: length))
        count += 1
        let slot = Slot(
            tag: UInt32(truncatingIfNeeded: hash), number: UInt32(count), offset: offset, count: UInt32(length))
        place(slot)
        return UInt32(count)
    }

    private func place(_ slot: Slot) {
        var index = Int(slot.tag) & mask
        while slots[index].number != 0 { index = (index + 1) & mask }
        slots[index] = slot
    }

    private mutating func grow() {
        let old = slots
        let oldCount = mask + 1
        let larger = oldCount * 4
        slots = .allocate(capacity: larger)
        slots.initialize(repeating: Slot(tag: 0, number: 0, offset: 0, count: 0), count: larger)
        mask = larger - 1
        for index in 0..<oldCount where old[index].number != 0 { place(old[index]) }
        old.deallocate()
    }

    @inline(__always)
    private func bytes(_ offset: UInt32) -> UnsafePointer<UInt8> {
        UnsafePointer((texts.base + Int(offset)).assumingMemoryBound(to: UInt8.self))
    }

    /// The text of a number in 1…`count`.
    @inline(__always)
    func text(_ number: UInt32) -> UnsafeBufferPointer<UInt8> {
        let place = places.base + (Int(number) &- 1) &* 8
        let offset = place.loadUnaligned(as: UInt32.self)
        return UnsafeBufferPointer(
            start: bytes(offset), count: Int(place.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
    }

    /// May read 7 bytes past both.
    @inline(__always)
    private static func areEqual(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var index = 0
        while index &+ 8 <= count {
            if ByteScan.word(left + index) != ByteScan.word(right + index) { return false }
            index &+= 8
        }
        let rest = count &- index
        return rest == 0 || (ByteScan.word(left + index) ^ ByteScan.word(right + index)) & ByteScan.mask(rest) == 0
    }
}
